//! One call, then many: response times, RTP, pacing, and the server process's CPU and memory per call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline::sim::providers::{MockProviders, Script};
use trunkline::softphone::load::{self, LoadReport, LoadRequest};
use trunkline::softphone::{Phone, PhoneConfig};

use super::handover::utterance;
use super::server::Server;

/// From the last answer to the first measurement, and from the last measurement to the end.
const SETTLE: Duration = Duration::from_secs(2);

pub async fn run(calls: usize, lasting: Duration) {
    let mocks = MockProviders::start(Script::default()).await.unwrap();
    println!(
        "\nload: PCMU, recording on, mock providers and callers in one other process, {} s",
        lasting.as_secs()
    );
    println!(
        "{:>6} {:>9} {:>7} {:>9} {:>9} {:>9} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "calls",
        "responses",
        "missed",
        "p50 ms",
        "p99 ms",
        "max ms",
        "lost",
        "pace p50",
        "pace p99",
        "CPU/call",
        "MB/call"
    );
    for n in [1, calls] {
        let server = Server::start(&mocks, "").await;
        let idle = server.rss();
        let phone = Arc::new(Phone::start(PhoneConfig::default()).await.unwrap());
        let mut request = LoadRequest::to(&server.uri, n, vec![Arc::new(utterance())]);
        request.ramp_per_second = 10.0;
        request.lasting = lasting;
        let running = tokio::spawn(load::run(phone, request));
        // CPU and memory are those of the time in which every call is up and talks.
        tokio::time::sleep(Duration::from_secs_f64(n as f64 / 10.0) + SETTLE).await;
        let (begun, cpu) = (Instant::now(), server.cpu());
        tokio::time::sleep(lasting.saturating_sub(SETTLE * 2)).await;
        let (took, used) = (begun.elapsed(), server.cpu() - cpu);
        let rss = server.rss();
        let report = running.await.unwrap();
        print(n, &report, used.as_secs_f64() / took.as_secs_f64(), rss.saturating_sub(idle));
        println!("       {}", server.told());
        for failure in &report.failures {
            println!("       failure: {failure}");
        }
    }
}

fn print(n: usize, report: &LoadReport, cores: f64, bytes: u64) {
    println!(
        "{n:>6} {:>9} {:>7} {:>9.0} {:>9.0} {:>9.0} {:>6} {:>9.2} {:>9.2} {:>8.3}% {:>9.2}",
        report.utterances,
        report.missed,
        report.response.p50,
        report.response.p99,
        report.response.max,
        report.lost,
        report.pacing_p50_ms,
        report.pacing_p99_ms,
        cores * 100.0 / n as f64,
        bytes as f64 / 1e6 / n as f64
    );
}
