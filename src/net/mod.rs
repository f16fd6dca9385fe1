//! Gate: sockets, the SIP driver task and the clock.
