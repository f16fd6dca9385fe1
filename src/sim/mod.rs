//! Gate for tests and benches: the peers of a call, simulated on real sockets.

pub mod providers;
