//! How many calls one media thread carries: real sockets, real time, every caller and agent talking,
//! recorded. Adds calls until packets miss their deadline, and prints a table.
//!
//! `cargo bench --bench calls` takes about 25 s; `CALLS_SECONDS=30` measures each step longer,
//! `CALLS_FIFO=20` gives the media thread real-time priority. The callers' packets come from this process
//! too, on another thread, so on two cores the numbers are low.
//!
//! `cargo bench --bench calls -- lines` measures what one call of each kind of line costs instead: `LINES_CALLS` (50)
//! calls at once, PCMU beside SRTP, G.722 and Opus.
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
use trunkline::rtp::srtp;
use trunkline::types::{CallId, CodecName, Entropy, Generation, SrtpKey, SrtpKeys, SrtpSuite};

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

/// What the calls of one run speak.
#[derive(Clone, Copy)]
struct Line {
    codec: CodecName,
    srtp: Option<SrtpSuite>,
}

const PLAIN: Line = Line { codec: CodecName::Pcmu, srtp: None };

/// Lines compared with each other.
const LINES: [Line; 7] = [
    PLAIN,
    Line { srtp: Some(SrtpSuite::AesCm128HmacSha1_80), ..PLAIN },
    Line { srtp: Some(SrtpSuite::Aes256CmHmacSha1_80), ..PLAIN },
    Line { srtp: Some(SrtpSuite::AeadAes128Gcm), ..PLAIN },
    Line { codec: CodecName::G722, srtp: None },
    Line { codec: CodecName::Opus, srtp: None },
    Line { codec: CodecName::Opus, srtp: Some(SrtpSuite::AeadAes128Gcm) },
];
/// Calls at once while lines are compared.
const LINE_CALLS: usize = 50;

/// What a run showed.
struct Run {
    /// Share of packets that missed their deadline.
    misses: f64,
    /// Of one core, for one call.
    cpu_percent: f64,
    /// For a frame in and one out.
    frame_us: f64,
}

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it runs.
    let test = std::env::args().any(|argument| argument == "--test");
    let window = Duration::from_secs(if test { 1 } else { number("CALLS_SECONDS", 3) });
    if std::env::args().any(|argument| argument == "lines") {
        return compare(if test { 2 } else { number("LINES_CALLS", LINE_CALLS) }, window);
    }
    let steps = if test { &STEPS[..1] } else { &STEPS[..] };
    println!(
        "| calls | packets out | p50 late | p99 | p99.9 | over 5 ms | thread's CPU | a frame |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut best = 0;
    'steps: for &count in steps {
        for _ in 0..TRIES {
            if step(count, PLAIN, window).misses < MISSES_MAX {
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

fn number<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Every kind of line in turn, twice: how far the two are apart is what the machine adds.
fn compare(count: usize, window: Duration) {
    let mut runs = Vec::new();
    for _ in 0..2 {
        runs.push(LINES.map(|line| step(count, line, window)));
    }
    println!(
        "\n| line, {count} calls | CPU a call, of a core | beside PCMU | a frame in and one out |"
    );
    println!("|---|---|---|---|");
    for (n, line) in LINES.iter().enumerate() {
        let name = match line.srtp {
            None => format!("{:?}", line.codec),
            Some(suite) => format!("{:?}, {}", line.codec, suite.name()),
        };
        let all = |of: fn(&Run) -> f64| runs.iter().map(|run| of(&run[n])).collect::<Vec<_>>();
        let (cpu, frame) = (all(|run| run.cpu_percent), all(|run| run.frame_us));
        let beside: Vec<f64> =
            runs.iter().map(|run| run[n].cpu_percent / run[0].cpu_percent).collect();
        println!(
            "| {name} | {:.3} %, {:.3} % | {:.2}, {:.2} | {:.1} µs, {:.1} µs |",
            cpu[0], cpu[1], beside[0], beside[1], frame[0], frame[1]
        );
    }
}

/// Runs `count` calls.
fn step(count: usize, line: Line, window: Duration) -> Run {
    let engine = start();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut calls: Vec<Call> =
        (0..count).map(|n| attach(&engine, n as u64, line, &socket)).collect();
    let targets: Vec<SocketAddr> = calls.iter().map(|call| call.stream.local_rtp).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let callers = std::thread::spawn(move || talk(&socket, line, &targets, &stopped));
    // Two seconds to settle: speech detection has learned the line, jitter buffers are filled.
    serve(&mut calls, line, Duration::from_secs(2));
    let (before, skipped, cpu) = (engine.lateness(), engine.counters().skipped, media_cpu());
    let began = clock::now();
    serve(&mut calls, line, window);
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
    let frame_us = cpu.as_secs_f64() * 1e6 / late.count().max(1) as f64;
    let cpu_percent = cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0;
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
        cpu_percent,
        frame_us,
    );
    Run { misses, cpu_percent: cpu_percent / count as f64, frame_us }
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

fn attach(engine: &Handle, n: u64, line: Line, caller: &UdpSocket) -> Call {
    let mut entropy = Entropy::seeded(n);
    let call = CallId::new(n, &mut entropy);
    let media = trunkline::media::Config::default();
    let seed = StreamSeed { call, media, recording: Recording::On, entropy };
    let mut stream = engine.attach(seed).unwrap();
    let remote = caller.local_addr().unwrap();
    let format = StreamFormat {
        remote_rtp: remote,
        remote_rtcp: remote,
        srtp: line.srtp.map(|suite| SrtpKeys { send: key(suite), receive: key(suite) }),
        dtls: None,
        ice: None,
        ..line::format(line.codec)
    };
    stream.command(MediaCommand::Configure(format)).unwrap();
    let tap = stream.take_tap().unwrap();
    Call { stream, tap }
}

/// The same for everybody: what it costs does not depend on it.
fn key(suite: SrtpSuite) -> SrtpKey {
    SrtpKey::generate(suite, &mut Entropy::seeded(1))
}

/// The callers: each sends its packet every 20 ms, spread over the interval. What comes back is left
/// in the socket, where the kernel drops it.
fn talk(socket: &UdpSocket, line: Line, targets: &[SocketAddr], stop: &AtomicBool) {
    let caller = || {
        let protection = line.srtp.map(|suite| srtp::Sender::new(key(suite)).unwrap());
        (Packets::new(line.codec, Sound::Speech), protection)
    };
    let mut callers: Vec<_> = targets.iter().map(|_| caller()).collect();
    let mut sealed = [0; 1_024];
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
        for ((packets, protection), target) in mine {
            let plain = packets.next();
            let datagram = match protection {
                None => plain,
                Some(sender) => {
                    sealed[..plain.len()].copy_from_slice(plain);
                    let len = sender.protect(&mut sealed, plain.len()).unwrap();
                    &sealed[..len]
                }
            };
            let _ = socket.send_to(datagram, target);
        }
    }
}

/// The calls' tasks: read what was heard and recorded, and always have something to say.
fn serve(calls: &mut [Call], line: Line, duration: Duration) {
    let narrow = line::speech();
    let twice = line.codec.sample_rate().hz() as usize / 8_000;
    let samples: Vec<i16> =
        narrow[..160].iter().flat_map(|s| std::iter::repeat_n(*s, twice)).collect();
    let frame = Frame::new(&samples);
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
