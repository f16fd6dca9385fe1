//! The agent against hand-written messages, and two agents against each other, in virtual time.

use std::time::Duration;

use super::super::config::{Limits, Network, TrunkAccess, UnknownSource};
use super::super::event::{
    Credentials, InviteFailure, OutgoingInvite, ReferProgress, Rejection, Transport,
};
use super::*;
use crate::sip::CallPolicy;
use crate::types::{Secret, TrunkName};
use bytes::Bytes;

mod access;
mod answering;
mod calling;
mod failover;
mod in_call;
mod outside;
mod pair;
mod referred;
mod register;
mod reliable;
mod session_timer;
mod transfer;
mod undeliverable;

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n";
const ANSWER: &str = "v=0\r\no=- 2 1 IN IP4 192.0.2.2\r\ns=-\r\nt=0 0\r\n";

/// What was sent, when (in ms since the start) and where.
#[derive(Clone, Debug)]
struct Sent {
    at_ms: u128,
    flow: Flow,
    text: String,
}

impl Sent {
    /// First line without version: `INVITE sip:..` or `200 OK`.
    fn start(&self) -> &str {
        let line = self.text.lines().next().unwrap();
        line.strip_prefix("SIP/2.0 ").or(line.strip_suffix(" SIP/2.0")).unwrap()
    }

    fn header(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}: ");
        self.text.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    }

    fn all(&self, name: &str) -> Vec<String> {
        let prefix = format!("{name}: ");
        self.text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").unwrap().1
    }

    fn to_tag(&self) -> String {
        let to = self.header("To").unwrap();
        to.split(";tag=").nth(1).unwrap_or_default().to_owned()
    }

    fn branch(&self) -> String {
        let via = self.header("Via").unwrap();
        via.split("branch=").nth(1).unwrap().split(';').next().unwrap().to_owned()
    }

    /// A response to this request as a peer would write it.
    fn response(&self, status: &str, to_tag: &str, more: &str, body: &str) -> String {
        let to = self.header("To").unwrap();
        let to = match (to_tag.is_empty(), to.contains(";tag=")) {
            (false, false) => format!("{to};tag={to_tag}"),
            _ => to,
        };
        let mut text = format!("SIP/2.0 {status}\r\n");
        for via in self.all("Via") {
            text += &format!("Via: {via}\r\n");
        }
        for name in ["From", "Call-ID", "CSeq"] {
            text += &format!("{name}: {}\r\n", self.header(name).unwrap());
        }
        text += &format!("To: {to}\r\n{more}");
        if !body.is_empty() {
            text += "Content-Type: application/sdp\r\n";
        }
        text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
    }
}

/// One agent and everything it said.
struct Bench {
    agent: Agent,
    start: Instant,
    now: Instant,
    flow: Flow,
    sent: Vec<Sent>,
    events: Vec<Event>,
    counted: Vec<&'static str>,
}

fn config() -> Config {
    let networks = vec!["192.0.2.0/24".parse::<Network>().unwrap()];
    Config {
        trunks: vec![TrunkAccess::by_address(TrunkName("carrier".to_owned()), networks)],
        advertised_udp: Some("192.0.2.1:5060".to_owned()),
        ..Config::default()
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: Config) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant serves as the origin")]
        let start = Instant::now();
        Self {
            agent: Agent::new(config, Entropy::seeded(7)),
            start,
            now: start,
            flow: Flow::new(
                Transport::Udp,
                "192.0.2.1:5060".parse().unwrap(),
                "192.0.2.2:5060".parse().unwrap(),
            ),
            sent: Vec::new(),
            events: Vec::new(),
            counted: Vec::new(),
        }
    }

    fn tcp() -> Self {
        let mut bench =
            Self::with(Config { advertised_tcp: Some("192.0.2.1:5060".to_owned()), ..config() });
        bench.flow.transport = Transport::Tcp;
        bench
    }

    fn handle(&mut self, input: Input) {
        self.agent.handle(self.now, input);
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Transmit { flow, bytes } => self.sent.push(Sent {
                    at_ms: (self.now - self.start).as_millis(),
                    flow,
                    text: String::from_utf8(bytes.to_vec()).unwrap(),
                }),
                Output::Event(event) => self.events.push(event),
                Output::Counted(label) => self.counted.push(label),
                Output::Refused(_) => {}
            }
        }
    }

    fn receive(&mut self, text: &str) {
        let (flow, bytes) = (self.flow, Bytes::copy_from_slice(text.as_bytes()));
        self.handle(Input::Message { flow, bytes });
    }

    fn command(&mut self, command: Command) {
        self.handle(Input::Command(command));
    }

    /// Lets time pass, waking the agent exactly when it asks.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(wake) = self.agent.next_wake().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.handle(Input::Timeout);
        }
        self.now = end;
    }

    fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    fn last(&self) -> &Sent {
        self.sent.last().unwrap()
    }

    /// Start lines of everything sent since `from`.
    fn starts(&self, from: usize) -> Vec<&str> {
        self.sent[from..].iter().map(Sent::start).collect()
    }

    /// Short names of the events so far.
    fn names(&self) -> Vec<String> {
        self.events.iter().map(name).collect()
    }

    /// Enough time for everything to be forgotten, then nothing may be left.
    fn assert_forgotten(&mut self) {
        self.pass(Duration::from_secs(700));
        assert_eq!(self.agent.counts(), Counts::default(), "{:?}", self.names());
        assert_eq!(self.agent.next_wake(), None);
    }

    /// The number of the only incoming call.
    fn incoming(&self) -> DialogId {
        self.events
            .iter()
            .find_map(|event| match event {
                Event::Incoming { dialog, .. } => Some(*dialog),
                _ => None,
            })
            .unwrap()
    }
}

/// Variant name, with what matters of its content.
fn name(event: &Event) -> String {
    match event {
        Event::Progress { status, sdp, .. } => {
            format!("Progress {status}{}", if sdp.is_some() { " sdp" } else { "" })
        }
        Event::Failed { failure: InviteFailure { status, cause, .. }, .. } => {
            format!("Failed {cause:?} {}", status.unwrap_or(0))
        }
        Event::OfferAnswered { answer, .. } => match answer {
            Ok(_) => "OfferAnswered".to_owned(),
            Err(status) => format!("OfferAnswered {status}"),
        },
        Event::ReferProgress { progress, .. } => format!("{progress:?}"),
        Event::CommandRefused { command, .. } => format!("CommandRefused {command}"),
        other => {
            let text = format!("{other:?}");
            text.split([' ', '{']).next().unwrap().to_owned()
        }
    }
}

/// A request of a peer at 192.0.2.2. `head`: further lines.
fn request(method: &str, branch: &str, cseq: u32, to: &str, head: &str, body: &str) -> String {
    let kind = if body.is_empty() || head.contains("Content-Type") {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!(
        "{method} sip:1000@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Caller\" <sip:+15550100@192.0.2.2>;tag=their\r\n\
         To: {to}\r\n\
         Call-ID: call-1\r\n\
         CSeq: {cseq} {method}\r\n\
         Contact: <sip:peer@192.0.2.2:5060>\r\n\
         {head}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const TO: &str = "<sip:1000@192.0.2.1>";

/// To with our tag as seen in `response`.
fn to_us(response: &Sent) -> String {
    response.header("To").unwrap()
}

/// A bench with an answered incoming call; gives the number and the To of further requests.
fn answered() -> (Bench, DialogId, String) {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(ANSWER.as_bytes()) });
    let to = to_us(bench.last());
    bench.receive(&request("ACK", "ack", 1, &to, "", ""));
    assert_eq!(bench.names(), ["Incoming", "Established"]);
    (bench, dialog, to)
}

fn outgoing(dialog: DialogId, flow: Flow) -> OutgoingInvite {
    OutgoingInvite {
        dialog,
        call_id: None,
        flow,
        others: Vec::new(),
        request_uri: "sip:+15550100@192.0.2.2".to_owned(),
        from: "<sip:1000@192.0.2.1>".to_owned(),
        to: "<sip:+15550100@192.0.2.2>".to_owned(),
        route: Vec::new(),
        sdp: Bytes::from_static(OFFER.as_bytes()),
        credentials: None,
        headers: Vec::new(),
        policy: CallPolicy::default(),
        ring_timeout: Duration::from_secs(60),
    }
}

/// A bench that just placed a call; the INVITE is `sent[0]`.
fn placed() -> (Bench, DialogId) {
    let mut bench = Bench::new();
    let dialog = DialogId::outbound(1);
    let invite = outgoing(dialog, bench.flow);
    bench.command(Command::Invite(Box::new(invite)));
    (bench, dialog)
}

const CONTACT: &str = "Contact: <sip:peer@192.0.2.2:5060>\r\n";
