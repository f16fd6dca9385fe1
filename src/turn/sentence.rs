//! Cuts a stream of text into what synthesis gets: the first clause early, then whole sentences.
//!
//! Works character by character, so the cuts cannot depend on how the text was chunked. A full stop
//! ends a sentence only when white space and then something other than a small letter follow, and
//! when it is not the stop of an abbreviation, an initial or a list number: "3.5", "e.g.",
//! "Dr. Chen", "$29.99", "U.S.", URLs and e-mail addresses stay whole. CJK stops need no space. In
//! doubt nothing is cut: a late cut costs some milliseconds, a wrong one is heard.

/// Characters after which a sentence is cut at a word: about 25 s of speech. Synthesis services
/// refuse or slow down on far longer text.
pub const SENTENCE_CHARS_MAX: usize = 400;

/// Abbreviations whose stop never ends a sentence.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "mx", "dr", "prof", "st", "mt", "rev", "hon", "gen", "col", "capt", "lt",
    "sgt", "maj", "cmdr", "sr", "jr", "vs", "etc", "approx", "dept", "est", "fig", "inc", "ltd",
    "corp", "co", "ave", "blvd", "rd", "ext", "tel", "min", "max", "ca", "cf", "al", "messrs",
    "bzw", "usw", "hr", "hrn", "fr", "nr", "str", "inkl", "exkl", "zzgl", "abzgl", "ggf", "evtl",
    "mio", "mrd", "tsd", "mind", "std", "sek", "vgl", "bspw", "sog", "geb", "fam", "dipl", "ing",
    "stk", "abt", "mwst", "okt", "dez", "jan", "feb", "apr", "jun", "jul", "aug", "sep", "sept",
    "oct", "nov", "dec",
];
/// Abbreviations only before a number.
const BEFORE_NUMBER: &[&str] =
    &["no", "nos", "p", "pp", "vol", "art", "sec", "ch", "abs", "kap", "bd", "s"];
/// German words before an ordinal, whose stop is no end either: "im 3. Stock".
const BEFORE_ORDINAL: &[&str] = &[
    "am",
    "im",
    "vom",
    "zum",
    "zur",
    "beim",
    "bis",
    "ab",
    "seit",
    "der",
    "die",
    "das",
    "den",
    "dem",
    "des",
    "ein",
    "eine",
    "einen",
    "einem",
    "einer",
    "jeden",
    "jeder",
    "jede",
    "montag",
    "dienstag",
    "mittwoch",
    "donnerstag",
    "freitag",
    "samstag",
    "sonntag",
];

/// Where the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a sentence.
    Text,
    /// After a stop and anything that closes with it.
    Stop { end: usize, wide: bool },
    /// After a stop and white space.
    Space { end: usize, number_goes_on: bool },
    /// After a mark that may end the first clause.
    Clause,
}

/// The cutter. [`Segmenter::push`] and [`Segmenter::flush`] give back the input in order, without
/// loss or change: the white space between two sentences stays at the end of the first.
#[derive(Clone, Debug)]
pub struct Segmenter {
    buffer: String,
    chars: usize,
    at: At,
    /// Length from which a clause is cut; `None` after the first cut.
    clause_min_chars: Option<usize>,
}

impl Segmenter {
    /// A cutter that speaks a first clause of at least `clause_min_chars` early; 0: never.
    pub fn new(clause_min_chars: u32) -> Self {
        Self {
            buffer: String::new(),
            chars: 0,
            at: At::Text,
            clause_min_chars: (clause_min_chars > 0).then_some(clause_min_chars as usize),
        }
    }

    /// Takes the next piece of text, gives the sentences it completes.
    pub fn push(&mut self, delta: &str) -> Vec<String> {
        let mut out = Vec::new();
        for c in delta.chars() {
            self.step(c, &mut out);
        }
        out
    }

    /// Gives what is left.
    pub fn flush(&mut self) -> Option<String> {
        self.at = At::Text;
        self.chars = 0;
        self.clause_min_chars = None;
        let rest = std::mem::take(&mut self.buffer);
        (!rest.is_empty()).then_some(rest)
    }

    fn step(&mut self, c: char, out: &mut Vec<String>) {
        match self.at {
            At::Stop { end, wide } if !is_stop(c) && !is_closer(c) && !c.is_whitespace() => {
                if wide {
                    self.cut(end, out);
                }
                self.at = At::Text;
            }
            At::Space { end, number_goes_on } if !c.is_whitespace() => {
                let goes_on = c.is_lowercase() || (number_goes_on && c.is_ascii_digit());
                if !goes_on {
                    self.cut(end, out);
                }
                self.at = At::Text;
            }
            At::Clause if !c.is_whitespace() => self.at = At::Text,
            At::Text | At::Stop { .. } | At::Space { .. } | At::Clause => {}
        }
        let before = self.buffer.len();
        self.buffer.push(c);
        self.chars += 1;
        let end = self.buffer.len();
        if c == '\n' {
            self.cut(end, out);
        } else {
            self.at = match self.at {
                At::Text => self.after_text(c, before),
                At::Stop { wide, .. } if c.is_whitespace() => match self.after_stop(before, wide) {
                    // A plain word or a loud stop ends a sentence whatever follows: the voice need
                    // not wait for the model's next token.
                    At::Space { .. } if self.is_plain_end(before) => {
                        self.cut(end, out);
                        At::Text
                    }
                    at => at,
                },
                At::Stop { wide, .. } => At::Stop { end, wide: wide || is_wide_stop(c) },
                At::Space { number_goes_on, .. } => At::Space { end, number_goes_on },
                At::Clause => {
                    self.cut(end, out);
                    At::Text
                }
            };
        }
        if self.chars >= SENTENCE_CHARS_MAX {
            self.cut_long(out);
        }
    }

    /// In a sentence, `c` was read at byte `before`.
    fn after_text(&mut self, c: char, before: usize) -> At {
        if is_stop(c) {
            return At::Stop { end: self.buffer.len(), wide: is_wide_stop(c) };
        }
        if self.clause_min_chars.is_some_and(|min| self.chars > min) && is_clause_mark(c) {
            let spaced =
                self.buffer.get(..before).is_some_and(|s| s.ends_with(char::is_whitespace));
            if c != '-' || spaced {
                return At::Clause;
            }
        }
        At::Text
    }

    /// White space followed a stop that began at or before byte `end`.
    fn after_stop(&self, end: usize, wide: bool) -> At {
        let text = self.buffer.get(..end).unwrap_or("");
        let next = self.buffer.len();
        match stop_meaning(text) {
            _ if wide => At::Space { end: next, number_goes_on: false },
            Meaning::End => At::Space { end: next, number_goes_on: false },
            Meaning::EndUnlessNumber => At::Space { end: next, number_goes_on: true },
            Meaning::Abbreviation => At::Text,
        }
    }

    /// Whether the stop before byte `end` cannot belong to an abbreviation, a number or an ellipsis.
    fn is_plain_end(&self, end: usize) -> bool {
        let text = self.buffer.get(..end).unwrap_or("");
        if text.ends_with(['!', '?']) {
            return true;
        }
        let Some(body) = text.strip_suffix('.') else { return false };
        let word = body.rsplit(char::is_whitespace).next().unwrap_or("");
        word.chars().count() >= PLAIN_WORD_CHARS_MIN && word.chars().all(char::is_lowercase)
    }

    /// Gives `buffer[..end]`, unless it is only white space, which then leads the next sentence.
    fn cut(&mut self, end: usize, out: &mut Vec<String>) {
        self.at = At::Text;
        let Some(head) = self.buffer.get(..end) else { return };
        if head.trim().is_empty() {
            return;
        }
        let rest = self.buffer.split_off(end);
        out.push(std::mem::replace(&mut self.buffer, rest));
        self.chars = self.buffer.chars().count();
        self.clause_min_chars = None;
    }

    /// Cuts an overlong sentence after its last white space, or where it stands.
    fn cut_long(&mut self, out: &mut Vec<String>) {
        let end = self
            .buffer
            .char_indices()
            .rev()
            .find(|(_, c)| c.is_whitespace())
            .map(|(at, c)| at + c.len_utf8())
            .filter(|&end| self.buffer.get(..end).is_some_and(|s| !s.trim().is_empty()))
            .unwrap_or(self.buffer.len());
        let tail = self.buffer.split_off(end);
        out.push(std::mem::take(&mut self.buffer));
        self.chars = 0;
        self.at = At::Text;
        self.clause_min_chars = None;
        // Shorter than what was cut and without white space, so this cannot come back here.
        for c in tail.chars() {
            self.step(c, out);
        }
    }
}

/// Abbreviations that no list knows are shorter than this, as a rule.
const PLAIN_WORD_CHARS_MIN: usize = 4;

enum Meaning {
    End,
    EndUnlessNumber,
    Abbreviation,
}

/// What the stop at the end of `text` means, given what stands before it.
fn stop_meaning(text: &str) -> Meaning {
    let Some(body) = text.strip_suffix('.') else { return Meaning::End };
    let start = body.rfind(char::is_whitespace).map_or(0, |at| {
        at + body.get(at..).and_then(|s| s.chars().next()).map_or(1, char::len_utf8)
    });
    let run = body.get(start..).unwrap_or("");
    let word = run.trim_start_matches(|c: char| !c.is_alphanumeric());
    if word.is_empty() || word.ends_with('.') {
        return Meaning::End;
    }
    let line_start = body.get(..start).is_none_or(|s| s.is_empty() || s.ends_with('\n'));
    if line_start && word.len() <= 3 && word.bytes().all(|b| b.is_ascii_digit()) && word == run {
        return Meaning::Abbreviation;
    }
    if is_german_ordinal(body.get(..start).unwrap_or(""), run) {
        return Meaning::Abbreviation;
    }
    let mut letters = word.chars();
    if let (Some(first), None) = (letters.next(), letters.next())
        && first.is_alphabetic()
        && first != 'I'
    {
        return Meaning::Abbreviation;
    }
    let dotted = word.contains('.')
        && word.split('.').all(|part| {
            let mut part = part.chars();
            part.next().is_some_and(char::is_alphabetic) && part.next().is_none()
        });
    let lower = word.to_lowercase();
    if dotted || ABBREVIATIONS.contains(&lower.as_str()) || lower == "ph.d" {
        Meaning::Abbreviation
    } else if BEFORE_NUMBER.contains(&lower.as_str()) {
        Meaning::EndUnlessNumber
    } else {
        Meaning::End
    }
}

/// Whether a number with a stop is an ordinal by the German word before it.
fn is_german_ordinal(before: &str, number: &str) -> bool {
    let is_short = (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let word = before.trim_end().trim_end_matches(',');
    let word = word.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    is_short && BEFORE_ORDINAL.contains(&word.to_lowercase().as_str())
}

fn is_stop(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…') || is_wide_stop(c)
}

/// Stops that need no white space after them.
fn is_wide_stop(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '｡' | '．' | '।')
}

fn is_closer(c: char) -> bool {
    matches!(c, '"' | '\'' | '”' | '’' | ')' | ']' | '}' | '»' | '」' | '』' | '）' | '】' | '*')
}

fn is_clause_mark(c: char) -> bool {
    matches!(c, ',' | ';' | ':' | '-' | '–' | '—')
}

/// Characters that are words of their own: Han, Kana, Hangul.
pub fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}')
}

#[cfg(test)]
mod tests;
