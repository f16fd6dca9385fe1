//! What voices said is kept: a greeting that was said once, or made beforehand, needs no voice and no wait.

use std::time::{Duration, Instant};

use trunkline::audio::g711;
use trunkline::call::TtsCacheConfig;
use trunkline::config::{Config, sections};
use trunkline::net::clock;
use trunkline::providers::config::ProviderKind;
use trunkline::sim::providers::{MockProviders, Script, What};
use trunkline::sip::Transport;
use trunkline::types::{CallRecord, TurnRecord, UsageKind};

use crate::support::line::{Heard, Line};
use crate::support::peer::Caller;
use crate::support::server::{self, Server};
use crate::support::{sound, wait};

/// How long the voice thinks: far longer than anything a kept sentence may need, on a busy machine too.
const SLOW: Duration = Duration::from_millis(1_200);
const GREETING: &str = "Welcome to the bistro.";

async fn slow_voice() -> MockProviders {
    let mut script = Script::default();
    script.tts.first_audio = SLOW;
    script.tts.per_char = Duration::from_millis(20);
    MockProviders::start(script).await.expect("mock servers")
}

fn configure(config: &mut Config, models: &MockProviders, cache: TtsCacheConfig) {
    let mouth = sections::Provider {
        kind: ProviderKind::Deepgram,
        base_url: models.tts_url.clone(),
        model: "aura".to_owned(),
        ..sections::Provider::default()
    };
    config.providers.insert("mouth".to_owned(), mouth);
    config.tts_cache = cache;
    config.call.watchdog.tts_first_audio_ms = 10_000;
    let agent = server::agent(config);
    agent.tts.provider = "mouth".to_owned();
    agent.turn.greeting.text = GREETING.to_owned();
    agent.turn.tts_timeout_ms = 10_000;
    agent.turn.inactivity.prompt_after_ms = 60_000;
}

fn asked(models: &MockProviders) -> usize {
    models.log.count(|entry| matches!(entry.what, What::TtsText(_)))
}

fn is_loud(packet: &Heard) -> bool {
    let samples: Vec<i16> = packet.payload.iter().map(|octet| g711::decode_ulaw(*octet)).collect();
    packet.kind & 0x7f == 0 && sound::rms(&samples) > sound::LOUD
}

/// A call that hears the greeting: from the ACK to the first packet that is heard, and what is on record.
async fn greeted(server: &Server, user: &str) -> (Duration, CallRecord, TurnRecord) {
    let line = Line::new().await;
    let mut caller = Caller::new(server, Transport::Udp, user).await;
    let ok = caller.call(line.local).await;
    let acknowledged: Instant = clock::now();
    line.connect(ok.media());
    line.hears(0, 200).await;
    let first = line.heard().into_iter().find(is_loud).expect("a loud packet");
    let id = server.call_to(user).await.id;
    caller.hang_up().await;
    let record = server.ended(id).await;
    let turn = server.turns(id).await.into_iter().next().expect("the greeting");
    (first.at.saturating_duration_since(acknowledged), record, turn)
}

fn characters(record: &CallRecord) -> f64 {
    record.usage.iter().filter(|own| own.kind == UsageKind::Tts).map(|own| own.quantity).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_that_was_said_once_plays_with_the_acknowledgement() {
    let models = slow_voice().await;
    let cache = TtsCacheConfig { prewarm: false, ..TtsCacheConfig::default() };
    let server = Server::with(|config| configure(config, &models, cache)).await;

    let (wait, record, turn) = greeted(&server, "first").await;
    let latency = turn.latency.expect("an agent's turn");
    assert!(wait >= SLOW, "the voice took its time: {wait:?}");
    assert_eq!(latency.cache_hit, Some(false));
    assert_eq!(characters(&record), GREETING.chars().count() as f64);
    // The call was cut, perhaps before the voice was done: the audio is kept once all of it came.
    let ended = |entry: &trunkline::sim::providers::Entry| entry.what == What::TtsAudioSent;
    if models.log.count(ended) == 0 {
        let line = Line::new().await;
        let mut caller = Caller::new(&server, Transport::Udp, "again").await;
        let ok = caller.call(line.local).await;
        line.connect(ok.media());
        models.log.wait(1, wait::LIMIT, ended).await.expect("a whole greeting");
        line.hears(0, 400).await;
        caller.hang_up().await;
    }

    let before = asked(&models);
    let (wait, record, turn) = greeted(&server, "second").await;
    let latency = turn.latency.expect("an agent's turn");
    println!(
        "ACK to the first audible packet: {wait:?}; on record: {:?} ms",
        latency.trigger_to_audio_ms
    );
    assert_eq!(asked(&models), before, "nobody was asked to say it");
    assert_eq!(latency.cache_hit, Some(true));
    assert_eq!(latency.tts_synthesis_ms, None);
    assert!(latency.trigger_to_audio_ms.is_some_and(|ms| ms < 300), "{latency:?}");
    assert!(wait < SLOW / 2, "from the ACK to the first audible packet: {wait:?}");
    assert_eq!(characters(&record), 0.0);
    assert_eq!(turn.content.reveal(), GREETING);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_is_made_before_the_first_call_and_survives_a_restart() {
    let models = slow_voice().await;
    let dir = tempfile::tempdir().expect("a directory");
    let cache = || TtsCacheConfig { dir: dir.path().to_owned(), ..TtsCacheConfig::default() };
    let server = Server::with(|config| configure(config, &models, cache())).await;
    let files = || {
        let entries = std::fs::read_dir(dir.path()).expect("the directory").flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "rendering")).count()
    };
    // The greeting is the first of the fixed sentences.
    wait::until("a rendering on disk", async || (files() >= 1).then_some(())).await;
    let (_, record, turn) = greeted(&server, "warm").await;
    assert_eq!(turn.latency.expect("an agent's turn").cache_hit, Some(true));
    assert_eq!(characters(&record), 0.0);
    drop(server);

    let server = Server::with(|config| configure(config, &models, cache())).await;
    let greetings = || {
        let said = |what: &What| matches!(what, What::TtsText(text) if text.contains("bistro"));
        models.log.count(|entry| said(&entry.what))
    };
    let before = greetings();
    let hit = wait::until("a greeting from disk", async || {
        let (_, _, turn) = greeted(&server, "back").await;
        (turn.latency.expect("an agent's turn").cache_hit == Some(true)).then_some(true)
    });
    assert!(hit.await);
    assert_eq!(greetings(), before, "the greeting was not synthesised again");
}
