//! What is known of a call: written by its line, waited on by its holder.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::ear::Ear;
use super::mouth::{Said, UtteranceId};
use super::pacing::Pacing;
use crate::media::event::FRAME_SAMPLES_MAX_G711;
use crate::media::{Frame, StreamStats};
use crate::sip::{InviteFailure, InviteFailureCause};

/// Events kept until somebody reads them; the oldest go first.
const EVENTS_MAX: usize = 4_096;
/// Utterances remembered.
const SAID_MAX: usize = 1_024;
/// Audio kept: ten minutes, 10 MB; the oldest goes first.
const HEARD_FRAMES_MAX: usize = 30_000;
/// Digits remembered.
const DIGITS_MAX: usize = 4_096;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// We hung up an answered call.
    HungUp,
    /// The other side hung up.
    ByRemote {
        /// Value of its Reason header.
        reason: Option<String>,
    },
    /// Our INVITE came to nothing.
    Failed(InviteFailure),
    /// The other side gave up before we answered, or we refused.
    Unanswered,
    /// Offer and answer had nothing in common.
    NoAgreement,
    /// The network or a part of the phone failed.
    Lost,
}

impl CallEnd {
    /// Final SIP status of a failed INVITE.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Failed(failure) => failure.status,
            _ => None,
        }
    }
}

impl std::fmt::Display for CallEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HungUp => f.write_str("we hung up"),
            Self::ByRemote { .. } => f.write_str("the other side hung up"),
            Self::Failed(failure) => failed(failure, f),
            Self::Unanswered => f.write_str("it was not answered"),
            Self::NoAgreement => f.write_str("no codec in common"),
            Self::Lost => f.write_str("the connection was lost"),
        }
    }
}

fn failed(failure: &InviteFailure, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    match (failure.status, failure.cause) {
        (Some(status), InviteFailureCause::Auth) => {
            write!(f, "the credentials were refused ({status})")
        }
        (Some(status), InviteFailureCause::Refused) => {
            let phrase = failure.reason_phrase.as_deref().unwrap_or_default();
            write!(f, "refused: {status} {phrase}")
        }
        (_, InviteFailureCause::Canceled) => f.write_str("canceled"),
        (_, InviteFailureCause::RingTimeout) => f.write_str("nobody answered"),
        (_, InviteFailureCause::NoResponse) => f.write_str("nothing answers at that address"),
        (
            _,
            InviteFailureCause::Transport | InviteFailureCause::Auth | InviteFailureCause::Refused,
        ) => f.write_str("the address cannot be reached"),
    }
}

/// What happens on a call, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhoneEvent {
    /// 101 to 199 on our INVITE.
    Progress {
        /// Status.
        status: u16,
    },
    /// Both sides know the call, and audio can flow.
    Answered,
    /// The remote began to speak.
    RemoteBegan {
        /// Arrival of its first audible packet.
        at: Instant,
    },
    /// The remote stopped.
    RemoteEnded {
        /// Arrival of its last audible packet.
        at: Instant,
    },
    /// The remote pressed a key.
    Digit(char),
    /// The remote changed the direction of the audio.
    HeldByRemote(HoldState),
    /// An utterance of ours has left, or was cut.
    Spoken(UtteranceId, Said),
    /// The last event.
    Ended(CallEnd),
}

/// Whether audio may flow to the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// It does not want our audio.
    Held,
    /// It does.
    Talking,
}

/// Whether what is heard is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// The last ten minutes.
    #[default]
    Audio,
    /// Nothing but the times of talkspurts: for load.
    Times,
}

/// Why a wait on a call ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// It did not happen in time.
    #[error("wait for {what}: nothing came within {limit:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The call was over first.
    #[error("the call is over: {0}")]
    Over(CallEnd),
    /// The other side refused a change of the call.
    #[error("change the call: refused with {0}")]
    Refused(u16),
    /// The address cannot be called.
    #[error("call `{uri}`: {why}")]
    Address {
        /// As given.
        uri: String,
        /// What is wrong.
        why: String,
    },
    /// The engine gave no stream.
    #[error("open the audio of a call")]
    Media(#[from] crate::engine::AttachError),
    /// Too much is asked at once.
    #[error("ask the call for more: it is busy")]
    Busy,
    /// A digit that no keypad has.
    #[error("press `{0}`: no keypad has it")]
    Digit(char),
    /// Audio that cannot be converted to the line's rate.
    #[error("convert the audio to the rate of the line")]
    Audio,
}

/// A change of the call that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reoffer {
    Idle,
    Pending,
    Done(Result<(), u16>),
}

/// One heard frame.
#[derive(Clone, Copy)]
pub(super) struct HeardFrame {
    pub(super) at: Instant,
    pub(super) frame: Frame,
}

/// Everything known of a call.
pub(super) struct CallState {
    pub(super) answered_at: Option<Instant>,
    pub(super) end: Option<CallEnd>,
    pub(super) events: VecDeque<PhoneEvent>,
    pub(super) ear: Ear,
    pub(super) keep: Keep,
    pub(super) heard: VecDeque<HeardFrame>,
    pub(super) digits: VecDeque<char>,
    pub(super) digits_sending: bool,
    pub(super) said: VecDeque<(UtteranceId, Said)>,
    pub(super) next_utterance: u32,
    /// The reply that comes is one to what left before this instant.
    pub(super) reply_from: Instant,
    /// Last audible packet of ours.
    pub(super) last_said: Option<Instant>,
    pub(super) reoffer: Reoffer,
    pub(super) held_by_remote: HoldState,
    pub(super) pacing: Pacing,
    pub(super) frames_lost: u64,
    pub(super) stream: StreamStats,
    pub(super) events_dropped: u64,
}

impl CallState {
    pub(super) fn new(now: Instant, ear: Ear, keep: Keep) -> Self {
        Self {
            answered_at: None,
            end: None,
            events: VecDeque::new(),
            ear,
            keep,
            heard: VecDeque::new(),
            digits: VecDeque::new(),
            digits_sending: false,
            said: VecDeque::new(),
            next_utterance: 0,
            reply_from: now,
            last_said: None,
            reoffer: Reoffer::Idle,
            held_by_remote: HoldState::Talking,
            pacing: Pacing::default(),
            frames_lost: 0,
            stream: StreamStats::default(),
            events_dropped: 0,
        }
    }

    pub(super) fn tell(&mut self, event: PhoneEvent) {
        push_bounded(&mut self.events, event, EVENTS_MAX);
    }

    pub(super) fn digit(&mut self, digit: char) {
        push_bounded(&mut self.digits, digit, DIGITS_MAX);
        self.tell(PhoneEvent::Digit(digit));
    }

    pub(super) fn hear(&mut self, at: Instant, frame: &Frame) {
        // Filled-in time is placed by the sender's clock and may lie a little before the last packet.
        let at = self.heard.back().map_or(at, |last| at.max(last.at));
        if self.keep == Keep::Audio {
            push_bounded(&mut self.heard, HeardFrame { at, frame: *frame }, HEARD_FRAMES_MAX);
        }
    }

    /// Samples that arrived from `from` to `to`, both included.
    pub(super) fn heard_between(&self, from: Instant, to: Instant) -> Vec<i16> {
        let first = self.heard.partition_point(|heard| heard.at < from);
        let wanted = self.heard.iter().skip(first).take_while(|heard| heard.at <= to);
        let mut samples = Vec::with_capacity(wanted.clone().count() * FRAME_SAMPLES_MAX_G711);
        for heard in wanted {
            samples.extend_from_slice(heard.frame.samples());
        }
        samples
    }

    /// A number for an utterance that is about to be queued.
    pub(super) fn number_utterance(&mut self) -> UtteranceId {
        let id = UtteranceId(self.next_utterance);
        self.next_utterance = self.next_utterance.wrapping_add(1);
        push_bounded(&mut self.said, (id, Said::default()), SAID_MAX);
        id
    }

    pub(super) fn said(&self, id: UtteranceId) -> Option<Said> {
        self.said.iter().rev().find(|(known, _)| *known == id).map(|(_, said)| *said)
    }

    pub(super) fn update_said(&mut self, id: UtteranceId, said: Said) {
        let Some((_, known)) = self.said.iter_mut().rev().find(|(known, _)| *known == id) else {
            return;
        };
        let before = std::mem::replace(known, said);
        if let Some(at) = said.last_audible {
            self.last_said = self.last_said.max(Some(at));
            self.reply_from = self.reply_from.max(at);
        }
        if said.finished.is_some() && before.finished.is_none() {
            self.tell(PhoneEvent::Spoken(id, said));
        }
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() == max {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// The state with a bell.
pub(super) struct Shared {
    state: Mutex<CallState>,
    changed: watch::Sender<()>,
}

impl Shared {
    pub(super) fn new(state: CallState) -> Self {
        Self { state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, CallState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who waits.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut CallState) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.send_replace(());
        changed
    }

    /// Wakes who waits.
    pub(super) fn ring(&self) {
        self.changed.send_replace(());
    }

    /// Waits until `look` finds what it looks for, the call is over or the limit has passed.
    pub(super) async fn until<T>(
        &self,
        what: &'static str,
        limit: Duration,
        mut look: impl FnMut(&mut CallState) -> Option<T>,
    ) -> Result<T, PhoneError> {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                {
                    let mut state = self.lock();
                    if let Some(found) = look(&mut state) {
                        return Ok(found);
                    }
                    if let Some(end) = &state.end {
                        return Err(PhoneError::Over(end.clone()));
                    }
                }
                if changed.changed().await.is_err() {
                    return Err(PhoneError::Over(CallEnd::Lost));
                }
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(Err(PhoneError::Timeout { what, limit }))
    }
}
