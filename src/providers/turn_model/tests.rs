use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;
use crate::types::SampleRate;

/// Says how long the turn was, in units of 100 s, when it may.
struct Slow {
    begun: SyncSender<usize>,
    go: Receiver<()>,
}

impl TurnModel for Slow {
    fn judge(&mut self, audio: &[i16]) -> Result<f32, String> {
        self.begun.send(audio.len()).unwrap();
        self.go.recv().unwrap();
        match audio.len() {
            0..1_000 => Err("too short".to_owned()),
            samples => Ok(samples as f32 / 1_600_000.0),
        }
    }
}

/// The model's threads with one that waits for a word, and both ends of what it waits for.
fn slow() -> (EndOfTurn, Receiver<usize>, SyncSender<()>) {
    let (begun, seen) = sync_channel(QUEUE + 2);
    let (word, go) = sync_channel(QUEUE + 2);
    (EndOfTurn::run(vec![Box::new(Slow { begun, go })], 0.005).unwrap(), seen, word)
}

fn pcm(rate: SampleRate, ms: u32) -> Pcm {
    Pcm { rate, samples: vec![1_000; rate.samples_in_ms(ms)] }
}

fn refusal(config: &Config) -> (&'static str, String) {
    let error = EndOfTurn::load(config, None).err().expect("it is refused");
    (error.key, error.to_string())
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/turn_model").join(name)
}

#[test]
fn what_is_configured_wrong_is_said() {
    assert!(EndOfTurn::load(&Config::default(), None).unwrap().is_none());
    let config = Config { path: "/no/such/model.onnx".into(), ..Config::default() };
    let (key, message) = refusal(&config);
    assert_eq!(key, "path");
    assert!(message.contains("there is no file `/no/such/model.onnx`"), "{message}");
    let config = Config { threshold: 1.5, workers: 0, ..Config::default() };
    let keys: Vec<_> = config.problems().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["threshold", "workers"]);
    assert!(Config::default().problems().is_empty());
}

#[cfg(not(feature = "onnx"))]
#[test]
fn a_build_that_runs_no_models_says_which_does() {
    let config = Config { path: fixture("mean.onnx"), ..Config::default() };
    let (key, message) = refusal(&config);
    assert_eq!(key, "path");
    assert!(message.contains("cargo build --features onnx"), "{message}");
}

#[tokio::test]
async fn a_model_hears_16_khz_and_answers() {
    let (model, seen, word) = slow();
    for (rate, ms) in [(SampleRate::HZ_8000, 2_000), (SampleRate::HZ_16000, 1_000)] {
        let answer = model.ask(pcm(rate, ms)).unwrap();
        let expected = SampleRate::HZ_16000.samples_in_ms(ms);
        let samples = seen.recv().unwrap();
        // The resampler's own delay comes out at the end.
        assert!((expected..expected + 100).contains(&samples), "{samples}, {expected}");
        word.send(()).unwrap();
        let probability = answer.await.unwrap();
        assert!((probability - ms as f32 / 100_000.0).abs() < 1e-4, "{probability}");
        assert_eq!(model.says_over(probability), ms > 500);
    }
    let failed = model.ask(pcm(SampleRate::HZ_16000, 10)).unwrap();
    word.send(()).unwrap();
    assert!(failed.await.is_err(), "a failure is no answer");
}

#[tokio::test]
async fn nobody_waits_for_a_place_and_questions_are_taken_back() {
    let (model, seen, word) = slow();
    let second = pcm(SampleRate::HZ_16000, 1_000);
    let first = model.ask(second.clone()).unwrap();
    seen.recv().unwrap();
    let mut waiting: Vec<_> = (0..QUEUE).map(|_| model.ask(second.clone()).unwrap()).collect();
    assert!(model.ask(second.clone()).is_none(), "the queue is full");
    let last = waiting.pop().unwrap();
    drop(waiting);
    word.send(()).unwrap();
    word.send(()).unwrap();
    assert!(first.await.is_ok() && last.await.is_ok());
    assert_eq!(seen.iter().take(1).count(), 1);
    drop(model);
    assert_eq!(seen.iter().count(), 0, "what was taken back was not judged");
}

#[cfg(feature = "onnx")]
#[tokio::test]
async fn an_onnx_model_is_run() {
    let Some(library) = crate::sim::onnx_runtime() else {
        println!(
            "SKIPPED: no ONNX runtime; `pip install onnxruntime`, or name it in ORT_DYLIB_PATH"
        );
        return;
    };
    let config = |name: &str| Config { path: fixture(name), workers: 2, ..Config::default() };
    let none = Config { library: "/no/such/lib.so".into(), ..config("mean.onnx") };
    let (key, message) = refusal(&none);
    assert_eq!(key, "library");
    assert!(message.contains("/no/such/lib.so") && message.contains("pip install"), "{message}");
    for name in ["wrong_shape.onnx", "model.py"] {
        let error = EndOfTurn::load(&config(name), Some(&library)).err().unwrap();
        assert_eq!(error.key, "path", "{error}");
        println!("{error}");
    }
    let model = EndOfTurn::load(&config("mean.onnx"), Some(&library)).unwrap().unwrap();
    // The model is a sigmoid of four times the mean of the features: those of silence are -1.5.
    let silence = Pcm { rate: RATE, samples: vec![0; 16_000] };
    let answer = model.ask(silence).unwrap().await.unwrap();
    assert!((answer - 0.002_473).abs() < 1e-5, "{answer}");
    let mut judged = 0;
    for ms in [500, 2_000, 8_000, 20_000] {
        let noise = (0..ms * 16).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 20) as i16 - 2_048);
        let audio = Pcm { rate: RATE, samples: noise.collect() };
        let begun = clock::now();
        let answer = model.ask(audio).unwrap().await.unwrap();
        println!("{ms} ms: {answer}, took {:?}", clock::now() - begun);
        assert!((0.1..1.0).contains(&answer), "{answer}");
        judged += 1;
    }
    assert_eq!(judged, 4);
}
