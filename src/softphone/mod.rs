//! A telephone made from the server's own rooms: a tool, a test peer and a load generator.
//!
//! [`Phone`] owns a SIP user agent and media threads of its own; [`PhoneCall`] is one call on it, made
//! to be waited on: every wait ends with an event or its limit. [`ear`] (what is heard, and when) and
//! [`mouth`] (what is said, and when it left) are pure. [`dial`] is the `trunkline call` command,
//! [`load`] many calls at once. A peer we wrote proves only symmetry: interoperability is for others.
//!
//! Times are taken on this side of the wire: a response gap is the time from our last audible packet
//! to the first audible one that came back. Start reading at [`call`].

pub mod api;
pub mod call;
pub mod dial;
pub mod ear;
pub mod load;
pub mod mouth;
pub mod pacing;
pub mod phone;
pub mod report;
pub mod tape;
pub mod waterfall;

mod line;
mod state;

#[cfg(test)]
mod tests;

pub use call::{BargeIn, CallStats, PhoneCall, Reply};
pub use dial::{Console, DialError, DialOptions, Format, run_call};
pub use ear::{Ear, EarEvent, Spurt, tone_share};
pub use mouth::{Mouth, Said, UtteranceId};
pub use phone::{CallOptions, CallRequest, IncomingCall, Phone, PhoneConfig, StartError};
pub use state::{CallEnd, HoldState, Keep, PhoneError, PhoneEvent};
