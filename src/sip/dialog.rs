//! A dialog: what both sides share after RFC 3261 section 12. State only; it sends nothing.

use bytes::Bytes;

use super::event::Flow;
use super::hop;
use super::msg::{HeaderName, Headers, Request, Response};
use super::uri::Uri;

/// Record-Route values kept: real paths have two to six. More would make our requests outgrow a datagram.
const ROUTES_MAX: usize = 16;

/// One dialog, or what will become one.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
    /// Empty until known.
    pub(crate) remote_tag: String,
    /// From of our requests, with tag.
    pub(crate) local: Bytes,
    /// To of our requests, with tag once known.
    pub(crate) remote: Bytes,
    /// CSeq of our last request.
    pub(crate) local_seq: u32,
    /// CSeq of their last request.
    pub(crate) remote_seq: Option<u32>,
    pub(crate) remote_target: Uri,
    /// Route values of our requests, in order.
    pub(crate) route_set: Vec<Bytes>,
    /// Where the last message came from or the first went to.
    pub(crate) flow: Flow,
    /// Nobody took TCP there: long requests go by UDP as well.
    pub(crate) is_udp_only: bool,
    pub(crate) side: Side,
}

/// Who sent the INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Callee,
}

/// Whether a request of theirs is in order (section 12.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeqCheck {
    InOrder,
    TooLow,
}

/// Request-URI and Route of a request within a dialog.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) routes: Vec<Bytes>,
    /// What decides where it is sent: the first hop of the route set, else the remote target.
    pub(crate) next_hop: Uri,
}

impl Dialog {
    /// The dialog of an INVITE we received (section 12.1.1). `None` without a usable Contact or From.
    pub(crate) fn called(invite: &Request, local_tag: &str, flow: Flow) -> Option<Self> {
        let contact = invite.contacts().ok()?.into_iter().next()?;
        let to = invite.headers.get(HeaderName::To)?;
        Some(Self {
            call_id: invite.call_id().ok()?.to_owned(),
            local_tag: local_tag.to_owned(),
            remote_tag: invite.from_tag().unwrap_or_default(),
            local: with_tag(to, local_tag),
            remote: invite.headers.get(HeaderName::From)?.clone(),
            local_seq: 0,
            remote_seq: Some(invite.cseq().ok()?.number),
            remote_target: contact.uri,
            route_set: routes(&invite.headers).collect(),
            flow,
            is_udp_only: false,
            side: Side::Callee,
        })
    }

    /// Takes over what the first 2xx to our INVITE says (section 12.1.2).
    pub(crate) fn answered(&mut self, response: &Response) {
        self.remote_tag = response.to_tag().unwrap_or_default();
        if let Some(to) = response.headers.get(HeaderName::To) {
            self.remote = to.clone();
        }
        let mut recorded: Vec<Bytes> = routes(&response.headers).collect();
        recorded.reverse();
        self.route_set = recorded;
        self.retarget(&response.headers);
    }

    /// Target refresh by a re-INVITE, an UPDATE or their 2xx (section 12.2).
    pub(crate) fn retarget(&mut self, headers: &Headers) {
        if let Some(contact) = headers.contacts().ok().and_then(|list| list.into_iter().next()) {
            self.remote_target = contact.uri;
        }
    }

    /// Checks and remembers the CSeq of a request of theirs.
    pub(crate) fn check_seq(&mut self, cseq: u32) -> SeqCheck {
        match self.remote_seq {
            Some(last) if cseq <= last => SeqCheck::TooLow,
            Some(_) | None => {
                self.remote_seq = Some(cseq);
                SeqCheck::InOrder
            }
        }
    }

    /// Request-URI and Route for our next request (section 12.2.1.1).
    pub(crate) fn target(&self) -> Target {
        let first = self.route_set.first().and_then(|route| hop::route_uri(route));
        match first {
            None => Target {
                uri: self.remote_target.clone(),
                routes: self.route_set.clone(),
                next_hop: self.remote_target.clone(),
            },
            Some(hop) if hop.lr() => Target {
                uri: self.remote_target.clone(),
                routes: self.route_set.clone(),
                next_hop: hop,
            },
            // A strict router: it finds itself in the Request-URI and the target in the last Route.
            Some(hop) => {
                let mut routes: Vec<Bytes> = self.route_set.iter().skip(1).cloned().collect();
                routes.push(Bytes::from(format!("<{}>", self.remote_target)));
                Target { uri: hop.clone(), routes, next_hop: hop }
            }
        }
    }
}

/// Record-Route values in order.
fn routes(headers: &Headers) -> impl Iterator<Item = Bytes> {
    headers.values(HeaderName::RecordRoute).take(ROUTES_MAX).map(Bytes::copy_from_slice)
}

/// A From or To value with a tag appended.
pub(crate) fn with_tag(value: &[u8], tag: &str) -> Bytes {
    let mut out = value.to_vec();
    out.extend_from_slice(b";tag=");
    out.extend_from_slice(tag.as_bytes());
    Bytes::from(out)
}
