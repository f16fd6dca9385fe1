#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::super::cache::TtsCacheConfig;
use super::super::tests::{Parrot, after_ms, agent};
use super::*;
use crate::providers::tts::Tts;
use crate::types::{Pcm, SampleRate};

/// An open line, and what its voice was asked.
async fn line(parrot: Parrot, cache: Arc<TtsCache>) -> (TtsLine, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::clone(&parrot.asked);
    let agent = Arc::new(agent(parrot));
    let mut line =
        TtsLine::open(agent, WatchdogConfig::default(), String::new(), cache, &Breakers::default());
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

/// What a voice does with a sentence.
#[derive(Clone, Copy)]
enum Manner {
    /// Says it, 60 ms a character, after so many ms.
    Says(u64),
    /// Gives 100 ms of it and ends the session.
    Cut,
    /// Gives 100 ms of it and nothing more.
    Stalls,
    /// Says that it is done without a sound.
    Mute,
    /// Opens after so many ms.
    Opens(u64),
    /// Does not even open.
    Refused(FailureKind),
}

struct Singer {
    name: &'static str,
    manner: Manner,
    asked: Arc<Mutex<Vec<String>>>,
}

fn singer(name: &'static str, manner: Manner) -> Singer {
    Singer { name, manner, asked: Arc::default() }
}

impl Tts for Singer {
    fn name(&self) -> &str {
        self.name
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn open(&self, _: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let (name, manner, asked) = (self.name.to_owned(), self.manner, Arc::clone(&self.asked));
        async move {
            match manner {
                Manner::Refused(kind) => {
                    let detail = "as told".to_owned();
                    return Err(ProviderError { provider: name, stage: Stage::Tts, kind, detail });
                }
                Manner::Opens(ms) => after_ms(ms).await,
                _ => {}
            }
            let (input, mut said) = mpsc::channel(64);
            let (told, events) = mpsc::channel(64);
            tokio::spawn(async move {
                while let Some(input) = said.recv().await {
                    let TtsInput::Say { generation, seq, text } = input else { continue };
                    asked.lock().unwrap().push(text.reveal().clone());
                    if let Manner::Says(after) = manner {
                        after_ms(after).await;
                    }
                    let whole = text.reveal().chars().count() * 480;
                    let samples = match manner {
                        Manner::Mute => 0,
                        Manner::Cut | Manner::Stalls => 800,
                        _ => whole,
                    };
                    let pcm = Pcm { rate: SampleRate::HZ_8000, samples: vec![1_000; samples] };
                    let at = clock::now();
                    if samples > 0 {
                        let _ = told.send(TtsEvent::Audio { generation, seq, pcm, at }).await;
                    }
                    match manner {
                        Manner::Cut => return,
                        Manner::Stalls => continue,
                        _ => {}
                    }
                    let _ = told.send(TtsEvent::Done { generation, seq }).await;
                }
            });
            Ok(TtsSession { input, events })
        }
        .boxed()
    }
}

fn line_of(singers: Vec<Singer>) -> TtsLine {
    let mut own = agent(Parrot::default());
    let mut singers = singers.into_iter().map(|singer| Arc::new(singer) as Arc<dyn Tts>);
    own.tts = singers.next().unwrap();
    let voice = |tts| FallbackVoice { tts, service: String::new(), voice: String::new() };
    own.fallbacks.tts = singers.map(voice).collect();
    let (config, cache) = (WatchdogConfig::default(), TtsCache::off());
    TtsLine::open(Arc::new(own), config, String::new(), cache, &Breakers::default())
}

/// As [`told`], in virtual time: the line's own timers run.
async fn told_of(line: &mut TtsLine, sentences: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let over = |own: &&String| own.starts_with("done") || own.starts_with("failed");
    while out.iter().filter(over).count() < sentences {
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
            VoiceEvent::TtsAudio { seq, pcm, .. } => {
                format!("audio {seq} {}", pcm.samples.len() / 8)
            }
            VoiceEvent::TtsDone(_, seq) => format!("done {seq}"),
            VoiceEvent::TtsFailed(_, seq, _) => format!("failed {seq}"),
            VoiceEvent::FailedOver { from, to, reason, .. } => format!("{from}>{to} {reason}"),
            VoiceEvent::Retrying(_) | VoiceEvent::Ready(_) | VoiceEvent::Recovered(_) => continue,
            other => format!("{other:?}"),
        });
    }
    out
}

#[tokio::test(start_paused = true)]
async fn the_first_sound_wins_and_the_other_voice_stays_for_the_rest_of_the_call() {
    let slow = singer("own", Manner::Says(3_000));
    let asked = Arc::clone(&slow.asked);
    let mut line = line_of(vec![slow, singer("other", Manner::Says(100))]);
    let begun = clock::now();
    say(&mut line, 0, "One.");
    say(&mut line, 1, "Two.");
    let told = told_of(&mut line, 2).await;
    assert_eq!(told, ["own>other slow", "audio 0 240", "done 0", "audio 1 240", "done 1"]);
    assert_eq!(clock::now().saturating_duration_since(begun).as_millis(), 1_000);
    say(&mut line, 2, "Three.");
    assert_eq!(told_of(&mut line, 1).await, ["audio 2 360", "done 2"]);
    assert!(!asked.lock().unwrap().contains(&"Three.".to_owned()), "the loser is gone");
}

#[tokio::test(start_paused = true)]
async fn a_sentence_that_broke_off_is_said_again_and_not_for_ever() {
    let sentence = "This is a sentence of a length.";
    for manner in [Manner::Cut, Manner::Stalls] {
        let mut line = line_of(vec![singer("own", manner), singer("other", Manner::Says(10))]);
        say(&mut line, 0, sentence);
        let told = told_of(&mut line, 1).await;
        let whole = format!("audio 0 {}", sentence.len() * 60);
        assert_eq!(told.iter().rev().take(2).collect::<Vec<_>>(), ["done 0", &whole], "{told:?}");
        assert!(told.iter().any(|own| own.starts_with("own>other")), "{told:?}");
    }
    let mut line = line_of(vec![singer("own", Manner::Cut), singer("other", Manner::Cut)]);
    say(&mut line, 0, sentence);
    let told = told_of(&mut line, 1).await;
    assert!(told.len() < 10, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_voice_without_a_sound_a_refused_one_and_one_that_does_not_open_are_gone_on_from() {
    let auth = Manner::Refused(FailureKind::Auth);
    let rows = [(Manner::Mute, "protocol"), (auth, "auth"), (Manner::Opens(2_900), "slow")];
    for (manner, reason) in rows {
        let mut line = line_of(vec![singer("own", manner), singer("other", Manner::Says(10))]);
        say(&mut line, 0, "One.");
        let told = told_of(&mut line, 1).await;
        assert_eq!(told, [&format!("own>other {reason}"), "audio 0 240", "done 0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn where_every_voice_fails_the_sentence_fails_and_something_can_still_sound() {
    let refused = |name| singer(name, Manner::Refused(FailureKind::Unavailable));
    let mut line = line_of(vec![refused("own"), refused("other")]);
    say(&mut line, 0, "One.");
    assert_eq!(told_of(&mut line, 1).await.last().unwrap(), "failed 0");
    let sound = line.last_resort("Sorry.");
    assert!(
        sound.duration() > Duration::from_millis(800) && sound.samples.iter().any(|s| *s > 3_000)
    );
}

#[tokio::test]
async fn what_was_kept_in_the_agents_voice_is_the_sound_of_last_resort() {
    let cache = cache();
    let (mut line, _) = line(Parrot::default(), cache).await;
    say(&mut line, 0, "Are you there?");
    told(&mut line, 1).await;
    assert_eq!(line.last_resort("Are you there?").samples.len(), 14 * 80);
}
