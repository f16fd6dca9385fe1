//! Every stage times every fault, on real calls: no silence without a word, no lost call, the failover on record.
//!
//! A cell is one call to an agent whose provider of one stage fails from the beginning and never heals, with a
//! provider that works beside it. Times are taken from the recording, both sides in step.
//! `cargo test --test it faults -- --nocapture` prints the table.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use trunkline::config::{Config, sections};
use trunkline::providers::config::ProviderKind;
use trunkline::schema::engine::{Fallback, Llm, Stt, Tts};
use trunkline::sim::providers::{Fault, MockProviders, MockStage, Recognise, Script};
use trunkline::types::call::{CallStatus, TurnRole};
use trunkline::types::{CallEventKind, CallRecord, EndReason, Failover, TurnRecord};

use crate::conversation::Talk;
use crate::support::server::Server;
use crate::support::{fixture, sound};

/// Longest silence without a word, ms: the bar of the field's reliability matrix.
const SILENCE_MAX_MS: usize = 2_500;
/// Calls at once: what two cores carry in a debug build.
const CALLS: usize = 6;
/// What the caller says, as the recognisers have it.
const SAID: &str = "when are you open";
/// What the model that works says. The one that fails says [`BROKEN`].
const ANSWER: &str = "We open at nine and we close at six.";
const BROKEN: &str = "Our hours are easily told.";
/// Length of one character in the mock voices.
const PER_CHAR_MS: usize = 50;
const GREETING: &str = "Hello, this is the bistro.";
/// Later than any patience.
const LATE: Duration = Duration::from_secs(4);

/// The twelve faults. `true`: the provider's URL has TLS, which its server does not speak.
fn faults() -> [(&'static str, Fault, bool); 12] {
    [
        ("refused", Fault::Refused, false),
        ("TLS hang", Fault::Hang, true),
        ("401", Fault::Status(401), false),
        ("429", Fault::Status(429), false),
        ("500", Fault::Status(500), false),
        ("503", Fault::Status(503), false),
        ("slow first byte", Fault::SlowFirstByte(LATE), false),
        ("cut mid-stream", Fault::Cut { after: 1 }, false),
        ("stall mid-stream", Fault::Stall, false),
        ("bad JSON", Fault::BadJson, false),
        ("wrong rate", Fault::WrongRate, false),
        ("empty", Fault::Empty, false),
    ]
}

const STAGES: [(MockStage, &str); 3] =
    [(MockStage::Stt, "stt"), (MockStage::Llm, "llm"), (MockStage::Tts, "tts")];

struct Cell {
    name: String,
    stage: &'static str,
    fault: &'static str,
    broken: MockProviders,
}

fn script(reply: &str, tone_hz: f32) -> Script {
    let mut script = Script::default();
    script.stt.recognise = Recognise::Scripted(vec![SAID.to_owned()]);
    script.llm.replies = vec![reply.to_owned()];
    script.tts.tone_hz = tone_hz;
    script
}

async fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (at, stage) in STAGES {
        for (fault_name, fault, _) in faults() {
            let broken = MockProviders::start(script(BROKEN, 440.0)).await.expect("mock servers");
            broken.fault(at, fault);
            let name = format!("{stage}-{}", fault_name.replace(' ', "-"));
            cells.push(Cell { name, stage, fault: fault_name, broken });
        }
    }
    cells
}

fn provider(kind: ProviderKind, base_url: String) -> sections::Provider {
    sections::Provider { kind, base_url, voice: "v".to_owned(), ..sections::Provider::default() }
}

/// The three services of one set of mock servers, under names of their own.
fn services(config: &mut Config, name: &str, mock: &MockProviders, cell: Option<&Cell>) {
    let tls =
        cell.is_some_and(|cell| faults().iter().any(|(name, _, tls)| *tls && *name == cell.fault));
    // A rate is told over HTTP only.
    let over_http = cell.is_some_and(|cell| cell.fault == "wrong rate");
    let url = |stage: &str, url: &str| match cell {
        Some(cell) if tls && cell.stage == stage => url.replace("http://", "https://"),
        _ => url.to_owned(),
    };
    let voice = if over_http { ProviderKind::OpenAi } else { ProviderKind::Deepgram };
    let voice_url = url("tts", &mock.tts_url) + if over_http { "/v1" } else { "" };
    let llm_url = url("llm", &mock.llm_url) + "/v1";
    let rows = [
        ("stt", provider(ProviderKind::Deepgram, url("stt", &mock.stt_url))),
        ("llm", provider(ProviderKind::OpenAi, llm_url)),
        ("tts", provider(voice, voice_url)),
    ];
    for (stage, row) in rows {
        config.providers.insert(format!("{name}-{stage}"), row);
    }
}

fn agent(config: &mut Config, name: &str) {
    let mut agent = crate::support::server::agent(config).clone();
    let backup = |stage: &str| {
        let provider = format!("backup-{stage}");
        Some(vec![Fallback { provider, ..Fallback::default() }])
    };
    agent.stt = Stt { fallbacks: backup("stt"), ..format!("{name}-stt").into() };
    agent.llm = Llm { fallbacks: backup("llm"), ..format!("{name}-llm").into() };
    agent.tts = Tts { fallbacks: backup("tts"), ..format!("{name}-tts").into() };
    agent.turn.greeting.text = GREETING.to_owned();
    agent.turn.greeting.interruptible = false;
    agent.turn.inactivity.prompt_after_ms = 60_000;
    config.agents.insert(name.to_owned(), agent);
}

/// What came of a cell.
struct Outcome {
    /// Longest silence of both sides, from the first moment to the last word of the answer.
    silence_ms: usize,
    /// From the caller's last word to the agent's next sound.
    gap_ms: usize,
    /// How long the answer sounded.
    answer_ms: usize,
    record: CallRecord,
    turns: Vec<TurnRecord>,
    journal: Vec<CallEventKind>,
}

async fn call(server: &Server, cell: &Cell) -> Outcome {
    let mut talk = Talk::begin(server, &cell.name).await;
    talk.line.say(&sound::load(&fixture("wav/demo/01_hours.wav")));
    talk.agent_finishes().await;
    measure(server, talk).await
}

/// Ends a call and takes its figures from the recording.
async fn measure(server: &Server, talk: Talk) -> Outcome {
    let (record, turns) = talk.finish(server).await;
    let [caller, agent] = server.recording(&record);
    let asked = sound::next_loud(&caller, 0).expect("the caller is recorded");
    let ended = sound::last_loud(&caller, caller.len()).expect("the caller's last word");
    assert!(asked < ended);
    let answered = sound::next_loud(&agent, ended);
    let last = sound::last_loud(&agent, agent.len()).unwrap_or(agent.len());
    let quiet = |block: &[i16]| sound::rms(block) <= sound::LOUD;
    let (mut run, mut longest) = (0, 0);
    for at in (0..last).step_by(sound::FRAME) {
        let end = (at + sound::FRAME).min(last);
        run = if quiet(&caller[at..end]) && quiet(&agent[at..end]) { run + 20 } else { 0 };
        longest = longest.max(run);
    }
    let gap_ms = answered.map_or(usize::MAX, |at| (at - ended) * 1_000 / sound::RATE);
    let answer_ms = sound::loud_ms(&agent[ended.min(agent.len())..]);
    let journal = server.journal(record.id).await;
    Outcome { silence_ms: longest, gap_ms, answer_ms, record, turns, journal }
}

/// Everything that is wrong with a cell.
fn complaints(cell: &Cell, outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |is: bool, what: String| {
        if !is {
            wrong.push(format!("{}: {what}", cell.name));
        }
    };
    let Outcome { silence_ms, gap_ms, answer_ms, record, turns, journal } = outcome;
    must(*silence_ms <= SILENCE_MAX_MS, format!("{silence_ms} ms of silence"));
    must(*gap_ms <= SILENCE_MAX_MS, format!("{gap_ms} ms until the agent spoke"));
    must(record.status == CallStatus::Completed, format!("{:?}", record.status));
    must(record.end_reason == Some(EndReason::UserHangup), format!("{:?}", record.end_reason));
    let heard = turns.iter().find(|turn| turn.role == TurnRole::User);
    let heard = heard.map_or("", |turn| turn.content.reveal());
    must(heard == SAID, format!("the utterance is lost: {heard:?}"));
    let answer = turns.iter().rev().find(|turn| turn.role == TurnRole::Assistant);
    let answer = answer.and_then(|turn| turn.spoken_content.as_ref());
    let answer = answer.map_or("", |text| text.reveal());
    let wanted = if cell.stage == "llm" { ANSWER } else { BROKEN };
    must(answer.ends_with(wanted), format!("the answer was {answer:?}"));
    // A sentence that broke off was said again: nothing of it is missing.
    let whole = wanted.len() * PER_CHAR_MS * 9 / 10;
    must(*answer_ms >= whole, format!("{answer_ms} ms of an answer of {whole} ms"));
    let own = |failover: &Failover| {
        failover.stage.as_str() == cell.stage
            && failover.from == format!("{}-{}", cell.name, cell.stage)
            && failover.to == format!("backup-{}", cell.stage)
    };
    must(record.failovers.iter().all(own), format!("others failed: {:?}", record.failovers));
    let told = journal
        .iter()
        .any(|kind| matches!(kind, CallEventKind::ProviderFailover { failover } if own(failover)));
    let in_turn = turns.iter().any(|turn| turn.failovers.iter().any(own));
    if is_absorbed(cell) {
        must(record.failovers.is_empty(), "a failover that nobody needs".to_owned());
    } else {
        must(!record.failovers.is_empty() && told && in_turn, "no failover on record".to_owned());
    }
    wrong
}

/// A voice over HTTP says its rate: audio at another one is resampled, and nobody has to stand in.
fn is_absorbed(cell: &Cell) -> bool {
    (cell.stage, cell.fault) == ("tts", "wrong rate")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_survives_every_fault() {
    let cells = cells().await;
    let backup = MockProviders::start(script(ANSWER, 660.0)).await.expect("mock servers");
    let server = Server::with(|config| {
        services(config, "backup", &backup, None);
        for cell in &cells {
            services(config, &cell.name, &cell.broken, Some(cell));
            agent(config, &cell.name);
        }
        config.tts_cache = trunkline::call::TtsCacheConfig::default();
    })
    .await;
    let server = Arc::new(server);
    let places = Arc::new(Semaphore::new(CALLS));
    let mut calls = tokio::task::JoinSet::new();
    for (at, cell) in cells.into_iter().enumerate() {
        let (server, places) = (Arc::clone(&server), Arc::clone(&places));
        calls.spawn(async move {
            let _place = places.acquire_owned().await.expect("open");
            let outcome = call(&server, &cell).await;
            (at, cell, outcome)
        });
    }
    let mut rows = calls.join_all().await;
    rows.sort_by_key(|(at, ..)| *at);
    let mut wrong = Vec::new();
    eprintln!("stage  fault             silence ms  gap ms  end           failover");
    for (_, cell, outcome) in &rows {
        let found = complaints(cell, outcome);
        let failovers: Vec<String> = outcome
            .record
            .failovers
            .iter()
            .map(|own| format!("{} -> {} ({}, {} ms)", own.from, own.to, own.reason, own.offset_ms))
            .collect();
        let failover =
            if is_absorbed(cell) { "none: resampled".to_owned() } else { failovers.join("; ") };
        let end = format!("{:?}", outcome.record.end_reason.expect("an end"));
        eprintln!(
            "{:5}  {:16}  {:10}  {:6}  {end:12}  {failover}{}",
            cell.stage,
            cell.fault,
            outcome.silence_ms,
            outcome.gap_ms,
            if found.is_empty() { "" } else { "  WRONG" },
        );
        wrong.extend(found);
    }
    assert_eq!(rows.len(), 36);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A call whose provider of one stage works until the agent has greeted, and then is gone.
async fn dies_in_the_middle(stage: MockStage, name: &str) {
    let broken = MockProviders::start(script(BROKEN, 440.0)).await.expect("mock servers");
    let backup = MockProviders::start(script(ANSWER, 660.0)).await.expect("mock servers");
    let cell = Cell { name: format!("{name}-dies"), stage: name_of(stage), fault: "dies", broken };
    let server = Server::with(|config| {
        services(config, "backup", &backup, None);
        services(config, &cell.name, &cell.broken, Some(&cell));
        agent(config, &cell.name);
    })
    .await;
    let mut talk = Talk::begin(&server, &cell.name).await;
    talk.line.say(&sound::load(&fixture("wav/demo/01_hours.wav")));
    talk.caller_speaks().await;
    cell.broken.fault(stage, Fault::Refused);
    cell.broken.hang_up(stage);
    talk.agent_finishes().await;
    let outcome = measure(&server, talk).await;
    let found = complaints(&cell, &outcome);
    assert!(found.is_empty(), "{}: {:?}", found.join("\n"), outcome.record.failovers);
}

fn name_of(stage: MockStage) -> &'static str {
    STAGES.iter().find(|(at, _)| *at == stage).map_or("", |(_, name)| name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_dies_under_the_callers_words_is_gone_on_from() {
    let cases = STAGES.map(|(stage, name)| dies_in_the_middle(stage, name));
    futures_util::future::join_all(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_voice_is_gone_hears_so_and_ends() {
    let broken = MockProviders::start(script(BROKEN, 440.0)).await.expect("mock servers");
    let server = Server::with(|config| {
        services(config, "lone", &broken, None);
        agent(config, "lone");
        let lone = config.agents.get_mut("lone").expect("an agent");
        lone.stt.fallbacks = None;
        lone.llm.fallbacks = None;
        lone.tts.fallbacks = None;
    })
    .await;
    let mut talk = Talk::begin(&server, "lone").await;
    broken.fault(MockStage::Tts, Fault::Refused);
    broken.hang_up(MockStage::Tts);
    talk.line.say(&sound::load(&fixture("wav/demo/01_hours.wav")));
    talk.line.said().await;
    let before = talk.line.count();
    talk.caller.hung_up().await;
    let record = server.ended_to("lone").await;
    assert_eq!(record.end_reason, Some(EndReason::ProviderError));
    let heard = sound::loud_ms(&talk.line.audio(before));
    assert!(heard > 800, "the caller is told with a sound: {heard} ms");
    assert!(record.failovers.is_empty(), "there was nobody to go to");
}
