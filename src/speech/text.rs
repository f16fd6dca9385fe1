//! A text on its way to the voice: every character knows how much of the original was said with it.

/// What a voice is to say, and which part of the original each of its characters stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    text: String,
    /// For each character of `text` the characters of the original that are said once it is; never falls.
    said: Vec<u32>,
    original_chars: u32,
}

impl Spoken {
    /// A text that is said as it is written.
    pub fn verbatim(text: &str) -> Self {
        Self::new(Text::new(text), text)
    }

    pub(super) fn new(text: Text, original: &str) -> Self {
        let original_chars = count(original.chars().count());
        let mut said = text.said;
        // What was left out at the end needs no further sound.
        if let Some(last) = said.last_mut() {
            *last = original_chars;
        }
        Self { text: text.chars.into_iter().collect(), said, original_chars }
    }

    /// What synthesis gets.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Characters of [`Self::text`].
    pub fn chars(&self) -> u32 {
        count(self.said.len())
    }

    /// Whether there is nothing to say: no letter and no digit.
    pub fn is_silent(&self) -> bool {
        !self.text.chars().any(char::is_alphanumeric)
    }

    /// Whether each character stands for itself.
    pub fn is_verbatim(&self) -> bool {
        self.said.len() == self.original_chars as usize
            && self.said.iter().zip(1..).all(|(&said, position)| said == position)
    }

    /// Characters of the original that are said once so many of [`Self::text`] are.
    pub fn original_chars(&self, spoken: u32) -> u32 {
        match spoken.checked_sub(1) {
            None => 0,
            Some(last) => self.said.get(last as usize).copied().unwrap_or(self.original_chars),
        }
    }
}

/// Characters with their origins, between two steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    chars: Vec<char>,
    said: Vec<u32>,
}

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let said = (1..=count(chars.len())).collect();
        Self { chars, said }
    }

    pub(super) fn chars(&self) -> &[char] {
        &self.chars
    }

    fn said_before(&self, at: usize) -> u32 {
        at.checked_sub(1).and_then(|last| self.said.get(last)).copied().unwrap_or(0)
    }
}

/// Writes the text after a step. What is neither kept nor replaced is left out.
pub(super) struct Writer<'a> {
    from: &'a Text,
    to: Text,
}

impl<'a> Writer<'a> {
    pub(super) fn new(from: &'a Text) -> Self {
        let room = from.chars.len() + from.chars.len() / 2;
        let to = Text { chars: Vec::with_capacity(room), said: Vec::with_capacity(room) };
        Self { from, to }
    }

    /// The last character written.
    pub(super) fn last(&self) -> Option<char> {
        self.to.chars.last().copied()
    }

    /// Keeps the characters from `start` to before `end`.
    pub(super) fn keep(&mut self, start: usize, end: usize) {
        if let (Some(chars), Some(said)) =
            (self.from.chars.get(start..end), self.from.said.get(start..end))
        {
            self.to.chars.extend_from_slice(chars);
            self.to.said.extend_from_slice(said);
        }
    }

    /// Writes `words` for the characters from `start` to before `end`, which are said bit by bit with them.
    pub(super) fn put(&mut self, start: usize, end: usize, words: &str) {
        let (from, to) = (self.from.said_before(start), self.from.said_before(end));
        let all = words.chars().count().max(1) as u64;
        for (position, c) in (1..).zip(words.chars()) {
            let part = u64::from(to.saturating_sub(from)) * position / all;
            self.to.chars.push(c);
            self.to.said.push(from + u32::try_from(part).unwrap_or(0));
        }
    }

    /// Writes `words` as words of their own.
    pub(super) fn put_words(&mut self, start: usize, end: usize, words: &str) {
        if self.last().is_some_and(char::is_alphanumeric) {
            self.put(start, start, " ");
        }
        self.put(start, end, words);
        if self.from.chars.get(end).is_some_and(|next| next.is_alphanumeric()) {
            self.put(end, end, " ");
        }
    }

    pub(super) fn finish(self) -> Text {
        self.to
    }
}

fn count(chars: usize) -> u32 {
    u32::try_from(chars).unwrap_or(u32::MAX)
}
