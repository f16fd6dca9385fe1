//! What the server itself adds to a turn: three hand-overs timed at the providers and on the wire, and
//! whether the total it reports is the gap in its own stereo recording.

use std::time::{Duration, Instant};

use trunkline::audio::wav;
use trunkline::sim::providers::{MockProviders, MockStage, Script, What};
use trunkline::softphone::{CallRequest, Phone, PhoneConfig};
use trunkline::types::{Pcm, SampleRate};

use super::server::Server;
use super::summary;

const LIMIT: Duration = Duration::from_secs(20);

/// Something to say: 600 ms of a fixture utterance and nothing else.
pub fn utterance() -> Pcm {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/wav/demo/04_party.wav");
    wav::read_mono(std::path::Path::new(path)).unwrap()
}

fn script() -> Script {
    let mut script = Script::default();
    script.llm.replies = vec!["That is fine. I will note it down for you.".to_owned()];
    script
}

/// What one turn took between the providers and the wire, milliseconds.
#[derive(Debug)]
struct Turn {
    /// Final sent, last audible packet sent, request received.
    finalized: (Instant, Instant, Instant),
    final_to_request: f64,
    sentence_to_text: f64,
    audio_to_wire: f64,
    stop_to_finalize: f64,
}

pub async fn run(turns: usize) {
    let mocks = MockProviders::start(script()).await.unwrap();
    let server = Server::start(&mocks, "").await;
    let phone = Phone::start(PhoneConfig::default()).await.unwrap();
    let mut request = CallRequest::to(&server.uri);
    request.options.quiet = Duration::from_millis(400);
    let call = phone.call(request).await.unwrap();
    call.answered(LIMIT).await.unwrap();
    let speech = utterance();
    let mut measured = Vec::new();
    for _ in 0..turns {
        let before = Instant::now();
        let said = call.say(&speech).await.unwrap();
        let reply = call.hear_reply(LIMIT).await.unwrap();
        let log = mocks.log.entries();
        let at = |stage: MockStage, wanted: &dyn Fn(&What) -> bool| {
            log.iter()
                .find(|e| e.at >= before && e.stage == stage && wanted(&e.what))
                .map(|e| e.at)
                .expect("a provider saw nothing of this turn")
        };
        let finalize = at(MockStage::Stt, &|what| *what == What::FinalizeReceived);
        let last_final = log
            .iter()
            .filter(|e| e.at >= before && matches!(e.what, What::FinalSent(_)))
            .map(|e| e.at)
            .next_back()
            .unwrap();
        let asked = at(MockStage::Llm, &|what| *what == What::LlmRequest);
        let sentence = at(MockStage::Llm, &|what| *what == What::LlmFirstSentenceSent);
        let text = at(MockStage::Tts, &|what| matches!(what, What::TtsText(_)));
        let audio = at(MockStage::Tts, &|what| *what == What::TtsFirstAudio);
        let ms =
            |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1_000.0;
        // The request waits for the end-of-turn decision, at the earliest 500 ms after the last voiced
        // packet; on some turns VAD holds on for longer, which its own figure says.
        let decided = said.last_audible.unwrap();
        measured.push(Turn {
            finalized: (last_final, decided, asked),
            final_to_request: 0.0,
            sentence_to_text: ms(sentence, text),
            audio_to_wire: ms(audio, reply.began_at),
            stop_to_finalize: ms(said.last_audible.unwrap(), finalize),
        });
    }
    call.hang_up().await.unwrap();
    let id = server.newest_call().await;
    let latency = server.get(&format!("/v1/calls/{id}/latency")).await;
    let waits = latency["turns"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|turn| turn["latency"]["vad_delay_ms"].as_f64());
    for (turn, wait) in measured.iter_mut().zip(waits) {
        let (final_sent, last_audible, asked) = turn.finalized;
        let decided = last_audible + Duration::from_secs_f64(wait / 1_000.0);
        let from = final_sent.max(decided);
        turn.final_to_request = asked.saturating_duration_since(from).as_secs_f64() * 1_000.0;
        // VAD declares the end `wait` minus the rest of the 500 ms after its 200 ms; what is longer
        // is VAD's own wait on a line that is not clearly silent, not a hand-over.
        turn.stop_to_finalize -= 200.0 + (wait - 500.0).max(0.0);
    }
    print(&measured);
    compare_with_recording(&server).await;
}

fn print(turns: &[Turn]) {
    println!("\nhand-overs, {} turns, one call, PCMU, mock providers in this process", turns.len());
    println!("{:<44} {:>8} {:>8} {:>8}", "milliseconds", "p50", "p99", "max");
    let row = |name: &str, of: &dyn Fn(&Turn) -> f64| {
        let (p50, p99, max) = summary(turns.iter().map(of).collect());
        println!("{name:<44} {p50:>8.2} {p99:>8.2} {max:>8.2}");
    };
    row("final (or decision) to request at the LLM", &|t| t.final_to_request);
    row("first sentence at the LLM to text at the TTS", &|t| t.sentence_to_text);
    row("first audio at the TTS to audible on the wire", &|t| t.audio_to_wire);
    row("sum: what the server adds to a turn", &|t| {
        t.final_to_request + t.sentence_to_text + t.audio_to_wire
    });
    row("end of speech decided to finalize at the STT", &|t| t.stop_to_finalize);
}

/// The reported totals against the gaps in the recording.
async fn compare_with_recording(server: &Server) {
    let id = server.newest_call().await;
    let latency = server.get(&format!("/v1/calls/{id}/latency")).await;
    let call = server.get(&format!("/v1/calls/{id}")).await;
    let name = call["recording"]["filename"].as_str().unwrap();
    let wav = wav::read_file(&server.directory.path().join("recordings").join(name)).unwrap();
    let transcript = server.get(&format!("/v1/calls/{id}/transcript")).await;
    let reported: Vec<f64> = latency["turns"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|turn| turn["latency"]["total_perceived_ms"].as_f64())
        .collect();
    let gaps = gaps(&wav);
    println!(
        "recording: {} gaps, {} turns with a total, {} turns in the transcript",
        gaps.len(),
        reported.len(),
        transcript["turns"].as_array().map_or(0, Vec::len)
    );
    let differences: Vec<f64> =
        reported.iter().zip(&gaps).map(|(told, seen)| (told - seen).abs()).collect();
    let (p50, p99, max) = summary(differences);
    println!(
        "reported total against the gap in the WAV, ms: p50 {p50:.1}, p99 {p99:.1}, max {max:.1}"
    );
    let (p50, p99, max) = summary(reported);
    println!("total_perceived_ms: p50 {p50:.0}, p99 {p99:.0}, max {max:.0}");
    println!("meanwhile: {}", server.told());
}

/// Gaps between the caller's last sample above -50 dBFS and the agent's first, milliseconds. The ledger
/// counts whole packets (call-model D2), so up to a packet's 20 ms of difference is in the definitions.
fn gaps(wav: &wav::WavAudio) -> Vec<f64> {
    let rate = SampleRate::HZ_8000;
    let frame = rate.samples_in_ms(20);
    let step = rate.samples_in_ms(5);
    let (left, right) = (&wav.channels[0], &wav.channels[1]);
    let loud = |samples: &[i16], at: usize| {
        let piece = &samples[at..(at + frame).min(samples.len())];
        let square: f64 = piece.iter().map(|s| f64::from(*s).powi(2)).sum();
        (square / piece.len().max(1) as f64).sqrt() > 104.0
    };
    let mut gaps = Vec::new();
    let (mut caller_end, mut waiting) = (0usize, false);
    let mut at = 0;
    while at + frame < left.len().min(right.len()) {
        if loud(left, at) {
            caller_end = at + frame;
            waiting = true;
        }
        if waiting && at > caller_end && loud(right, at) {
            // The windows find the place, the samples the exact edge.
            let head = (0..frame).find(|i| right[at + i].unsigned_abs() > 104).unwrap_or(0);
            let tail =
                (0..frame).find(|i| left[caller_end - 1 - i].unsigned_abs() > 104).unwrap_or(0);
            gaps.push((at + head - (caller_end - tail)) as f64 / 8.0);
            waiting = false;
        }
        at += step;
    }
    gaps
}
