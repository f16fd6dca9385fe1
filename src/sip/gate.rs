//! The first look at what came in: from whom, and how much of it. A flood is turned away before it is read.
//!
//! Sources that no trunk allows may ask a little, so that a misconfigured trunk still gets an answer; whoever asks
//! more is not answered any more. What may belong to a call that exists they may send more of: a carrier we call
//! answers from where it likes. Sources of trunks may begin `known_rate` requests a second; what belongs to a call is
//! never counted. Everything that is dropped is counted under its reason by the caller.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Requests outside dialogs that a stranger may send in a second, and at once.
const STRANGER_RATE: f64 = 5.0;
const STRANGER_BURST: f64 = 20.0;
/// Responses and requests within dialogs of a stranger in a second, and at once: those of 100 calls a second.
const STRANGER_CALLS_RATE: f64 = 1_000.0;
const STRANGER_CALLS_BURST: f64 = 2_000.0;
/// Sources that are told apart. A scan from more addresses at once is dropped as a whole.
const SOURCES_MAX: usize = 8_192;
/// A source that was silent for this long is forgotten, should its place be needed.
const IDLE: Duration = Duration::from_secs(60);
/// How often one source is told of.
const NOTICE_EVERY: Duration = Duration::from_secs(60);
/// Notices of all sources in [`NOTICE_WINDOW`].
const NOTICES_MAX: u32 = 20;
const NOTICE_WINDOW: Duration = Duration::from_secs(1);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is read.
    Read,
    /// It is dropped, for this reason.
    Drop(&'static str),
}

/// A source that was refused: what whoever bans addresses wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its address.
    pub source: IpAddr,
    /// Why: the label under which its messages are counted.
    pub reason: &'static str,
    /// Messages of it that were refused since it was last told of.
    pub refused: u64,
}

/// What a source may still send.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant, rate: f64, burst: f64) -> bool {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * rate).min(burst);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[derive(Debug)]
struct Source {
    begins: Bucket,
    rest: Bucket,
    seen: Instant,
    /// Refused since the last notice.
    refused: u64,
    told: Option<Instant>,
}

/// How much everybody sends.
#[derive(Debug)]
pub(super) struct Gate {
    /// Requests outside dialogs that one address of a trunk may begin in a second; 0: any number.
    known_rate: u32,
    sources: HashMap<IpAddr, Source>,
    swept: Option<Instant>,
    notices: (Option<Instant>, u32),
}

impl Gate {
    pub(super) fn new(known_rate: u32) -> Self {
        Self { known_rate, sources: HashMap::new(), swept: None, notices: (None, 0) }
    }

    /// Whether a message is read. `known`: a trunk allows its source.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        from: IpAddr,
        known: bool,
        octets: &[u8],
    ) -> Verdict {
        if known && self.known_rate == 0 {
            return Verdict::Read;
        }
        let begins = begins_something(octets);
        if known && !begins {
            return Verdict::Read;
        }
        let known_rate = f64::from(self.known_rate);
        let (rate, burst, reason) = match (known, begins) {
            (true, _) => (known_rate, known_rate, "source_rate"),
            (false, true) => (STRANGER_RATE, STRANGER_BURST, "unknown_source_rate"),
            (false, false) => (STRANGER_CALLS_RATE, STRANGER_CALLS_BURST, "unknown_source_rate"),
        };
        let Some(source) = self.source(now, from) else {
            return Verdict::Drop("source_table");
        };
        source.seen = now;
        let bucket = if begins { &mut source.begins } else { &mut source.rest };
        if bucket.take(now, rate, burst) { Verdict::Read } else { Verdict::Drop(reason) }
    }

    /// A message of a source was refused; gives what is to be told of it, which is not every time.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        from: IpAddr,
        reason: &'static str,
    ) -> Option<Notice> {
        let source = self.source(now, from)?;
        source.refused = source.refused.saturating_add(1);
        let due = |told: Option<Instant>, every| {
            told.is_none_or(|told| now.saturating_duration_since(told) >= every)
        };
        if !due(source.told, NOTICE_EVERY) {
            return None;
        }
        if due(self.notices.0, NOTICE_WINDOW) {
            self.notices = (Some(now), 0);
        }
        if self.notices.1 >= NOTICES_MAX {
            return None;
        }
        self.notices.1 += 1;
        let source = self.sources.get_mut(&key(from))?;
        source.told = Some(now);
        let refused = std::mem::take(&mut source.refused);
        Some(Notice { source: from.to_canonical(), reason, refused })
    }

    /// Addresses that are told apart now.
    #[cfg(test)]
    pub(super) fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The entry of a source; `None`: there is no place for another.
    fn source(&mut self, now: Instant, from: IpAddr) -> Option<&mut Source> {
        let key = key(from);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&key) {
            // A sweep costs a look at every entry: once a second at most.
            let due =
                self.swept.is_none_or(|at| now.saturating_duration_since(at) >= NOTICE_WINDOW);
            if due {
                self.swept = Some(now);
                self.sources.retain(|_, source| now.saturating_duration_since(source.seen) < IDLE);
            }
            if self.sources.len() >= SOURCES_MAX {
                return None;
            }
        }
        // Full: each is cut down to its size when it is first used.
        let full = Bucket { tokens: f64::MAX, filled: now };
        let fresh = || Source { begins: full, rest: full, seen: now, refused: 0, told: None };
        Some(self.sources.entry(key).or_insert_with(fresh))
    }
}

/// One customer of IPv6 has a network of 64 bits, and as many addresses as it likes.
fn key(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Whether this is a request that belongs to nothing that exists, as far as can be seen without reading it: no
/// response, no ACK, no CANCEL, and no tag in its To.
fn begins_something(octets: &[u8]) -> bool {
    let mut lines = octets.split(|octet| *octet == b'\n');
    let first = lines.next().unwrap_or_default();
    if [&b"SIP/"[..], b"ACK ", b"CANCEL "].iter().any(|start| first.starts_with(start)) {
        return false;
    }
    for line in lines {
        let line = line.trim_ascii();
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|octet| *octet == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"to") || name.eq_ignore_ascii_case(b"t") {
            return !value.windows(5).any(|five| five.eq_ignore_ascii_case(b";tag="));
        }
    }
    true
}

#[cfg(test)]
mod tests;
