//! SIP: reading and writing one message, and the user agent's work for a whole short call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use trunkline::net::clock;
use trunkline::sip::msg::{HeaderName, Message, Response, StatusCode};
use trunkline::sip::{
    Agent, Command, Config, DialogId, Event, Flow, Input, OutgoingInvite, Output, Transport,
    config, wire,
};
use trunkline::types::{Entropy, TrunkName};

const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// A carrier's INVITE: 16 headers, two Vias, a body.
fn invite() -> Bytes {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sip/trunk/twilio.sip");
    std::fs::read(file).unwrap().into()
}

fn messages(c: &mut Criterion) {
    let bytes = invite();
    c.bench_function("sip/parse INVITE", |b| {
        b.iter(|| wire::parse(black_box(&bytes)).unwrap());
    });
    let Message::Request(request) = wire::parse(&bytes).unwrap() else { panic!("a request") };
    c.bench_function("sip/typed headers of an INVITE", |b| {
        b.iter(|| {
            let headers = &black_box(&request).headers;
            let from = headers.from().unwrap();
            let to = headers.to().unwrap();
            let via = headers.top_via().unwrap();
            let cseq = headers.cseq().unwrap();
            let contacts = headers.contacts().unwrap();
            let record_route = headers.name_addrs(HeaderName::RecordRoute).unwrap();
            (from, to, via, cseq, contacts, record_route)
        });
    });
    c.bench_function("sip/build 200 with SDP", |b| {
        b.iter(|| {
            Response::to_request(black_box(&request), StatusCode::OK, Some("tag"))
                .with(HeaderName::Contact, "<sip:192.0.2.1:5060>")
                .with_body("application/sdp", Bytes::from_static(SDP))
                .to_bytes()
        });
    });
}

/// One user agent and what it wants sent or tells.
struct Side {
    agent: Agent,
    waiting: VecDeque<Output>,
}

impl Side {
    fn new(seed: u64) -> Self {
        let networks = "192.0.2.0/24".parse().into_iter().collect();
        let config = Config {
            trunks: vec![config::TrunkAccess::by_address(TrunkName("t".to_owned()), networks)],
            unknown_source: config::UnknownSource::Silent,
            ..Config::default()
        };
        Self { agent: Agent::new(config, Entropy::seeded(seed)), waiting: VecDeque::new() }
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.agent.handle(now, input);
        while let Some(output) = self.agent.poll() {
            self.waiting.push_back(output);
        }
    }
}

/// Two user agents on one wire without delay.
struct Pair {
    caller: Side,
    callee: Side,
    now: Instant,
    calls: u64,
}

impl Pair {
    fn new() -> Self {
        Self { caller: Side::new(1), callee: Side::new(2), now: clock::now(), calls: 0 }
    }

    /// INVITE, 100, 200, ACK, BYE, 200, on both sides, until both forgot it.
    fn call(&mut self) {
        self.calls += 1;
        let dialog = DialogId::outbound(self.calls);
        let address = |last| SocketAddr::from(([192, 0, 2, last], 5_060));
        let invite = OutgoingInvite {
            call_id: None,
            dialog,
            flow: Flow::new(Transport::Udp, address(9), address(1)),
            others: Vec::new(),
            request_uri: "sip:+15550100@192.0.2.1".to_owned(),
            from: "<sip:+15550199@192.0.2.9>".to_owned(),
            to: "<sip:+15550100@192.0.2.1>".to_owned(),
            route: Vec::new(),
            sdp: Bytes::from_static(SDP),
            credentials: None,
            headers: Vec::new(),
            policy: trunkline::sip::CallPolicy::default(),
            ring_timeout: Duration::from_secs(60),
        };
        self.caller.handle(self.now, Input::Command(Command::Invite(Box::new(invite))));
        let mut ends = 0;
        loop {
            let (side, other, output) = if let Some(output) = self.caller.waiting.pop_front() {
                (&mut self.caller, &mut self.callee, output)
            } else if let Some(output) = self.callee.waiting.pop_front() {
                (&mut self.callee, &mut self.caller, output)
            } else {
                break;
            };
            match output {
                Output::Transmit { flow, bytes, .. } => {
                    let flow = Flow { local: flow.remote, remote: flow.local, ..flow };
                    other.handle(self.now, Input::Message { flow, bytes });
                }
                Output::Event(Event::Incoming { dialog, .. }) => {
                    let accept = Command::Accept { dialog, sdp: Bytes::from_static(SDP) };
                    side.handle(self.now, Input::Command(accept));
                }
                Output::Event(Event::Answered { dialog, .. }) => {
                    let bye = Command::Bye { dialog, reason: None, headers: Vec::new() };
                    side.handle(self.now, Input::Command(bye));
                }
                Output::Event(Event::Terminated { .. }) => ends += 1,
                Output::Event(_) | Output::Counted(_) | Output::Refused(_) => {}
            }
        }
        assert_eq!(ends, 2, "both sides heard the end");
        // Transactions linger for 32 s; then both are as they were.
        self.now += Duration::from_secs(40);
        for side in [&mut self.caller, &mut self.callee] {
            side.handle(self.now, Input::Timeout);
            side.waiting.clear();
        }
    }
}

fn agent(c: &mut Criterion) {
    let mut pair = Pair::new();
    pair.call();
    assert_eq!(pair.callee.agent.counts(), trunkline::sip::Counts::default(), "nothing lingers");
    c.bench_function("sip/whole call, both sides", |b| b.iter(|| pair.call()));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    targets = messages, agent
}
criterion_main!(benches);
