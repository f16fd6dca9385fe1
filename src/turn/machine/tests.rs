//! Conversations in virtual time: what goes in at which millisecond, what comes out.

use std::time::{Duration, Instant};

use super::Machine;
use crate::turn::config::{EndpointingMode, SpeculationMode, TurnConfig, Yield};
use crate::turn::event::{Delivery, Input, Output};
use crate::types::call::{CallError, ErrorStage, TurnRole};
use crate::types::{EndReason, Generation, Pii, ToolUse, TurnId, TurnRecord};

mod commands;
mod failures;
mod sense;
mod speaking;
mod talk;
mod tools;

/// A machine and everything it gave out, as short lines.
struct Bench {
    machine: Machine,
    start: Instant,
    now_ms: u64,
    lines: Vec<String>,
    records: Vec<TurnRecord>,
}

/// Silence alone decides, nothing is prepared, and the first sign of speech interrupts.
fn config() -> TurnConfig {
    let mut config = sense();
    config.endpointing.mode = EndpointingMode::Vad;
    config.speculation.mode = SpeculationMode::Off;
    config.barge_in.tentative = Yield::Off;
    config.barge_in.min_ms = 0;
    config
}

/// What an agent does that sets nothing, in few words.
fn sense() -> TurnConfig {
    let mut config = TurnConfig { language: "en".to_owned(), ..TurnConfig::default() };
    config.texts.repeat = "Again?".to_owned();
    config.texts.stt_apology = "Cannot hear.".to_owned();
    config.texts.llm_apology = "Something broke.".to_owned();
    config.texts.fillers = vec!["One moment.".to_owned()];
    config.texts.failure_goodbye = "Broken, bye.".to_owned();
    config.texts.max_duration_goodbye = "Time is up.".to_owned();
    config.inactivity.prompts = vec!["Hello?".to_owned()];
    config.inactivity.goodbye = "Bye.".to_owned();
    config
}

impl Bench {
    /// Answered at 0.
    fn new(config: TurnConfig) -> Self {
        let start = crate::turn::fuzz::start();
        let machine = Machine::new(config, start);
        let mut bench = Self { machine, start, now_ms: 0, lines: Vec::new(), records: Vec::new() };
        bench.at(0, Input::Answered);
        bench
    }

    fn t(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Fires the timers up to `ms`.
    fn until(&mut self, ms: u64) -> &mut Self {
        let end = self.t(ms);
        for _ in 0..10_000 {
            let Some(at) = self.machine.next_wake().filter(|at| *at <= end) else { break };
            self.now_ms = self.now_ms.max((at - self.start).as_millis() as u64);
            let now = self.t(self.now_ms);
            self.machine.handle(now, Input::Timeout);
            self.drain();
        }
        self.now_ms = ms;
        self
    }

    fn at(&mut self, ms: u64, input: Input) -> &mut Self {
        self.until(ms);
        let now = self.t(ms);
        self.machine.handle(now, input);
        self.drain();
        self
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll() {
            if let Output::TurnEnded(record) = &output {
                self.records.push((**record).clone());
            }
            self.lines.push(format!("{} {}", self.now_ms, line(&output)));
        }
    }

    /// Compares everything given out since the last check.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) -> &mut Self {
        let found = std::mem::take(&mut self.lines);
        assert_eq!(found, expected);
        self
    }

    /// Forgets what was given out.
    fn skip(&mut self) -> &mut Self {
        self.lines.clear();
        self
    }

    /// The caller speaks from `from` to `to`; VAD needs 50 ms to begin and 200 ms to end.
    fn speech(&mut self, from: u64, to: u64) -> &mut Self {
        let (onset, last_voiced) = (self.t(from), self.t(to));
        self.at(from + 50, Input::SpeechStarted { onset });
        self.at(to + 200, Input::SpeechEnded { last_voiced })
    }

    fn starts(&mut self, from: u64) -> &mut Self {
        let onset = self.t(from);
        self.at(from + 50, Input::SpeechStarted { onset })
    }

    fn ends(&mut self, ms: u64, last_voiced: u64) -> &mut Self {
        let last_voiced = self.t(last_voiced);
        self.at(ms, Input::SpeechEnded { last_voiced })
    }

    fn words(&mut self, ms: u64, id: u32, text: &str) -> &mut Self {
        let at = self.t(ms);
        self.at(
            ms,
            Input::SttFinal {
                text: Pii::new(text.to_owned()),
                confidence: Some(0.5),
                answers: Some(id),
                understood: !text.is_empty(),
                at,
            },
        )
    }

    fn llm(&mut self, ms: u64, turn: u32, text: &str) -> &mut Self {
        let at = self.t(ms);
        self.at(ms, Input::LlmText { turn: TurnId(turn), text: text.to_owned(), at })
    }

    fn llm_done(&mut self, ms: u64, turn: u32) -> &mut Self {
        self.at(ms, Input::LlmDone { turn: TurnId(turn) })
    }

    /// All audio of a sentence arrives.
    fn audio(&mut self, ms: u64, generation: u32, seq: u32, samples: u64) -> &mut Self {
        let (at, generation) = (self.t(ms), Generation(generation));
        self.at(ms, Input::TtsAudio { generation, seq, samples, at });
        self.at(ms, Input::TtsDone { generation, seq })
    }

    fn audible(&mut self, ms: u64, generation: u32) -> &mut Self {
        let (at, generation) = (self.t(ms), Generation(generation));
        self.at(ms, Input::FirstPacket { generation, at });
        self.at(ms, Input::FirstAudible { generation, at })
    }

    fn played(&mut self, ms: u64, generation: u32, samples: u64) -> &mut Self {
        let generation = Generation(generation);
        self.at(ms, Input::Played { generation, samples, finished: false })
    }

    fn finished(&mut self, ms: u64, generation: u32, samples: u64) -> &mut Self {
        let generation = Generation(generation);
        self.at(ms, Input::Played { generation, samples, finished: true })
    }

    fn stopped(&mut self, ms: u64, generation: u32, samples: u64) -> &mut Self {
        let (at, generation) = (self.t(ms), Generation(generation));
        self.at(ms, Input::Stopped { generation, samples, at })
    }

    /// The caller says `text` from 1,000 to 2,000; the reply (turn 1, generation 1) is asked for at 2,500.
    fn asked(&mut self, text: &str) -> &mut Self {
        self.speech(1_000, 2_000).words(2_300, 0, text).until(2_500).skip()
    }

    fn say(&mut self, ms: u64, text: &str, [interrupt, end_after]: [bool; 2]) -> &mut Self {
        let text = Pii::new(text.to_owned());
        self.at(
            ms,
            Input::Say { text, interrupt, interruptible: true, end_after, by: Delivery::Agent },
        )
    }

    fn history(&self) -> Vec<String> {
        self.machine.history().iter().map(|(r, t)| format!("{}:{}", role(*r), t.reveal())).collect()
    }

    fn record(&self, turn: u32) -> &TurnRecord {
        self.records.iter().find(|r| r.id == TurnId(turn)).unwrap()
    }
}

fn role(role: TurnRole) -> &'static str {
    match role {
        TurnRole::User => "user",
        TurnRole::Assistant => "agent",
        TurnRole::Tool => "tool",
        TurnRole::System => "system",
    }
}

fn line(output: &Output) -> String {
    match output {
        Output::SttSpeechStarted => "stt-start".to_owned(),
        Output::FinalizeStt { id } => format!("finalize {id}"),
        Output::StartReply { turn, generation, history, draft } => {
            let last = history.last().map(|(r, t)| format!("{}:{}", role(*r), t.reveal()));
            let ask = if *draft { "draft" } else { "ask" };
            format!("{ask} t{} g{} {}", turn.0, generation.0, last.unwrap_or_default())
        }
        Output::CommitReply { turn, generation } => format!("commit t{} g{}", turn.0, generation.0),
        Output::YieldPlayback { generation, how } => format!("yield g{} {how:?}", generation.0),
        Output::ResumePlayback { generation } => format!("resume g{}", generation.0),
        Output::CancelReply { turn } => format!("cancel t{}", turn.0),
        Output::Speak { generation, seq, text, .. } => {
            format!("speak g{}.{seq} {}", generation.0, text.reveal())
        }
        Output::EndOfSpeech { generation, sentences } => {
            format!("end-of-speech g{} {sentences}", generation.0)
        }
        Output::StopPlayback { generation } => format!("stop g{}", generation.0),
        Output::TurnStarted { turn, role: r, origin } => {
            format!("open t{} {} {origin:?}", turn.0, role(*r))
        }
        Output::TurnEnded(r) => {
            let spoken = r.spoken_content.as_ref().map(|s| format!(" heard[{}]", s.reveal()));
            let cut = if r.interrupted { " cut" } else { "" };
            format!("close t{} [{}]{}{cut}", r.id.0, r.content.reveal(), spoken.unwrap_or_default())
        }
        Output::Partial(text) => format!("partial {}", text.reveal()),
        Output::Hangup(reason) => format!("hangup {reason:?}"),
    }
}

fn error(stage: ErrorStage) -> CallError {
    CallError { code: "broken".to_owned(), message: "broken on purpose".to_owned(), stage }
}

fn hang_up(reason: EndReason) -> Input {
    Input::End { message: None, reason }
}
