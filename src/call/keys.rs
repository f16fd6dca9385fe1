//! A line whose keys come by DTLS: the conversation begins when they are there.

use super::session::{Phase, Session};
use crate::types::call::ErrorStage;
use crate::types::{DtlsPlan, EndReason, KeyingFailure};

/// Keys that are agreed on and not there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AwaitedKeys {
    /// What was agreed last.
    plan: Option<DtlsPlan>,
    /// They are not here yet.
    are_out: bool,
    /// The call was answered meanwhile.
    begins_then: bool,
}

impl Session {
    /// Offer and answer agreed on this.
    pub(super) fn expect_keys(&mut self, plan: Option<DtlsPlan>) {
        let keys = &mut self.awaited_keys;
        if keys.plan != plan {
            (keys.plan, keys.are_out) = (plan, plan.is_some());
        }
    }

    /// Whether the conversation has to wait for keys; then it begins with them. What is said before would be lost.
    pub(super) fn waits_for_keys(&mut self) -> bool {
        self.awaited_keys.begins_then = self.awaited_keys.are_out;
        self.awaited_keys.are_out
    }

    /// They are here.
    pub(super) fn on_keyed(&mut self) {
        self.awaited_keys.are_out = false;
        if std::mem::take(&mut self.awaited_keys.begins_then) && self.phase == Phase::Accepted {
            self.go_live();
        }
    }

    /// There will be none. Before the answer nothing is lost: with it there is another try.
    pub(super) fn on_keying_failed(&mut self, why: KeyingFailure) {
        if self.phase == Phase::Setup {
            return;
        }
        self.fail("dtls", &why.to_string(), ErrorStage::Media);
        self.hang_up(EndReason::MediaNegotiationFailed);
    }
}
