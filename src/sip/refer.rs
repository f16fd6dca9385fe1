//! What becomes of a REFER of ours: RFC 3515 with the laxity trunks need, RFC 4488 for `norefersub`.
//!
//! Accepted, then told by NOTIFY, or told nothing at all, or hung up on: each ends in one final
//! [`super::ReferProgress`]. REFER in the other direction is in [`super::referred`].

use std::time::Instant;

/// A REFER that has no final word yet.
#[derive(Debug)]
pub(crate) enum Refer {
    /// Its final response is awaited.
    Asked,
    /// It was accepted; a final NOTIFY is awaited until then.
    Accepted { until: Instant },
}

impl Refer {
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        match self {
            Self::Asked => None,
            Self::Accepted { until } => Some(*until),
        }
    }
}

/// Status of the status line a `message/sipfrag` body begins with (RFC 3420). Blank lines before it
/// are skipped; the version is not looked at, since some gateways send `SIP/2.0` in lower case.
pub(crate) fn sipfrag_status(body: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(body.get(..body.len().min(SIPFRAG_READ_MAX))?);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let mut words = line.split_ascii_whitespace();
    if !words.next()?.get(..4)?.eq_ignore_ascii_case("SIP/") {
        return None;
    }
    let status: u16 = words.next()?.parse().ok()?;
    (100..700).contains(&status).then_some(status)
}

/// Octets of a sipfrag that are looked at: a status line is far shorter, a whole message may be 64 kB.
const SIPFRAG_READ_MAX: usize = 512;

#[cfg(test)]
mod tests;
