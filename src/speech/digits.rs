//! Digits that are no quantity: telephone numbers, codes, versions.

use super::scan::{Found, Scan};

/// Digits of a telephone number: E.164 has 15, a local one at least 6.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 6..=15;

impl Scan<'_> {
    /// A telephone number, said group by group.
    pub(super) fn phone(&self, at: usize) -> Option<Found> {
        let plus = self.is(at, '+');
        let start = if plus { at + 1 } else { at };
        let (groups, separators, end) = self.groups(start)?;
        let digits: usize = groups.iter().map(String::len).sum();
        if !PHONE_DIGITS.contains(&digits) || !self.is_free(end) {
            return None;
        }
        let is_trunk =
            groups.first().is_some_and(|first| first.starts_with('0') && first.len() >= 2)
                || (self.is(at, '(') && groups.len() > 1);
        let lengths: Vec<usize> = groups.iter().map(String::len).collect();
        let american = matches!(lengths.as_slice(), [3, 3, 4] | [1, 3, 3, 4])
            || (lengths == [3, 4] && separators == ['-'] && self.is_local(at, &groups));
        if !(plus || is_trunk || american) {
            return None;
        }
        // "05.03.2026" and "0.5" are read elsewhere; a stop parts the groups of a number only among others.
        if is_trunk && !plus && (groups.len() == 1 || (groups.len() == 2 && separators == ['.'])) {
            return (groups.len() == 1).then(|| Found::new(end, self.grouped(&groups)));
        }
        let words = self.grouped(&groups);
        let words = if plus { format!("{} {words}", self.lexicon.plus) } else { words };
        Some(Found::new(end, words))
    }

    /// Whether seven digits are a number of the town and no range: `555-0100`.
    fn is_local(&self, at: usize, groups: &[String]) -> bool {
        let (_, word) = self.word_before(at);
        let asked = matches!(word.as_str(), "at" | "number" | "call" | "phone" | "dial" | "is");
        let fictional = groups.first().is_some_and(|first| first == "555");
        let padded = groups.get(1).is_some_and(|second| second.starts_with('0'));
        !self.german() && (asked || fictional || padded)
    }

    /// Runs of digits with one separator each between them.
    fn groups(&self, start: usize) -> Option<(Vec<String>, Vec<char>, usize)> {
        let mut groups = Vec::new();
        let mut separators = Vec::new();
        let mut at = start;
        let mut end = start;
        loop {
            let open = self.is(at, '(');
            let first = if open { at + 1 } else { at };
            let last = self.digits_end(first);
            if last == first || (open && !self.is(last, ')')) {
                break;
            }
            groups.push(self.text(first, last));
            end = if open { last + 1 } else { last };
            // What ends a sentence or a list is no separator.
            let separator = self.char(end).filter(|c| matches!(c, ' ' | '-' | '/' | '.' | '–'));
            at = match separator {
                Some(' ')
                    if matches!(self.char(end + 1), Some('-' | '/')) && self.is(end + 2, ' ') =>
                {
                    end + 3
                }
                Some('/') if self.is(end + 1, ' ') => end + 2,
                Some(_) => end + 1,
                None if open => end,
                None => break,
            };
            separators.extend(separator);
            if groups.len() > 8 {
                break;
            }
        }
        separators.truncate(groups.len().saturating_sub(1));
        (!groups.is_empty()).then_some((groups, separators, end))
    }

    /// Digit by digit, with a pause between the groups.
    pub(super) fn grouped(&self, groups: &[String]) -> String {
        let parts = groups.iter().flat_map(|group| chunks(group));
        let said: Vec<_> = parts.map(|part| self.lexicon.spell(&part)).collect();
        said.join(", ")
    }

    /// A code: all its digits.
    pub(super) fn code(&self, digits: &str) -> String {
        self.grouped(&[digits.to_owned()])
    }

    /// Versions and addresses of machines: `1.2.3`.
    pub(super) fn dotted(&self, at: usize) -> Option<Found> {
        let mut parts = Vec::new();
        let mut end = self.digits_end(at);
        parts.push(self.text(at, end));
        while self.is(end, '.') && self.is_digit(end + 1) {
            let last = self.digits_end(end + 1);
            parts.push(self.text(end + 1, last));
            end = last;
        }
        let is_number = self.german()
            && parts.len() != 4
            && parts.iter().skip(1).all(|part| part.len() == 3)
            && parts.first().is_some_and(|first| first.len() <= 3 && !first.starts_with('0'));
        let is_version = parts.len() >= 3 || (parts.len() == 2 && self.german());
        if is_number || !is_version {
            return None;
        }
        let said: Vec<_> = parts.iter().map(|part| self.part(part)).collect();
        Some(Found::new(end, said.join(&format!(" {} ", self.lexicon.dot))))
    }

    fn part(&self, digits: &str) -> String {
        let padded = digits.len() > 1 && digits.starts_with('0');
        match digits.parse() {
            Ok(number) if !padded && digits.len() <= 4 => self.lexicon.count(number),
            _ => self.lexicon.spell(digits),
        }
    }
}

/// Groups that an ear can hold: threes, and a last one of two to four.
fn chunks(digits: &str) -> Vec<String> {
    let digits: Vec<char> = digits.chars().collect();
    let mut out = Vec::new();
    let mut rest = digits.as_slice();
    while rest.len() > 4 {
        let (head, tail) = rest.split_at(3);
        out.push(head.iter().collect());
        rest = tail;
    }
    out.push(rest.iter().collect());
    out
}
