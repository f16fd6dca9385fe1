//! Workshop: the SIP user agent core. Bytes, commands and times in; bytes and call events out.

mod lex;
pub mod event;
pub mod wire;
pub mod uri;
pub mod msg;
pub mod header;
pub mod error;
pub mod build;

pub use error::{Fault, ParseError};
pub use event::*;
