//! A model that hears whether the caller's turn is over: not what was said, but how.
//!
//! The model is a file of the operator's; nothing is ever downloaded. It runs on threads of its own, which all calls
//! share: a call hands over what the caller said and goes on. An answer that comes late finds nobody waiting.

#[cfg(feature = "onnx")]
mod onnx;

use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::clock;
use crate::audio::Resampler;
use crate::telemetry::metrics;
use crate::types::{Pcm, SampleRate};

/// Longest audio that a model hears: the end of the turn.
pub const HEARD_MAX: Duration = Duration::from_secs(8);
/// Rate at which models hear.
const RATE: SampleRate = SampleRate::HZ_16000;
/// Turns that may wait for a model, over all calls: at 50 ms each the last one waits 0.8 s.
const QUEUE: usize = 16;
/// Who waited so long has ended the turn by other means.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Most threads that the configuration may ask for.
const WORKERS_MAX: usize = 16;

/// The `[turn_model]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// ONNX file of a model that hears whether a turn is over, with the input and output of Smart Turn v3. Empty: none.
    /// It needs a build with the feature `onnx`.
    pub path: PathBuf,
    /// Shared library of the ONNX runtime, 1.17 or newer. Empty: what `ORT_DYLIB_PATH` names, else the system's
    /// `libonnxruntime.so`.
    pub library: PathBuf,
    /// Probability above which a turn is probably over, 0 to 1.
    pub threshold: f32,
    /// Threads that run the model, 1 to 16, each with a copy of it.
    pub workers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: PathBuf::new(), library: PathBuf::new(), threshold: 0.5, workers: 1 }
    }
}

impl Config {
    /// What is wrong with it: key and message.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if !(0.0..=1.0).contains(&self.threshold) {
            found.push(("threshold", "a probability is 0 to 1".to_owned()));
        }
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            found.push(("workers", format!("1 to {WORKERS_MAX}")));
        }
        found
    }
}

/// Why there is no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// Key below `turn_model`.
    pub key: &'static str,
    /// What is wrong, and a hint.
    pub message: String,
}

fn wrong(key: &'static str, message: impl Into<String>) -> LoadError {
    LoadError { key, message: message.into() }
}

/// One copy of a model.
pub trait TurnModel: Send {
    /// How probably the turn is over whose end is `audio`, at 16 kHz.
    ///
    /// # Errors
    /// Why it cannot say.
    fn judge(&mut self, audio: &[i16]) -> Result<f32, String>;
}

/// The model and its threads. They end when it is dropped.
pub struct EndOfTurn {
    jobs: std_mpsc::SyncSender<Job>,
    threshold: f32,
}

struct Job {
    audio: Pcm,
    asked: Instant,
    answer: oneshot::Sender<f32>,
}

impl EndOfTurn {
    /// Loads the model, if there is one; `system` is the library that the environment names. Blocks while the model is
    /// read and tried.
    ///
    /// # Errors
    /// With the setting that is wrong.
    pub fn load(config: &Config, system: Option<&Path>) -> Result<Option<Self>, LoadError> {
        if config.path.as_os_str().is_empty() {
            return Ok(None);
        }
        if !config.path.is_file() {
            return Err(wrong("path", format!("there is no file `{}`", config.path.display())));
        }
        let models = models(config, system)?;
        Self::run(models, config.threshold)
            .map(Some)
            .map_err(|error| wrong("workers", format!("start a thread: {error}")))
    }

    /// Runs these models, each on a thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn run(models: Vec<Box<dyn TurnModel>>, threshold: f32) -> std::io::Result<Self> {
        let (jobs, queue) = std_mpsc::sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for (index, model) in models.into_iter().enumerate() {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name(format!("turn-model-{index}"))
                .spawn(move || work(model, &queue))?;
        }
        Ok(Self { jobs, threshold })
    }

    /// Whether this probability says that a turn is over.
    pub fn says_over(&self, probability: f32) -> bool {
        probability > self.threshold
    }

    /// Asks how probably the turn is over whose end is `audio`. Never waits: `None` if too many do already. Whoever
    /// drops the receiver takes the question back.
    pub fn ask(&self, audio: Pcm) -> Option<oneshot::Receiver<f32>> {
        let (answer, receiver) = oneshot::channel();
        if self.jobs.try_send(Job { audio, asked: clock::now(), answer }).is_err() {
            metrics::queue_full("turn_model");
            return None;
        }
        Some(receiver)
    }
}

#[cfg(feature = "onnx")]
fn models(config: &Config, system: Option<&Path>) -> Result<Vec<Box<dyn TurnModel>>, LoadError> {
    let own = Some(config.library.as_path()).filter(|path| !path.as_os_str().is_empty());
    let library = own.or(system).unwrap_or(Path::new("libonnxruntime.so"));
    let load = |_| -> Result<Box<dyn TurnModel>, LoadError> {
        Ok(Box::new(onnx::Model::load(&config.path, library)?))
    };
    (0..config.workers.clamp(1, WORKERS_MAX)).map(load).collect()
}

#[cfg(not(feature = "onnx"))]
fn models(_: &Config, _: Option<&Path>) -> Result<Vec<Box<dyn TurnModel>>, LoadError> {
    Err(wrong(
        "path",
        "this build runs no models; hint: leave it empty, or build with `cargo build --features onnx`",
    ))
}

/// Judges turns until nobody can ask any more.
fn work(mut model: Box<dyn TurnModel>, queue: &Mutex<std_mpsc::Receiver<Job>>) {
    let mut wide = Vec::new();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { audio, asked, answer }) = next else { return };
        if answer.is_closed() || clock::now().saturating_duration_since(asked) > WAIT_MAX {
            continue;
        }
        wide.clear();
        let judged = match Resampler::new(audio.rate, RATE) {
            Ok(mut resampler) => {
                resampler.push(&audio.samples, &mut wide);
                resampler.finish(&mut wide);
                model.judge(&wide)
            }
            Err(error) => Err(error.to_string()),
        };
        match judged {
            Ok(probability) => {
                let took = clock::now().saturating_duration_since(asked);
                metrics::turn_model_answered(took);
                // Nobody may wait any more: the caller went on.
                let _ = answer.send(probability);
            }
            Err(detail) => tracing::warn!(detail, "the model of the end of a turn failed"),
        }
    }
}

#[cfg(test)]
mod tests;
