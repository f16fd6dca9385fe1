//! What is asked of the model: replies, and exact words.

use std::time::Instant;

use super::{RealtimeLine, State};
use crate::call::voice::llm::TOOL_ROUNDS_MAX;
use crate::call::voice::{VoiceEvent, call_error, ms};
use crate::net::clock;
use crate::providers::llm::{TOOL_CALLS_MAX, ToolCall};
use crate::providers::realtime::{Outcome, RealtimeInput};
use crate::providers::{FailureKind, ProviderError};
use crate::telemetry::metrics;
use crate::turn::heard::Kind;
use crate::types::call::TurnRole;
use crate::types::{Generation, Pcm, Pii, TurnId};

/// Replies and words that may wait; the turn machine asks for one at a time.
const JOBS_MAX: usize = 32;
/// How fast words are taken to be spoken, to know to which sentence a sound belongs.
const CHARS_PER_SECOND: u128 = 14;

/// What a job is for.
#[derive(Debug)]
pub(super) enum What {
    /// The reply of a turn.
    Reply { turn: TurnId },
    /// Exact sentences: their numbers and texts.
    Words { sentences: Vec<(u32, String)> },
}

/// Something that the model is asked for.
#[derive(Debug)]
pub(super) struct Job {
    /// Number of the response.
    pub(super) id: u32,
    pub(super) generation: Generation,
    pub(super) what: What,
    pub(super) sent: bool,
    /// Something of it came.
    pub(super) begun: bool,
    /// The provider's name of the item that comes, and ours.
    item: Option<(String, u32)>,
    calls: Vec<ToolCall>,
    rounds: u32,
    /// Whether any of its responses gave words.
    spoke: bool,
    tries: u32,
    /// Sound that came, milliseconds.
    sound_ms: u128,
}

/// What comes of a response.
pub(super) enum Given {
    Words(String),
    Sound(Pcm),
}

impl Job {
    fn new(id: u32, generation: Generation, what: What) -> Self {
        Self {
            id,
            generation,
            what,
            sent: false,
            begun: false,
            item: None,
            calls: Vec::new(),
            rounds: 0,
            spoke: false,
            tries: 1,
            sound_ms: 0,
        }
    }

    fn input(&self) -> RealtimeInput {
        match &self.what {
            What::Reply { .. } => {
                RealtimeInput::Respond { id: self.id, tools: self.rounds < TOOL_ROUNDS_MAX }
            }
            What::Words { sentences } => {
                let words: Vec<&str> = sentences.iter().map(|(_, text)| text.as_str()).collect();
                RealtimeInput::Say { id: self.id, text: Pii::new(words.join(" ")) }
            }
        }
    }

    /// The sentence that is spoken at this point, by the share of its words.
    fn sentence(&self) -> u32 {
        let What::Words { sentences } = &self.what else { return 0 };
        let mut end_ms = 0;
        for (seq, text) in sentences {
            end_ms += text.chars().count() as u128 * 1_000 / CHARS_PER_SECOND;
            if self.sound_ms < end_ms {
                return *seq;
            }
        }
        sentences.last().map_or(0, |(seq, _)| *seq)
    }
}

impl RealtimeLine {
    fn number(&mut self) -> u32 {
        self.next_response = self.next_response.wrapping_add(1);
        self.next_response
    }

    /// Asks for the reply of `turn`.
    pub(in crate::call::voice) fn respond(
        &mut self,
        turn: TurnId,
        generation: Generation,
        history: Vec<(TurnRole, Pii<String>)>,
    ) {
        self.remember(history);
        self.want_session();
        let job = Job::new(self.number(), generation, What::Reply { turn });
        self.add(job);
        self.send_jobs();
    }

    fn add(&mut self, job: Job) {
        if self.jobs.len() >= JOBS_MAX {
            metrics::queue_full("realtime_jobs");
            let error = self.error(FailureKind::Stalled, "too much waits for the model");
            self.give_up(job, &error);
            return;
        }
        self.jobs.push_back(job);
    }

    /// Speaks a sentence after those before it. Sentences of one text are spoken as one.
    pub(in crate::call::voice) fn say(
        &mut self,
        (generation, seq): (Generation, u32),
        text: &Pii<String>,
        kind: Kind,
    ) {
        let replies = |job: &Job| matches!(job.what, What::Reply { .. });
        if kind == Kind::Filler && self.jobs.iter().any(replies) {
            // The model is about to speak, and cannot speak twice at a time.
            self.tell(VoiceEvent::TtsDone(generation, seq));
            return;
        }
        self.want_session();
        let last = self.jobs.back_mut().filter(|job| !job.sent && job.generation == generation);
        if let Some(Job { what: What::Words { sentences }, .. }) = last {
            sentences.push((seq, text.reveal().clone()));
            return;
        }
        let sentences = vec![(seq, text.reveal().clone())];
        let job = Job::new(self.number(), generation, What::Words { sentences });
        self.add(job);
    }

    /// Sends every job that was not.
    pub(super) fn send_jobs(&mut self) {
        self.send(true);
    }

    /// Sends the words that were gathered, and what waits behind them.
    pub(super) fn send_words(&mut self) {
        self.send(false);
    }

    /// Gathering ends with the wake: replies leave at once unless words before them wait.
    fn send(&mut self, replies_only: bool) {
        while matches!(self.state, State::Open(_)) {
            let Some(job) = self.jobs.iter_mut().find(|job| !job.sent) else { return };
            if replies_only && matches!(job.what, What::Words { .. }) {
                return;
            }
            job.sent = true;
            let input = job.input();
            self.input(input);
            self.arm();
        }
    }

    /// The wait for the next sign of the model begins again.
    fn arm(&mut self) {
        let works = self.jobs.iter().any(|job| job.sent);
        self.progress_by = works.then(|| clock::now() + ms(self.watchdog.llm_first_token_ms));
    }

    fn at(&self, response: u32) -> Option<usize> {
        self.jobs.iter().position(|job| job.id == response)
    }

    pub(super) fn on_sent(&mut self, response: u32, at: Instant) {
        self.arm();
        let job = self.at(response).and_then(|index| self.jobs.get(index));
        if let Some(Job { what: What::Reply { turn }, .. }) = job {
            let turn = *turn;
            self.tell(VoiceEvent::LlmSent(turn, at));
        }
    }

    pub(super) fn on_output(&mut self, response: u32, item: &str, given: Given, at: Instant) {
        // What was cancelled meanwhile.
        let Some(index) = self.at(response) else { return };
        self.attempts = 1;
        self.arm();
        let next_item = self.next_item;
        let Some(job) = self.jobs.get_mut(index) else { return };
        let generation = job.generation;
        let same = job.item.as_ref().filter(|(name, _)| name == item).map(|(_, number)| *number);
        let mut ended = None;
        let number = same.unwrap_or_else(|| {
            ended = job.item.replace((item.to_owned(), next_item)).map(|(_, number)| number);
            next_item
        });
        (job.begun, job.spoke) = (true, true);
        let event = match (&job.what, given) {
            (What::Reply { turn }, Given::Words(text)) => {
                let (turn, pcm) = (*turn, None);
                VoiceEvent::Spoken { turn, generation, item: number, text, pcm, at }
            }
            (What::Reply { turn }, Given::Sound(pcm)) => {
                let (turn, text) = (*turn, String::new());
                self.played.received(generation, number, item, pcm.duration());
                VoiceEvent::Spoken { turn, generation, item: number, text, pcm: Some(pcm), at }
            }
            // They are known.
            (What::Words { .. }, Given::Words(_)) => return,
            (What::Words { .. }, Given::Sound(pcm)) => {
                let seq = job.sentence();
                job.sound_ms += pcm.duration().as_millis();
                self.played.received(generation, number, item, pcm.duration());
                VoiceEvent::TtsAudio { generation, seq, pcm, is_kept: false, at }
            }
        };
        let speaks_itself = matches!(event, VoiceEvent::Spoken { .. });
        if same.is_none() {
            self.next_item = next_item.wrapping_add(1);
        }
        if let Some(item) = ended {
            self.played.done(item);
            if speaks_itself {
                self.tell(VoiceEvent::SpokenDone(generation, item));
            }
        }
        let audio_of = match &event {
            VoiceEvent::Spoken { pcm: None, .. } => None,
            _ => Some(number),
        };
        self.ready.push_back((event, audio_of));
    }

    pub(super) fn on_tool_call(&mut self, response: u32, call: ToolCall) {
        let Some(index) = self.at(response) else { return };
        self.arm();
        let Some(job) = self.jobs.get_mut(index) else { return };
        let What::Reply { turn } = job.what else { return };
        if job.calls.len() >= TOOL_CALLS_MAX {
            return;
        }
        self.owed.push(call.id.clone());
        job.calls.push(call);
        self.tell(VoiceEvent::LlmAlive(turn));
    }

    pub(super) fn on_done(&mut self, response: u32, outcome: &Outcome) {
        let job = self.at(response).and_then(|index| self.jobs.remove(index));
        self.arm();
        let Some(job) = job else { return };
        let name = self.route.model.name().to_owned();
        let Outcome::Failed(kind) = *outcome else {
            metrics::provider_request("realtime", &name, "ok");
            return self.finish(job);
        };
        metrics::provider_request("realtime", &name, kind.as_str());
        let error = self.error(kind, "the model failed to answer");
        if job.begun {
            self.tell(VoiceEvent::Retrying(error));
            self.finish(job);
        } else if kind.is_retryable() && job.tries < self.watchdog.attempts_max {
            self.tell(VoiceEvent::Retrying(error));
            let (id, tries) = (self.number(), job.tries + 1);
            self.jobs.push_front(Job { id, tries, sent: false, ..job });
            self.send(false);
        } else {
            self.give_up(job, &error);
        }
    }

    /// All that comes of a job has come.
    pub(super) fn finish(&mut self, mut job: Job) {
        let generation = job.generation;
        let ended = job.item.take().map(|(_, number)| number);
        if let Some(item) = ended {
            self.played.done(item);
        }
        match &job.what {
            What::Reply { turn } => {
                let turn = *turn;
                if let Some(item) = ended {
                    self.tell(VoiceEvent::SpokenDone(generation, item));
                }
                if job.calls.is_empty() || self.owed.is_empty() {
                    self.tell(VoiceEvent::LlmDone(turn));
                } else {
                    self.tell(VoiceEvent::LlmTools(turn, job.calls.clone()));
                    self.resting = Some(job);
                }
            }
            What::Words { sentences } => {
                let numbers: Vec<u32> = sentences.iter().map(|(seq, _)| *seq).collect();
                for seq in numbers {
                    self.tell(VoiceEvent::TtsDone(generation, seq));
                }
            }
        }
    }

    /// Nothing comes of a job.
    pub(super) fn give_up(&mut self, job: Job, error: &ProviderError) {
        let generation = job.generation;
        match job.what {
            What::Reply { turn } => self.tell(VoiceEvent::LlmFailed(turn, call_error(error))),
            What::Words { sentences } => {
                for (seq, _) in sentences {
                    self.tell(VoiceEvent::TtsFailed(generation, seq, call_error(error)));
                }
            }
        }
    }

    /// Goes on with the results of the tools that the reply of `turn` waits for.
    pub(in crate::call::voice) fn resume(
        &mut self,
        turn: TurnId,
        results: Vec<(String, Pii<String>)>,
    ) {
        let of = |job: &mut Job| matches!(job.what, What::Reply { turn: own } if own == turn);
        let Some(job) = self.resting.take_if(of) else { return };
        self.want_session();
        for (call, output) in results {
            self.tool_result(&call, output);
        }
        let (id, rounds) = (self.number(), job.rounds + 1);
        let (generation, spoke) = (job.generation, job.spoke);
        self.add(Job { rounds, spoke, ..Job::new(id, generation, job.what) });
        self.send_jobs();
    }

    /// Whether the reply of `turn` has any words yet.
    pub(in crate::call::voice) fn has_spoken(&self, turn: TurnId) -> bool {
        let of = |job: &&Job| matches!(job.what, What::Reply { turn: own } if own == turn);
        self.jobs.iter().chain(&self.resting).find(of).is_some_and(|job| job.spoke)
    }

    /// Drops the reply of `turn`.
    pub(in crate::call::voice) fn cancel(&mut self, turn: TurnId) {
        self.drop_jobs(|job| matches!(job.what, What::Reply { turn: own } if own == turn));
    }

    /// Drops everything of `generation` and before.
    pub(in crate::call::voice) fn hush(&mut self, generation: Generation) {
        let replies = |job: &Job| match job.what {
            What::Reply { turn } if job.generation <= generation => Some(turn),
            What::Reply { .. } | What::Words { .. } => None,
        };
        let over: Vec<TurnId> = self.jobs.iter().filter_map(replies).collect();
        self.drop_jobs(|job| job.generation <= generation);
        self.ready.retain(|(event, _)| match event {
            VoiceEvent::Spoken { generation: of, .. } => *of > generation,
            VoiceEvent::TtsAudio { generation: of, .. } => *of > generation,
            _ => true,
        });
        for turn in over {
            // For a machine that goes on with what it has.
            self.tell(VoiceEvent::LlmDone(turn));
        }
    }

    fn drop_jobs(&mut self, dropped: impl Fn(&Job) -> bool) {
        self.resting.take_if(|job| dropped(job));
        let is_sent = self.jobs.iter().any(|job| job.sent && dropped(job));
        self.jobs.retain(|job| !dropped(job));
        if is_sent {
            self.input(RealtimeInput::Cancel);
        }
        self.arm();
    }
}
