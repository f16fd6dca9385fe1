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
    /// G.722 at 64 kbit/s, static payload type 9 (RFC 3551 section 4.5.2).
    G722,
    /// Opus (RFC 7587).
    Opus,
    /// Samples as they are, 16 bits at 8 kHz (RFC 3551 section 4.5.11).
    #[serde(rename = "l16-8000")]
    L16Narrow,
    /// The same at 16 kHz.
    #[serde(rename = "l16-16000")]
    L16Wide,
}

impl CodecName {
    /// Every codec.
    pub const ALL: [Self; 6] =
        [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus, Self::L16Narrow, Self::L16Wide];
    /// What is offered and taken where nobody says which, in our order of preference: what costs least and every
    /// trunk has comes first. L16 is not among them: it takes two to four times the bandwidth of G.711.
    pub const DEFAULT: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus];

    /// Name in an SDP `rtpmap`.
    pub fn encoding_name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
            Self::L16Narrow | Self::L16Wide => "L16",
        }
    }

    /// Payload type of our offers: the one RFC 3551 assigns, or the one most peers use.
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
            Self::Opus => 111,
            Self::L16Wide => 112,
            Self::L16Narrow => 113,
        }
    }

    /// Payload type RFC 3551 assigns, which needs no `rtpmap`.
    pub fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => Some(self.payload_type()),
            // The numbers that L16 has are those of 44,100 Hz.
            Self::Opus | Self::L16Narrow | Self::L16Wide => None,
        }
    }

    /// Channels of an `rtpmap`, where it states them. Opus states two whatever is sent (RFC 7587 section 7).
    pub fn sdp_channels(self) -> Option<u8> {
        (self == Self::Opus).then_some(2)
    }

    /// Rate of the audio in the house. Opus decodes to any; speech needs no more than this.
    pub fn sample_rate(self) -> SampleRate {
        match self {
            Self::Pcmu | Self::Pcma | Self::L16Narrow => SampleRate::HZ_8000,
            Self::G722 | Self::Opus | Self::L16Wide => SampleRate::HZ_16000,
        }
    }

    /// Rate of the RTP timestamp: for G.722 that of an old mistake (RFC 3551 section 4.5.2), for Opus always
    /// the same (RFC 7587 section 4.1).
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::L16Narrow => 8_000,
            Self::L16Wide => 16_000,
            Self::Opus => 48_000,
        }
    }

    /// How long a payload lasts, in ticks of the clock; 0 for one that cannot be.
    pub fn ticks(self, payload: &[u8]) -> u32 {
        match self {
            // A sample, or a pair of samples of a clock that runs at half their rate.
            Self::Pcmu | Self::Pcma | Self::G722 => u32::try_from(payload.len()).unwrap_or(0),
            Self::L16Narrow | Self::L16Wide if payload.len() % 2 == 1 => 0,
            Self::L16Narrow | Self::L16Wide => u32::try_from(payload.len() / 2).unwrap_or(0),
            Self::Opus => opus_ticks(payload),
        }
    }

    /// Longest packet of ours, milliseconds: 40 ms of L16 at 16 kHz are 1,280 octets, and 60 would not fit into one
    /// datagram of Ethernet.
    pub fn ptime_ms_max(self) -> u16 {
        if self == Self::L16Wide { 40 } else { 60 }
    }
}

/// Longest Opus packet: 120 ms (RFC 6716 section 3.2.5).
const OPUS_TICKS_MAX: u32 = 5_760;

/// Duration by the table-of-contents octet of RFC 6716 section 3.1.
fn opus_ticks(payload: &[u8]) -> u32 {
    let Some(first) = payload.first() else { return 0 };
    let frame = match first >> 3 {
        config @ 0..=11 => [480, 960, 1_920, 2_880].get(usize::from(config & 3)).copied(),
        config @ 12..=15 => [480, 960].get(usize::from(config & 1)).copied(),
        config => [120, 240, 480, 960].get(usize::from(config & 3)).copied(),
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => payload.get(1).map_or(0, |count| u32::from(count & 0x3f)),
    };
    frame.map(|frame| frame * frames).filter(|ticks| *ticks <= OPUS_TICKS_MAX).unwrap_or(0)
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
    /// The codec with the payload type of our offers.
    pub fn with_static_payload_type(name: CodecName) -> Self {
        Self { name, payload_type: name.payload_type() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opus_packet_says_how_long_it_is() {
        for (payload, ticks) in [
            (&[][..], 0),
            // SILK wideband of 20 ms, one frame; hybrid of 10; CELT of 2.5 ms.
            (&[9 << 3, 1, 2], 960),
            (&[12 << 3, 1], 480),
            (&[16 << 3], 120),
            (&[11 << 3 | 1, 0, 0], 5_760),
            (&[9 << 3 | 3, 3, 0], 2_880),
            (&[9 << 3 | 3], 0),
            (&[11 << 3 | 3, 3], 0),
            (&[31 << 3 | 3, 63], 0),
        ] {
            assert_eq!(CodecName::Opus.ticks(payload), ticks, "{payload:?}");
        }
        assert_eq!(CodecName::G722.ticks(&[0; 160]), 160);
        assert_eq!(CodecName::L16Wide.ticks(&[0; 640]), 320);
        assert_eq!(CodecName::L16Narrow.ticks(&[0; 321]), 0, "half a sample");
    }
}
