//! Counts wrong keys by address. Pure: time is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong keys an address may send in one [`WINDOW`].
pub(super) const ATTEMPTS_MAX: u32 = 10;
/// How long they count.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered at once, about 400 kB. Beyond, the oldest window is forgotten.
const ADDRESSES_MAX: usize = 4_096;

#[derive(Clone, Copy)]
struct Window {
    since: Instant,
    failed: u32,
}

/// Wrong keys by address; an IPv6 host owns a /64, so that counts as one address.
#[derive(Default)]
pub(super) struct Attempts(HashMap<IpAddr, Window>);

impl Attempts {
    /// How long this address has to wait, if it has used up its attempts.
    pub(super) fn blocked(&self, now: Instant, peer: IpAddr) -> Option<Duration> {
        let window = self.0.get(&network(peer))?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(window.since))?;
        (window.failed >= ATTEMPTS_MAX && !left.is_zero()).then_some(left)
    }

    /// A wrong key came from here.
    pub(super) fn failed(&mut self, now: Instant, peer: IpAddr) {
        let key = network(peer);
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let window = self.0.entry(key).or_insert(Window { since: now, failed: 0 });
        if now.saturating_duration_since(window.since) >= WINDOW {
            *window = Window { since: now, failed: 0 };
        }
        window.failed = window.failed.saturating_add(1);
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, window| now.saturating_duration_since(window.since) < WINDOW);
        if self.0.len() < ADDRESSES_MAX {
            return;
        }
        let oldest = self.0.iter().min_by_key(|(_, window)| window.since).map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
    }
}

fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    #[test]
    fn the_eleventh_attempt_of_a_minute_waits() {
        let (mut attempts, start) = (Attempts::default(), clock::now());
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for at in 0..10u64 {
            assert_eq!(attempts.blocked(start, here), None, "attempt {at}");
            attempts.failed(start + Duration::from_secs(at), here);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(attempts.blocked(later, here), Some(Duration::from_secs(40)));
        assert_eq!(attempts.blocked(later, there), None);
        assert_eq!(attempts.blocked(start + WINDOW, here), None);
        attempts.failed(start + WINDOW, here);
        assert_eq!(attempts.blocked(start + WINDOW, here), None);
    }

    #[test]
    fn a_v6_network_is_one_address_and_the_map_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), clock::now());
        for host in 0..10u128 {
            attempts.failed(now, IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | host)));
        }
        let other: IpAddr = "2001:db8::ffff".parse().unwrap();
        assert!(attempts.blocked(now, other).is_some());
        for host in 0..20_000u32 {
            attempts.failed(now, IpAddr::V4(host.into()));
        }
        assert!(attempts.0.len() <= ADDRESSES_MAX);
    }
}
