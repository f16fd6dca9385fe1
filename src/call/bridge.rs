//! A transfer that stays here: a second leg is dialled, and caller and destination hear each other through us.
//!
//! From the dialling on the agent is silent and hears nothing. It comes back when the destination does not take the
//! call, or when it is told to; when either side hangs up after the answer, the call is over and counts as transferred.

use std::time::Duration;

use super::early::Ringback;
use super::end;
use super::feed::{Feed, Mirror};
use super::leg::{Dialling, Leg, LegNews, LegPlan, LegRequest, LegWake};
use super::session::{Phase, Session};
use super::transfer::Stage;
use crate::engine::Stream;
use crate::media::MediaEvent;
use crate::net::clock;
use crate::sip;
use crate::turn::{Delivery, Input};
use crate::types::{CallEventKind, Direction, EndReason, Pii, SampleRate, TrunkName};

/// Where caller and far side are heard in each other's stream.
pub(super) const FAR: usize = 0;
/// A key that is passed on, milliseconds.
const DIGIT_MS: u16 = 100;
/// Silence after it.
const DIGIT_GAP_MS: u16 = 50;
/// The agent says something to the destination for so long at most; the caller waits.
const BRIEF_MAX: Duration = Duration::from_secs(30);

/// The far side of a call.
pub(super) type Bridge = Dialling<Far>;

/// A leg and the audio between it and the caller.
pub(super) struct Far {
    leg: Leg,
    to_caller: Feed,
    to_far: Feed,
    ringback: Option<Ringback>,
    /// The agent's frames that are for it alone.
    brief: Mirror,
}

impl Far {
    /// Its leg.
    pub(super) fn leg(&self) -> &Leg {
        &self.leg
    }

    /// Its stream.
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.leg.stream
    }
}

impl AsMut<Leg> for Far {
    fn as_mut(&mut self) -> &mut Leg {
        &mut self.leg
    }
}

impl Session {
    /// Whether somebody else is being called, or is on the line: then the agent is silent.
    pub(super) fn is_bridging(&self) -> bool {
        self.bridge.is_some()
    }

    /// Whether caller and destination talk.
    pub(super) fn is_bridged(&self) -> bool {
        matches!(&self.bridge, Some(Bridge::Dialled(far)) if far.leg.is_answered())
    }

    /// Calls the destination of the transfer.
    pub(super) fn dial_far(&mut self) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.stage = Stage::Dialling;
        let (trunk, destination) = (transfer.trunk.clone(), transfer.destination.clone());
        let (timeout, headers) = (transfer.timeout, std::mem::take(&mut transfer.headers));
        let mut request = self.leg_request(trunk, destination);
        (request.ring_timeout, request.headers) = (timeout, headers);
        self.bridge = Some(Bridge::Planned(self.context.legs.plan(request)));
        self.hold_agent();
    }

    /// What a second leg of this call begins with.
    pub(super) fn leg_request(
        &self,
        trunk: Option<TrunkName>,
        destination: Pii<String>,
    ) -> LegRequest {
        let record = self.journal.record();
        let ours = match record.direction {
            Direction::Inbound => &record.to_number,
            Direction::Outbound => &record.from_number,
        };
        LegRequest {
            call: record.id,
            organization_id: record.organization_id.clone(),
            trunk,
            fallback_trunk: record.trunk.clone(),
            number: record.number_id.clone(),
            destination,
            from: ours.clone(),
            ring_timeout: None,
            headers: Vec::new(),
            is_referred: false,
        }
    }

    /// Samples a second of the caller's line.
    pub(super) fn line_rate(&self) -> SampleRate {
        self.playback.rate()
    }

    pub(super) fn on_far(&mut self, wake: LegWake) {
        match wake {
            LegWake::Planned(Ok(plan)) => self.far_planned(*plan),
            LegWake::Planned(Err(error)) => self.transfer_failed(None, &error.to_string()),
            LegWake::Media(Some(event)) => self.on_far_media(event),
            LegWake::Media(None) => self.far_over("the media stream ended by itself"),
            LegWake::Redirected(target) => {
                if let Some(far) = self.far() {
                    let news = far.leg.on_redirected(target);
                    self.far_news(news);
                }
            }
        }
    }

    fn far_planned(&mut self, plan: LegPlan) {
        let call = self.journal.record().id;
        let Some(near) = &mut self.stream else { return };
        let mut leg = match Leg::dial(plan, call, &self.context) {
            Ok(leg) => leg,
            Err(error) => {
                let message = crate::telemetry::chain::chain(&error).to_string();
                self.transfer_failed(None, &message);
                return;
            }
        };
        let (to_caller, to_far) = (Feed::into(near, FAR), Feed::into(&mut leg.stream, FAR));
        near.set_brisk(true);
        leg.stream.set_brisk(true);
        let far = Far { leg, to_caller, to_far, ringback: None, brief: Mirror::default() };
        self.bridge = Some(Bridge::Dialled(Box::new(far)));
        self.join_far_and_supervisor();
    }

    fn far(&mut self) -> Option<&mut Far> {
        match &mut self.bridge {
            Some(Bridge::Dialled(far)) => Some(far),
            _ => None,
        }
    }

    /// Samples a second of the far side's line.
    pub(super) fn far_rate(&self) -> Option<SampleRate> {
        match &self.bridge {
            Some(Bridge::Dialled(far)) => Some(far.leg.rate()),
            _ => None,
        }
    }

    /// Whether a SIP event is of the far side's dialog.
    pub(super) fn is_of_far(&self, event: &sip::Event) -> bool {
        matches!(&self.bridge, Some(Bridge::Dialled(far)) if far.leg.dialog() == event.dialog())
    }

    pub(super) fn on_far_sip(&mut self, event: sip::Event) {
        let near = self.line_rate();
        let Some(far) = self.far() else { return };
        let news = far.leg.on_sip(event);
        let rate = far.leg.rate();
        far.to_caller.set_rates(rate, near);
        far.to_far.set_rates(near, rate);
        self.far_news(news);
    }

    fn far_news(&mut self, news: LegNews) {
        let Some(far) = self.far() else { return };
        match news {
            LegNews::None => {}
            LegNews::Ringing(status) => {
                // A 183 without audio says nothing of ringing; the caller is better off with a tone.
                let silent = !far.leg.is_audible();
                if silent && far.ringback.is_none() {
                    far.ringback = Some(Ringback::default());
                } else if !silent {
                    far.ringback = None;
                }
                self.journal.emit(CallEventKind::TransferProgress { sip_status: status });
            }
            LegNews::Answered => {
                self.journal.emit(CallEventKind::TransferProgress { sip_status: 200 });
                match self.transfer.as_mut().and_then(|transfer| transfer.brief.take()) {
                    Some(text) => self.brief_far(text),
                    None => self.join_far(),
                }
            }
            LegNews::Failed(failure) => {
                let why = match end::of_failure(&failure) {
                    EndReason::NoAnswer => "the destination did not answer",
                    EndReason::Busy => "the destination is busy",
                    EndReason::NetworkError => "the destination cannot be reached",
                    _ => "the destination did not take the call",
                };
                self.transfer_failed(failure.status, why);
            }
            LegNews::Digit(digit) => self.digit_of_far(digit),
            LegNews::Ended => self.far_over("the destination hung up"),
        }
    }

    /// The agent tells the destination, and nobody else, what it is about.
    fn brief_far(&mut self, text: Pii<String>) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.stage = Stage::Briefing { until: clock::now() + BRIEF_MAX };
        self.tell(Input::Held(false));
        self.tell(Input::Say {
            text,
            interrupt: true,
            interruptible: false,
            end_after: false,
            by: Delivery::Agent,
        });
    }

    /// Whether the agent talks with the destination alone.
    pub(super) fn is_briefing(&self) -> bool {
        let stage = self.transfer.as_ref().map(|transfer| &transfer.stage);
        matches!(stage, Some(Stage::Briefing { .. }))
    }

    /// Caller and destination talk from now on.
    pub(super) fn join_far(&mut self) {
        if let Some(far) = self.far() {
            far.ringback = None;
        }
        if let Some(transfer) = &mut self.transfer {
            transfer.stage = Stage::Talking;
        }
        self.hold_agent();
    }

    /// What the agent was telling the destination is not for the caller.
    pub(super) fn end_brief(&mut self) {
        if let Some(transfer) = self.transfer.as_mut().filter(|_| self.bridge.is_some())
            && matches!(transfer.stage, Stage::Briefing { .. })
        {
            transfer.stage = Stage::Dialling;
            self.tell(Input::Held(true));
        }
    }

    /// Moves the agent's audio into the line of the destination. Its frames wake us as often as there is room.
    pub(super) fn feed_far(&mut self) {
        let rate = self.playback.rate();
        let Some(Bridge::Dialled(far)) = &mut self.bridge else { return };
        while self.playback.has_frame() && far.leg.stream.playout.free_frames() > 0 {
            let Some(frame) = self.playback.next_frame() else { return };
            let rates = (rate, far.leg.rate());
            far.brief.push(&frame, rates, &mut far.leg.stream);
        }
    }

    /// What becomes of the agent's words at the destination, counted as on the caller's line.
    fn on_brief(&mut self, event: MediaEvent) {
        let (near, far) = (self.line_rate(), self.far_rate().unwrap_or(SampleRate::HZ_8000));
        let scaled = |samples: u64| samples * u64::from(near.hz()) / u64::from(far.hz());
        self.on_media(match event {
            MediaEvent::Played { generation, samples, finished } => {
                MediaEvent::Played { generation, samples: scaled(samples), finished }
            }
            MediaEvent::Stopped { generation, samples, at } => {
                MediaEvent::Stopped { generation, samples: scaled(samples), at }
            }
            other => other,
        });
    }

    fn on_far_media(&mut self, event: MediaEvent) {
        let is_briefing = self.is_briefing();
        let is_of_playback = matches!(
            event,
            MediaEvent::FirstPacket { .. }
                | MediaEvent::FirstAudible { .. }
                | MediaEvent::Played { .. }
                | MediaEvent::Stopped { .. }
        );
        if is_briefing && is_of_playback {
            return self.on_brief(event);
        }
        let Some(far) = self.far() else { return };
        match event {
            MediaEvent::Frame { frame, .. } if far.leg.is_audible() => {
                if !is_briefing {
                    far.to_caller.push(frame.samples());
                }
                self.supervisor_hears(frame.samples(), true);
            }
            MediaEvent::Digit { digit } => self.digit_of_far(char::from(digit)),
            MediaEvent::MediaTimeout => self.far_over("no audio of the destination arrived"),
            MediaEvent::KeyingFailed(why) if far.leg.is_answered() => {
                self.far_over(&why.to_string());
            }
            _ => {}
        }
    }

    /// Takes an event of the caller's line while the agent is away; whether that is all that becomes of it.
    pub(super) fn bridged_media(&mut self, event: &MediaEvent) -> bool {
        if self.phase != Phase::Live {
            return false;
        }
        if let MediaEvent::Frame { frame, .. } = event {
            self.supervisor_hears(frame.samples(), false);
        }
        if !self.is_agent_away() {
            return false;
        }
        match event {
            MediaEvent::Frame { frame, .. } => self.caller_to_far(frame.samples()),
            MediaEvent::Digit { digit } => {
                let digit = char::from(*digit);
                self.journal.emit(CallEventKind::DtmfReceived { digit: Pii::new(digit) });
                self.digit_to_far(digit);
            }
            // The end of what was said before counts: the agent must not wait for it for ever.
            MediaEvent::SpeechStarted { .. } => {}
            _ => return false,
        }
        true
    }

    /// 20 ms of the caller, for the far side.
    fn caller_to_far(&mut self, samples: &[i16]) {
        let (rate, is_briefing) = (self.line_rate(), self.is_briefing());
        let Some(far) = self.far() else { return };
        // The caller's clock is the only one there is while it rings.
        if let Some(ringback) = &mut far.ringback {
            let tone = ringback.next();
            far.to_caller.set_rates(SampleRate::HZ_8000, rate);
            far.to_caller.push(&tone);
        }
        if far.leg.is_answered() && !is_briefing {
            far.to_far.push(samples);
        }
    }

    fn digit_to_far(&mut self, digit: char) {
        let Some(far) = self.far().filter(|far| far.leg.is_answered()) else { return };
        if let Ok(digit) = u8::try_from(digit) {
            far.leg.send_digit(digit, DIGIT_MS, DIGIT_GAP_MS);
        }
    }

    fn digit_of_far(&mut self, digit: char) {
        if self.is_bridged()
            && let Ok(digit) = u8::try_from(digit)
        {
            self.send_digit(digit, DIGIT_MS, DIGIT_GAP_MS);
        }
    }

    /// The far side is gone.
    fn far_over(&mut self, message: &str) {
        if self.is_over_after_answer() {
            self.hang_up(EndReason::Transferred);
        } else {
            self.transfer_failed(None, message);
        }
    }

    fn is_over_after_answer(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| matches!(transfer.stage, Stage::Talking))
    }

    /// Lets the far side go; the agent listens again.
    pub(super) fn drop_far(&mut self) {
        let Some(bridge) = self.bridge.take() else { return };
        if let Bridge::Dialled(far) = bridge {
            far.leg.note(&mut self.leg_usage);
        }
        if let Some(stream) = &self.stream {
            stream.set_brisk(self.supervisor.is_some());
        }
        self.hold_agent();
    }

    /// The agent takes the caller back from the far side.
    pub(super) fn take_back(&mut self) {
        if !self.is_bridging() {
            return;
        }
        self.end_brief();
        self.transfer = None;
        self.drop_far();
    }
}
