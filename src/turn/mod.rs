//! Workshop: who speaks now. Endpointing, barge-in, sentences, what was heard, latency.

pub mod event;

pub use event::{Input, Output};
