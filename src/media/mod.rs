//! One stream's voice path, pure: RTP packets to PCM frames and back, driven by `now`.
//!
//! Not here: sockets and threads (`engine`), what the audio means (`turn`, `call`). Start reading at
//! [`stream`]; [`event`] is what the call's task sees of it.

pub mod aside;
pub mod background;
pub mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod inbound;
pub mod io;
pub mod outbound;
pub mod playout;
mod protection;
pub mod stream;
pub mod tap;
pub mod tones;

pub use aside::ASIDES;
pub use background::Background;
pub use event::*;
pub use inbound::Inbound;
pub use io::{PacketKind, StreamIo};
pub use outbound::Outbound;
pub use playout::FrameSource;
pub use stream::{Config, ConfigError, Stream, StreamStats, line_rate};
pub use tap::{TapChannel, TapClock, TapFrame};

#[cfg(test)]
mod tests;
