//! One call in the hands of whoever placed or answered it: say, listen, press, hold, hang up.
//!
//! Every wait has a limit and ends with an event; nothing here sleeps. Dropping a [`PhoneCall`] hangs up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::ear::Spurt;
use super::line::LineCommand;
use super::mouth::{Said, UTTERANCES_MAX, UtteranceId};
use super::pacing::Pacing;
use super::state::{CallEnd, HoldState, PhoneError, PhoneEvent, Reoffer, Shared};
use crate::audio::{Resampler, level};
use crate::engine::TapReader;
use crate::media::StreamStats;
use crate::media::outbound::AUDIBLE_DBFS;
use crate::sdp::Direction;
use crate::types::{Pcm, SampleRate};

/// The rate of everything on the line.
pub const LINE_RATE: SampleRate = SampleRate::HZ_8000;
/// How long an utterance may take beyond its own length and those before it.
const SAY_MARGIN: Duration = Duration::from_secs(5);
/// How long the other side may take to answer a change or a goodbye: timer F of a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(32);
/// A digit with its gap lasts 200 ms; the margin is for what was pressed before.
const DIGITS_MARGIN: Duration = Duration::from_secs(10);

/// What the remote said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Arrival of its first audible packet.
    pub began_at: Instant,
    /// Arrival of its last audible packet.
    pub ended_at: Instant,
    /// Time from our last audible packet to the first of the reply; `None` if we had said nothing.
    pub gap: Option<Duration>,
    /// What was heard, at 8 kHz, with 100 ms around it; empty if the call keeps no audio.
    pub samples: Vec<i16>,
}

impl Reply {
    /// From the first to the last audible packet.
    pub fn duration(&self) -> Duration {
        self.ended_at.saturating_duration_since(self.began_at)
    }
}

/// An interruption of the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BargeIn {
    /// Our first audible packet left.
    pub onset: Instant,
    /// Arrival of the remote's last audible packet.
    pub last_audible: Instant,
    /// What was said.
    pub said: Said,
}

impl BargeIn {
    /// From our first audible packet to the remote's last one.
    pub fn stop_time(&self) -> Duration {
        self.last_audible.saturating_duration_since(self.onset)
    }
}

/// What a call counted.
#[derive(Clone, Debug, Default)]
pub struct CallStats {
    /// The stream's own counts, at most 1 s old.
    pub stream: StreamStats,
    /// Frames of the remote that were lost and concealed, to the moment.
    pub frames_lost: u64,
    /// Evenness of what arrived.
    pub pacing: Pacing,
    /// Frames this process was too slow to take: then nothing above is to be trusted.
    pub frames_unread: u64,
}

/// A call.
pub struct PhoneCall {
    shared: Arc<Shared>,
    commands: mpsc::Sender<LineCommand>,
    tape: Mutex<Option<TapReader>>,
    identifier: String,
    placed_at: Instant,
}

impl PhoneCall {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Sender<LineCommand>,
        tape: Option<TapReader>,
        (identifier, placed_at): (String, Instant),
    ) -> Self {
        Self { shared, commands, tape: Mutex::new(tape), identifier, placed_at }
    }

    /// What identifies the call on both sides: the `X-Call-ID` header we sent, which the server keeps
    /// as the carrier's call identifier; on an incoming call its SIP Call-ID.
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// When it was placed, or accepted if it came in.
    pub fn placed_at(&self) -> Instant {
        self.placed_at
    }

    /// The feed for a recording, once, if the call was placed with one. Its caller channel is what came
    /// from the remote, its agent channel what we said.
    pub fn take_tape(&self) -> Option<TapReader> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The next event, in order.
    ///
    /// # Errors
    /// When none came in time, or the call is over and every event was read.
    pub async fn next_event(&self, limit: Duration) -> Result<PhoneEvent, PhoneError> {
        self.shared.until("an event", limit, |state| state.events.pop_front()).await
    }

    /// Waits until the call is answered; at once if it is.
    ///
    /// # Errors
    /// When it was not answered in time, or never will be.
    pub async fn answered(&self, limit: Duration) -> Result<Instant, PhoneError> {
        self.shared.until("an answer", limit, |state| state.answered_at).await
    }

    /// From placing to the answer.
    pub fn setup_time(&self) -> Option<Duration> {
        let answered = self.shared.lock().answered_at?;
        Some(answered.saturating_duration_since(self.placed_at))
    }

    /// Waits until the call is over and says why.
    ///
    /// # Errors
    /// When it is not over in time.
    pub async fn ended(&self, limit: Duration) -> Result<CallEnd, PhoneError> {
        self.shared.until("the end", limit, |state| state.end.clone()).await
    }

    /// Why the call is over; `None` while it is not.
    pub fn end(&self) -> Option<CallEnd> {
        self.shared.lock().end.clone()
    }

    /// Queues an utterance of any rate; see [`Self::spoken`].
    ///
    /// # Errors
    /// When the call is over or too much waits.
    pub fn play(&self, pcm: &Pcm) -> Result<UtteranceId, PhoneError> {
        let samples = at_line_rate(pcm)?;
        let id = {
            let mut state = self.shared.lock();
            if let Some(end) = &state.end {
                return Err(PhoneError::Over(end.clone()));
            }
            let waiting =
                state.said.iter().rev().take_while(|(_, said)| said.finished.is_none()).count();
            if waiting >= UTTERANCES_MAX / 2 {
                return Err(PhoneError::Busy);
            }
            state.number_utterance()
        };
        self.command(LineCommand::Say(id, samples))?;
        Ok(id)
    }

    /// Waits until the last packet of an utterance has left, or it was cut.
    ///
    /// # Errors
    /// When that did not happen in time, or the call is over.
    pub async fn spoken(&self, id: UtteranceId, limit: Duration) -> Result<Said, PhoneError> {
        let finished = |said: &Said| said.finished.is_some();
        self.shared
            .until("an utterance to leave", limit, |state| state.said(id).filter(finished))
            .await
    }

    /// Says something and waits until its last packet has left.
    ///
    /// # Errors
    /// When it could not leave in time, or the call is over.
    pub async fn say(&self, pcm: &Pcm) -> Result<Said, PhoneError> {
        let id = self.play(pcm)?;
        let limit = pcm.duration() + SAY_MARGIN;
        let said = self.spoken(id, limit).await?;
        if said.onset.is_some() || said.cut || !is_audible(pcm) {
            return Ok(said);
        }
        // An utterance of one frame: its first audible packet is told after its last.
        let complete = |said: &Said| said.onset.is_some();
        self.shared.until("an onset", SAY_MARGIN, |state| state.said(id).filter(complete)).await
    }

    /// Cuts what is being said, with what waits behind it.
    ///
    /// # Errors
    /// When the call is over.
    pub fn hush(&self) -> Result<(), PhoneError> {
        self.command(LineCommand::Hush)
    }

    /// Waits until the remote begins to speak after `after`; gives the arrival of its first audible packet.
    ///
    /// # Errors
    /// When it stays silent, or the call is over.
    pub async fn remote_began(
        &self,
        after: Instant,
        limit: Duration,
    ) -> Result<Instant, PhoneError> {
        self.shared
            .until("the remote to speak", limit, |state| {
                state.ear.spurts().map(|spurt| spurt.began_at).find(|began| *began > after)
            })
            .await
    }

    /// Waits for the next reply: what the remote says after our last audible packet, until it has been
    /// quiet for the time that ends a reply. Before we said anything that is its greeting. Each reply
    /// is given once.
    ///
    /// # Errors
    /// When no reply was complete in time, or the call is over.
    pub async fn hear_reply(&self, limit: Duration) -> Result<Reply, PhoneError> {
        self.shared
            .until("a reply", limit, |state| {
                let Spurt { began_at, ended_at, .. } = state.ear.reply_after(state.reply_from)?;
                state.reply_from = ended_at;
                let around = Duration::from_millis(100);
                let from = began_at.checked_sub(around).unwrap_or(began_at);
                let samples = state.heard_between(from, ended_at + around);
                let gap = state.last_said.and_then(|said| began_at.checked_duration_since(said));
                Some(Reply { began_at, ended_at, gap, samples })
            })
            .await
    }

    /// Waits for a reply that begins after `after`, until the remote has been quiet for the time that
    /// ends one. Unlike [`Self::hear_reply`] it asks nothing of what we said: noise behind our words is
    /// as audible as they are.
    ///
    /// # Errors
    /// When no reply was complete in time, or the call is over.
    pub async fn reply_after(&self, after: Instant, limit: Duration) -> Result<Spurt, PhoneError> {
        self.shared.until("a reply", limit, |state| state.ear.reply_after(after)).await
    }

    /// Waits until the remote has been quiet for the time that ends a reply; at once if it is.
    ///
    /// # Errors
    /// When it goes on for longer, or the call is over.
    pub async fn quiet(&self, limit: Duration) -> Result<(), PhoneError> {
        self.shared
            .until("the remote to be quiet", limit, |state| {
                let until = state.ear.heard_until()?;
                let quiet = state.ear.quiet();
                match state.ear.spurts().next_back() {
                    None => Some(()),
                    Some(last) => {
                        (until.saturating_duration_since(last.ended_at) >= quiet).then_some(())
                    }
                }
            })
            .await
    }

    /// Waits until the remote speaks, speaks into that, and waits until it has stopped.
    ///
    /// # Errors
    /// When the remote does not speak or does not stop in time, or the call is over.
    pub async fn barge_in(&self, pcm: &Pcm, limit: Duration) -> Result<BargeIn, PhoneError> {
        self.shared
            .until("the remote to speak", limit, |state| state.ear.is_speaking().then_some(()))
            .await?;
        let said = self.say(pcm).await?;
        let Some(onset) = said.onset else {
            return Err(PhoneError::Timeout { what: "an audible packet of ours", limit });
        };
        let last_audible = self
            .shared
            .until("the remote to stop", limit, |state| state.ear.silence_after(onset))
            .await?;
        Ok(BargeIn { onset, last_audible, said })
    }

    /// Presses keys, one after the other, and waits until the last one has left.
    ///
    /// # Errors
    /// When one is no key, or they could not leave in time.
    pub async fn send_digits(&self, digits: &str) -> Result<(), PhoneError> {
        let digits = digits.to_ascii_uppercase();
        let is_key = |c: &char| matches!(c, '0'..='9' | '*' | '#' | 'A'..='D');
        if let Some(other) = digits.chars().find(|c| !is_key(c)) {
            return Err(PhoneError::Digit(other));
        }
        // The stream takes a few dozen at once.
        for digits in digits.as_bytes().chunks(16) {
            let digits = String::from_utf8_lossy(digits).into_owned();
            self.shared.lock().digits_sending = true;
            self.command(LineCommand::Digits(digits))?;
            self.shared
                .until("digits to leave", DIGITS_MARGIN, |state| {
                    (!state.digits_sending).then_some(())
                })
                .await?;
        }
        Ok(())
    }

    /// Waits until the remote has pressed `count` keys that were not given before.
    ///
    /// # Errors
    /// When fewer came in time, or the call is over.
    pub async fn digits(&self, count: usize, limit: Duration) -> Result<String, PhoneError> {
        self.shared
            .until("digits", limit, |state| {
                (state.digits.len() >= count).then(|| state.digits.drain(..count).collect())
            })
            .await
    }

    /// Puts the remote on hold: we send, and want nothing (RFC 3264 section 8.4).
    ///
    /// # Errors
    /// When the remote refuses, or does not answer.
    pub async fn hold(&self) -> Result<(), PhoneError> {
        self.direct(Direction::SendOnly).await
    }

    /// Ends the hold.
    ///
    /// # Errors
    /// When the remote refuses, or does not answer.
    pub async fn resume(&self) -> Result<(), PhoneError> {
        self.direct(Direction::SendRecv).await
    }

    async fn direct(&self, direction: Direction) -> Result<(), PhoneError> {
        self.shared.lock().reoffer = Reoffer::Pending;
        self.command(LineCommand::Direct(direction))?;
        self.shared
            .until("an answer to a re-INVITE", ANSWER_LIMIT, |state| match state.reoffer {
                Reoffer::Done(done) => {
                    state.reoffer = Reoffer::Idle;
                    Some(done)
                }
                Reoffer::Idle | Reoffer::Pending => None,
            })
            .await?
            .map_err(PhoneError::Refused)
    }

    /// Waits until the remote holds us, or lets us go.
    ///
    /// # Errors
    /// When it does not in time, or the call is over.
    pub async fn held_by_remote(
        &self,
        wanted: HoldState,
        limit: Duration,
    ) -> Result<(), PhoneError> {
        self.shared
            .until("a hold or its end", limit, |state| {
                (state.held_by_remote == wanted).then_some(())
            })
            .await
    }

    /// Hangs up (or gives up, if nobody answered) and waits until the other side knows.
    ///
    /// # Errors
    /// When the other side never acknowledged it.
    pub async fn hang_up(&self) -> Result<CallEnd, PhoneError> {
        if self.command(LineCommand::HangUp).is_err()
            && let Some(end) = self.shared.lock().end.clone()
        {
            return Ok(end);
        }
        self.ended(ANSWER_LIMIT).await
    }

    /// What was heard between two instants, at 8 kHz.
    pub fn heard(&self, from: Instant, to: Instant) -> Vec<i16> {
        self.shared.lock().heard_between(from, to)
    }

    /// Every frame that was heard, with its arrival.
    pub fn heard_frames(&self) -> Vec<(Instant, Vec<i16>)> {
        let state = self.shared.lock();
        state.heard.iter().map(|heard| (heard.at, heard.frame.samples().to_vec())).collect()
    }

    /// Waits until `lasting` more has been heard, whatever it is, and gives it.
    ///
    /// # Errors
    /// When so much did not come in time, or the call is over.
    pub async fn listen(&self, lasting: Duration, limit: Duration) -> Result<Vec<i16>, PhoneError> {
        let from = crate::net::clock::now();
        self.shared
            .until("audio", limit, |state| {
                let until = state.ear.heard_until()?;
                (until >= from + lasting).then(|| state.heard_between(from, until))
            })
            .await
    }

    /// Every talkspurt of the remote so far.
    pub fn remote_spurts(&self) -> Vec<Spurt> {
        self.shared.lock().ear.spurts().copied().collect()
    }

    /// What was counted so far.
    pub fn stats(&self) -> CallStats {
        let state = self.shared.lock();
        CallStats {
            stream: state.stream,
            frames_lost: state.frames_lost,
            pacing: state.pacing.clone(),
            frames_unread: state.events_dropped,
        }
    }

    fn command(&self, command: LineCommand) -> Result<(), PhoneError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PhoneError::Busy,
            mpsc::error::TrySendError::Closed(_) => {
                let end = self.shared.lock().end.clone();
                PhoneError::Over(end.unwrap_or(CallEnd::Lost))
            }
        })
    }
}

/// Whether anything of it is audible on the line.
fn is_audible(pcm: &Pcm) -> bool {
    let frame = pcm.rate.samples_in_ms(crate::types::audio::FRAME_MS).max(1);
    pcm.samples.chunks(frame).any(|frame| level::rms_dbfs(frame) > AUDIBLE_DBFS)
}

/// The samples at the line's rate, aligned with the original.
fn at_line_rate(pcm: &Pcm) -> Result<Vec<i16>, PhoneError> {
    if pcm.rate == LINE_RATE {
        return Ok(pcm.samples.clone());
    }
    let mut resampler = Resampler::new(pcm.rate, LINE_RATE).map_err(|_| PhoneError::Audio)?;
    let delay = resampler.delay();
    let mut samples = Vec::new();
    resampler.push(&pcm.samples, &mut samples);
    resampler.finish(&mut samples);
    samples.drain(..delay.min(samples.len()));
    Ok(samples)
}
