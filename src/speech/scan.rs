//! Finds what is written for eyes, from left to right: the first reading that fits wins.

use super::address;
use super::lexicon::{DateOrder, Language, Lexicon};
use super::text::{Text, Writer};

/// Digits of a number that is said as a quantity; a longer one is said digit by digit.
const WHOLE_DIGITS_MAX: usize = 15;
/// Words before a run of digits that may say it is a code.
const CONTEXT_WORDS: usize = 3;

/// A stretch of text and its words.
pub(super) struct Found {
    pub(super) end: usize,
    pub(super) words: String,
}

impl Found {
    pub(super) fn new(end: usize, words: impl Into<String>) -> Self {
        Self { end, words: words.into() }
    }
}

/// A number as it is written.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) end: usize,
    /// Digits without what parts the thousands.
    pub(super) whole: String,
    pub(super) fraction: Option<String>,
    pub(super) is_grouped: bool,
}

impl Number {
    pub(super) fn value(&self) -> u64 {
        self.whole.parse().unwrap_or(u64::MAX)
    }

    pub(super) fn is_one(&self) -> bool {
        self.whole == "1" && self.fraction.is_none()
    }

    /// Whether it begins with zeros that a quantity would not have.
    pub(super) fn is_padded(&self) -> bool {
        self.whole.len() > 1 && self.whole.starts_with('0')
    }
}

/// A text in a language.
#[derive(Clone, Copy)]
pub(super) struct Scan<'a> {
    pub(super) chars: &'a [char],
    pub(super) lexicon: &'static Lexicon,
    pub(super) order: DateOrder,
}

/// Says in words what stands in signs and digits.
pub(super) fn normalize(text: &Text, lexicon: &'static Lexicon, order: DateOrder) -> Text {
    let scan = Scan { chars: text.chars(), lexicon, order };
    let mut out = Writer::new(text);
    let mut at = 0;
    while at < scan.chars.len() {
        match scan.find(at) {
            Some(found) => {
                let end = found.end.max(at + 1);
                if scan.before(at).is_some_and(char::is_alphabetic) && scan.is_letter(at) {
                    out.put(at, end, &found.words);
                } else {
                    out.put_words(at, end, &found.words);
                }
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

impl Scan<'_> {
    pub(super) fn char(&self, at: usize) -> Option<char> {
        self.chars.get(at).copied()
    }

    pub(super) fn before(&self, at: usize) -> Option<char> {
        at.checked_sub(1).and_then(|before| self.char(before))
    }

    pub(super) fn is(&self, at: usize, c: char) -> bool {
        self.char(at) == Some(c)
    }

    pub(super) fn is_digit(&self, at: usize) -> bool {
        self.char(at).is_some_and(|c| c.is_ascii_digit())
    }

    pub(super) fn is_letter(&self, at: usize) -> bool {
        self.char(at).is_some_and(char::is_alphabetic)
    }

    /// Whether no word goes on here.
    pub(super) fn is_free(&self, at: usize) -> bool {
        self.char(at).is_none_or(|c| !c.is_alphanumeric())
    }

    pub(super) fn german(&self) -> bool {
        self.lexicon.language == Language::German
    }

    /// Position after at most one space.
    pub(super) fn skip_space(&self, at: usize) -> usize {
        if self.is(at, ' ') { at + 1 } else { at }
    }

    pub(super) fn text(&self, start: usize, end: usize) -> String {
        self.chars.get(start..end).unwrap_or_default().iter().collect()
    }

    pub(super) fn starts(&self, at: usize, with: &str) -> bool {
        (at..).zip(with.chars()).all(|(at, c)| self.is(at, c))
    }

    /// End of the run of digits that begins here.
    pub(super) fn digits_end(&self, at: usize) -> usize {
        at + self.chars.iter().skip(at).take_while(|c| c.is_ascii_digit()).count()
    }

    /// End of the run of letters that begins here.
    pub(super) fn letters_end(&self, at: usize) -> usize {
        at + self.chars.iter().skip(at).take_while(|c| c.is_alphabetic()).count()
    }

    /// The word before, in small letters; empty if something else stands there.
    pub(super) fn word_before(&self, at: usize) -> (usize, String) {
        let head = self.chars.get(..at).unwrap_or_default();
        let is_gap = |c: &char| c.is_whitespace() || matches!(c, '.' | ':' | '#' | '"');
        let gap = head.iter().rev().take_while(|c| is_gap(c)).count();
        let end = at.saturating_sub(gap);
        let head = head.get(..end).unwrap_or_default();
        let letters = head.iter().rev().take_while(|c| c.is_alphabetic()).count();
        let start = end - letters;
        (start, self.text(start, end).to_lowercase())
    }

    /// Whether one of the words before says that digits are no quantity.
    pub(super) fn is_code_context(&self, at: usize) -> bool {
        let mut end = at;
        for _ in 0..CONTEXT_WORDS {
            let (start, word) = self.word_before(end);
            let names = |own: &&str| match own.strip_prefix('-') {
                Some(ending) => word.ends_with(ending),
                None => word == **own,
            };
            if word.is_empty() {
                return false;
            }
            if self.lexicon.code_words.iter().any(names) {
                return true;
            }
            end = start;
        }
        false
    }

    /// The number that begins at a digit.
    pub(super) fn number(&self, at: usize) -> Option<Number> {
        let first = self.digits_end(at);
        if first == at {
            return None;
        }
        let (group, decimal) = (self.lexicon.group, self.lexicon.decimal);
        let mut end = first;
        let mut is_grouped = false;
        if first - at <= 3 && !self.is(at, '0') {
            while self.is(end, group) && self.digits_end(end + 1) == end + 4 {
                end += 4;
                is_grouped = true;
            }
        }
        let whole: String = self.text(at, end).chars().filter(char::is_ascii_digit).collect();
        let mut fraction = None;
        let after = self.digits_end(end + 1);
        if self.is(end, decimal)
            && after > end + 1
            && !(self.is(after, decimal) && self.is_digit(after + 1))
        {
            fraction = Some(self.text(end + 1, after));
            end = after;
        }
        // "49,- €"
        let dashes =
            self.chars.iter().skip(end + 1).take_while(|c| matches!(c, '-' | '–' | '—')).count();
        if self.german() && fraction.is_none() && self.is(end, ',') && (1..=2).contains(&dashes) {
            end += 1 + dashes;
        }
        Some(Number { end, whole, fraction, is_grouped })
    }

    /// A number without anything that follows it.
    pub(super) fn say(&self, number: &Number) -> String {
        let whole = match number.whole.len() {
            0..=WHOLE_DIGITS_MAX => self.lexicon.count(number.value()),
            _ => self.lexicon.spell(&number.whole),
        };
        match &number.fraction {
            Some(fraction) => {
                format!("{whole} {} {}", self.lexicon.point, self.lexicon.spell(fraction))
            }
            None => whole,
        }
    }

    fn find(&self, at: usize) -> Option<Found> {
        let c = self.char(at)?;
        let starts_word = self.before(at).is_none_or(|c| !c.is_alphanumeric());
        if starts_word && let Some(end) = address::end_of(self.chars, at) {
            let address = self.chars.get(at..end).unwrap_or_default();
            return Some(Found::new(end, address::words(address, self.lexicon)));
        }
        if c.is_alphabetic() {
            return if starts_word { self.word(at) } else { self.word_end(at) };
        }
        if c.is_ascii_digit() {
            return if starts_word { self.figure(at) } else { Some(self.inner_digits(at)) };
        }
        self.signed(at, c, starts_word).or_else(|| self.symbol(at, c))
    }

    /// What begins with a digit: the narrowest reading first.
    fn figure(&self, at: usize) -> Option<Found> {
        self.date(at)
            .or_else(|| self.time(at))
            .or_else(|| self.phone(at))
            .or_else(|| self.dotted(at))
            .or_else(|| self.quantity(at))
    }

    /// What begins with a sign and goes on with digits.
    fn signed(&self, at: usize, c: char, starts_word: bool) -> Option<Found> {
        if matches!(c, '+' | '(')
            && starts_word
            && let Some(phone) = self.phone(at)
        {
            return Some(phone);
        }
        if self.lexicon.currency(c).is_some() {
            return self.money_before(at);
        }
        let outside = self
            .before(at)
            .is_none_or(|c| c.is_whitespace() || matches!(c, '(' | '"' | '„' | '“' | '–'));
        let sign = match c {
            '-' | '−' | '–' if outside => self.lexicon.minus,
            '+' if outside => self.lexicon.plus,
            '.' if outside && !self.german() => {
                let end = self.digits_end(at + 1);
                let digits = self.text(at + 1, end);
                let words = format!("{} {}", self.lexicon.point, self.lexicon.spell(&digits));
                return (end > at + 1).then(|| Found::new(end, words));
            }
            '\'' | '’' if self.digits_end(at + 1) == at + 3 => return self.decade(at + 1),
            _ => return None,
        };
        let rest = match self.char(at + 1)? {
            next if next.is_ascii_digit() => self.quantity(at + 1),
            next if self.lexicon.currency(next).is_some() => self.money_before(at + 1),
            _ => None,
        }?;
        Some(Found::new(rest.end, format!("{sign} {}", rest.words)))
    }

    /// A sign on its own.
    fn symbol(&self, at: usize, c: char) -> Option<Found> {
        if let Some((_, words)) = self.lexicon.fraction_signs.iter().find(|(own, _)| *own == c) {
            let and = if self.german() { "und" } else { "and" };
            let counted = self.before(at).is_some_and(char::is_alphanumeric);
            let words = if counted { format!(" {and} {words}") } else { (*words).to_owned() };
            return Some(Found::new(at + 1, words));
        }
        if let Some(exponent) = superscript(c) {
            let words = self.lexicon.symbol(c).unwrap_or_else(|| self.lexicon.digit(exponent));
            return Some(Found::new(at + 1, words));
        }
        if c == '/' {
            return self.slash(at);
        }
        let words = self.lexicon.symbol(c)?;
        if c == '§' && self.is(at + 1, '§') {
            let many = if self.german() { "Paragrafen" } else { "sections" };
            return Some(Found::new(at + 2, many));
        }
        let beside_plus = c == '+' && self.is(at + 1, '+');
        // "C++" and "A+" are names.
        if c == '+'
            && (beside_plus || self.before(at).is_some_and(|c| c.is_alphabetic() || c == '+'))
        {
            return Some(Found::new(at + 1, format!(" {words}")));
        }
        Some(Found::new(at + 1, words))
    }

    /// Between numbers: `10 / 2`, `4.5/5`.
    fn slash(&self, at: usize) -> Option<Found> {
        let spaced = self.before(at) == Some(' ') && self.is(at + 1, ' ');
        let before =
            if spaced { at.checked_sub(2).and_then(|at| self.char(at)) } else { self.before(at) };
        let between = before.is_some_and(|c| c.is_ascii_digit())
            && self.is_digit(at + 1 + usize::from(spaced));
        let words = if spaced { self.lexicon.symbol('÷') } else { Some(self.lexicon.slash) };
        // A number before it was said already: two words must not touch.
        between.then(|| Found::new(at + 1, format!(" {}", words.unwrap_or_default())))
    }

    /// Digits within a word: `A4`, `MP3`, `B2B`.
    fn inner_digits(&self, at: usize) -> Found {
        let end = self.digits_end(at);
        let digits = self.text(at, end);
        let words = match digits.as_str() {
            short if short.len() <= 2 && !short.starts_with('0') => {
                self.lexicon.count(short.parse().unwrap_or(0))
            }
            _ => self.lexicon.spell(&digits),
        };
        Found::new(end, words)
    }
}

fn superscript(c: char) -> Option<u32> {
    ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹']
        .iter()
        .position(|own| *own == c)
        .map(|n| n as u32)
}
