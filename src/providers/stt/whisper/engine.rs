//! The engine: whisper.cpp through whisper-rs, with the settings that suit a phone call.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState,
};

use super::{RATE, Segment, Utterance};

/// The engine hears nothing in audio of less than 100 ms; silence makes up for it, with some to spare.
const AUDIO_MS_MIN: u32 = 200;
/// Tokens that nobody exceeds in a second of speech, and some to begin with: ends a loop of the model.
const TOKENS_PER_SECOND: usize = 12;
const TOKENS_MIN: usize = 16;
/// What the model's context leaves beside a prompt.
const TOKENS_MAX: usize = 220;

/// Weights in memory.
#[derive(Clone)]
pub(super) struct Model {
    context: Arc<WhisperContext>,
}

impl Model {
    /// Reads a model.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        // The engine prints to standard error unless it is told not to.
        whisper_rs::install_logging_hooks();
        let Some(path) = path.to_str() else {
            return Err("is not a path in UTF-8".to_owned());
        };
        let context = WhisperContext::new_with_params(path, WhisperContextParameters::default())
            .map_err(|error| format!("is not a model of whisper.cpp, or is damaged ({error})"))?;
        Ok(Self { context: Arc::new(context) })
    }

    /// Memory to decode with, on so many threads.
    pub(super) fn engine(&self, threads: usize) -> Result<Engine, String> {
        let state = self
            .context
            .create_state()
            .map_err(|error| format!("there is no memory to decode with ({error})"))?;
        Ok(Engine {
            context: Arc::clone(&self.context),
            state,
            threads,
            caller: Arc::default(),
            settings: Vec::new(),
        })
    }
}

/// A decoder.
pub(super) struct Engine {
    context: Arc<WhisperContext>,
    state: WhisperState,
    threads: usize,
    /// Who waits for the utterance under way.
    caller: Arc<Mutex<Weak<()>>>,
    /// One for each language that was spoken, at most as many as the model knows: the bindings never free the strings
    /// and functions that are set in one.
    settings: Vec<(Option<&'static str>, FullParams<'static, 'static>)>,
}

impl Engine {
    /// Blocks until the utterance is written down, or nobody waits for it any more. `prompt`: words as they might have
    /// been said before.
    pub(super) fn transcribe(
        &mut self,
        utterance: &Utterance,
        prompt: &str,
    ) -> Result<Vec<Segment>, String> {
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) =
            Weak::clone(&utterance.caller);
        // A token is an octet at least.
        let tokens = match prompt.is_empty() {
            true => Vec::new(),
            false => self.context.tokenize(prompt, prompt.len() + 1).unwrap_or_default(),
        };
        let seconds = utterance.samples.len() / RATE.samples_in_ms(1_000);
        let tokens_max = (TOKENS_MIN + seconds * TOKENS_PER_SECOND).min(TOKENS_MAX);
        let mut settings = self.settings(&utterance.params.language);
        settings.set_tokens(&tokens);
        settings.set_max_tokens(i32::try_from(tokens_max).unwrap_or(i32::MAX));
        let mut audio: Vec<f32> =
            utterance.samples.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
        audio.resize(audio.len().max(RATE.samples_in_ms(AUDIO_MS_MIN)), 0.0);
        self.state.full(settings, &audio).map_err(|error| error.to_string())?;
        let segments = self.state.as_iter().map(|segment| Segment {
            text: segment.to_str_lossy().map(|text| text.into_owned()).unwrap_or_default(),
            no_speech_probability: segment.no_speech_probability(),
        });
        Ok(segments.collect())
    }

    fn settings(&mut self, tag: &str) -> FullParams<'static, 'static> {
        let language = self.language(tag);
        if let Some((_, made)) = self.settings.iter().find(|(known, _)| *known == language) {
            return made.clone();
        }
        let mut made = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
        made.set_n_threads(i32::try_from(self.threads).unwrap_or(1));
        made.set_language(language);
        made.set_translate(false);
        // Nothing of one caller's words may stand before another's.
        made.set_no_context(true);
        made.set_no_timestamps(true);
        made.set_single_segment(true);
        made.set_suppress_blank(true);
        made.set_suppress_nst(true);
        // A second try at another temperature takes as long again, while the caller waits.
        made.set_temperature_inc(0.0);
        made.set_print_special(false);
        made.set_print_progress(false);
        made.set_print_realtime(false);
        made.set_print_timestamps(false);
        let caller = Arc::clone(&self.caller);
        let is_gone =
            move || caller.lock().unwrap_or_else(PoisonError::into_inner).strong_count() == 0;
        // Boxed, as the bindings hand the function a pointer to a box whatever its type is.
        made.set_abort_callback_safe::<_, Box<dyn FnMut() -> bool>>(
            Box::new(is_gone) as Box<dyn FnMut() -> bool>
        );
        self.settings.push((language, made.clone()));
        made
    }

    /// The model's word for a language: `de` of `de-CH`. `None`: it finds out by itself.
    fn language(&self, tag: &str) -> Option<&'static str> {
        if !self.context.is_multilingual() {
            return Some("en");
        }
        let word = tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
        // A word with a zero octet would end the process.
        if word.is_empty() || !word.bytes().all(|octet| octet.is_ascii_lowercase()) {
            return None;
        }
        whisper_rs::get_lang_id(&word).and_then(whisper_rs::get_lang_str)
    }
}
