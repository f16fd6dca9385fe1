//! One function a case. Each gives the words of its cell, and fails on what no adapter may do.

use std::time::Duration;

use super::server::{Plan, Say, Seen, Server};
use super::{KEY, Subject};
use crate::audio::g711;
use crate::net::clock;
use crate::providers::FailureKind;
use crate::providers::config::ProviderConfig;
use crate::providers::stt::{Stt, SttEvent, SttInput, SttParams, SttSession, TurnSignal};
use crate::types::SampleRate;

/// Longest wait for anything.
const LONG: Duration = Duration::from_secs(20);

async fn open(stt: &dyn Stt) -> SttSession {
    let params = SttParams { language: "en-US".to_owned(), keyterms: vec!["Müller".to_owned()] };
    tokio::time::timeout(LONG, stt.open(params)).await.unwrap().unwrap()
}

async fn send(session: &SttSession, input: SttInput) {
    // A session that failed takes nothing any more.
    let _ = tokio::time::timeout(LONG, session.input.send(input)).await.unwrap();
}

/// Audio in frames of 20 ms.
async fn tone(session: &SttSession, rate: SampleRate, ms: u32, level: i16) {
    for _ in 0..ms / 20 {
        send(session, SttInput::Audio(vec![level; rate.samples_in_ms(20)])).await;
    }
}

/// Words of 160 ms with 80 ms between them, and what VAD says of them.
async fn say(session: &SttSession, rate: SampleRate, words: &[i16]) {
    tone(session, rate, 200, 0).await;
    for (n, word) in words.iter().enumerate() {
        tone(session, rate, 60, word * 1_000).await;
        if n == 0 {
            send(session, SttInput::SpeechStarted).await;
        }
        tone(session, rate, 100, word * 1_000).await;
        tone(session, rate, 80, 0).await;
    }
}

async fn next(session: &mut SttSession) -> Option<SttEvent> {
    tokio::time::timeout(LONG, session.events.recv()).await.unwrap()
}

/// Events until the answer to a `Finalize`, or the failure.
async fn until_answer(session: &mut SttSession) -> Vec<SttEvent> {
    let mut events = Vec::new();
    while let Some(event) = next(session).await {
        let is_last =
            matches!(event, SttEvent::Final { answers: Some(_), .. } | SttEvent::Failed(_));
        events.push(event);
        if is_last {
            break;
        }
    }
    events
}

fn finals(events: &[SttEvent]) -> String {
    let text = |event: &SttEvent| match event {
        SttEvent::Final { text, .. } if !text.reveal().is_empty() => Some(text.reveal().clone()),
        _ => None,
    };
    events.iter().filter_map(text).collect::<Vec<_>>().join(" ")
}

fn reconnected(events: &[SttEvent]) -> bool {
    events.iter().any(|event| matches!(event, SttEvent::Reconnected))
}

fn no_violation(subject: &Subject, server: &Server) {
    let seen = server.log.seen();
    let broken: Vec<&Seen> =
        seen.iter().filter(|seen| matches!(seen, Seen::Violation(_))).collect();
    assert!(broken.is_empty(), "{}: {broken:?} in {seen:?}", subject.kind);
}

/// Says words and asks for them, on a server of its own.
async fn talk(subject: &Subject, plan: Plan, words: &[i16]) -> (Server, Vec<SttEvent>) {
    let server = Server::start(subject.vendor, plan).await;
    let stt = subject.stt(&server.url);
    let mut session = open(&*stt).await;
    say(&session, stt.sample_rate(), words).await;
    send(&session, SttInput::Finalize { id: 7 }).await;
    let events = until_answer(&mut session).await;
    no_violation(subject, &server);
    (server, events)
}

/// Two utterances, each answered with its own words.
pub(super) async fn happy_path(subject: &Subject) -> String {
    let server = Server::start(subject.vendor, Plan::default()).await;
    let stt = subject.stt(&server.url);
    let mut session = open(&*stt).await;
    for (id, words, wanted) in [(1, [1, 2], "w1 w2"), (2, [3, 4], "w3 w4")] {
        say(&session, stt.sample_rate(), &words).await;
        send(&session, SttInput::Finalize { id }).await;
        let events = until_answer(&mut session).await;
        assert_eq!(finals(&events), wanted, "{}: {events:?}", subject.kind);
        let Some(SttEvent::Final { answers, understood, .. }) = events.last() else {
            panic!("{}: {events:?}", subject.kind)
        };
        assert_eq!((*answers, *understood), (Some(id), true), "{}", subject.kind);
    }
    no_violation(subject, &server);
    let keyed = Seen::Connected { authorization: subject.authorization.to_owned() };
    let keyed = match subject.is_http() {
        true => Seen::Connected { authorization: subject.authorization.to_ascii_lowercase() },
        false => keyed,
    };
    assert!(server.log.seen().contains(&keyed), "{}: {:?}", subject.kind, server.log.seen());
    "yes".to_owned()
}

/// Hypotheses, which grow.
pub(super) async fn partials(subject: &Subject) -> String {
    let server = Server::start(subject.vendor, Plan::default()).await;
    let stt = subject.stt(&server.url);
    let mut session = open(&*stt).await;
    say(&session, stt.sample_rate(), &[1, 2, 3]).await;
    // Long enough for a message of any length; not yet the end of a turn.
    tone(&session, stt.sample_rate(), 100, 0).await;
    let mut texts = Vec::new();
    let early = async {
        while let Some(event) = session.events.recv().await {
            if let SttEvent::Partial { text } = event {
                texts.push(text.reveal().clone());
                if texts.last().is_some_and(|text| text == "w1 w2 w3") {
                    return;
                }
            }
        }
    };
    let early = tokio::time::timeout(Duration::from_secs(2), early).await.is_ok();
    if !early {
        assert!(texts.is_empty(), "{}: {texts:?}", subject.kind);
        send(&session, SttInput::Finalize { id: 1 }).await;
        let events = until_answer(&mut session).await;
        assert_eq!(finals(&events), "w1 w2 w3");
        let late = events.iter().any(|event| matches!(event, SttEvent::Partial { .. }));
        return if late { "after the end" } else { "none" }.to_owned();
    }
    assert!(texts.iter().all(|text| "w1 w2 w3".starts_with(text.as_str())), "{texts:?}");
    "yes".to_owned()
}

/// What a provider says of a turn that nobody ends for it.
pub(super) async fn turns(subject: &Subject) -> String {
    let server = Server::start(subject.vendor, Plan::default()).await;
    let stt = subject.stt(&server.url);
    if !stt.ends_turns() {
        return "no".to_owned();
    }
    let mut session = open(&*stt).await;
    let rate = stt.sample_rate();
    say(&session, rate, &[1, 2]).await;
    tone(&session, rate, 900, 0).await;
    let mut events = Vec::new();
    let mut signals = Vec::new();
    while signals.last() != Some(&TurnSignal::Over) {
        let event = next(&mut session).await.unwrap();
        if let SttEvent::Turn { signal, .. } = &event {
            signals.push(*signal);
        }
        events.push(event);
    }
    // The words come before the end, and without being asked for.
    assert_eq!(finals(&events), "w1 w2", "{}", subject.kind);
    assert_eq!(signals.first(), Some(&TurnSignal::Started), "{}", subject.kind);
    // There is nothing left to ask for, so that the answer is there at once; and the next turn is new.
    send(&session, SttInput::Finalize { id: 1 }).await;
    let events = until_answer(&mut session).await;
    assert!(matches!(events.last(), Some(SttEvent::Final { understood: true, .. })), "{events:?}");
    say(&session, rate, &[3]).await;
    send(&session, SttInput::Finalize { id: 2 }).await;
    let events = until_answer(&mut session).await;
    assert_eq!(finals(&events), "w3", "{}", subject.kind);
    let over = |event: &SttEvent| matches!(event, SttEvent::Turn { signal: TurnSignal::Over, .. });
    assert!(!events.iter().any(over), "{}: an end that was asked for is no opinion", subject.kind);
    no_violation(subject, &server);
    signals.iter().map(|signal| format!("{signal:?}")).collect::<Vec<_>>().join(", ")
}

/// A `Finalize` although nothing was said.
pub(super) async fn flush(subject: &Subject) -> String {
    let server = Server::start(subject.vendor, Plan::default()).await;
    let stt = subject.stt(&server.url);
    let mut session = open(&*stt).await;
    tone(&session, stt.sample_rate(), 400, 0).await;
    let asked = clock::now();
    send(&session, SttInput::Finalize { id: 5 }).await;
    let events = until_answer(&mut session).await;
    let by_timer = clock::now() - asked >= Duration::from_millis(400);
    let answered =
        matches!(events.last(), Some(SttEvent::Final { answers: Some(5), understood: false, .. }));
    assert!(answered, "{}: {events:?}", subject.kind);
    no_violation(subject, &server);
    if by_timer { "by the timer" } else { "at once" }.to_owned()
}

/// A dropped session closes its connection in the middle of a word.
pub(super) async fn dropped(subject: &Subject) -> String {
    // A request must be under way to be seen to end.
    let delay = if subject.is_http() { LONG } else { Duration::ZERO };
    let plan = Plan { delay, ..Plan::default() };
    let server = Server::start(subject.vendor, plan).await;
    let stt = subject.stt(&server.url);
    let session = open(&*stt).await;
    say(&session, stt.sample_rate(), &[1]).await;
    if subject.is_http() {
        send(&session, SttInput::Finalize { id: 1 }).await;
        let begun = server.log.wait(0, LONG, |seen| matches!(seen, Seen::Audio(_))).await;
        assert!(begun.is_some());
    } else {
        assert!(server.log.wait(0, LONG, |s| matches!(s, Seen::Connected { .. })).await.is_some());
    }
    let dropped = clock::now();
    drop(session);
    let (at, _) = server.log.wait(0, LONG, |seen| *seen == Seen::Closed).await.unwrap();
    let took = at.saturating_duration_since(dropped);
    assert!(took < Duration::from_millis(100), "{}: {took:?}", subject.kind);
    "closed".to_owned()
}

/// What an idle connection is given.
pub(super) async fn keep_alive(subject: &Subject) -> String {
    let server = Server::start(subject.vendor, Plan::default()).await;
    let stt = subject.stt(&server.url);
    let session = open(&*stt).await;
    let rate = stt.sample_rate();
    // Whatever opens the session comes first.
    tone(&session, rate, 100, 0).await;
    let first =
        server.log.wait(0, Duration::from_millis(200), |s| matches!(s, Seen::Audio(_))).await;
    let from = first.map_or(0, |_| server.log.seen().len());
    let wanted = |seen: &Seen| match seen {
        Seen::Audio(_) => true,
        Seen::Text(text) => text.to_lowercase().contains("keepalive"),
        _ => false,
    };
    let kept = server.log.wait(from, Duration::from_secs(1), wanted).await;
    no_violation(subject, &server);
    drop(session);
    match kept {
        Some((_, Seen::Text(_))) => "message",
        Some(_) => "silence",
        None => "none needed",
    }
    .to_owned()
}

/// An answer that takes its time is waited for, and given once.
pub(super) async fn slow(subject: &Subject) -> String {
    let plan = Plan { delay: Duration::from_millis(200), ..Plan::default() };
    let (_, events) = talk(subject, plan, &[1, 2]).await;
    assert_eq!(finals(&events), "w1 w2", "{}: {events:?}", subject.kind);
    "waited for".to_owned()
}

/// A connection that ends in the middle of an utterance, at three places.
pub(super) async fn cut(subject: &Subject) -> String {
    let mut again = true;
    for after in [2, 5, 7] {
        let plan = Plan { cut_after: Some(after), ..Plan::default() };
        let (server, events) = talk(subject, plan, &[1, 2, 3, 4]).await;
        assert_eq!(finals(&events), "w1 w2 w3 w4", "{} after {after}: {events:?}", subject.kind);
        assert_eq!(server.log.connections(), 2, "{} after {after}", subject.kind);
        again = !reconnected(&events);
    }
    if again { "asked again" } else { "replayed" }.to_owned()
}

/// Errors of the vendor's: those that pass are outlived, those that stay are reported at once.
pub(super) async fn errors(subject: &Subject) -> String {
    let mut cells = Vec::new();
    for failing in &subject.failing {
        let kind = failing.kind;
        let mut plan = Plan { status: failing.status, ..Plan::default() };
        if failing.status.is_none() || subject.is_http() {
            plan.instead = (failing.says)();
        }
        let name = format!("{} {}", subject.kind, failing.name);
        let error = if failing.status.is_some() && !subject.is_http() {
            let server = Server::start(subject.vendor, plan).await;
            subject.stt(&server.url).open(SttParams::default()).await.err()
        } else {
            let (server, events) = talk(subject, plan, &[1, 2]).await;
            match events.last() {
                Some(SttEvent::Failed(error)) => {
                    let most = if kind.is_retryable() { 2 } else { 1 };
                    assert!(server.log.connections() <= most, "{name}");
                    Some(error.clone())
                }
                _ => {
                    assert!(kind.is_retryable() && reconnected(&events), "{name}: {events:?}");
                    assert_eq!(finals(&events), "w1 w2", "{name}");
                    None
                }
            }
        };
        if let Some(error) = &error {
            assert_eq!(error.kind, kind, "{name}: {error:?}");
            assert!(!format!("{error:?}").contains("canary"), "{name}: {error:?}");
        }
        let word = if error.is_some() { kind.as_str() } else { "reconnects" };
        cells.push(format!("{}: {word}", failing.name));
    }
    cells.join(", ")
}

/// What is not the protocol ends the session, and is not repeated in the error.
pub(super) async fn garbage(subject: &Subject) -> String {
    for garbage in [
        "{\"type\": canary",
        "canary",
        "[1,2]",
        "{\"type\":7,\"message\":7,\"text\":7,\"tokens\":7}",
    ] {
        let instead = vec![Say::Text(garbage.to_owned())];
        let (_, events) = talk(subject, Plan { instead, ..Plan::default() }, &[1, 2]).await;
        let Some(SttEvent::Failed(error)) = events.last() else {
            panic!("{}: {garbage}: {events:?}", subject.kind)
        };
        assert_eq!(error.kind, FailureKind::Protocol, "{}: {error:?}", subject.kind);
        assert!(!format!("{error:?}").contains(KEY) && !format!("{error:?}").contains("canary"));
    }
    "protocol".to_owned()
}

/// Octets of G.711 reach the provider as they came.
pub(super) async fn g711(subject: &Subject) -> String {
    let config = ProviderConfig { encoding: "mulaw".to_owned(), ..ProviderConfig::default() };
    if !subject.mulaw {
        let error = match subject.is_http() {
            true => return "no".to_owned(),
            false => subject.try_stt(&config).err().unwrap(),
        };
        assert_eq!(error.to_string(), "`encoding` \"mulaw\" is not allowed; allowed: pcm");
        return "no".to_owned();
    }
    let server = Server::start(subject.vendor, Plan::default()).await;
    let stt = subject.try_stt(&ProviderConfig { base_url: server.url.clone(), ..config }).unwrap();
    assert_eq!(stt.sample_rate(), SampleRate::HZ_8000);
    let session = open(&*stt).await;
    // All codes but the negative zero, ten times: messages of any length are full.
    let codes: Vec<u8> = (0..10).flat_map(|_| (0..=u8::MAX).filter(|code| *code != 0x7F)).collect();
    send(&session, SttInput::SpeechStarted).await;
    for frame in codes.chunks(160) {
        let samples = frame.iter().map(|code| g711::decode_ulaw(*code)).collect();
        send(&session, SttInput::Audio(samples)).await;
    }
    send(&session, SttInput::Finalize { id: 1 }).await;
    let arrived = || server.log.octets.lock().unwrap().len() >= codes.len();
    server.log.wait(0, LONG, |_| arrived()).await.unwrap();
    let octets = server.log.octets.lock().unwrap().clone();
    assert_eq!(octets.get(..codes.len()), Some(codes.as_slice()), "{}", subject.kind);
    "untouched".to_owned()
}

/// A rate that the provider does not take.
pub(super) fn wrong_rate(subject: &Subject) -> String {
    let config = ProviderConfig { sample_rate: 11_025, ..ProviderConfig::default() };
    let error = subject.try_stt(&config).err().unwrap().to_string();
    let allowed = error.strip_prefix("`sample_rate` 11025 is not allowed; allowed: ").unwrap();
    format!("refused; {allowed}")
}
