//! Transfers: the announcement, the REFER or the second leg ([`super::bridge`]), and what becomes of it.

use std::time::{Duration, Instant};

use super::command::{CallCommand, CommandError, OnFail, TransferMode};
use super::session::{Phase, Session};
use crate::net::clock;
use crate::sip::uri::{Scheme, Uri};
use crate::sip::{self, DialogId, ReferProgress};
use crate::turn::{Delivery, Input};
use crate::types::{CallEventKind, EndReason, PhoneNumber, Pii, TrunkName, lets_through};
use crate::usage::{DialPath, DialRefused, Leaving};

/// Reference of a failed transfer's line, when the agent says nothing of its own.
const TRANSFER_FAILED: &str = "I am sorry, I could not transfer you.";

/// A transfer that is asked for.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) destination: Pii<String>,
    pub(super) mode: TransferMode,
    /// Trunk of the second leg, if one is named.
    pub(super) trunk: Option<TrunkName>,
    /// Words for the destination alone.
    pub(super) brief: Option<Pii<String>>,
    pub(super) headers: Vec<(String, String)>,
    /// The call whose other side takes over; then `destination` is only for the record.
    pub(super) replaces: Option<DialogId>,
    pub(super) timeout: Option<Duration>,
    pub(super) on_fail: OnFail,
    pub(super) stage: Stage,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Waits until the announcement is spoken.
    Announced,
    /// REFER is out.
    Referred {
        accepted: bool,
        /// Then it has failed.
        until: Option<Instant>,
    },
    /// A second leg is on its way.
    Dialling,
    /// The agent tells the destination what it is about; after that time at the latest they are joined.
    Briefing { until: Instant },
    /// Caller and destination talk, through us.
    Talking,
}

/// The URI a REFER names for a destination (RFC 3515 section 2.1): a number becomes a `tel:` URI.
pub(super) fn target(text: &str) -> Option<String> {
    if let Ok(number) = PhoneNumber::parse(text) {
        return Some(format!("tel:{}", number.reveal()));
    }
    let uri = Uri::parse(text).ok()?;
    let somewhere = uri.scheme == Scheme::Tel || (uri.is_sip() && uri.host.is_some());
    somewhere.then(|| text.to_owned())
}

impl Session {
    /// Whether the dial limits allow what a command wants to be called. A call of our own that is joined is there
    /// already.
    pub(super) fn may_dial(&self, command: &CallCommand) -> Result<(), Box<DialRefused>> {
        let (path, trunk, destination) = match command {
            CallCommand::Transfer { destination, trunk, replaces: None, .. } => {
                (DialPath::Transfer, trunk, destination)
            }
            CallCommand::Supervise { destination: Some(destination), trunk, .. } => {
                (DialPath::Supervise, trunk, destination)
            }
            _ => return Ok(()),
        };
        self.may_transfer(path, trunk.as_ref(), destination.reveal())
    }

    /// By `path`, somebody wants the call to be transferred.
    pub(super) fn may_transfer(
        &self,
        path: DialPath,
        trunk: Option<&TrunkName>,
        destination: &str,
    ) -> Result<(), Box<DialRefused>> {
        let record = self.journal.record();
        let Some(trunk) = trunk.or(record.trunk.as_ref()) else { return Ok(()) };
        let leaving = Leaving { organization: &record.organization_id, trunk, to: destination };
        self.context.dial.check(path, leaving, clock::wall()).map_err(Box::new)
    }

    /// Begins a transfer that may be made, after its announcement if it has one.
    pub(super) fn begin_transfer(
        &mut self,
        transfer: Transfer,
        message: Option<Pii<String>>,
    ) -> Result<(), CommandError> {
        if self.transfer.is_some() || self.successor.is_some() {
            return Err(CommandError::TransferPending);
        }
        self.lets_out(&transfer.headers)?;
        let destination = transfer.destination.clone();
        self.journal.emit(CallEventKind::TransferStarted { destination });
        self.transfer = Some(transfer);
        match message {
            Some(text) => self.tell(Input::Say {
                text,
                interrupt: true,
                interruptible: false,
                end_after: false,
                by: Delivery::Agent,
            }),
            None => self.go_ahead(),
        }
        Ok(())
    }

    /// Refuses headers that the trunk keeps in.
    pub(super) fn lets_out(&self, headers: &[(String, String)]) -> Result<(), CommandError> {
        let out = &self.rules.headers_out;
        let all = headers.iter().all(|(name, _)| lets_through(out, name));
        if all { Ok(()) } else { Err(CommandError::HeaderNotAllowed) }
    }

    /// A transfer whose announcement is over already.
    pub(super) fn refer_now(&mut self, destination: Pii<String>) {
        let transfer = Transfer {
            destination,
            mode: self.agent.facts.transfer_mode,
            trunk: None,
            brief: None,
            headers: Vec::new(),
            replaces: None,
            timeout: None,
            on_fail: OnFail::Resume,
            stage: Stage::Announced,
        };
        // One that is under way goes first.
        let _ = self.begin_transfer(transfer, None);
    }

    pub(super) fn refer_after_announcement(&mut self) {
        if self.transfer.as_ref().is_some_and(|t| matches!(t.stage, Stage::Announced)) {
            self.go_ahead();
        } else if self.is_briefing() {
            self.join_far();
        }
    }

    fn go_ahead(&mut self) {
        match self.transfer.as_ref().map(|transfer| transfer.mode) {
            Some(TransferMode::Blind) => self.refer(),
            Some(TransferMode::Bridge) => self.dial_far(),
            None => {}
        }
    }

    fn refer(&mut self) {
        let Some(transfer) = &mut self.transfer else { return };
        let until = transfer.timeout.map(|timeout| clock::now() + timeout);
        transfer.stage = Stage::Referred { accepted: false, until };
        let target = transfer.destination.reveal().clone();
        let headers = std::mem::take(&mut transfer.headers);
        let (dialog, replaces) = (self.dialog, transfer.replaces);
        // Who asks for it: the agent's side of this call (RFC 3892).
        let referred_by = None;
        self.sip(sip::Command::Refer { dialog, target, replaces, referred_by, headers });
    }

    /// When the destination has had its time.
    pub(super) fn transfer_wake(&self) -> Option<Instant> {
        match self.transfer.as_ref()?.stage {
            Stage::Announced | Stage::Dialling | Stage::Talking => None,
            Stage::Briefing { until } => Some(until),
            Stage::Referred { until, .. } => until,
        }
    }

    pub(super) fn transfer_due(&mut self, now: Instant) {
        if self.transfer_wake().is_some_and(|until| until <= now) {
            if self.is_briefing() {
                return self.join_far();
            }
            self.transfer_failed(None, "the destination did not answer in time");
        }
    }

    /// Whether the other side has taken the REFER, or talks to the destination: its BYE is then no hang-up.
    pub(super) fn is_transferred(&self) -> bool {
        let stage = self.transfer.as_ref().map(|transfer| &transfer.stage);
        matches!(stage, Some(Stage::Referred { accepted: true, .. } | Stage::Talking))
    }

    pub(super) fn on_refer(&mut self, progress: ReferProgress) {
        match progress {
            ReferProgress::Accepted => {
                if let Some(Transfer { stage: Stage::Referred { accepted, .. }, .. }) =
                    &mut self.transfer
                {
                    *accepted = true;
                }
            }
            ReferProgress::Notified(status) => {
                self.journal.emit(CallEventKind::TransferProgress { sip_status: status });
                if (200..300).contains(&status) {
                    self.hang_up(EndReason::Transferred);
                } else if status >= 300 {
                    self.transfer_failed(Some(status), "the destination did not take the call");
                }
            }
            ReferProgress::Refused(status) => {
                self.transfer_failed(status, "the trunk refused the transfer");
            }
            ReferProgress::EndedByBye => self.phase = Phase::Over(EndReason::Transferred),
            ReferProgress::NoNotify => {
                self.transfer_failed(None, "the trunk never said what became of the transfer");
            }
        }
    }

    /// The call goes on with its agent, who says so, or ends.
    pub(super) fn transfer_failed(&mut self, sip_status: Option<u16>, message: &str) {
        // Told already: its time was over before the answer came.
        self.end_brief();
        let Some(transfer) = self.transfer.take() else { return };
        self.drop_far();
        let message = message.to_owned();
        self.journal.emit(CallEventKind::TransferFailed { sip_status, message });
        let text: Pii<String> = TRANSFER_FAILED.to_owned().into();
        self.tell(match transfer.on_fail {
            OnFail::Resume => Input::Say {
                text,
                interrupt: false,
                interruptible: true,
                end_after: false,
                by: Delivery::Agent,
            },
            OnFail::End => Input::End { message: Some(text), reason: EndReason::TransferFailed },
        });
    }
}
