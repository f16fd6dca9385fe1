//! Virtual time: the registrar is the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

struct Bench {
    machine: Registration,
    now: Instant,
    sent: Vec<Request>,
    states: Vec<&'static str>,
}

impl Bench {
    fn new(expires_s: u32, seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant serves as the origin")]
        let now = Instant::now();
        let machine = Registration::new(now, expires_s, true, Entropy::seeded(seed));
        let mut bench = Self { machine, now, sent: Vec::new(), states: Vec::new() };
        bench.handle(Input::Timeout);
        bench
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Send(request) => self.sent.push(request),
                Output::Changed(status) => self.states.push(status.as_str()),
            }
        }
    }

    /// Sleeps until the machine sends; how long that took.
    fn next_send(&mut self) -> Duration {
        let (before, count) = (self.now, self.sent.len());
        while self.sent.len() == count {
            self.now = self.machine.next_wake().expect("it goes on");
            self.handle(Input::Timeout);
        }
        self.now - before
    }

    fn answer(&mut self, status: u16, change: impl FnOnce(&mut Registered)) {
        let mut outcome = Registered {
            status: Some(status),
            cseq: self.sent.last().unwrap().cseq,
            contact: "sip:tl@192.0.2.1:5060".to_owned(),
            ..Registered::default()
        };
        change(&mut outcome);
        self.handle(Input::Outcome(outcome));
    }

    fn grant(&mut self, seconds: u32) {
        self.answer(200, |outcome| outcome.granted_s = Some(seconds));
    }
}

#[test]
fn it_refreshes_between_50_and_85_percent_of_what_was_granted() {
    let mut shares = Vec::new();
    for seed in 0..50 {
        let mut bench = Bench::new(3_600, seed);
        assert_eq!(bench.sent[0].expires_s, 3_600);
        bench.grant(600);
        let after = bench.next_send();
        shares.push(after.as_secs_f64() / 600.0);
        assert_eq!(bench.states, ["registered"], "a refresh is no other state");
        assert!(bench.sent[1].cseq > bench.sent[0].cseq);
    }
    assert!(shares.iter().all(|share| (0.5..=0.85).contains(share)), "{shares:?}");
    let (least, most) =
        (shares.iter().copied().fold(1.0, f64::min), shares.iter().copied().fold(0.0, f64::max));
    assert!(least < 0.6 && most > 0.75, "they are spread: {least} to {most}");
}

#[test]
fn a_423_is_followed_and_not_for_ever() {
    let mut bench = Bench::new(60, 1);
    bench.answer(423, |outcome| outcome.min_expires_s = Some(300));
    assert_eq!(bench.sent.last().unwrap().expires_s, 300);
    bench.answer(423, |outcome| outcome.min_expires_s = Some(600));
    assert_eq!(bench.sent.last().unwrap().expires_s, 600);
    bench.answer(423, |outcome| outcome.min_expires_s = Some(900));
    assert_eq!(bench.sent.len(), 3);
    assert!(bench.next_send() >= BACKOFF_BASE);
}

#[test]
fn failures_wait_longer_and_longer() {
    let mut bench = Bench::new(300, 3);
    let mut waits = Vec::new();
    for _ in 0..10 {
        bench.answer(503, |outcome| outcome.status = None);
        waits.push(bench.next_send().as_secs());
    }
    for (n, wait) in waits.iter().enumerate() {
        let most = (60u64 << n.min(10)).min(1_800);
        assert!((most / 2..=most).contains(wait), "{n}: {waits:?}");
    }
    assert_eq!(bench.states, ["failed"]);
    bench.grant(300);
    assert_eq!(bench.states, ["failed", "registered"]);
    bench.next_send();
    bench.answer(503, |_| {});
    let wait = bench.next_send().as_secs();
    assert!((30..=60).contains(&wait), "a success starts anew: {wait}");
}

#[test]
fn a_refusal_is_another_state_and_retry_after_is_honoured() {
    let mut bench = Bench::new(300, 4);
    bench.answer(403, |outcome| outcome.retry_after_s = Some(1_000));
    assert_eq!(bench.states, ["rejected"]);
    assert!(bench.next_send().as_secs() >= 1_000);
}

#[test]
fn a_refresh_that_fails_loses_the_registration_only_when_it_ends() {
    let mut bench = Bench::new(300, 5);
    bench.grant(300);
    bench.next_send();
    bench.answer(503, |_| {});
    assert_eq!(bench.states, ["registered"]);
    bench.next_send();
    bench.answer(503, |outcome| outcome.status = None);
    bench.next_send();
    bench.answer(503, |outcome| outcome.status = None);
    bench.next_send();
    assert!(
        bench.states.contains(&"trying") || bench.states.contains(&"failed"),
        "{:?}",
        bench.states
    );
}

#[test]
fn our_contact_follows_what_the_registrar_saw_and_the_former_one_goes() {
    let mut bench = Bench::new(300, 6);
    bench.answer(200, |outcome| outcome.seen = Some("198.51.100.7:40000".parse().unwrap()));
    let second = bench.sent.last().unwrap().clone();
    assert_eq!(second.contact_address.as_deref(), Some("198.51.100.7:40000"));
    assert_eq!(second.drop_contact.as_deref(), Some("sip:tl@192.0.2.1:5060"));
    bench.answer(200, |outcome| {
        outcome.seen = Some("198.51.100.7:40000".parse().unwrap());
        outcome.contact = "sip:tl@198.51.100.7:40000".to_owned();
    });
    assert_eq!(bench.sent.len(), 2, "nothing moved any more");
    // A NAT that gives every request another port is followed twice, not for ever.
    bench.next_send();
    for port in 1..5 {
        let seen = format!("198.51.100.7:{port}");
        bench.answer(200, |outcome| {
            outcome.seen = Some(seen.parse().unwrap());
            outcome.contact = "sip:tl@198.51.100.7:40000".to_owned();
        });
    }
    assert!(bench.sent.len() <= 5, "{}", bench.sent.len());
}

#[test]
fn it_is_taken_back_at_the_end() {
    let mut bench = Bench::new(300, 7);
    bench.grant(300);
    bench.handle(Input::Stop);
    assert_eq!(bench.sent.last().unwrap().expires_s, 0);
    bench.answer(200, |_| {});
    assert_eq!(bench.states, ["registered", "stopped"]);
    assert!(bench.machine.is_over() && bench.machine.next_wake().is_none());
    // Under way when it is stopped: the answer is waited for, then it is taken back.
    let mut bench = Bench::new(300, 8);
    bench.handle(Input::Stop);
    assert_eq!(bench.sent.len(), 1);
    bench.grant(300);
    assert_eq!(bench.sent.last().unwrap().expires_s, 0);
    // Never registered: nothing to take back.
    let mut bench = Bench::new(300, 9);
    bench.answer(403, |_| {});
    bench.handle(Input::Stop);
    assert_eq!(bench.sent.len(), 1);
    assert!(bench.machine.is_over());
}
