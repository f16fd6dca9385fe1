//! Workshop: who speaks now. Endpointing, barge-in, sentences, what was heard, latency.
//!
//! The room is a deterministic core: it reads no clock, opens nothing and waits for nothing. The call
//! feeds [`Machine::handle`], drains [`Machine::poll`] and sleeps until [`Machine::next_wake`]. It
//! knows no provider, no codec and no packet, and the system prompt is the call's business.
//!
//! Start reading at [`event`] (what goes in and out), then [`machine`]; the small parts it is made of
//! ([`sentence`], [`heard`], [`ledger`], [`endpointing`], [`interruption`], [`transcript`]) stand alone, and so
//! does [`answering`], which judges who picked up before the conversation begins.

pub mod answering;
pub mod completeness;
pub mod config;
pub mod endpointing;
pub mod event;
pub mod heard;
pub mod interruption;
pub mod ledger;
pub mod lexicon;
pub mod machine;
pub mod sentence;
pub mod transcript;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

pub use answering::{Answerer, Answering, AnsweringConfig, AnsweringInput, Verdict};
pub use config::{TurnConfig, TurnConfigError};
pub use event::{Delivery, Input, Output};
pub use ledger::{Ledger, Mark};
pub use machine::{Counters, Machine};
