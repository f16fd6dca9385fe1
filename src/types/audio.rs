//! Words for audio: rates and blocks of samples.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Samples a second of linear PCM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleRate(u32);

impl SampleRate {
    /// G.711's rate and the rate of a recording of a G.711 call.
    pub const HZ_8000: Self = Self(8_000);
    /// The rate of wideband speech: voice activity detection and most recognisers.
    pub const HZ_16000: Self = Self(16_000);
    /// The rate of OpenAI-compatible speech synthesis.
    pub const HZ_24000: Self = Self(24_000);
    /// Opus' rate.
    pub const HZ_48000: Self = Self(48_000);

    /// A rate from 4,000 to 192,000 Hz; `None` outside.
    pub fn new(hz: u32) -> Option<Self> {
        (4_000..=192_000).contains(&hz).then_some(Self(hz))
    }

    /// Samples a second.
    pub fn hz(self) -> u32 {
        self.0
    }

    /// Samples in `ms` milliseconds, rounded down.
    pub fn samples_in_ms(self, ms: u32) -> usize {
        (u64::from(self.0) * u64::from(ms) / 1_000) as usize
    }

    /// How long `samples` last.
    pub fn duration_of(self, samples: u64) -> Duration {
        Duration::from_nanos((u128::from(samples) * 1_000_000_000 / u128::from(self.0)) as u64)
    }

    /// Samples that fit into `duration`, rounded down.
    pub fn samples_in(self, duration: Duration) -> u64 {
        (duration.as_nanos() * u128::from(self.0) / 1_000_000_000) as u64
    }
}

impl fmt::Debug for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Hz", self.0)
    }
}

/// A block of mono linear PCM of any length, as providers take and give it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pcm {
    /// Samples a second.
    pub rate: SampleRate,
    /// Signed 16-bit samples.
    pub samples: Vec<i16>,
}

impl Pcm {
    /// How long the block lasts.
    pub fn duration(&self) -> Duration {
        self.rate.duration_of(self.samples.len() as u64)
    }
}

impl fmt::Debug for Pcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pcm({:?}, {} samples)", self.rate, self.samples.len())
    }
}

/// Duration of one frame on the line. Every stream of ours is paced at 20 ms (RFC 3551 section 4.2).
pub const FRAME_MS: u32 = 20;

/// Largest frame of one channel: 20 ms at 48 kHz.
pub const FRAME_SAMPLES_MAX: usize = 960;
