//! The user agent core: owner of every transaction and dialog of the process (RFC 3261 section 8).
//!
//! No socket, no clock, no entropy of its own: [`Agent::handle`] one [`Input`], take every
//! [`Output`] from [`Agent::poll`], sleep until [`Agent::next_wake`]. What happens in a state is in
//! the neighbours: incoming calls in `invite_uas`, outgoing ones in `invite_uac`, offers within a
//! call in `reoffer`, all other requests in `in_dialog` and `out_of_dialog`.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use super::config::Config;
use super::craft::{Frame, Reply};
use super::event::{Command, DialogId, Event, Flow, Input, InviteFailureCause, Output};
use super::gate::{Gate, Notice};
use super::info::Info;
use super::key::{ClientKey, LegKey};
use super::leg::{Fate, Leg, Owner, State};
use super::msg::{Method, Request};
use super::transaction::{ClientKind, Due, NewClient, Sent, Table, TxnId, Wheel, earlier};
use crate::types::Entropy;

/// The SIP user agent of the process.
#[derive(Debug)]
pub struct Agent {
    pub(super) config: Config,
    pub(super) entropy: Entropy,
    pub(super) txns: Table<Owner>,
    pub(super) legs: HashMap<DialogId, Box<Leg>>,
    pub(super) by_key: HashMap<LegKey, DialogId>,
    /// Registrations under way.
    pub(super) registers: HashMap<DialogId, Box<super::register::Underway>>,
    /// INVITE server transactions that a CANCEL can still meet.
    pub(super) cancelable: HashMap<TxnId, DialogId>,
    pub(super) gate: Gate,
    wheel: Wheel<DialogId>,
    last_inbound: u64,
    pub(super) draining: bool,
    pub(super) digest: super::digest::server::Server,
    out: VecDeque<Output>,
}

/// What the agent holds; all zero when nothing goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Legs that are not over.
    pub dialogs: usize,
    /// Transactions that may still have to repeat something.
    pub transactions: usize,
    /// Timers armed.
    pub timers: usize,
    /// Entries of the indexes.
    pub index: usize,
}

impl Agent {
    /// An agent that holds nothing.
    pub fn new(config: Config, mut entropy: Entropy) -> Self {
        Self {
            digest: super::digest::server::Server::new(&mut entropy),
            txns: Table::new(config.timers, config.limits.transactions),
            gate: Gate::new(config.requests_per_second_max),
            config,
            entropy,
            legs: HashMap::new(),
            by_key: HashMap::new(),
            registers: HashMap::new(),
            cancelable: HashMap::new(),
            wheel: Wheel::new(),
            last_inbound: 0,
            draining: false,
            out: VecDeque::new(),
        }
    }

    /// Takes one thing. The outputs of the one before must have been polled.
    pub fn handle(&mut self, now: Instant, input: Input) {
        debug_assert!(self.out.is_empty(), "poll to None before the next handle");
        match input {
            Input::Message { flow, bytes } => self.on_bytes(now, flow, &bytes),
            Input::FlowFailed { flow } => self.on_flow_failed(now, flow),
            Input::Undeliverable { remote, quote } => self.on_undeliverable(now, remote, &quote),
            Input::Command(command) => self.on_command(now, command),
            Input::Timeout => {}
        }
        self.run_timers(now);
    }

    /// The next thing the shell must do, in order; `None`: nothing until the next input or wake.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to hand in [`Input::Timeout`] at the latest.
    pub fn next_wake(&self) -> Option<Instant> {
        earlier(self.txns.next_wake(), self.wheel.next())
    }

    /// What is held, for leak tests and gauges.
    pub fn counts(&self) -> Counts {
        Counts {
            dialogs: self.legs.len(),
            transactions: self.txns.len(),
            timers: self.txns.armed() + self.wheel.len(),
            index: self.by_key.len() + self.cancelable.len() + self.registers.len(),
        }
    }

    /// Whether a timer is armed for a dialog.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn has_timer(&self, dialog: DialogId) -> bool {
        self.wheel.holds(dialog)
    }

    // --- timers -----------------------------------------------------------------------------

    fn run_timers(&mut self, now: Instant) {
        loop {
            if let Some(due) = self.txns.fire(now) {
                match due {
                    Due::Send(sent) => self.transmit(sent),
                    Due::NoResponse(owner) => self.no_response(now, owner, NoAnswer::Timeout),
                    Due::Quiet => {}
                }
            } else if let Some(id) = self.wheel.pop(now) {
                self.with_leg(id, |agent, leg| agent.leg_due(now, leg));
            } else {
                return;
            }
        }
    }

    fn leg_due(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        self.next_info(now, leg);
        match &leg.state {
            State::Incoming(_) => self.incoming_due(now, leg),
            State::AwaitingAck { .. } => self.awaiting_ack_due(now, leg),
            State::Calling(_) => self.calling_due(now, leg),
            State::Confirmed(_) => self.confirmed_due(now, leg),
            State::Closing(_) => Fate::Keep,
        }
    }

    fn on_flow_failed(&mut self, now: Instant, flow: Flow) {
        for owner in self.txns.flow_failed(flow) {
            self.no_response(now, owner, NoAnswer::Transport);
        }
    }

    /// A request came to nobody. Whoever forges an ICMP message does not know its branch. A call that exists goes on:
    /// its peer may be back before the request is repeated for the last time.
    fn on_undeliverable(&mut self, now: Instant, remote: SocketAddr, quote: &[u8]) {
        let Some(key) = ClientKey::quoted(quote) else { return };
        let Some((id, owner)) = self.txns.unheard(&key, remote) else { return };
        if let Owner::Invite(_) | Owner::Register(_) | Owner::Ping(_) = owner {
            self.txns.abandon(id);
            self.no_response(now, owner, NoAnswer::Transport);
        }
    }

    /// A request of ours will get no final response.
    fn no_response(&mut self, now: Instant, owner: Owner, why: NoAnswer) {
        match owner {
            Owner::Nobody | Owner::Left(_) => {}
            Owner::Prack(id, asked) if why == NoAnswer::Transport => {
                self.with_leg(id, |agent, leg| agent.prack_by_udp(now, leg, &asked));
            }
            // A PRACK that is not answered: the INVITE says what becomes of the call.
            Owner::Prack(..) => {}
            Owner::Register(id) => self.register_answered(now, id, None),
            Owner::Ping(id) => self.pinged(id, None),
            Owner::Invite(id) => {
                let cause = match why {
                    NoAnswer::Timeout => InviteFailureCause::NoResponse,
                    NoAnswer::Transport => InviteFailureCause::Transport,
                };
                self.with_leg(id, |agent, leg| agent.invite_unanswered(now, leg, cause));
            }
            Owner::InDialog(id, request) => {
                self.with_leg(id, |agent, leg| {
                    if why == NoAnswer::Transport && agent.in_dialog_by_udp(now, leg, &request) {
                        return Fate::Keep;
                    }
                    agent.in_dialog_unanswered(now, leg, &request.request)
                });
            }
        }
    }

    // --- legs -------------------------------------------------------------------------------

    /// Lends a leg to `f` and does what its fate says: every end of a leg passes here, so it is
    /// announced once and leaves nothing behind.
    pub(super) fn with_leg(&mut self, id: DialogId, f: impl FnOnce(&mut Self, &mut Leg) -> Fate) {
        let Some(mut leg) = self.legs.remove(&id) else { return };
        let fate = f(self, &mut leg);
        let last = match fate {
            Fate::Keep => {
                self.wheel.set(id, leg.next_wake());
                self.legs.insert(id, leg);
                return;
            }
            Fate::Over => Some(Event::Terminated { dialog: id }),
            Fate::Failed(failure) => Some(Event::Failed { dialog: id, failure }),
            Fate::Silent => None,
        };
        self.wheel.set(id, None);
        self.by_key.remove(&LegKey::of(&leg.dialog));
        if let State::Incoming(incoming) = &leg.state {
            self.cancelable.remove(&incoming.txn);
        }
        if let Some(event) = last {
            self.event(event);
        }
    }

    /// Takes a new leg in.
    pub(super) fn add_leg(&mut self, leg: Leg) {
        let id = leg.id;
        self.by_key.insert(LegKey::of(&leg.dialog), id);
        self.wheel.set(id, leg.next_wake());
        self.legs.insert(id, Box::new(leg));
    }

    /// A number for a new incoming leg.
    pub(super) fn number(&mut self) -> DialogId {
        self.last_inbound += 1;
        DialogId(self.last_inbound & !(1 << 63))
    }

    // --- outputs ----------------------------------------------------------------------------

    pub(super) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    pub(super) fn count(&mut self, label: &'static str) {
        self.out.push_back(Output::Counted(label));
    }

    pub(super) fn notice(&mut self, notice: Option<Notice>) {
        self.out.extend(notice.map(Output::Refused));
    }

    pub(super) fn transmit(&mut self, sent: Sent) {
        self.out.push_back(Output::Transmit { flow: sent.flow, bytes: sent.bytes });
    }

    pub(super) fn refused(&mut self, dialog: DialogId, command: &'static str) {
        self.event(Event::CommandRefused { dialog, command });
    }

    /// Answers a request through its transaction.
    pub(super) fn reply(&mut self, now: Instant, txn: TxnId, request: &Request, reply: Reply) {
        let status = reply.status;
        let bytes = reply.write(&self.config, request);
        if let Some(sent) = self.txns.respond(now, txn, status, bytes) {
            self.transmit(sent);
        }
    }

    /// Opens a client transaction and sends its request.
    pub(super) fn request(&mut self, now: Instant, frame: &Frame, owner: Owner) -> TxnId {
        let sent = Sent { flow: frame.flow, bytes: frame.write() };
        let kind =
            if frame.method == Method::Invite { ClientKind::Invite } else { ClientKind::Other };
        self.transmit(sent.clone());
        self.txns.open_client(now, NewClient { key: frame.key(), kind, sent, owner })
    }

    // --- commands ---------------------------------------------------------------------------

    fn on_command(&mut self, now: Instant, command: Command) {
        let (id, name) = match &command {
            Command::Drain => {
                self.draining = true;
                return;
            }
            Command::SetTrunks(_) => (DialogId(0), "set_trunks"),
            Command::Ping(ping) => (ping.id, "ping"),
            Command::Register(register) => (register.id, "register"),
            Command::Invite(invite) => (invite.dialog, "invite"),
            Command::Ring { dialog, .. } => (*dialog, "ring"),
            Command::Accept { dialog, .. } => (*dialog, "accept"),
            Command::Reject { dialog, .. } => (*dialog, "reject"),
            Command::Cancel { dialog } => (*dialog, "cancel"),
            Command::Bye { dialog, .. } => (*dialog, "bye"),
            Command::Reoffer { dialog, .. } => (*dialog, "reoffer"),
            Command::AnswerOffer { dialog, .. } => (*dialog, "answer_offer"),
            Command::Refer { dialog, .. } => (*dialog, "refer"),
            Command::AnswerRefer { dialog, .. } => (*dialog, "answer_refer"),
            Command::NotifyRefer { dialog, .. } => (*dialog, "notify_refer"),
            Command::Info { dialog, .. } => (*dialog, "info"),
        };
        let command = match command {
            Command::SetTrunks(trunks) => {
                self.config.trunks = trunks;
                return;
            }
            Command::Ping(ping) => return self.ping(now, *ping),
            Command::Register(register) => return self.register(now, *register),
            Command::Invite(invite) => return self.place(now, *invite),
            other => other,
        };
        if !self.legs.contains_key(&id) {
            self.refused(id, name);
            return;
        }
        self.with_leg(id, |agent, leg| agent.leg_command(now, leg, command, name));
    }

    fn leg_command(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        command: Command,
        name: &'static str,
    ) -> Fate {
        match (&leg.state, command) {
            (State::Incoming(_), Command::Ring { sdp, .. }) => self.ring(now, leg, sdp),
            (State::Incoming(_), Command::Accept { sdp, .. }) => self.accept(now, leg, sdp),
            (State::Incoming(_), Command::Reject { rejection, .. }) => {
                self.reject(now, leg, &rejection)
            }
            (State::Incoming(_), Command::AnswerOffer { answer, .. }) => {
                self.answer_early(now, leg, answer)
            }
            (State::Incoming(_), Command::Bye { .. }) => self.reject_by_bye(now, leg),
            (State::Calling(_), Command::Cancel { .. } | Command::Bye { .. }) => {
                self.cancel(now, leg, InviteFailureCause::Canceled)
            }
            (State::AwaitingAck { .. }, Command::Bye { reason, headers, .. }) => {
                leg.farewell = headers;
                super::invite_uas::hang_up_later(leg, reason)
            }
            (State::Confirmed(_), Command::Bye { reason, headers, .. }) => {
                leg.farewell = headers;
                self.bye(now, leg, reason)
            }
            (State::Confirmed(_), Command::AnswerRefer { answer, .. }) => {
                self.answer_refer(now, leg, answer)
            }
            (State::Confirmed(_), Command::NotifyRefer { status, .. }) => {
                self.notify_refer(now, leg, status)
            }
            (State::Confirmed(_), Command::Reoffer { sdp, .. }) => self.reoffer(now, leg, sdp),
            (State::Confirmed(_), Command::AnswerOffer { answer, .. }) => {
                self.answer_offer(now, leg, answer)
            }
            (
                State::Confirmed(_),
                Command::Refer { target, replaces, referred_by, headers, .. },
            ) => {
                let target = match replaces {
                    None => Some(target),
                    Some(other) => self.refer_to(other),
                };
                self.refer(now, leg, target.as_deref(), (referred_by, headers))
            }
            (
                State::Confirmed(_) | State::AwaitingAck { .. },
                Command::Info { content_type, body, spacing, .. },
            ) => self.info(now, leg, Info { content_type, body, spacing }),
            (
                State::Incoming(_)
                | State::AwaitingAck { .. }
                | State::Calling(_)
                | State::Confirmed(_)
                | State::Closing(_),
                _,
            ) => {
                self.refused(leg.id, name);
                Fate::Keep
            }
        }
    }
}

/// Why a request got no final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoAnswer {
    Timeout,
    Transport,
}

#[cfg(test)]
mod tests;
