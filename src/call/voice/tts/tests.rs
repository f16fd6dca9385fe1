#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;
use std::time::Duration;

use super::super::cache::TtsCacheConfig;
use super::super::tests::{Parrot, agent};
use super::*;
use crate::types::Pcm;

/// An open line, and what its voice was asked.
async fn line(parrot: Parrot, cache: Arc<TtsCache>) -> (TtsLine, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::clone(&parrot.asked);
    let agent = Arc::new(agent(parrot));
    let mut line = TtsLine::open(agent, WatchdogConfig::default(), String::new(), cache, &Breakers::default());
    assert!(matches!(next(&mut line).await, VoiceEvent::Ready(Stage::Tts)));
    (line, asked)
}

async fn next(line: &mut TtsLine) -> VoiceEvent {
    tokio::time::timeout(Duration::from_secs(20), line.next()).await.expect("an event")
}

fn cache() -> Arc<TtsCache> {
    TtsCache::open(TtsCacheConfig { prewarm: false, ..TtsCacheConfig::default() }).unwrap()
}

fn say(line: &mut TtsLine, seq: u32, text: &str) {
    line.say(Generation(1), seq, Pii::new(text.to_owned()));
}

/// Events until so many sentences are done, short: `audio 0 kept`, `marks 0 7@70`, `done 0`.
async fn told(line: &mut TtsLine, sentences: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut done = 0;
    while done < sentences {
        out.push(match next(line).await {
            VoiceEvent::TtsAudio { seq, is_kept, .. } => {
                format!("audio {seq}{}", if is_kept { " kept" } else { "" })
            }
            VoiceEvent::TtsAligned(_, seq, marks) => {
                let marks: Vec<_> =
                    marks.iter().map(|m| format!("{}@{}", m.chars, m.offset_ms)).collect();
                format!("marks {seq} {}", marks.join(" "))
            }
            VoiceEvent::TtsDone(_, seq) => {
                done += 1;
                format!("done {seq}")
            }
            other => format!("{other:?}"),
        });
    }
    out
}

fn characters(line: &TtsLine) -> f64 {
    let mut usage = Vec::new();
    line.add_usage(&mut usage);
    usage.iter().map(|own| own.quantity).sum()
}

#[tokio::test]
async fn what_was_said_once_needs_no_voice_and_costs_nothing() {
    let cache = cache();
    let (mut first, asked) =
        line(Parrot { aligns: true, ..Parrot::default() }, Arc::clone(&cache)).await;
    say(&mut first, 0, "Are you there?");
    assert_eq!(told(&mut first, 1).await, ["audio 0", "marks 0 7@70 14@140", "done 0"]);
    assert_eq!((asked.lock().unwrap().len(), characters(&first)), (1, 14.0));

    let (mut second, asked) = line(Parrot::default(), cache).await;
    say(&mut second, 0, "Are you there?");
    assert_eq!(told(&mut second, 1).await, ["audio 0 kept", "marks 0 7@70 14@140", "done 0"]);
    assert_eq!((asked.lock().unwrap().len(), characters(&second)), (0, 0.0));
}

#[tokio::test]
async fn kept_sentences_keep_their_place() {
    let cache = cache();
    let (mut line, asked) = line(Parrot::default(), cache).await;
    say(&mut line, 0, "Are you there?");
    told(&mut line, 1).await;
    for (seq, text) in [(1, "One."), (2, "Are you there?"), (3, "Two."), (4, "Are you there?")] {
        say(&mut line, seq, text);
    }
    let told = told(&mut line, 4).await;
    let order: Vec<_> = told.iter().filter(|word| word.starts_with("audio")).collect();
    assert_eq!(order, ["audio 1", "audio 2 kept", "audio 3", "audio 4 kept"]);
    assert_eq!(*asked.lock().unwrap(), ["Are you there?", "One.", "Two."]);
}

#[tokio::test]
async fn a_reply_that_is_stopped_says_nothing_more() {
    let (mut line, _) = line(Parrot::default(), cache()).await;
    say(&mut line, 0, "Are you there?");
    told(&mut line, 1).await;
    say(&mut line, 1, "Are you there?");
    line.play_kept();
    assert!(!line.ready.is_empty());
    line.cancel(Generation(1));
    assert!(line.ready.is_empty() && line.pending.is_empty());
}

#[tokio::test]
async fn marks_count_characters_of_the_text_and_not_of_its_spoken_form() {
    let (mut line, asked) = line(Parrot { aligns: true, ..Parrot::default() }, cache()).await;
    say(&mut line, 0, "It is $5.");
    // "It is five dollars." has 19 characters; its ninth lies within the amount.
    assert_eq!(told(&mut line, 1).await, ["audio 0", "marks 0 6@90 9@190", "done 0"]);
    assert_eq!(*asked.lock().unwrap(), ["It is five dollars."]);
    assert_eq!(characters(&line), 19.0);
}

#[tokio::test]
async fn a_voice_without_marks_gets_them_from_the_length_of_what_it_said() {
    let (mut line, _) = line(Parrot::default(), cache()).await;
    say(&mut line, 0, "It is $5.");
    let told = told(&mut line, 1).await;
    assert_eq!(told, ["audio 0", "marks 0 2@20 5@50 6@100 9@190", "done 0"]);
}

#[tokio::test]
async fn a_sentence_without_words_is_done_without_a_sound() {
    let (mut line, asked) = line(Parrot::default(), cache()).await;
    say(&mut line, 0, "👍 **");
    say(&mut line, 1, "Fine.");
    let told = told(&mut line, 2).await;
    assert_eq!(told, ["done 0", "audio 1", "done 1"]);
    assert_eq!(*asked.lock().unwrap(), ["Fine."]);
}

#[tokio::test]
async fn what_is_kept_sounds_without_a_session() {
    let cache = cache();
    let (mut first, _) = line(Parrot::default(), Arc::clone(&cache)).await;
    say(&mut first, 0, "Are you there?");
    told(&mut first, 1).await;
    let (mut second, _) = line(Parrot::default(), cache).await;
    second.main.state = State::Closed;
    say(&mut second, 0, "Are you there?");
    assert_eq!(told(&mut second, 1).await, ["audio 0 kept", "done 0"]);
    assert!(second.is_closed(), "nobody opened a session for it");
    second.main.state = State::Dead(second.error(FailureKind::Auth, "gone"));
    say(&mut second, 1, "Never.");
    say(&mut second, 2, "Are you there?");
    let mut words = Vec::new();
    for _ in 0..4 {
        words.push(match next(&mut second).await {
            VoiceEvent::TtsFailed(_, seq, _) => format!("failed {seq}"),
            VoiceEvent::TtsAudio { seq, pcm: Pcm { .. }, .. } => format!("audio {seq}"),
            VoiceEvent::TtsDone(_, seq) => format!("done {seq}"),
            VoiceEvent::Retrying(_) => "retrying".to_owned(),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(words, ["retrying", "audio 2", "done 2", "failed 1"]);
}
