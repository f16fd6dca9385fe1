//! A network that is worse than loopback: a UDP relay that loses, delays, repeats and holds back datagrams, the same
//! ones for the same seed. It rewrites nothing: one side sends to `front`, the other to `back`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};
use trunkline::net::clock;

/// Losses that come together (Gilbert and Elliott): a good state that loses nothing and a bad one that loses all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bursts {
    /// Share of all datagrams that are lost.
    pub(crate) loss: f64,
    /// Datagrams of a burst, on average if none were cut.
    pub(crate) length: f64,
    /// Datagrams of the longest burst.
    pub(crate) longest: u32,
}

/// What one direction does to a datagram.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Profile {
    /// Share that is lost, each by itself.
    pub(crate) loss: f64,
    pub(crate) bursts: Option<Bursts>,
    /// What every datagram takes.
    pub(crate) delay: Duration,
    /// What some take longer: anything up to this, evenly.
    pub(crate) jitter: Duration,
    /// Whether a datagram may overtake another.
    pub(crate) overtakes: bool,
    /// Share that is held back by `reorder_by` more.
    pub(crate) reorder: f64,
    pub(crate) reorder_by: Duration,
    /// Share that comes twice.
    pub(crate) duplicate: f64,
    /// Times, from the first datagram on, in which nothing passes.
    pub(crate) outages: Vec<Range<Duration>>,
    /// Octets a second; what does not fit waits, at most 200 ms.
    pub(crate) bytes_per_second: Option<u64>,
}

/// Longest queue before a link of limited rate.
const QUEUE_MAX: Duration = Duration::from_millis(200);

/// A small generator (SplitMix64): the same numbers everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// One direction: pure, time is an argument.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    profile: Profile,
    dice: Dice,
    /// Datagrams lost in a row.
    bad: u32,
    began: Option<Duration>,
    free_at: Duration,
    last_out: Duration,
}

impl Link {
    pub(crate) fn new(profile: Profile, seed: u64) -> Self {
        let (began, free_at, last_out) = (None, Duration::ZERO, Duration::ZERO);
        Self { profile, dice: Dice::new(seed), bad: 0, began, free_at, last_out }
    }

    /// When a datagram that comes now leaves again: never, once, or twice.
    pub(crate) fn judge(&mut self, now: Duration, octets: usize) -> Vec<Duration> {
        let began = *self.began.get_or_insert(now);
        // The same number of throws for every datagram: one that is lost changes nothing for those after it.
        let [lost, burst, jitter, late, twice] = std::array::from_fn(|_| self.dice.share());
        let Profile { bursts, outages, .. } = &self.profile;
        if let Some(Bursts { loss, length, longest }) = bursts {
            let leave = 1.0 / length;
            let enter = leave * loss / (1.0 - loss);
            let is_bad = match self.bad {
                0 => burst < enter,
                run => run < *longest && burst >= leave,
            };
            self.bad = if is_bad { self.bad + 1 } else { 0 };
        }
        let is_out = outages.iter().any(|outage| outage.contains(&(now - began)));
        if lost < self.profile.loss || self.bad > 0 || is_out {
            return Vec::new();
        }
        let mut out = now + self.profile.delay + self.profile.jitter.mul_f64(jitter);
        if late < self.profile.reorder {
            out += self.profile.reorder_by;
        }
        if let Some(rate) = self.profile.bytes_per_second {
            let sent = self.free_at.max(now) + Duration::from_secs_f64(octets as f64 / rate as f64);
            if sent - now > QUEUE_MAX {
                return Vec::new();
            }
            self.free_at = sent;
            out = out.max(sent);
        }
        if !self.profile.overtakes && late >= self.profile.reorder {
            out = out.max(self.last_out);
            self.last_out = out;
        }
        let copies = if twice < self.profile.duplicate { 2 } else { 1 };
        vec![out; copies]
    }
}

/// A datagram that came into the relay, and how long it was to take: `None` if it was lost.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) octets: Vec<u8>,
    pub(crate) delay: Option<Duration>,
}

#[derive(Default)]
struct Ends {
    /// Whoever is behind `front`, and behind `back`.
    front: Option<SocketAddr>,
    back: Option<SocketAddr>,
    /// What came from behind `back`, before anything was done to it.
    taken: Vec<Taken>,
    counts: [(u64, u64); 2],
}

/// A relay between two sides.
pub(crate) struct Relay {
    pub(crate) front: SocketAddr,
    pub(crate) back: SocketAddr,
    ends: Arc<Mutex<Ends>>,
    _stop: DropGuard,
}

impl Relay {
    /// Relays between whoever is behind `front` and whoever is behind `back`; `up` is from front to back.
    pub(crate) async fn start(up: Profile, down: Profile, seed: u64) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"));
        let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"));
        let ends = Arc::new(Mutex::new(Ends::default()));
        let stop = CancellationToken::new();
        let addresses = [&front, &back].map(|socket| socket.local_addr().expect("a bound socket"));
        for (at, from, to, link) in [
            (0, Arc::clone(&front), Arc::clone(&back), Link::new(up, seed)),
            (1, back, front, Link::new(down, seed ^ 0x5555)),
        ] {
            let carrying = carry(at, from, to, link, Arc::clone(&ends));
            tokio::spawn(stop.clone().run_until_cancelled_owned(carrying));
        }
        let [front, back] = addresses;
        Self { front, back, ends, _stop: stop.drop_guard() }
    }

    /// Says who is on both sides, should one of them have to hear before it speaks.
    pub(crate) fn connect(&self, front: Option<SocketAddr>, back: Option<SocketAddr>) {
        let mut ends = self.ends.lock().unwrap();
        ends.front = front.or(ends.front);
        ends.back = back.or(ends.back);
    }

    /// What came from behind `back`, as it came.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.ends.lock().unwrap().taken.clone()
    }

    /// Share of the datagrams of both directions that did not pass: up, down.
    pub(crate) fn lost(&self) -> [f64; 2] {
        let share = |(came, passed): (u64, u64)| {
            if came == 0 { 0.0 } else { (came - passed) as f64 / came as f64 }
        };
        self.ends.lock().unwrap().counts.map(share)
    }
}

type Waiting = VecDeque<(Instant, SocketAddr, Vec<u8>)>;

async fn carry(
    at: usize,
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    mut link: Link,
    ends: Arc<Mutex<Ends>>,
) {
    let began = clock::now();
    let mut waiting = Waiting::new();
    let mut octets = vec![0; 65_536];
    loop {
        let due = waiting.front().map(|(due, ..)| *due);
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            received = from.recv_from(&mut octets) => {
                let Ok((length, source)) = received else { continue };
                let came = clock::now() - began;
                let copies = link.judge(came, length);
                let octets = &octets[..length];
                let target = {
                    let mut ends = ends.lock().unwrap();
                    ends.counts[at].0 += 1;
                    ends.counts[at].1 += u64::from(!copies.is_empty());
                    let Ends { front, back, taken, .. } = &mut *ends;
                    let (here, there) = if at == 0 { (front, back) } else { (back, front) };
                    here.get_or_insert(source);
                    if at == 1 {
                        let delay = copies.first().map(|out| *out - came);
                        taken.push(Taken { octets: octets.to_vec(), delay });
                    }
                    *there
                };
                let Some(target) = target else { continue };
                for out in copies {
                    let due = began + out;
                    let place = waiting.partition_point(|(other, ..)| *other <= due);
                    waiting.insert(place, (due, target, octets.to_vec()));
                }
            }
            () = timer => {
                let now = clock::now();
                while waiting.front().is_some_and(|(due, ..)| *due <= now) {
                    let Some((_, target, octets)) = waiting.pop_front() else { break };
                    let _ = to.send_to(&octets, target).await;
                }
            }
        }
    }
}
