//! Payload octets to samples and back, at the line's rate, for whatever codec a stream negotiated.
//!
//! The sets are closed. A codec whose own rate is not the line's is resampled here: so a call keeps its rate
//! when its codec changes.

use super::{Resampler, g711, g722, l16, opus};
use crate::types::{CodecName, SampleRate};

/// Longest audio of one packet, milliseconds: Opus allows 120.
pub const PACKET_MS_MAX: u32 = 120;

/// A codec cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// libopus.
    #[error(transparent)]
    Opus(#[from] opus::OpusError),
    /// Between its rate and the line's.
    #[error(transparent)]
    Resample(#[from] super::resample::ResampleError),
}

/// Which codec, with the state of one direction.
enum Kind<G, O> {
    Pcmu,
    Pcma,
    G722(Box<G>),
    Opus(Box<O>),
    L16Narrow,
    L16Wide,
}

/// Between the codec's rate and the line's.
struct Converter {
    resampler: Resampler,
    native: Vec<i16>,
    line: Vec<i16>,
}

impl Converter {
    fn new(from: SampleRate, to: SampleRate) -> Result<Option<Box<Self>>, CodecError> {
        if from == to {
            return Ok(None);
        }
        let most = from.hz().max(to.hz());
        let space = SampleRate::new(most).map_or(0, |rate| rate.samples_in_ms(PACKET_MS_MAX + 20));
        let resampler = Resampler::new(from, to)?;
        let (native, line) = (Vec::with_capacity(space), Vec::with_capacity(space));
        Ok(Some(Box::new(Self { resampler, native, line })))
    }
}

/// The receiving half of a codec.
pub struct Decoder {
    kind: Kind<g722::Decoder, opus::Decoder>,
    convert: Option<Box<Converter>>,
}

impl Decoder {
    /// The codec SDP named, with samples at `line`.
    ///
    /// # Errors
    /// When libopus or the resampler refuse.
    pub fn new(name: CodecName, line: SampleRate) -> Result<Self, CodecError> {
        let kind = match name {
            CodecName::Pcmu => Kind::Pcmu,
            CodecName::Pcma => Kind::Pcma,
            CodecName::G722 => Kind::G722(Box::default()),
            CodecName::Opus => Kind::Opus(Box::new(opus::Decoder::new(line)?)),
            CodecName::L16Narrow => Kind::L16Narrow,
            CodecName::L16Wide => Kind::L16Wide,
        };
        // Opus gives any rate itself.
        let native = if name == CodecName::Opus { line } else { name.sample_rate() };
        Ok(Self { kind, convert: Converter::new(native, line)? })
    }

    /// Its name in SDP.
    pub fn name(&self) -> CodecName {
        name_of(&self.kind)
    }

    /// Decodes as much of `payload` as fits into `pcm`; returns the samples written.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> usize {
        let Some(convert) = &mut self.convert else { return decode(&mut self.kind, payload, pcm) };
        let Converter { resampler, native, line } = convert.as_mut();
        native.resize(native.capacity(), 0);
        let len = decode(&mut self.kind, payload, native);
        line.clear();
        resampler.push(native.get(..len).unwrap_or_default(), line);
        for (to, from) in pcm.iter_mut().zip(line.iter()) {
            *to = *from;
        }
        line.len().min(pcm.len())
    }

    /// Restores or conceals what is missing before `next`, the packet that follows it, where the codec knows
    /// how: then `pcm` is written and `true` returned.
    pub fn recover(&mut self, next: Option<&[u8]>, pcm: &mut [i16]) -> bool {
        let Kind::Opus(opus) = &mut self.kind else { return false };
        let restored = next.map_or(0, |next| opus.restore(next, pcm));
        let done = if restored > 0 { restored } else { opus.conceal(pcm) };
        pcm.iter_mut().skip(done).for_each(|sample| *sample = 0);
        done > 0
    }
}

fn decode(kind: &mut Kind<g722::Decoder, opus::Decoder>, payload: &[u8], pcm: &mut [i16]) -> usize {
    match kind {
        Kind::Pcmu => convert(payload, pcm, g711::decode_ulaw),
        Kind::Pcma => convert(payload, pcm, g711::decode_alaw),
        Kind::G722(decoder) => decoder.decode(payload, pcm),
        Kind::Opus(decoder) => decoder.decode(payload, pcm),
        Kind::L16Narrow | Kind::L16Wide => l16::decode(payload, pcm),
    }
}

/// The sending half of a codec.
pub struct Encoder {
    kind: Kind<g722::Encoder, opus::Encoder>,
    convert: Option<Box<Converter>>,
}

impl Encoder {
    /// The codec SDP named, for samples at `line`.
    ///
    /// # Errors
    /// When libopus or the resampler refuse.
    pub fn new(name: CodecName, line: SampleRate) -> Result<Self, CodecError> {
        let kind = match name {
            CodecName::Pcmu => Kind::Pcmu,
            CodecName::Pcma => Kind::Pcma,
            CodecName::G722 => Kind::G722(Box::default()),
            CodecName::Opus => Kind::Opus(Box::new(opus::Encoder::new(line)?)),
            CodecName::L16Narrow => Kind::L16Narrow,
            CodecName::L16Wide => Kind::L16Wide,
        };
        let native = if name == CodecName::Opus { line } else { name.sample_rate() };
        Ok(Self { kind, convert: Converter::new(line, native)? })
    }

    /// Its name in SDP.
    pub fn name(&self) -> CodecName {
        name_of(&self.kind)
    }

    /// Encodes as much of `pcm` as fits into `payload`; returns the octets written.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut [u8]) -> usize {
        let pcm = match &mut self.convert {
            None => pcm,
            Some(convert) => {
                convert.native.clear();
                convert.resampler.push(pcm, &mut convert.native);
                convert.native.as_slice()
            }
        };
        match &mut self.kind {
            Kind::Pcmu => self::convert(pcm, payload, g711::encode_ulaw),
            Kind::Pcma => self::convert(pcm, payload, g711::encode_alaw),
            Kind::G722(encoder) => encoder.encode(pcm, payload),
            Kind::Opus(encoder) => encoder.encode(pcm, payload),
            Kind::L16Narrow | Kind::L16Wide => l16::encode(pcm, payload),
        }
    }
}

fn name_of<G, O>(kind: &Kind<G, O>) -> CodecName {
    match kind {
        Kind::Pcmu => CodecName::Pcmu,
        Kind::Pcma => CodecName::Pcma,
        Kind::G722(_) => CodecName::G722,
        Kind::Opus(_) => CodecName::Opus,
        Kind::L16Narrow => CodecName::L16Narrow,
        Kind::L16Wide => CodecName::L16Wide,
    }
}

fn convert<A: Copy, B>(from: &[A], to: &mut [B], one: impl Fn(A) -> B) -> usize {
    for (to, from) in to.iter_mut().zip(from) {
        *to = one(*from);
    }
    from.len().min(to.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::level::rms_dbfs;

    #[test]
    fn short_buffers_bound_the_work() {
        for name in [CodecName::Pcmu, CodecName::Pcma] {
            let mut decoder = Decoder::new(name, SampleRate::HZ_8000).unwrap();
            let mut encoder = Encoder::new(name, SampleRate::HZ_8000).unwrap();
            assert_eq!((decoder.name(), encoder.name()), (name, name));
            let mut pcm = [1_i16; 4];
            assert_eq!(decoder.decode(&[0xff; 3], &mut pcm), 3);
            assert_eq!(pcm[3], 1);
            assert_eq!(decoder.decode(&[0; 9], &mut pcm), 4);
            let mut payload = [0; 2];
            assert_eq!(encoder.encode(&pcm, &mut payload), 2);
            assert_eq!(encoder.encode(&[], &mut payload), 0);
        }
    }

    /// Every codec on a line of either rate: 20 ms in, 20 ms out, and the tone is still the tone.
    #[test]
    fn a_tone_survives_every_codec_at_either_rate() {
        for name in CodecName::ALL {
            for line in [SampleRate::HZ_8000, SampleRate::HZ_16000] {
                let mut encoder = Encoder::new(name, line).unwrap();
                let mut decoder = Decoder::new(name, line).unwrap();
                let frame = line.samples_in_ms(20);
                let mut heard = Vec::new();
                for n in 0..50 {
                    let tone: Vec<i16> = (n * frame..(n + 1) * frame)
                        .map(|at| {
                            let turn = at as f32 * 1_000.0 * std::f32::consts::TAU;
                            ((turn / line.hz() as f32).sin() * 8_000.0) as i16
                        })
                        .collect();
                    let mut payload = [0; 640];
                    let len = encoder.encode(&tone, &mut payload);
                    let ticks = name.ticks(&payload[..len]);
                    assert_eq!(ticks, name.clock_rate() / 50, "{name} {line:?}: {len} octets");
                    let mut pcm = [0; 1_920];
                    let len = decoder.decode(&payload[..len], &mut pcm);
                    assert_eq!(len, frame, "{name} {line:?}");
                    heard.extend_from_slice(&pcm[..len]);
                }
                let settled = &heard[frame * 10..];
                let mut bank = crate::audio::tone::Goertzel::new([1_000.0], line);
                settled.iter().for_each(|sample| bank.push(f32::from(*sample)));
                let energy: f32 = settled.iter().map(|s| f32::from(*s).powi(2)).sum();
                let share = bank.take()[0] * 2.0 / (energy * settled.len() as f32);
                assert!(share > 0.95, "{name} {line:?}: {share} of the energy is the tone");
                let level = rms_dbfs(settled);
                assert!((-17.0..-13.5).contains(&level), "{name} {line:?}: {level} dBFS");
            }
        }
    }

    #[test]
    fn only_opus_recovers_what_is_lost() {
        for name in CodecName::ALL {
            let mut decoder = Decoder::new(name, SampleRate::HZ_16000).unwrap();
            let mut pcm = [7; 320];
            assert_eq!(decoder.recover(None, &mut pcm), name == CodecName::Opus);
        }
    }
}
