//! What vendors say of their timing, turned into marks of the sentence as it was given.
//!
//! A vendor that speaks "25" as "twenty five" names words the sentence does not hold, and one that
//! drops a symbol leaves some out: words are matched in order, and what does not match is passed over.
//! A mark stands at the end of a word, where the caller has heard all of it.

use crate::providers::tts::AlignmentMark;

/// Words beyond the next one that a match may pass over, besides one for each word that matched nothing.
const SKIPPED_WORDS_MAX: usize = 1;

/// Letters and digits beyond the next one that a single character may pass over.
const SKIPPED_CHARS_MAX: usize = 8;

/// One letter or digit of the sentence.
#[derive(Clone, Copy, Debug)]
struct Letter {
    /// In lower case.
    c: char,
    /// Characters of the sentence up to its end, with the punctuation that hangs on it.
    chars: u32,
    /// Which word it belongs to.
    word: usize,
    /// Whether the word ends with it.
    last: bool,
}

/// Marks of one sentence, as its timing comes in.
#[derive(Debug, Default)]
pub(super) struct Aligner {
    letters: Vec<Letter>,
    /// Letters that are matched.
    at: usize,
    /// Words in a row that matched nothing.
    missed: usize,
    /// Of the last mark.
    offset_ms: u32,
    /// Of the vendor's own clock, in the last list of characters.
    clock_ms: f64,
}

fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// Scripts that are written without spaces: each character is a word.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

impl Aligner {
    /// For a sentence as it was given.
    pub(super) fn new(text: &str) -> Self {
        let mut letters: Vec<Letter> = Vec::new();
        let (mut word, mut begins, mut spaced) = (0, true, true);
        for (n, c) in text.chars().enumerate() {
            let chars = u32::try_from(n + 1).unwrap_or(u32::MAX);
            if c.is_whitespace() {
                (begins, spaced) = (true, true);
                continue;
            }
            if !c.is_alphanumeric() {
                // Punctuation belongs to the word before it; inside "it's" it changes nothing.
                if let Some(letter) = letters.last_mut().filter(|_| !spaced) {
                    letter.chars = chars;
                }
                continue;
            }
            let alone = stands_alone(c);
            if (begins || alone)
                && let Some(letter) = letters.last_mut()
            {
                letter.last = true;
                word += 1;
            }
            letters.push(Letter { c: lower(c), chars, word, last: false });
            (begins, spaced) = (alone, false);
        }
        if let Some(letter) = letters.last_mut() {
            letter.last = true;
        }
        Self { letters, ..Self::default() }
    }

    /// Whether `spoken` stands at a place.
    fn is_at(&self, place: usize, spoken: &[char]) -> bool {
        let there = self.letters.get(place..).unwrap_or_default();
        there.len() >= spoken.len() && there.iter().zip(spoken).all(|(letter, c)| letter.c == *c)
    }

    fn mark(&mut self, end_ms: f64, out: &mut Vec<AlignmentMark>) {
        let Some(letter) = self.at.checked_sub(1).and_then(|at| self.letters.get(at)) else {
            return;
        };
        // `as` saturates, and makes 0 of what is no number.
        self.offset_ms = self.offset_ms.max(end_ms.round() as u32);
        out.push(AlignmentMark { offset_ms: self.offset_ms, chars: letter.chars });
    }

    /// Takes a word and when it ends, from the sentence's first sample.
    fn word(&mut self, word: &str, end_ms: f64, out: &mut Vec<AlignmentMark>) {
        let spoken: Vec<char> = word.chars().filter(|c| c.is_alphanumeric()).map(lower).collect();
        if spoken.is_empty() {
            return;
        }
        let next = self.letters.get(self.at).map_or(usize::MAX, |letter| letter.word);
        let limit = next.saturating_add(SKIPPED_WORDS_MAX).saturating_add(self.missed);
        let mut before = None;
        let found = (self.at..self.letters.len()).find(|place| {
            let word = self.letters.get(*place).map_or(usize::MAX, |letter| letter.word);
            let begins = before.replace(word) != Some(word);
            begins && word <= limit && self.is_at(*place, &spoken)
        });
        match found {
            Some(place) => {
                self.at = place + spoken.len();
                self.missed = 0;
                self.mark(end_ms, out);
            }
            None => self.missed += 1,
        }
    }

    /// Marks for words and their ends in seconds from the sentence's first sample.
    pub(super) fn words(&mut self, words: &[String], ends: &[f64]) -> Vec<AlignmentMark> {
        let mut out = Vec::new();
        for (word, end) in words.iter().zip(ends) {
            self.word(word, end * 1_000.0, &mut out);
        }
        out
    }

    /// Marks for the characters of a piece of audio that begins `base_ms` into the sentence; starts and
    /// lengths in milliseconds. Vendors count from the piece's beginning; one whose clock goes on from
    /// piece to piece is believed.
    pub(super) fn chars(
        &mut self,
        base_ms: f64,
        chars: &[String],
        starts: &[f64],
        lengths: &[f64],
    ) -> Vec<AlignmentMark> {
        let mut out = Vec::new();
        let first = starts.first().copied().unwrap_or_default();
        let goes_on = self.clock_ms > 0.0 && first >= self.clock_ms;
        let base_ms = if goes_on { 0.0 } else { base_ms };
        for (n, (text, start)) in chars.iter().zip(starts).enumerate() {
            let end = start + lengths.get(n).copied().unwrap_or_default();
            self.clock_ms = end;
            for c in text.chars().filter(|c| c.is_alphanumeric()).map(lower) {
                let near = self.letters.get(self.at..).unwrap_or_default();
                let Some(ahead) = near.iter().take(SKIPPED_CHARS_MAX).position(|l| l.c == c) else {
                    continue;
                };
                let last = near.get(ahead).is_some_and(|letter| letter.last);
                self.at += ahead + 1;
                if last {
                    self.mark(base_ms + end, &mut out);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
