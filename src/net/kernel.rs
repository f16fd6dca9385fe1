//! What the kernel threw away before anybody could look at it: datagrams that came while a socket's buffer was full.

use std::collections::{BTreeMap, BTreeSet};

/// Sockets of both families, one a line, the last field is what was dropped (proc(5)).
const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

/// Datagrams dropped at each of our local ports since its sockets were opened; ports without a socket are missing.
pub fn dropped(ports: &BTreeSet<u16>) -> BTreeMap<u16, u64> {
    let mut dropped = BTreeMap::new();
    if ports.is_empty() {
        return dropped;
    }
    for table in TABLES.map(std::fs::read_to_string).iter().flatten() {
        for (port, drops) in table.lines().skip(1).filter_map(port_and_drops) {
            if ports.contains(&port) {
                *dropped.entry(port).or_default() += drops;
            }
        }
    }
    dropped
}

fn port_and_drops(line: &str) -> Option<(u16, u64)> {
    let mut fields = line.split_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    Some((u16::from_str_radix(port, 16).ok()?, fields.next_back()?.parse().ok()?))
}

/// How much is new since the last look, where sockets come and go.
#[derive(Debug, Default)]
pub struct Drops {
    last: BTreeMap<u16, u64>,
}

impl Drops {
    /// Takes what [`dropped`] found and says what was not there before. A port with less than before has a new socket.
    pub fn more(&mut self, now: BTreeMap<u16, u64>) -> u64 {
        let new = now.iter().map(|(port, drops)| {
            let before = self.last.get(port).copied().unwrap_or(0);
            drops.checked_sub(before).unwrap_or(*drops)
        });
        let new = new.sum();
        self.last = now;
        new
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_kernel_says_what_a_full_socket_lost() {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("[::1]:0").unwrap();
        let [at, quiet] = [&ours, &other].map(|socket| socket.local_addr().unwrap());
        let sent = 20_000;
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..sent {
            sender.send_to(&[0; 200], at).unwrap();
        }
        let dropped = dropped(&BTreeSet::from([at.port(), quiet.port(), 1]));
        ours.set_nonblocking(true).unwrap();
        let kept = std::iter::from_fn(|| ours.recv(&mut [0; 200]).ok()).count() as u64;
        assert_eq!(dropped.get(&at.port()), Some(&(sent - kept)));
        assert!(kept < sent, "{kept} fit into the buffer");
        assert_eq!(dropped.get(&quiet.port()), Some(&0));
        assert_eq!(dropped.len(), 2);
    }

    #[test]
    fn only_what_is_new_counts() {
        let mut drops = Drops::default();
        for (now, new) in [
            (vec![(4000, 0), (4002, 7)], 7),
            (vec![(4000, 3), (4002, 7)], 3),
            // One ended, one began, and one has been opened again.
            (vec![(4000, 2), (4004, 5)], 7),
            (vec![], 0),
            (vec![(4000, 2)], 2),
        ] {
            assert_eq!(drops.more(now.into_iter().collect()), new);
        }
    }
}
