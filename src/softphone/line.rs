//! One call's task: turns the crank between SIP, the audio stream and what the holder asks for.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ear::EarEvent;
use super::mouth::{Mouth, UtteranceId};
use super::pacing::Sound;
use super::state::{CallEnd, HoldState, PhoneEvent, Reoffer, Shared};
use crate::audio::level;
use crate::engine::Stream;
use crate::media::outbound::AUDIBLE_DBFS;
use crate::media::{
    Frame, FrameOrigin, MediaCommand, MediaDirection, MediaEvent, SourcePolicy, StreamFormat,
};
use crate::net::{self, clock};
use crate::sdp::{Direction, Negotiated, Session};
use crate::sip::{Command, DialogId, Event, Rejection};

/// Commands a holder may have waiting.
pub(super) const COMMAND_QUEUE: usize = 64;
/// Key presses: ITU-T Q.24 wants 40 ms of tone and as much silence; receivers in the field want more.
const DIGIT_MS: u16 = 120;
/// Silence after each.
const DIGIT_GAP_MS: u16 = 80;
/// Frames between two looks at the stream's statistics, which are taken once a second.
const STATS_FRAMES: u32 = 50;

/// What the holder of a call asks for.
pub(super) enum LineCommand {
    Say(UtteranceId, Vec<i16>),
    Hush,
    Digits(String),
    Direct(Direction),
    HangUp,
}

/// Where the SIP side of the call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Our INVITE, or theirs that we accepted, is not settled.
    SettingUp,
    Live,
    /// Our BYE or CANCEL is out.
    Closing,
}

/// One call.
pub(super) struct Line {
    pub(super) shared: Arc<Shared>,
    pub(super) net: net::Handle,
    pub(super) dialog: DialogId,
    pub(super) stream: Stream,
    pub(super) session: Session,
    pub(super) agreed: Option<Negotiated>,
    pub(super) mouth: Mouth,
    pub(super) phase: Phase,
    pub(super) ring_full: bool,
    pub(super) frames: u32,
    /// Direction we want: hold is ours to end.
    pub(super) wanted: Direction,
}

/// Where a line's events come from.
pub(super) struct Inbox {
    pub(super) sip: mpsc::Receiver<Event>,
    pub(super) commands: mpsc::Receiver<LineCommand>,
}

#[expect(clippy::large_enum_variant, reason = "lives for one turn of the loop, on the stack")]
enum Wake {
    Sip(Option<Event>),
    Media(Option<MediaEvent>),
    Command(Option<LineCommand>),
    Writable,
}

impl Line {
    /// Runs to the end of the call.
    pub(super) async fn run(mut self, mut inbox: Inbox) {
        let mut held = true;
        let end = loop {
            self.feed();
            let (events, playout) = (&mut self.stream.events, &mut self.stream.playout);
            let full = self.ring_full;
            let wake = tokio::select! {
                biased;
                event = inbox.sip.recv() => Wake::Sip(event),
                event = events.recv() => Wake::Media(event),
                () = playout.writable(), if full => Wake::Writable,
                command = inbox.commands.recv(), if held => Wake::Command(command),
            };
            let end = match wake {
                Wake::Sip(Some(event)) => self.on_sip(event),
                Wake::Sip(None) | Wake::Media(None) => Some(CallEnd::Lost),
                Wake::Media(Some(event)) => {
                    self.on_media(&event);
                    None
                }
                Wake::Writable => {
                    self.ring_full = false;
                    None
                }
                Wake::Command(Some(command)) => self.on_command(command),
                Wake::Command(None) => {
                    // Nobody holds the call any more.
                    held = false;
                    self.on_command(LineCommand::HangUp)
                }
            };
            if let Some(end) = end {
                break end;
            }
        };
        let stream = self.stream.stats();
        let dropped = self.stream.events_dropped();
        self.shared.update(|state| {
            state.stream = stream;
            state.events_dropped = dropped;
            state.end = Some(end.clone());
            state.tell(PhoneEvent::Ended(end));
        });
    }

    fn sip(&mut self, command: Command) -> Option<CallEnd> {
        self.net.command(command).is_err().then_some(CallEnd::Lost)
    }

    fn feed(&mut self) {
        while self.mouth.has_frame() {
            if self.stream.playout.free_frames() == 0 {
                self.ring_full = true;
                return;
            }
            let Some(frame) = self.mouth.next_frame() else { return };
            if self.stream.playout.push(frame).is_err() {
                // Only this task pushes, so that a free slot stays free.
                return;
            }
        }
        self.ring_full = false;
    }

    fn on_command(&mut self, command: LineCommand) -> Option<CallEnd> {
        match command {
            LineCommand::Say(id, samples) => {
                // The holder counts what waits; one too many is as if it was cut.
                if self.mouth.say(id, &samples).is_err() {
                    let now = clock::now();
                    self.shared.update(|state| {
                        let mut said = state.said(id).unwrap_or_default();
                        (said.finished, said.cut) = (Some(now), true);
                        state.update_said(id, said);
                    });
                }
                None
            }
            LineCommand::Hush => {
                let generation = self.mouth.cut()?;
                self.media(MediaCommand::StopPlayback { generation })
            }
            LineCommand::Digits(digits) => digits.bytes().find_map(|digit| {
                let command =
                    MediaCommand::SendDigit { digit, duration_ms: DIGIT_MS, gap_ms: DIGIT_GAP_MS };
                self.media(command)
            }),
            LineCommand::Direct(wanted) => {
                if self.phase != Phase::Live {
                    self.shared.update(|state| state.reoffer = Reoffer::Done(Err(0)));
                    return None;
                }
                self.wanted = wanted;
                let sdp = Bytes::from(self.session.offer(wanted));
                self.sip(Command::Reoffer { dialog: self.dialog, sdp })
            }
            LineCommand::HangUp => {
                if self.phase == Phase::Closing {
                    return None;
                }
                self.phase = Phase::Closing;
                let reason = Some("Q.850;cause=16".to_owned());
                self.sip(Command::Bye { dialog: self.dialog, reason, headers: Vec::new() })
            }
        }
    }

    fn media(&mut self, command: MediaCommand) -> Option<CallEnd> {
        self.stream.command(command).is_err().then_some(CallEnd::Lost)
    }

    fn on_sip(&mut self, event: Event) -> Option<CallEnd> {
        match event {
            Event::Progress { status, sdp, .. } => {
                self.shared.update(|state| state.tell(PhoneEvent::Progress { status }));
                if let Some(sdp) = sdp {
                    self.take_answer(&sdp);
                }
                None
            }
            Event::Answered { sdp, .. } => {
                let fits = sdp.as_ref().is_some_and(|sdp| self.take_answer(sdp));
                if !fits && self.agreed.is_none() {
                    self.sip(Command::Bye {
                        dialog: self.dialog,
                        reason: None,
                        headers: Vec::new(),
                    });
                    return Some(CallEnd::NoAgreement);
                }
                self.go_live();
                None
            }
            Event::Established { answer, .. } => {
                if let Some(answer) = answer
                    && !self.take_answer(&answer)
                {
                    self.sip(Command::Bye {
                        dialog: self.dialog,
                        reason: None,
                        headers: Vec::new(),
                    });
                    return Some(CallEnd::NoAgreement);
                }
                self.go_live();
                None
            }
            Event::Offered { offer, .. } => self.on_offered(offer),
            Event::OfferAnswered { answer, .. } => {
                self.on_offer_answered(answer);
                None
            }
            Event::ByeReceived { reason, .. } => Some(CallEnd::ByRemote { reason }),
            Event::Canceled { .. } => Some(CallEnd::Unanswered),
            Event::Failed { failure, .. } => Some(CallEnd::Failed(failure)),
            Event::AckTimedOut { .. } => Some(CallEnd::Lost),
            Event::Terminated { .. } => Some(match self.phase {
                Phase::Closing => CallEnd::HungUp,
                Phase::SettingUp | Phase::Live => CallEnd::Lost,
            }),
            Event::CommandRefused { command, .. } => {
                if command == "reoffer" {
                    self.on_offer_answered(Err(491));
                }
                None
            }
            // The end of a session is said by the event that follows.
            Event::Info { .. }
            | Event::Refreshed { .. }
            | Event::SessionExpired { .. }
            | Event::ReferProgress { .. }
            | Event::Incoming { .. }
            | Event::TargetFailed { .. }
            | Event::Registered { .. }
            | Event::Referred { .. }
            | Event::Pinged { .. } => None,
        }
    }

    fn go_live(&mut self) {
        if self.phase == Phase::SettingUp {
            self.phase = Phase::Live;
            let now = clock::now();
            self.shared.update(|state| {
                state.answered_at = Some(now);
                state.tell(PhoneEvent::Answered);
            });
        }
    }

    fn take_answer(&mut self, sdp: &Bytes) -> bool {
        match self.session.accept_answer(sdp) {
            Ok(agreed) => {
                self.apply(agreed);
                true
            }
            Err(_) => false,
        }
    }

    /// Configures the stream with what was agreed on.
    pub(super) fn apply(&mut self, agreed: Negotiated) {
        self.agreed = Some(agreed);
        // A ring without room for one command belongs to a stream that is gone; its end will tell.
        let _ = self.stream.command(MediaCommand::Configure(format_of(&agreed)));
    }

    fn on_offered(&mut self, offer: Option<Bytes>) -> Option<CallEnd> {
        let dialog = self.dialog;
        let Some(offer) = offer else {
            let sdp = Bytes::from(self.session.offer(self.wanted));
            return self.sip(Command::AnswerOffer { dialog, answer: Ok(sdp) });
        };
        match self.session.answer(&offer, self.wanted) {
            Ok(answer) => {
                self.apply(answer.negotiated);
                self.note_remote_hold(answer.negotiated.direction);
                self.sip(Command::AnswerOffer { dialog, answer: Ok(Bytes::from(answer.body)) })
            }
            Err(_) => {
                let answer = Err(Rejection::status(488));
                self.sip(Command::AnswerOffer { dialog, answer })
            }
        }
    }

    fn note_remote_hold(&mut self, direction: Direction) {
        let wants_ours = direction.sends() || !self.wanted.sends();
        let hold = if wants_ours { HoldState::Talking } else { HoldState::Held };
        self.shared.update(|state| {
            if std::mem::replace(&mut state.held_by_remote, hold) != hold {
                state.tell(PhoneEvent::HeldByRemote(hold));
            }
        });
    }

    fn on_offer_answered(&mut self, answer: Result<Bytes, u16>) {
        let done = match answer {
            Ok(sdp) if self.take_answer(&sdp) => Ok(()),
            Ok(_) => Err(488),
            Err(status) => {
                self.session.withdraw_offer();
                Err(status)
            }
        };
        self.shared.update(|state| state.reoffer = Reoffer::Done(done));
    }

    fn on_media(&mut self, event: &MediaEvent) {
        match event {
            MediaEvent::Frame { frame, at, origin } => self.hear(frame, *at, *origin),
            MediaEvent::Digit { digit } => {
                self.shared.update(|state| state.digit(char::from(*digit)));
            }
            MediaEvent::DigitsSent => self.shared.update(|state| state.digits_sending = false),
            MediaEvent::FirstPacket { .. }
            | MediaEvent::FirstAudible { .. }
            | MediaEvent::Stopped { .. } => {
                let shared = Arc::clone(&self.shared);
                self.mouth.on_event(event, |id, said| {
                    shared.update(|state| state.update_said(id, said));
                });
            }
            MediaEvent::SpeechStarted { .. }
            | MediaEvent::SpeechEnded { .. }
            | MediaEvent::Played { .. }
            | MediaEvent::MediaTimeout
            | MediaEvent::Keyed
            | MediaEvent::RtcpBye => {}
            MediaEvent::KeyingFailed(_) => {
                // A driver that takes nothing is gone; the end of its events will tell.
                let _ = self.on_command(LineCommand::HangUp);
            }
        }
    }

    fn hear(&mut self, frame: &Frame, at: std::time::Instant, origin: FrameOrigin) {
        self.frames = self.frames.wrapping_add(1);
        let stats = self.frames.is_multiple_of(STATS_FRAMES).then(|| self.stream.stats());
        let mut state = self.shared.lock();
        if let Some(stats) = stats {
            state.stream = stats;
        }
        let at = match origin {
            FrameOrigin::Packet { read_at } => {
                let audible = level::rms_dbfs(frame.samples()) > AUDIBLE_DBFS;
                let sound = if audible { Sound::Audible } else { Sound::Silent };
                state.pacing.packet(read_at, sound);
                read_at
            }
            FrameOrigin::Lost => {
                state.pacing.interrupt();
                state.frames_lost += 1;
                at
            }
            FrameOrigin::Silence => {
                state.pacing.interrupt();
                at
            }
        };
        state.hear(at, frame);
        // What was concealed was never heard.
        let heard = match origin {
            FrameOrigin::Lost => None,
            FrameOrigin::Packet { .. } | FrameOrigin::Silence => {
                state.ear.hear(at, frame.samples())
            }
        };
        match heard {
            None => return,
            Some(EarEvent::Began { at }) => state.tell(PhoneEvent::RemoteBegan { at }),
            Some(EarEvent::Ended { at }) => state.tell(PhoneEvent::RemoteEnded { at }),
            Some(EarEvent::Settled { .. }) => {}
        }
        drop(state);
        self.shared.ring();
    }
}

/// What the media stream is to do.
fn format_of(agreed: &Negotiated) -> StreamFormat {
    StreamFormat {
        remote_rtp: agreed.remote_rtp,
        remote_rtcp: agreed.remote_rtcp,
        codec: agreed.codec,
        alternate: agreed.alternate,
        send_ptime_ms: agreed.send_ptime_ms(),
        send_payload_type: agreed.send_payload_type,
        dtmf_receive_pt: agreed.dtmf_receive_pt,
        dtmf_send_pt: agreed.dtmf_send_pt,
        dtmf_clock_rate: agreed.dtmf_clock_rate,
        direction: match agreed.direction {
            Direction::SendRecv => MediaDirection::SendRecv,
            Direction::SendOnly => MediaDirection::SendOnly,
            Direction::RecvOnly => MediaDirection::RecvOnly,
            Direction::Inactive => MediaDirection::Inactive,
        },
        source_policy: SourcePolicy::Learn,
        srtp: agreed.srtp,
        dtls: agreed.dtls,
        ice: agreed.ice,
    }
}
