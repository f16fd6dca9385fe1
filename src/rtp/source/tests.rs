#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::time::Duration;

use super::{LEARNING, Policy, SourceGuard};
use crate::rtp::fuzz::origin;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn guard(policy: Policy) -> (SourceGuard, std::time::Instant) {
    let now = origin();
    (SourceGuard::new(now, policy, addr("192.0.2.1:4000"), addr("192.0.2.1:4001")), now)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn strict_takes_the_described_address_only() {
    let (mut guard, now) = guard(Policy::Strict);
    for sequence in 0..10 {
        assert!(!guard.admit(now + ms(20) * sequence, addr("192.0.2.1:9"), sequence as u16));
    }
    assert!(guard.admit(now, addr("192.0.2.1:4000"), 7));
    assert_eq!(guard.refused(), 10);
}

#[test]
fn learns_after_four_sequential_packets() {
    let (mut guard, now) = guard(Policy::Learn);
    let nat = addr("198.51.100.7:61000");
    let taken: Vec<_> =
        (0..6).map(|i| guard.admit(now + ms(20 * i), nat, (65_534 + i) as u16)).collect();
    assert_eq!(taken, [false, false, false, true, true, true]);
    assert_eq!((guard.peer(), guard.control_peer()), (nat, addr("198.51.100.7:61001")));
    // The door is closed now, for the described address as well.
    assert!(!guard.admit(now + ms(200), addr("192.0.2.1:4000"), 1));
}

#[test]
fn a_burst_and_a_broken_sequence_are_not_believed() {
    let (mut guard, now) = guard(Policy::Learn);
    let other = addr("198.51.100.7:61000");
    for sequence in 0..20 {
        assert!(!guard.admit(now + ms(1) * sequence, other, sequence as u16));
    }
    let (mut guard, now) = super::tests::guard(Policy::Learn);
    for i in 0..20_u16 {
        assert!(!guard.admit(now + ms(20) * u32::from(i), other, i * 3));
    }
}

/// RTPBleed: forged packets sprayed at the port never get in once the peer has spoken, nor after the
/// window, and our media never follows them.
#[test]
fn spraying_the_port_wins_nothing() {
    let (peer, attacker) = (addr("192.0.2.1:4000"), addr("203.0.113.66:1"));
    for policy in [Policy::Strict, Policy::Learn] {
        let (mut guard, now) = guard(policy);
        assert!(guard.admit(now, peer, 1));
        for i in 0..1_000_u64 {
            assert!(!guard.admit(now + ms(i * 20), attacker, i as u16));
            assert!(!guard.admit_control(attacker));
        }
        assert_eq!((guard.refused(), guard.peer()), (2_000, peer));
        // After the window nobody is learned either, though the peer never spoke.
        let (mut guard, now) = super::tests::guard(policy);
        for i in 0..100_u64 {
            assert!(!guard.admit(now + LEARNING + ms(i * 20), attacker, i as u16));
        }
        assert_eq!(guard.peer(), peer);
        assert!(guard.admit(now + LEARNING * 2, peer, 1));
    }
}

#[test]
fn an_offer_and_answer_opens_the_window_again() {
    let (mut guard, now) = guard(Policy::Learn);
    let (nat, moved) = (addr("198.51.100.7:61000"), addr("198.51.100.7:62000"));
    for i in 0..4 {
        guard.admit(now + ms(20 * i), nat, i as u16);
    }
    let later = now + ms(60_000);
    // The peer's description did not move: its learned address goes on without a gap and locks again.
    guard.reopen(later, Policy::Learn, addr("192.0.2.1:4000"), addr("192.0.2.1:4001"));
    assert_eq!(guard.peer(), nat);
    assert!(guard.admit(later, nat, 50));
    assert!((0..9).all(|i| !guard.admit(later + ms(20 * i), moved, i as u16)));
    // It moved: the old address is a stranger.
    guard.reopen(later, Policy::Learn, addr("192.0.2.9:4000"), addr("192.0.2.9:4001"));
    assert!(!guard.admit(later, nat, 51));
    assert!(guard.admit(later, addr("192.0.2.9:4000"), 1));
}

#[test]
fn control_comes_from_the_described_port_or_the_accepted_host() {
    let (mut guard, now) = guard(Policy::Strict);
    assert!(guard.admit_control(addr("192.0.2.1:4001")));
    assert!(guard.admit(now, addr("192.0.2.1:4000"), 1));
    assert!(guard.admit_control(addr("192.0.2.1:55")));
    assert!(!guard.admit_control(addr("192.0.2.2:4001")));
}
