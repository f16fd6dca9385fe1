//! The codecs of a call's audio stream, as SDP and RTP name them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SampleRate;

/// An audio codec we can encode and decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecName {
    /// G.711 mu-law, static payload type 0 (RFC 3551 section 4.5.14).
    Pcmu,
    /// G.711 A-law, static payload type 8 (RFC 3551 section 4.5.14).
    Pcma,
}

impl CodecName {
    /// Every codec, in our default order of preference.
    pub const ALL: [Self; 2] = [Self::Pcmu, Self::Pcma];

    /// Name in an SDP `rtpmap`.
    pub fn encoding_name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// Payload type RFC 3551 assigns.
    pub fn static_payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// Rate of the audio.
    pub fn sample_rate(self) -> SampleRate {
        match self {
            Self::Pcmu | Self::Pcma => SampleRate::HZ_8000,
        }
    }

    /// Rate of the RTP timestamp.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }
}

impl fmt::Display for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encoding_name())
    }
}

/// A codec as negotiated on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecSpec {
    /// Which codec.
    pub name: CodecName,
    /// Payload type in packets we receive and send.
    pub payload_type: u8,
}

impl CodecSpec {
    /// The codec with its static payload type.
    pub fn with_static_payload_type(name: CodecName) -> Self {
        Self { name, payload_type: name.static_payload_type() }
    }
}
