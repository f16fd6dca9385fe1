//! What of the agent's words the caller really heard.
//!
//! Every sentence knows how many samples it became. Sentences played whole were heard whole; of the
//! one that was cut, the words that the voice itself says were spoken by then; if it says nothing,
//! the part of its text that its played samples are of all its samples, back to the last complete
//! word. Text that was never sent to playback was never heard.

use super::sentence::is_ideograph;

/// Sentences of one reply; a model that says more is cut off there.
pub const SENTENCES_MAX: usize = 512;

/// What a sentence is to the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Part of the reply.
    Words,
    /// Said to fill a wait: not part of the reply's text.
    Filler,
    /// A sound that is no speech: not part of the text, and no measure of the voice's pace.
    Sound,
}

#[derive(Clone, Debug)]
struct Sentence {
    text: String,
    kind: Kind,
    samples: u64,
    done: bool,
    /// Samples from its first one, and the characters spoken until then; in order.
    marks: Vec<(u64, u32)>,
}

/// The sentences of one agent turn and how far they were played.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Heard in earlier generations of the same turn.
    before: String,
    sentences: Vec<Sentence>,
    played: u64,
}

/// Samples a character takes, learnt from finished sentences of the call: the length of a sentence
/// whose synthesis is still under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    samples: u64,
    chars: u64,
}

impl Pace {
    /// Learns from a finished sentence.
    fn learn(&mut self, sentence: &Sentence) {
        self.samples = self.samples.saturating_add(sentence.samples);
        self.chars = self.chars.saturating_add(sentence.text.chars().count() as u64);
    }

    /// Samples a text of `chars` characters takes; 0 if nothing is known.
    fn estimate(self, chars: usize) -> u64 {
        let samples = u128::from(self.samples) * chars as u128;
        samples.checked_div(u128::from(self.chars)).map_or(0, |n| u64::try_from(n).unwrap_or(0))
    }
}

impl Heard {
    /// Adds a sentence; its position in the generation, or `None` above [`SENTENCES_MAX`].
    pub fn add(&mut self, text: &str, kind: Kind) -> Option<u32> {
        if self.sentences.len() >= SENTENCES_MAX {
            return None;
        }
        let text = text.to_owned();
        self.sentences.push(Sentence { text, kind, samples: 0, done: false, marks: Vec::new() });
        u32::try_from(self.sentences.len() - 1).ok()
    }

    /// Appends text that makes no sound to the last sentence; `false` if there is none.
    pub fn append_silent(&mut self, text: &str) -> bool {
        let last = self.sentences.iter_mut().rev().find(|s| s.kind == Kind::Words);
        let Some(last) = last else { return false };
        last.text.push_str(text);
        true
    }

    /// Words of a sentence whose sound comes beside them.
    pub fn append(&mut self, seq: u32, text: &str) {
        if let Some(sentence) = self.sentences.get_mut(seq as usize) {
            sentence.text.push_str(text);
        }
    }

    /// Audio of a sentence arrived; what the sentence is, or `None` if there is no such sentence.
    pub fn audio(&mut self, seq: u32, samples: u64) -> Option<Kind> {
        let sentence = self.sentences.get_mut(seq as usize)?;
        sentence.samples = sentence.samples.saturating_add(samples);
        Some(sentence.kind)
    }

    /// The voice says which part of a sentence sounds when. Marks out of order, and more than one a
    /// character, are left out.
    pub fn align(&mut self, seq: u32, marks: &[(u64, u32)]) {
        let Some(sentence) = self.sentences.get_mut(seq as usize) else { return };
        let most = sentence.text.chars().count();
        // The voice was given the text without the white space before it.
        let before = sentence.text.chars().take_while(|c| c.is_whitespace()).count();
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        for mark in marks.iter().map(|mark| (mark.0, mark.1.saturating_add(before))) {
            let last = sentence.marks.last().copied().unwrap_or_default();
            if sentence.marks.len() < most && mark.0 >= last.0 && mark.1 >= last.1 {
                sentence.marks.push(mark);
            }
        }
    }

    /// All audio of a sentence was given; `false` if there is no such sentence.
    pub fn done(&mut self, seq: u32, pace: &mut Pace) -> bool {
        let Some(sentence) = self.sentences.get_mut(seq as usize) else { return false };
        if !sentence.done {
            sentence.done = true;
            if sentence.kind != Kind::Sound {
                pace.learn(sentence);
            }
        }
        true
    }

    /// Playback reached this sample; whether it got further.
    pub fn played(&mut self, samples: u64) -> bool {
        let further = samples > self.played;
        self.played = self.played.max(samples);
        further
    }

    /// Number of sentences of this generation.
    pub fn count(&self) -> u32 {
        u32::try_from(self.sentences.len()).unwrap_or(u32::MAX)
    }

    /// Whether any of the reply's own words were handed to synthesis.
    pub fn has_words(&self) -> bool {
        !self.before.is_empty() || self.sentences.iter().any(|s| s.kind == Kind::Words)
    }

    /// Whether synthesis still owes audio.
    pub fn outstanding(&self) -> bool {
        self.sentences.iter().any(|s| !s.done)
    }

    /// Whether any audio was given to playback.
    pub fn has_audio(&self) -> bool {
        self.sentences.iter().any(|s| s.samples > 0)
    }

    /// Everything handed to synthesis was heard.
    pub fn all(&self) -> String {
        let mut text = self.before.clone();
        for sentence in self.sentences.iter().filter(|s| s.kind == Kind::Words) {
            text.push_str(&sentence.text);
        }
        text
    }

    /// What was heard up to the last played sample.
    pub fn text(&self, pace: Pace) -> String {
        let mut text = self.before.clone();
        let mut left = self.played;
        for sentence in &self.sentences {
            let words = sentence.kind == Kind::Words;
            if sentence.done && left >= sentence.samples {
                left -= sentence.samples;
                if words {
                    text.push_str(&sentence.text);
                }
                continue;
            }
            if words && let Some(last) = sentence.marks.last() {
                // The words after the last mark are still to come, unless all of the text is marked.
                let spoken = sentence.marks.iter().rev().find(|mark| mark.0 <= left);
                let whole =
                    left >= last.0 && last.1 as usize >= sentence.text.trim_end().chars().count();
                let chars = spoken.map_or(0, |mark| mark.1 as usize);
                text.push_str(if whole {
                    &sentence.text
                } else {
                    whole_words(&sentence.text, chars)
                });
            } else if words {
                let chars = sentence.text.chars().count();
                let total = match sentence.done {
                    true => sentence.samples,
                    false => sentence.samples.max(pace.estimate(chars)),
                };
                text.push_str(head(&sentence.text, left, total));
            }
            break;
        }
        text
    }

    /// Synthesis must begin again: keeps what was heard whole and gives back the sentences that
    /// were not, to be spoken in a new generation. Fillers are not repeated.
    pub fn restart(&mut self) -> Vec<String> {
        let mut left = self.played;
        let mut again = Vec::new();
        for sentence in self.sentences.drain(..) {
            let whole = again.is_empty() && sentence.done && left >= sentence.samples;
            left = left.saturating_sub(sentence.samples);
            match (sentence.kind, whole) {
                (Kind::Filler | Kind::Sound, _) => {}
                (Kind::Words, true) => self.before.push_str(&sentence.text),
                (Kind::Words, false) => again.push(sentence.text),
            }
        }
        self.played = 0;
        again
    }
}

/// The first `played / total` of a text, back to the end of a word.
fn head(text: &str, played: u64, total: u64) -> &str {
    if total == 0 || played == 0 {
        return "";
    }
    let chars = text.chars().count() as u128;
    let reach = (chars * u128::from(played.min(total)) / u128::from(total)) as usize;
    whole_words(text, reach)
}

/// The first `reach` characters of a text, back to the end of a word.
fn whole_words(text: &str, reach: usize) -> &str {
    let mut cut = 0;
    let mut previous: Option<char> = None;
    let mut count = 0;
    for (n, (at, c)) in text.char_indices().enumerate() {
        let boundary =
            previous.is_some_and(|p| !p.is_whitespace() && (c.is_whitespace() || is_ideograph(p)));
        if boundary && n <= reach {
            cut = at;
        }
        if n >= reach {
            break;
        }
        previous = Some(c);
        count = n + 1;
    }
    if count == reach && text.chars().nth(reach).is_none() {
        return text;
    }
    text.get(..cut).unwrap_or("")
}

#[cfg(test)]
mod tests;
