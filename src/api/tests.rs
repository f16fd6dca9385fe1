//! The control plane as a client sees it: requests in, answers out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod calls;
mod desk;
mod docs;
mod lists;
mod live;
mod matrix;
mod orders;
mod recordings;
mod refusals;
mod service;
mod serving;
mod streams;
mod usage;
mod webhooks;
