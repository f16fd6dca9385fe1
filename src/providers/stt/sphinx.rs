//! Recognition without keys and network: pocketsphinx with the agent's own phrases as a grammar.
//!
//! Decoders block and cost memory, so they live on a few threads of their own and calls share them.
//! Whole utterances let the decoder normalise the channel over all of them, which hears
//! more voices right than its live mode and lets no caller's line colour the next one's; the price
//! is 0.1 to 0.4 s for an utterance of 1.4 to 2.5 s (two shared cores, load 2 to 11), most of it paid
//! while endpointing waits anyway.
//! It knows English, and nothing outside the grammar: a loop over all phones tells such speech apart,
//! and it comes back with `understood: false`.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::grammar::{Grammar, Vocabulary, plain_words};
use super::sphinx_ffi::{Decoder, Library};
use super::utterances::{Heard, Pool, RATE, StartError, Utterance};
use super::{Stt, SttParams, SttSession, utterances};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::SampleRate;

/// Longest utterance that is recognised, in seconds: longer ones fit no phrase. The start is kept.
pub const UTTERANCE_SECONDS_MAX: u32 = 20;
/// Most decoder threads that the configuration may ask for.
pub const WORKERS_MAX: usize = 32;

const PHRASES: &CStr = c"phrases";
const PHONES: &CStr = c"phones";

/// Settings of the local recogniser.
#[derive(Clone, Debug, PartialEq)]
pub struct SphinxConfig {
    /// Directory with `en-us/` (acoustic model) and `cmudict-en-us.dict`.
    pub model_dir: PathBuf,
    /// Decoder threads, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// How much worse than mere phones a phrase may score, per frame of 10 ms, -100 to 100: larger
    /// rejects more.
    pub rejection: f32,
}

impl Default for SphinxConfig {
    fn default() -> Self {
        Self {
            model_dir: PathBuf::from("/usr/share/pocketsphinx/model/en-us"),
            workers: 2,
            rejection: -4.0,
        }
    }
}

/// Pocketsphinx with one agent's grammar.
pub struct SphinxStt {
    pool: Pool,
}

const NAME: &str = "pocketsphinx";

fn error(kind: FailureKind, detail: impl Into<String>) -> ProviderError {
    ProviderError { provider: NAME.to_owned(), stage: Stage::Stt, kind, detail: detail.into() }
}

impl SphinxStt {
    /// Loads the library, compiles the grammar and starts the decoder threads. Blocks for some
    /// tenths of a second; meant for the start of the server.
    ///
    /// # Errors
    /// `Missing` if the library or its model is not installed (the detail says how to get it),
    /// `BadRequest` if the grammar cannot be compiled or a setting is out of range.
    pub fn load(config: &SphinxConfig, vocabulary: &Vocabulary) -> Result<Self, ProviderError> {
        if !(1..=WORKERS_MAX).contains(&config.workers) {
            return Err(error(
                FailureKind::BadRequest,
                format!("workers must be 1 to {WORKERS_MAX}"),
            ));
        }
        if !(-100.0..=100.0).contains(&config.rejection) {
            return Err(error(FailureKind::BadRequest, "rejection must be -100 to 100"));
        }
        let library = Library::load().map_err(|e| {
            error(FailureKind::Missing, format!("{e}: apt-get install libpocketsphinx3"))
        })?;
        let acoustic = config.model_dir.join("en-us");
        let dictionary = config.model_dir.join("cmudict-en-us.dict");
        for file in [
            &acoustic.join("mdef"),
            &acoustic.join("means"),
            &acoustic.join("variances"),
            &dictionary,
        ] {
            if !file.is_file() {
                return Err(error(
                    FailureKind::Missing,
                    format!("{} is missing: apt-get install pocketsphinx-en-us", file.display()),
                ));
            }
        }
        let grammar =
            vocabulary.compile(&dictionary).map_err(|e| error(FailureKind::BadRequest, e))?;
        let margin = config.rejection;
        let make = move || {
            let decoder = decoder(Arc::clone(&library), &acoustic, &grammar)?;
            Ok(Ear { decoder, margin })
        };
        let pool = Pool::start("sphinx", config.workers, UTTERANCE_SECONDS_MAX, make);
        let pool = pool.map_err(|failed| match failed {
            StartError::Thread(detail) => error(FailureKind::Unavailable, detail),
            StartError::Decoder(detail) => error(FailureKind::BadRequest, detail),
        })?;
        Ok(Self { pool })
    }
}

/// Makes a decoder that knows only the words of the grammar: a third of the memory that the whole
/// dictionary takes.
fn decoder(library: Arc<Library>, acoustic: &Path, grammar: &Grammar) -> Result<Decoder, String> {
    let mut decoder = Decoder::new(library, acoustic, &[("-cmn", "batch")])?;
    for (word, phones) in &grammar.words {
        decoder.add_word(word, phones)?;
    }
    decoder.add_grammar(PHRASES, &grammar.phrases)?;
    decoder.add_grammar(PHONES, &grammar.phones)?;
    Ok(decoder)
}

/// A decoder, and how much worse than mere phones a phrase may score.
struct Ear {
    decoder: Decoder,
    margin: f32,
}

impl utterances::Decoder for Ear {
    fn hear(&mut self, utterance: &Utterance) -> Result<Heard, String> {
        hear(&mut self.decoder, &utterance.samples, self.margin)
    }
}

/// Recognises one utterance. A grammar alone finds a phrase in everything; so the phrase must score
/// at most `margin` a frame worse than the best sequence of mere phones.
fn hear(decoder: &mut Decoder, samples: &[i16], margin: f32) -> Result<Heard, String> {
    let Some(phrase) = decoder.recognise(PHRASES, samples)? else { return Ok(Heard::Unknown) };
    if phrase.text.is_empty() || phrase.frames == 0 {
        return Ok(Heard::Unknown);
    }
    if let Some(phones) = decoder.recognise(PHONES, samples)? {
        let gain = f64::from(phrase.score) - f64::from(phones.score);
        if gain / f64::from(phrase.frames) < f64::from(margin) {
            return Ok(Heard::Unknown);
        }
    }
    Ok(Heard::Words(plain_words(&phrase.text)))
}

impl Stt for SphinxStt {
    fn name(&self) -> &str {
        NAME
    }

    fn model(&self) -> Option<&str> {
        Some("en-us")
    }

    fn sample_rate(&self) -> SampleRate {
        RATE
    }

    fn wants_quiet(&self) -> bool {
        true
    }

    fn open(&self, params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        let pool = self.pool.clone();
        Box::pin(async move { Ok(pool.open(NAME.to_owned(), params)) })
    }
}

#[cfg(test)]
mod tests;
