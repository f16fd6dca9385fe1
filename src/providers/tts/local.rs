//! Synthesis without keys and network: the programs `flite` or `espeak-ng`, one process a sentence.
//!
//! No shell is involved. `espeak-ng` reads the text on standard input. `flite` writes to a pipe only
//! in its `-t` mode, so there the text is the last argument, behind a blank so that it can never be
//! an option (and the machine's other users can see it in the process list). WAV comes out on
//! standard output. While a sentence is given to the call the next one is already synthesised.
//! `flite` gives a sentence at once, `espeak-ng` as it goes; English is spoken by `flite` if it is
//! there, everything else by `espeak-ng`.

mod wav;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::{TTS_EVENT_QUEUE, TTS_INPUT_QUEUE, Tts, TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::providers::{FailureKind, ProviderError, Stage, clock};
use crate::types::{Generation, Pcm};

/// Longest text of one sentence in characters: about two minutes of speech; the rest is not spoken.
pub const SENTENCE_CHARS_MAX: usize = 2_000;
/// Longest audio of one sentence; what a program gives beyond it is cut off.
pub const SENTENCE_SECONDS_MAX: u32 = 120;
/// Chunks that hold that much audio at [`CHUNK_BYTES`] and the 22,050 Hz of espeak-ng.
const CHUNK_QUEUE: usize = 1_400;
/// Read at once from a program: about 90 ms at 22,050 Hz.
const CHUNK_BYTES: usize = 4_096;
/// Programs that run at once, over all calls: more would only slow each other down.
const PROCESSES_MAX: usize = 8;
/// Sentences under way in one call: the one that is being given, and the next.
const AHEAD: usize = 2;
/// A program that takes longer for one sentence hangs: usual is a tenth of a second.
const SENTENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// Speaking rate of espeak-ng at speed 1, in words a minute: its 175 is hurried on a telephone.
const ESPEAK_WORDS_PER_MINUTE: f32 = 160.0;
const FLITE_VOICES: [&str; 5] = ["rms", "slt", "awb", "kal", "kal16"];

/// Which program to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalEngine {
    /// Flite for English if it is installed, else espeak-ng.
    #[default]
    Auto,
    /// Only flite.
    Flite,
    /// Only espeak-ng.
    EspeakNg,
}

/// Settings of local synthesis.
#[derive(Clone, Debug, Default)]
pub struct LocalTtsConfig {
    /// Which program to use.
    pub engine: LocalEngine,
    /// Directories to look in, as in `PATH`; `None`: the process's `PATH`.
    pub search_path: Option<OsString>,
    /// Limit for one sentence; `None`: 10 s.
    pub timeout: Option<Duration>,
}

/// The programs of this machine as a voice.
pub struct LocalTts {
    flite: Option<PathBuf>,
    espeak: Option<PathBuf>,
    timeout: Duration,
    slots: Arc<Semaphore>,
}

/// How a program takes its text.
#[derive(Clone, Copy, Debug)]
enum TextIn {
    Stdin,
    LastArgument,
}

/// How to start a program for one session.
#[derive(Clone, Debug)]
struct Voice {
    program: PathBuf,
    arguments: Vec<String>,
    text_in: TextIn,
    timeout: Duration,
    slots: Arc<Semaphore>,
}

fn error(kind: FailureKind, detail: impl Into<String>) -> ProviderError {
    ProviderError { provider: "local".to_owned(), stage: Stage::Tts, kind, detail: detail.into() }
}

impl LocalTts {
    /// Looks for the programs.
    ///
    /// # Errors
    /// `Missing` if none of those that the settings allow is installed, with how to get one.
    pub fn detect(config: &LocalTtsConfig) -> Result<Self, ProviderError> {
        let path = config.search_path.clone().or_else(|| std::env::var_os("PATH"));
        let find = |program: &str| {
            let path = path.as_ref()?;
            std::env::split_paths(path).map(|dir| dir.join(program)).find(|file| file.is_file())
        };
        let (wants_flite, wants_espeak) = match config.engine {
            LocalEngine::Auto => (true, true),
            LocalEngine::Flite => (true, false),
            LocalEngine::EspeakNg => (false, true),
        };
        let flite = find("flite").filter(|_| wants_flite);
        let espeak = find("espeak-ng").filter(|_| wants_espeak);
        if flite.is_none() && espeak.is_none() {
            let detail = match config.engine {
                LocalEngine::Auto => {
                    "neither flite nor espeak-ng is installed: apt-get install flite"
                }
                LocalEngine::Flite => "flite is not installed: apt-get install flite",
                LocalEngine::EspeakNg => "espeak-ng is not installed: apt-get install espeak-ng",
            };
            return Err(error(FailureKind::Missing, detail));
        }
        let timeout = config.timeout.unwrap_or(SENTENCE_TIMEOUT);
        Ok(Self { flite, espeak, timeout, slots: Arc::new(Semaphore::new(PROCESSES_MAX)) })
    }

    /// The command line for a call. Only checked words reach it.
    fn voice(&self, params: &TtsParams) -> Result<Voice, ProviderError> {
        let english = params.language.is_empty() || params.language.starts_with("en");
        let speed = if params.speed > 0.0 { params.speed.clamp(0.5, 2.0) } else { 1.0 };
        let flite_fits = params.voice.is_empty() || FLITE_VOICES.contains(&params.voice.as_str());
        let (program, arguments, text_in) = match (&self.flite, &self.espeak) {
            (Some(flite), _) if english && flite_fits => {
                let voice = if params.voice.is_empty() { "rms" } else { params.voice.as_str() };
                let stretch = format!("duration_stretch={:.3}", 1.0 / speed);
                let fixed = ["-voice", voice, "--setf", &stretch, "-o", "/dev/stdout", "-t"];
                (flite.clone(), fixed.map(str::to_owned).to_vec(), TextIn::LastArgument)
            }
            (_, Some(espeak)) => {
                let wanted = match (params.voice.as_str(), params.language.as_str()) {
                    ("", "" | "en") => "en-us",
                    ("", language) => language,
                    (voice, _) => voice,
                };
                let valid = wanted.len() <= 32
                    && wanted.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && wanted.chars().all(|c| c.is_ascii_alphanumeric() || "-_+".contains(c));
                if !valid {
                    return Err(error(FailureKind::BadRequest, "that is no name of a voice"));
                }
                let rate = format!("{:.0}", ESPEAK_WORDS_PER_MINUTE * speed);
                let fixed = ["--stdin", "--stdout", "-s", &rate, "-v", &wanted.to_lowercase()];
                (espeak.clone(), fixed.map(str::to_owned).to_vec(), TextIn::Stdin)
            }
            _ => {
                let detail = format!(
                    "flite speaks English with the voices {}; for others apt-get install espeak-ng",
                    FLITE_VOICES.join(", ")
                );
                return Err(error(FailureKind::BadRequest, detail));
            }
        };
        Ok(Voice { program, arguments, text_in, timeout: self.timeout, slots: self.slots.clone() })
    }
}

impl Tts for LocalTts {
    fn name(&self) -> &str {
        "local"
    }

    fn model(&self) -> Option<&str> {
        Some(if self.flite.is_some() { "flite" } else { "espeak-ng" })
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let voice = self.voice(&params);
        Box::pin(async move {
            let voice = voice?;
            let (input, inputs) = mpsc::channel(TTS_INPUT_QUEUE);
            let (events, outputs) = mpsc::channel(TTS_EVENT_QUEUE);
            tokio::spawn(session(voice, inputs, events));
            Ok(TtsSession { input, events: outputs })
        })
    }
}

/// A sentence under way. Dropping it kills its program.
struct Sentence {
    generation: Generation,
    seq: u32,
    parts: mpsc::Receiver<Part>,
    task: JoinHandle<()>,
}

impl Drop for Sentence {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a program gave.
enum Part {
    Audio(Pcm, Instant),
    Failed(ProviderError),
}

fn start(voice: &Voice, generation: Generation, seq: u32, text: String) -> Sentence {
    let (sender, parts) = mpsc::channel(CHUNK_QUEUE);
    let voice = voice.clone();
    let task = tokio::spawn(async move {
        let timeout = voice.timeout;
        let spoken = tokio::time::timeout(timeout, speak(&voice, &text, &sender)).await;
        let failure = match spoken {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => error(
                FailureKind::Stalled,
                format!("the program gave no sentence within {timeout:?}"),
            ),
        };
        let _ = sender.send(Part::Failed(failure)).await;
    });
    Sentence { generation, seq, parts, task }
}

/// The text as a program may get it: one line, no control characters, not too long.
fn clean(text: &str) -> String {
    let line: String = text
        .chars()
        .take(SENTENCE_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim().to_owned()
}

/// Runs the program for one sentence. Dropping the future kills it.
async fn speak(voice: &Voice, text: &str, parts: &mpsc::Sender<Part>) -> Result<(), ProviderError> {
    let text = clean(text);
    if !text.chars().any(char::is_alphanumeric) {
        return Ok(());
    }
    let _slot = voice.slots.acquire().await;
    let argument = match voice.text_in {
        TextIn::Stdin => None,
        TextIn::LastArgument => Some(format!(" {text}")),
    };
    let mut child = Command::new(&voice.program)
        .args(&voice.arguments)
        .args(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| error(FailureKind::Unavailable, format!("cannot start the program: {e}")))?;
    let stdin = child.stdin.take();
    if let (TextIn::Stdin, Some(mut stdin)) = (voice.text_in, stdin) {
        // A program that does not read fails below, by what it gives.
        let _ = stdin.write_all(text.as_bytes()).await;
        let _ = stdin.write_all(b"\n").await;
    }
    let Some(mut stdout) = child.stdout.take() else {
        return Err(error(FailureKind::Unavailable, "the program has no output"));
    };
    let mut decoder = wav::StreamDecoder::default();
    let mut buffer = [0u8; CHUNK_BYTES];
    let mut given = Duration::ZERO;
    loop {
        let read = stdout
            .read(&mut buffer)
            .await
            .map_err(|e| error(FailureKind::Cut, format!("reading from the program: {e}")))?;
        if read == 0 {
            break;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        let pcm = decoder.push(bytes).map_err(|e| error(FailureKind::Protocol, e))?;
        let Some(pcm) = pcm else { continue };
        given += pcm.duration();
        if parts.send(Part::Audio(pcm, clock::now())).await.is_err() {
            return Ok(());
        }
        if given.as_secs() >= u64::from(SENTENCE_SECONDS_MAX) {
            tracing::warn!(limit_s = SENTENCE_SECONDS_MAX, "sentence too long: cut off");
            return Ok(());
        }
    }
    let status = child.wait().await;
    if given.is_zero() {
        let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
        return Err(error(FailureKind::Protocol, format!("the program gave no audio ({status})")));
    }
    Ok(())
}

/// The sentences of one call, in order.
struct Speech {
    voice: Voice,
    waiting: VecDeque<(Generation, u32, String)>,
    running: VecDeque<Sentence>,
    cancelled: Option<Generation>,
}

impl Speech {
    fn accept(&mut self, input: TtsInput) {
        match input {
            TtsInput::Say { generation, seq, text } => {
                if self.cancelled.is_none_or(|cancelled| generation > cancelled) {
                    self.waiting.push_back((generation, seq, text.into_inner()));
                }
            }
            TtsInput::Cancel { generation } => {
                self.cancelled = self.cancelled.max(Some(generation));
                self.waiting.retain(|(of, ..)| *of > generation);
                self.running.retain(|sentence| sentence.generation > generation);
            }
        }
        self.refill();
    }

    fn refill(&mut self) {
        while self.running.len() < AHEAD
            && let Some((generation, seq, text)) = self.waiting.pop_front()
        {
            self.running.push_back(start(&self.voice, generation, seq, text));
        }
    }

    /// The next event, once there is one. Cancel-safe: only receiving awaits.
    async fn next(&mut self) -> TtsEvent {
        let Some(sentence) = self.running.front_mut() else {
            return std::future::pending().await;
        };
        let part = sentence.parts.recv().await;
        let (generation, seq) = (sentence.generation, sentence.seq);
        match part {
            Some(Part::Audio(pcm, at)) => TtsEvent::Audio { generation, seq, pcm, at },
            ended => {
                self.running.pop_front();
                self.refill();
                match ended {
                    Some(Part::Failed(error)) => {
                        TtsEvent::Failed { generation, seq, error, fatal: false }
                    }
                    _ => TtsEvent::Done { generation, seq },
                }
            }
        }
    }
}

/// Serves one call until its handle is dropped. A call that does not take its events cannot keep a
/// Cancel from being heard.
async fn session(
    voice: Voice,
    mut inputs: mpsc::Receiver<TtsInput>,
    events: mpsc::Sender<TtsEvent>,
) {
    let (waiting, running) = (VecDeque::new(), VecDeque::new());
    let mut speech = Speech { voice, waiting, running, cancelled: None };
    loop {
        tokio::select! {
            biased;
            // Sentences that cannot be started yet stay in the bounded input queue.
            input = inputs.recv(), if speech.waiting.len() < TTS_INPUT_QUEUE => match input {
                Some(input) => speech.accept(input),
                None => return,
            },
            event = async {
                let permit = events.reserve().await.ok()?;
                Some((permit, speech.next().await))
            } => match event {
                Some((permit, event)) => permit.send(event),
                None => return,
            },
        }
    }
}

#[cfg(test)]
mod tests;
