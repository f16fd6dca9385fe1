//! What crosses between a call's task and its media stream. Everything is fixed-size: these values
//! travel through bounded lock-free rings and are never allocated on the 20 ms path.

use std::net::SocketAddr;
use std::time::Instant;

use crate::types::audio::FRAME_SAMPLES_MAX;
use crate::types::{CodecSpec, DtlsPlan, Generation, IceCredentials, KeyingFailure, SrtpKeys};

/// One frame of samples on its way between rooms. Only the first `len` samples count.
#[derive(Clone, Copy)]
pub struct Frame {
    samples: [i16; LINE_FRAME_SAMPLES_MAX],
    len: u16,
}

/// 20 ms of a narrowband line.
pub const FRAME_SAMPLES_MAX_G711: usize = 160;
/// 20 ms of a wideband line: the rate of speech in the house. No line is faster.
pub const LINE_FRAME_SAMPLES_MAX: usize = 320;
const _: () = assert!(LINE_FRAME_SAMPLES_MAX <= FRAME_SAMPLES_MAX);

impl Frame {
    /// An empty frame.
    pub const EMPTY: Self = Self { samples: [0; LINE_FRAME_SAMPLES_MAX], len: 0 };

    /// Copies at most one frame of samples.
    pub fn new(samples: &[i16]) -> Self {
        let mut frame = Self::EMPTY;
        for (to, from) in frame.samples.iter_mut().zip(samples) {
            *to = *from;
            frame.len += 1;
        }
        frame
    }

    /// The samples.
    pub fn samples(&self) -> &[i16] {
        self.samples.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

/// Direction of the audio, from our side (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of RFC 3264")]
pub enum MediaDirection {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl MediaDirection {
    /// Whether we send audio.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether we take audio.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// Which source addresses may speak to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourcePolicy {
    /// Only the address in the remote SDP.
    Strict,
    /// The SDP address at once, else one other address that sends 4 sequential packets within the
    /// learning window after each offer/answer; then closed.
    Learn,
}

/// What offer and answer agreed on: everything a stream needs to carry audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFormat {
    /// Where our packets go.
    pub remote_rtp: SocketAddr,
    /// Where our RTCP goes.
    pub remote_rtcp: SocketAddr,
    /// Codec both ways, with the payload type of packets we receive.
    pub codec: CodecSpec,
    /// Another codec that the peer may switch to at any time: its answer named both. Of the same clock rate.
    pub alternate: Option<CodecSpec>,
    /// Duration of packets we send: 10, 20, 30, 40 or 60 ms.
    pub send_ptime_ms: u16,
    /// Payload type of packets we send: a peer may number a codec differently in each direction.
    pub send_payload_type: u8,
    /// Payload type of telephone-event in packets we receive, if negotiated.
    pub dtmf_receive_pt: Option<u8>,
    /// Payload type of telephone-event in packets we send, if negotiated.
    pub dtmf_send_pt: Option<u8>,
    /// Clock of the durations of telephone-event, Hz.
    pub dtmf_clock_rate: u32,
    /// Direction from our side.
    pub direction: MediaDirection,
    /// Whose packets we take.
    pub source_policy: SourcePolicy,
    /// Keys, if audio and RTCP are encrypted with keys of SDP.
    pub srtp: Option<SrtpKeys>,
    /// How there will be keys, if they come by DTLS: until then nothing is sent and nothing is heard.
    pub dtls: Option<DtlsPlan>,
    /// What the peer's checks prove, if it says by them where our packets go.
    pub ice: Option<IceCredentials>,
}

/// From the call's task to its stream.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "ring slots are allocated once; a box would be freed on the media thread"
)]
pub enum MediaCommand {
    /// Start, or change after a re-INVITE.
    Configure(StreamFormat),
    /// Drop queued audio of this generation and before, fade out within one frame.
    StopPlayback {
        /// The last generation that may not play any more.
        generation: Generation,
    },
    /// The caller may want the floor: fade out within one frame, and keep every sample that was not heard.
    PausePlayback {
        /// Which generation.
        generation: Generation,
    },
    /// The caller may want the floor: go on 12 dB softer.
    DuckPlayback {
        /// Which generation.
        generation: Generation,
    },
    /// They did not: go on from the sample where the fade began, at full level.
    ResumePlayback {
        /// Which generation.
        generation: Generation,
    },
    /// Send a digit after those before it (RFC 4733).
    SendDigit {
        /// 0-9, `*`, `#`, A-D.
        digit: u8,
        /// 40 to 2,000.
        duration_ms: u16,
        /// Silence after it.
        gap_ms: u16,
    },
    /// Whether the agent's audio goes out (silence goes out instead).
    MuteAgent(bool),
    /// Whether the caller's audio reaches VAD and recognition (silence does instead; the recording keeps it).
    MuteCaller(bool),
}

/// What a frame of the caller's timeline was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameOrigin {
    /// The packet that completed it.
    Packet {
        /// When it was read from the socket, jitter included.
        read_at: Instant,
    },
    /// Its packet was sent and did not come: concealed.
    Lost,
    /// The sender sent nothing.
    Silence,
}

/// From a stream to its call's task, in order.
#[derive(Clone, Copy)]
#[expect(
    clippy::large_enum_variant,
    reason = "ring slots are allocated once; a box per frame would allocate on the 20 ms path"
)]
pub enum MediaEvent {
    /// 20 ms of the caller's audio at the codec's rate, with the least delay: in sequence, lost frames concealed.
    Frame {
        /// Audio.
        frame: Frame,
        /// Arrival of its packet, de-jittered.
        at: Instant,
        /// What it was made of.
        origin: FrameOrigin,
    },
    /// VAD is sure that the caller speaks.
    SpeechStarted {
        /// Arrival of the first voiced frame.
        onset: Instant,
    },
    /// VAD is sure that the caller stopped.
    SpeechEnded {
        /// Arrival of the last voiced frame: instant S of the ledger.
        last_voiced: Instant,
    },
    /// A key was pressed (RFC 4733 or in-band), once per press.
    Digit {
        /// 0-9, `*`, `#`, A-D.
        digit: u8,
    },
    /// The first packet of a generation's audio left: instant P0.
    FirstPacket {
        /// Which reply.
        generation: Generation,
        /// `sendto` returned.
        at: Instant,
    },
    /// The first packet of a generation whose frame is louder than -50 dBFS left: instant P1.
    FirstAudible {
        /// Which reply.
        generation: Generation,
        /// `sendto` returned.
        at: Instant,
    },
    /// Samples of a generation played so far. Sent every 100 ms while playing, and at its end.
    Played {
        /// Which reply.
        generation: Generation,
        /// Samples at the codec's rate since the generation began.
        samples: u64,
        /// The queue is empty and its last chunk was marked as the last.
        finished: bool,
    },
    /// Playback stopped on command: the last packet with audio left at `at`.
    Stopped {
        /// Which reply.
        generation: Generation,
        /// Samples played of it.
        samples: u64,
        /// Last packet with audio, the fade included.
        at: Instant,
    },
    /// All digits asked for were sent.
    DigitsSent,
    /// No RTP and no RTCP for the stream's timeout.
    MediaTimeout,
    /// The remote said goodbye by RTCP BYE. Informative.
    RtcpBye,
    /// The keys of [`StreamFormat::dtls`] are here.
    Keyed,
    /// There will be none.
    KeyingFailed(KeyingFailure),
}

/// One frame of the agent's audio on its way to the line.
#[derive(Clone, Copy)]
pub struct PlayoutFrame {
    /// Audio at the codec's rate.
    pub frame: Frame,
    /// Which reply it belongs to.
    pub generation: Generation,
    /// Nothing of this generation follows.
    pub last: bool,
}
