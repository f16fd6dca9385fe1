//! Payload octets to samples and back, for whatever codec a stream negotiated.

use super::g711;
use crate::types::{CodecName, SampleRate};

/// Encoder and decoder of one stream. The set is closed; G.711 keeps no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl Codec {
    /// The codec SDP named.
    pub fn new(name: CodecName) -> Self {
        match name {
            CodecName::Pcmu => Self::Pcmu,
            CodecName::Pcma => Self::Pcma,
        }
    }

    /// Its name in SDP.
    pub fn name(self) -> CodecName {
        match self {
            Self::Pcmu => CodecName::Pcmu,
            Self::Pcma => CodecName::Pcma,
        }
    }

    /// Rate of the samples it gives and takes.
    pub fn sample_rate(self) -> SampleRate {
        self.name().sample_rate()
    }

    /// Samples a payload of `bytes` octets holds.
    pub fn samples_in(self, bytes: usize) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => bytes,
        }
    }

    /// Decodes as much of `payload` as fits into `pcm`; returns the samples written.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> usize {
        match self {
            Self::Pcmu => convert(payload, pcm, g711::decode_ulaw),
            Self::Pcma => convert(payload, pcm, g711::decode_alaw),
        }
    }

    /// Encodes as much of `pcm` as fits into `payload`; returns the octets written.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut [u8]) -> usize {
        match self {
            Self::Pcmu => convert(pcm, payload, g711::encode_ulaw),
            Self::Pcma => convert(pcm, payload, g711::encode_alaw),
        }
    }

    /// The octet that stands for a sample of silence.
    pub fn silence(self) -> u8 {
        match self {
            Self::Pcmu => g711::ULAW_SILENCE,
            Self::Pcma => g711::ALAW_SILENCE,
        }
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

    #[test]
    fn short_buffers_bound_the_work() {
        for name in CodecName::ALL {
            let mut codec = Codec::new(name);
            assert_eq!(codec.name(), name);
            let mut pcm = [1_i16; 4];
            assert_eq!(codec.decode(&[codec.silence(); 3], &mut pcm), 3);
            assert!(pcm[..3].iter().all(|sample| sample.abs() <= 8), "{pcm:?}");
            assert_eq!(pcm[3], 1);
            assert_eq!(codec.decode(&[0; 9], &mut pcm), 4);
            let mut payload = [0; 2];
            assert_eq!(codec.encode(&pcm, &mut payload), 2);
            assert_eq!(codec.encode(&[], &mut payload), 0);
        }
    }
}
