//! Replies prepared before the end of a turn is sure: what they save when they were right, what they
//! cost when they were not, and that nothing of a wrong one is ever spoken.

use std::time::{Duration, Instant};

use trunkline::sim::providers::{MockProviders, MockStage, Recognise, Script, What};
use trunkline::softphone::{CallRequest, Phone, PhoneCall, PhoneConfig};

use super::handover::utterance;
use super::server::Server;
use super::summary;

const LIMIT: Duration = Duration::from_secs(20);
/// From the request to the first token: what a hit saves.
/// No more than the end-of-turn wait leaves after the transcript.
const FIRST_TOKEN: Duration = Duration::from_millis(200);
/// Pause within what the caller says: after voice activity detection's 200 ms and the transcript's 50
/// the reply is prepared, and the end-of-turn wait of 500 ms is not over.
const PAUSE: Duration = Duration::from_millis(350);
/// Every so many turns the caller goes on after such a pause.
const MISS_EVERY: usize = 4;

/// How far a reply is prepared.
const MODES: [&str; 3] = ["off", "llm", "llm_and_tts"];

struct Turn {
    /// Whether the caller went on after a pause.
    paused: bool,
    gap_ms: f64,
    requests: usize,
    /// Sentences spoken that answer less than what the caller said.
    wrong: usize,
}

pub async fn run(turns: usize) {
    println!(
        "\nreplies prepared before the end of the turn, {turns} turns each, three calls at once on servers of \
         their own, PCMU, model {} ms to its first token, every {MISS_EVERY}. turn goes on after {} ms",
        FIRST_TOKEN.as_millis(),
        PAUSE.as_millis()
    );
    println!(
        "{:<12} {:>6} {:>6} {:>8} {:>6} {:>22} {:>22}",
        "mode", "hits", "misses", "requests", "wrong", "gap p50 / p99, plain", "after a pause"
    );
    let calls = MODES.map(|mode| tokio::spawn(call(mode, turns)));
    for call in calls {
        println!("{}", call.await.unwrap());
    }
}

/// One call of a mode, as a row.
async fn call(mode: &str, turns: usize) -> String {
    let mut script = Script::default();
    script.llm.first_token = FIRST_TOKEN;
    script.llm.replies = vec!["You said {said}. I will note it down for you.".to_owned()];
    script.tts.per_char = Duration::from_millis(20);
    let words = (0..turns).flat_map(|n| {
        let (first, rest) = words(n);
        std::iter::once(first).chain(goes_on(n).then_some(rest))
    });
    script.stt.recognise = Recognise::Scripted(words.collect());
    let mocks = MockProviders::start(script).await.unwrap();
    let server = Server::speculating(&mocks, mode).await;
    let phone = Phone::start(PhoneConfig::default()).await.unwrap();
    let call = phone.call(CallRequest::to(&server.uri)).await.unwrap();
    call.answered(LIMIT).await.unwrap();
    let mut done = Vec::new();
    for n in 0..turns {
        done.push(turn(&call, &mocks, n).await);
    }
    call.hang_up().await.unwrap();
    let id = server.newest_call().await;
    let latency = server.get(&format!("/v1/calls/{id}?include=latency")).await;
    let count = |name: &str| find(&latency, name).unwrap_or(0);
    let gaps = |paused: bool| {
        let gaps = done.iter().filter(|turn| turn.paused == paused).map(|turn| turn.gap_ms);
        let (p50, p99, _) = summary(gaps.collect());
        format!("{p50:.0} / {p99:.0} ms")
    };
    format!(
        "{mode:<12} {:>6} {:>6} {:>8} {:>6} {:>22} {:>22}",
        count("speculative_hits"),
        count("speculative_misses"),
        done.iter().map(|turn| turn.requests).sum::<usize>(),
        done.iter().map(|turn| turn.wrong).sum::<usize>(),
        gaps(false),
        gaps(true),
    )
}

/// A number anywhere in a document.
fn find(document: &serde_json::Value, name: &str) -> Option<u64> {
    match document {
        serde_json::Value::Object(fields) => fields
            .get(name)
            .and_then(serde_json::Value::as_u64)
            .or_else(|| fields.values().find_map(|value| find(value, name))),
        serde_json::Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}

/// What the caller says in a turn, and after the pause if there is one.
fn words(n: usize) -> (String, String) {
    let name = |n: usize| NAMES[n % NAMES.len()];
    let (one, other) = (name(n), name(n / NAMES.len()));
    (format!("item {one} {other}"), format!("and also {one}"))
}

/// Words that no voice has to be told how to say.
const NAMES: [&str; 12] = [
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett",
    "kilo", "lima",
];

fn goes_on(n: usize) -> bool {
    n % MISS_EVERY == MISS_EVERY - 1
}

async fn turn(call: &PhoneCall, mocks: &MockProviders, n: usize) -> Turn {
    let mut speech = utterance();
    // Silence around the words would be a pause of its own.
    let loud = |sample: &i16| sample.unsigned_abs() > 500;
    let end = speech.samples.iter().rposition(loud).unwrap();
    speech.samples.truncate(end);
    let begin = speech.samples.iter().position(loud).unwrap();
    speech.samples.drain(..begin);
    let begun = Instant::now();
    let (first, rest) = words(n);
    let mut said = call.say(&speech).await.unwrap();
    let mut whole = first.clone();
    if goes_on(n) {
        tokio::time::sleep_until((said.last_audible.unwrap() + PAUSE).into()).await;
        said = call.say(&speech).await.unwrap();
        whole = format!("{first} {rest}");
    }
    let reply = call.hear_reply(LIMIT).await.unwrap();
    let log = mocks.log.entries();
    let mine = || log.iter().filter(|entry| entry.at >= begun);
    let requests = mine().filter(|entry| entry.what == What::LlmRequest).count();
    let about = format!("You said {whole}.");
    let mut spoken = mine().filter_map(|entry| match (&entry.stage, &entry.what) {
        (MockStage::Tts, What::TtsText(text)) if text.starts_with("You said") => Some(text),
        _ => None,
    });
    // With a voice that prepares too, the wrong words reach the voice; the line's own gap tells whether
    // they were heard: they would have come before the caller was done.
    let heard_early = reply.began_at < said.last_audible.unwrap();
    let wrong =
        usize::from(heard_early) + spoken.next_back().map_or(1, |text| usize::from(*text != about));
    let gap = reply.began_at.saturating_duration_since(said.last_audible.unwrap());
    Turn { paused: goes_on(n), gap_ms: gap.as_secs_f64() * 1_000.0, requests, wrong }
}
