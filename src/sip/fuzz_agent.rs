//! Arbitrary sequences of messages, commands and time steps for the agent, with an oracle.
//!
//! Compiled for tests and fuzz targets only. The first octet of a step says what happens, the next
//! ones which of the few calls, tags and branches it concerns, so that steps meet each other.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::config::{Config, Limits, TrunkAccess, UnknownSource};
use super::event::{
    Command, Credentials, DialogId, Event, Flow, Input, OutgoingInvite, Output, Rejection,
    Transport,
};
use super::{Agent, CallPolicy, Counts};
use crate::types::{Entropy, Secret, TrunkName};

/// Requests of the agent that can still be answered.
const ASKED_MAX: usize = 16;
/// Dialogs of the agent that requests can meet.
const PEERS_MAX: usize = 4;
/// Requests whose answer is watched.
const OPEN_MAX: usize = 4_096;
/// Octets of input read; more only makes one run longer.
const DATA_MAX: usize = 4_096;
/// Wakes in the time that must be enough for everything to end.
const WAKES_MAX: usize = 100_000;

/// Runs the agent on `data`.
///
/// # Panics
/// When the oracle is broken: a dialog ends twice or speaks after its end, a timer is due and does
/// not fire or outlives its dialog, a request gets no final response, or something is left when everything had time
/// to end.
pub fn agent_events(data: &[u8]) {
    let data = data.get(..data.len().min(DATA_MAX)).unwrap_or_default();
    let transport = if data.first().is_none_or(|octet| octet & 1 == 0) {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let mut run = Run::new(transport, Bytes::copy_from_slice(data));
    while run.step().is_some() {}
    run.finish();
}

/// Random sequences, one after the other on the same agent, until it had `count` dialogs; how many it had.
///
/// # Panics
/// When the oracle is broken, as in [`agent_events`], after any of them.
#[cfg(test)]
pub fn random_dialogs(count: usize) -> usize {
    let mut entropy = Entropy::seeded(2);
    let mut run = Run::new(Transport::Udp, Bytes::new());
    let mut had = 0;
    while had < count {
        let mut data = vec![0; DATA_MAX];
        entropy.fill(&mut data);
        run.data = data.into();
        while run.step().is_some() {}
        run.finish();
        had += run.dialogs.len();
        run.dialogs.clear();
        run.asked_of_us.clear();
        run.ended = run.placed;
    }
    had
}

struct Run {
    data: Bytes,
    agent: Agent,
    now: Instant,
    flow: Flow,
    /// Requests the agent sent, newest last.
    asked: VecDeque<String>,
    /// Dialogs as the other side would know them, newest last.
    peers: VecDeque<Peer>,
    /// Branch and method of requests to the agent; `true`: it gave a final response.
    asked_of_us: HashMap<(String, String), bool>,
    /// Dialogs heard of; `true`: over.
    dialogs: HashMap<DialogId, bool>,
    placed: u64,
    /// Of the calls placed, those that are surely over.
    ended: u64,
    /// CSeq number of our requests.
    cseq: u32,
}

/// What a request within a dialog of the agent must carry.
#[derive(Clone)]
struct Peer {
    call_id: String,
    /// To: the agent.
    to: String,
    /// From: the other side.
    from: String,
    /// CSeq number of the newest response of the agent, for ACK.
    cseq: String,
    /// RSeq of its newest reliable response, for PRACK.
    rseq: String,
}

impl Run {
    fn new(transport: Transport, data: Bytes) -> Self {
        let networks = "192.0.2.0/24".parse().into_iter().collect();
        let mut trunk = TrunkAccess::by_address(TrunkName("t".to_owned()), networks);
        trunk.policy.follows_refers = true;
        let config = Config {
            trunks: vec![trunk],
            unknown_source: UnknownSource::Silent,
            limits: Limits { dialogs: 8, transactions: 64 },
            advertised_tcp: Some("192.0.2.1:5060".to_owned()),
            ..Config::default()
        };
        #[expect(clippy::disallowed_methods, reason = "any instant serves as the origin")]
        let now = Instant::now();
        let address = |last| std::net::SocketAddr::from(([192, 0, 2, last], 5060));
        Self {
            data,
            agent: Agent::new(config, Entropy::seeded(1)),
            now,
            flow: Flow::new(transport, address(1), address(2)),
            asked: VecDeque::new(),
            peers: VecDeque::new(),
            asked_of_us: HashMap::new(),
            dialogs: HashMap::new(),
            placed: 0,
            ended: 0,
            cseq: 1,
        }
    }

    fn octet(&mut self) -> Option<u8> {
        self.data.has_remaining().then(|| self.data.get_u8())
    }

    fn step(&mut self) -> Option<()> {
        match self.octet()? % 8 {
            0 | 1 => self.request()?,
            2 | 3 => self.response()?,
            4 | 5 => self.command()?,
            6 => {
                let (high, low) = (self.octet()?, self.octet()?);
                let ms = if high & 1 == 0 { u64::from(low) * 8 } else { u64::from(low) * 160 };
                self.pass(Duration::from_millis(ms));
            }
            _ => self.odd()?,
        }
        Some(())
    }

    fn request(&mut self) -> Option<()> {
        const METHODS: [&str; 14] = [
            "INVITE",
            "ACK",
            "BYE",
            "CANCEL",
            "UPDATE",
            "INFO",
            "NOTIFY",
            "REFER",
            "OPTIONS",
            "INVITE",
            "ACK",
            "INVITE",
            "PRACK",
            "SUBSCRIBE",
        ];
        let (which, call, more) = (self.octet()?, self.octet()?, self.octet()?);
        let method = METHODS.get(usize::from(which) % METHODS.len())?;
        let known = self.peers.get(usize::from(call & 3) % self.peers.len().max(1)).cloned();
        let peer = known.filter(|_| call & 12 != 0).unwrap_or_else(|| Peer {
            call_id: format!("c{}", call & 3),
            to: "<sip:a@192.0.2.1>".to_owned(),
            from: "<sip:b@192.0.2.2>;tag=p".to_owned(),
            cseq: String::new(),
            rseq: "1".to_owned(),
        });
        let mut head = self.extensions()?;
        head.push_str(&format!("RAck: {} {} INVITE\r\n", peer.rseq, peer.cseq));
        let Peer { call_id, to, from, cseq: last, .. } = peer;
        self.cseq += u32::from(call >> 7);
        let cseq = if matches!(*method, "ACK" | "CANCEL") && !last.is_empty() {
            last
        } else {
            self.cseq.to_string()
        };
        let branch = if call & 112 == 0 { u32::from(more & 7) } else { 8 + self.cseq };
        if more & 8 != 0 {
            head.push_str("Contact: <sip:p@192.0.2.2:5070>\r\n");
        }
        if more & 16 != 0 {
            head.push_str("Refer-To: <sip:c@192.0.2.3>\r\n");
            head.push_str("Event: refer\r\nSubscription-State: active\r\n");
        }
        if more & 128 != 0 {
            head.push_str("Record-Route: <sip:192.0.2.9>\r\n");
        }
        let body = match more & 96 {
            32 => "v=0\r\n",
            64 => "SIP/2.0 200 OK\r\n",
            _ => "",
        };
        let kind = if *method == "NOTIFY" { "message/sipfrag" } else { "application/sdp" };
        let text = format!(
            "{method} sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK{branch}\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContent-Type: {kind}\r\n{head}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if *method != "ACK" && self.asked_of_us.len() < OPEN_MAX {
            let key = (format!("z9hG4bK{branch}"), (*method).to_owned());
            self.asked_of_us.entry(key).or_insert(false);
        }
        self.message(Bytes::from(text.into_bytes()));
        Some(())
    }

    /// Headers of the extensions, as the next octet says.
    fn extensions(&mut self) -> Option<String> {
        const LINES: [&str; 6] = [
            "Supported: timer, 100rel, replaces\r\n",
            "Session-Expires: 90;refresher=uac\r\n",
            "Session-Expires: 120;refresher=uas\r\n",
            "Require: 100rel\r\n",
            "Allow: INVITE, UPDATE\r\n",
            "Session-Expires: 10\r\nMin-SE: 100\r\n",
        ];
        let which = self.octet()?;
        let chosen = LINES.iter().enumerate().filter(|(bit, _)| which >> bit & 1 == 1);
        let mut head: String = chosen.map(|(_, line)| *line).collect();
        if which & 192 == 192
            && let Some(peer) = self.peers.front()
        {
            let tag = |value: &str| value.split(";tag=").nth(1).unwrap_or_default().to_owned();
            let (to, from) = (tag(&peer.to), tag(&peer.from));
            let value = format!("{};to-tag={to};from-tag={from}", peer.call_id);
            head.push_str(&format!("Replaces: {value}\r\n"));
        }
        Some(head)
    }

    fn response(&mut self) -> Option<()> {
        const STATUSES: [u16; 16] =
            [100, 180, 183, 200, 200, 199, 302, 401, 407, 481, 422, 487, 491, 500, 405, 408];
        let (which, status, more) = (self.octet()?, self.octet()?, self.octet()?);
        let extensions = self.extensions()?;
        let at = usize::from(which) % self.asked.len().max(1);
        let Some(asked) = self.asked.get(at) else { return Some(()) };
        let status = STATUSES.get(usize::from(status) % STATUSES.len())?;
        let mut text = format!("SIP/2.0 {status} x\r\n");
        for line in asked.lines().skip(1).take_while(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap_or_default();
            if matches!(name, "Via" | "From" | "Call-ID" | "CSeq") {
                text.push_str(line);
                text.push_str("\r\n");
            } else if name == "To" {
                text.push_str(line);
                if !line.contains(";tag=") {
                    text.push_str(&format!(";tag=f{}", more & 3));
                }
                text.push_str("\r\n");
            }
        }
        if more & 4 != 0 {
            text.push_str("Contact: <sip:p@192.0.2.2:5070>\r\n");
        }
        if more & 8 != 0 {
            text.push_str("WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n");
            text.push_str("Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", stale=true\r\n");
        }
        text.push_str(&extensions);
        text.push_str(&format!("RSeq: {}\r\n", 1 + (more >> 5 & 3)));
        let body = if more & 16 != 0 { "v=0\r\n" } else { "" };
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        self.message(Bytes::from(text.into_bytes()));
        Some(())
    }

    fn command(&mut self) -> Option<()> {
        let (which, whose) = (self.octet()?, self.octet()?);
        let mut live: Vec<DialogId> =
            self.dialogs.iter().filter(|(_, over)| !**over).map(|(id, _)| *id).collect();
        live.sort_unstable();
        let at = usize::from(whose >> 1) % live.len().max(1);
        let dialog = live.get(at).copied().unwrap_or(DialogId::outbound(u64::from(whose)));
        let sdp = Bytes::from_static(b"v=0\r\n");
        let command = match which % 14 {
            0 | 1 => Command::Accept { dialog, sdp },
            2 => Command::Ring { dialog, sdp: (which & 16 != 0).then_some(sdp) },
            3 => Command::Reject { dialog, rejection: Rejection::status(u16::from(whose) + 250) },
            4 => Command::Cancel { dialog },
            5 => Command::Bye { dialog, reason: None, headers: Vec::new() },
            6 => Command::Reoffer { dialog, sdp },
            7 => Command::AnswerOffer {
                dialog,
                answer: if which & 16 == 0 { Ok(sdp) } else { Err(Rejection::status(488)) },
            },
            8 => Command::Refer {
                dialog,
                target: "sip:c@d".to_owned(),
                replaces: (which & 16 != 0).then(|| live.first().copied()).flatten(),
                referred_by: None,
                headers: Vec::new(),
            },
            9 => Command::Info {
                dialog,
                content_type: "text/plain".to_owned(),
                body: sdp,
                spacing: Duration::from_millis(u64::from(which) * 8),
            },
            12 => Command::AnswerRefer {
                dialog,
                answer: if which & 16 == 0 { Ok(()) } else { Err(Rejection::status(403)) },
            },
            13 => Command::NotifyRefer { dialog, status: u16::from(whose) * 2 + 100 },
            _ => self.invite(),
        };
        self.handle(Input::Command(command));
        Some(())
    }

    fn invite(&mut self) -> Command {
        self.placed += 1;
        let dialog = DialogId::outbound(self.placed);
        let password = Secret::new("p");
        Command::Invite(Box::new(OutgoingInvite {
            dialog,
            call_id: None,
            flow: self.flow,
            others: Vec::new(),
            request_uri: "sip:b@192.0.2.2".to_owned(),
            from: "<sip:a@192.0.2.1>".to_owned(),
            to: "<sip:b@192.0.2.2>".to_owned(),
            route: Vec::new(),
            sdp: Bytes::from_static(b"v=0\r\n"),
            credentials: Some(Credentials { username: "a".to_owned(), password }),
            headers: Vec::new(),
            policy: CallPolicy::default(),
            ring_timeout: Duration::from_secs(30),
        }))
    }

    fn odd(&mut self) -> Option<()> {
        let what = self.octet()?;
        if what < 8 {
            self.handle(Input::FlowFailed { flow: self.flow });
            return Some(());
        }
        if what < 16 {
            let quote = match self.asked.get(usize::from(what & 7)) {
                Some(asked) => Bytes::copy_from_slice(asked.as_bytes()),
                None => self.data.clone(),
            };
            self.handle(Input::Undeliverable { remote: self.flow.remote, quote });
            return Some(());
        }
        let taken = self.data.split_to(usize::from(what & 31).min(self.data.len()));
        self.message(taken);
        Some(())
    }

    fn message(&mut self, bytes: Bytes) {
        self.handle(Input::Message { flow: self.flow, bytes });
    }

    fn handle(&mut self, input: Input) {
        self.agent.handle(self.now, input);
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Transmit { bytes, .. } => self.sent(&bytes),
                Output::Event(event) => self.heard(&event),
                Output::Counted(_) | Output::Refused(_) => {}
            }
        }
        let wake = self.agent.next_wake();
        assert!(wake.is_none_or(|wake| wake > self.now), "a due timer did not fire");
    }

    fn sent(&mut self, bytes: &Bytes) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let header = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
        };
        let (call_id, from, to) = (header("Call-ID: "), header("From: "), header("To: "));
        let cseq = header("CSeq: ").split(' ').next().unwrap_or_default().to_owned();
        let response = text.starts_with("SIP/2.0 ");
        if response && !text.starts_with("SIP/2.0 1") {
            let via = header("Via: ");
            let branch = via.split("branch=").nth(1).unwrap_or_default();
            let branch = branch.split(';').next().unwrap_or_default().to_owned();
            let method = header("CSeq: ").split(' ').nth(1).unwrap_or_default().to_owned();
            if let Some(answered) = self.asked_of_us.get_mut(&(branch, method)) {
                *answered = true;
            }
        }
        let rseq = header("RSeq: ");
        let peer = if response {
            Peer { call_id, to, from, cseq, rseq }
        } else {
            Peer { call_id, to: from, from: to, cseq: String::new(), rseq }
        };
        if text.starts_with("SIP/2.0 200") || text.starts_with("SIP/2.0 18") || !response {
            self.peers.retain(|known| known.call_id != peer.call_id);
            self.peers.push_back(peer);
            if self.peers.len() > PEERS_MAX {
                self.peers.pop_front();
            }
        }
        if !response {
            self.asked.push_back(text);
            if self.asked.len() > ASKED_MAX {
                self.asked.pop_front();
            }
        }
    }

    fn heard(&mut self, event: &Event) {
        let Some((dialog, last)) = dialog_of(event) else { return };
        let over = self.dialogs.entry(dialog).or_insert(false);
        assert!(!*over, "{dialog:?} speaks after its end: {event:?}");
        *over = last;
        assert!(!last || !self.agent.has_timer(dialog), "{dialog:?} has a timer after its end");
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..WAKES_MAX {
            let Some(wake) = self.agent.next_wake().filter(|wake| *wake <= end) else {
                self.now = end;
                return;
            };
            self.now = wake;
            self.handle(Input::Timeout);
        }
        assert!(self.now >= end, "timers never stop");
    }

    fn finish(&mut self) {
        let live: Vec<DialogId> =
            self.dialogs.iter().filter(|(_, over)| !**over).map(|(id, _)| *id).collect();
        let placed = (self.ended + 1..=self.placed).map(DialogId::outbound);
        for dialog in live.into_iter().chain(placed) {
            self.handle(Input::Command(Command::Bye { dialog, reason: None, headers: Vec::new() }));
        }
        self.pass(Duration::from_secs(2_000));
        assert_eq!(self.agent.counts(), Counts::default(), "something is left");
        assert!(self.dialogs.values().all(|over| *over), "a dialog never ended");
        let silent: Vec<_> = self.asked_of_us.iter().filter(|(_, answered)| !**answered).collect();
        assert!(silent.is_empty(), "requests got no final response: {silent:?}");
    }
}

/// Whose an event is, and whether it must be the last of it.
fn dialog_of(event: &Event) -> Option<(DialogId, bool)> {
    match event {
        Event::Terminated { dialog } | Event::Failed { dialog, .. } => Some((*dialog, true)),
        Event::Incoming { dialog, .. }
        | Event::Canceled { dialog, .. }
        | Event::Established { dialog, .. }
        | Event::AckTimedOut { dialog }
        | Event::Progress { dialog, .. }
        | Event::Answered { dialog, .. }
        | Event::Offered { dialog, .. }
        | Event::OfferAnswered { dialog, .. }
        | Event::Refreshed { dialog, .. }
        | Event::SessionExpired { dialog, .. }
        | Event::Info { dialog, .. }
        | Event::Referred { dialog, .. }
        | Event::ReferProgress { dialog, .. }
        | Event::ByeReceived { dialog, .. } => Some((*dialog, false)),
        Event::CommandRefused { .. }
        | Event::TargetFailed { .. }
        | Event::Registered { .. }
        | Event::Pinged { .. } => None,
    }
}

#[cfg(test)]
mod tests;
