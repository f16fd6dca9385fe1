//! INFO of ours (RFC 6086): one at a time in a dialog.
//!
//! Over UDP a request that is lost comes after the one behind it, and keys in another order are another number. So the
//! next leaves only once the one before it has its final response, and no sooner than it asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::agent::Agent;
use super::leg::{Fate, InDialog, Leg, State};
use super::msg::Method;

/// INFOs that may wait in a dialog: as many as keys of one command.
const WAITING_MAX: usize = 64;

/// An INFO to send.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    /// How long after it the next may leave at the soonest.
    pub(crate) spacing: Duration,
}

/// The INFOs of a dialog.
#[derive(Debug, Default)]
pub(crate) struct Infos {
    waiting: VecDeque<Info>,
    is_on_its_way: bool,
    /// The next may not leave before.
    not_before: Option<Instant>,
}

impl Infos {
    /// When the next is to leave, if it waits for nothing but the time.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.is_on_its_way && !self.waiting.is_empty())
    }
}

impl Agent {
    /// [`super::Command::Info`].
    pub(super) fn info(&mut self, now: Instant, leg: &mut Leg, info: Info) -> Fate {
        if leg.infos.waiting.len() >= WAITING_MAX {
            self.refused(leg.id, "info");
        } else {
            leg.infos.waiting.push_back(info);
            self.next_info(now, leg);
        }
        Fate::Keep
    }

    /// Sends the next INFO, if it may leave.
    pub(super) fn next_info(&mut self, now: Instant, leg: &mut Leg) {
        if !matches!(leg.state, State::AwaitingAck { .. } | State::Confirmed(_)) {
            return;
        }
        let infos = &mut leg.infos;
        if infos.is_on_its_way || infos.not_before.is_some_and(|at| now < at) {
            return;
        }
        let Some(Info { content_type, body, spacing }) = infos.waiting.pop_front() else { return };
        infos.is_on_its_way = true;
        infos.not_before = Some(now + spacing);
        let request = InDialog { body: Some((content_type, body)), ..InDialog::new(Method::Info) };
        self.send_in_dialog(now, leg, request, Vec::new());
    }

    /// An INFO of ours has its final response, whichever: the next is another matter.
    pub(super) fn info_answered(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        leg.infos.is_on_its_way = false;
        self.next_info(now, leg);
        Fate::Keep
    }

    /// An INFO of ours got no final response for half a minute: what waits behind it is of no use any more.
    pub(super) fn info_unanswered(&mut self, leg: &mut Leg) -> Fate {
        leg.infos.is_on_its_way = false;
        if !leg.infos.waiting.is_empty() {
            leg.infos.waiting.clear();
            self.refused(leg.id, "info");
        }
        Fate::Keep
    }
}
