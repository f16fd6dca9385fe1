//! Forty calls in which something sounds while the agent speaks: who wants the floor gets it at once, and
//! nothing else costs the agent a word. Everything is measured in the stereo recording.
//!
//! The agent's voice is real, and so are the callers' words (espeak-ng); coughs, doors and tones are made
//! here. The recogniser is a script that knows the words of the case.

use std::sync::Arc;

use tokio::sync::Semaphore;
use trunkline::audio::noise::ComfortNoise;
use trunkline::config::{Config, sections};
use trunkline::providers::config::ProviderKind;
use trunkline::sim::providers::{MockProviders, Recognise, Script};

use crate::conversation::Talk;
use crate::endpointing::speak;
use crate::support::line::Echo;
use crate::support::server::{self, Server};
use crate::support::{has_program, sound};

const GREETING: &str = "Welcome to the riverside bistro. We are open from Tuesday to Sunday, and our \
    kitchen closes at ten in the evening. You may book a table, change a booking, or ask me for the way.";
/// Calls at once: as many as two busy cores carry in a debug build.
const CALLS_AT_ONCE: usize = 5;
/// From the onset of the caller to the agent's last sound, milliseconds: the median and the worst.
const YIELD_P50_MS: i64 = 120;
const YIELD_MAX_MS: i64 = 250;
/// Tries of a case: a machine that stands still for a moment spoils one.
const TRIES: usize = 3;
/// Time that the placing of packets in the recording may add between two of them, milliseconds.
const HOLE_MAX_MS: i64 = 100;
/// Packets of a sentence that a pause and its fades may touch.
const FADED_MAX: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Wants the floor.
    True,
    Cough,
    Acknowledgement,
    Noise,
    Tone,
    Echo,
}

/// What sounds, and when.
#[derive(Clone)]
struct Case {
    kind: Kind,
    name: String,
    sound: Vec<i16>,
    /// After so much of the agent's sound, milliseconds.
    after_ms: usize,
    echo: Option<Echo>,
}

/// What a call showed.
#[derive(Debug)]
struct Seen {
    /// From the caller's onset to the agent's last sound.
    yielded_ms: Option<i64>,
    interrupted: bool,
    /// Of the greeting's loud packets, those that never sounded.
    lost: usize,
    /// Longest hole that the agent's sentence got.
    hole_ms: i64,
}

fn louder(mut samples: Vec<i16>, db: f32) -> Vec<i16> {
    let gain = 10_f32.powf(db / 20.0);
    samples.iter_mut().for_each(|sample| *sample = (f32::from(*sample) * gain) as i16);
    samples
}

/// Noise that swells within 10 ms and dies away, `bursts` times.
fn burst(length_ms: usize, dbfs: f32, bursts: usize, seed: u32) -> Vec<i16> {
    let mut all = Vec::new();
    for n in 0..bursts {
        let mut samples = vec![0; length_ms * 8];
        ComfortNoise::new(dbfs, seed + n as u32).fill(&mut samples);
        let length = samples.len() as f32;
        for (at, sample) in samples.iter_mut().enumerate() {
            let at = at as f32;
            let shape = (at / 80.0).min(1.0) * (-4.0 * at / length).exp();
            *sample = (f32::from(*sample) * shape) as i16;
        }
        all.extend(samples);
        all.resize(all.len() + 8 * 150, 0);
    }
    all
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |kind, name: &str, sound, after_ms, echo| {
        cases.push(Case { kind, name: name.to_owned(), sound, after_ms, echo });
    };
    let speaker = |delay_ms, db| Some(Echo { delay_ms, db });
    let wishes = [
        ("en", "Wait, I have another question."),
        ("en", "Can I talk to a human being please?"),
        ("en-us", "No, that is not what I want."),
        ("en-us", "Hold on a moment."),
        ("en-gb", "Actually I would like to cancel my booking."),
    ];
    for (n, (language, words)) in wishes.iter().enumerate() {
        let voice = || speak(language, words);
        add(Kind::True, &format!("early: {words}"), voice(), 200, None);
        add(Kind::True, &format!("late: {words}"), voice(), 5_000 + 300 * n, None);
        add(Kind::True, &format!("soft: {words}"), louder(voice(), -10.0), 1_500, None);
        add(Kind::True, &format!("over an echo: {words}"), voice(), 2_500, speaker(160, -20.0));
    }
    for (n, (length, level, bursts)) in
        [(180, -12.0, 1), (140, -18.0, 2), (220, -15.0, 1), (120, -10.0, 3)].into_iter().enumerate()
    {
        add(Kind::Cough, "cough", burst(length, level, bursts, n as u32), 900 + 1_100 * n, None);
    }
    for (n, words) in ["mm-hmm.", "okay.", "uh-huh.", "yeah."].into_iter().enumerate() {
        let sound = speak("en", words);
        add(Kind::Acknowledgement, words, sound, 700 + 1_200 * n, None);
    }
    add(Kind::Noise, "a door", burst(60, -8.0, 1, 40), 1_300, None);
    add(Kind::Noise, "typing", burst(25, -22.0, 12, 41), 2_000, None);
    let mut hiss = vec![0; 8 * 1_500];
    ComfortNoise::new(-28.0, 42).fill(&mut hiss);
    add(Kind::Noise, "hiss for 1.5 s", hiss, 1_000, None);
    for (n, hz) in [425.0, 1_000.0, 1_400.0].into_iter().enumerate() {
        add(Kind::Tone, &format!("a tone of {hz} Hz"), sound::tone(hz, 900), 800 + 1_500 * n, None);
    }
    for (delay_ms, db) in
        [(40, -20.0), (120, -20.0), (240, -20.0), (400, -20.0), (600, -20.0), (180, -14.0)]
    {
        add(Kind::Echo, "echo", Vec::new(), 0, speaker(delay_ms, db));
    }
    cases
}

/// What the recogniser makes of a case.
fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::True => "wait I have another question",
        Kind::Acknowledgement => "mm-hm",
        Kind::Cough | Kind::Noise | Kind::Tone => "",
        Kind::Echo => "we are open from Tuesday to Sunday",
    }
}

/// A server whose recogniser hears these words in everything.
async fn listening_for(words: &str) -> (MockProviders, Server) {
    let mut script = Script::default();
    script.stt.recognise = Recognise::Scripted(vec![words.to_owned()]);
    let models = MockProviders::start(script).await.expect("mock servers");
    let server = Server::with(|config| configure(config, &models)).await;
    (models, server)
}

fn configure(config: &mut Config, models: &MockProviders) {
    let ear = sections::Provider {
        kind: ProviderKind::Deepgram,
        base_url: models.stt_url.clone(),
        model: "nova".to_owned(),
        ..sections::Provider::default()
    };
    config.providers.insert("ear".to_owned(), ear);
    // The greeting is the same sound in every call, and costs no synthesis in any.
    config.tts_cache.memory_bytes_max = 16 << 20;
    let agent = server::agent(config);
    agent.stt.provider = "ear".to_owned();
    agent.turn.greeting.text = GREETING.to_owned();
    agent.turn.inactivity.prompt_after_ms = 60_000;
}

/// What the agent says if nobody disturbs it: twice the same, so that no stall of the machine is in it.
async fn undisturbed(server: &Server) -> Vec<i16> {
    let mut before: Option<Vec<i16>> = None;
    for attempt in 0..8 {
        let now = undisturbed_once(server, &format!("whole{attempt}")).await;
        if before.as_ref().is_some_and(|before| missing(before, &now).0 <= 1) {
            return now;
        }
        before = Some(now);
    }
    panic!("no two undisturbed calls sound the same");
}

async fn undisturbed_once(server: &Server, user: &str) -> Vec<i16> {
    let talk = Talk::begin(server, user).await;
    let (record, _) = talk.finish(server).await;
    let [_, right] = server.recording(&record);
    let begin = sound::next_loud(&right, 0).expect("a greeting");
    let end = sound::last_loud(&right, right.len()).expect("a greeting");
    right[begin..end].to_vec()
}

async fn run(server: &Server, user: &str, case: &Case, whole: &[i16]) -> Seen {
    let mut talk = Talk::dial(server, user).await;
    if let Some(echo) = case.echo {
        talk.line.echo(echo);
    }
    if !case.sound.is_empty() {
        talk.line.hears(0, case.after_ms.max(20)).await;
        talk.line.say(&case.sound);
    }
    talk.agent_finishes().await;
    let (record, turns) = talk.finish(server).await;
    let [left, right] = server.recording(&record);
    let onset = match case.echo {
        None => sound::next_loud(&left, 0),
        Some(_) => Some(louder_than_echo(&left, &case.sound)),
    };
    let greeting = turns.first().expect("the greeting");
    let begin = sound::next_loud(&right, 0).expect("the agent is recorded");
    let onset = onset.filter(|_| !case.sound.is_empty());
    let yielded_ms = onset.map(|onset| {
        // The first 200 ms without sound after the onset.
        let quiet = |at: &usize| sound::loud_ms(&right[*at..right.len().min(at + 1_600)]) == 0;
        let silent = (onset..right.len()).step_by(40).find(quiet).unwrap_or(right.len());
        (silent as i64 - onset as i64) / 8
    });
    let (lost, hole_ms) = missing(whole, &right[begin..]);
    Seen { yielded_ms, interrupted: greeting.interrupted, lost, hole_ms }
}

/// Where the caller's own words begin over an echo 20 dB below them.
fn louder_than_echo(left: &[i16], said: &[i16]) -> usize {
    let loud = sound::rms(&said[..said.len().min(4_000)]) / 3.0;
    let mut starts = (0..left.len().saturating_sub(160)).step_by(40);
    starts.find(|at| sound::rms(&left[*at..at + 160]) > loud).unwrap_or(left.len())
}

/// Loud packets of `whole` that do not sound in `heard` in their order, and the longest hole between two.
fn missing(whole: &[i16], heard: &[i16]) -> (usize, i64) {
    let (mut lost, mut hole, mut from) = (0, 0, 0);
    for packet in whole.chunks_exact(sound::FRAME) {
        if sound::rms(packet) <= sound::LOUD {
            from += sound::FRAME.min(heard.len() - from);
            continue;
        }
        let end = heard.len().min(from + 8 * 6_000);
        match heard[from..end].windows(sound::FRAME).position(|window| window == packet) {
            Some(at) => {
                hole = hole.max(at as i64 / 8);
                from += at + sound::FRAME;
            }
            None => lost += 1,
        }
    }
    (lost, hole)
}

fn is_right(case: &Case, seen: &Seen) -> bool {
    match case.kind {
        Kind::True => {
            seen.interrupted && seen.yielded_ms.is_some_and(|ms| (0..=YIELD_MAX_MS).contains(&ms))
        }
        // Not even a stutter.
        Kind::Echo => !seen.interrupted && seen.lost <= FADED_MAX && seen.hole_ms <= HOLE_MAX_MS,
        _ => !seen.interrupted && seen.lost <= FADED_MAX,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_the_floor_gets_it_and_nothing_else_costs_a_word() {
    if !has_program("espeak-ng") {
        return;
    }
    let cases = cases();
    assert_eq!(cases.len(), 40);
    let places = Arc::new(Semaphore::new(CALLS_AT_ONCE));
    let mut tasks = tokio::task::JoinSet::new();
    let mut servers = Vec::new();
    for kind in [Kind::True, Kind::Acknowledgement, Kind::Noise, Kind::Echo] {
        let (models, server) = listening_for(words(kind)).await;
        let whole = Arc::new(undisturbed(&server).await);
        servers.push((words(kind), models, Arc::new(server), whole));
    }
    for (n, case) in cases.into_iter().enumerate() {
        let of = servers.iter().find(|(words, ..)| *words == self::words(case.kind));
        let (_, _, server, whole) = of.expect("a server");
        let (server, whole, places) = (server.clone(), whole.clone(), places.clone());
        tasks.spawn(async move {
            let _place = places.acquire_owned().await.expect("open");
            let mut tries = Vec::new();
            for attempt in 0..TRIES {
                let seen = run(&server, &format!("case{n}-{attempt}"), &case, &whole).await;
                let right = is_right(&case, &seen);
                tries.push(seen);
                if right {
                    break;
                }
            }
            (n, case, tries)
        });
    }
    let mut rows = tasks.join_all().await;
    rows.sort_by_key(|(n, ..)| *n);
    let mut yields = Vec::new();
    let mut wrong = Vec::new();
    eprintln!(
        "{:<16} {:<52} {:>9} {:>11} {:>5} {:>8} {:>5}",
        "kind", "sound", "yields ms", "interrupted", "lost", "hole ms", "tries"
    );
    for (_, case, tries) in &rows {
        let seen = tries.last().expect("a call");
        let row = format!(
            "{:<16} {:<52} {:>9} {:>11} {:>5} {:>8} {:>5}",
            format!("{:?}", case.kind),
            case.name,
            seen.yielded_ms.map_or(String::new(), |ms| ms.to_string()),
            seen.interrupted,
            seen.lost,
            seen.hole_ms,
            tries.len()
        );
        eprintln!("{row}");
        if !is_right(case, seen) {
            wrong.push(row);
        }
        if case.kind == Kind::True {
            yields.extend(seen.yielded_ms);
        }
    }
    yields.sort_unstable();
    let p50 = yields[yields.len() / 2];
    let max = yields.last().copied().unwrap_or(0);
    eprintln!("true interruptions: silent after p50 {p50} ms, max {max} ms");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(p50 <= YIELD_P50_MS && max <= YIELD_MAX_MS, "{yields:?}");
}
