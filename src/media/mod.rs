//! One stream's voice path, pure: RTP packets to PCM frames and back, driven by `now`.

pub mod event;

pub use event::*;
