#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::super::tests::{Parrot, after_ms, agent};
use super::*;
use crate::audio::g711;
use crate::providers::stt::SttSession;
use crate::types::Pii;

/// What a recogniser does with a finalize.
#[derive(Clone, Copy)]
enum Manner {
    /// Gives the words it heard: one for each run of equal samples.
    Words,
    /// Finds none.
    Nothing,
    /// Says nothing.
    Silent,
    /// Ends the session.
    Cut,
    /// Does not even open.
    Refused(FailureKind),
    /// Opens after so many ms.
    Opens(u64),
}

/// A recogniser that knows what it heard.
struct Ear {
    name: &'static str,
    manner: Mutex<Manner>,
    rate: SampleRate,
    opened: Arc<Mutex<u32>>,
}

fn ear(name: &'static str, manner: Manner) -> Ear {
    let rate = SampleRate::HZ_8000;
    Ear { name, manner: Mutex::new(manner), rate, opened: Arc::default() }
}

/// A level that G.711 keeps as it is, 0 to 127.
fn level(n: i16) -> i16 {
    g711::decode_ulaw(255 - n as u8)
}

/// The levels of a stretch of audio, each once: what a caller "said".
fn words(samples: &[i16]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut last = 0;
    for sample in samples {
        if *sample != last && *sample != 0 {
            words.push((255 - g711::encode_ulaw(*sample)).to_string());
        }
        last = *sample;
    }
    words.join(" ")
}

impl Stt for Ear {
    fn name(&self) -> &str {
        self.name
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn sample_rate(&self) -> SampleRate {
        self.rate
    }

    fn open(&self, _: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        *self.opened.lock().unwrap() += 1;
        let (name, manner) = (self.name.to_owned(), *self.manner.lock().unwrap());
        async move {
            match manner {
                Manner::Refused(kind) => {
                    let detail = "as told".to_owned();
                    return Err(ProviderError { provider: name, stage: Stage::Stt, kind, detail });
                }
                Manner::Opens(ms) => after_ms(ms).await,
                _ => {}
            }
            let (input, mut heard) = mpsc::channel(100);
            let (told, events) = mpsc::channel(64);
            tokio::spawn(async move {
                let mut audio = Vec::new();
                while let Some(input) = heard.recv().await {
                    let id = match input {
                        SttInput::Audio(samples) => {
                            audio.extend(samples);
                            continue;
                        }
                        SttInput::SpeechStarted => continue,
                        SttInput::Finalize { id } => id,
                    };
                    let text = match manner {
                        Manner::Silent => continue,
                        Manner::Cut => return,
                        Manner::Nothing => String::new(),
                        _ => words(&audio),
                    };
                    audio.clear();
                    let understood = !text.is_empty();
                    let (text, at) = (Pii::new(text), clock::now());
                    let (confidence, answers) = (None, Some(id));
                    let event = SttEvent::Final { text, confidence, answers, understood, at };
                    let _ = told.send(event).await;
                }
            });
            Ok(SttSession { input, events })
        }
        .boxed()
    }
}

fn line(ears: Vec<Ear>) -> SttLine {
    let mut own = agent(Parrot::default());
    let mut ears = ears.into_iter().map(|ear| Arc::new(ear) as Arc<dyn Stt>);
    own.stt = ears.next().unwrap();
    own.fallbacks.stt = ears.collect();
    let mut line = SttLine::open(Arc::new(own), WatchdogConfig::default(), &Breakers::default());
    line.set_line_rate(SampleRate::HZ_8000);
    line
}

/// Lets the line work until it has told this much, short.
async fn told(line: &mut SttLine, until: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    loop {
        let wake = line.next_wake();
        let timer = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            event = line.next() => event,
            () = timer => {
                line.on_timeout(clock::now());
                continue;
            }
        };
        out.push(match event {
            VoiceEvent::Ready(_) => "ready".to_owned(),
            VoiceEvent::Recovered(_) => "recovered".to_owned(),
            VoiceEvent::SttFinal { text, .. } => format!("final [{}]", text.reveal()),
            VoiceEvent::FailedOver { from, to, reason, .. } => format!("{from}>{to} {reason}"),
            VoiceEvent::Retrying(error) => format!("{} {}", error.provider, error.kind.as_str()),
            VoiceEvent::SttFailed(error) => error.code,
            other => format!("{other:?}"),
        });
        if out.last().unwrap().starts_with(until) {
            return out;
        }
    }
}

/// The caller says a word for 600 ms and stops.
fn says(line: &mut SttLine, word: i16, id: u32) {
    line.speech_started();
    for _ in 0..30 {
        line.push(&[level(word); 160]);
        line.flush();
    }
    line.push(&[0; 160]);
    line.finalize(id);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_while_the_session_opens_is_not_lost() {
    let mut line = line(vec![ear("own", Manner::Opens(700))]);
    says(&mut line, 7, 1);
    assert_eq!(told(&mut line, "final").await, ["ready", "final [7]"]);
}

#[tokio::test(start_paused = true)]
async fn a_recogniser_that_dies_under_an_utterance_loses_no_word_of_it() {
    let mut line = line(vec![ear("own", Manner::Cut), ear("other", Manner::Words)]);
    told(&mut line, "ready").await;
    says(&mut line, 7, 1);
    let told = told(&mut line, "final").await;
    assert!(told.contains(&"own>other cut".to_owned()), "{told:?}");
    assert_eq!(told.last().unwrap(), "final [7]");
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_too_late_is_overtaken_within_a_second() {
    let mut line = line(vec![ear("own", Manner::Silent), ear("other", Manner::Words)]);
    told(&mut line, "ready").await;
    let begun = clock::now();
    says(&mut line, 7, 1);
    assert_eq!(told(&mut line, "final").await, ["own>other slow", "final [7]"]);
    assert_eq!(clock::now().saturating_duration_since(begun), Duration::from_millis(800));
    // The other one stays, and does not hear the first word again.
    says(&mut line, 8, 2);
    assert_eq!(told(&mut line, "final").await, ["final [8]"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_never_found_a_word_is_checked_by_another() {
    let mut line = line(vec![ear("own", Manner::Nothing), ear("other", Manner::Words)]);
    told(&mut line, "ready").await;
    says(&mut line, 7, 1);
    assert_eq!(told(&mut line, "final").await, ["own>other empty", "final [7]"]);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_finds_a_word_there_is_none_and_nobody_moves() {
    let mut line = line(vec![ear("own", Manner::Nothing), ear("other", Manner::Nothing)]);
    told(&mut line, "ready").await;
    says(&mut line, 7, 1);
    assert_eq!(told(&mut line, "final").await, ["final []"]);
    assert_eq!(line.main.leg, 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_opinion_that_never_comes_is_not_waited_for() {
    let mut line = line(vec![ear("own", Manner::Nothing), ear("other", Manner::Silent)]);
    told(&mut line, "ready").await;
    says(&mut line, 7, 1);
    assert_eq!(told(&mut line, "final").await, ["final []"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_takes_long_to_open_is_not_waited_for() {
    let mut line = line(vec![ear("own", Manner::Opens(2_500)), ear("other", Manner::Words)]);
    let begun = clock::now();
    assert_eq!(told(&mut line, "ready").await, ["own>other slow", "ready"]);
    assert_eq!(clock::now().saturating_duration_since(begun), Duration::from_millis(800));
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_not_tried_twice() {
    let own = ear("own", Manner::Refused(FailureKind::Auth));
    let opened = Arc::clone(&own.opened);
    let mut line = line(vec![own, ear("other", Manner::Words)]);
    let told = told(&mut line, "ready").await;
    assert!(told.contains(&"own>other auth".to_owned()), "{told:?}");
    assert_eq!(*opened.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lone_recogniser_is_asked_once_more_and_told_of_once() {
    let mut line = line(vec![ear("own", Manner::Refused(FailureKind::Unavailable))]);
    let told = told(&mut line, "stt_").await;
    assert_eq!(told, ["own unavailable", "stt_unavailable"]);
}

proptest! {
    /// Whatever comes: the ring holds the newest audio, no more than 10 s of it, in order.
    #[test]
    fn the_ring_is_the_newest_audio(steps in proptest::collection::vec(0u8..8, 1..900)) {
        let mut ring = Ring::new(SampleRate::HZ_8000);
        let mut next = 0i16;
        for step in steps {
            match step {
                0 => ring.speech_started(),
                1 => ring.accounted(ring.position(), true),
                2 => ring.partly_accounted(),
                _ => {
                    next = (next + 1) % 128;
                    ring.push(&[level(next); 160]);
                }
            }
            let kept: Vec<i16> = ring.pieces().flatten().collect();
            prop_assert!(kept.len() <= 80_000);
            let frames: Vec<i16> = kept.chunks(160).map(|frame| frame[0]).collect();
            prop_assert!(frames.last().is_none_or(|last| *last == level(next)));
            let number = |sample: i16| i16::from(255 - g711::encode_ulaw(sample));
            let follows = |a: i16, b: i16| number(b) == (number(a) + 1) % 128;
            prop_assert!(frames.windows(2).all(|pair| follows(pair[0], pair[1])));
        }
    }
}
