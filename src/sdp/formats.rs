//! Formats of an audio stream: codecs and telephone events as payload types, maps and parameters.

use super::model::{Media, RtpMap};
use crate::types::CodecName;

pub(super) const DTMF_CLOCK_RATE: u32 = 8_000;
/// What we tell peers of Opus: copies of lost frames are used, more than wideband is not.
const OPUS_PARAMETERS: &str = "useinbandfec=1;maxplaybackrate=16000";
/// Events we name in a description of ours: the 16 DTMF keys.
pub(super) const DTMF_EVENTS: &str = "0-15";

pub(super) fn codec_of(media: &Media, payload_type: u8) -> Option<CodecName> {
    match media.rtpmap(payload_type) {
        Some(map) => CodecName::ALL.into_iter().find(|name| {
            map.encoding.eq_ignore_ascii_case(name.encoding_name())
                && map.clock_rate == name.clock_rate()
                // Opus has two by name, whatever is sent; a missing number is forgiven.
                && map.channels.is_none_or(|count| count == name.sdp_channels().unwrap_or(1))
        }),
        None => CodecName::ALL.into_iter().find(|n| n.static_payload_type() == Some(payload_type)),
    }
}

/// The clock rate of telephone events, if the number stands for them.
pub(super) fn events_of(media: &Media, payload_type: u8) -> Option<u32> {
    let map = media.rtpmap(payload_type)?;
    map.encoding.eq_ignore_ascii_case("telephone-event").then_some(map.clock_rate)
}

/// A telephone-event format of a peer.
#[derive(Clone, Copy)]
pub(super) struct Dtmf {
    pub(super) payload_type: u8,
    pub(super) clock_rate: u32,
    /// The events we would name back.
    pub(super) events: &'static str,
}

/// The peer's telephone-event at the clock of the codec; else the one at 8 kHz, which many write whatever the
/// codec is.
pub(super) fn dtmf_of(media: &Media, clock_rate: u32) -> Option<Dtmf> {
    let at = |wanted: u32| media.payload_types().find(|pt| events_of(media, *pt) == Some(wanted));
    let found = [clock_rate, DTMF_CLOCK_RATE].into_iter().find_map(|hz| Some((at(hz)?, hz)));
    let (payload_type, clock_rate) = found?;
    let events = media.fmtps.iter().find(|(pt, _)| *pt == payload_type);
    // `0-16` (with flash) and `0-15` both cover the keys; only a list up to 11 lacks A to D.
    let narrow = events.is_some_and(|(_, list)| list.trim() == "0-11");
    Some(Dtmf { payload_type, clock_rate, events: if narrow { "0-11" } else { DTMF_EVENTS } })
}

/// What no packet may exceed, where one of the codecs has packets that would outgrow a datagram.
pub(super) fn maxptime_of(names: &[CodecName]) -> Option<u16> {
    let ours = names.iter().map(|name| name.ptime_ms_max()).min()?;
    (ours < CodecName::Pcmu.ptime_ms_max()).then_some(ours)
}

/// Whether packets of `other` may come between those of `codec`: on the same timeline, in another codec.
pub(super) fn is_alternate(codec: CodecName, other: CodecName) -> bool {
    codec != other && codec.clock_rate() == other.clock_rate()
}

pub(super) fn fmtp_of(payload_type: u8, name: CodecName) -> Option<(u8, String)> {
    (name == CodecName::Opus).then(|| (payload_type, OPUS_PARAMETERS.to_owned()))
}

pub(super) fn map_of(payload_type: u8, name: CodecName) -> RtpMap {
    RtpMap {
        payload_type,
        encoding: name.encoding_name().to_owned(),
        clock_rate: name.clock_rate(),
        channels: name.sdp_channels(),
    }
}

pub(super) fn push_dtmf(media: &mut Media, (payload_type, clock_rate): (u8, u32), events: &str) {
    media.formats.push(payload_type.to_string());
    media.rtpmaps.push(RtpMap {
        payload_type,
        encoding: "telephone-event".to_owned(),
        clock_rate,
        channels: None,
    });
    media.fmtps.push((payload_type, events.to_owned()));
}
