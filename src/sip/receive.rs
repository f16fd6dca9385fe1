//! What to do with octets: read, match, refuse or pass on. Requests outside a dialog end here too.

use std::time::Instant;

use bytes::Bytes;

use super::access::Access;
use super::agent::Agent;
use super::checks;
use super::config::UnknownSource;
use super::craft::Reply;
use super::digest::server::Verdict;
use super::event::{DialogId, Flow};
use super::gate;
use super::hop;
use super::invite_uas::TAG_BYTES;
use super::key::{ClientKey, LegKey, ServerKey};
use super::leg::{Leg, Owner, State, later};
use super::msg::{HeaderName, Message, Method, Request, Response};
use super::multipart;
use super::policy::CallPolicy;
use super::transaction::Heard;

impl Agent {
    pub(super) fn on_bytes(&mut self, now: Instant, flow: Flow, bytes: &Bytes) {
        let (from, known) = (flow.remote.ip(), self.is_known(flow));
        if let gate::Verdict::Drop(reason) = self.gate.admit(now, from, known, bytes) {
            self.count(reason);
            let notice = self.gate.refused(now, from, reason);
            return self.notice(notice);
        }
        match super::wire::parse(bytes) {
            Ok(Message::Request(mut request)) => {
                hop::stamp(&mut request.headers, flow);
                multipart::unwrap(&mut request.headers, &mut request.body);
                self.on_request(now, flow, request);
            }
            Ok(Message::Response(mut response)) => {
                multipart::unwrap(&mut response.headers, &mut response.body);
                self.on_response(now, &response);
            }
            Err(error) => {
                self.count(error.fault.label());
                let Some((status, request)) = error.answer() else { return };
                if request.method == Method::Ack || !self.is_known(flow) {
                    return;
                }
                let mut request = request.clone();
                hop::stamp(&mut request.headers, flow);
                self.reply_stateless(flow, &request, Reply::new(status.code()));
            }
        }
    }

    fn is_known(&self, flow: Flow) -> bool {
        self.config.trunk_of(flow.remote.ip()).is_some()
    }

    /// Answers without keeping anything: for strangers and for what cannot be a transaction.
    /// The tag follows from the request, so that a repetition gets the same (section 8.2.7).
    fn reply_stateless(&mut self, flow: Flow, request: &Request, reply: Reply) {
        let tag = super::facts::stateless_tag(request);
        let bytes = reply.tagged(&tag).write(&self.config, request);
        self.send(hop::reply_flow(&request.headers, flow), bytes);
    }

    fn on_request(&mut self, now: Instant, flow: Flow, request: Request) {
        let key = ServerKey::of(&request);
        if request.method == Method::Ack {
            return self.on_ack(now, &key, &request);
        }
        if let Some(txn) = self.txns.server(&key) {
            match self.txns.repeated(txn) {
                Some(sent) => self.transmit(sent),
                None => self.count("repeated_request"),
            }
            return;
        }
        let leg = self.leg_of(&request);
        let for_a_call = leg.is_some() || request.method == Method::Cancel;
        if self.txns.is_exhausted() || (self.txns.is_full() && !for_a_call) {
            self.count("transaction_limit");
            let reply = Reply::from_rejection(&later(503, self.config.retry_after_s));
            return self.reply_stateless(flow, &request, reply);
        }
        if request.method == Method::Cancel {
            return self.canceled(now, flow, &request);
        }
        if let Some(id) = leg {
            return self.in_dialog(now, flow, id, request);
        }
        let invites = request.method == Method::Invite && request.to_tag().is_none();
        let by_source = self.config.trunk_of(flow.remote.ip()).map(|trunk| trunk.name.clone());
        let trunk = match (invites, by_source) {
            (false, trunk) => trunk,
            (true, _) => match self.access(now, flow, &request) {
                Access::Known(trunk) => Some(trunk),
                Access::Unknown => None,
                Access::Challenge(verdict) => {
                    if request.headers.contains(HeaderName::Authorization) {
                        self.count(match verdict {
                            Verdict::Stale => "digest_stale",
                            Verdict::Good(_) | Verdict::Wrong => "digest_wrong",
                        });
                    }
                    let reply = self.challenge(now, &verdict);
                    return self.reply_stateless(flow, &request, reply);
                }
            },
        };
        let Some(trunk) = trunk else {
            self.count("unknown_source");
            let notice = self.gate.refused(now, flow.remote.ip(), "unknown_source");
            self.notice(notice);
            let answered = self.config.unknown_source == UnknownSource::Forbid;
            if answered && request.method == Method::Invite {
                self.reply_stateless(flow, &request, Reply::new(403).unsigned());
            }
            return;
        };
        let policy = self.config.policy_of(&trunk);
        if request.to_tag().is_some() {
            self.count("unknown_dialog");
            self.answer(now, flow, &request, Reply::new(481));
        } else if request.method == Method::Invite {
            self.invited(now, flow, request, (trunk, policy));
        } else {
            self.outside(now, flow, &request, policy);
        }
    }

    /// A request other than INVITE outside a dialog.
    fn outside(&mut self, now: Instant, flow: Flow, request: &Request, policy: CallPolicy) {
        let reply = if let Some(reply) = checks::common(request) {
            reply
        } else {
            match request.method {
                Method::Options if self.draining => {
                    Reply::from_rejection(&later(503, self.config.retry_after_s))
                }
                Method::Options => {
                    let contact = self.contact(&flow);
                    Reply::new(200)
                        .contact(&contact)
                        .abilities(&policy)
                        .accept()
                        .named("Accept-Encoding", "identity")
                        .named("Accept-Language", "en")
                }
                Method::Notify if super::facts::event_package(request) == "message-summary" => {
                    Reply::new(200)
                }
                Method::Notify | Method::Subscribe => checks::bad_event(),
                // Known methods that only mean something within a dialog.
                Method::Bye | Method::Info | Method::Update | Method::Prack => Reply::new(481),
                Method::Refer => Reply::new(603),
                _ => checks::method_refused(request),
            }
        };
        self.answer(now, flow, request, reply);
    }

    /// Answers a request once and for all, through a transaction of its own.
    fn answer(&mut self, now: Instant, flow: Flow, request: &Request, reply: Reply) {
        let txn = self.open(request, flow);
        let tag = self.entropy.hex(TAG_BYTES);
        self.reply(now, txn, request, reply.tagged(&tag));
    }

    /// The leg a request names, with both tags.
    fn leg_of(&self, request: &Request) -> Option<DialogId> {
        let tag = request.to_tag()?;
        let id = *self.by_key.get(&LegKey::new(request.call_id().ok()?, &tag))?;
        let leg = self.legs.get(&id)?;
        is_peer(leg, &request.from_tag().unwrap_or_default()).then_some(id)
    }

    fn on_ack(&mut self, now: Instant, key: &ServerKey, ack: &Request) {
        if self.txns.acknowledged(now, key) {
            return;
        }
        match self.leg_of(ack) {
            Some(id) => self.with_leg(id, |agent, leg| agent.acked(now, leg, ack)),
            // The ACK of a refusal that nothing was kept for carries the tag that it was given.
            None if ack.to_tag() == Some(super::facts::stateless_tag(ack)) => {}
            None => self.count("stray_ack"),
        }
    }

    fn on_response(&mut self, now: Instant, response: &Response) {
        let Some(key) = ClientKey::of(response) else {
            self.count("malformed_response");
            return;
        };
        let status = response.status.code();
        let tag = response.to_tag().unwrap_or_default();
        let Some((txn, owner, heard)) = self.txns.heard(now, &key, status, &tag) else {
            self.count("stray_response");
            return;
        };
        match heard {
            Heard::Absorbed => return,
            Heard::Again(ack) => return self.transmit(ack),
            Heard::Pass => {}
        }
        match owner {
            Owner::Nobody => {}
            Owner::Left(left) => self.left_answered(now, txn, &left, response),
            Owner::Register(id) => self.register_answered(now, id, Some(response)),
            Owner::Ping(id) => self.pinged(id, Some(response)),
            Owner::Invite(id) if self.legs.contains_key(&id) => {
                self.with_leg(id, |agent, leg| agent.invite_answered(now, leg, txn, response));
            }
            Owner::Prack(id, asked) => {
                self.with_leg(id, |agent, leg| agent.prack_answered(now, leg, &asked, response));
            }
            // The leg is over, and so is everything its forks may still say but 2xx.
            Owner::Invite(_) => self.count("stray_response"),
            Owner::InDialog(id, request) if self.legs.contains_key(&id) => {
                self.with_leg(id, |agent, leg| {
                    agent.in_dialog_answered(now, leg, txn, &request, response)
                });
            }
            Owner::InDialog(_, request) => self.late_answer(txn, &request, response),
        }
    }

    /// Octets for a flow.
    fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.transmit(super::transaction::Sent { flow, bytes });
    }
}

/// Whether a From tag is the other side's.
fn is_peer(leg: &Leg, tag: &str) -> bool {
    match &leg.state {
        State::Calling(calling) => calling.forks.iter().any(|fork| fork.tag == tag),
        State::Incoming(_)
        | State::AwaitingAck { .. }
        | State::Confirmed(_)
        | State::Closing(_) => leg.dialog.remote_tag == tag,
    }
}
