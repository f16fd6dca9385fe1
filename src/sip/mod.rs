//! Workshop: the SIP user agent core. Bytes, commands and times in; bytes and call events out.

pub mod event;

pub use event::*;
