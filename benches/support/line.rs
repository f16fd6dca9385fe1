//! One call's line for benches and the allocation test: packets of a caller, an agent who talks, and
//! surroundings that keep nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use trunkline::audio::{Encoder, wav};
use trunkline::media::{
    Frame, FrameSource, MediaDirection, MediaEvent, PacketKind, PlayoutFrame, SourcePolicy,
    StreamFormat, StreamIo, TapFrame,
};
use trunkline::types::{CodecName, CodecSpec, Generation, SampleRate};

/// Who calls.
pub(crate) const CALLER: ([u8; 4], u16) = ([192, 0, 2, 1], 4_000);
/// One frame.
pub(crate) const FRAME: Duration = Duration::from_millis(20);

/// What a line carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sound {
    /// Noise of a quiet line, about -62 dBFS.
    Quiet,
    /// A caller who speaks: an utterance without its silences, again and again.
    Speech,
}

/// Surroundings of a stream that look at everything and keep nothing.
pub(crate) struct Wire {
    /// The time that sending reports.
    pub(crate) now: Instant,
    /// Media packets sent.
    pub(crate) sent: u64,
    /// Control packets sent.
    pub(crate) reports: u64,
    /// Frames heard, edges of speech and everything else told.
    pub(crate) events: u64,
    /// Frames recorded.
    pub(crate) taps: u64,
    /// The agent's voice, or `None` while it is quiet.
    pub(crate) agent: Option<Frame>,
}

impl Wire {
    /// An agent that speaks or not.
    pub(crate) fn new(now: Instant, agent: Sound) -> Self {
        let agent = (agent == Sound::Speech).then(|| Frame::new(&speech()[..160]));
        Self { now, sent: 0, reports: 0, events: 0, taps: 0, agent }
    }
}

impl FrameSource for Wire {
    fn next_frame(&mut self) -> Option<PlayoutFrame> {
        let frame = self.agent?;
        Some(PlayoutFrame { frame, generation: Generation(1), last: false })
    }
}

impl StreamIo for Wire {
    fn send(&mut self, kind: PacketKind, _to: SocketAddr, _datagram: &[u8]) -> Instant {
        match kind {
            PacketKind::Rtp => self.sent += 1,
            PacketKind::Rtcp => self.reports += 1,
        }
        self.now
    }

    fn event(&mut self, _event: MediaEvent) {
        self.events += 1;
    }

    fn tap(&mut self, _frame: TapFrame) {
        self.taps += 1;
    }
}

/// What both sides agreed on.
pub(crate) fn format(codec: CodecName) -> StreamFormat {
    let codec = CodecSpec::with_static_payload_type(codec);
    let (ip, port) = CALLER;
    StreamFormat {
        remote_rtp: SocketAddr::from((ip, port)),
        remote_rtcp: SocketAddr::from((ip, port + 1)),
        codec,
        alternate: None,
        send_ptime_ms: 20,
        send_payload_type: codec.payload_type,
        dtmf_receive_pt: Some(101),
        dtmf_send_pt: Some(101),
        dtmf_clock_rate: 8_000,
        direction: MediaDirection::SendRecv,
        source_policy: SourcePolicy::Strict,
        srtp: None,
        dtls: None,
        ice: None,
    }
}

/// Packets of a caller, one a call of [`Packets::next`], with a payload that was encoded before.
pub(crate) struct Packets {
    payloads: Vec<Vec<u8>>,
    datagram: Vec<u8>,
    ticks: u32,
    count: usize,
}

impl Packets {
    /// An endless caller.
    pub(crate) fn new(codec: CodecName, sound: Sound) -> Self {
        Self::of(
            codec,
            &match sound {
                Sound::Quiet => noise(),
                Sound::Speech => speech(),
            },
        )
    }

    /// A caller who says this again and again.
    pub(crate) fn of(codec: CodecName, samples: &[i16]) -> Self {
        let mut encoder = Encoder::new(codec, SampleRate::HZ_8000).expect("a codec");
        let encode = |frame: &[i16]| {
            let mut payload = vec![0; 640];
            let len = encoder.encode(frame, &mut payload);
            payload.truncate(len);
            payload
        };
        let payloads = samples.chunks_exact(160).map(encode).collect();
        let mut datagram = vec![0; 700];
        datagram[0] = 0x80;
        datagram[1] = CodecSpec::with_static_payload_type(codec).payload_type;
        datagram[11] = 7;
        Self { payloads, datagram, ticks: codec.clock_rate() / 50, count: 0 }
    }

    /// The next packet; it comes 20 ms after the last.
    pub(crate) fn next(&mut self) -> &[u8] {
        let payload = &self.payloads[self.count % self.payloads.len()];
        self.datagram[2..4].copy_from_slice(&(self.count as u16).to_be_bytes());
        let timestamp = (self.count as u32).wrapping_mul(self.ticks);
        self.datagram[4..8].copy_from_slice(&timestamp.to_be_bytes());
        let end = 12 + payload.len();
        self.datagram[12..end].copy_from_slice(payload);
        self.count += 1;
        &self.datagram[..end]
    }
}

/// The loud frames of a fixture utterance at 8 kHz.
pub(crate) fn speech() -> Vec<i16> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wav/demo/02_book.wav");
    let pcm = wav::read_mono(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let step = (pcm.rate.hz() / 8_000).max(1) as usize;
    let narrow: Vec<i16> = pcm.samples.into_iter().step_by(step).collect();
    let loud =
        |frame: &&[i16]| frame.iter().map(|s| i64::from(*s).pow(2)).sum::<i64>() > 160 * 90_000;
    narrow.chunks_exact(160).filter(loud).flatten().copied().collect()
}

/// Two seconds of a line's own noise.
pub(crate) fn noise() -> Vec<i16> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16 / 800
    };
    (0..16_000).map(|_| next()).collect()
}
