//! Transactions: the four machines of RFC 3261 section 17 and the table that owns them all.
//!
//! The machines know nothing of messages but octets and a status. The table finds them by key,
//! fires their timers and says whose they are. Start at [`Table`].

mod client;
mod invite_client;
mod invite_server;
mod server;
mod timers;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::config::TimerConfig;
use super::event::{Flow, Transport};
use super::key::{ClientKey, MergeKey, ServerKey};
use client::Client;
use invite_client::InviteClient;
pub(crate) use invite_client::Sent;
use invite_server::InviteServer;
use server::Server;
pub(crate) use timers::{Backoff, Wheel, earlier};

/// Number of a transaction, never used twice.
pub(crate) type TxnId = u64;

/// How fast a transaction runs: the base timers and whether its transport loses messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) timers: TimerConfig,
    pub(crate) transport: Transport,
}

impl Pace {
    /// Whether messages are repeated: only where the transport does not do it.
    fn repeats(self) -> bool {
        self.transport == Transport::Udp
    }

    /// Timers E and G.
    fn backoff(self, now: Instant) -> Option<Backoff> {
        self.repeats().then(|| Backoff::new(now, self.timers.t1, self.timers.t2))
    }

    /// Timers I and K.
    fn linger(self) -> Duration {
        if self.repeats() { self.timers.t4 } else { Duration::ZERO }
    }

    /// Timer J.
    fn absorb(self) -> Duration {
        if self.repeats() { self.timers.t1x64() } else { Duration::ZERO }
    }
}

/// What a timer of a machine means.
#[derive(Debug)]
pub(crate) enum Fired {
    Nothing,
    Send(Bytes),
    /// The machine did its duty.
    Done,
    /// Timer B, F or H.
    TimedOut,
}

/// What a response means to a client machine.
#[derive(Debug)]
pub(crate) enum Heard {
    /// New to the user agent.
    Pass,
    /// Nothing to do.
    Absorbed,
    /// Repeated final response: send this ACK again.
    Again(Sent),
}

#[derive(Debug)]
enum Machine {
    InviteClient(InviteClient),
    Client(Client),
    InviteServer(InviteServer),
    Server(Server),
}

impl Machine {
    fn fire(&mut self, now: Instant) -> Fired {
        match self {
            Self::InviteClient(machine) => machine.fire(now),
            Self::Client(machine) => machine.fire(now),
            Self::InviteServer(machine) => machine.fire(now),
            Self::Server(machine) => machine.fire(now),
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        match self {
            Self::InviteClient(machine) => machine.next_wake(),
            Self::Client(machine) => machine.next_wake(),
            Self::InviteServer(machine) => machine.next_wake(),
            Self::Server(machine) => machine.next_wake(),
        }
    }
}

#[derive(Debug)]
enum Key {
    Client(ClientKey),
    Server(ServerKey, Option<MergeKey>),
}

#[derive(Debug)]
struct Entry<O> {
    key: Key,
    /// Where our messages of it go.
    flow: Flow,
    machine: Machine,
    /// Whose it is; server transactions belong to nobody once answered.
    owner: Option<O>,
}

/// What became due.
#[derive(Debug)]
pub(crate) enum Due<O> {
    Send(Sent),
    /// A request of ours got no final response.
    NoResponse(O),
    /// Only the table changed.
    Quiet,
}

/// Request to open a client transaction.
#[derive(Debug)]
pub(crate) struct NewClient<O> {
    pub(crate) key: ClientKey,
    pub(crate) kind: ClientKind,
    pub(crate) sent: Sent,
    pub(crate) owner: O,
}

/// Which of the two client machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    Invite,
    Other,
}

/// All transactions of the process. `O` says whose a client transaction is.
#[derive(Debug)]
pub(crate) struct Table<O> {
    timers: TimerConfig,
    limit: usize,
    last: TxnId,
    entries: HashMap<TxnId, Entry<O>>,
    clients: HashMap<ClientKey, TxnId>,
    servers: HashMap<ServerKey, TxnId>,
    merges: HashMap<MergeKey, TxnId>,
    wheel: Wheel<TxnId>,
}

impl<O: Clone> Table<O> {
    pub(crate) fn new(timers: TimerConfig, limit: usize) -> Self {
        Self {
            timers,
            limit,
            last: 0,
            entries: HashMap::new(),
            clients: HashMap::new(),
            servers: HashMap::new(),
            merges: HashMap::new(),
            wheel: Wheel::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Timers armed; for leak tests.
    pub(crate) fn armed(&self) -> usize {
        self.wheel.len()
    }

    /// Whether nothing new may begin.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    /// Whether not even calls that live may have more: twice the limit, so that they can end in overload.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.entries.len() >= self.limit.saturating_mul(2)
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.wheel.next()
    }

    fn pace(&self, transport: Transport) -> Pace {
        Pace { timers: self.timers, transport }
    }

    fn insert(&mut self, entry: Entry<O>) -> TxnId {
        self.last += 1;
        let id = self.last;
        match &entry.key {
            Key::Client(key) => {
                self.clients.insert(key.clone(), id);
            }
            Key::Server(key, merge) => {
                self.servers.insert(key.clone(), id);
                if let Some(merge) = merge {
                    self.merges.insert(merge.clone(), id);
                }
            }
        }
        self.wheel.set(id, entry.machine.next_wake());
        self.entries.insert(id, entry);
        id
    }

    fn remove(&mut self, id: TxnId) -> Option<Entry<O>> {
        let entry = self.entries.remove(&id)?;
        match &entry.key {
            Key::Client(key) => {
                self.clients.remove(key);
            }
            Key::Server(key, merge) => {
                self.servers.remove(key);
                if let Some(merge) = merge {
                    self.merges.remove(merge);
                }
            }
        }
        self.wheel.set(id, None);
        Some(entry)
    }

    fn rearm(&mut self, id: TxnId) {
        let wake = self.entries.get(&id).and_then(|entry| entry.machine.next_wake());
        self.wheel.set(id, wake);
    }

    /// Opens the server transaction of a new request; `reply` is where its responses go.
    pub(crate) fn open_server(
        &mut self,
        key: ServerKey,
        merge: Option<MergeKey>,
        reply: Flow,
    ) -> TxnId {
        let pace = self.pace(reply.transport);
        let machine = if key.is_invite() {
            Machine::InviteServer(InviteServer::new(pace))
        } else {
            Machine::Server(Server::new(pace))
        };
        self.insert(Entry { key: Key::Server(key, merge), flow: reply, machine, owner: None })
    }

    /// Opens the client transaction of a request that the caller sends now.
    pub(crate) fn open_client(&mut self, now: Instant, new: NewClient<O>) -> TxnId {
        let NewClient { key, kind, sent: Sent { flow, bytes }, owner } = new;
        let pace = self.pace(flow.transport);
        let machine = match kind {
            ClientKind::Invite => Machine::InviteClient(InviteClient::new(now, bytes, pace)),
            ClientKind::Other => Machine::Client(Client::new(now, bytes, pace)),
        };
        self.insert(Entry { key: Key::Client(key), flow, machine, owner: Some(owner) })
    }

    /// The server transaction a request belongs to.
    pub(crate) fn server(&self, key: &ServerKey) -> Option<TxnId> {
        self.servers.get(key).copied()
    }

    /// The INVITE transaction that is the same request by another path.
    pub(crate) fn merged(&self, key: &MergeKey) -> Option<TxnId> {
        self.merges.get(key).copied()
    }

    /// A request came again: the response to repeat.
    pub(crate) fn repeated(&self, id: TxnId) -> Option<Sent> {
        let entry = self.entries.get(&id)?;
        let bytes = match &entry.machine {
            Machine::InviteServer(machine) => machine.repeated(),
            Machine::Server(machine) => machine.repeated(),
            Machine::InviteClient(_) | Machine::Client(_) => None,
        }?;
        Some(Sent { flow: entry.flow, bytes })
    }

    /// Our response to a request: what to send, if it is not too late.
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        id: TxnId,
        status: u16,
        bytes: Bytes,
    ) -> Option<Sent> {
        let entry = self.entries.get_mut(&id)?;
        let goes_out = match &mut entry.machine {
            Machine::InviteServer(machine) => machine.respond(now, status, &bytes),
            Machine::Server(machine) => machine.respond(now, status, &bytes),
            Machine::InviteClient(_) | Machine::Client(_) => false,
        };
        let sent = goes_out.then(|| Sent { flow: entry.flow, bytes });
        self.rearm(id);
        sent
    }

    /// An ACK: whether it ended the repetition of a non-2xx.
    pub(crate) fn acknowledged(&mut self, now: Instant, key: &ServerKey) -> bool {
        let Some(id) = self.server(key) else { return false };
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let Machine::InviteServer(machine) = &mut entry.machine else { return false };
        let taken = machine.acknowledged(now);
        self.rearm(id);
        taken
    }

    /// A response: which transaction, whose, and what to do. `None`: it answers nothing of ours.
    pub(crate) fn heard(
        &mut self,
        now: Instant,
        key: &ClientKey,
        status: u16,
        to_tag: &str,
    ) -> Option<(TxnId, O, Heard)> {
        let id = *self.clients.get(key)?;
        let entry = self.entries.get_mut(&id)?;
        let heard = match &mut entry.machine {
            Machine::InviteClient(machine) => machine.heard(now, status, to_tag),
            Machine::Client(machine) => machine.heard(now, status),
            Machine::InviteServer(_) | Machine::Server(_) => return None,
        };
        let owner = entry.owner.clone()?;
        self.rearm(id);
        Some((id, owner, heard))
    }

    /// Keeps an ACK for the repetitions of the response just heard.
    pub(crate) fn keep_ack(&mut self, id: TxnId, to_tag: &str, sent: Sent) {
        if let Some(Entry { machine: Machine::InviteClient(machine), .. }) =
            self.entries.get_mut(&id)
        {
            machine.keep_ack(to_tag, sent);
        }
    }

    /// Gives an INVITE that waits another owner and repeats it no more; responses are still matched.
    pub(crate) fn leave(&mut self, id: TxnId, owner: O) {
        if let Some(Entry { machine: Machine::InviteClient(machine), owner: current, .. }) =
            self.entries.get_mut(&id)
        {
            machine.silence();
            *current = Some(owner);
        }
        self.rearm(id);
    }

    /// Forgets a client transaction that can only be waited for in vain.
    pub(crate) fn abandon(&mut self, id: TxnId) {
        self.remove(id);
    }

    /// Runs one due timer.
    pub(crate) fn fire(&mut self, now: Instant) -> Option<Due<O>> {
        let id = self.wheel.pop(now)?;
        let Some(entry) = self.entries.get_mut(&id) else { return Some(Due::Quiet) };
        let fired = entry.machine.fire(now);
        let flow = entry.flow;
        Some(match fired {
            Fired::Nothing => {
                self.rearm(id);
                Due::Quiet
            }
            Fired::Send(bytes) => {
                self.rearm(id);
                Due::Send(Sent { flow, bytes })
            }
            Fired::Done => {
                self.remove(id);
                Due::Quiet
            }
            Fired::TimedOut => match self.remove(id).and_then(|entry| entry.owner) {
                Some(owner) => Due::NoResponse(owner),
                None => Due::Quiet,
            },
        })
    }

    /// The client transaction of a request sent to `remote` by UDP, if nothing answered it so far.
    pub(crate) fn unheard(&self, key: &ClientKey, remote: SocketAddr) -> Option<(TxnId, O)> {
        let id = *self.clients.get(key)?;
        let entry = self.entries.get(&id)?;
        let is_unheard = match &entry.machine {
            Machine::InviteClient(machine) => machine.is_unheard(),
            Machine::Client(machine) => machine.is_waiting(),
            Machine::InviteServer(_) | Machine::Server(_) => false,
        };
        let is_it = entry.flow.transport == Transport::Udp && entry.flow.remote == remote;
        let owner = entry.owner.clone()?;
        (is_it && is_unheard).then_some((id, owner))
    }

    /// The transport of a flow failed: client transactions on it that still wait end now
    /// (section 18.4).
    pub(crate) fn flow_failed(&mut self, flow: Flow) -> Vec<O> {
        let mut failed: Vec<TxnId> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry.flow.transport == flow.transport
                    && entry.flow.remote == flow.remote
                    && entry.flow.name == flow.name
            })
            .filter(|(_, entry)| match &entry.machine {
                Machine::InviteClient(machine) => machine.is_waiting(),
                Machine::Client(machine) => machine.is_waiting(),
                Machine::InviteServer(_) | Machine::Server(_) => false,
            })
            .map(|(id, _)| *id)
            .collect();
        failed.sort_unstable();
        failed.into_iter().filter_map(|id| self.remove(id).and_then(|entry| entry.owner)).collect()
    }
}
