//! What every vendor must do, against a server that reads strictly: the same cases for all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::providers::config::{ProviderConfig, ProviderKind, build_realtime};
use crate::sim::providers::realtime::{MockRealtime, Seen, Turn, Wrongly};
use crate::types::Secret;

const KEY: &str = "canary-of-the-key";
const LIMIT: Duration = Duration::from_secs(5);
const KINDS: [ProviderKind; 2] = [ProviderKind::OpenAiRealtime, ProviderKind::Xai];

struct Bench {
    server: MockRealtime,
    session: RealtimeSession,
    rate: SampleRate,
}

fn model(kind: ProviderKind, url: &str, encoding: &str) -> Arc<dyn Realtime> {
    let (base_url, encoding) = (url.to_owned(), encoding.to_owned());
    let config = ProviderConfig { kind, base_url, encoding, ..ProviderConfig::default() };
    build_realtime("own", &config, Secret::new(KEY)).unwrap()
}

fn params() -> RealtimeParams {
    let tool = ToolDef {
        name: "weather".to_owned(),
        description: "Tells the weather.".to_owned(),
        parameters: json!({"type": "object"}),
    };
    RealtimeParams {
        instructions: Pii::new("Be brief.".to_owned()),
        language: "en-GB".to_owned(),
        speed: 1.0,
        tools: Arc::new([tool]),
        ..RealtimeParams::default()
    }
}

impl Bench {
    async fn open(kind: ProviderKind, encoding: &str, params: RealtimeParams) -> Self {
        let server = MockRealtime::start().await.unwrap();
        let model = model(kind, &server.url, encoding);
        let rate = model.sample_rate();
        let session = tokio::time::timeout(LIMIT, model.open(params)).await.unwrap().unwrap();
        Self { server, session, rate }
    }

    async fn tell(&self, input: RealtimeInput) {
        self.session.input.send(input).await.unwrap();
    }

    async fn next(&mut self) -> RealtimeEvent {
        tokio::time::timeout(LIMIT, self.session.events.recv()).await.unwrap().expect("an event")
    }

    /// Speech of so many milliseconds, as the call gives it.
    async fn speak(&self, ms: u32, commit: u32) {
        for _ in 0..ms / 20 {
            let frame = vec![1_000; self.rate.samples_in_ms(20)];
            self.tell(RealtimeInput::Audio(frame)).await;
        }
        self.tell(RealtimeInput::Commit { id: commit }).await;
    }

    /// Events up to the end of a response: its words, its sound in milliseconds, its items, the rest.
    async fn response(&mut self, wanted: u32) -> (String, u64, Vec<String>, Outcome) {
        let (mut words, mut ms, mut items) = (String::new(), 0, Vec::new());
        loop {
            match self.next().await {
                RealtimeEvent::Text { response, delta, .. } => {
                    assert_eq!(response, wanted);
                    words.push_str(&delta);
                }
                RealtimeEvent::Audio { response, item, pcm, .. } => {
                    assert_eq!((response, pcm.rate), (wanted, self.rate));
                    ms += pcm.duration().as_millis() as u64;
                    if !items.contains(&item) {
                        items.push(item);
                    }
                }
                RealtimeEvent::Done { response, outcome, .. } => {
                    assert_eq!(response, wanted);
                    return (words, ms, items, outcome);
                }
                RealtimeEvent::Sent { .. } | RealtimeEvent::Partial { .. } => {}
                RealtimeEvent::Transcript { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn wrong(&self) -> Vec<Seen> {
        self.server.seen().into_iter().filter(|seen| matches!(seen, Seen::Wrong(_))).collect()
    }

    async fn saw<T>(&self, wanted: impl Fn(&Seen) -> Option<T>) -> T {
        self.server.wait(1, LIMIT, wanted).await.expect("seen")
    }
}

#[tokio::test]
async fn the_session_is_set_up_before_anything_else() {
    for kind in KINDS {
        for (encoding, format) in [
            ("", json!({"type": "audio/pcmu"})),
            ("alaw", json!({"type": "audio/pcma"})),
            ("pcm", json!({"type": "audio/pcm", "rate": 24_000})),
        ] {
            let bench = Bench::open(kind, encoding, params()).await;
            let seen = bench.server.seen();
            let Seen::Connected(path, key) = &seen[0] else { panic!("{seen:?}") };
            let path_of = match kind {
                ProviderKind::Xai => "/v1/realtime?model=grok-voice-latest",
                _ => "/realtime?model=gpt-realtime",
            };
            assert_eq!(
                (path.as_str(), key.as_deref()),
                (path_of, Some("Bearer canary-of-the-key"))
            );
            let Seen::Settings(session) = &seen[1] else { panic!("{seen:?}") };
            assert_eq!(session["audio"]["input"]["format"], format);
            assert_eq!(session["audio"]["output"]["format"], format);
            assert_eq!(session["instructions"], "Be brief.");
            assert_eq!(session["tools"][0]["name"], "weather");
            let off: (&Value, Value) = match kind {
                ProviderKind::Xai => (&session["turn_detection"], json!({"type": null})),
                _ => (&session["audio"]["input"]["turn_detection"], Value::Null),
            };
            assert_eq!(*off.0, off.1);
            assert_eq!(bench.wrong(), []);
        }
    }
}

#[tokio::test]
async fn a_turn_has_a_transcript_words_sound_and_a_price() {
    for kind in KINDS {
        for encoding in ["", "alaw", "pcm"] {
            let mut bench = Bench::open(kind, encoding, params()).await;
            bench.server.transcript("what is the weather");
            bench.server.turn(Turn::says("It is sunny.", 600));
            bench.speak(400, 7).await;
            let mut partial = false;
            loop {
                match bench.next().await {
                    RealtimeEvent::Partial { text } => {
                        partial = true;
                        assert!("what is the weather".starts_with(text.reveal().as_str()));
                    }
                    RealtimeEvent::Transcript { text, commit, understood, .. } => {
                        assert_eq!(text.reveal(), "what is the weather");
                        assert_eq!((commit, understood, partial), (Some(7), true, true));
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            bench.tell(RealtimeInput::Respond { id: 1, tools: true }).await;
            assert!(matches!(bench.next().await, RealtimeEvent::Sent { response: 1, .. }));
            let (mut words, mut ms) = (String::new(), 0);
            let usage = loop {
                match bench.next().await {
                    RealtimeEvent::Text { delta, .. } => words.push_str(&delta),
                    RealtimeEvent::Audio { pcm, .. } => ms += pcm.duration().as_millis(),
                    RealtimeEvent::Done { outcome, usage, .. } => {
                        assert_eq!(outcome, Outcome::Completed);
                        break usage;
                    }
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!((words.as_str(), ms), ("It is sunny.", 600));
            let wanted = RealtimeUsage { text_in: 40, audio_in: 60, text_out: 10, audio_out: 40 };
            assert_eq!(usage, wanted);
            assert_eq!(
                bench
                    .saw(|seen| match seen {
                        Seen::Commit(ms) => Some(*ms),
                        _ => None,
                    })
                    .await,
                400
            );
            assert_eq!(bench.wrong(), []);
        }
    }
}

#[tokio::test]
async fn the_server_finds_the_end_of_a_turn_where_it_can() {
    let params = RealtimeParams { turn_detection: TurnDetection::SemanticVad, ..params() };
    let mut bench = Bench::open(ProviderKind::OpenAiRealtime, "pcm", params).await;
    bench.server.transcript("that is all");
    for level in [1_000, 0] {
        for _ in 0..30 {
            let frame = vec![level; bench.rate.samples_in_ms(20)];
            bench.tell(RealtimeInput::Audio(frame)).await;
        }
    }
    assert!(matches!(bench.next().await, RealtimeEvent::Turn { signal: TurnSignal::Started, .. }));
    assert!(matches!(bench.next().await, RealtimeEvent::Turn { signal: TurnSignal::Over, .. }));
    assert!(matches!(bench.next().await, RealtimeEvent::Partial { .. }));
    let RealtimeEvent::Transcript { text, commit: None, .. } = bench.next().await else { panic!() };
    assert_eq!(text.reveal(), "that is all");
    assert_eq!(bench.wrong(), []);
    let local = model(ProviderKind::Xai, "ws://127.0.0.1", "");
    assert_eq!(local.turn_detections(), [TurnDetection::Local]);
}

#[tokio::test]
async fn speech_that_is_too_short_is_filled_up() {
    for kind in KINDS {
        let mut bench = Bench::open(kind, "", params()).await;
        bench.server.transcript("yes");
        bench.speak(40, 3).await;
        loop {
            if let RealtimeEvent::Transcript { text, commit, .. } = bench.next().await {
                assert_eq!((text.reveal().as_str(), commit), ("yes", Some(3)));
                break;
            }
        }
        assert_eq!(bench.wrong(), []);
    }
}

#[tokio::test]
async fn a_tool_is_asked_for_and_its_result_goes_into_the_next_response() {
    for kind in KINDS {
        let mut bench = Bench::open(kind, "", params()).await;
        bench.server.turn(Turn::calls("call_1", "weather", "{\"city\":\"Bonn\"}"));
        bench.server.turn(Turn::says("Sunny.", 200));
        bench.tell(RealtimeInput::Respond { id: 1, tools: true }).await;
        bench.next().await;
        let RealtimeEvent::ToolCall { response: 1, call } = bench.next().await else { panic!() };
        assert_eq!((call.id.as_str(), call.name.as_str()), ("call_1", "weather"));
        assert_eq!(call.arguments.reveal(), "{\"city\":\"Bonn\"}");
        assert_eq!(bench.response(1).await.3, Outcome::Completed);
        let output = Pii::new("{\"sky\":\"blue\"}".to_owned());
        bench.tell(RealtimeInput::ToolResult { call: "call_1".to_owned(), output }).await;
        bench.tell(RealtimeInput::Respond { id: 2, tools: false }).await;
        assert_eq!(bench.response(2).await.0, "Sunny.");
        let result = bench
            .saw(|seen| match seen {
                Seen::Item(item) => Some(item.clone()),
                _ => None,
            })
            .await;
        assert_eq!(result["output"], "{\"sky\":\"blue\"}");
        let last = bench.server.seen().into_iter().rev().find_map(|seen| match seen {
            Seen::Respond(message) => Some(message),
            _ => None,
        });
        assert_eq!(last.unwrap()["response"]["tool_choice"], "none");
        assert_eq!(bench.wrong(), []);
    }
}

#[tokio::test]
async fn what_is_cancelled_is_silent_at_once_and_cut_where_it_was_heard() {
    for kind in KINDS {
        let mut bench = Bench::open(kind, "", params()).await;
        let gap = Duration::from_millis(20);
        bench.server.turn(Turn { gap, ..Turn::says("A long story about nothing.", 5_000) });
        bench.server.turn(Turn::says("Yes?", 200));
        bench.tell(RealtimeInput::Respond { id: 1, tools: true }).await;
        let item = loop {
            if let RealtimeEvent::Audio { item, .. } = bench.next().await {
                break item;
            }
        };
        bench.tell(RealtimeInput::Cancel).await;
        bench.tell(RealtimeInput::Truncate { item: item.clone(), audio_end_ms: 87 }).await;
        // Asked for before the end of the one before is known.
        bench.tell(RealtimeInput::Respond { id: 2, tools: true }).await;
        assert_eq!(bench.response(1).await.3, Outcome::Cancelled);
        let (words, _, items, outcome) = bench.response(2).await;
        assert_eq!((words.as_str(), outcome), ("Yes?", Outcome::Completed));
        assert_ne!(items, std::slice::from_ref(&item));
        assert_eq!(
            bench
                .saw(|seen| match seen {
                    Seen::Truncate(item, ms) => Some((item.clone(), *ms)),
                    _ => None,
                })
                .await,
            (item, 87)
        );
        assert_eq!(bench.wrong(), []);
        // A cancellation that comes too late, and a cut that the server refuses, change nothing.
        bench.tell(RealtimeInput::Cancel).await;
        let item = "item_of_yesterday".to_owned();
        bench.tell(RealtimeInput::Truncate { item, audio_end_ms: 1 }).await;
        bench.tell(RealtimeInput::Say { id: 3, text: Pii::new("Good bye.".to_owned()) }).await;
        assert_eq!(bench.response(3).await.0, "Good bye.");
    }
}

#[tokio::test]
async fn exact_words_and_words_that_came_another_way() {
    for kind in KINDS {
        let history = vec![
            (Role::User, Pii::new("hello".to_owned())),
            (Role::Assistant, Pii::new("Hi.".to_owned())),
            (Role::System, Pii::new("The tool said 4.".to_owned())),
            (Role::User, Pii::new(" ".to_owned())),
        ];
        let mut bench = Bench::open(kind, "", RealtimeParams { history, ..params() }).await;
        bench
            .tell(RealtimeInput::Insert { role: Role::User, text: Pii::new("1".to_owned()) })
            .await;
        bench.tell(RealtimeInput::Say { id: 1, text: Pii::new("Hello, Ada.".to_owned()) }).await;
        let (words, ms, ..) = bench.response(1).await;
        assert_eq!((words.as_str(), ms), ("Hello, Ada.", 400));
        let items: Vec<(String, String)> = bench
            .server
            .seen()
            .into_iter()
            .filter_map(|seen| match seen {
                Seen::Item(item) => Some((
                    item["role"].as_str().unwrap().to_owned(),
                    item["content"][0]["text"].as_str().unwrap().to_owned(),
                )),
                _ => None,
            })
            .collect();
        let said: Vec<(&str, &str)> =
            items.iter().map(|(role, text)| (role.as_str(), text.as_str())).collect();
        assert_eq!(
            said,
            [
                ("user", "hello"),
                ("assistant", "Hi."),
                ("system", "The tool said 4."),
                ("user", "1")
            ]
        );
        assert_eq!(bench.wrong(), []);
    }
}

#[tokio::test]
async fn failures_have_a_kind_and_never_the_words_of_the_provider() {
    let cases: [(Wrongly, Result<FailureKind, FailureKind>); 9] = [
        (Wrongly::Refused("rate_limit_exceeded".to_owned()), Err(FailureKind::RateLimited)),
        (Wrongly::Refused("invalid_value".to_owned()), Err(FailureKind::BadRequest)),
        (Wrongly::Failed("server_error".to_owned()), Err(FailureKind::Unavailable)),
        (Wrongly::Failed("insufficient_quota".to_owned()), Err(FailureKind::RateLimited)),
        (Wrongly::Garbage, Ok(FailureKind::Protocol)),
        (Wrongly::Oversize, Ok(FailureKind::Protocol)),
        (Wrongly::Cut(0), Ok(FailureKind::Cut)),
        (Wrongly::Cut(2), Ok(FailureKind::Cut)),
        (Wrongly::Failed("session_expired".to_owned()), Err(FailureKind::Cut)),
    ];
    for kind in KINDS {
        for (wrongly, expected) in cases.clone() {
            let mut bench = Bench::open(kind, "", params()).await;
            bench.server.turn(Turn::says("Never mind.", 500).wrongly(wrongly.clone()));
            bench.tell(RealtimeInput::Respond { id: 1, tools: true }).await;
            let ended = loop {
                match bench.next().await {
                    RealtimeEvent::Done { outcome: Outcome::Failed(kind), .. } => break Err(kind),
                    RealtimeEvent::Failed(error) => {
                        let text = format!("{error} {error:?}");
                        assert!(!text.contains("canary"), "{text}");
                        break Ok(error.kind);
                    }
                    RealtimeEvent::Sent { .. }
                    | RealtimeEvent::Text { .. }
                    | RealtimeEvent::Audio { .. } => {}
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(ended, expected, "{wrongly:?}");
            if expected.is_err() {
                // The session lives.
                bench.server.turn(Turn::says("Here.", 200));
                bench.tell(RealtimeInput::Respond { id: 2, tools: true }).await;
                assert_eq!(bench.response(2).await.0, "Here.");
            }
        }
    }
}

#[tokio::test]
async fn messages_out_of_order_and_of_types_to_come_are_left_alone() {
    for kind in KINDS {
        let mut bench = Bench::open(kind, "", params()).await;
        bench.server.turn(Turn::says("Fine.", 200).wrongly(Wrongly::OutOfOrder));
        bench.tell(RealtimeInput::Respond { id: 1, tools: true }).await;
        let (words, ms, _, outcome) = bench.response(1).await;
        assert_eq!((words.as_str(), ms, outcome), ("Fine.", 200, Outcome::Completed));
    }
}

#[tokio::test]
async fn a_slow_model_is_waited_for_and_a_session_that_is_dropped_closes() {
    for kind in KINDS {
        let mut bench = Bench::open(kind, "", params()).await;
        let delay = Duration::from_millis(300);
        bench.server.turn(Turn { delay, ..Turn::says("Late.", 200) });
        bench.tell(RealtimeInput::Respond { id: 1, tools: true }).await;
        assert_eq!(bench.response(1).await.0, "Late.");
        let Bench { server, session, .. } = bench;
        drop(session);
        let closed = server.wait(1, LIMIT, |seen| matches!(seen, Seen::Closed).then_some(()));
        closed.await.expect("closed");
    }
}

#[tokio::test]
async fn a_refused_connection_has_the_kind_of_its_status() {
    for kind in KINDS {
        for (status, expected) in [
            (401, FailureKind::Auth),
            (429, FailureKind::RateLimited),
            (503, FailureKind::Unavailable),
        ] {
            let server = MockRealtime::start().await.unwrap();
            server.refuse(Some(status));
            let error = model(kind, &server.url, "").open(params()).await.unwrap_err();
            assert_eq!((error.kind, error.stage.as_str()), (expected, "realtime"));
            assert!(!format!("{error:?}").contains(KEY));
        }
    }
}

#[test]
fn settings_that_fit_no_vendor_are_refused_in_words() {
    let config = |encoding: &str, rate| ProviderConfig {
        kind: ProviderKind::OpenAiRealtime,
        encoding: encoding.to_owned(),
        sample_rate: rate,
        ..ProviderConfig::default()
    };
    for (config, says) in [
        (config("opus", 0), "`encoding` \"opus\" is not allowed; allowed: pcm, mulaw, alaw"),
        (config("pcm", 16_000), "`sample_rate` 16000 is not allowed; allowed: 24000"),
        (config("", 16_000), "`sample_rate` 16000 is not allowed; allowed: 8000"),
    ] {
        let refused = build_realtime("own", &config, Secret::new(KEY)).map(|_| ()).unwrap_err();
        assert_eq!(refused.to_string(), says);
    }
    let config = ProviderConfig { kind: ProviderKind::Deepgram, ..ProviderConfig::default() };
    let refused = build_realtime("own", &config, Secret::new(KEY)).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("openai, openai-realtime, xai"), "{refused}");
}

/// G.711 goes through untouched: what the line decoded is what the wire writes, but for mu-law's second zero.
#[test]
fn g711_comes_out_as_it_went_in() {
    use crate::audio::g711;
    for octet in 0..=u8::MAX {
        assert_eq!(g711::encode_alaw(g711::decode_alaw(octet)), octet);
        let mulaw = g711::encode_ulaw(g711::decode_ulaw(octet));
        assert!(mulaw == octet || octet == 0x7f, "{octet:#x} became {mulaw:#x}");
    }
}
