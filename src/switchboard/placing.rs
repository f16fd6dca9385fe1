//! An INVITE as its trunk wants it: the same for a call and for a leg of one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::trunk::{Target, Trunk};
use crate::sip::{DialogId, Flow, OutgoingInvite};

/// What an INVITE is made of.
pub(super) struct Placing<'a> {
    pub(super) dialog: DialogId,
    pub(super) call_id: Option<String>,
    pub(super) trunk: &'a Trunk,
    pub(super) target: Target,
    /// Best first, never empty.
    pub(super) ways: Vec<Flow>,
    /// Number that is shown.
    pub(super) from: &'a str,
    /// Further headers.
    pub(super) headers: Vec<(String, String)>,
    pub(super) ring_timeout: Duration,
}

impl Placing<'_> {
    /// The INVITE without body; `None` where no way leads.
    pub(super) fn invite(mut self) -> Option<OutgoingInvite> {
        let trunk = self.trunk;
        if self.ways.is_empty() {
            return None;
        }
        let flow = self.ways.remove(0);
        let host = host_of(flow.local);
        self.headers.extend(trunk.identity_headers(self.from, &host));
        Some(OutgoingInvite {
            dialog: self.dialog,
            call_id: self.call_id,
            from: trunk.from_value(self.from, &host),
            flow,
            others: self.ways,
            request_uri: self.target.uri.clone(),
            to: format!("<{}>", self.target.uri),
            route: self.target.route,
            sdp: bytes::Bytes::new(),
            credentials: trunk.credentials.clone(),
            policy: trunk.call_policy(),
            headers: self.headers,
            ring_timeout: self.ring_timeout,
        })
    }
}

/// Whether a target is the trunk itself: nobody else is shown its credentials.
pub(super) fn is_trunk(trunk: &Trunk, target: &Target) -> bool {
    target.sought.host.eq_ignore_ascii_case(&trunk.config.host) || !target.route.is_empty()
}

pub(super) fn host_of(local: SocketAddr) -> String {
    match local.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
