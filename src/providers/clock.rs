//! The room's one look at the clock: instants that providers stamp on results.

pub(crate) use crate::net::clock::now;
