//! Workshop: the SIP user agent core. Bytes, commands and times in; bytes and call events out.

pub mod build;
pub mod check;
pub mod digest;
pub mod error;
pub mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod header;
mod lex;
pub mod msg;
pub mod stream;
pub mod uri;
pub mod veil;
pub mod wire;

mod access;
mod agent;
mod auth;
mod checks;
pub mod config;
mod craft;
mod dialog;
mod facts;
mod failover;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_agent;
mod gate;
mod hop;
mod identity;
mod in_dialog;
mod info;
mod invite_uac;
mod invite_uas;
mod key;
mod leg;
mod multipart;
mod option;
mod ping;
pub mod policy;
mod receive;
mod refer;
mod referred;
mod refresh;
pub mod register;
pub mod registration;
mod reliable;
mod reoffer;
mod replaces;
mod session_timer;
mod transaction;

pub use agent::{Agent, Counts};
pub use config::Config;
pub use error::{Fault, ParseError};
pub use event::*;
pub use facts::REDIRECTS_MAX;
pub use gate::Notice;
pub use policy::CallPolicy;
pub use referred::Referral;
pub use register::{Register, Registered};
