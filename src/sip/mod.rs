//! Workshop: the SIP user agent core. Bytes, commands and times in; bytes and call events out.

mod lex;
pub mod check;
pub mod digest;
pub mod stream;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod event;
pub mod wire;
pub mod uri;
pub mod msg;
pub mod header;
pub mod error;
pub mod build;

mod agent;
mod auth;
mod checks;
pub mod config;
mod craft;
mod dialog;
mod facts;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_agent;
mod hop;
mod in_dialog;
mod invite_uac;
mod invite_uas;
mod key;
mod leg;
mod receive;
mod refer;
mod reoffer;
mod transaction;

pub use agent::{Agent, Counts};
pub use config::Config;
pub use error::{Fault, ParseError};
pub use event::*;
