//! OPTIONS of ours outside any dialog (RFC 3261 section 11): whether a peer answers at all.
//!
//! Any final response proves that it is there, so a challenge is an answer like any other.

use std::time::Instant;

use bytes::Bytes;

use super::agent::Agent;
use super::craft::ACCEPT;
use super::dialog::{Dialog, Side, with_tag};
use super::event::{DialogId, Event, Ping};
use super::invite_uac::CALL_ID_BYTES;
use super::invite_uas::TAG_BYTES;
use super::leg::Owner;
use super::msg::{Method, Response};
use super::uri::Uri;

impl Agent {
    /// [`super::Command::Ping`].
    pub(super) fn ping(&mut self, now: Instant, ping: Ping) {
        let id = ping.id;
        let Ok(remote_target) = Uri::parse(&ping.uri) else {
            self.refused(id, "ping");
            return;
        };
        if self.txns.is_full() {
            self.count("transaction_limit");
            self.refused(id, "ping");
            return;
        }
        let local_tag = self.entropy.hex(TAG_BYTES);
        // A dialog of one request, which nobody keeps.
        let dialog = Dialog {
            call_id: self.entropy.hex(CALL_ID_BYTES),
            remote_tag: String::new(),
            local: with_tag(ping.from.as_bytes(), &local_tag),
            local_tag,
            remote: Bytes::from(format!("<{}>", ping.uri)),
            local_seq: 1,
            remote_seq: None,
            remote_target,
            route_set: ping.route.iter().map(|route| Bytes::from(route.clone())).collect(),
            flow: ping.flow,
            is_udp_only: false,
            side: Side::Caller,
        };
        let mut frame = self.frame(&dialog, Method::Options, dialog.local_seq);
        frame.headers.push(("Accept".to_owned(), ACCEPT.to_owned()));
        self.request(now, &frame, Owner::Ping(id));
    }

    /// A response, or `None`: timer F or the transport.
    pub(super) fn pinged(&mut self, id: DialogId, response: Option<&Response>) {
        let status = response.map(|response| response.status.code());
        if status.is_none_or(|status| status >= 200) {
            let seen = response.and_then(super::hop::seen_from);
            self.event(Event::Pinged { dialog: id, status, seen });
        }
    }
}
