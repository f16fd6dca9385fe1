//! Values that a caller says: digits, numbers, days, times, one of a list, yes or no.
//!
//! Each kind is one table, read two ways: [`SlotKind::read`] takes words (or keypad digits) and
//! [`SlotKind::spoken_forms`] gives the words for the recogniser's grammar.

/// What a slot may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// Digits said one by one, for example an order number.
    Digits {
        /// Fewest digits.
        min: usize,
        /// Most digits.
        max: usize,
    },
    /// A number from 0 to 99.
    Number {
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
    },
    /// A day of the week, `today` or `tomorrow`.
    Weekday,
    /// A time of day such as "seven thirty", "half past seven", "noon".
    Time,
    /// `yes` or `no`, in its usual forms.
    YesNo,
    /// One of a list of words or short phrases.
    Choice(Vec<String>),
}

/// Most digits one slot takes: an international number has 15.
pub const DIGITS_MAX: usize = 16;

const DIGITS: [&str; 10] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const TEENS: [&str; 10] = [
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] =
    ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const DAYS: [&str; 9] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "today",
    "tomorrow",
];
const YES: [&str; 6] = ["yes", "yeah", "yes please", "correct", "that's right", "sure"];
const NO: [&str; 4] = ["no", "nope", "no thanks", "no thank you"];
/// Minutes that are said after an hour, and their number.
const MINUTES: [(&str, u32); 4] =
    [("fifteen", 15), ("thirty", 30), ("forty five", 45), ("o'clock", 0)];
/// Words before an hour, and the minutes they add.
const PAST: [(&str, u32); 2] = [("half past", 30), ("quarter past", 15)];
const HALVES: [(&str, &str); 4] =
    [("a m", "a.m."), ("p m", "p.m."), ("am", "a.m."), ("pm", "p.m.")];

impl SlotKind {
    /// Whether the value may be typed on the keypad.
    pub fn takes_keys(&self) -> bool {
        !matches!(self, Self::Choice(_) | Self::YesNo)
    }

    /// Every way to read a value at `words[at..]`: where it ends, and the value as it is spoken back.
    pub fn read(&self, words: &[String], at: usize) -> Vec<(usize, String)> {
        match self {
            Self::Digits { min, max } => read_digits(words, at, *min, *max),
            Self::Number { min, max } => read_number(words, at)
                .into_iter()
                .filter(|(_, number)| (*min..=*max).contains(number))
                .map(|(end, number)| (end, number.to_string()))
                .collect(),
            Self::Weekday => read_weekday(words, at),
            Self::Time => read_time(words, at),
            Self::YesNo => YES
                .iter()
                .map(|form| (form, "yes"))
                .chain(NO.iter().map(|form| (form, "no")))
                .filter_map(|(form, value)| Some((follow(words, at, form)?, value.to_owned())))
                .collect(),
            Self::Choice(values) => values
                .iter()
                .filter_map(|value| Some((follow(words, at, value)?, value.clone())))
                .collect(),
        }
    }

    /// The body of a JSGF rule that accepts exactly the spoken values.
    pub(crate) fn spoken_forms(&self) -> String {
        match self {
            Self::Digits { min, max } => {
                let digit = format!("({} | oh)", DIGITS.join(" | "));
                let mut body = vec![digit.clone(); *min];
                // Optional digits nest, so that a shorter number is a prefix of a longer one.
                let more = max.saturating_sub(*min);
                let tail = (0..more).fold(String::new(), |tail, _| format!("[{digit} {tail}]"));
                body.push(tail);
                body.join(" ")
            }
            Self::Number { min, max } => (*min..=*max).map(spell).collect::<Vec<_>>().join(" | "),
            Self::Weekday => DAYS.join(" | "),
            Self::Time => {
                let hours = (1..=12).map(spell).collect::<Vec<_>>().join(" | ");
                format!(
                    "noon | (half past | quarter past) ({hours}) | ({hours}) \
                     [fifteen | thirty | forty five | o'clock] [a m | p m]"
                )
            }
            Self::YesNo => [YES.join(" | "), NO.join(" | ")].join(" | "),
            Self::Choice(values) => values.join(" | "),
        }
    }
}

/// A number from 0 to 99 in words.
fn spell(number: u32) -> String {
    let word = |table: &[&str], index: u32| {
        table
            .get(usize::try_from(index).unwrap_or(usize::MAX))
            .copied()
            .unwrap_or_default()
            .to_owned()
    };
    match number {
        0..=9 => word(&DIGITS, number),
        10..=19 => word(&TEENS, number - 10),
        _ if number.is_multiple_of(10) => word(&TENS, (number / 10).saturating_sub(2)),
        _ => format!(
            "{} {}",
            word(&TENS, (number / 10).saturating_sub(2)),
            word(&DIGITS, number % 10)
        ),
    }
}

/// Where `form` (words with blanks) ends if it stands at `at`.
fn follow(words: &[String], at: usize, form: &str) -> Option<usize> {
    let mut end = at;
    for part in form.split(' ') {
        if words.get(end)? != part {
            return None;
        }
        end += 1;
    }
    Some(end)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.len() <= DIGITS_MAX && word.bytes().all(|b| b.is_ascii_digit())
}

fn read_digits(words: &[String], at: usize, min: usize, max: usize) -> Vec<(usize, String)> {
    let mut digits = String::new();
    let mut ends = Vec::new();
    let mut end = at;
    while let Some(word) = words.get(end) {
        if is_number(word) {
            digits.push_str(word);
        } else if let Some(value) = DIGITS.iter().position(|digit| digit == word) {
            digits.push_str(&value.to_string());
        } else if word == "oh" || word == "o" {
            digits.push('0');
        } else {
            break;
        }
        end += 1;
        if digits.len() > max {
            break;
        }
        if digits.len() >= min {
            // Blanks make synthesis say the digits one by one.
            let spaced: Vec<String> = digits.chars().map(String::from).collect();
            ends.push((end, spaced.join(" ")));
        }
    }
    ends
}

fn read_number(words: &[String], at: usize) -> Vec<(usize, u32)> {
    let Some(word) = words.get(at) else { return Vec::new() };
    if is_number(word) {
        return word.parse().map(|number| vec![(at + 1, number)]).unwrap_or_default();
    }
    let index = |table: &[&str], word: &str| {
        table.iter().position(|entry| *entry == word).and_then(|i| u32::try_from(i).ok())
    };
    if let Some(number) = index(&DIGITS, word) {
        return vec![(at + 1, number)];
    }
    if let Some(number) = index(&TEENS, word) {
        return vec![(at + 1, number + 10)];
    }
    let Some(tens) = index(&TENS, word).map(|tens| (tens + 2) * 10) else { return Vec::new() };
    let mut ends = vec![(at + 1, tens)];
    if let Some(unit) = words.get(at + 1).and_then(|word| index(&DIGITS, word)).filter(|n| *n > 0) {
        ends.push((at + 2, tens + unit));
    }
    ends
}

fn read_weekday(words: &[String], at: usize) -> Vec<(usize, String)> {
    let Some(word) = words.get(at) else { return Vec::new() };
    // Keys 1 to 7 are Monday to Sunday.
    let named = DAYS.iter().find(|day| *day == word).or_else(|| {
        let key: usize = word.parse().ok().filter(|key| (1..=7).contains(key))?;
        DAYS.get(key - 1)
    });
    named
        .map(|day| {
            let mut letters = day.chars();
            let first = letters.next().unwrap_or_default();
            let value = if matches!(*day, "today" | "tomorrow") {
                (*day).to_owned()
            } else {
                first.to_uppercase().chain(letters).collect()
            };
            vec![(at + 1, value)]
        })
        .unwrap_or_default()
}

fn read_time(words: &[String], at: usize) -> Vec<(usize, String)> {
    let clock = |hour: u32, minute: u32| format!("{hour}:{minute:02}");
    let Some(word) = words.get(at) else { return Vec::new() };
    if word == "noon" {
        return vec![(at + 1, "noon".to_owned())];
    }
    for (form, minute) in PAST {
        if let Some(hour_at) = follow(words, at, form) {
            return read_hour(words, hour_at)
                .map(|(end, hour)| vec![(end, clock(hour, minute))])
                .unwrap_or_default();
        }
    }
    if let Some((hour, minute)) = typed_time(word) {
        return with_half(words, at + 1, clock(hour, minute));
    }
    let Some((end, hour)) = read_hour(words, at) else { return Vec::new() };
    let mut ends = with_half(words, end, clock(hour, 0));
    for (form, minute) in MINUTES {
        if let Some(end) = follow(words, end, form) {
            ends.extend(with_half(words, end, clock(hour, minute)));
        }
    }
    ends
}

/// The value as it stands, and with "a.m." or "p.m." where that follows.
fn with_half(words: &[String], end: usize, value: String) -> Vec<(usize, String)> {
    let mut ends = Vec::new();
    for (form, spoken) in HALVES {
        if let Some(end) = follow(words, end, form) {
            ends.push((end, format!("{value} {spoken}")));
        }
    }
    ends.push((end, value));
    ends
}

fn read_hour(words: &[String], at: usize) -> Option<(usize, u32)> {
    read_number(words, at).into_iter().find(|(_, hour)| (1..=12).contains(hour))
}

/// "7", "730", "1930" from the keypad, "7:30" from a recogniser that writes figures.
fn typed_time(word: &str) -> Option<(u32, u32)> {
    let (hour, minute) = match word.split_once(':') {
        Some((hour, minute)) => (hour, minute),
        None if !is_number(word) => return None,
        None if word.len() <= 2 => (word, "0"),
        None => word.split_at_checked(word.len().checked_sub(2)?)?,
    };
    let hour: u32 = hour.parse().ok()?;
    let minute: u32 = minute.parse().ok()?;
    (hour < 24 && minute < 60).then_some((hour, minute))
}
