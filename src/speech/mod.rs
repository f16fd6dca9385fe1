//! Speech that sounds right: from a sentence as it is written to what a voice should say.
//!
//! Numbers, dates, money, addresses and abbreviations become words, in English and in German; Markdown, tags, emoji and
//! control characters go, in every language; an agent's own pronunciations come first. What the language model wrote
//! stays the text of the conversation: [`Spoken`] maps what was said back to it. Knows nothing of voices, of sentences
//! before and after, and of languages beyond these two. Start reading at [`Speech::say`].

mod address;
mod calendar;
mod de;
mod dictionary;
mod digits;
mod emoji;
mod en;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod lexicon;
mod markup;
mod names;
mod quantity;
mod scan;
mod text;
mod tidy;

use serde::{Deserialize, Serialize};

pub use dictionary::{PRONUNCIATION_CHARS_MAX, PRONUNCIATIONS_MAX, Pronunciation};
pub use text::Spoken;

use dictionary::Dictionary;
use lexicon::{DateOrder, Lexicon};
use markup::Signs;
use text::Text;

/// Times a text is gone over until nothing changes: what was left out may bring marks together that mean something.
const PASSES_MAX: usize = 4;

/// How an agent's sentences are made ready for its voice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpeechConfig {
    /// Whether numbers, dates, money, addresses and abbreviations are said in words, and Markdown and emoji are left
    /// out. Words for it exist in English and German; in other languages only what no language needs goes.
    pub normalize: bool,
    /// Words the voice would say wrong, as `{ from = "", to = "", whole_word = true, case_sensitive = false }`; they come
    /// first, whatever `normalize` says. At most 256, of 100 characters.
    pub pronunciations: Vec<Pronunciation>,
}

impl Default for SpeechConfig {
    fn default() -> Self {
        Self { normalize: true, pronunciations: Vec::new() }
    }
}

impl SpeechConfig {
    /// What is wrong with it: the field and the rule.
    ///
    /// # Errors
    /// When there are too many entries, or one is empty or too long.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.pronunciations.len() > PRONUNCIATIONS_MAX {
            let message = format!("at most {PRONUNCIATIONS_MAX} entries");
            return Err(("pronunciations".to_owned(), message));
        }
        for (at, own) in self.pronunciations.iter().enumerate() {
            let field = |name: &str| format!("pronunciations[{at}].{name}");
            if own.from.trim().is_empty() {
                return Err((field("from"), "a word as it is written".to_owned()));
            }
            for (name, text) in [("from", &own.from), ("to", &own.to)] {
                if text.chars().count() > PRONUNCIATION_CHARS_MAX {
                    return Err((
                        field(name),
                        format!("at most {PRONUNCIATION_CHARS_MAX} characters"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Makes sentences of one agent ready for its voice.
pub struct Speech {
    normalize: bool,
    dictionary: Dictionary,
    lexicon: Option<(&'static Lexicon, DateOrder)>,
}

impl Speech {
    /// For an agent that speaks `language`, a BCP 47 tag.
    pub fn new(config: &SpeechConfig, language: &str) -> Self {
        Self {
            normalize: config.normalize,
            dictionary: Dictionary::new(&config.pronunciations),
            lexicon: lexicon_of(language),
        }
    }

    /// What the voice is to say for a sentence. It may be nothing: then the sentence makes no sound.
    pub fn say(&self, sentence: &str) -> Spoken {
        let mut text = self.dictionary.apply(Text::new(sentence));
        if self.normalize {
            for _ in 0..PASSES_MAX {
                let next = self.pass(&text);
                let same = next.chars() == text.chars();
                text = next;
                if same {
                    break;
                }
            }
        }
        Spoken::new(text, sentence)
    }

    fn pass(&self, text: &Text) -> Text {
        match self.lexicon {
            Some((lexicon, order)) => {
                let stripped = tidy::tidy(&markup::strip(text, Signs::Said));
                tidy::tidy(&scan::normalize(&stripped, lexicon, order))
            }
            None => tidy::tidy(&markup::strip(text, Signs::Dropped)),
        }
    }
}

impl std::fmt::Debug for Speech {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Speech").field("normalize", &self.normalize).finish_non_exhaustive()
    }
}

/// The words of a language, and how its region writes dates.
fn lexicon_of(language: &str) -> Option<(&'static Lexicon, DateOrder)> {
    let mut subtags = language.split(['-', '_']);
    let primary = subtags.next().unwrap_or_default().to_ascii_lowercase();
    let region = subtags.find(|subtag| subtag.len() == 2).map(str::to_ascii_uppercase);
    match primary.as_str() {
        "en" => {
            let order = match region.as_deref() {
                None | Some("US" | "PH") => DateOrder::MonthFirst,
                Some(_) => DateOrder::DayFirst,
            };
            Some((&en::LEXICON, order))
        }
        "de" => Some((&de::LEXICON, DateOrder::DayFirst)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
