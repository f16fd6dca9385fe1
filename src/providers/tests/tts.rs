//! The voices' cases. What a call relies on is the same for all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::script::{Act, LONG, Saw, Script, Server};
use super::table::Table;
use super::tts_http::{self, Vendor};
use super::tts_socket;
use super::tts_wire::{self, Wire, as_mulaw, samples, words};
use crate::providers::FailureKind;
use crate::providers::config::{ConfigError, ProviderConfig, ProviderKind, build_tts};
use crate::providers::tts::soniox::SonioxTts;
use crate::providers::tts::{AlignmentMark, Tts, TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::types::{Generation, SampleRate, Secret};

/// Eight words, some of them no plain ones.
const TEXT: &str = "Hello there, it's a fine day to-morrow (so).";

const COLUMNS: &[&str] = &[
    "whole",
    "sentences",
    "alignment",
    "cancel",
    "drop",
    "keep-alive",
    "slow",
    "cut",
    "error",
    "status",
    "garbage",
    "wrong rate",
    "mu-law",
];

#[derive(Clone, Copy)]
enum Via {
    Socket(fn() -> Box<dyn Wire>),
    Http(Vendor),
    Tcp,
}

#[derive(Clone, Copy)]
struct Adapter {
    kind: ProviderKind,
    via: Via,
    aligns: bool,
    mulaw: bool,
    /// What its message of an error means.
    error: FailureKind,
}

fn adapters() -> Vec<Adapter> {
    let adapter = |kind, via, aligns, mulaw, error| Adapter { kind, via, aligns, mulaw, error };
    let (down, bad) = (FailureKind::Unavailable, FailureKind::BadRequest);
    let quota = FailureKind::RateLimited;
    let elevenlabs = Via::Socket(|| Box::new(tts_wire::ElevenLabs::default()));
    vec![
        adapter(ProviderKind::OpenAi, Via::Http(Vendor::OpenAi), false, false, down),
        adapter(
            ProviderKind::Deepgram,
            Via::Socket(|| Box::new(tts_wire::Aura::default())),
            false,
            true,
            down,
        ),
        adapter(ProviderKind::ElevenLabs, elevenlabs, true, true, quota),
        adapter(
            ProviderKind::Cartesia,
            Via::Socket(|| Box::new(tts_wire::Cartesia)),
            true,
            true,
            bad,
        ),
        adapter(
            ProviderKind::Rime,
            Via::Socket(|| Box::new(tts_wire::Rime::default())),
            true,
            true,
            down,
        ),
        adapter(ProviderKind::Azure, Via::Http(Vendor::Azure), false, true, down),
        adapter(ProviderKind::Piper, Via::Http(Vendor::Piper), false, false, down),
        adapter(ProviderKind::Wyoming, Via::Tcp, false, false, down),
        adapter(
            ProviderKind::Xai,
            Via::Socket(|| Box::new(tts_wire::Xai::default())),
            false,
            true,
            down,
        ),
        adapter(
            ProviderKind::Soniox,
            Via::Socket(|| Box::new(tts_wire::Soniox::default())),
            false,
            false,
            bad,
        ),
    ]
}

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An adapter, its server and an open session.
struct Bench {
    adapter: Adapter,
    server: Server,
    session: TtsSession,
}

impl Adapter {
    async fn serve(self) -> Server {
        let via = self.via;
        Server::start(move |stream, number, script: Arc<Script>| -> Serving {
            match via {
                Via::Socket(wire) => Box::pin(tts_socket::serve(stream, number, script, wire())),
                Via::Http(vendor) => Box::pin(tts_http::serve(stream, number, script, vendor)),
                Via::Tcp => Box::pin(tts_http::wyoming(stream, number, script)),
            }
        })
        .await
    }

    fn settings(self, server: &Server) -> ProviderConfig {
        let base_url = match self.via {
            Via::Tcp => format!("tcp://{}", server.address),
            _ => server.url(),
        };
        let sample_rate = if matches!(self.kind, ProviderKind::OpenAi) { 8_000 } else { 0 };
        let voice = "voice-1".to_owned();
        ProviderConfig {
            kind: self.kind,
            base_url,
            voice,
            sample_rate,
            ..ProviderConfig::default()
        }
    }

    fn make(self, settings: &ProviderConfig) -> Arc<dyn Tts> {
        build_tts("v", settings, Secret::new("canary-of-the-key")).unwrap()
    }

    async fn bench(self) -> Bench {
        let server = self.serve().await;
        let voice = self.make(&self.settings(&server));
        let session = open(&voice).await;
        Bench { adapter: self, server, session }
    }
}

async fn open(voice: &Arc<dyn Tts>) -> TtsSession {
    let language = "en-US".to_owned();
    voice.open(TtsParams { language, ..TtsParams::default() }).await.unwrap()
}

/// What a sentence came to.
#[derive(Debug, Default)]
struct Spoken {
    samples: Vec<i16>,
    rate: Option<SampleRate>,
    marks: Vec<AlignmentMark>,
    failed: Option<FailureKind>,
}

impl Bench {
    async fn say(&self, generation: u32, seq: u32, text: &str) {
        let (generation, text) = (Generation(generation), text.to_owned().into());
        self.session.input.send(TtsInput::Say { generation, seq, text }).await.unwrap();
    }

    async fn next(&mut self) -> TtsEvent {
        let next = tokio::time::timeout(LONG, self.session.events.recv()).await;
        next.unwrap_or_else(|_| panic!("{}: nothing comes", self.adapter.kind.as_str())).unwrap()
    }

    /// All of one sentence; an event of any other is an error.
    async fn sentence(&mut self, wanted: (u32, u32)) -> Spoken {
        let kind = self.adapter.kind.as_str();
        let mut spoken = Spoken::default();
        loop {
            let event = self.next().await;
            let of = match &event {
                TtsEvent::Audio { generation, seq, .. }
                | TtsEvent::Alignment { generation, seq, .. }
                | TtsEvent::Done { generation, seq }
                | TtsEvent::Failed { generation, seq, .. } => (generation.0, *seq),
            };
            assert_eq!(of, wanted, "{kind}: {event:?}");
            match event {
                TtsEvent::Audio { pcm, .. } => {
                    spoken.samples.extend(pcm.samples);
                    spoken.rate = Some(pcm.rate);
                }
                TtsEvent::Alignment { marks, .. } => spoken.marks.extend(marks),
                TtsEvent::Done { .. } => return spoken,
                TtsEvent::Failed { error, .. } => {
                    assert!(!format!("{error:?}").contains("canary"), "{kind}: {error:?}");
                    spoken.failed = Some(error.kind);
                    return spoken;
                }
            }
        }
    }

    async fn whole(&mut self, generation: u32, seq: u32, text: &str) {
        let kind = self.adapter.kind.as_str();
        let spoken = self.sentence((generation, seq)).await;
        assert_eq!(spoken.failed, None, "{kind}");
        assert!(spoken.samples == samples(text), "{kind}: other audio than was sent");
        let rate = spoken.rate.map(SampleRate::hz);
        assert_eq!(rate, (!text.trim().is_empty()).then_some(8_000), "{kind}");
    }

    async fn first_audio(&mut self, wanted: (u32, u32)) {
        loop {
            match self.next().await {
                TtsEvent::Audio { generation, seq, .. } => {
                    assert_eq!((generation.0, seq), wanted);
                    return;
                }
                TtsEvent::Alignment { .. } => {}
                other => panic!("{}: {other:?}", self.adapter.kind.as_str()),
            }
        }
    }
}

async fn whole(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    bench.say(1, 0, TEXT).await;
    bench.whole(1, 0, TEXT).await;
    "ok".to_owned()
}

async fn sentences(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    let said = ["One, two.", "Three, four, five.", "  ", "Six!"];
    for (seq, text) in (0..).zip(said) {
        bench.say(1, seq, text).await;
    }
    for (seq, text) in (0..).zip(said) {
        bench.whole(1, seq, if text.trim().is_empty() { "" } else { text }).await;
    }
    "in order".to_owned()
}

async fn alignment(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    bench.say(1, 0, TEXT).await;
    let spoken = bench.sentence((1, 0)).await;
    if !adapter.aligns {
        assert!(spoken.marks.is_empty());
        return "\u{2014}".to_owned();
    }
    let mark = |(_, end): (String, usize)| (5 * end as u32, end as u32);
    let wanted: Vec<_> = words(TEXT).into_iter().map(mark).collect();
    let marks: Vec<_> = spoken.marks.iter().map(|mark| (mark.offset_ms, mark.chars)).collect();
    let chars: Vec<_> = marks.iter().map(|(_, chars)| *chars).collect();
    let ends: Vec<_> = wanted.iter().map(|(_, chars)| *chars).collect();
    assert_eq!(chars, ends, "{}", adapter.kind.as_str());
    // A vendor that times characters times the last letter, not the punctuation behind it.
    let near = |(mark, wanted): (&(u32, u32), &(u32, u32))| mark.0.abs_diff(wanted.0) <= 11;
    assert!(marks.iter().zip(&wanted).all(near), "{}: {marks:?}", adapter.kind.as_str());
    if adapter.kind == ProviderKind::ElevenLabs { "characters" } else { "words" }.to_owned()
}

async fn cancel(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    bench.server.acts(&[Act::HoldAfterFirst]);
    for seq in 0..3 {
        bench.say(1, seq, TEXT).await;
    }
    bench.first_audio((1, 0)).await;
    bench.session.input.send(TtsInput::Cancel { generation: Generation(1) }).await.unwrap();
    bench.say(2, 0, "Yes?").await;
    // What was in the channel when the cancel was sent may still be read: its timing.
    let first = loop {
        match bench.next().await {
            TtsEvent::Alignment { generation: Generation(1), seq: 0, .. } => {}
            TtsEvent::Audio { generation: Generation(2), seq: 0, pcm, .. } => break pcm.samples,
            TtsEvent::Alignment { generation: Generation(2), .. } => {}
            other => panic!("{}: {other:?}", adapter.kind.as_str()),
        }
    };
    let rest = bench.sentence((2, 0)).await;
    assert_eq!(rest.failed, None, "{}", adapter.kind.as_str());
    assert!([first, rest.samples].concat() == samples("Yes?"), "{}", adapter.kind.as_str());
    let told = matches!(adapter.via, Via::Socket(_));
    let asked = bench.server.saw(1, |_, saw| matches!(saw, Saw::Asked(_))).await;
    let wanted = if told { Saw::Canceled } else { Saw::Closed };
    bench.server.saw(1, |of, saw| of == asked && *saw == wanted).await;
    bench.say(2, 1, "Well.").await;
    bench.whole(2, 1, "Well.").await;
    if told { "told" } else { "closes" }.to_owned()
}

async fn dropped(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    bench.server.acts(&[Act::HoldAfterFirst]);
    bench.say(1, 0, TEXT).await;
    bench.first_audio((1, 0)).await;
    let asked = bench.server.saw(1, |_, saw| matches!(saw, Saw::Asked(_))).await;
    let Bench { server, session, .. } = bench;
    drop(session);
    server.saw(1, |of, saw| of == asked && *saw == Saw::Closed).await;
    "closes".to_owned()
}

async fn keep_alive(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    if adapter.kind == ProviderKind::Soniox {
        // The same voice, with little patience.
        let voice = SonioxTts {
            name: "v".to_owned(),
            base_url: bench.server.url(),
            api_key: Secret::new("canary-of-the-key"),
            model: "m".to_owned(),
            voice: "v".to_owned(),
            sample_rate: SampleRate::HZ_8000,
            keep_alive: Duration::from_millis(5),
        };
        bench.session = open(&(Arc::new(voice) as Arc<dyn Tts>)).await;
        bench.server.saw(3, |_, saw| *saw == Saw::KeptAlive).await;
    }
    for (seq, text) in (0..).zip(["One.", "Two.", "Three."]) {
        bench.say(1, seq, text).await;
        bench.whole(1, seq, text).await;
    }
    let mut by = std::collections::BTreeSet::new();
    for times in 1..=3 {
        by.insert(bench.server.saw(times, |_, saw| matches!(saw, Saw::Asked(_))).await);
    }
    if matches!(adapter.via, Via::Tcp) {
        assert_eq!(by.len(), 3);
        return "one each".to_owned();
    }
    assert_eq!(by.len(), 1, "{}: one connection serves all", adapter.kind.as_str());
    let one = by.pop_first().unwrap();
    bench.server.hang_up();
    bench.server.saw(1, |of, saw| of == one && *saw == Saw::Closed).await;
    bench.say(1, 3, "Four.").await;
    bench.whole(1, 3, "Four.").await;
    if adapter.kind == ProviderKind::Soniox { "kept, reopened" } else { "reused, reopened" }
        .to_owned()
}

async fn slow(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    bench.server.acts(&[Act::Hold]);
    bench.say(1, 0, TEXT).await;
    bench.server.saw(1, |_, saw| matches!(saw, Saw::Asked(_))).await;
    assert!(bench.session.events.try_recv().is_err());
    bench.server.release();
    bench.whole(1, 0, TEXT).await;
    "waits".to_owned()
}

async fn cut(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    bench.server.acts(&[Act::Cut]);
    bench.say(1, 0, TEXT).await;
    let spoken = bench.sentence((1, 0)).await;
    assert!(!spoken.samples.is_empty() && samples(TEXT).starts_with(&spoken.samples));
    bench.say(1, 1, "Again.").await;
    bench.whole(1, 1, "Again.").await;
    format!("`{}`, goes on", spoken.failed.unwrap().as_str())
}

async fn fails(adapter: Adapter, act: Act, wanted: FailureKind) -> String {
    let mut bench = adapter.bench().await;
    bench.server.always(act);
    bench.say(1, 0, TEXT).await;
    let spoken = bench.sentence((1, 0)).await;
    assert_eq!(spoken.failed, Some(wanted), "{} {act:?}", adapter.kind.as_str());
    assert!(spoken.samples.is_empty());
    format!("`{}`", wanted.as_str())
}

async fn status(adapter: Adapter) -> String {
    if matches!(adapter.via, Via::Tcp) {
        return "\u{2014}".to_owned();
    }
    let server = adapter.serve().await;
    let voice = adapter.make(&adapter.settings(&server));
    for (status, wanted) in [
        (401, FailureKind::Auth),
        (403, FailureKind::Auth),
        (404, FailureKind::BadRequest),
        (429, FailureKind::RateLimited),
        (500, FailureKind::Unavailable),
        (503, FailureKind::Unavailable),
    ] {
        server.set_status(Some(status));
        let failed = match voice.open(TtsParams::default()).await {
            Err(error) => error.kind,
            Ok(mut session) => {
                let (generation, text) = (Generation(1), TEXT.to_owned().into());
                session.input.send(TtsInput::Say { generation, seq: 0, text }).await.unwrap();
                let event = tokio::time::timeout(LONG, session.events.recv()).await.unwrap();
                let Some(TtsEvent::Failed { error, .. }) = event else { panic!("{event:?}") };
                error.kind
            }
        };
        assert_eq!(failed, wanted, "{} {status}", adapter.kind.as_str());
    }
    "by kind".to_owned()
}

async fn wrong_rate(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    let says = !matches!(adapter.via, Via::Socket(_));
    if says {
        bench.server.acts(&[Act::Other]);
        bench.say(1, 0, TEXT).await;
        let spoken = bench.sentence((1, 0)).await;
        assert_eq!(spoken.rate.map(SampleRate::hz), Some(16_000), "{}", adapter.kind.as_str());
        assert!(spoken.samples == samples(TEXT));
        return "header followed".to_owned();
    }
    let settings = ProviderConfig { sample_rate: 12_345, ..adapter.settings(&bench.server) };
    let refused = build_tts("v", &settings, Secret::default()).err();
    let is_rate = matches!(refused, Some(ConfigError::Rate { hz: 12_345, .. }));
    assert!(is_rate, "{}", adapter.kind.as_str());
    "setting refused".to_owned()
}

async fn mulaw(adapter: Adapter) -> String {
    let server = adapter.serve().await;
    let encoding = "mulaw".to_owned();
    let settings = ProviderConfig { encoding, ..adapter.settings(&server) };
    if !adapter.mulaw {
        let refused = build_tts("v", &settings, Secret::default()).err();
        assert!(matches!(refused, Some(ConfigError::Encoding { allowed: "pcm", .. })));
        return "\u{2014}".to_owned();
    }
    let wide = ProviderConfig { sample_rate: 16_000, ..settings.clone() };
    assert!(matches!(build_tts("v", &wide, Secret::default()), Err(ConfigError::Rate { .. })));
    let other = ProviderConfig { encoding: "opus".to_owned(), ..settings.clone() };
    assert!(build_tts("v", &other, Secret::default()).is_err());
    server.script.mulaw.store(true, Ordering::Relaxed);
    let voice = adapter.make(&settings);
    let session = open(&voice).await;
    let mut bench = Bench { adapter, server, session };
    bench.say(1, 0, TEXT).await;
    let spoken = bench.sentence((1, 0)).await;
    assert!(spoken.samples == as_mulaw(&samples(TEXT)), "{}", adapter.kind.as_str());
    let asks = |saw: &Saw| matches!(saw, Saw::Raw(raw) if raw.contains("ulaw"));
    assert!(bench.server.count(asks) >= 1, "{}", adapter.kind.as_str());
    "ok".to_owned()
}

async fn row(adapter: Adapter) -> Vec<String> {
    vec![
        whole(adapter).await,
        sentences(adapter).await,
        alignment(adapter).await,
        cancel(adapter).await,
        dropped(adapter).await,
        keep_alive(adapter).await,
        slow(adapter).await,
        cut(adapter).await,
        fails(adapter, Act::Error, adapter.error).await,
        status(adapter).await,
        fails(adapter, Act::Garbage, FailureKind::Protocol).await,
        wrong_rate(adapter).await,
        mulaw(adapter).await,
    ]
}

#[tokio::test]
async fn every_voice_passes_the_same_cases() {
    let mut table = Table::new("tts", COLUMNS);
    for adapter in adapters() {
        table.row(adapter.kind.as_str(), row(adapter).await);
    }
    table.check();
}
