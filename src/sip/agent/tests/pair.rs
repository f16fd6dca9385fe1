//! Two agents over a link that loses messages.

use std::collections::VecDeque;

use super::*;

/// Time a message takes.
const DELAY: Duration = Duration::from_millis(20);

pub(super) struct Pair {
    pub(super) benches: [Bench; 2],
    /// When it arrives, at whom, what.
    link: VecDeque<(Instant, usize, Bytes)>,
    seen: [usize; 2],
    entropy: Entropy,
    /// Of 100 messages.
    pub(super) loss_percent: u32,
    /// What the network makes of a message.
    pub(super) edit: fn(String) -> String,
}

impl Pair {
    fn new(seed: u64, loss_percent: u32) -> Self {
        Self::with(seed, loss_percent, config())
    }

    pub(super) fn with(seed: u64, loss_percent: u32, both: Config) -> Self {
        let caller = Bench::with(both.clone());
        let config = Config { advertised_udp: Some("192.0.2.2:5060".to_owned()), ..both };
        let mut callee = Bench::with(config);
        callee.agent.entropy = Entropy::seeded(seed ^ 0xffff);
        (callee.start, callee.now) = (caller.start, caller.now);
        callee.flow.local = caller.flow.remote;
        callee.flow.remote = caller.flow.local;
        Self {
            benches: [caller, callee],
            link: VecDeque::new(),
            seen: [0; 2],
            entropy: Entropy::seeded(seed),
            loss_percent,
            edit: |text| text,
        }
    }

    fn collect(&mut self) {
        for (at, bench) in self.benches.iter().enumerate() {
            for sent in &bench.sent[self.seen[at]..] {
                if self.entropy.u32() % 100 >= self.loss_percent {
                    let bytes = Bytes::from((self.edit)(sent.text.clone()).into_bytes());
                    self.link.push_back((bench.now + DELAY, 1 - at, bytes));
                }
            }
            self.seen[at] = bench.sent.len();
        }
    }

    /// Runs both until `until`, or until nothing happens any more.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.benches[0].now + duration;
        loop {
            self.collect();
            let arrival = self.link.front().map(|(at, ..)| *at);
            let wakes = self.benches.iter().filter_map(|bench| bench.agent.next_wake());
            let Some(next) = wakes.chain(arrival).min().filter(|next| *next <= end) else { break };
            for bench in &mut self.benches {
                bench.now = bench.now.max(next);
            }
            if arrival == Some(next) {
                let (_, at, bytes) = self.link.pop_front().unwrap();
                let flow = self.benches[at].flow;
                self.benches[at].handle(Input::Message { flow, bytes });
            }
            for bench in &mut self.benches {
                bench.handle(Input::Timeout);
            }
        }
        for bench in &mut self.benches {
            bench.now = end;
        }
    }
}

/// A call with a re-INVITE and a BYE, whatever the link loses up to 40 %: both sides agree on the end.
#[test]
fn calls_over_a_lossy_link() {
    for (seed, loss) in [(1, 0), (2, 10), (3, 20), (4, 30), (5, 40), (6, 40), (7, 40), (8, 40)] {
        let mut pair = Pair::new(seed, loss);
        let out = DialogId::outbound(1);
        let invite = outgoing(out, pair.benches[0].flow);
        pair.benches[0].command(Command::Invite(Box::new(invite)));
        pair.run(Duration::from_secs(3));
        let Some(Event::Incoming { dialog, .. }) = pair.benches[1].events.first() else {
            // Every INVITE of three seconds lost: the tables above cover this.
            continue;
        };
        let inn = *dialog;
        let sdp = Bytes::from_static(ANSWER.as_bytes());
        pair.benches[1].command(Command::Ring { dialog: inn, sdp: None });
        pair.benches[1].command(Command::Accept { dialog: inn, sdp: sdp.clone() });
        pair.run(Duration::from_secs(31));
        assert!(pair.benches[0].names().contains(&"Answered".to_owned()), "seed {seed}");
        assert!(pair.benches[1].names().contains(&"Established".to_owned()), "seed {seed}");
        pair.benches[0].command(Command::Reoffer { dialog: out, sdp: sdp.clone() });
        pair.run(Duration::from_secs(10));
        pair.benches[1].command(Command::AnswerOffer { dialog: inn, answer: Ok(sdp) });
        pair.run(Duration::from_secs(20));
        pair.benches[1].command(Command::Bye { dialog: inn, reason: None, headers: Vec::new() });
        pair.run(Duration::from_secs(200));
        for bench in &pair.benches {
            let ends = bench.names().iter().filter(|name| *name == "Terminated").count();
            assert_eq!(ends, 1, "seed {seed}: {:?}", bench.names());
            assert_eq!(bench.agent.counts(), Counts::default(), "seed {seed}");
        }
        if loss == 0 {
            let caller = ["Progress 180", "Answered", "OfferAnswered", "ByeReceived", "Terminated"];
            assert_eq!(pair.benches[0].names(), caller);
            assert_eq!(
                pair.benches[1].names(),
                ["Incoming", "Established", "Offered", "Terminated"]
            );
        }
    }
}

/// A thousand calls leave nothing behind.
#[test]
fn nothing_is_left_after_many_calls() {
    let mut pair = Pair::new(1, 0);
    for n in 0..1_000 {
        let out = DialogId::outbound(n);
        let invite = outgoing(out, pair.benches[0].flow);
        pair.benches[0].command(Command::Invite(Box::new(invite)));
        pair.run(Duration::from_millis(50));
        let Some(Event::Incoming { dialog, .. }) = pair.benches[1].events.last() else { panic!() };
        let dialog = *dialog;
        if n % 3 == 0 {
            pair.benches[1].command(Command::Reject { dialog, rejection: Rejection::status(486) });
            pair.run(Duration::from_millis(50));
            continue;
        }
        let sdp = Bytes::from_static(ANSWER.as_bytes());
        pair.benches[1].command(Command::Accept { dialog, sdp });
        pair.run(Duration::from_millis(50));
        pair.benches[(n % 2) as usize].command(Command::Bye {
            dialog: if n % 2 == 0 { out } else { dialog },
            reason: None,
            headers: Vec::new(),
        });
        pair.run(Duration::from_millis(50));
    }
    assert!(pair.benches[0].agent.counts().dialogs == 0);
    pair.run(Duration::from_secs(40));
    for bench in &pair.benches {
        assert_eq!(bench.agent.counts(), Counts::default());
    }
}
