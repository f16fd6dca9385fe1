//! The task of one call: one select over a closed set of wakes, each handed to the room that knows.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::agent::RecordingPolicy;
use super::answering::Judging;
use super::bridge::Bridge;
use super::clip::{Clip, ClipError};
use super::command::{CommandRequest, SupervisorMode};
use super::control::{Offers, OurHold};
use super::early::{self, Early};
use super::journal::{Journal, Speech};
use super::keys::AwaitedKeys;
use super::leg::{self, LegWake};
use super::live::{Live, Shown};
use super::negotiate::Negotiation;
use super::opening::Opening;
use super::playback::Playback;
use super::redirect::{self, Redirected, Redirects};
use super::successor::{self, Successor, SuccessorWake};
use super::supervise::{self, Supervision};
use super::tools::{Then, ToolRuns};
use super::transfer::Transfer;
use super::turn_ear::{TurnEar, probability};
use super::voice::{Voice, VoiceEvent};
use super::{AgentSnapshot, CallContext, CallSeed, MediaPolicy, Origin, TrunkRules};
use crate::audio::Suppressor;
use crate::engine::{Stream, StreamSeed};
use crate::media::{MediaCommand, MediaEvent};
use crate::net::clock;
use crate::providers::llm::ToolCall;
use crate::sip::{self, DialogId};
use crate::telemetry::metrics;
use crate::turn::{self, Machine};
use crate::types::call::{CallError, ErrorStage, TurnRole};
use crate::types::{CallEventKind, EndReason, Entropy, Generation, Pii, SampleRate, TurnId, Usage};

/// Events of the line taken in one wake before the others get their turn: after a stall of the task
/// the ring's 128 are read in four.
const EVENTS_PER_WAKE: usize = 32;

/// What a session listens to besides its own stream and providers.
pub(super) struct Inbox {
    pub(super) sip: mpsc::Receiver<sip::Event>,
    pub(super) commands: mpsc::Receiver<CommandRequest>,
    pub(super) shutdown: CancellationToken,
    pub(super) shown: Arc<Shown>,
}

/// Where the call is; the record's status is derived from the same steps.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the answer.
    Setup,
    /// Our 200 is out, its ACK is not here.
    Accepted,
    /// Both sides talk.
    Live,
    /// Over; `run` returns.
    Over(EndReason),
}

/// Why the task woke.
enum Wake {
    Sip(Option<sip::Event>),
    Media(Option<MediaEvent>),
    Far(LegWake),
    Supervisor(LegWake),
    Voice(VoiceEvent),
    /// How probably the caller's turn is over.
    TurnOver(f32),
    Tool(tokio::task::Id, Option<crate::tools::Done>),
    Command(CommandRequest),
    Redirected(Option<Redirected>),
    EarlyClip(Result<Clip, ClipError>),
    Successor(SuccessorWake),
    PlayoutWritable,
    Stored,
    Timer,
    Shutdown,
}

/// Sentences of the reply that is being spoken: its playback ends when all of them are synthesised.
#[derive(Debug, Default)]
pub(super) struct Closing {
    pub(super) generation: Generation,
    pub(super) done: u32,
    pub(super) expected: Option<u32>,
}

/// Whose audio is muted by command.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Muted {
    pub(super) agent: bool,
    pub(super) user: bool,
}

/// What an output of the machine leads to, once the machine is drained.
#[derive(Debug)]
pub(super) enum Later {
    Tell(turn::Input),
    SentenceDone(Generation),
    Follow(Then),
    CallTools(TurnId, Vec<ToolCall>),
}

/// A reply that is only prepared, and the tools its model asks for.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) turn: TurnId,
    pub(super) calls: Option<Vec<ToolCall>>,
}

/// One call.
pub(super) struct Session {
    pub(super) context: Arc<CallContext>,
    pub(super) agent: Arc<AgentSnapshot>,
    pub(super) dialog: DialogId,
    pub(super) journal: Journal,
    pub(super) inbox: Inbox,
    pub(super) machine: Machine,
    pub(super) voice: Voice,
    pub(super) stream: Option<Stream>,
    pub(super) playback: Playback,
    pub(super) closing: Closing,
    pub(super) opening: Opening,
    pub(super) draft: Option<Draft>,
    pub(super) phase: Phase,
    pub(super) media: MediaPolicy,
    pub(super) negotiation: Option<Negotiation>,
    pub(super) awaited_keys: AwaitedKeys,
    pub(super) rules: TrunkRules,
    pub(super) redirects: Option<Box<Redirects>>,
    /// Further headers of our BYE.
    pub(super) farewell: Vec<(String, String)>,
    pub(super) transfer: Option<Transfer>,
    pub(super) bridge: Option<Bridge>,
    pub(super) successor: Option<Box<Successor>>,
    /// What the party that came by REFER takes up.
    pub(super) succeeded: Option<leg::LegPlace>,
    /// What the first party takes up.
    pub(super) place: Option<Arc<super::Place>>,
    /// What second legs talked that are over.
    pub(super) leg_usage: Vec<Usage>,
    /// REFERs that were followed.
    pub(super) referrals: u32,
    pub(super) supervisor: Option<Supervision>,
    pub(super) supervisor_mode: SupervisorMode,
    pub(super) recording: Option<super::recorder::Recording>,
    pub(super) recording_stopped: bool,
    pub(super) on_hold: bool,
    pub(super) our_hold: Option<OurHold>,
    pub(super) offers: Offers,
    pub(super) muted: Muted,
    pub(super) tools: ToolRuns,
    pub(super) after_turn: Option<(TurnId, Then)>,
    pub(super) later: VecDeque<Later>,
    pub(super) clip: Option<(Arc<Clip>, bool)>,
    pub(super) handoffs: u32,
    pub(super) commands: VecDeque<Instant>,
    pub(super) answer_by: Option<Instant>,
    pub(super) early: Early,
    pub(super) judging: Option<Judging>,
    pub(super) suppressor: Option<Suppressor>,
    pub(super) turn_ear: Option<TurnEar>,
    origin: Option<Origin>,
    entropy: Entropy,
    assistant_audible: bool,
    playout_full: bool,
}

impl Session {
    pub(super) fn new(seed: CallSeed, context: Arc<CallContext>, inbox: Inbox) -> Self {
        let CallSeed { dialog, mut record, agent, media, rules, origin, entropy } = seed;
        record.agent_id = agent.id.kept();
        record.agent_name = Some(agent.name.clone());
        record.prompt = Some(agent.prompt.clone());
        record.language = Some(agent.language.clone());
        record.providers = agent.providers_used();
        agent.facts.note(&mut record);
        context.accounts.open(&mut record);
        let conversation = record.id.to_string();
        let (watchdog, voices) = (&context.config.watchdog, &context.voices);
        let voice = Voice::open(&agent, watchdog, conversation, voices, &context.breakers);
        let journal = Journal::open(record, context.store.clone(), context.bus.clone())
            .priced_by(Arc::clone(&context.accounts));
        let machine = Machine::new(agent.turn_config(), clock::now());
        let suppressor = Suppressor::new(agent.suppression(), SampleRate::HZ_8000);
        let turn_ear = TurnEar::open(&context, &agent, SampleRate::HZ_8000);
        Self {
            agent,
            dialog,
            journal,
            inbox,
            machine,
            voice,
            stream: None,
            playback: Playback::new(SampleRate::HZ_8000),
            closing: Closing::default(),
            opening: Opening::default(),
            draft: None,
            phase: Phase::Setup,
            negotiation: None,
            awaited_keys: AwaitedKeys::default(),
            rules,
            redirects: None,
            farewell: Vec::new(),
            media,
            transfer: None,
            bridge: None,
            successor: None,
            succeeded: None,
            place: None,
            leg_usage: Vec::new(),
            referrals: 0,
            supervisor: None,
            supervisor_mode: SupervisorMode::Listen,
            recording: None,
            recording_stopped: false,
            on_hold: false,
            our_hold: None,
            offers: Offers::default(),
            muted: Muted::default(),
            tools: ToolRuns::default(),
            after_turn: None,
            later: VecDeque::new(),
            clip: None,
            handoffs: 0,
            commands: VecDeque::new(),
            answer_by: None,
            early: Early::None,
            judging: None,
            suppressor,
            turn_ear,
            origin: Some(origin),
            entropy,
            assistant_audible: false,
            playout_full: false,
            context,
        }
    }

    /// Runs the call to its end and says why it ended. SIP is told before it returns.
    pub(super) async fn run(&mut self) -> EndReason {
        if let Err(reason) = self.set_up() {
            return reason;
        }
        // One timer for the whole call: to make one for every wake costs as much as the wake.
        let mut timer = pin!(tokio::time::sleep_until(clock::now().into()));
        loop {
            if let Phase::Over(reason) = self.phase {
                return reason;
            }
            self.feed_line();
            let wake = self.wait(timer.as_mut()).await;
            self.on_wake(wake);
            self.run_machine();
            self.take_waiting();
            self.show();
            self.voice.flush();
            self.maybe_answer();
        }
    }

    /// For whoever looks at the call.
    fn show(&self) {
        self.inbox.shown.show(Live {
            muted: self.muted.agent || self.muted.user,
            on_hold: self.on_hold || self.our_hold.is_some(),
            transferring: self.transfer.is_some(),
            speaking: self.assistant_audible,
        });
    }

    /// Takes what else the line has told already: frames come several at a time.
    fn take_waiting(&mut self) {
        for _ in 0..EVENTS_PER_WAKE {
            if matches!(self.phase, Phase::Over(_)) {
                return;
            }
            let event = self.stream.as_mut().and_then(|stream| stream.events.try_recv());
            let Some(event) = event else { return };
            self.on_media(event);
            self.run_machine();
        }
    }

    fn set_up(&mut self) -> Result<(), EndReason> {
        self.journal.initiated();
        let seed = StreamSeed {
            call: self.journal.record().id,
            media: crate::media::Config {
                vad: self.agent.vad.clone(),
                background: self.agent.background.clone(),
                initial_timeout: self.context.media_timeout,
                timeout: self.context.media_timeout,
                ..Default::default()
            },
            recording: match self.agent.recording {
                RecordingPolicy::On => crate::engine::Recording::On,
                RecordingPolicy::Off => crate::engine::Recording::Off,
            },
            entropy: self.entropy.fork(),
        };
        let signalled =
            self.origin.as_ref().map(|origin| self.near_media(origin.local_ip(), origin.offer()));
        let attached = match signalled {
            Some(near) => self.context.engine.attach_near(seed, near),
            None => self.context.engine.attach(seed),
        };
        match attached {
            Ok(stream) => {
                let near = signalled.unwrap_or(stream.local_rtp.ip());
                let local = leg::signalled(&stream, &self.media, near);
                let certificate = || stream.fingerprint();
                let negotiation =
                    Negotiation::new(local, &self.media, certificate, &mut self.entropy);
                self.negotiation = Some(negotiation);
                self.stream = Some(stream);
            }
            Err(error) => {
                tracing::warn!(error = %crate::telemetry::chain::chain(&error), "failed to attach media");
                self.fail("media_ports", "no media port is free", ErrorStage::Media);
                self.refuse(503, Some(5));
                return Err(EndReason::Congestion);
            }
        }
        match self.origin.take() {
            Some(Origin::Inbound { facts, offer }) => {
                self.begin_inbound(offer, facts.needs_reliable)
            }
            Some(Origin::Outbound { invite, sent }) => {
                let begun = self.begin_outbound(*invite);
                // Nobody needs to wait for it.
                let _ = sent.send(());
                begun
            }
            None => Err(EndReason::InternalError),
        }
    }

    async fn wait(&mut self, mut timer: Pin<&mut tokio::time::Sleep>) -> Wake {
        let wake_at = self.next_wake();
        if let Some(at) = wake_at.map(tokio::time::Instant::from)
            && timer.deadline() != at
        {
            timer.as_mut().reset(at);
        }
        let Some(stream) = &mut self.stream else { return Wake::Shutdown };
        let (events, playout) = (&mut stream.events, &mut stream.playout);
        let (full, storing) = (self.playout_full, !self.journal.is_stored());
        tokio::select! {
            biased;
            () = self.inbox.shutdown.cancelled() => Wake::Shutdown,
            event = self.inbox.sip.recv() => Wake::Sip(event),
            event = events.recv() => Wake::Media(event),
            far = leg::next(&mut self.bridge) => Wake::Far(far),
            wake = leg::next(&mut self.supervisor) => Wake::Supervisor(wake),
            event = self.voice.next() => Wake::Voice(event),
            over = probability(&mut self.turn_ear) => Wake::TurnOver(over),
            (id, done) = self.tools.next() => Wake::Tool(id, done),
            target = redirect::answered(&mut self.redirects) => Wake::Redirected(target),
            clip = early::loaded(&mut self.early) => Wake::EarlyClip(clip),
            wake = successor::next(&mut self.successor) => Wake::Successor(wake),
            () = playout.writable(), if full => Wake::PlayoutWritable,
            () = self.journal.stored(), if storing => Wake::Stored,
            Some(command) = self.inbox.commands.recv() => Wake::Command(command),
            () = timer, if wake_at.is_some() => Wake::Timer,
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let judging = self.judging.as_ref().and_then(Judging::next_wake);
        let early = self.early.next_wake();
        let own = [self.transfer_wake(), self.hold_wake(), self.offers.again, judging, early];
        [self.machine.next_wake(), self.voice.next_wake(), self.answer_by]
            .into_iter()
            .chain(own)
            .flatten()
            .min()
    }

    fn on_wake(&mut self, wake: Wake) {
        match wake {
            Wake::Sip(Some(event)) => self.on_sip(event),
            // The switchboard forgot the dialog: nothing can be said to it any more.
            Wake::Sip(None) => self.phase = Phase::Over(EndReason::NetworkError),
            Wake::Media(Some(event)) => self.on_media(event),
            Wake::Media(None) => {
                self.fail("media_thread", "the media stream ended by itself", ErrorStage::Media);
                self.hang_up(EndReason::InternalError);
            }
            Wake::Far(wake) => self.on_far(wake),
            Wake::Supervisor(wake) => self.on_supervisor(wake),
            Wake::Voice(event) => self.on_voice(event),
            Wake::TurnOver(probability) => self.on_turn_judged(probability),
            Wake::Tool(id, done) => self.on_tool(id, done),
            Wake::Command(request) => self.on_command(request),
            Wake::Redirected(target) => self.on_redirected(target),
            Wake::EarlyClip(clip) => self.on_early_clip(clip),
            Wake::Successor(wake) => self.on_successor(wake),
            Wake::PlayoutWritable => self.playout_full = false,
            // The answer waits for it.
            Wake::Stored => {}
            Wake::Timer => {
                let now = clock::now();
                self.voice.on_timeout(now);
                self.transfer_due(now);
                self.hold_due(now);
                self.offer_due(now);
                self.judge(now, turn::AnsweringInput::Timeout);
                if self.machine.next_wake().is_some_and(|at| at <= now) {
                    self.machine.handle(now, turn::Input::Timeout);
                }
            }
            Wake::Shutdown => self.hang_up(EndReason::Shutdown),
        }
    }

    pub(super) fn on_media(&mut self, event: MediaEvent) {
        if early::is_of_early(&event) || self.bridged_media(&event) {
            return;
        }
        let now = clock::now();
        match event {
            MediaEvent::Frame { frame, .. } => {
                if self.phase == Phase::Live {
                    let heard = match &mut self.suppressor {
                        Some(suppressor) => suppressor.clean(frame.samples()),
                        None => frame.samples(),
                    };
                    self.voice.push(heard);
                    if let Some(ear) = &mut self.turn_ear {
                        ear.push(frame.samples());
                    }
                    self.judge_sound(frame.samples());
                }
            }
            MediaEvent::SpeechStarted { onset } if self.phase == Phase::Live => {
                self.journal.speech(TurnRole::User, Speech::Started);
                self.judge(now, turn::AnsweringInput::SpeechStarted { onset });
                if let Some(ear) = &mut self.turn_ear {
                    let spoken = now.saturating_duration_since(onset);
                    ear.speech_started(spoken, self.machine.is_caller_quiet());
                }
                self.machine.handle(now, turn::Input::SpeechStarted { onset });
            }
            MediaEvent::SpeechEnded { last_voiced } if self.phase == Phase::Live => {
                self.journal.speech(TurnRole::User, Speech::Ended);
                self.judge(now, turn::AnsweringInput::SpeechEnded { last_voiced });
                self.machine.handle(now, turn::Input::SpeechEnded { last_voiced });
                if let Some(ear) = &mut self.turn_ear {
                    ear.speech_ended();
                }
            }
            // Early media: VAD may hear ringback, which is nobody's turn.
            MediaEvent::SpeechStarted { .. } | MediaEvent::SpeechEnded { .. } => {}
            MediaEvent::Digit { digit } => self.on_digit(char::from(digit)),
            MediaEvent::FirstPacket { generation, at } => {
                self.machine.handle(now, turn::Input::FirstPacket { generation, at });
            }
            MediaEvent::FirstAudible { generation, at } => {
                self.assistant(Speech::Started);
                self.machine.handle(now, turn::Input::FirstAudible { generation, at });
            }
            MediaEvent::Played { generation, samples, finished } => {
                if finished {
                    self.assistant(Speech::Ended);
                }
                self.machine.handle(now, turn::Input::Played { generation, samples, finished });
            }
            MediaEvent::Stopped { generation, samples, at } => {
                self.assistant(Speech::Ended);
                self.voice.stopped(generation, samples, self.playback.rate());
                self.machine.handle(now, turn::Input::Stopped { generation, samples, at });
            }
            MediaEvent::MediaTimeout => {
                self.journal.emit(CallEventKind::MediaLost);
                if !self.on_hold && self.our_hold.is_none() {
                    self.fail("media_timeout", "no audio arrived for too long", ErrorStage::Media);
                    self.hang_up(EndReason::MediaTimeout);
                }
            }
            MediaEvent::Keyed => self.on_keyed(),
            MediaEvent::KeyingFailed(why) => self.on_keying_failed(why),
            MediaEvent::DigitsSent | MediaEvent::RtcpBye => {}
        }
    }

    fn assistant(&mut self, edge: Speech) {
        let audible = edge == Speech::Started;
        if std::mem::replace(&mut self.assistant_audible, audible) != audible {
            self.journal.speech(TurnRole::Assistant, edge);
        }
    }

    pub(super) fn on_digit(&mut self, digit: char) {
        self.journal.emit(CallEventKind::DtmfReceived { digit: Pii::new(digit) });
        if self.phase == Phase::Live {
            self.judge(clock::now(), turn::AnsweringInput::Digit);
            self.machine.handle(clock::now(), turn::Input::Digit(digit));
        }
    }

    /// Moves waiting audio into the line's ring until it is full.
    fn feed_line(&mut self) {
        if self.is_briefing() {
            return self.feed_far();
        }
        let Some(stream) = &mut self.stream else { return };
        let playout = &mut stream.playout;
        while self.playback.has_frame() {
            if playout.free_frames() == 0 {
                self.playout_full = true;
                return;
            }
            let Some(frame) = self.playback.next_frame() else { return };
            supervise::mirror(&mut self.supervisor, &frame, self.playback.rate());
            if playout.push(frame).is_err() {
                metrics::queue_full("playout");
                self.playout_full = true;
                return;
            }
        }
        self.playout_full = false;
    }

    /// Sends a command to the stream. A stream that takes no commands is stuck.
    pub(super) fn line(&mut self, command: MediaCommand) {
        supervise::mirror_command(&mut self.supervisor, command);
        let Some(stream) = &mut self.stream else { return };
        if stream.command(command).is_err() {
            metrics::queue_full("media_command");
            self.fail("media_stuck", "the media stream takes no commands", ErrorStage::Media);
            self.hang_up(EndReason::InternalError);
        }
    }

    /// Notes a failure of our own.
    pub(super) fn fail(&mut self, code: &str, message: &str, stage: ErrorStage) {
        self.journal.failed(CallError {
            code: code.to_owned(),
            message: message.to_owned(),
            stage,
        });
    }

    /// The call is answered and its media runs.
    pub(super) fn go_live(&mut self) {
        if self.phase == Phase::Live || self.waits_for_keys() {
            return;
        }
        self.phase = Phase::Live;
        // In this order the first stored record of the live call names its recording: after a crash
        // nothing else leads from the one to the other.
        self.start_recording();
        self.journal.advance(crate::types::CallStatus::InProgress);
        if !self.begin_judging() {
            self.machine.handle(clock::now(), turn::Input::Answered);
        }
    }
}
