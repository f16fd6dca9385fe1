//! The room's name for the process's one clock door.

pub(crate) use crate::net::clock::now;
