//! How many calls one media thread carries: real sockets, real time, every caller and agent talking,
//! recorded. Adds calls until packets miss their deadline, and prints a table.
//!
//! `cargo bench --bench calls` takes about 25 s; `CALLS_SECONDS=30` measures each step longer,
//! `CALLS_FIFO=20` gives the media thread real-time priority. The callers' packets come from this process
//! too, on another thread, so on two cores the numbers are low.
//!
//! A shared virtual machine stands still now and then, whatever the load: a step that misses is tried
//! again, at most [`TRIES`] times, and the table shows every attempt.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench fails by panicking"
)]

#[path = "support/line.rs"]
#[expect(dead_code, reason = "the wire is a real one here")]
mod line;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use line::{Packets, Sound};
use trunkline::engine::lateness::BOUNDS_US;
use trunkline::engine::{self, Handle, Ports, Recording, Stream, StreamSeed, TapReader};
use trunkline::media::{Frame, MediaCommand, PlayoutFrame, StreamFormat};
use trunkline::net::clock;
use trunkline::types::{CallId, CodecName, Entropy, Generation};

/// Calls tried, one number after the other.
const STEPS: [usize; 9] = [25, 50, 100, 150, 200, 300, 400, 600, 800];
/// A packet that leaves later than this missed its deadline: a quarter of its interval.
const DEADLINE_US: u64 = 5_000;
/// Share of packets that may.
const MISSES_MAX: f64 = 0.001;

/// Attempts at one step.
const TRIES: usize = 4;

struct Call {
    stream: Stream,
    tap: TapReader,
}

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it runs.
    let test = std::env::args().any(|argument| argument == "--test");
    let seconds = std::env::var("CALLS_SECONDS").ok().and_then(|text| text.parse().ok());
    let window = Duration::from_secs(if test { 1 } else { seconds.unwrap_or(3) });
    let steps = if test { &STEPS[..1] } else { &STEPS[..] };
    println!(
        "| calls | packets out | p50 late | p99 | p99.9 | over 5 ms | thread's CPU | a frame |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut best = 0;
    'steps: for &count in steps {
        for _ in 0..TRIES {
            if step(count, window) < MISSES_MAX {
                best = count;
                continue 'steps;
            }
        }
        break;
    }
    println!(
        "\nOne media thread carries {best} talking, recorded calls with < 0.1 % deadline misses."
    );
}

/// Runs `count` calls; returns the share of packets that missed their deadline.
fn step(count: usize, window: Duration) -> f64 {
    let engine = start();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut calls: Vec<Call> = (0..count).map(|n| attach(&engine, n as u64, &socket)).collect();
    let targets: Vec<SocketAddr> = calls.iter().map(|call| call.stream.local_rtp).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let callers = std::thread::spawn(move || talk(&socket, &targets, &stopped));
    // Two seconds to settle: speech detection has learned the line, jitter buffers are filled.
    serve(&mut calls, Duration::from_secs(2));
    let (before, skipped, cpu) = (engine.lateness(), engine.counters().skipped, media_cpu());
    let began = clock::now();
    serve(&mut calls, window);
    let (after, cpu) = (engine.lateness(), media_cpu() - cpu);
    let elapsed = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    callers.join().unwrap();
    let mut late = after;
    late.buckets.iter_mut().zip(before.buckets).for_each(|(now, then)| *now -= then);
    let punctual: u64 = late
        .buckets
        .iter()
        .zip(BOUNDS_US)
        .filter(|(_, us)| *us <= DEADLINE_US)
        .map(|(n, _)| n)
        .sum();
    // What was never sent because the thread was too late for it is a miss as well.
    let due = (late.count() + engine.counters().skipped - skipped).max(1);
    let misses = (due - punctual) as f64 / due as f64;
    let heard = engine.counters().packets_received;
    assert!(heard > 0, "no caller was heard");
    let quantile = |share| match late.quantile_us(share) {
        Some(us) => format!("≤ {} ms", us as f64 / 1_000.0),
        None => "> 100 ms".to_owned(),
    };
    println!(
        "| {count} | {} | {} | {} | {} | {:.3} % | {:.0} % | {:.1} µs |",
        late.count(),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        misses * 100.0,
        cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
        cpu.as_secs_f64() * 1e6 / late.count().max(1) as f64,
    );
    misses
}

fn start() -> Handle {
    let config = engine::Config {
        threads: NonZeroUsize::new(1),
        bind_ip: Ipv4Addr::LOCALHOST.into(),
        ports: Ports::Any,
        sched_fifo: std::env::var("CALLS_FIFO").ok().and_then(|text| text.parse().ok()),
        ..engine::Config::default()
    };
    engine::start(config).unwrap()
}

fn attach(engine: &Handle, n: u64, caller: &UdpSocket) -> Call {
    let mut entropy = Entropy::seeded(n);
    let call = CallId::new(n, &mut entropy);
    let media = trunkline::media::Config::default();
    let seed = StreamSeed { call, media, recording: Recording::On, entropy };
    let mut stream = engine.attach(seed).unwrap();
    let remote = caller.local_addr().unwrap();
    let format =
        StreamFormat { remote_rtp: remote, remote_rtcp: remote, ..line::format(CodecName::Pcmu) };
    stream.command(MediaCommand::Configure(format)).unwrap();
    let tap = stream.take_tap().unwrap();
    Call { stream, tap }
}

/// The callers: each sends its packet every 20 ms, spread over the interval. What comes back is left
/// in the socket, where the kernel drops it.
fn talk(socket: &UdpSocket, targets: &[SocketAddr], stop: &AtomicBool) {
    let mut callers: Vec<Packets> =
        targets.iter().map(|_| Packets::new(CodecName::Pcmu, Sound::Speech)).collect();
    let began = clock::now();
    for slot in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let due = began + Duration::from_millis(1) * slot;
        while let Some(wait) = due.checked_duration_since(clock::now()).filter(|w| !w.is_zero()) {
            std::thread::park_timeout(wait);
        }
        let mine = callers.iter_mut().zip(targets).skip(slot as usize % 20).step_by(20);
        for (caller, target) in mine {
            let _ = socket.send_to(caller.next(), target);
        }
    }
}

/// The calls' tasks: read what was heard and recorded, and always have something to say.
fn serve(calls: &mut [Call], duration: Duration) {
    let frame = Frame::new(&line::speech()[..160]);
    let end = clock::now() + duration;
    while clock::now() < end {
        for call in calls.iter_mut() {
            while call.stream.events.try_recv().is_some() {}
            while call.tap.try_recv().is_some() {}
            while call.stream.playout.free_frames() > 0 {
                let next = PlayoutFrame { frame, generation: Generation(1), last: false };
                if call.stream.playout.push(next).is_err() {
                    break;
                }
            }
        }
        std::thread::park_timeout(Duration::from_millis(40));
    }
}

/// CPU time of all media threads of this process that are alive.
fn media_cpu() -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        if read("comm").starts_with("media-") {
            let stat = read("stat");
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            // utime and stime are fields 14 and 15 of proc(5), the 12th and 13th behind the name.
            ticks += fields.skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Duration::from_millis(ticks * 10)
}
