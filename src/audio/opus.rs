//! Opus (RFC 6716) by libopus: the only file that names `audiopus`.
//!
//! The decoder gives the line's rate itself, whatever bandwidth the peer sends; stereo is mixed to mono. What
//! is lost is restored from the packet behind it where that carries a copy (in-band FEC), else concealed. All
//! memory is taken when a coder is built.

use audiopus::coder::{Decoder as OpusDecoder, Encoder as OpusEncoder, GenericCtl};
use audiopus::packet::Packet;
use audiopus::{Application, Bitrate, Channels, MutSignals, SampleRate as OpusRate, Signal};

use crate::types::SampleRate;

/// Wideband speech with room for copies of lost frames; half of it sounds like a telephone.
const BITS_PER_SECOND: i32 = 28_000;
/// Loss the copies are made for, percent: below, libopus makes none for most frames.
const EXPECTED_LOSS_PERCENT: u8 = 10;
/// 5 of 10 costs 82 µs a frame at 16 kHz, 9 costs 123, and few hear the difference in speech.
const COMPLEXITY: u8 = 5;
/// Frames of libopus' concealment are whole multiples of 2.5 ms.
const UNIT_HZ: u32 = 400;

/// libopus refused to build a coder.
#[derive(Debug, thiserror::Error)]
#[error("build an Opus coder")]
pub struct OpusError(#[source] audiopus::Error);

fn rate_of(rate: SampleRate) -> Option<OpusRate> {
    match rate.hz() {
        8_000 => Some(OpusRate::Hz8000),
        12_000 => Some(OpusRate::Hz12000),
        16_000 => Some(OpusRate::Hz16000),
        24_000 => Some(OpusRate::Hz24000),
        48_000 => Some(OpusRate::Hz48000),
        _ => None,
    }
}

fn unsupported() -> OpusError {
    OpusError(audiopus::Error::InvalidSampleRate(0))
}

/// Packets to samples.
pub struct Decoder {
    inner: OpusDecoder,
    unit: usize,
}

impl Decoder {
    /// A decoder that gives samples at `rate`.
    ///
    /// # Errors
    /// When libopus does not know the rate or there is no memory.
    pub fn new(rate: SampleRate) -> Result<Self, OpusError> {
        let opus_rate = rate_of(rate).ok_or_else(unsupported)?;
        let inner = OpusDecoder::new(opus_rate, Channels::Mono).map_err(OpusError)?;
        Ok(Self { inner, unit: (rate.hz() / UNIT_HZ) as usize })
    }

    /// Decodes a packet; returns the samples written. One that is no Opus gives none.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> usize {
        self.run(Some(payload), pcm, false)
    }

    /// Restores the samples before a packet that came from the copies in it: all of `pcm`. Returns 0 if that
    /// is not a whole number of 2.5 ms.
    pub fn restore(&mut self, next: &[u8], pcm: &mut [i16]) -> usize {
        if pcm.is_empty() || !pcm.len().is_multiple_of(self.unit) {
            return 0;
        }
        self.run(Some(next), pcm, true)
    }

    /// Conceals a loss of the length of `pcm`; what is no whole number of 2.5 ms is left over.
    pub fn conceal(&mut self, pcm: &mut [i16]) -> usize {
        let whole = pcm.len() - pcm.len() % self.unit.max(1);
        match pcm.get_mut(..whole) {
            Some(pcm) if !pcm.is_empty() => self.run(None, pcm, false),
            _ => 0,
        }
    }

    fn run(&mut self, payload: Option<&[u8]>, pcm: &mut [i16], restore: bool) -> usize {
        let packet = match payload.map(Packet::try_from) {
            Some(Err(_)) => return 0,
            Some(Ok(packet)) => Some(packet),
            None => None,
        };
        let Ok(signals) = MutSignals::try_from(pcm) else { return 0 };
        self.inner.decode(packet, signals, restore).unwrap_or(0)
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("opus::Decoder")
    }
}

/// Samples to packets.
pub struct Encoder {
    inner: OpusEncoder,
}

impl Encoder {
    /// An encoder of speech that takes samples at `rate`.
    ///
    /// # Errors
    /// When libopus does not know the rate or there is no memory.
    pub fn new(rate: SampleRate) -> Result<Self, OpusError> {
        let rate = rate_of(rate).ok_or_else(unsupported)?;
        let build = || {
            let mut inner = OpusEncoder::new(rate, Channels::Mono, Application::Voip)?;
            inner.set_bitrate(Bitrate::BitsPerSecond(BITS_PER_SECOND))?;
            inner.set_complexity(COMPLEXITY)?;
            inner.set_signal(Signal::Voice)?;
            inner.set_inband_fec(true)?;
            inner.set_packet_loss_perc(EXPECTED_LOSS_PERCENT)?;
            Ok(inner)
        };
        Ok(Self { inner: build().map_err(OpusError)? })
    }

    /// Encodes a frame of 10, 20, 40 or 60 ms; returns the octets written, 0 for any other length.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut [u8]) -> usize {
        self.inner.encode(pcm, payload).unwrap_or(0)
    }

    /// Forgets what was said.
    pub fn reset(&mut self) {
        let _ = self.inner.reset_state();
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("opus::Encoder")
    }
}

#[cfg(test)]
mod tests;
