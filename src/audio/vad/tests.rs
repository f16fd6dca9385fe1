#![allow(clippy::disallowed_methods, reason = "tests need some instant to count from")]
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::audio::level::rms_dbfs;
use crate::audio::noise::ComfortNoise;
use crate::audio::{g711, wav};
use crate::types::SampleRate;

pub(super) fn fixtures(folder: &str) -> Vec<(String, Vec<i16>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wav").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .map(|path| {
            let pcm = wav::read_mono(path).unwrap();
            assert_eq!(pcm.rate, SampleRate::HZ_8000);
            (path.file_stem().unwrap().to_string_lossy().into_owned(), pcm.samples)
        })
        .collect()
}

/// What a mu-law line makes of samples.
fn over_the_line(samples: &[i16]) -> Vec<i16> {
    samples.iter().map(|s| g711::decode_ulaw(g711::encode_ulaw(*s))).collect()
}

/// Adds white noise so many dB below the speech's own level.
fn with_noise(samples: &[i16], snr_db: f32, seed: u32) -> Vec<i16> {
    let loud: Vec<i16> =
        samples.chunks(160).filter(|frame| rms_dbfs(frame) > -50.0).flatten().copied().collect();
    let noise_dbfs = rms_dbfs(&loud) - snr_db;
    let mut noise = vec![0; samples.len()];
    ComfortNoise::new(noise_dbfs, seed).fill(&mut noise);
    samples.iter().zip(noise).map(|(s, n)| s.saturating_add(n)).collect()
}

#[derive(Debug, PartialEq)]
struct Found {
    onset_ms: i64,
    last_voiced_ms: i64,
    decided_ms: i64,
}

/// Runs a detector over samples; times are ends of frames since the start.
fn run(config: VadConfig, samples: &[i16]) -> Vec<Found> {
    let mut detector = SpeechDetector::new(config, SampleRate::HZ_8000).unwrap();
    let start = Instant::now();
    let ms = |at: Instant| (at - start).as_millis() as i64;
    let mut found: Vec<Found> = Vec::new();
    let mut now = start;
    for frame in samples.chunks_exact(160) {
        now += Duration::from_millis(20);
        match detector.push(now, frame) {
            Some(VadEvent::Started { onset }) => {
                found.push(Found { onset_ms: ms(onset), last_voiced_ms: -1, decided_ms: ms(now) });
            }
            Some(VadEvent::Ended { last_voiced }) => {
                found.last_mut().unwrap().last_voiced_ms = ms(last_voiced);
            }
            None => {}
        }
    }
    found
}

/// Ends of the first and the last 20 ms frame of clean speech above -50 dBFS: the truth.
fn truth(samples: &[i16]) -> (i64, i64) {
    let loud: Vec<i64> = samples
        .chunks_exact(160)
        .zip(1..)
        .filter(|(frame, _)| rms_dbfs(frame) > -50.0)
        .map(|(_, at)| at * 20)
        .collect();
    (*loud.first().unwrap(), *loud.last().unwrap())
}

/// Runs every utterance under noise and checks the bounds of the condition.
fn evaluate(snr_db: Option<f32>, onset_ms_max: i64, early_ms_max: i64) {
    for (name, samples) in fixtures("speech") {
        let (onset, end) = truth(&samples);
        for seed in [5, 82, 159, 313, 390, 621] {
            let noisy = snr_db.map_or_else(|| samples.clone(), |db| with_noise(&samples, db, seed));
            let found = run(VadConfig::default(), &over_the_line(&noisy));
            let at =
                format!("{name} at {snr_db:?} dB, seed {seed}: {found:?}, truth {onset} {end}");
            let [one] = found.as_slice() else { panic!("not found once: {at}") };
            let late = one.onset_ms - onset;
            // Before the noise floor is known, noise may be taken for a fricative at the beginning.
            let early = if snr_db.is_some() { 140 } else { 0 };
            assert!((-early..=onset_ms_max).contains(&late), "onset {late}: {at}");
            let off = one.last_voiced_ms - end;
            assert!((-early_ms_max..=20).contains(&off), "end {off}: {at}");
            assert!(one.decided_ms - one.onset_ms <= 200, "decided late: {at}");
        }
    }
}

#[test]
fn clean_utterances_are_found_once_with_their_edges_to_the_frame() {
    evaluate(None, 20, 20);
}

#[test]
fn utterances_at_20_db_are_found_once() {
    evaluate(Some(20.0), 120, 40);
}

#[test]
fn utterances_at_15_db_are_found_once() {
    evaluate(Some(15.0), 160, 60);
}

#[test]
fn utterances_at_10_db_are_found_once() {
    evaluate(Some(10.0), 160, 140);
}

#[test]
fn nothing_on_the_line_but_speech_is_speech() {
    for suppression in [NoiseSuppression::Off, NoiseSuppression::Auto, NoiseSuppression::On] {
        for (name, samples) in fixtures("line") {
            let config = VadConfig { noise_suppression: suppression, ..VadConfig::default() };
            let found = run(config, &over_the_line(&samples));
            assert!(found.is_empty(), "{name} with suppression {suppression:?}: {found:?}");
        }
    }
}

#[test]
fn noise_that_sets_in_during_a_call_is_not_speech() {
    for dbfs in [-50.0, -40.0, -30.0, -20.0] {
        let mut samples = vec![0; 64_000];
        ComfortNoise::new(-65.0, 3).fill(&mut samples[..16_000]);
        ComfortNoise::new(dbfs, 3).fill(&mut samples[16_000..]);
        let found = run(VadConfig::default(), &over_the_line(&samples));
        assert!(found.is_empty(), "{dbfs}: {found:?}");
    }
}

#[test]
fn speech_after_tones_and_noise_is_still_found() {
    let lines = fixtures("line");
    let (_, hello) = fixtures("speech").into_iter().find(|(name, _)| name == "hello").unwrap();
    for (name, before) in lines {
        // At most 30 dB of SNR are left above the loudest noise.
        let ends_ms = before.len() as i64 / 8;
        let mut samples = before;
        samples.truncate(samples.len() / 160 * 160);
        samples.extend_from_slice(&hello);
        let found = run(VadConfig::default(), &over_the_line(&samples));
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].onset_ms >= ends_ms, "{name}: {found:?}");
    }
}

#[test]
fn wideband_frames_give_the_same_edges() {
    for (name, samples) in fixtures("speech") {
        let mut wide = Vec::new();
        let mut up =
            crate::audio::Resampler::new(SampleRate::HZ_8000, SampleRate::HZ_16000).unwrap();
        up.push(&samples, &mut wide);
        let mut detector = SpeechDetector::new(VadConfig::default(), SampleRate::HZ_16000).unwrap();
        let start = Instant::now();
        let (onset, end) = truth(&samples);
        let mut events = Vec::new();
        for (frame, at) in wide.chunks_exact(320).zip(1..) {
            let now = start + Duration::from_millis(20 * at);
            events.extend(detector.push(now, frame));
        }
        let [VadEvent::Started { onset: started }, VadEvent::Ended { last_voiced }] = events[..]
        else {
            panic!("{name}: {events:?}")
        };
        let ms = |at: Instant| (at - start).as_millis() as i64;
        assert!((ms(started) - onset).abs() <= 20, "{name}");
        assert!((ms(last_voiced) - end).abs() <= 40, "{name}");
    }
}

#[test]
fn a_masked_line_stays_silent_and_finish_closes_speech() {
    let (_, hello) = fixtures("speech").into_iter().find(|(name, _)| name == "hello").unwrap();
    let mut detector = SpeechDetector::new(VadConfig::default(), SampleRate::HZ_8000).unwrap();
    let start = Instant::now();
    detector.set_masked(true);
    assert!(hello.chunks_exact(160).all(|frame| detector.push(start, frame).is_none()));
    assert_eq!(detector.finish(), None);
    detector.set_masked(false);
    let spoken = hello.chunks_exact(160).take(60);
    let events: Vec<_> = spoken.filter_map(|frame| detector.push(start, frame)).collect();
    assert_eq!(events, [VadEvent::Started { onset: start }]);
    assert!(detector.is_speaking());
    assert_eq!(detector.finish(), Some(VadEvent::Ended { last_voiced: start }));
    assert!(!detector.is_speaking());
}

#[test]
fn what_is_made_up_for_lost_frames_begins_and_prolongs_nothing() {
    let (_, hello) = fixtures("speech").into_iter().find(|(name, _)| name == "hello").unwrap();
    let start = Instant::now();
    let mut detector = SpeechDetector::new(VadConfig::default(), SampleRate::HZ_8000).unwrap();
    detector.set_concealed(true);
    assert!(hello.chunks_exact(160).all(|frame| detector.push(start, frame).is_none()));
    detector.set_concealed(false);
    let mut spoken = hello.chunks_exact(160);
    assert!(spoken.any(|frame| detector.push(start, frame).is_some()));
    detector.set_concealed(true);
    for n in 1..30 {
        let frame = spoken.next().unwrap();
        assert_eq!(detector.push(start + Duration::from_secs(n), frame), None);
    }
    assert_eq!(detector.finish(), Some(VadEvent::Ended { last_voiced: start }));
}

#[test]
fn the_energy_judge_finds_speech_on_a_clean_line() {
    for (name, samples) in fixtures("speech") {
        let config = VadConfig { kind: VadKind::Energy, ..VadConfig::default() };
        let found = run(config, &over_the_line(&samples));
        assert_eq!(found.len(), 1, "{name}: {found:?}");
    }
}

#[test]
fn judges_refuse_blocks_of_another_length() {
    let mut judges: [Box<dyn Vad>; 2] =
        [Box::new(energy::EnergyVad::new(160, -40.0)), Box::new(neural::NeuralVad::new())];
    for judge in &mut judges {
        assert_eq!(judge.push(&[1_000; 7]), 0.0);
        let silence = vec![0; judge.frame_len()];
        let last = (0..20).map(|_| judge.push(&silence)).last();
        assert!(last.unwrap() < 0.3, "{last:?}");
        judge.reset();
    }
}

#[test]
fn frames_of_any_length_are_survived() {
    let mut detector = SpeechDetector::new(VadConfig::default(), SampleRate::HZ_8000).unwrap();
    let now = Instant::now();
    for len in [0, 1, 159, 161, 960, 5_000] {
        let loud = vec![12_345; len];
        detector.push(now, &loud);
    }
}

#[test]
fn settings_outside_their_range_are_refused() {
    let reject = |config: VadConfig| SpeechDetector::new(config, SampleRate::HZ_8000).err();
    let base = VadConfig::default;
    let rejected = reject(VadConfig { threshold: 1.5, ..base() });
    assert_eq!(rejected, Some(VadError::OutOfRange { key: "threshold", min: 0.1, max: 0.95 }));
    assert!(reject(VadConfig { threshold: f32::NAN, ..base() }).is_some());
    assert!(reject(VadConfig { stop_ms: 0, ..base() }).is_some());
    assert!(reject(base()).is_none());
    let rate = SpeechDetector::new(base(), SampleRate::HZ_48000).err();
    assert_eq!(rate, Some(VadError::Rate(SampleRate::HZ_48000)));
    let config: VadConfig = toml::from_str("stop_ms = 300\nnoise_suppression = \"auto\"").unwrap();
    assert_eq!((config.stop_ms, config.start_ms), (300, 48));
    assert!(toml::from_str::<VadConfig>("stop = 1").is_err());
}

/// The agent talks; its voice comes back 20 dB softer; later a caller talks over it.
#[test]
fn the_agents_own_voice_coming_back_is_no_speech() {
    let all = fixtures("speech");
    let named = |wanted| all.iter().find(|(name, _)| name == wanted).unwrap().1.clone();
    let (agent, caller) = (named("appointment"), named("stop"));
    let caller_at = 20_000;
    let mut line: Vec<i16> = vec![0; agent.len()];
    for (n, sample) in line.iter_mut().enumerate() {
        let echo = n.checked_sub(1_200).map_or(0, |back| agent[back] / 10);
        let said = n.checked_sub(caller_at).and_then(|n| caller.get(n)).map_or(0, |said| *said);
        *sample = echo.saturating_add(said);
    }
    let line = over_the_line(&line);
    let starts = |echo_rejection| {
        let config = VadConfig { echo_rejection, ..VadConfig::default() };
        let mut detector = SpeechDetector::new(config, SampleRate::HZ_8000).unwrap();
        let mut gate = crate::audio::EchoGate::new();
        let start = Instant::now();
        let mut found = Vec::new();
        for (n, (sent, heard)) in agent.chunks_exact(160).zip(line.chunks_exact(160)).enumerate() {
            gate.heard(heard);
            let at = start + Duration::from_millis(20 * n as u64);
            if let Some(VadEvent::Started { onset }) = detector.push_beside(at, heard, &mut gate) {
                found.push((onset - start).as_millis() as usize * 8);
            }
            gate.sent(sent);
        }
        found
    };
    assert!(starts(false)[0] < caller_at - 8_000, "an echo is speech without the gate");
    let with = starts(true);
    let first = with[0];
    let words = caller_at + caller.iter().position(|s| s.unsigned_abs() > 1_000).unwrap();
    println!("caller from {} ms, heard from {} ms", words / 8, first / 8);
    assert!(first + 1_600 >= words && first < words + 1_600, "{with:?}, words at {words}");
}

/// Not a bound but a measurement: run with `--release -- --nocapture cost_of`.
#[test]
fn cost_of_a_frame_is_reported() {
    use std::hint::black_box;
    let mut speech: Vec<i16> = Vec::new();
    for (_, samples) in fixtures("speech") {
        // Without the silence around it.
        speech.extend(&samples[4_000..samples.len() - 6_400]);
    }
    let mut quiet = vec![0; 32_000];
    ComfortNoise::new(-60.0, 1).fill(&mut quiet);
    let mut loud = vec![0; 32_000];
    ComfortNoise::new(-35.0, 1).fill(&mut loud);
    let (_, tone) = fixtures("line").into_iter().find(|(name, _)| name == "dial_425").unwrap();
    for suppression in [NoiseSuppression::Off, NoiseSuppression::Auto, NoiseSuppression::On] {
        for (name, samples) in
            [("quiet", &quiet), ("noise", &loud), ("tone", &tone), ("speech", &speech)]
        {
            let config = VadConfig { noise_suppression: suppression, ..VadConfig::default() };
            let mut detector = SpeechDetector::new(config, SampleRate::HZ_8000).unwrap();
            let line = over_the_line(samples);
            let mut best = f64::MAX;
            for _ in 0..3 {
                let begin = Instant::now();
                for frame in line.chunks_exact(160) {
                    black_box(detector.push(begin, black_box(frame)));
                }
                let frames = (line.len() / 160) as f64;
                best = best.min(begin.elapsed().as_secs_f64() * 1e6 / frames);
            }
            println!("{suppression:?} {name}: {best:.2} us a frame");
            assert!(best < 20_000.0, "slower than real time");
        }
    }
}

#[test]
fn a_detector_fits_the_memory_budget_of_a_call() {
    let off = SpeechDetector::new(VadConfig::default(), SampleRate::HZ_8000).unwrap().bytes();
    let with_noise = VadConfig { noise_suppression: NoiseSuppression::On, ..VadConfig::default() };
    let on = SpeechDetector::new(with_noise, SampleRate::HZ_8000).unwrap().bytes();
    println!("detector: {off} bytes, {on} with noise suppression");
    assert!(off < on && on <= 100_000, "{off} and {on}");
    assert!(off <= 32_000, "{off}");
}

#[test]
fn a_caller_who_talks_from_the_first_packet_is_heard_at_once() {
    for (name, samples) in fixtures("speech") {
        let (onset, end) = truth(&samples);
        let line = over_the_line(&samples[(onset as usize - 20) * 8..]);
        let found = run(VadConfig::default(), &line);
        let [one] = found.as_slice() else { panic!("{name}: {found:?}") };
        assert!((20..=120).contains(&one.onset_ms), "{name}: {found:?}");
        assert!((one.last_voiced_ms - (end - onset + 20)).abs() <= 20, "{name}: {found:?}");
    }
}

#[test]
fn a_soft_voice_20_db_down_is_found_once() {
    for (name, samples) in fixtures("speech") {
        let soft: Vec<i16> = samples.iter().map(|sample| sample / 10).collect();
        let (onset, end) = truth(&soft);
        let found = run(VadConfig::default(), &over_the_line(&soft));
        let [one] = found.as_slice() else { panic!("{name}: {found:?}") };
        // One utterance begins with a glide that only the network at normal level takes for voice.
        assert!((0..=360).contains(&(one.onset_ms - onset)), "{name}: {found:?}");
        assert!((one.last_voiced_ms - end).abs() <= 20, "{name}: {found:?}");
    }
}

#[test]
fn a_whole_conversation_gives_one_pair_of_edges_an_utterance() {
    let mut samples = Vec::new();
    let mut ends = Vec::new();
    for (_, utterance) in fixtures("speech") {
        let whole = &utterance[..utterance.len() / 160 * 160];
        ends.push(samples.len() as i64 / 8 + truth(whole).1);
        samples.extend_from_slice(whole);
    }
    let found = run(VadConfig::default(), &over_the_line(&samples));
    let last: Vec<i64> = found.iter().map(|one| one.last_voiced_ms).collect();
    assert_eq!(last, ends);
}

#[test]
fn clicks_an_arpeggio_and_swelling_noise_are_not_speech() {
    use std::f32::consts::TAU;
    let clicks = |n: usize| {
        let decay = (-((n % 2_400) as f32) / 10.0).exp();
        8_000.0 * decay * if n.is_multiple_of(2) { 1.0 } else { -1.0 }
    };
    let arpeggio = |n: usize| {
        let note = [262.0, 330.0, 392.0, 523.0][n / 2_000 % 4];
        let t = (n % 2_000) as f32 / 8_000.0;
        let harmonics = [(1.0, 1.0), (2.0, 0.5), (3.0, 0.3), (4.0, 0.2)];
        let sum: f32 = harmonics.iter().map(|(k, a)| a * (TAU * note * k * t).sin()).sum();
        6_000.0 * (-t * 6.0).exp() * sum
    };
    let sounds: [Vec<i16>; 2] = [
        (0..80_000).map(|n| clicks(n) as i16).collect(),
        (0..80_000).map(|n| arpeggio(n) as i16).collect(),
    ];
    for samples in sounds {
        let found = run(VadConfig::default(), &over_the_line(&samples));
        assert!(found.is_empty(), "{found:?}");
    }
    for (dbfs, hz) in [(-40.0, 1.0), (-30.0, 4.0), (-20.0, 1.0), (-20.0, 8.0)] {
        let mut samples = vec![0; 80_000];
        ComfortNoise::new(dbfs, 3).fill(&mut samples);
        for (n, sample) in samples.iter_mut().enumerate() {
            let gain_db = 12.0 * (TAU * hz * n as f32 / 8_000.0).sin();
            *sample = (f32::from(*sample) * 10_f32.powf(gain_db / 20.0)) as i16;
        }
        let found = run(VadConfig::default(), &over_the_line(&samples));
        assert!(found.is_empty(), "{dbfs} dBFS swelling at {hz} Hz: {found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Edges alternate, never lie in the future, and an utterance ends after it began.
    #[test]
    fn edges_are_in_order_whatever_comes(
        pieces in proptest::collection::vec((0..12_usize, 0..40_usize, 1..40_usize), 1..12),
        stop_ms in 60..400_u32,
    ) {
        let speech = fixtures("speech");
        let config = VadConfig { stop_ms, ..VadConfig::default() };
        let mut detector = SpeechDetector::new(config, SampleRate::HZ_8000).unwrap();
        let start = Instant::now();
        let mut now = start;
        let mut open: Option<Instant> = None;
        for (which, from, frames) in pieces {
            let (_, samples) = &speech[which];
            for frame in samples.chunks(160).skip(from).take(frames) {
                now += Duration::from_millis(20);
                match detector.push(now, frame) {
                    Some(VadEvent::Started { onset }) => {
                        prop_assert!(open.is_none() && onset <= now);
                        open = Some(onset);
                    }
                    Some(VadEvent::Ended { last_voiced }) => {
                        let onset = open.take();
                        prop_assert!(onset.is_some_and(|onset| onset <= last_voiced));
                        let waited = now.duration_since(last_voiced);
                        prop_assert!(waited >= Duration::from_millis(u64::from(stop_ms)));
                        prop_assert!(waited <= Duration::from_millis(u64::from(stop_ms) * 2 + 20));
                    }
                    None => {}
                }
                prop_assert_eq!(detector.is_speaking(), open.is_some());
            }
        }
    }
}

/// The table of docs/decisions/0009: run with `--nocapture suppression_against_noise`.
#[test]
fn suppression_against_noise_is_reported() {
    println!("| SNR | suppression | utterances | missed | false starts | split |");
    for snr_db in [10.0, 5.0] {
        for suppression in [NoiseSuppression::Off, NoiseSuppression::Auto, NoiseSuppression::On] {
            let (mut total, mut missed, mut false_starts, mut split) = (0, 0, 0, 0);
            for (_, samples) in fixtures("speech") {
                let (onset, end) = truth(&samples);
                for seed in [5, 159, 390] {
                    let line = over_the_line(&with_noise(&samples, snr_db, seed));
                    let config =
                        VadConfig { noise_suppression: suppression, ..VadConfig::default() };
                    let found = run(config, &line);
                    let outside = |f: &&Found| f.last_voiced_ms < onset || f.onset_ms > end;
                    let strangers = found.iter().filter(outside).count();
                    let inside = found.len() - strangers;
                    total += 1;
                    missed += usize::from(inside == 0);
                    false_starts += strangers;
                    split += usize::from(inside > 1);
                }
            }
            println!(
                "| {snr_db} dB | {suppression:?} | {total} | {missed} | {false_starts} | {split} |"
            );
            let bound = suppression == NoiseSuppression::Off && snr_db >= 10.0;
            assert!(!bound || missed + false_starts + split == 0, "{snr_db} dB");
        }
    }
}
