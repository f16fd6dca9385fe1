//! Words of an agent that its voice would say wrong.

use serde::{Deserialize, Serialize};

use super::text::{Text, Writer};

/// Entries of a dictionary: each is looked for at every word of every sentence.
pub const PRONUNCIATIONS_MAX: usize = 256;
/// Longest side of an entry, characters.
pub const PRONUNCIATION_CHARS_MAX: usize = 100;

/// How a word is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pronunciation {
    /// As it is written, 1 to 100 characters.
    pub from: String,
    /// As it is said, at most 100 characters; empty: it is not said at all.
    pub to: String,
    /// Only where no letter and no digit of another word stands beside it.
    pub whole_word: bool,
    /// Whether capitals matter.
    pub case_sensitive: bool,
}

impl Default for Pronunciation {
    fn default() -> Self {
        Self { from: String::new(), to: String::new(), whole_word: true, case_sensitive: false }
    }
}

struct Entry {
    from: Vec<char>,
    to: String,
    whole_word: bool,
    case_sensitive: bool,
}

/// Pronunciations, ready to be looked up: the longest that fits wins, then the first.
#[derive(Default)]
pub(super) struct Dictionary {
    entries: Vec<Entry>,
}

impl Dictionary {
    pub(super) fn new(pronunciations: &[Pronunciation]) -> Self {
        let mut entries: Vec<Entry> = pronunciations
            .iter()
            .filter(|own| !own.from.trim().is_empty())
            .take(PRONUNCIATIONS_MAX)
            .map(|own| Entry {
                from: own.from.trim().chars().map(|c| folded(c, own.case_sensitive)).collect(),
                to: own.to.trim().to_owned(),
                whole_word: own.whole_word,
                case_sensitive: own.case_sensitive,
            })
            .collect();
        // Stable, so that of two of a length the first stays first.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.from.len()));
        Self { entries }
    }

    pub(super) fn apply(&self, text: Text) -> Text {
        if self.entries.is_empty() {
            return text;
        }
        let chars = text.chars();
        let lower: Vec<char> = chars.iter().map(|c| folded(*c, false)).collect();
        let mut out = Writer::new(&text);
        let mut at = 0;
        while at < chars.len() {
            match self.entries.iter().find(|entry| entry.fits(chars, &lower, at)) {
                Some(entry) => {
                    let end = at + entry.from.len();
                    out.put(at, end, &entry.to);
                    at = end;
                }
                None => {
                    out.keep(at, at + 1);
                    at += 1;
                }
            }
        }
        out.finish()
    }
}

impl Entry {
    /// `lower`: the same characters as `chars`, in small letters.
    fn fits(&self, chars: &[char], lower: &[char], at: usize) -> bool {
        let end = at + self.from.len();
        let text = if self.case_sensitive { chars } else { lower };
        let Some(here) = text.get(at..end).filter(|here| *here == self.from) else { return false };
        let parted = |own: Option<&char>, beside: Option<&char>| {
            let word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric());
            !(word(own) && word(beside))
        };
        let before = at.checked_sub(1).and_then(|before| chars.get(before));
        let apart = || parted(here.first(), before) && parted(here.last(), chars.get(end));
        !self.whole_word || apart()
    }
}

/// One character for one, so that positions stay: what has no single lower-case form stays as it is.
fn folded(c: char, case_sensitive: bool) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) if !case_sensitive => single,
        _ => c,
    }
}
