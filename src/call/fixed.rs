//! The sentences of an agent that are known before any call: nobody's data is in them.

use std::sync::Arc;

use crate::turn::TurnConfig;
use crate::turn::sentence::Segmenter;

/// Sentences of one agent: its texts have a handful.
const FIXED_SENTENCES_MAX: usize = 64;

/// The sentences, first words first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FixedSpeech(Arc<Vec<String>>);

impl FixedSpeech {
    /// Of an agent's settings as they are written, and of what its tools say meanwhile. A sentence with variables is
    /// left out: calls fill it with their own data.
    pub fn of<'a>(turn: &'a TurnConfig, tools: impl IntoIterator<Item = &'a str>) -> Self {
        let texts = &turn.texts;
        let cut = [
            &turn.greeting.text,
            &turn.end_message,
            &turn.inactivity.goodbye,
            &texts.repeat,
            &texts.stt_apology,
            &texts.llm_apology,
            &texts.failure_goodbye,
            &texts.max_duration_goodbye,
        ];
        let mut sentences: Vec<String> = Vec::new();
        let mut add = |sentence: &str| {
            let sentence = sentence.trim();
            let has_variables = ["{{", "}}", "{%", "%}"].iter().any(|mark| sentence.contains(mark));
            let is_new = !has_variables
                && !sentence.is_empty()
                && sentences.iter().all(|own| own != sentence);
            if is_new && sentences.len() < FIXED_SENTENCES_MAX {
                sentences.push(sentence.to_owned());
            }
        };
        for text in cut.into_iter().chain(&turn.inactivity.prompts) {
            // As the turn machine cuts them.
            let mut segmenter = Segmenter::new(0);
            segmenter.push(text).iter().for_each(|sentence| add(sentence));
            segmenter.flush().iter().for_each(|sentence| add(sentence));
        }
        // Fillers are said whole.
        let whole = texts.fillers.iter().map(String::as_str).chain(tools);
        whole.for_each(add);
        Self(Arc::new(sentences))
    }

    /// Whether a sentence is one of them.
    pub fn contains(&self, sentence: &str) -> bool {
        self.0.iter().any(|own| own == sentence.trim())
    }

    /// All of them.
    pub fn sentences(&self) -> &[String] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
