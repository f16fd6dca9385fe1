//! Dates and times of day.

use super::lexicon::DateOrder;
use super::scan::{Found, Scan};
use super::{de, en};

impl Scan<'_> {
    /// A date that begins with a digit.
    pub(super) fn date(&self, at: usize) -> Option<Found> {
        self.iso_date(at)
            .or_else(|| self.dotted_date(at))
            .or_else(|| self.slashed_date(at))
            .or_else(|| self.day_first(at))
    }

    /// A number of one or two digits, and its end.
    fn pair(&self, at: usize) -> Option<(u64, usize)> {
        let end = self.digits_end(at);
        (1..=2).contains(&(end - at)).then_some(())?;
        Some((self.text(at, end).parse().ok()?, end))
    }

    /// A year of four digits, or of two if `short`.
    fn year(&self, at: usize, short: bool) -> Option<(u64, usize)> {
        let end = self.digits_end(at);
        let year: u64 = self.text(at, end).parse().ok()?;
        match end - at {
            4 if (1_000..2_200).contains(&year) => Some((year, end)),
            2 if short => Some((if year < 70 { 2_000 } else { 1_900 } + year, end)),
            _ => None,
        }
    }

    fn iso_date(&self, at: usize) -> Option<Found> {
        let (year, end) = self.year(at, false)?;
        let (month, end) = self.pair(end + 1).filter(|_| self.is(end, '-'))?;
        let (day, end) = self.pair(end + 1).filter(|_| self.is(end, '-'))?;
        self.day(at, day, month, Some(year), end)
    }

    fn dotted_date(&self, at: usize) -> Option<Found> {
        let (day, end) = self.pair(at)?;
        let (month, end) = self.pair(self.skip_space(end + 1)).filter(|_| self.is(end, '.'))?;
        if !self.is(end, '.') {
            return None;
        }
        let start = self.skip_space(end + 1);
        if let Some((year, end)) = self.year(start, start == end + 1) {
            return self.day(at, day, month, Some(year), end);
        }
        // Without a year only German writes it so; the stop may end the sentence as well.
        if !self.german() || self.is_digit(end + 1) {
            return None;
        }
        let found = self.day(at, day, month, None, end + 1)?;
        Some(self.with_stop(found.end, &found.words))
    }

    fn slashed_date(&self, at: usize) -> Option<Found> {
        let (first, end) = self.pair(at)?;
        let (second, end) = self.pair(end + 1).filter(|_| self.is(end, '/'))?;
        let (year, end) = self.year(end + 1, true).filter(|_| self.is(end, '/'))?;
        let month_first = match self.order {
            DateOrder::MonthFirst => first <= 12,
            DateOrder::DayFirst => second > 12,
        };
        let (day, month) = if month_first { (second, first) } else { (first, second) };
        self.day(at, day, month, Some(year), end)
    }

    /// `5 March 2026`, `5th of March`, `5. März 2026`.
    fn day_first(&self, at: usize) -> Option<Found> {
        let (day, end) = self.pair(at)?;
        let mut next = end;
        if self.german() {
            next = self.skip_space(next + 1);
            if !self.is(end, '.') {
                return None;
            }
        } else {
            next = self.ordinal_end(next).unwrap_or(next);
            next = self.skip_space(next);
            next = if self.starts(next, "of ") { next + 3 } else { next };
            if next == end {
                return None;
            }
        }
        let (month, end) = self.month_name(next)?;
        let start =
            self.skip_space(if !self.german() && self.is(end, ',') { end + 1 } else { end });
        match self.year(start, false).filter(|(_, end)| start > next && self.is_year_end(*end)) {
            Some((year, end)) => self.day(at, day, month, Some(year), end),
            None => self.day(at, day, month, None, end),
        }
    }

    /// `March 5`, `Mar. 5th, 2026`, `March 2026`.
    pub(super) fn month_first(&self, at: usize) -> Option<Found> {
        let (month, end) = self.month_name(at)?;
        let name = self.lexicon.month(month)?;
        let start = self.skip_space(end);
        if start == end {
            return None;
        }
        if let Some((year, end)) = self.year(start, false).filter(|(_, end)| self.is_year_end(*end))
        {
            return Some(Found::new(end, format!("{name} {}", self.say_year(year))));
        }
        if self.german() {
            return None;
        }
        let (day, end) = self.pair(start).filter(|(day, _)| (1..=31).contains(day))?;
        let end = self.ordinal_end(end).unwrap_or(end);
        let number_goes_on =
            matches!(self.char(end), Some(':' | '%' | '.' | '-' | '–')) && self.is_digit(end + 1);
        let mut words = format!("{name} {}", en::ordinal(day));
        if let Some((last, end)) =
            self.pair(end + 1).filter(|_| matches!(self.char(end), Some('-' | '–')))
            && self.is_free(end)
        {
            words.push_str(&format!(" {} {}", self.lexicon.to, en::ordinal(last)));
            return Some(Found::new(end, words));
        }
        if number_goes_on || !self.is_free(end) {
            return None;
        }
        let start = self.skip_space(if self.is(end, ',') { end + 1 } else { end });
        match self.year(start, false).filter(|(_, end)| self.is_year_end(*end)) {
            Some((year, end)) => Some(Found::new(end, format!("{words}, {}", en::year(year)))),
            None => Some(Found::new(end, words)),
        }
    }

    fn is_year_end(&self, end: usize) -> bool {
        let goes_on =
            matches!(self.char(end), Some(',' | '.' | ':' | '-')) && self.is_digit(end + 1);
        self.is_free(end)
            && !goes_on
            && !matches!(self.char(self.skip_space(end)), Some('%' | '€' | '$' | '°'))
    }

    /// A month's number, and the end of its name with its stop.
    fn month_name(&self, at: usize) -> Option<(u64, usize)> {
        let end = self.letters_end(at);
        let word = self.text(at, end);
        let (name, month) = self.lexicon.month_names.iter().find(|(name, _)| *name == word)?;
        let short = self.lexicon.month(*month as u64) != Some(*name) && self.is(end, '.');
        Some((*month as u64, if short { end + 1 } else { end }))
    }

    /// End of `st`, `nd`, `rd`, `th`.
    pub(super) fn ordinal_end(&self, at: usize) -> Option<usize> {
        let ends = ["st", "nd", "rd", "th"];
        let fits = ends.iter().any(|end| self.text(at, at + 2).to_ascii_lowercase() == *end);
        (fits && !self.german() && self.is_free(at + 2)).then_some(at + 2)
    }

    fn day(&self, at: usize, day: u64, month: u64, year: Option<u64>, end: usize) -> Option<Found> {
        if !(1..=31).contains(&day) || self.is_digit(end) {
            return None;
        }
        let month = self.lexicon.month(month)?;
        let words = if self.german() {
            let ending = self.ending(at, month);
            let year = year.map(|year| format!(" {}", de::year(year))).unwrap_or_default();
            format!("{} {month}{year}", de::ordinal(day, ending))
        } else {
            let day = en::ordinal(day);
            let year = year.map(|year| format!(", {}", en::year(year))).unwrap_or_default();
            match self.order {
                DateOrder::MonthFirst => format!("{month} {day}{year}"),
                DateOrder::DayFirst => {
                    let the = if self.word_before(at).1 == "the" { "" } else { "the " };
                    format!("{the}{day} of {month}{year}")
                }
            }
        };
        Some(Found::new(end, words))
    }

    pub(super) fn say_year(&self, year: u64) -> String {
        if self.german() { de::year(year) } else { en::year(year) }
    }

    /// How a German ordinal ends, by the words before it and the noun after it.
    pub(super) fn ending(&self, at: usize, noun: &str) -> &'static str {
        const WEAK: &[&str] = &[
            "am", "vom", "zum", "beim", "im", "bis", "dem", "den", "des", "ab", "seit", "einem",
            "einen", "einer", "eines", "diesem", "diesen", "dieser", "jedem", "jeden", "zur",
            "und", "oder", "ihrem", "ihren", "ihrer", "unserem", "unseren", "meinem", "meinen",
            "deren", "nach", "vor", "ins", "zwischen",
        ];
        const PREPOSITIONS: &[&str] = &[
            "in", "auf", "an", "zu", "von", "bei", "mit", "aus", "nach", "seit", "während",
            "unter", "über", "vor", "ab",
        ];
        if matches!(self.before(at), Some('-' | '–')) {
            // The end of a range goes on with the case of its beginning, which is seldom the first.
            return "en";
        }
        let (start, before) = self.word_before(at);
        if before == "der" {
            let (_, earlier) = self.word_before(start);
            return if PREPOSITIONS.contains(&earlier.as_str()) { "en" } else { "e" };
        }
        match before.as_str() {
            word if WEAK.contains(&word) => "en",
            "die" | "das" | "diese" | "dieses" | "eine" | "jede" | "jedes" | "unsere" | "ihre"
            | "meine" | "deine" => "e",
            _ if is_feminine(noun) => "e",
            _ => "er",
        }
    }

    /// `14:30`, `9:05 am`, `9am`, `14.30 Uhr`.
    pub(super) fn time(&self, at: usize) -> Option<Found> {
        let (end, words) = self.time_of_day(at)?;
        let gap = self.skip_space(end);
        if matches!(self.char(gap), Some('-' | '–' | '—'))
            && let Some((last, more)) = self.time_of_day(self.skip_space(gap + 1))
        {
            return Some(Found::new(last, format!("{words} {} {more}", self.lexicon.to)));
        }
        // "7 p.m. Please call": the stop ended a sentence, too.
        let next = self.skip_space(end);
        let begins = self.char(next).is_some_and(char::is_uppercase)
            && self.char(next + 1).is_some_and(char::is_lowercase);
        if self.before(end) == Some('.') && next > end && begins {
            return Some(Found::new(end, format!("{words}.")));
        }
        Some(self.with_stop(end, &words))
    }

    fn time_of_day(&self, at: usize) -> Option<(usize, String)> {
        let (hour, end) = self.pair(at).filter(|(hour, _)| *hour <= 24)?;
        let by_stop = self.german() && self.is(end, '.');
        if !self.is(end, ':') && !by_stop {
            return self.full_hour(hour, end);
        }
        let minute_end = self.digits_end(end + 1);
        let minute: u64 =
            self.text(end + 1, minute_end).parse().ok().filter(|minute| *minute < 60)?;
        if minute_end != end + 3 {
            return None;
        }
        let mut end = minute_end;
        let mut second = None;
        if !by_stop && self.is(end, ':') {
            let (value, last) =
                self.pair(end + 1).filter(|(value, last)| *value < 60 && *last == end + 3)?;
            (second, end) = (Some(value), last);
        }
        if self.is_digit(end)
            || (matches!(self.char(end), Some(':' | '.')) && self.is_digit(end + 1))
        {
            return None;
        }
        if self.german() {
            let hours = self.hours_end(end);
            return match hours {
                None if by_stop => None,
                _ => Some((hours.unwrap_or(end), german_time(hour, minute, second))),
            };
        }
        let (end, half) = self.meridiem(end).map_or((end, None), |(end, half)| (end, Some(half)));
        Some((end, english_time(hour, minute, second, half)))
    }

    fn full_hour(&self, hour: u64, end: usize) -> Option<(usize, String)> {
        if self.german() {
            let last = self.hours_end(end).filter(|_| self.starts(self.skip_space(end), "Uhr"))?;
            let minute: Option<(u64, usize)> =
                self.pair(last + 1).filter(|(minute, minute_end)| {
                    *minute < 60
                        && self.is(last, ' ')
                        && self.is_free(*minute_end)
                        && self.is_plain_end(*minute_end)
                });
            // "9 Uhr 30"
            return match minute {
                Some((minute, end)) => Some((end, german_time(hour, minute, None))),
                None => Some((last, german_time(hour, 0, None))),
            };
        }
        let (end, half) = self.meridiem(end).filter(|_| (1..=12).contains(&hour))?;
        Some((end, english_time(hour, 0, None, Some(half))))
    }

    /// Whether a number that ends here is followed by neither a unit nor a further part.
    fn is_plain_end(&self, end: usize) -> bool {
        match self.char(end) {
            None => true,
            Some(' ') => self.char(end + 1).is_none_or(|c| c.is_lowercase()),
            Some(c) => !self.is_digit(end + 1) && matches!(c, '.' | ',' | '!' | '?' | ')'),
        }
    }

    fn hours_end(&self, at: usize) -> Option<usize> {
        let start = self.skip_space(at);
        let end = if self.starts(start, "Uhr") { start + 3 } else { at + 1 };
        let fits = self.starts(start, "Uhr") || self.is(at, 'h');
        (fits && self.is_free(end)).then_some(end)
    }

    /// `am`, `p.m.` and the like.
    fn meridiem(&self, at: usize) -> Option<(usize, &'static str)> {
        let start = self.skip_space(at);
        let half = match self.char(start)?.to_ascii_lowercase() {
            'a' => "AM",
            'p' => "PM",
            _ => return None,
        };
        let stop = usize::from(self.is(start + 1, '.'));
        let end = start + 1 + stop;
        if !matches!(self.char(end), Some('m' | 'M')) {
            return None;
        }
        let end = end + 1 + usize::from(stop == 1 && self.is(end + 1, '.'));
        self.is_free(end).then_some((end, half))
    }
}

/// Nouns that take `eine`.
pub(super) fn is_feminine(noun: &str) -> bool {
    const NOUNS: &[&str] = &[
        "Stunde",
        "Minute",
        "Sekunde",
        "Woche",
        "Frage",
        "Person",
        "Nacht",
        "Million",
        "Milliarde",
        "Tonne",
        "Meile",
        "Nachricht",
        "Tasse",
        "Flasche",
        "E-Mail",
        "Mail",
        "Adresse",
        "Etage",
        "Klasse",
        "Seite",
        "Straße",
        "Stelle",
        "Stufe",
        "Runde",
        "Reihe",
        "Karte",
        "Packung",
        "Tablette",
        "Kopie",
        "Taste",
        "Ziffer",
        "Hand",
        "Möglichkeit",
        "Antwort",
        "Gruppe",
        "Folge",
        "Wahl",
        "Liga",
        "Portion",
        "Dose",
    ];
    const ENDS: &[&str] = &["ung", "heit", "keit", "ion", "schaft", "tät"];
    NOUNS.contains(&noun) || (noun.len() > 4 && ENDS.iter().any(|end| noun.ends_with(end)))
}

fn german_time(hour: u64, minute: u64, second: Option<u64>) -> String {
    let mut words = format!("{} Uhr", de::stem(hour));
    if minute > 0 || second.is_some() {
        words.push_str(&format!(" {}", de::cardinal(minute)));
    }
    if let Some(second) = second {
        words.push_str(&format!(" und {} Sekunden", de::stem(second)));
    }
    words
}

/// As people say it: by twelve hours, with the half of the day where it is known.
fn english_time(hour: u64, minute: u64, second: Option<u64>, half: Option<&str>) -> String {
    let known = half.or(match hour {
        0 | 24 => Some("AM"),
        13..=23 => Some("PM"),
        _ => None,
    });
    let twelve = match hour % 12 {
        0 => 12,
        hour => hour,
    };
    let hour = en::cardinal(twelve);
    let mut words = match (minute, known) {
        (0, Some(_)) => hour,
        (0, None) => format!("{hour} o'clock"),
        (1..10, _) => format!("{hour} oh {}", en::cardinal(minute)),
        _ => format!("{hour} {}", en::cardinal(minute)),
    };
    if let Some(half) = known {
        words.push_str(&format!(" {half}"));
    }
    if let Some(second) = second.filter(|second| *second > 0) {
        let unit = if second == 1 { "second" } else { "seconds" };
        words.push_str(&format!(" and {} {unit}", en::cardinal(second)));
    }
    words
}
