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

/// An INVITE of ours that may be sent elsewhere: a call's own, or that of a leg.
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

    /// The INVITE failed: whether another target is tried.
    pub(super) fn goes_on(&mut self, failure: &InviteFailure) -> bool {
        let status = failure.status.unwrap_or(0);
        // 305 and 380 name no other address of the one that was called; a 6xx speaks for all of them.
        let moved = matches!(status, 300..=304 | 306..=379 | 381..=399);
        if failure.cause != InviteFailureCause::Refused || status >= 600 {
            return false;
        }
        if moved {
            // The newest list goes first: it is about the target that was just asked.
            for target in failure.contacts.iter().rev() {
                self.targets.push_front(target.clone());
            }
            self.targets.truncate(TARGETS_MAX);
        } else if self.tried.len() < 2 {
            return false;
        }
        self.last = Some(failure.clone());
        self.next()
    }

    /// A target was checked.
    pub(super) fn checked(&mut self, target: Option<Redirected>) -> Next {
        self.asked = None;
        let Some(target) = target else {
            if self.next() {
                return Next::Wait;
            }
            return self.last.take().map_or(Next::Wait, |last| Next::Failed(Box::new(last)));
        };
        let mut invite = self.invite.clone();
        invite.request_uri = target.request_uri;
        invite.route = target.route;
        invite.flow = target.flow;
        // Those were of the target that sent us on.
        invite.others.clear();
        if !target.is_trunk {
            invite.credentials = None;
        }
        tracing::info!(tries = self.tried.len(), "redirected");
        Next::Invite(Box::new(invite))
    }

    /// Asks for the next target; whether there is one.
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

/// What becomes of an INVITE after a target was checked.
pub(super) enum Next {
    /// It goes to another one.
    Invite(Box<OutgoingInvite>),
    /// Another one is being checked.
    Wait,
    /// There is none left.
    Failed(Box<InviteFailure>),
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
        self.redirects.as_mut().is_some_and(|redirects| redirects.goes_on(failure))
    }

    /// A target was checked.
    pub(super) fn on_redirected(&mut self, target: Option<Redirected>) {
        match self.redirects.as_mut().map(|redirects| redirects.checked(target)) {
            Some(Next::Invite(invite)) => self.sip(Command::Invite(invite)),
            Some(Next::Failed(failure)) => self.on_failed(&failure),
            Some(Next::Wait) | None => {}
        }
    }
}
