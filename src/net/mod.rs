//! Gate: sockets, the SIP driver task and the clock.

pub mod clock;
