//! Interruptions: onset of the caller's speech to the last audible packet of the agent, while its
//! language model still streams and after it is done; and whether anything of the old answer came
//! afterwards, and whether the history holds what the recording holds.

use std::time::{Duration, Instant};

use trunkline::audio::wav::{self, WavAudio};
use trunkline::sim::providers::{MockProviders, MockStage, Script, What};
use trunkline::softphone::ear::tone_share;
use trunkline::softphone::{CallRequest, Phone, PhoneConfig};
use trunkline::types::{Pcm, SampleRate};

use super::handover::utterance;
use super::server::Server;
use super::summary;

const LIMIT: Duration = Duration::from_secs(20);

/// Long enough to be interrupted: about ten seconds of tones, each sentence another one.
const OLD: &str = "Let me explain this at some length, because it matters. There are many reasons \
    for it and I will name them one after the other, slowly. Please stop me when you have heard enough.";
/// The answer to the interruption.
const NEW: &str = "Then I will stop here. What else can I do for you?";

/// Tones of the sentences, far enough apart to be told in 20 ms.
const TONE_HZ: f32 = 500.0;
const TONE_STEP_HZ: f32 = 250.0;
/// -50 dBFS, from which the ledger calls audio audible.
const AUDIBLE: f64 = 104.0;

/// What became of one interruption.
struct Try {
    stop_ms: f64,
    /// Audible frames of an old sentence after the agent fell silent.
    stale_frames: usize,
    /// Audible frames before the caller's next words were even over.
    early_frames: usize,
    /// Characters the recording holds of the old answer, and characters of it in the history.
    recorded_chars: f64,
    history_chars: usize,
    /// The model was asked with the words that the transcript says were heard.
    same_history: bool,
}

pub async fn run(tries: usize) {
    for (name, token_gap) in [("while the LLM streams", 300), ("while TTS plays, LLM done", 1)] {
        let mut script = Script::default();
        script.llm.replies = vec![OLD.to_owned(), NEW.to_owned()];
        script.llm.token_gap = Duration::from_millis(token_gap);
        (script.tts.tone_hz, script.tts.tone_step_hz) = (TONE_HZ, TONE_STEP_HZ);
        let per_char_ms = script.tts.per_char.as_secs_f64() * 1_000.0;
        let mocks = MockProviders::start(script).await.unwrap();
        let server = Server::start(&mocks, "").await;
        let phone = Phone::start(PhoneConfig::default()).await.unwrap();
        let speech = utterance();
        let mut done = Vec::new();
        for _ in 0..tries {
            done.push(one(&phone, &server, &mocks, &speech, per_char_ms).await);
        }
        let reported = reported(&server, tries).await;
        print(name, &done, reported);
    }
}

async fn one(
    phone: &Phone,
    server: &Server,
    mocks: &MockProviders,
    speech: &Pcm,
    per_char_ms: f64,
) -> Try {
    let begun = Instant::now();
    let call = phone.call(CallRequest::to(&server.uri)).await.unwrap();
    call.answered(LIMIT).await.unwrap();
    call.say(speech).await.unwrap();
    let barged = call.barge_in(speech, LIMIT).await.unwrap();
    // The answer to the interruption is heard for a while, so that what is stale could be, too.
    call.hear_reply(LIMIT).await.unwrap();
    call.hang_up().await.unwrap();
    let id = server.newest_call().await;
    let record = server.get(&format!("/v1/calls/{id}")).await;
    let file = record["recording"]["filename"].as_str().unwrap();
    let wav = wav::read_file(&server.directory.path().join("recordings").join(file)).unwrap();
    let transcript = server.get(&format!("/v1/calls/{id}/transcript")).await;
    let turns = transcript["turns"].as_array().unwrap();
    let cut = turns.iter().find(|turn| turn["interrupted"] == true).expect("an interrupted turn");
    let heard = cut["spoken_content"].as_str().unwrap();
    let log = mocks.log.entries();
    let mine = || log.iter().filter(|entry| entry.at >= begun);
    let texts: Vec<&String> = mine()
        .filter_map(|entry| match &entry.what {
            What::TtsText(text) => Some(text),
            _ => None,
        })
        .collect();
    let old = texts.iter().take_while(|text| OLD.contains(text.as_str())).count();
    assert!(old > 0 && texts.len() > old, "both answers were spoken: {texts:?}");
    let mut asked = mine().filter(|entry| entry.stage == MockStage::Llm).filter_map(|entry| {
        if let What::LlmHistory(words) = &entry.what { Some(words) } else { None }
    });
    let (last, recorded_ms, early_frames) = cut_of(&wav);
    let stale_frames = stale(&wav, last, old);
    Try {
        stop_ms: barged.stop_time().as_secs_f64() * 1_000.0,
        stale_frames,
        early_frames,
        recorded_chars: recorded_ms / per_char_ms,
        history_chars: spoken_chars(heard, &texts),
        same_history: asked.next_back().is_some_and(|words| words.trim() == heard.trim()),
    }
}

/// Characters of `heard` as the voice speaks them: the spaces between sentences make no sound.
fn spoken_chars(heard: &str, texts: &[&String]) -> usize {
    let (mut rest, mut chars) = (heard.trim(), 0);
    for text in texts {
        match rest.strip_prefix(text.as_str()) {
            Some(after) => {
                chars += text.chars().count();
                rest = after.trim_start();
            }
            None => return chars + rest.chars().count(),
        }
    }
    chars
}

fn loud(frame: &[i16]) -> bool {
    let square: f64 = frame.iter().map(|s| f64::from(*s).powi(2)).sum();
    (square / frame.len().max(1) as f64).sqrt() > AUDIBLE
}

/// Where the old answer ends, in frames of 20 ms; how much of it is audible; and how many frames are
/// audible between there and the end of the words that interrupted it.
fn cut_of(wav: &WavAudio) -> (usize, f64, usize) {
    let size = SampleRate::HZ_8000.samples_in_ms(20);
    let caller: Vec<bool> = wav.channels[0].chunks(size).map(loud).collect();
    let agent: Vec<bool> = wav.channels[1].chunks(size).map(loud).collect();
    let first = agent.iter().position(|loud| *loud).expect("the old answer");
    let onset = first + caller.iter().skip(first).position(|loud| *loud).expect("the caller");
    // Ten silent frames end it: its sentences follow each other sooner once it is being stopped.
    let last = (onset..agent.len())
        .find(|at| agent.iter().skip(*at).take(10).all(|loud| !loud))
        .expect("the agent falls silent");
    let words = caller.iter().skip(onset).take(50).rposition(|loud| *loud).unwrap_or(0);
    let early = agent.iter().take(onset + words).skip(last).filter(|loud| **loud).count();
    // Exactly to the sample: a frame may be cut within.
    let samples = &wav.channels[1][first * size..last * size];
    let audible = samples.chunks(8).filter(|piece| piece.iter().any(|s| s.abs() > 104)).count();
    (last, audible as f64, early)
}

/// Frames after `last` in which one of the `old` sentences' tones sounds.
fn stale(wav: &WavAudio, last: usize, old: usize) -> usize {
    let rate = SampleRate::HZ_8000;
    let size = rate.samples_in_ms(20);
    let after = wav.channels[1].chunks_exact(size).skip(last).filter(|frame| loud(frame));
    let mut heard = 0;
    let stale = after
        .inspect(|_| heard += 1)
        .filter(|frame| {
            (0..old).any(|n| {
                let hz = TONE_HZ + TONE_STEP_HZ * n as f32;
                tone_share(frame, rate, hz) > 0.3
            })
        })
        .count();
    assert!(heard > 25, "the new answer is in the recording");
    stale
}

fn print(name: &str, done: &[Try], reported: Vec<f64>) {
    let n = done.len();
    let (p50, _, max) = summary(done.iter().map(|t| t.stop_ms).collect());
    let (told_p50, _, told_max) = summary(reported);
    println!(
        "\nbarge-in {name}, {n} tries: onset to the agent's last audible packet, on the wire \
         p50 {p50:.0} ms, max {max:.0} ms; as the server reports it p50 {told_p50:.0} ms, max {told_max:.0} ms"
    );
    let clean = done.iter().filter(|t| t.stale_frames == 0 && t.early_frames == 0).count();
    println!("nothing of the old answer afterwards, by its tones in the recording: {clean} of {n}");
    let same = done.iter().filter(|t| t.same_history).count();
    println!(
        "the model was next asked with the words the transcript says were heard: {same} of {n}"
    );
    let more: Vec<f64> = done.iter().map(|t| t.recorded_chars - t.history_chars as f64).collect();
    let least = more.iter().copied().fold(f64::INFINITY, f64::min);
    let (p50, _, most) = summary(more);
    println!(
        "characters recorded beyond those in the history (which ends at a whole word): \
         {least:.1} to {most:.1}, p50 {p50:.1}"
    );
}

async fn reported(server: &Server, tries: usize) -> Vec<f64> {
    server.newest_call().await;
    let list = server.get(&format!("/v1/calls?page_size={tries}")).await;
    let mut out = Vec::new();
    for call in list["items"].as_array().unwrap() {
        let id = call["id"].as_str().unwrap();
        let latency = server.get(&format!("/v1/calls/{id}/latency")).await;
        out.extend(
            latency["turns"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|turn| turn["latency"]["barge_in_stop_ms"].as_f64())
                .take(1),
        );
    }
    out
}
