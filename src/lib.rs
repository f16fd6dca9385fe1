//! Trunkline: one binary that answers and places SIP calls and lets an AI agent talk on them.
//!
//! The library API is not stable. The stable surfaces are four: the HTTP API, the config file, the
//! command line and the metric names. Rooms and the direction of their dependencies are described
//! in `ARCHITECTURE.md` and enforced by `tests/tidy.rs`.

// The documentation is read beside the source, where private items are links like any other.
#![allow(rustdoc::private_intra_doc_links)]

pub mod types;

pub mod audio;
pub mod dsl;
pub mod rtp;
pub mod schema;
pub mod score;
pub mod sdp;
pub mod sip;
pub mod speech;
pub mod turn;

pub mod egress;
pub mod engine;
pub mod mail;
pub mod media;
pub mod net;
pub mod providers;
pub mod store;
pub mod telemetry;
pub mod tools;
pub mod usage;
pub mod webhook;

pub mod after;
pub mod call;
pub mod catalog;
pub mod softphone;

pub mod scheduler;
pub mod switchboard;

pub mod api;

pub mod config;

pub mod server;

pub mod eval;

pub mod cli;

#[cfg(any(test, feature = "sim"))]
pub mod sim;
