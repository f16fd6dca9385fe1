//! The running server against programs that others wrote, and against raw sockets.
//!
//! One binary; each module is one subject. `support` starts servers and peers, and kills them.
//! A peer program that is not installed skips its tests with a loud line, and fails them where
//! `CI=true` or `TRUNKLINE_REQUIRE_PEERS=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod after;
mod answering;
mod api_live;
mod bridge;
mod call_control;
mod catalog;
mod cli;
mod clients;
mod contract;
mod conversation;
mod crash;
mod dial_limits;
mod dial_paths;
mod dialogs;
mod doctor;
mod dtls;
mod endpointing;
mod eval;
mod faults;
mod floods;
mod impairment;
mod interruptions;
mod ipv6;
mod ladder;
mod limits;
mod losses;
mod mail;
mod media;
mod noise;
mod peers_baresip;
mod peers_linphone;
mod peers_proxies;
mod peers_sipp;
mod peers_transfer;
mod realtime;
mod recording;
mod refers;
mod scheduler;
mod seeds;
mod softphone_calls;
mod support;
mod tools;
mod torture;
mod trials;
mod trunks;
mod tts_cache;
#[cfg(feature = "onnx")]
mod turn_model;
mod webhooks;
