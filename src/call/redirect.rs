//! Calls that are sent elsewhere: 3xx with a list of contacts (RFC 3261 section 8.1.3.4).
//!
//! What may be called at all is not decided here: every target is handed to the [`Redirector`] that the
//! dialling side gave the call.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::session::Session;
use crate::sip::{Command, Flow, InviteFailure, InviteFailureCause, OutgoingInvite};

/// Targets tried for one call, however many lists of contacts come.
pub const TARGETS_MAX: usize = 5;

/// Where a redirected call may go on.
#[derive(Clone, Debug)]
pub struct Redirected {
    /// Request-URI.
    pub request_uri: String,
    /// Route header values.
    pub route: Vec<String>,
    /// Where the INVITE goes.
    pub flow: Flow,
    /// Whether that is the trunk itself: nobody else is shown its credentials.
    pub is_trunk: bool,
}

/// Checks a target against everything that holds for dialling, and finds its address; `None`: it is
/// not called.
pub type Redirector = Arc<dyn Fn(String) -> oneshot::Receiver<Option<Redirected>> + Send + Sync>;

/// An outbound call that may be sent elsewhere.
pub(super) struct Redirects {
    ask: Redirector,
    /// The INVITE as it went out.
    invite: OutgoingInvite,
    targets: VecDeque<String>,
    /// Request-URIs tried, the first one among them.
    tried: Vec<String>,
    asked: Option<oneshot::Receiver<Option<Redirected>>>,
    /// What ends the call when no target is left.
    last: Option<InviteFailure>,
}

impl Redirects {
    pub(super) fn new(ask: Redirector, invite: OutgoingInvite) -> Self {
        let tried = vec![invite.request_uri.clone()];
        Self { ask, invite, targets: VecDeque::new(), tried, asked: None, last: None }
    }

    /// Whether there is nothing but the failure itself.
    fn next(&mut self) -> bool {
        while let Some(target) = self.targets.pop_front() {
            if self.tried.len() > TARGETS_MAX {
                break;
            }
            if self.tried.contains(&target) {
                continue;
            }
            self.tried.push(target.clone());
            self.asked = Some((self.ask)(target));
            return true;
        }
        false
    }
}

/// Waits for the answer about a target; for ever while none is asked for.
pub(super) async fn answered(redirects: &mut Option<Box<Redirects>>) -> Option<Redirected> {
    match redirects.as_mut().and_then(|redirects| redirects.asked.as_mut()) {
        Some(asked) => asked.await.ok().flatten(),
        None => std::future::pending().await,
    }
}

impl Session {
    /// An INVITE of ours failed: whether another target is tried.
    pub(super) fn goes_on(&mut self, failure: &InviteFailure) -> bool {
        let Some(redirects) = &mut self.redirects else { return false };
        let status = failure.status.unwrap_or(0);
        // 305 and 380 name no other address of the one that was called; a 6xx speaks for all of them.
        let moved = matches!(status, 300..=304 | 306..=379 | 381..=399);
        if failure.cause != InviteFailureCause::Refused || status >= 600 {
            return false;
        }
        if moved {
            // The newest list goes first: it is about the target that was just asked.
            for target in failure.contacts.iter().rev() {
                redirects.targets.push_front(target.clone());
            }
            redirects.targets.truncate(TARGETS_MAX);
        } else if redirects.tried.len() < 2 {
            return false;
        }
        redirects.last = Some(failure.clone());
        redirects.next()
    }

    /// A target was checked.
    pub(super) fn on_redirected(&mut self, target: Option<Redirected>) {
        let Some(redirects) = &mut self.redirects else { return };
        redirects.asked = None;
        let Some(target) = target else {
            if !redirects.next()
                && let Some(failure) = redirects.last.take()
            {
                self.on_failed(&failure);
            }
            return;
        };
        let mut invite = redirects.invite.clone();
        invite.request_uri = target.request_uri;
        invite.route = target.route;
        invite.flow = target.flow;
        if !target.is_trunk {
            invite.credentials = None;
        }
        tracing::info!(call.id = %self.journal.record().id, tries = redirects.tried.len(), "redirected");
        self.sip(Command::Invite(Box::new(invite)));
    }
}
