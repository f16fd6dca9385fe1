//! Live figures: a server process, mock providers with known delays, and a softphone, on loopback.
//!
//! `cargo bench --bench live` runs the hand-overs and the interruptions; `-- load` runs 1 and then
//! 100 calls, `-- speculation` the replies that are prepared early (`LIVE_TURNS`, 100 of
//! each kind), `-- soak` two long calls (`SOAK_SECONDS`, 330)
//! over a network that loses, `-- signalling` what short calls cost over UDP, TCP and TLS. It prints tables; nothing here gates. The machine's other load shows in every figure.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

#[path = "live/barge.rs"]
mod barge;
#[path = "live/handover.rs"]
mod handover;
#[path = "../tests/it/support/impair.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod impair;
#[path = "live/load.rs"]
mod load;
#[path = "live/server.rs"]
mod server;
#[path = "live/signalling.rs"]
mod signalling;
#[path = "live/soak.rs"]
mod soak;
#[path = "live/speculation.rs"]
mod speculation;

use std::time::Duration;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let wants = |name: &str| {
        wanted.is_empty() && matches!(name, "handover" | "barge")
            || wanted.iter().any(|arg| arg == name)
    };
    trunkline::providers::http::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wants("handover") {
            handover::run(50).await;
        }
        if wants("barge") {
            barge::run(20).await;
        }
        if wants("speculation") {
            let turns =
                std::env::var("LIVE_TURNS").ok().and_then(|s| s.parse().ok()).unwrap_or(100);
            speculation::run(turns).await;
        }
        if wants("load") {
            let lasting =
                std::env::var("LOAD_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
            let calls =
                std::env::var("LOAD_CALLS").ok().and_then(|s| s.parse().ok()).unwrap_or(100);
            load::run(calls, Duration::from_secs(lasting)).await;
        }
        if wants("signalling") {
            signalling::run(300).await;
        }
        if wants("soak") {
            let lasting =
                std::env::var("SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(330);
            soak::run(Duration::from_secs(lasting)).await;
        }
    });
}

/// Percentiles of durations in milliseconds: p50, p99 and the largest.
fn summary(mut times: Vec<f64>) -> (f64, f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1));
        times.get(rank - 1).copied().unwrap_or(f64::NAN)
    };
    (at(0.5), at(0.99), times.last().copied().unwrap_or(f64::NAN))
}
