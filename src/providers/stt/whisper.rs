//! whisper.cpp in this process: recognition of whole utterances, without a network and in many languages.
//!
//! The engine is compiled only with the feature `whisper`; without it the kind is known and refused in words. A
//! model file is loaded once and shared by every provider, agent and call that names it; decoders have threads of
//! their own. The model writes captions: what stands in brackets is a sound and no words.

#[cfg(feature = "whisper")]
mod engine;
#[cfg(not(feature = "whisper"))]
mod engine {
    //! Stands where the engine is not compiled: no model can be had, so that nothing ever hears.

    use std::path::Path;

    use super::{Segment, Utterance};

    #[derive(Clone)]
    pub(super) enum Model {}
    pub(super) type Engine = Model;

    impl Model {
        pub(super) fn load(_: &Path) -> Result<Self, String> {
            Err("whisper.cpp is not in this build".to_owned())
        }

        pub(super) fn engine(&self, _threads: usize) -> Result<Engine, String> {
            match *self {}
        }

        pub(super) fn transcribe(
            &mut self,
            _: &Utterance,
            _: &str,
        ) -> Result<Vec<Segment>, String> {
            match *self {}
        }
    }
}

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use super::utterances::{Decoder, Heard, Pool, RATE, StartError, Utterance};
use super::{Stt, SttParams, SttSession};
use crate::providers::ProviderError;
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> =
    Maker { capabilities: &["language", "keyterms"], models: &[], build };

/// Longest utterance that is recognised, in seconds: the model's window. The start is kept.
const UTTERANCE_SECONDS_MAX: u32 = 30;
/// Utterances of one model that are recognised at a time; each has a state of some 100 MB and more.
const WORKERS: usize = 2;
/// Threads that one utterance is computed on, at most: more wait for memory, not for cores.
const THREADS_MAX: usize = 4;
/// Models that stay in memory although no agent uses them, for the next write of one.
const IDLE_MODELS_MAX: usize = 1;
/// Letters of the key terms that prime the model; it reads 224 tokens at most.
const PROMPT_CHARS_MAX: usize = 600;
/// From this probability on that there is no speech, a segment holds no words. High, as VAD heard speech.
const NO_SPEECH_MIN: f32 = 0.8;

/// How a ggml file begins: "ggml" as a little-endian word, then 11 words of hyperparameters.
const MAGIC: u32 = 0x6767_6d6c;
const HYPERPARAMETERS: usize = 11;
/// Among them: tokens of the vocabulary, and numbers that each token has in the embedding.
const VOCABULARY: usize = 0;
const TEXT_STATE: usize = 6;
/// More than the coarsest quantisation packs.
const WEIGHTS_PER_OCTET_MAX: u64 = 4;
/// No hyperparameter of any model is larger: the largest counts the vocabulary.
const HYPERPARAMETER_MAX: u32 = 1 << 20;

/// A loaded model and the file it was read from.
struct Loaded {
    file: ModelFile,
    pool: Arc<Pool>,
}

/// What tells a file from the one that stands at its path later.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelFile {
    path: PathBuf,
    octets: u64,
    modified: Option<SystemTime>,
}

/// Models in memory. A lock is held while one loads, so that two agents do not load it twice.
static MODELS: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());

fn build(name: &str, config: &ProviderConfig, _: Secret) -> Result<Arc<dyn Stt>, ConfigError> {
    config.rate(RATE, "16000")?;
    config.pcm_only()?;
    if !cfg!(feature = "whisper") {
        let kind = config.kind.as_str();
        return Err(ConfigError::NotBuilt { kind, feature: "whisper" });
    }
    let pool = model(Path::new(&config.model))
        .map_err(|problem| ConfigError::ModelFile { path: config.model.clone(), problem })?;
    Ok(Arc::new(WhisperStt { name: name.to_owned(), model: config.model.clone(), pool }))
}

/// The decoders of a model file. Blocks while it loads, which takes seconds for a large one.
fn model(path: &Path) -> Result<Arc<Pool>, String> {
    let file = inspect(path)?;
    let mut models = MODELS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = models.iter().find(|loaded| loaded.file == file) {
        return Ok(Arc::clone(&loaded.pool));
    }
    let pool = Arc::new(load(path)?);
    // Newest last: of those without a user the oldest go.
    let is_idle = |loaded: &Loaded| Arc::strong_count(&loaded.pool) == 1;
    let idle = models.iter().filter(|loaded| is_idle(loaded)).count();
    let mut surplus = idle.saturating_sub(IDLE_MODELS_MAX);
    models.retain(|loaded| {
        let goes = surplus > 0 && is_idle(loaded);
        surplus = surplus.saturating_sub(usize::from(goes));
        !goes
    });
    models.push(Loaded { file, pool: Arc::clone(&pool) });
    Ok(pool)
}

/// Looks whether a file can be a model. The engine trusts what it reads, so nonsense stops here.
fn inspect(path: &Path) -> Result<ModelFile, String> {
    if path.as_os_str().is_empty() {
        return Err("no path is set".to_owned());
    }
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let facts = std::fs::metadata(path).map_err(unreadable)?;
    if !facts.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut head = [0; 4 * (1 + HYPERPARAMETERS)];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    if let Err(error) = read {
        return Err(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "is too short for a model".to_owned(),
            _ => unreadable(error),
        });
    }
    let (words, _) = head.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    if words.next() != Some(MAGIC) {
        return Err("is not a ggml model: it does not begin with the mark of one".to_owned());
    }
    let figures: Vec<u32> = words.collect();
    if figures.iter().any(|figure| *figure > HYPERPARAMETER_MAX) {
        return Err("is not a model of whisper.cpp, or is damaged".to_owned());
    }
    // The engine takes a file without weights for a model: one that was cut would hear nonsense.
    let (octets, modified) = (facts.len(), facts.modified().ok());
    let figure = |at: usize| figures.get(at).copied().map_or(0, u64::from);
    if octets < figure(VOCABULARY) * figure(TEXT_STATE) / WEIGHTS_PER_OCTET_MAX {
        return Err("is cut: it holds fewer weights than it says".to_owned());
    }
    Ok(ModelFile { path: path.to_owned(), octets, modified })
}

fn load(path: &Path) -> Result<Pool, String> {
    let model = engine::Model::load(path)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / WORKERS).clamp(1, THREADS_MAX);
    let make = move || model.engine(threads);
    Pool::start("whisper", WORKERS, UTTERANCE_SECONDS_MAX, make).map_err(|failed| match failed {
        StartError::Thread(detail) | StartError::Decoder(detail) => detail,
    })
}

impl Decoder for engine::Engine {
    fn hear(&mut self, utterance: &Utterance) -> Result<Heard, String> {
        let segments = self.transcribe(utterance, &prompt(&utterance.params.keyterms))?;
        Ok(heard(&segments))
    }
}

/// A model of whisper.cpp.
struct WhisperStt {
    name: String,
    model: String,
    pool: Arc<Pool>,
}

impl Stt for WhisperStt {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn sample_rate(&self) -> SampleRate {
        RATE
    }

    fn open(&self, params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        let (pool, name) = (Arc::clone(&self.pool), self.name.clone());
        Box::pin(async move { Ok(pool.open(name, params)) })
    }
}

/// One segment as the model wrote it.
struct Segment {
    text: String,
    no_speech_probability: f32,
}

/// What the segments of an utterance come to.
fn heard(segments: &[Segment]) -> Heard {
    let spoken = segments.iter().filter(|of| of.no_speech_probability < NO_SPEECH_MIN);
    let text: String = spoken.map(|of| of.text.as_str()).collect();
    words(&text).map_or(Heard::Unknown, Heard::Words)
}

/// Text without what describes sounds: `[BLANK_AUDIO]`, `(music)`, `*sighs*`, `♪ la la ♪`. `None` if nothing is left
/// that could be said.
fn words(text: &str) -> Option<String> {
    let mut left = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let after = rest.get(letter.len_utf8()..).unwrap_or_default();
        let closing = match letter {
            '[' => ']',
            '(' => ')',
            '{' => '}',
            '（' => '）',
            '【' => '】',
            '*' => '*',
            '♪' => '♪',
            other => {
                left.push(other);
                rest = after;
                continue;
            }
        };
        // Without an end the model was stopped within a bracket; `*` and `♪` may stand alone.
        rest = match after.split_once(closing) {
            Some((_, behind)) => behind,
            None if closing == letter => after,
            None => "",
        };
        left.push(' ');
    }
    let left = left.split_whitespace().collect::<Vec<_>>().join(" ");
    left.chars().any(char::is_alphanumeric).then_some(left)
}

/// Key terms as text that the model could have written before: whole terms, as many as are worth reading.
fn prompt(keyterms: &[String]) -> String {
    let mut prompt = String::new();
    for term in keyterms {
        let term: String = term.chars().filter(|letter| !letter.is_control()).collect();
        if prompt.chars().count() + term.chars().count() + 2 > PROMPT_CHARS_MAX {
            break;
        }
        if !prompt.is_empty() {
            prompt.push_str(", ");
        }
        prompt.push_str(&term);
    }
    prompt
}

#[cfg(test)]
mod tests;
