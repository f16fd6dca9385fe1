//! Words that are written short.

use super::lexicon::{Abbreviation, Next};
use super::scan::{Found, Scan};

impl Scan<'_> {
    /// What begins with a letter at the beginning of a word.
    pub(super) fn word(&self, at: usize) -> Option<Found> {
        self.account(at)
            .or_else(|| self.month_first(at))
            .or_else(|| self.currency_before(at))
            .or_else(|| self.abbreviation(at))
    }

    /// The number of a bank account: `DE89 3704 0044 …`.
    fn account(&self, at: usize) -> Option<Found> {
        let country = self.text(at, at + 2);
        let mut end = self.digits_end(at + 2);
        let is_country = country.len() == 2 && country.chars().all(|c| c.is_ascii_uppercase());
        if !is_country || end < at + 4 {
            return None;
        }
        let mut groups = vec![self.text(at + 2, end)];
        while self.is(end, ' ') && (1..=4).contains(&(self.digits_end(end + 1) - end - 1)) {
            let last = self.digits_end(end + 1);
            groups.push(self.text(end + 1, last));
            end = last;
        }
        let digits: usize = groups.iter().map(String::len).sum();
        let fits = (13..=30).contains(&digits) && self.is_free(end);
        fits.then(|| Found::new(end, format!("{country} {}", self.grouped(&groups))))
    }

    /// What a word may end with: `Hauptstr.`
    pub(super) fn word_end(&self, at: usize) -> Option<Found> {
        let street = self.german()
            && self.starts(at, "str.")
            && self.before(at).is_some_and(char::is_lowercase);
        let end = at + 4;
        street.then(|| self.with_stop(end, "straße"))
    }

    /// Words for what ended with a stop, which may end the sentence as well.
    pub(super) fn with_stop(&self, end: usize, words: &str) -> Found {
        let rest = self.chars.get(end..).unwrap_or_default();
        let closes = |c: &char| {
            c.is_whitespace() || matches!(c, '"' | '\'' | '”' | '“' | '’' | ')' | '»' | '«')
        };
        let is_last = self.before(end) == Some('.') && rest.iter().all(closes);
        // The stop was one of the sentence, too.
        Found::new(end, if is_last { format!("{words}.") } else { words.to_owned() })
    }

    fn abbreviation(&self, at: usize) -> Option<Found> {
        self.lexicon.abbreviations.iter().find_map(|own| {
            let end = self.end_of_abbreviation(at, own)?;
            Some(self.with_stop(end, own.1))
        })
    }

    fn end_of_abbreviation(&self, at: usize, own: &Abbreviation) -> Option<usize> {
        let (short, _, next) = *own;
        let mut end = at;
        for c in short.chars() {
            match c {
                // Its parts may be written together: `z.B.`
                ' ' => end = self.skip_space(end),
                c if self.is(end, c) => end += 1,
                _ => return None,
            }
        }
        let ends_bare = !short.ends_with('.') && !short.ends_with('/');
        if ends_bare && !self.is_free(end) {
            return None;
        }
        if short.ends_with('.') && self.is_letter(end) {
            return None;
        }
        let follows = self.skip_space(end);
        let before = self.word_before_as_written(at);
        let fits = match next {
            Next::Any => true,
            Next::Name => self.char(follows).is_some_and(char::is_uppercase),
            Next::Number => self.is_digit(follows),
            Next::AfterNumber => {
                self.before(at) == Some(' ')
                    && at >= 2
                    && self.char(at - 2).is_some_and(|c| c.is_ascii_digit())
            }
            Next::AfterName => {
                let street = self.char(follows).is_none_or(|c| !c.is_uppercase());
                street && before.is_some_and(char::is_uppercase)
            }
        };
        fits.then_some(end)
    }

    /// First letter of the word before, unless something else stands between.
    fn word_before_as_written(&self, at: usize) -> Option<char> {
        let end = at.checked_sub(1).filter(|_| self.before(at) == Some(' '))?;
        let head = self.chars.get(..end)?;
        let letters = head.iter().rev().take_while(|c| c.is_alphanumeric()).count();
        head.get(end - letters).copied()
    }

    /// `EUR 5`: the code before the number.
    fn currency_before(&self, at: usize) -> Option<Found> {
        let end = at + 3;
        let currency = self.lexicon.currency_code(&self.text(at, end))?;
        let number = self.skip_space(end);
        if !self.is_digit(number) {
            return None;
        }
        self.amount(number, currency)
    }
}
