//! WAV as it comes out of a pipe: a header whose sizes may be wrong, then samples until the end.

use crate::types::{Pcm, SampleRate};

/// Longest header that is waited for: real ones have 44 bytes, chunks before `data` are rare.
const HEADER_BYTES_MAX: usize = 4_096;

/// Takes bytes in any pieces, gives samples.
#[derive(Debug, Default)]
pub(super) struct StreamDecoder {
    /// Known once the header is read.
    rate: Option<SampleRate>,
    /// The header so far, later half a sample.
    rest: Vec<u8>,
}

impl StreamDecoder {
    /// Takes some bytes. `None`: no whole sample yet.
    ///
    /// # Errors
    /// A fragment, if the bytes are not mono 16-bit PCM in a WAV header.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<Pcm>, String> {
        self.rest.extend_from_slice(bytes);
        let rate = match self.rate {
            Some(rate) => rate,
            None => {
                let Some((rate, body)) = header(&self.rest)? else {
                    if self.rest.len() > HEADER_BYTES_MAX {
                        return Err("the program gave no WAV header".to_owned());
                    }
                    return Ok(None);
                };
                self.rest.drain(..body);
                self.rate = Some(rate);
                rate
            }
        };
        let samples: Vec<i16> = self
            .rest
            .chunks_exact(2)
            .filter_map(|pair| pair.try_into().ok().map(i16::from_le_bytes))
            .collect();
        self.rest.drain(..samples.len() * 2);
        Ok((!samples.is_empty()).then_some(Pcm { rate, samples }))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Rate, and where the samples begin; `None` while more bytes are needed.
fn header(bytes: &[u8]) -> Result<Option<(SampleRate, usize)>, String> {
    if bytes.len() < 12 {
        return Ok(None);
    }
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err("the program gave no WAV header".to_owned());
    }
    let mut at = 12usize;
    let mut rate = None;
    loop {
        let (Some(id), Some(size)) =
            (bytes.get(at..at.saturating_add(4)), u32_at(bytes, at.saturating_add(4)))
        else {
            return Ok(None);
        };
        let body = at.saturating_add(8);
        if id == b"data" {
            let rate = rate.ok_or("the WAV header has no format")?;
            return Ok(Some((rate, body)));
        }
        if id == b"fmt " {
            let (Some(format), Some(channels), Some(hz), Some(bits)) = (
                u16_at(bytes, body),
                u16_at(bytes, body.saturating_add(2)),
                u32_at(bytes, body.saturating_add(4)),
                u16_at(bytes, body.saturating_add(14)),
            ) else {
                return Ok(None);
            };
            if (format, channels, bits) != (1, 1, 16) {
                return Err("the program gave something else than mono 16-bit PCM".to_owned());
            }
            rate = Some(SampleRate::new(hz).ok_or("the WAV header has no sane rate")?);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        at = body.saturating_add(size).saturating_add(size % 2);
        if at > HEADER_BYTES_MAX {
            return Err("the WAV header is too long".to_owned());
        }
    }
}
