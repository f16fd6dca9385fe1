//! Does suppressing noise help the recogniser? The demo's phrases in noise, with suppression and without.

use trunkline::audio::Suppressor;
use trunkline::audio::level;
use trunkline::audio::noise::ComfortNoise;
use trunkline::audio::resample::Resampler;
use trunkline::audio::vad::NoiseSuppression;
use trunkline::providers::FailureKind;
use trunkline::providers::llm::scripted::Script;
use trunkline::providers::phrase::words_of;
use trunkline::providers::stt::sphinx::{SphinxConfig, SphinxStt};
use trunkline::providers::stt::{Stt, SttEvent, SttInput, SttParams};
use trunkline::types::SampleRate;

use crate::conversation::utterances;
use crate::support::{fixture, sound};

/// Silence before an utterance in which the suppressor learns the noise, samples at 8 kHz.
const LEAD: usize = 8_000;

#[derive(Clone, Copy)]
enum Noise {
    White,
    Street,
    Babble,
}

/// So many samples of a noise at -20 dBFS.
fn noise(kind: Noise, len: usize, seed: u32) -> Vec<f32> {
    let mut out: Vec<f32> = match kind {
        Noise::White | Noise::Street => {
            let mut samples = vec![0; len];
            ComfortNoise::new(-20.0, seed).fill(&mut samples);
            samples.into_iter().map(f32::from).collect()
        }
        // Six other talkers at once.
        Noise::Babble => {
            let mut sum = vec![0.0; len];
            let files = ["hours", "appointment", "number", "order", "table", "address"];
            for (n, file) in files.iter().enumerate() {
                let other = sound::load(&fixture(&format!("wav/speech/{file}.wav")));
                let other = &other[4_000..other.len() - 6_400];
                for (at, sample) in sum.iter_mut().enumerate() {
                    *sample += f32::from(other[(at + n * 3_001 + seed as usize) % other.len()]);
                }
            }
            sum
        }
    };
    if matches!(kind, Noise::Street) {
        // Most of what a street sounds like lies low, and swells.
        let mut low = 0.0;
        for (at, sample) in out.iter_mut().enumerate() {
            low += 0.15 * (*sample - low);
            *sample = low * (1.0 + 0.5 * (at as f32 / 6_000.0).sin());
        }
    }
    out
}

fn noisy(clean: &[i16], kind: Noise, snr_db: f32, seed: u32) -> Vec<i16> {
    let loud: Vec<i16> = clean
        .chunks(160)
        .filter(|frame| level::rms_dbfs(frame) > -45.0)
        .flatten()
        .copied()
        .collect();
    let noise = noise(kind, LEAD + clean.len(), seed);
    let power = noise.iter().map(|s| s * s).sum::<f32>() / noise.len() as f32;
    let wanted = 32_768.0 * 10_f32.powf((level::rms_dbfs(&loud) - snr_db) / 20.0);
    let gain = wanted / power.sqrt();
    let said = |at: usize| at.checked_sub(LEAD).map_or(0, |at| clean[at]);
    noise.iter().enumerate().map(|(at, s)| said(at).saturating_add((s * gain) as i16)).collect()
}

fn cleaned(line: &[i16]) -> Vec<i16> {
    let mode = NoiseSuppression::Auto;
    let mut suppressor = Suppressor::new(mode, SampleRate::HZ_8000).expect("something to do");
    line.chunks_exact(160).flat_map(|frame| suppressor.clean(frame).to_vec()).collect()
}

fn wide(samples: &[i16]) -> Vec<i16> {
    let mut resampler =
        Resampler::new(SampleRate::HZ_8000, SampleRate::HZ_16000).expect("two rates");
    let mut out = Vec::new();
    resampler.push(samples, &mut out);
    resampler.finish(&mut out);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn suppression_before_recognition_is_measured() {
    let script = Script::load(std::path::Path::new("config/agents/demo.toml")).expect("the demo");
    let stt = match SphinxStt::load(&SphinxConfig::default(), &script.vocabulary()) {
        Ok(stt) => stt,
        Err(error) if error.kind == FailureKind::Missing => return,
        Err(error) => panic!("{error}"),
    };
    let mut session = stt.open(SttParams::default()).await.expect("a session");
    let mut id = 0;
    let known: Vec<_> = utterances().into_iter().filter(|u| !u.file.contains("/o")).collect();
    eprintln!("| noise | SNR | phrases | right without | right with suppression |");
    let mut totals = [0, 0];
    for (kind, name) in
        [(Noise::White, "white"), (Noise::Street, "street"), (Noise::Babble, "babble")]
    {
        for snr_db in [60.0, 20.0, 10.0] {
            let mut right = [0, 0];
            for (n, utterance) in known.iter().enumerate() {
                let clean = sound::load(&fixture(&utterance.file));
                let line = noisy(&clean, kind, snr_db, n as u32 + 3);
                for (suppressed, right) in right.iter_mut().enumerate() {
                    let heard = match suppressed {
                        0 => line.clone(),
                        _ => cleaned(&line),
                    };
                    let heard = wide(&heard);
                    let said = heard.get(LEAD * 2..).expect("the utterance");
                    session.input.send(SttInput::SpeechStarted).await.expect("open");
                    for frame in said.chunks(320) {
                        session.input.send(SttInput::Audio(frame.to_vec())).await.expect("open");
                    }
                    id += 1;
                    session.input.send(SttInput::Finalize { id }).await.expect("open");
                    let Some(SttEvent::Final { text, .. }) = session.events.recv().await else {
                        panic!("no final")
                    };
                    *right += usize::from(words_of(text.reveal()) == words_of(&utterance.words));
                }
            }
            eprintln!("| {name} | {snr_db} dB | {} | {} | {} |", known.len(), right[0], right[1]);
            if snr_db > 40.0 {
                assert_eq!(right[0], right[1], "a clean line is left alone");
            }
            totals = [totals[0] + right[0], totals[1] + right[1]];
        }
    }
    eprintln!("without {}, with {}", totals[0], totals[1]);
    assert!(totals[1] * 10 > totals[0] * 11, "it is on for this recogniser because it helps");
}
