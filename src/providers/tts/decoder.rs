//! Octets of a speech answer to samples: headerless, or with a WAV header that is read and left out.

use super::ws;
use crate::audio::g711;
use crate::providers::config::Encoding;
use crate::types::{Pcm, SampleRate};

/// Longest WAV header: encoders put a `LIST` chunk before the samples.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// The answer is a WAV file of another kind than mono 16-bit PCM.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotPcm;

enum State {
    /// Not known yet whether there is a header.
    Start(Vec<u8>),
    Samples,
}

/// Octets of headerless audio to samples.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    encoding: Encoding,
    odd: Option<u8>,
}

impl Raw {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self { encoding, odd: None }
    }

    /// The whole samples; half a one waits for the next chunk.
    pub(super) fn samples(&mut self, octets: &[u8]) -> Vec<i16> {
        match self.encoding {
            Encoding::Pcm => ws::samples(&mut self.odd, octets),
            Encoding::Mulaw => octets.iter().map(|octet| g711::decode_ulaw(*octet)).collect(),
        }
    }
}

/// The decoder of one answer.
pub(super) struct Decoder {
    rate: SampleRate,
    state: State,
    raw: Raw,
    needs_header: bool,
}

/// What the first octets are.
enum Header {
    Unknown,
    None,
    Wav { rate: SampleRate, ends: usize },
}

impl Decoder {
    /// A decoder of audio that is at `rate` unless a header says otherwise.
    pub(super) fn new(rate: SampleRate, encoding: Encoding) -> Self {
        let state = match encoding {
            Encoding::Pcm => State::Start(Vec::new()),
            Encoding::Mulaw => State::Samples,
        };
        Self { rate, state, raw: Raw::new(encoding), needs_header: false }
    }

    /// A decoder of WAV and nothing else.
    pub(super) fn wav() -> Self {
        let new = Self::new(SampleRate::HZ_16000, Encoding::Pcm);
        Self { needs_header: true, ..new }
    }

    /// Whether the answer must begin with a header.
    pub(super) fn needs_header(&self) -> bool {
        self.needs_header
    }

    /// Takes octets, gives the whole samples.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<Option<Pcm>, NotPcm> {
        let samples = match &mut self.state {
            State::Samples => self.raw.samples(chunk),
            State::Start(start) => {
                start.extend_from_slice(chunk);
                let ends = match header(start)? {
                    Header::Unknown => return Ok(None),
                    Header::None if self.needs_header => return Err(NotPcm),
                    Header::None => 0,
                    Header::Wav { rate, ends } => {
                        self.rate = rate;
                        ends
                    }
                };
                let start = std::mem::take(start);
                self.state = State::Samples;
                self.raw.samples(start.get(ends..).unwrap_or_default())
            }
        };
        Ok((!samples.is_empty()).then_some(Pcm { rate: self.rate, samples }))
    }
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

fn header(octets: &[u8]) -> Result<Header, NotPcm> {
    if !b"RIFF".iter().zip(octets).all(|(wanted, octet)| wanted == octet) {
        return Ok(Header::None);
    }
    if octets.len() < 12 {
        return Ok(Header::Unknown);
    }
    let (mut at, mut rate) = (12usize, None);
    while let (Some(name), Some(size)) = (octets.get(at..at + 4), u32_at(octets, at + 4)) {
        let body = at + 8;
        if name == b"data" {
            let rate = rate.ok_or(NotPcm)?;
            return Ok(Header::Wav { rate, ends: body });
        }
        if name == b"fmt " {
            let (Some(tag), Some(channels), Some(hz), Some(bits)) = (
                u16_at(octets, body),
                u16_at(octets, body + 2),
                u32_at(octets, body + 4),
                u16_at(octets, body + 14),
            ) else {
                break;
            };
            // 0xFFFE is the extensible form of the same samples.
            if !(matches!(tag, 1 | 0xFFFE) && channels == 1 && bits == 16) {
                return Err(NotPcm);
            }
            rate = Some(SampleRate::new(hz).ok_or(NotPcm)?);
        }
        let padded = (size as usize).saturating_add(size as usize & 1);
        at = body.saturating_add(padded);
        if at > HEADER_BYTES_MAX {
            return Err(NotPcm);
        }
    }
    if octets.len() > HEADER_BYTES_MAX { Err(NotPcm) } else { Ok(Header::Unknown) }
}

#[cfg(test)]
mod tests;
