//! Numbers and what follows them: percent, units, money, ranges, fractions, ordinals, years.

use super::calendar::is_feminine;
use super::lexicon::{Currency, Unit};
use super::scan::{Found, Number, Scan};
use super::{de, en};

/// Digits from which a number that nothing groups or counts is taken for a code.
const CODE_DIGITS_MIN: usize = 5;

/// What letters after a number are: `$5B` are billions, `12B` is a door.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letters {
    AreScales,
    AreNames,
}

/// What a number counts.
enum Counted {
    Percent,
    Unit(&'static Unit),
    Money(&'static Currency),
}

impl Scan<'_> {
    /// The number at a digit, with all that belongs to it.
    pub(super) fn quantity(&self, at: usize) -> Option<Found> {
        let number = self.number(at)?;
        if number.fraction.is_none() && !number.is_grouped {
            let digits = number.whole.len();
            let is_code = digits >= 3 && self.is_code_context(at);
            if is_code || number.is_padded() {
                return Some(self.whole_code(number));
            }
            let found = self
                .list_number(at, &number)
                .or_else(|| self.fraction(&number))
                .or_else(|| self.ordinal(at, &number))
                .or_else(|| self.ending_of_number(&number));
            if found.is_some() {
                return found;
            }
        }
        if let Some(found) = self.range(&number).or_else(|| self.area(&number)) {
            return Some(found);
        }
        let (end, scaled) = self.scaled(&number, Letters::AreNames);
        if let Some((end, counted)) = self.counted(end) {
            let words = self.dative(at, self.say_counted(&number, &scaled, &counted));
            return Some(self.per(end, words));
        }
        if scaled.is_some() {
            return Some(self.with_stop(end, &self.say_scaled(&number, &scaled)));
        }
        Some(Found::new(number.end, self.plain(at, &number)))
    }

    /// `5 €/Monat`: the words, and what they are for.
    fn per(&self, end: usize, words: String) -> Found {
        let per = if self.german() { "pro" } else { "per" };
        if self.is(end, '/') && self.is_letter(end + 1) {
            return Found::new(end + 1, format!("{words} {per}"));
        }
        self.with_stop(end, &words)
    }

    /// `in 1 Stunde`: German words before a number change its article.
    fn dative(&self, at: usize, words: String) -> String {
        const BEFORE: &[&str] =
            &["in", "vor", "nach", "mit", "seit", "von", "bei", "aus", "zu", "ab"];
        if !self.german() || !BEFORE.contains(&self.word_before(at).1.as_str()) {
            return words;
        }
        match words.split_once(' ') {
            Some(("eine", noun)) => format!("einer {noun}"),
            Some(("ein", noun)) => format!("einem {noun}"),
            _ => words,
        }
    }

    /// A code with what hyphens join to it: `48213-77`.
    fn whole_code(&self, number: Number) -> Found {
        let mut groups = vec![number.whole];
        let mut end = number.end;
        while self.is(end, '-') && self.is_digit(end + 1) {
            let last = self.digits_end(end + 1);
            groups.push(self.text(end + 1, last));
            end = last;
        }
        Found::new(end, self.grouped(&groups))
    }

    /// A number that counts nothing known.
    fn plain(&self, at: usize, number: &Number) -> String {
        if number.fraction.is_some() || number.is_grouped {
            return self.say(number);
        }
        let digits = number.whole.len();
        if digits >= CODE_DIGITS_MIN && !number.whole.ends_with("000") {
            return self.code(&number.whole);
        }
        let value = number.value();
        if digits == 4 && self.is_year(at, number) {
            return self.say_year(value);
        }
        if self.german() && value % 100 == 1 && self.is(number.end, ' ') {
            let start = number.end + 1;
            let noun = self.text(start, self.letters_end(start));
            if noun.starts_with(char::is_uppercase) {
                let ending = if value == 1 && is_feminine(&noun) { "e" } else { "" };
                let words = format!("{}{ending} ", de::stem(value));
                return self.dative(at, words).trim_end().to_owned();
            }
            if noun == "mal" {
                return de::stem(value);
            }
        }
        self.say(number)
    }

    fn is_year(&self, at: usize, number: &Number) -> bool {
        const BEFORE: &[&str] = &[
            "in", "since", "from", "of", "by", "until", "year", "to", "around", "im", "jahr",
            "jahre", "seit", "von", "bis", "ab", "anno", "before", "after", "during", "um",
            "gegen", "and", "und",
        ];
        let value = number.value();
        let ends =
            matches!(self.char(number.end), None | Some('.' | ',' | '!' | '?' | ')' | ';' | ':'));
        match value {
            1_900..=2_099 => true,
            1_100..=1_899 => {
                ends || BEFORE.contains(&self.word_before(at).1.as_str()) || self.german()
            }
            _ => false,
        }
    }

    /// `1. Open the door`: the number of a list, at its beginning.
    fn list_number(&self, at: usize, number: &Number) -> Option<Found> {
        let is_first = self.chars.get(..at)?.iter().all(|c| c.is_whitespace());
        let stop = self.is(number.end, '.') || self.is(number.end, ')');
        let follows =
            self.char(number.end + 2).is_some_and(|c| c.is_uppercase() || matches!(c, '"' | '„'));
        if !is_first || !stop || !self.is(number.end + 1, ' ') || !follows || number.whole.len() > 2
        {
            return None;
        }
        let words = if self.german() {
            format!("{},", de::ordinal(number.value(), "ens"))
        } else {
            format!("{}.", self.lexicon.count(number.value()))
        };
        Some(Found::new(number.end + 1, words))
    }

    /// `21st`, `3. Stock`.
    fn ordinal(&self, at: usize, number: &Number) -> Option<Found> {
        if let Some(end) = self.ordinal_end(number.end) {
            return Some(Found::new(end, en::ordinal(number.value())));
        }
        if !self.german() || !self.is(number.end, '.') || number.whole.len() > 3 {
            return None;
        }
        let mut next = self.skip_space(number.end + 1);
        if matches!(self.char(next), Some('-' | '–')) && self.is_digit(self.skip_space(next + 1))
        {
            // "3.–5. März"
            let second = self.skip_space(next + 1);
            let last = self.digits_end(second);
            if self.is(last, '.') && last - second <= 2 {
                let words = format!(
                    "{} {}",
                    de::ordinal(number.value(), self.ending(at, "")),
                    self.lexicon.to
                );
                return Some(Found::new(second, format!("{words} ")));
            }
        }
        if next == number.end + 1 || !self.is_letter(next) {
            return None;
        }
        if self.text(next, self.letters_end(next)) == "und" {
            next = self.letters_end(next) + 1;
            if !self.is_digit(next) {
                return None;
            }
        }
        let noun = self.text(next, self.letters_end(next));
        Some(Found::new(number.end + 1, de::ordinal(number.value(), self.ending(at, &noun))))
    }

    /// What is written without a space: `90s`, `90er`, `3fach`, `2x`.
    fn ending_of_number(&self, number: &Number) -> Option<Found> {
        let end = self.letters_end(number.end);
        let letters = self.text(number.end, end);
        if !self.is_free(end) {
            return None;
        }
        let value = number.value();
        let words = match (letters.as_str(), self.german()) {
            ("s", false) if value.is_multiple_of(10) && number.whole.len() >= 2 => {
                en::plural(&en::year(value))
            }
            ("x", false) => format!("{} times", en::cardinal(value)),
            ("x" | "mal", true) => format!("{}mal", de::stem(value)),
            ("er", true) => format!("{}er", de::stem_of_year(value)),
            ("fach", true) => format!("{}fach", de::stem(value)),
            _ => return None,
        };
        Some(Found::new(end, words))
    }

    /// `'90s`.
    pub(super) fn decade(&self, at: usize) -> Option<Found> {
        let end = self.digits_end(at);
        let number = self.text(at, end).parse::<u64>().ok()?;
        if self.german()
            || !self.is(end, 's')
            || !self.is_free(end + 1)
            || !number.is_multiple_of(10)
        {
            return None;
        }
        Some(Found::new(end + 1, en::plural(&en::cardinal(number))))
    }

    /// `3/4`, `24/7`.
    fn fraction(&self, number: &Number) -> Option<Found> {
        let start = number.end + 1;
        let end = self.digits_end(start);
        let free = self.is_free(end)
            && !self.is(end, '/')
            && !(self.is(end, '.') && self.is_digit(end + 1));
        if !self.is(number.end, '/') || end == start || end - start > 4 || !free {
            return None;
        }
        let (above, below) = (number.value(), self.text(start, end).parse::<u64>().ok()?);
        let own =
            self.lexicon.fractions.iter().find(|(divisor, ..)| *divisor == below && above < below);
        let words = match own {
            Some((_, one, _)) if above == 1 && self.german() => format!("ein {one}"),
            Some((_, one, _)) if above == 1 => format!("one {one}"),
            Some((_, _, several)) => format!("{} {several}", self.lexicon.count(above)),
            None if (above, below) == (24, 7) && !self.german() => "twenty-four seven".to_owned(),
            None => {
                let (above, below) = (self.lexicon.count(above), self.lexicon.count(below));
                format!("{above} {} {below}", self.lexicon.slash)
            }
        };
        Some(Found::new(end, words))
    }

    /// `5–10 km`, `2019-2021`, `3:1`.
    fn range(&self, number: &Number) -> Option<Found> {
        let gap = self.skip_space(number.end);
        let sign = self.char(gap)?;
        let is_dash = matches!(sign, '-' | '–' | '—');
        let start = if gap > number.end { self.skip_space(gap + 1) } else { gap + 1 };
        // "5 -3" is no range, nor is "1-2-3".
        if !(is_dash || (sign == ':' && gap == number.end))
            || (gap > number.end && start == gap + 1)
        {
            return None;
        }
        let start = if self.char(start).is_some_and(|c| self.lexicon.currency(c).is_some()) {
            start + 1
        } else {
            start
        };
        let last = self.number(start)?;
        if matches!(self.char(last.end), Some('-' | '–' | ':')) && self.is_digit(last.end + 1) {
            return None;
        }
        let is_code = |own: &Number| {
            own.is_padded()
                || (own.whole.len() >= CODE_DIGITS_MIN
                    && !own.is_grouped
                    && !own.whole.ends_with("00"))
        };
        if sign != ':'
            && (is_code(&last) || is_code(number))
            && number.fraction.is_none()
            && last.fraction.is_none()
        {
            let groups = [number.whole.clone(), last.whole.clone()];
            return Some(Found::new(last.end, self.grouped(&groups)));
        }
        let to = match (sign, self.german()) {
            (':', true) => "zu",
            _ => self.lexicon.to,
        };
        let years = number.whole.len() == 4 && last.whole.len() == 4 && !number.is_grouped;
        if years
            && (1_100..2_100).contains(&number.value())
            && (1_100..2_100).contains(&last.value())
        {
            let (first, second) = (self.say_year(number.value()), self.say_year(last.value()));
            return Some(Found::new(last.end, format!("{first} {to} {second}")));
        }
        let rest = self.quantity(start)?;
        Some(Found::new(rest.end, format!("{} {to} {}", self.say(number), rest.words)))
    }

    /// `3x4`, `3 x 4 m`.
    fn area(&self, number: &Number) -> Option<Found> {
        let gap = self.skip_space(number.end);
        if !matches!(self.char(gap), Some('x' | '×')) {
            return None;
        }
        let start = self.skip_space(gap + 1);
        if !self.is_digit(start) {
            return None;
        }
        let by = if self.is(gap, 'x') { Some(self.lexicon.by) } else { self.lexicon.symbol('×') };
        let rest = self.quantity(start)?;
        Some(Found::new(
            rest.end,
            format!("{} {} {}", self.say(number), by.unwrap_or_default(), rest.words),
        ))
    }

    /// The end of `million` and the like, if it follows.
    fn scaled(&self, number: &Number, letters: Letters) -> (usize, Option<&'static str>) {
        let start = self.skip_space(number.end);
        let scale = self.lexicon.scales.iter().find(|(sign, _)| {
            let end = start + sign.chars().count();
            // A letter alone means a scale only where it touches the number of an amount.
            let lone = sign.chars().count() <= 2 && sign.chars().all(char::is_alphabetic);
            let fits = self.starts(start, sign) && (self.is_free(end) || sign.ends_with('.'));
            fits && (!lone || (start == number.end && letters == Letters::AreScales))
        });
        match scale {
            Some((sign, words)) => (start + sign.chars().count(), Some(words)),
            None => (number.end, None),
        }
    }

    /// What the number counts, and the end of its sign.
    fn counted(&self, at: usize) -> Option<(usize, Counted)> {
        let start = self.skip_space(at);
        let c = self.char(start)?;
        if c == '%' {
            return Some((start + 1, Counted::Percent));
        }
        if let Some(currency) = self.lexicon.currency(c) {
            return Some((start + 1, Counted::Money(currency)));
        }
        let letters = self.letters_end(start);
        if let Some(currency) = self.lexicon.currency_code(&self.text(start, letters)) {
            return Some((letters, Counted::Money(currency)));
        }
        // The longest first.
        let fits = |unit: &&Unit| {
            let end = start + unit.sign.chars().count();
            let stops = unit.sign.ends_with('.')
                || !self.is_letter(end) && !matches!(self.char(end), Some('²' | '³' | '/'));
            self.starts(start, unit.sign)
                && stops
                && !self.is_digit(end)
                && !self.is_article(start, unit)
        };
        let unit = self.lexicon.units.iter().filter(fits).max_by_key(|unit| unit.sign.len())?;
        Some((start + unit.sign.chars().count(), Counted::Unit(unit)))
    }

    /// A single letter after a space may be anything: a unit is followed by no stop of an abbreviation.
    fn is_article(&self, start: usize, unit: &Unit) -> bool {
        let end = start + 1;
        unit.sign.len() == 1
            && unit.sign != "°"
            && self.is(end, '.')
            && self.is_letter(self.skip_space(end + 1))
    }

    fn say_scaled(&self, number: &Number, scale: &Option<&'static str>) -> String {
        match scale {
            None => self.say(number),
            Some("tausend") => format!("{}tausend", de::stem(number.value())),
            Some(scale) if self.german() && number.is_one() => {
                let one = ("Millionen", "Milliarden");
                let scale = match *scale {
                    word if word == one.0 => "Million",
                    word if word == one.1 => "Milliarde",
                    word => word,
                };
                format!("eine {scale}")
            }
            Some(scale) => format!("{} {scale}", self.say(number)),
        }
    }

    fn say_counted(
        &self,
        number: &Number,
        scale: &Option<&'static str>,
        counted: &Counted,
    ) -> String {
        let one = number.is_one() && scale.is_none();
        match counted {
            Counted::Percent if one && self.german() => format!("ein {}", self.lexicon.percent),
            Counted::Percent => {
                format!("{} {}", self.say_scaled(number, scale), self.lexicon.percent)
            }
            Counted::Unit(unit) if one => unit.one.to_owned(),
            Counted::Unit(unit) => format!("{} {}", self.before_noun(number, scale), unit.many),
            Counted::Money(currency) if one => currency.one.to_owned(),
            Counted::Money(currency) => self.money(number, scale, currency),
        }
    }

    fn before_noun(&self, number: &Number, scale: &Option<&'static str>) -> String {
        let whole = self.german()
            && number.fraction.is_none()
            && scale.is_none()
            && number.whole.len() <= 15;
        if whole { de::stem(number.value()) } else { self.say_scaled(number, scale) }
    }

    fn money(&self, number: &Number, scale: &Option<&'static str>, currency: &Currency) -> String {
        let hundredths =
            number.fraction.as_deref().filter(|_| scale.is_none() && !currency.cent.is_empty());
        let cents = match hundredths {
            Some(digits) if digits.len() == 2 => digits.parse::<u64>().ok(),
            Some(digits) if digits.len() == 1 => {
                digits.parse::<u64>().ok().map(|tenths| tenths * 10)
            }
            _ => None,
        };
        let Some(cents) = cents else {
            return format!("{} {}", self.before_noun(number, scale), currency.many);
        };
        let whole = Number { fraction: None, ..number.clone() };
        let sum = match whole.is_one() {
            true => currency.one.to_owned(),
            false => format!("{} {}", self.before_noun(&whole, &None), currency.many),
        };
        let said_cents = match cents {
            1 => currency.cent.to_owned(),
            _ if self.german() => format!("{} {}", de::stem(cents), currency.cents),
            _ => format!("{} {}", self.lexicon.count(cents), currency.cents),
        };
        match (number.value(), cents) {
            (_, 0) => sum,
            (0, _) => said_cents,
            _ if self.german() => format!("{sum} {}", self.lexicon.count(cents)),
            _ => format!("{sum} and {said_cents}"),
        }
    }

    /// `$5`, `€ 5.50`, `$1.5 million`, `$5–10`.
    pub(super) fn money_before(&self, at: usize) -> Option<Found> {
        let currency = self.lexicon.currency(self.char(at)?)?;
        let start = self.skip_space(at + 1);
        if self.is(start, '-') && self.is_digit(start + 1) {
            let rest = self.amount(start + 1, currency)?;
            return Some(Found::new(rest.end, format!("{} {}", self.lexicon.minus, rest.words)));
        }
        self.amount(start, currency)
    }

    /// An amount whose currency was read already.
    pub(super) fn amount(&self, at: usize, currency: &'static Currency) -> Option<Found> {
        let number = self.number(at)?;
        let gap = self.skip_space(number.end);
        if matches!(self.char(gap), Some('-' | '–')) {
            let next = self.skip_space(gap + 1);
            let next = if self.char(next).is_some_and(|c| currency.sign == Some(c)) {
                next + 1
            } else {
                next
            };
            if let Some(rest) = self.is_digit(next).then(|| self.amount(next, currency)).flatten() {
                let words = format!("{} {} {}", self.say(&number), self.lexicon.to, rest.words);
                return Some(Found::new(rest.end, words));
            }
        }
        let (end, scale) = self.scaled(&number, Letters::AreScales);
        let words = self.say_counted(&number, &scale, &Counted::Money(currency));
        Some(self.per(end, words))
    }
}
