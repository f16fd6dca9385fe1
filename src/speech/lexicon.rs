//! What a language calls things. One value a language; the steps read it and know no words of their own.

/// Which language's words are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    English,
    German,
}

/// In which order a date of three numbers is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateOrder {
    DayFirst,
    MonthFirst,
}

/// A unit of measurement.
pub(super) struct Unit {
    /// As it is written after a number.
    pub(super) sign: &'static str,
    /// One of it, with the number.
    pub(super) one: &'static str,
    /// Several of it, without the number.
    pub(super) many: &'static str,
}

/// A currency.
pub(super) struct Currency {
    /// ISO 4217.
    pub(super) code: &'static str,
    /// Its sign, if it has one.
    pub(super) sign: Option<char>,
    /// One of it, with the number.
    pub(super) one: &'static str,
    /// Several of it, without the number.
    pub(super) many: &'static str,
    /// One hundredth of it, with the number; empty if nobody counts them.
    pub(super) cent: &'static str,
    /// Several hundredths, without the number.
    pub(super) cents: &'static str,
}

/// What must follow an abbreviation for it to be this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Anything.
    Any,
    /// A word with a capital.
    Name,
    /// A number.
    Number,
    /// A number stands before it.
    AfterNumber,
    /// A word with a capital stands before it.
    AfterName,
}

/// An abbreviation: as it is written, as it is said, and where.
pub(super) type Abbreviation = (&'static str, &'static str, Next);

/// The words of a language.
pub(super) struct Lexicon {
    pub(super) language: Language,
    /// Parts thousands.
    pub(super) group: char,
    /// Parts the fraction.
    pub(super) decimal: char,
    pub(super) digits: [&'static str; 10],
    pub(super) cardinal: fn(u64) -> String,
    /// Of the signs in addresses.
    pub(super) signs: &'static [(char, &'static str)],
    /// Of the signs in texts.
    pub(super) symbols: &'static [(char, &'static str)],
    pub(super) minus: &'static str,
    pub(super) plus: &'static str,
    /// Between a number and its fraction.
    pub(super) point: &'static str,
    /// Between the parts of a version.
    pub(super) dot: &'static str,
    /// Between the ends of a range.
    pub(super) to: &'static str,
    /// Between the sides of an area.
    pub(super) by: &'static str,
    pub(super) slash: &'static str,
    pub(super) percent: &'static str,
    pub(super) months: [&'static str; 12],
    /// As they are written, with the number of the month; without their stop.
    pub(super) month_names: &'static [(&'static str, usize)],
    pub(super) units: &'static [Unit],
    pub(super) currencies: &'static [Currency],
    pub(super) abbreviations: &'static [Abbreviation],
    /// Words and ends of words (with `-` before) after which digits are no quantity.
    pub(super) code_words: &'static [&'static str],
    /// Words that multiply a number, as written and as said.
    pub(super) scales: &'static [(&'static str, &'static str)],
    /// Halves, thirds, quarters: divisor, one of it, several.
    pub(super) fractions: &'static [(u64, &'static str, &'static str)],
    /// Single characters that are fractions.
    pub(super) fraction_signs: &'static [(char, &'static str)],
}

impl Lexicon {
    pub(super) fn digit(&self, digit: u32) -> &'static str {
        self.digits.get(digit as usize).copied().unwrap_or_default()
    }

    pub(super) fn sign(&self, sign: char) -> Option<&'static str> {
        self.signs.iter().find(|(own, _)| *own == sign).map(|(_, words)| *words)
    }

    pub(super) fn symbol(&self, symbol: char) -> Option<&'static str> {
        self.symbols.iter().find(|(own, _)| *own == symbol).map(|(_, words)| *words)
    }

    pub(super) fn month(&self, number: u64) -> Option<&'static str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.months.get(index).copied()
    }

    pub(super) fn currency(&self, sign: char) -> Option<&'static Currency> {
        self.currencies.iter().find(|own| own.sign == Some(sign))
    }

    pub(super) fn currency_code(&self, code: &str) -> Option<&'static Currency> {
        self.currencies.iter().find(|own| own.code == code)
    }

    pub(super) fn count(&self, number: u64) -> String {
        (self.cardinal)(number)
    }

    /// A run of digits, one by one.
    pub(super) fn spell(&self, digits: &str) -> String {
        let words: Vec<_> =
            digits.chars().filter_map(|c| c.to_digit(10)).map(|d| self.digit(d)).collect();
        words.join(" ")
    }
}
