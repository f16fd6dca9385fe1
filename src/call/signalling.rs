//! The call's side of SIP: set-up, answer, holds, transfers and ends.

use std::net::IpAddr;

use bytes::Bytes;

use super::EarlyMedia;
use super::end;
use super::negotiate::{Negotiation, status_of};
use super::redirect::Redirects;
use super::session::{Phase, Session};
use super::turn_ear::TurnEar;
use crate::audio::Suppressor;
use crate::engine::Stream;
use crate::media::MediaCommand;
use crate::net::clock;
use crate::sdp::{self, SdpError};
use crate::sip::{Command, DialogId, Event, InviteFailure, OutgoingInvite, Rejection, SessionEnd};
use crate::types::call::{ErrorStage, SipEnd};
use crate::types::{AnsweredBy, CallEventKind, CallStatus, EndReason, SampleRate};

impl Session {
    /// Tells the user agent. A driver that takes no commands is gone, and so is the call.
    pub(super) fn sip(&mut self, command: Command) {
        if self.context.net.command(command).is_err() {
            self.fail("sip_driver", "the SIP driver takes no commands", ErrorStage::Internal);
            self.phase = Phase::Over(EndReason::InternalError);
        }
    }

    pub(super) fn refuse(&mut self, status: u16, retry_after_s: Option<u32>) {
        self.note_status(status, None);
        let rejection = Rejection { retry_after_s, ..Rejection::status(status) };
        self.sip(Command::Reject { dialog: self.dialog, rejection });
    }

    fn note_status(&mut self, status: u16, reason: Option<String>) {
        let cause = end::q850_of_status(status);
        self.journal.edit().sip = SipEnd {
            status: Some(status),
            reason,
            q850_cause: Some(cause),
            hangup_cause: Some(end::token_of_q850(cause).to_owned()),
        };
    }

    pub(super) fn note_cause(&mut self, cause: u8) {
        let sip = &mut self.journal.edit().sip;
        sip.q850_cause.get_or_insert(cause);
        sip.hangup_cause.get_or_insert_with(|| end::token_of_q850(cause).to_owned());
    }

    /// Our address on the way to the other side's audio: one family may signal for the other.
    pub(super) fn near_media(&self, signalled: IpAddr, offer: Option<&Bytes>) -> IpAddr {
        let other = offer.and_then(|offer| sdp::address_of(offer)).filter(|ip| {
            let same = ip.to_canonical().is_ipv4() == signalled.to_canonical().is_ipv4();
            !same && !ip.is_unspecified()
        });
        other.and_then(|ip| self.context.net.route_to(ip)).unwrap_or(signalled)
    }

    pub(super) fn begin_inbound(
        &mut self,
        offer: Option<Bytes>,
        needs_reliable: bool,
    ) -> Result<(), EndReason> {
        let Some(negotiation) = &mut self.negotiation else { return Err(EndReason::InternalError) };
        // A reliable response to an INVITE without offer has to carry ours (RFC 3262 section 5).
        let plays = self.rules.early_media != EarlyMedia::Off;
        let describes = plays || (needs_reliable && offer.is_none());
        let answers = offer.is_some();
        match offer.as_deref().map(|offer| negotiation.receive_offer(offer)) {
            Some(Err(error)) => {
                self.fail("sdp", &error.to_string(), ErrorStage::Media);
                self.note_status(status_of(error), None);
                let rejection = rejection_of(error);
                self.sip(Command::Reject { dialog: self.dialog, rejection });
                self.phase = Phase::Over(EndReason::MediaNegotiationFailed);
                return Err(EndReason::MediaNegotiationFailed);
            }
            Some(Ok(())) => {}
            None => {
                negotiation.make_offer();
            }
        }
        self.journal.advance(CallStatus::Ringing);
        let sdp = self.negotiation.as_ref().map(Negotiation::local_description);
        self.sip(Command::Ring { dialog: self.dialog, sdp: sdp.filter(|_| describes) });
        if describes && answers {
            self.configure_line();
            self.begin_early_media();
        }
        let wait = std::time::Duration::from_millis(self.context.config.answer_wait_ms);
        self.answer_by = Some(clock::now() + wait);
        Ok(())
    }

    pub(super) fn begin_outbound(&mut self, mut invite: OutgoingInvite) -> Result<(), EndReason> {
        let Some(negotiation) = &mut self.negotiation else { return Err(EndReason::InternalError) };
        invite.sdp = negotiation.make_offer();
        if let Some(stream) = self.stream.as_mut().filter(|_| negotiation.offers_dtls()) {
            stream.await_handshakes();
        }
        if let Some(ask) = self.rules.redirector.take() {
            self.redirects = Some(Box::new(Redirects::new(ask, invite.clone())));
        }
        self.journal.advance(CallStatus::Initiated);
        self.sip(Command::Invite(Box::new(invite)));
        match self.phase {
            Phase::Over(reason) => Err(reason),
            Phase::Setup | Phase::Accepted | Phase::Live => Ok(()),
        }
    }

    fn take_answer(&mut self, sdp: Option<&Bytes>) -> bool {
        let Some(negotiation) = &mut self.negotiation else { return false };
        match sdp {
            Some(sdp) => negotiation.receive_answer(sdp).is_ok(),
            None => negotiation.is_complete(),
        }
    }

    /// Answers an inbound call as soon as there is a voice to answer with and the call is on disk, or when
    /// the wait is over.
    pub(super) fn maybe_answer(&mut self) {
        let Some(by) = self.answer_by else { return };
        if self.phase != Phase::Setup {
            self.answer_by = None;
            return;
        }
        if self.voice.is_closed() {
            // Picking up only to be silent is worse than not picking up: the trunk can try elsewhere.
            self.answer_by = None;
            self.refuse(503, Some(30));
            self.phase = Phase::Over(EndReason::ProviderError);
            return;
        }
        // What is answered is on record, whatever becomes of this process.
        let ready = self.voice.is_open() && self.journal.is_stored();
        let now = clock::now();
        if (!ready && now < by) || self.early.holds(now) {
            return;
        }
        self.answer_by = None;
        self.end_early_media();
        let Some(sdp) = self.negotiation.as_ref().map(Negotiation::local_description) else {
            return;
        };
        self.configure_line();
        self.phase = Phase::Accepted;
        self.sip(Command::Accept { dialog: self.dialog, sdp });
    }

    /// Applies what offer and answer agreed on, if they have.
    fn configure_line(&mut self) {
        let policy = self.media.source_policy;
        let Some(format) = self.negotiation.as_ref().and_then(|n| n.format(policy)) else {
            return;
        };
        self.journal.edit().codec = Some(format.codec.name);
        self.expect_keys(format.dtls);
        self.line(MediaCommand::Configure(format));
        let rate = self.stream.as_ref().map_or(SampleRate::HZ_8000, Stream::rate);
        if rate != self.playback.rate() {
            self.playback.set_rate(rate);
            self.suppressor = Suppressor::new(self.agent.suppression(), rate);
            self.turn_ear = TurnEar::open(&self.context, &self.agent, rate);
        }
        self.voice.set_line_rate(rate);
    }

    pub(super) fn on_sip(&mut self, event: Event) {
        match event {
            event if self.is_of_far(&event) => self.on_far_sip(event),
            event if self.is_of_supervisor(&event) => self.on_supervisor_sip(event),
            event if self.is_of_successor(&event) => self.on_successor_sip(event),
            Event::Incoming { dialog, facts, offer } => {
                self.on_replaced(dialog, facts.replaces, offer);
            }
            // Others are of a dialog that this one took the place of.
            event if event.dialog() == self.dialog => self.on_own_sip(event),
            _ => {}
        }
    }

    fn on_own_sip(&mut self, event: Event) {
        match event {
            Event::Canceled { reason, .. } => {
                self.note_reason(reason.as_deref());
                self.phase = Phase::Over(EndReason::Canceled);
            }
            Event::Established { answer, .. } => self.on_established(answer),
            Event::AckTimedOut { .. } => {
                let message = "no ACK came for our answer: is the advertised address reachable?";
                self.fail("ack_timeout", message, ErrorStage::Sip);
                self.phase = Phase::Over(EndReason::NetworkError);
            }
            Event::Progress { sdp, provider_call_id, .. } => {
                self.note_provider_call_id(provider_call_id);
                self.journal.advance(CallStatus::Ringing);
                if sdp.is_some() && self.take_answer(sdp.as_ref()) {
                    self.configure_line();
                }
            }
            Event::Answered { sdp, provider_call_id, .. } => {
                self.note_provider_call_id(provider_call_id);
                self.on_answered(sdp);
            }
            Event::Failed { failure, .. } => {
                if !self.goes_on(&failure) {
                    self.on_failed(&failure);
                }
            }
            Event::Offered { offer, .. } => self.on_offered(offer),
            Event::OfferAnswered { answer, .. } => {
                let agreed = answer.is_ok_and(|sdp| self.take_answer(Some(&sdp)));
                if agreed {
                    self.configure_line();
                    self.note_hold();
                    // Our offer in a reliable 183 has its answer in the PRACK.
                    self.begin_early_media();
                }
                self.offer_answered(agreed);
            }
            Event::Refreshed { answer, .. } => self.on_refreshed(&answer),
            Event::SessionExpired { why, .. } => self.on_session_expired(why),
            Event::Info { content_type, body, .. } => {
                if let Some(digit) = digit_of_info(&content_type, &body) {
                    self.on_digit(digit);
                }
            }
            Event::Referred { dialog, referral } => self.on_referred(dialog, *referral),
            Event::ReferProgress { progress, .. } => self.on_refer(progress),
            Event::ByeReceived { reason, .. } => self.on_bye(reason.as_deref()),
            Event::Terminated { .. } if self.is_alone() => {}
            Event::Terminated { .. } => {
                if !matches!(self.phase, Phase::Over(_)) {
                    self.phase = Phase::Over(EndReason::NetworkError);
                }
            }
            Event::CommandRefused { command: "invite", .. } => {
                self.on_failed(&InviteFailure::not_placed());
            }
            Event::CommandRefused { command, .. } => {
                tracing::debug!(command, "the dialog was not in the state for a command");
                if command == "reoffer" {
                    self.offer_refused();
                }
            }
            Event::Incoming { .. }
            | Event::TargetFailed { .. }
            | Event::Registered { .. }
            | Event::Pinged { .. } => {}
        }
    }

    fn on_refreshed(&mut self, answer: &Bytes) {
        let negotiation = self.negotiation.as_mut();
        // What stays as it was is left alone: to configure a line opens it for new sources.
        if negotiation.is_some_and(|n| n.receive_refresh(answer) == Ok(true)) {
            self.configure_line();
            self.note_hold();
        }
    }

    fn on_session_expired(&mut self, why: SessionEnd) {
        let message = match why {
            SessionEnd::NotRefreshed => "nobody refreshed the session before it expired",
            SessionEnd::RefreshFailed => "the other side did not answer our refresh",
        };
        self.fail("session_expired", message, ErrorStage::Sip);
        self.note_cause(end::q850_of_end(EndReason::SessionExpired));
        self.phase = Phase::Over(EndReason::SessionExpired);
    }

    /// Our INVITE came to nothing, for good.
    pub(super) fn on_failed(&mut self, failure: &InviteFailure) {
        self.journal.edit().sip = end::sip_end_of_failure(failure);
        self.phase = Phase::Over(end::of_failure(failure));
    }

    /// Carriers name a call that we place in their answers.
    fn note_provider_call_id(&mut self, id: Option<String>) {
        if id.is_some() {
            self.journal.edit().provider_call_id = id;
        }
    }

    /// Somebody else takes the other side of this call over: an INVITE with Replaces (RFC 3891 section 3).
    fn on_replaced(&mut self, dialog: DialogId, replaced: Option<DialogId>, offer: Option<Bytes>) {
        // The far leg of a bridge and a supervisor stay who they are.
        let live =
            matches!(self.phase, Phase::Accepted | Phase::Live) && replaced == Some(self.dialog);
        let Some(negotiation) = self.negotiation.as_mut().filter(|_| live) else {
            let rejection = Rejection::status(481);
            return self.sip(Command::Reject { dialog, rejection });
        };
        let answered = offer.is_some();
        let sdp = match offer {
            Some(offer) => match negotiation.receive_offer(&offer) {
                Ok(()) => negotiation.local_description(),
                Err(error) => {
                    let rejection = rejection_of(error);
                    return self.sip(Command::Reject { dialog, rejection });
                }
            },
            None => negotiation.make_offer(),
        };
        self.sip(Command::Accept { dialog, sdp });
        let old = std::mem::replace(&mut self.dialog, dialog);
        self.inbox.shown.set_dialog(dialog);
        let reason = Some("SIP;cause=200;text=\"replaced\"".to_owned());
        self.sip(Command::Bye { dialog: old, reason, headers: Vec::new() });
        tracing::info!(call.id = %self.journal.record().id, "another party takes the call over");
        if answered {
            self.line_is_new();
        } else {
            self.offers = super::control::Offers::default();
        }
    }

    /// The line leads to somebody else from now on. Offers that were open are the old dialog's; so is a hold of theirs.
    pub(super) fn line_is_new(&mut self) {
        self.offers = super::control::Offers::default();
        self.configure_line();
        self.note_hold();
    }

    fn on_established(&mut self, answer: Option<Bytes>) {
        if self.phase == Phase::Live {
            // The ACK of a party that took the call over; its answer, if the offer was ours.
            if answer.is_some() && self.take_answer(answer.as_ref()) {
                self.configure_line();
            }
            return;
        }
        if self.phase != Phase::Accepted {
            return;
        }
        let complete = self.negotiation.as_ref().is_some_and(Negotiation::is_complete);
        if !complete {
            if !self.take_answer(answer.as_ref()) {
                self.fail("sdp", "the ACK carried no usable answer", ErrorStage::Media);
                self.hang_up(EndReason::MediaNegotiationFailed);
                return;
            }
            self.configure_line();
        }
        self.go_live();
    }

    fn on_answered(&mut self, sdp: Option<Bytes>) {
        self.redirects = None;
        let agreed = self.take_answer(sdp.as_ref());
        self.phase = Phase::Accepted;
        if !agreed {
            self.fail("sdp", "the answer shares no codec with our offer", ErrorStage::Media);
            self.hang_up(EndReason::MediaNegotiationFailed);
            return;
        }
        self.configure_line();
        self.go_live();
    }

    fn on_offered(&mut self, offer: Option<Bytes>) {
        let Some(negotiation) = &mut self.negotiation else { return };
        let asked = offer.is_none();
        let answer = match offer {
            Some(offer) => negotiation
                .receive_offer(&offer)
                .map(|()| negotiation.local_description())
                .map_err(rejection_of),
            None => Ok(negotiation.make_offer()),
        };
        let accepted = answer.is_ok();
        self.sip(Command::AnswerOffer { dialog: self.dialog, answer });
        if accepted && !asked {
            self.configure_line();
            self.note_hold();
        }
    }

    fn note_hold(&mut self) {
        if self.our_hold.is_some() {
            return;
        }
        let held = self.negotiation.as_ref().is_some_and(Negotiation::is_held);
        if std::mem::replace(&mut self.on_hold, held) != held {
            self.journal.emit(if held {
                CallEventKind::Held { by_remote: true }
            } else {
                CallEventKind::Resumed { by_remote: true }
            });
        }
    }

    fn note_reason(&mut self, reason: Option<&str>) {
        if let Some(cause) = reason.and_then(end::q850_of_reason) {
            self.note_cause(cause);
        }
    }

    fn on_bye(&mut self, reason: Option<&str>) {
        if self.referrer_left() {
            return;
        }
        self.note_reason(reason);
        self.note_cause(16);
        let transferred = self.is_transferred();
        self.phase =
            Phase::Over(if transferred { EndReason::Transferred } else { EndReason::UserHangup });
    }

    /// Who picked up: a human, as far as anybody can tell.
    pub(super) fn start_recording(&mut self) {
        let direction = self.journal.record().direction;
        if direction == crate::types::Direction::Inbound {
            self.journal.edit().answered_by = Some(AnsweredBy::Human);
        }
        let Some(tap) = self.stream.as_mut().and_then(crate::engine::Stream::take_tap) else {
            return;
        };
        let id = self.journal.record().id;
        let created_at = self.journal.record().created_at;
        match self.context.recorder.start_recording(id, created_at, tap, clock::now()) {
            Ok(recording) => {
                self.journal.edit().recording = Some(recording.info());
                // Readers of a live call, and the repair after a crash, look for it in the store.
                self.journal.save();
                self.recording = Some(recording);
            }
            Err(error) => {
                crate::telemetry::metrics::recording_failed();
                let message = crate::telemetry::chain::chain(&error);
                self.fail("recording", &message, ErrorStage::Internal);
            }
        }
    }
}

pub(super) fn rejection_of(error: SdpError) -> Rejection {
    // RFC 3261 section 20.43: incompatible network address formats, or media format.
    let code = if error == SdpError::Family { 301 } else { 305 };
    Rejection { warning: Some((code, error.to_string())), ..Rejection::status(status_of(error)) }
}

/// The digit of an `application/dtmf-relay` or `application/dtmf` body.
pub(super) fn digit_of_info(content_type: &str, body: &Bytes) -> Option<char> {
    let text = std::str::from_utf8(body).ok()?;
    let kind = content_type.split(';').next()?.trim().to_ascii_lowercase();
    let value = match kind.as_str() {
        "application/dtmf-relay" => text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then(|| value.trim())
        })?,
        "application/dtmf" => text.trim(),
        _ => return None,
    };
    match value {
        "10" => Some('*'),
        "11" => Some('#'),
        _ => {
            let mut chars = value.chars();
            let digit = chars.next()?.to_ascii_uppercase();
            (chars.next().is_none() && matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D'))
                .then_some(digit)
        }
    }
}
