//! Workshop: samples. Codecs, resampling, concealment, levels, voice activity, tones, WAV.
//!
//! Everything works on mono 16-bit linear PCM in caller-owned buffers and allocates nothing after
//! construction. No clock: whoever needs to say *when* takes the arrival [`std::time::Instant`] of a
//! frame as an argument. Packets, jitter and pacing are elsewhere (`rtp`, `media`). Only [`wav`]
//! touches files, and only those it is handed.
//!
//! Start reading at [`codec`] (payload to samples) and [`vad`] (who speaks).

pub mod call_tone;
pub mod codec;
pub mod conceal;
pub mod echo;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod g711;
pub mod g722;
pub mod l16;
pub mod level;
#[cfg(any(test, feature = "onnx"))]
pub mod mel;
pub mod mix;
pub mod noise;
pub mod opus;
pub mod resample;
pub mod suppress;
pub mod tone;
pub mod vad;
pub mod wav;

pub use call_tone::CallToneDetector;
pub use codec::{Decoder, Encoder};
pub use conceal::Concealer;
pub use echo::EchoGate;
pub use resample::Resampler;
pub use suppress::Suppressor;
pub use tone::{DtmfDetector, DtmfEvent};
pub use vad::{SpeechDetector, VadConfig, VadEvent};
