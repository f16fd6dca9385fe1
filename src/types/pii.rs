//! Personal data and secrets as types, so that neither reaches a log, an error or a metric by accident.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// How every signing secret begins.
pub const SIGNING_PREFIX: &str = "whsec_";
/// Octets of a signing secret, fewest and most.
const SIGNING_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Whether `Display` and `Debug` of [`Pii`] show the value: `telemetry.log_pii`, false by default.
static LOG_PII: AtomicBool = AtomicBool::new(false);

/// Opens or closes the view of personal data in logs for the whole process.
pub fn set_log_pii(show: bool) {
    LOG_PII.store(show, Ordering::Relaxed);
}

/// Whether personal data may be seen, for what is no single value.
pub fn shows_pii() -> bool {
    LOG_PII.load(Ordering::Relaxed)
}

/// A phone number, transcript, prompt, DTMF digits or SIP user part: printed as `[redacted]`.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pii<T>(T);

impl<T> Pii<T> {
    /// Marks a value as personal.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the places that must act on it (SIP, providers, the API).
    pub fn reveal(&self) -> &T {
        &self.0
    }

    /// The value itself, consumed.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Pii<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: fmt::Display> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if LOG_PII.load(Ordering::Relaxed) { self.0.fmt(f) } else { f.write_str("[redacted]") }
    }
}

impl<T: fmt::Debug> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if LOG_PII.load(Ordering::Relaxed) { self.0.fmt(f) } else { f.write_str("[redacted]") }
    }
}

/// A credential: never printed, never serialised, not even with `telemetry.log_pii`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential read from the environment or a file.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The credential itself, for the one place that puts it on the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The octets that webhooks are signed with, if it is a signing secret: `whsec_` and 24 to 64 octets in base64
    /// (Standard Webhooks).
    pub fn signing_key(&self) -> Option<Vec<u8>> {
        let octets = STANDARD.decode(self.0.strip_prefix(SIGNING_PREFIX)?).ok()?;
        SIGNING_BYTES.contains(&octets.len()).then_some(octets)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
