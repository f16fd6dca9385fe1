//! Streams that get their keys while others try to keep them from it.

use super::*;
use crate::rtp::fuzz::origin;
use crate::types::{Entropy, Fingerprint};

fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], port))
}

fn new_identity() -> Arc<Identity> {
    Arc::new(Identity::generate().expect("an identity"))
}

/// One end on the network.
struct End {
    at: SocketAddr,
    keying: Keying,
    keys: Option<SrtpKeys>,
    failed: Option<KeyingFailure>,
}

impl End {
    fn new(
        now: Instant,
        at: SocketAddr,
        identity: &Arc<Identity>,
        role: DtlsRole,
        (peer, remote): (Fingerprint, SocketAddr),
    ) -> Self {
        let plan = DtlsPlan { association: 1, role, peer };
        let party = Party { plan, remote, is_found: true, policy: Policy::Learn };
        let keying = Keying::new(now, Arc::clone(identity), party, &mut Entropy::seeded(3));
        Self { at, keying, keys: None, failed: None }
    }

    /// What it sends now.
    fn sent(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(event) = self.keying.poll() {
            match event {
                KeyingEvent::Send { to, datagram } => sent.push((self.at, to, datagram)),
                KeyingEvent::Keyed { keys, .. } => self.keys = Some(keys),
                KeyingEvent::Failed(why) => self.failed = Some(why),
            }
        }
        sent
    }
}

/// Carries datagrams between ends until nobody says anything; then time passes, for `limit` at most, until the
/// first two are keyed or one of them has failed.
fn run(ends: &mut [End], now: &mut Instant, limit: Duration) {
    let until = *now + limit;
    while *now < until {
        let mut quiet = true;
        for from in 0..ends.len() {
            for (from, to, datagram) in ends[from].sent() {
                quiet = false;
                for end in ends.iter_mut().filter(|end| end.at == to) {
                    end.keying.handle(*now, from, &datagram);
                }
            }
        }
        let two = &ends[..2];
        if two.iter().all(|end| end.keys.is_some()) || two.iter().any(|end| end.failed.is_some()) {
            return;
        }
        if quiet {
            *now += Duration::from_millis(20);
            ends.iter_mut().for_each(|end| end.keying.handle_timeout(*now));
        }
    }
}

/// A server and its client, as their SDP says.
fn two(now: Instant) -> Vec<End> {
    let (ours, theirs) = (new_identity(), new_identity());
    let (here, there) = (address(1, 4_000), address(2, 5_000));
    let party = (theirs.fingerprint(), there);
    let server = End::new(now, here, &ours, DtlsRole::Server, party);
    let party = (ours.fingerprint(), here);
    vec![server, End::new(now, there, &theirs, DtlsRole::Client, party)]
}

fn assert_keyed(ends: &[End]) {
    let keys =
        |end: &End| end.keys.unwrap_or_else(|| panic!("no keys at {}: {:?}", end.at, end.failed));
    let (server, client) = (keys(&ends[0]), keys(&ends[1]));
    assert_eq!((server.send, server.receive), (client.receive, client.send));
}

#[test]
fn a_server_and_a_client_get_the_same_keys() {
    let mut now = origin();
    let mut ends = two(now);
    run(&mut ends, &mut now, LIMIT);
    assert_keyed(&ends);
    assert!(ends.iter().all(|end| end.keying.next_timeout().is_none()), "nothing is left to do");
}

/// GHSA-hxj9-xwr8-w8pq and its kin: hellos of others, sooner, from elsewhere and in the peer's own name, whose answers
/// the peer gets.
#[test]
fn a_thousand_hellos_in_front_keep_nobody_out() {
    let stranger = new_identity();
    let mut entropy = Entropy::seeded(5);
    let (ours, theirs) = (new_identity(), new_identity());
    let (here, there) = (address(1, 4_000), address(2, 5_000));
    for attempt in 0..1_000 {
        let mut now = origin();
        let mut server =
            End::new(now, here, &ours, DtlsRole::Server, (theirs.fingerprint(), there));
        let count = 1 + entropy.u32() % 3;
        for number in 0..count {
            let spoofed = entropy.u32().is_multiple_of(2);
            let from = if spoofed { there } else { address(66, 1_000 + number as u16) };
            let mut other =
                End::new(now, from, &stranger, DtlsRole::Client, (ours.fingerprint(), here));
            for (from, _, datagram) in other.sent() {
                server.keying.handle(now, from, &datagram);
            }
        }
        let client = End::new(now, there, &theirs, DtlsRole::Client, (ours.fingerprint(), here));
        let mut ends = vec![server, client];
        run(&mut ends, &mut now, Duration::from_secs(3));
        assert!(ends[0].keys.is_some() && ends[1].keys.is_some(), "lost in attempt {attempt}");
    }
}

/// Strangers that go through with their handshakes win nothing, and are let go.
#[test]
fn a_stranger_that_finishes_first_is_not_the_peer() {
    let mut now = origin();
    let mut ends = two(now);
    let client = ends.pop().expect("the client");
    let stranger = new_identity();
    let ours = (client.keying.party.plan.peer, client.keying.party.remote);
    ends.push(End::new(now, address(66, 6_000), &stranger, DtlsRole::Client, ours));
    run(&mut ends, &mut now, Duration::from_secs(2));
    assert!(ends[0].keys.is_none() && ends[0].failed.is_none(), "{:?}", ends[0].failed);
    ends.insert(1, client);
    run(&mut ends, &mut now, Duration::from_secs(5));
    assert_keyed(&ends);
}

#[test]
fn a_flood_of_hellos_leaves_the_one_who_shows_where_it_is() {
    let mut now = origin();
    let mut ends = two(now);
    let (theirs, ours) = (new_identity(), ends[1].keying.party.plan.peer);
    // The client has its cookie back before the flood, of which each sends one back as well.
    let first = ends[1].sent();
    for (from, _, datagram) in &first {
        ends[0].keying.handle(now, *from, datagram);
    }
    for (from, to, datagram) in ends[0].sent() {
        assert_eq!(to, ends[1].at);
        ends[1].keying.handle(now, from, &datagram);
    }
    for (from, _, datagram) in ends[1].sent() {
        ends[0].keying.handle(now, from, &datagram);
    }
    for port in 0..200 {
        let at = address(66, 1_000 + port);
        let mut other = End::new(now, at, &theirs, DtlsRole::Client, (ours, address(1, 4_000)));
        for _ in 0..2 {
            for (from, _, datagram) in other.sent() {
                ends[0].keying.handle(now, from, &datagram);
            }
            for (from, to, datagram) in ends[0].sent() {
                if to == at {
                    other.keying.handle(now, from, &datagram);
                }
            }
        }
        assert!(ends[0].keying.candidates.len() <= CANDIDATES_MAX);
    }
    run(&mut ends, &mut now, Duration::from_secs(2));
    assert_keyed(&ends);
}

#[test]
fn from_elsewhere_only_where_the_policy_says_so() {
    for (policy, keyed) in [(Policy::Learn, true), (Policy::Strict, false)] {
        let mut now = origin();
        let mut ends = two(now);
        // Address translation: the client is not where its SDP says.
        ends[0].keying.party.remote = address(3, 5_000);
        ends[0].keying.party.policy = policy;
        run(&mut ends, &mut now, Duration::from_secs(3));
        assert_eq!(ends[0].keys.is_some(), keyed, "{policy:?}");
        assert_eq!(ends[0].keying.refused() > 0, !keyed);
    }
}

/// A server with several addresses answers from another one than it describes.
#[test]
fn an_answer_from_elsewhere_is_taken_where_the_policy_says_so() {
    for (policy, port, keyed) in [
        (Policy::Learn, 4_000, true),
        (Policy::Learn, 4_444, false),
        (Policy::Strict, 4_000, false),
    ] {
        let mut now = origin();
        let mut ends = two(now);
        ends[1].keying.party.policy = policy;
        let [server, client] = &mut ends[..] else { panic!("two") };
        let from = address(9, port);
        for _ in 0..100 {
            for (_, _, datagram) in client.sent() {
                server.keying.handle(now, client.at, &datagram);
            }
            for (_, _, datagram) in server.sent() {
                client.keying.handle(now, from, &datagram);
            }
            now += Duration::from_millis(20);
            client.keying.handle_timeout(now);
        }
        assert_eq!(client.keys.is_some(), keyed, "{policy:?} {port}");
    }
    // Whoever answers without being the server holds the client up for one try.
    let mut now = origin();
    let mut ends = two(now);
    ends[1].keying.learn(now, address(66, 4_000), &verify_request(&[1; COOKIE_BYTES]));
    let until = now + TRY;
    assert_eq!(ends[1].keying.elsewhere, Some((address(66, 4_000), until)));
    ends[1].keying.handle_timeout(until);
    assert_eq!((ends[1].keying.elsewhere, ends[1].keying.useless.len()), (None, 1));
    ends[1].keying.learn(until, address(66, 4_000), &verify_request(&[1; COOKIE_BYTES]));
    assert_eq!(ends[1].keying.elsewhere, None);
    now = until;
    run(&mut ends, &mut now, Duration::from_secs(5));
    assert_keyed(&ends);
}

#[test]
fn the_wrong_certificate_fails_at_once_on_either_side() {
    for wrong in [0, 1] {
        let mut now = origin();
        let mut ends = two(now);
        let End { at, keying, .. } = &ends[wrong];
        let plan = DtlsPlan { peer: new_identity().fingerprint(), ..keying.party.plan };
        let Party { remote, .. } = keying.party;
        let identity = Arc::clone(&keying.identity);
        ends[wrong] = End::new(now, *at, &identity, plan.role, (plan.peer, remote));
        run(&mut ends, &mut now, Duration::from_secs(3));
        assert_eq!(ends[wrong].failed, Some(KeyingFailure::Fingerprint), "{wrong}");
        assert!(ends.iter().all(|end| end.keys.is_none()));
    }
}

#[test]
fn silence_fails_when_its_time_is_up() {
    let began = origin();
    for mut end in two(began) {
        let mut now = began;
        while let Some(at) = end.keying.next_timeout() {
            end.sent();
            now = at;
            end.keying.handle_timeout(now);
        }
        end.sent();
        assert_eq!(now, began + LIMIT);
        assert_eq!(end.failed, Some(KeyingFailure::Silence));
    }
}

#[test]
fn the_same_agreement_is_no_new_handshake_and_another_is() {
    let mut now = origin();
    let mut ends = two(now);
    run(&mut ends, &mut now, LIMIT);
    let before = [ends[0].keys, ends[1].keys];
    for end in &mut ends {
        let party = end.keying.party;
        let held = Party { remote: SocketAddr::from(([0, 0, 0, 0], 0)), ..party };
        end.keying.change(now, held);
        end.keying.change(now, party);
        assert!(end.sent().is_empty() && end.keying.next_timeout().is_none());
    }
    for end in &mut ends {
        end.keys = None;
        let mut party = end.keying.party;
        party.plan.association += 1;
        end.keying.change(now, party);
    }
    run(&mut ends, &mut now, LIMIT);
    assert_keyed(&ends);
    assert!(before != [ends[0].keys, ends[1].keys]);
}

/// A client whose peer has no address yet waits for one.
#[test]
fn a_held_client_begins_when_it_is_told_where() {
    let now = origin();
    let mut ends = two(now);
    let party = ends[1].keying.party;
    let held = Party { remote: SocketAddr::from(([0, 0, 0, 0], 0)), ..party };
    let identity = Arc::clone(&ends[1].keying.identity);
    let mut keying = Keying::new(now, identity, held, &mut Entropy::seeded(3));
    assert_eq!((keying.poll(), keying.next_timeout()), (None, None));
    let later = now + LIMIT * 2;
    keying.handle_timeout(later);
    keying.change(later, party);
    assert!(matches!(keying.poll(), Some(KeyingEvent::Send { .. })));
    ends.clear();
}

/// Where the peer checks connectivity, a client begins when it knows where it is; else a peer that settled elsewhere
/// would have two handshakes. One that never checks is spoken to all the same.
#[test]
fn a_client_begins_when_checks_have_found_the_peer() {
    let start = origin();
    let ends = two(start);
    let party = Party { is_found: false, ..ends[1].keying.party };
    let client = || {
        let identity = Arc::clone(&ends[1].keying.identity);
        Keying::new(start, identity, party, &mut Entropy::seeded(3))
    };
    let hello_to = |keying: &mut Keying| match keying.poll() {
        Some(KeyingEvent::Send { to, .. }) => Some(to),
        None => None,
        Some(other) => panic!("{other:?}"),
    };
    for remote in [party.remote, address(77, 7_000)] {
        let mut keying = client();
        assert_eq!(hello_to(&mut keying), None);
        let found = Party { is_found: true, remote, ..party };
        keying.change(start, found);
        assert_eq!(hello_to(&mut keying), Some(remote));
        // It is told again, as every re-INVITE does.
        keying.change(start, found);
        assert_eq!(hello_to(&mut keying), None);
    }
    let mut keying = client();
    keying.change(start, party);
    assert_eq!((hello_to(&mut keying), keying.next_timeout()), (None, Some(start + CHECKS_MAX)));
    keying.handle_timeout(start + CHECKS_MAX);
    assert_eq!(hello_to(&mut keying), Some(party.remote));
}
