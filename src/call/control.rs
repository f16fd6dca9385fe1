//! Commands that change more than the talk: holds, hand-offs, recordings that are played or made, variables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clip::Clip;
use super::command::{CommandError, RecordingChange};
use super::session::{Later, Session};
use super::turn_ear::TurnEar;
use super::voice::Voice;
use crate::audio::Suppressor;
use crate::media::MediaCommand;
use crate::net::clock;
use crate::sip;
use crate::turn::{Delivery, Input};
use crate::types::call::TurnRole;
use crate::types::{AgentId, CallEventKind, Generation, Pcm, Pii};

/// Variables of one call, those of its agent included.
const VARIABLES_MAX: usize = 64;
/// Longest name of a variable, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Wait before an offer is tried again in a dialog that is busy.
const OFFER_AGAIN: Duration = Duration::from_millis(500);
/// Tries of one offer in a dialog that stays busy; then the hold is ours alone.
const OFFER_TRIES_MAX: u32 = 8;
/// What an agent is told when a hold of its own is over.
const BACK: &str = "The caller is back from hold. Go on with the conversation.";

/// A hold of ours.
#[derive(Debug)]
pub(super) struct OurHold {
    /// When it ends by itself.
    pub(super) until: Option<Instant>,
    /// Whether something is played meanwhile.
    pub(super) music: bool,
}

/// Offers of ours within the call: one at a time, the last word counts.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// One is out.
    pub(super) pending: bool,
    /// What is wanted has changed since.
    pub(super) due: bool,
    /// The dialog was busy: then it is tried again.
    pub(super) again: Option<Instant>,
    /// Tries in a row.
    pub(super) tries: u32,
}

impl Session {
    /// Puts the caller on hold: by re-INVITE, or where that is refused by not listening.
    pub(super) fn hold(&mut self, music: Option<Arc<Clip>>, until: Option<Instant>) {
        if self.our_hold.is_some() {
            return;
        }
        self.our_hold = Some(OurHold { until, music: music.is_some() });
        self.journal.emit(CallEventKind::Held { by_remote: false });
        self.reoffer();
        self.tell(Input::Held(true));
        if let Some(clip) = music {
            self.play(clip, true);
        }
    }

    /// Takes the caller back.
    pub(super) fn resume(&mut self) {
        let Some(hold) = self.our_hold.take() else { return };
        self.reoffer();
        self.line(MediaCommand::MuteCaller(self.muted.user));
        self.journal.emit(CallEventKind::Resumed { by_remote: false });
        if hold.music {
            self.clip = None;
            self.tell(Input::Interrupt);
        }
        self.tell(Input::Held(false));
        if hold.until.is_some() {
            let text = Pii::new(BACK.to_owned());
            self.tell(Input::Inject { role: TurnRole::System, text, respond: true });
        }
    }

    /// A hold of the agent's own is over.
    pub(super) fn hold_due(&mut self, now: Instant) {
        if self.hold_wake().is_some_and(|until| until <= now) {
            self.resume();
        }
    }

    pub(super) fn hold_wake(&self) -> Option<Instant> {
        self.our_hold.as_ref()?.until
    }

    /// Offers what is wanted now, or once the offer that is out has its answer.
    fn reoffer(&mut self) {
        let Some(negotiation) = &mut self.negotiation else { return };
        negotiation.hold(self.our_hold.is_some());
        if self.offers.pending {
            self.offers.due = true;
            return;
        }
        self.offers.pending = true;
        self.offers.again = None;
        let sdp = negotiation.make_offer();
        self.sip(sip::Command::Reoffer { dialog: self.dialog, sdp });
    }

    /// Our offer has its answer, or was refused: then the old session stands.
    pub(super) fn offer_answered(&mut self, agreed: bool) {
        self.offers.tries = 0;
        self.offers.pending = false;
        if std::mem::take(&mut self.offers.due) {
            self.reoffer();
        } else if !agreed {
            self.hold_locally();
        }
    }

    /// The dialog is busy with an offer of theirs.
    pub(super) fn offer_refused(&mut self) {
        self.offers.pending = false;
        self.offers.due = false;
        self.offers.tries += 1;
        self.hold_locally();
        if self.offers.tries <= OFFER_TRIES_MAX {
            self.offers.again = Some(clock::now() + OFFER_AGAIN);
        }
    }

    pub(super) fn offer_due(&mut self, now: Instant) {
        if self.offers.again.is_some_and(|at| at <= now) {
            self.reoffer();
        }
    }

    /// The other side keeps the old session: the hold is ours alone.
    fn hold_locally(&mut self) {
        if self.our_hold.is_some() {
            self.line(MediaCommand::MuteCaller(true));
        }
    }

    /// Another agent goes on: its own ears, mind and voice, its own words.
    pub(super) fn hand_off(
        &mut self,
        agent: &AgentId,
        message: Option<Pii<String>>,
        keep_context: bool,
    ) -> Result<(), CommandError> {
        let next =
            (self.context.agents)(self.journal.record(), agent).ok_or(CommandError::NoAgent)?;
        let (from, to) = (self.agent.id.clone(), next.id.clone());
        self.cancel_tools(None);
        self.after_turn = None;
        self.agent = next;
        self.handoffs += 1;
        // A scripted agent that is handed the call twice begins its dialogue again.
        let conversation = format!("{}-{}", self.journal.record().id, self.handoffs);
        self.suppressor = Suppressor::new(self.agent.suppression(), self.playback.rate());
        self.turn_ear = TurnEar::open(&self.context, &self.agent, self.playback.rate());
        self.voice = Voice::open(
            &self.agent,
            &self.context.config.watchdog,
            conversation,
            &self.context.voices,
            &self.context.breakers,
        );
        self.voice.set_line_rate(self.playback.rate());
        if keep_context {
            self.voice.remember(|| self.machine.history());
        }
        tracing::info!(call.id = %self.journal.record().id, from = %from.0, to = %to.0, "another agent goes on");
        self.journal.emit(CallEventKind::HandedOff { from, to });
        let config = Box::new(self.agent.turn_config());
        self.tell(Input::Handoff { config, message, keep_context });
        Ok(())
    }

    /// Plays a recording, over and over if wanted, until somebody speaks.
    pub(super) fn play(&mut self, clip: Arc<Clip>, repeat: bool) {
        let text = Pii::new(clip.label());
        self.clip = Some((clip, repeat));
        let by = Delivery::Clip;
        self.tell(Input::Say { text, interrupt: true, interruptible: true, end_after: false, by });
    }

    /// The machine gives the floor to the recording: its sound goes to the line at once.
    pub(super) fn start_clip(&mut self, generation: Generation, seq: u32) {
        let pcm = self.clip.as_ref().map(|(clip, _)| clip.pcm.clone());
        self.sound(generation, seq, pcm);
    }

    /// Plays what no voice has to make.
    pub(super) fn sound(&mut self, generation: Generation, seq: u32, pcm: Option<Pcm>) {
        let samples = pcm.map_or(0, |pcm| self.playback.push(generation, pcm).samples);
        let at = clock::now();
        self.later.push_back(Later::Tell(Input::TtsAudio { generation, seq, samples, at }));
        self.later.push_back(Later::Tell(Input::TtsDone { generation, seq }));
        self.later.push_back(Later::SentenceDone(generation));
    }

    /// The turn of a recording is over.
    pub(super) fn clip_ended(&mut self, content: &str, interrupted: bool) {
        let Some((clip, repeat)) = self.clip.take_if(|(clip, _)| clip.label() == content) else {
            return;
        };
        if repeat && !interrupted {
            let text = Pii::new(clip.label());
            self.clip = Some((clip, repeat));
            let by = Delivery::Clip;
            let again =
                Input::Say { text, interrupt: false, interruptible: true, end_after: false, by };
            self.later.push_back(Later::Tell(again));
        }
    }

    /// Pauses, resumes or stops the recording. The caller of the command must know that it happened: a
    /// recorder that takes nothing is an error.
    pub(super) fn change_recording(&mut self, change: RecordingChange) -> Result<(), CommandError> {
        let recording = self.recording.as_ref().filter(|_| !self.recording_stopped);
        let recording = recording.ok_or(CommandError::NotRecorded)?;
        let now = clock::now();
        let done = match change {
            RecordingChange::Pause => recording.silence(now, true),
            RecordingChange::Resume => recording.silence(now, false),
            RecordingChange::Stop => recording.close(now),
        };
        done.map_err(|_| CommandError::Busy)?;
        self.recording_stopped = change == RecordingChange::Stop;
        let state = change.state().to_owned();
        self.journal.emit(CallEventKind::RecordingChanged { state });
        Ok(())
    }

    /// Sets template variables, for the tools to come.
    pub(super) fn set_variables(
        &mut self,
        values: BTreeMap<String, String>,
    ) -> Result<(), CommandError> {
        let kept = self.journal.record().variables.reveal();
        let kept = merged(kept, &values)?;
        self.journal.edit().variables = Pii::new(kept);
        self.variables_set(values);
        Ok(())
    }

    /// Notes values that were found during the call.
    pub(super) fn extract_variables(
        &mut self,
        values: BTreeMap<String, String>,
    ) -> Result<(), CommandError> {
        let kept = self.journal.record().variables_extracted.reveal();
        let kept = merged(kept, &values)?;
        self.journal.edit().variables_extracted = Pii::new(kept);
        self.variables_set(values);
        Ok(())
    }

    fn variables_set(&mut self, values: BTreeMap<String, String>) {
        let names = values.into_keys().collect();
        self.journal.emit(CallEventKind::VariablesSet { names });
        self.journal.save();
    }
}

fn merged(
    kept: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, CommandError> {
    let mut all = kept.clone();
    all.extend(new.iter().map(|(name, value)| (name.clone(), value.clone())));
    let named = new.keys().all(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX);
    if all.len() > VARIABLES_MAX || !named {
        return Err(CommandError::TooManyVariables);
    }
    Ok(all)
}
