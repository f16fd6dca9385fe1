//! English words.

use super::lexicon::{Abbreviation, Currency, Language, Lexicon, Next, Unit};

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
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
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const SCALES: [(u64, &str); 6] = [
    (1_000_000_000_000_000_000, "quintillion"),
    (1_000_000_000_000_000, "quadrillion"),
    (1_000_000_000_000, "trillion"),
    (1_000_000_000, "billion"),
    (1_000_000, "million"),
    (1_000, "thousand"),
];

fn small(number: u64) -> &'static str {
    SMALL.get(number as usize).copied().unwrap_or_default()
}

/// `forty-two`.
pub(super) fn cardinal(number: u64) -> String {
    if number < 20 {
        return small(number).to_owned();
    }
    if number < 100 {
        let tens = TENS.get((number / 10) as usize).copied().unwrap_or_default();
        return match number % 10 {
            0 => tens.to_owned(),
            rest => format!("{tens}-{}", small(rest)),
        };
    }
    if number < 1_000 {
        let hundreds = format!("{} hundred", small(number / 100));
        return with_rest(hundreds, number % 100);
    }
    let Some((scale, name)) = SCALES.iter().find(|(scale, _)| number >= *scale) else {
        return String::new();
    };
    with_rest(format!("{} {name}", cardinal(number / scale)), number % scale)
}

fn with_rest(head: String, rest: u64) -> String {
    if rest == 0 { head } else { format!("{head} {}", cardinal(rest)) }
}

/// `forty-second`.
pub(super) fn ordinal(number: u64) -> String {
    const ODD: [(&str, &str); 7] = [
        ("one", "first"),
        ("two", "second"),
        ("three", "third"),
        ("five", "fifth"),
        ("eight", "eighth"),
        ("nine", "ninth"),
        ("twelve", "twelfth"),
    ];
    let words = cardinal(number);
    if let Some((end, odd)) = ODD.iter().find(|(end, _)| words.ends_with(end)) {
        let head = words.strip_suffix(end).unwrap_or_default();
        return format!("{head}{odd}");
    }
    match words.strip_suffix('y') {
        Some(head) => format!("{head}ieth"),
        None => format!("{words}th"),
    }
}

/// `nineteen ninety-nine`, `two thousand nine`, `twenty twenty-six`.
pub(super) fn year(number: u64) -> String {
    let (century, rest) = (number / 100, number % 100);
    if !(1_100..2_100).contains(&number) || number / 10 == 200 {
        return cardinal(number);
    }
    match rest {
        0 => format!("{} hundred", cardinal(century)),
        1..10 => format!("{} oh {}", cardinal(century), small(rest)),
        _ => format!("{} {}", cardinal(century), cardinal(rest)),
    }
}

/// Several of what a number word names: `nineties`.
pub(super) fn plural(words: &str) -> String {
    match words.strip_suffix('y') {
        Some(head) => format!("{head}ies"),
        None => format!("{words}s"),
    }
}

const fn unit(sign: &'static str, one: &'static str, many: &'static str) -> Unit {
    Unit { sign, one, many }
}

const UNITS: &[Unit] = &[
    unit("km/h", "one kilometer per hour", "kilometers per hour"),
    unit("kph", "one kilometer per hour", "kilometers per hour"),
    unit("mph", "one mile per hour", "miles per hour"),
    unit("m/s", "one meter per second", "meters per second"),
    unit("Mbit/s", "one megabit per second", "megabits per second"),
    unit("Mbps", "one megabit per second", "megabits per second"),
    unit("Gbps", "one gigabit per second", "gigabits per second"),
    unit("km²", "one square kilometer", "square kilometers"),
    unit("m²", "one square meter", "square meters"),
    unit("m³", "one cubic meter", "cubic meters"),
    unit("cm³", "one cubic centimeter", "cubic centimeters"),
    unit("sqm", "one square meter", "square meters"),
    unit("sq ft", "one square foot", "square feet"),
    unit("km", "one kilometer", "kilometers"),
    unit("cm", "one centimeter", "centimeters"),
    unit("mm", "one millimeter", "millimeters"),
    unit("m", "one meter", "meters"),
    unit("mi", "one mile", "miles"),
    unit("ft", "one foot", "feet"),
    unit("yd", "one yard", "yards"),
    unit("kg", "one kilogram", "kilograms"),
    unit("mg", "one milligram", "milligrams"),
    unit("g", "one gram", "grams"),
    unit("lbs", "one pound", "pounds"),
    unit("lb", "one pound", "pounds"),
    unit("oz", "one ounce", "ounces"),
    unit("ml", "one milliliter", "milliliters"),
    unit("l", "one liter", "liters"),
    unit("L", "one liter", "liters"),
    unit("kWh", "one kilowatt hour", "kilowatt hours"),
    unit("kW", "one kilowatt", "kilowatts"),
    unit("W", "one watt", "watts"),
    unit("V", "one volt", "volts"),
    unit("TB", "one terabyte", "terabytes"),
    unit("GB", "one gigabyte", "gigabytes"),
    unit("MB", "one megabyte", "megabytes"),
    unit("KB", "one kilobyte", "kilobytes"),
    unit("kB", "one kilobyte", "kilobytes"),
    unit("GHz", "one gigahertz", "gigahertz"),
    unit("MHz", "one megahertz", "megahertz"),
    unit("kHz", "one kilohertz", "kilohertz"),
    unit("Hz", "one hertz", "hertz"),
    unit("dB", "one decibel", "decibels"),
    unit("°C", "one degree Celsius", "degrees Celsius"),
    unit("°F", "one degree Fahrenheit", "degrees Fahrenheit"),
    unit("°", "one degree", "degrees"),
    unit("hrs", "one hour", "hours"),
    unit("hr", "one hour", "hours"),
    unit("h", "one hour", "hours"),
    unit("mins", "one minute", "minutes"),
    unit("min", "one minute", "minutes"),
    unit("secs", "one second", "seconds"),
    unit("sec", "one second", "seconds"),
    unit("ms", "one millisecond", "milliseconds"),
    unit("s", "one second", "seconds"),
    unit("‰", "one per mille", "per mille"),
];

const fn currency(
    code: &'static str,
    sign: Option<char>,
    names: [&'static str; 2],
    hundredths: [&'static str; 2],
) -> Currency {
    let ([one, many], [cent, cents]) = (names, hundredths);
    Currency { code, sign, one, many, cent, cents }
}

const CENTS: [&str; 2] = ["one cent", "cents"];
const CURRENCIES: &[Currency] = &[
    currency("USD", Some('$'), ["one dollar", "dollars"], CENTS),
    currency("EUR", Some('€'), ["one euro", "euros"], CENTS),
    currency("GBP", Some('£'), ["one pound", "pounds"], ["one penny", "pence"]),
    currency("JPY", Some('¥'), ["one yen", "yen"], ["", ""]),
    currency("INR", Some('₹'), ["one rupee", "rupees"], ["one paisa", "paise"]),
    currency("CHF", None, ["one Swiss franc", "Swiss francs"], ["one rappen", "rappen"]),
    currency("CAD", None, ["one Canadian dollar", "Canadian dollars"], CENTS),
    currency("AUD", None, ["one Australian dollar", "Australian dollars"], CENTS),
    currency("PLN", None, ["one zloty", "zlotys"], ["one grosz", "groszy"]),
    currency("SEK", None, ["one Swedish krona", "Swedish kronor"], ["", ""]),
    currency("BTC", Some('₿'), ["one bitcoin", "bitcoins"], ["", ""]),
];

const ABBREVIATIONS: &[Abbreviation] = &[
    ("Dr.", "Doctor", Next::Name),
    ("Dr.", "Drive", Next::AfterName),
    ("Dr.", "Doctor", Next::Any),
    ("Mr.", "Mister", Next::Any),
    ("Mrs.", "Missus", Next::Any),
    ("Ms.", "Ms", Next::Any),
    ("Prof.", "Professor", Next::Any),
    ("Rev.", "Reverend", Next::Any),
    ("Hon.", "Honorable", Next::Any),
    ("Gen.", "General", Next::Name),
    ("Capt.", "Captain", Next::Any),
    ("Lt.", "Lieutenant", Next::Any),
    ("Sgt.", "Sergeant", Next::Any),
    ("Col.", "Colonel", Next::Any),
    ("St.", "Street", Next::AfterName),
    ("St.", "Saint", Next::Name),
    ("Mt.", "Mount", Next::Name),
    ("Ave.", "Avenue", Next::Any),
    ("Blvd.", "Boulevard", Next::Any),
    ("Rd.", "Road", Next::Any),
    ("Ln.", "Lane", Next::AfterName),
    ("Apt.", "Apartment", Next::Any),
    ("Ste.", "Suite", Next::Any),
    ("Sr.", "Senior", Next::Any),
    ("Jr.", "Junior", Next::Any),
    ("Inc.", "Incorporated", Next::Any),
    ("Ltd.", "Limited", Next::Any),
    ("Corp.", "Corporation", Next::Any),
    ("Co.", "Company", Next::AfterName),
    ("Dept.", "Department", Next::Any),
    ("dept.", "department", Next::Any),
    ("No.", "Number", Next::Number),
    ("no.", "number", Next::Number),
    ("Nos.", "Numbers", Next::Number),
    ("vol.", "volume", Next::Number),
    ("Vol.", "Volume", Next::Number),
    ("p.", "page", Next::Number),
    ("pp.", "pages", Next::Number),
    ("Fig.", "Figure", Next::Number),
    ("fig.", "figure", Next::Number),
    ("Sec.", "Section", Next::Number),
    ("Ext.", "Extension", Next::Any),
    ("ext.", "extension", Next::Any),
    ("tel.", "telephone", Next::Any),
    ("Tel.", "Telephone", Next::Any),
    ("e.g.", "for example", Next::Any),
    ("i.e.", "that is", Next::Any),
    ("etc.", "et cetera", Next::Any),
    ("vs.", "versus", Next::Any),
    ("approx.", "approximately", Next::Any),
    ("appt.", "appointment", Next::Any),
    ("est.", "established", Next::Number),
    ("max.", "maximum", Next::Any),
    ("min.", "minutes", Next::AfterNumber),
    ("min.", "minimum", Next::Any),
    ("incl.", "including", Next::Any),
    ("excl.", "excluding", Next::Any),
    ("a.m.", "AM", Next::Any),
    ("p.m.", "PM", Next::Any),
    ("w/o", "without", Next::Any),
    ("w/", "with", Next::Any),
    ("c/o", "care of", Next::Any),
    ("Mon.", "Monday", Next::Any),
    ("Tue.", "Tuesday", Next::Any),
    ("Wed.", "Wednesday", Next::Any),
    ("Thu.", "Thursday", Next::Any),
    ("Thurs.", "Thursday", Next::Any),
    ("Fri.", "Friday", Next::Any),
    ("Sat.", "Saturday", Next::Name),
    ("Jan.", "January", Next::Any),
    ("Feb.", "February", Next::Any),
    ("Mar.", "March", Next::Number),
    ("Apr.", "April", Next::Any),
    ("Aug.", "August", Next::Any),
    ("Sep.", "September", Next::Any),
    ("Sept.", "September", Next::Any),
    ("Oct.", "October", Next::Any),
    ("Nov.", "November", Next::Any),
    ("Dec.", "December", Next::Any),
];

/// The language.
pub(super) static LEXICON: Lexicon = Lexicon {
    language: Language::English,
    group: ',',
    decimal: '.',
    digits: ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    cardinal,
    signs: &[
        ('.', "dot"),
        ('@', "at"),
        ('-', "dash"),
        ('_', "underscore"),
        ('/', "slash"),
        ('+', "plus"),
        ('?', "question mark"),
        ('=', "equals"),
        ('&', "and"),
        ('%', "percent"),
        ('#', "hash"),
        (':', "colon"),
        ('~', "tilde"),
    ],
    symbols: &[
        ('&', "and"),
        ('%', "percent"),
        ('@', "at"),
        ('+', "plus"),
        ('=', "equals"),
        ('<', "less than"),
        ('>', "greater than"),
        ('×', "times"),
        ('÷', "divided by"),
        ('±', "plus or minus"),
        ('≈', "about"),
        ('≤', "at most"),
        ('≥', "at least"),
        ('≠', "is not"),
        ('−', "minus"),
        ('§', "section"),
        ('°', "degrees"),
        ('$', "dollars"),
        ('€', "euros"),
        ('£', "pounds"),
        ('‰', "per mille"),
        ('²', "squared"),
        ('³', "cubed"),
        ('#', "number"),
        ('~', "about"),
        ('№', "number"),
    ],
    minus: "minus",
    plus: "plus",
    point: "point",
    dot: "point",
    to: "to",
    by: "by",
    slash: "slash",
    percent: "percent",
    months: [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    month_names: &[
        ("January", 1),
        ("February", 2),
        ("March", 3),
        ("April", 4),
        ("May", 5),
        ("June", 6),
        ("July", 7),
        ("August", 8),
        ("September", 9),
        ("October", 10),
        ("November", 11),
        ("December", 12),
        ("Jan", 1),
        ("Feb", 2),
        ("Mar", 3),
        ("Apr", 4),
        ("Jun", 6),
        ("Jul", 7),
        ("Aug", 8),
        ("Sept", 9),
        ("Sep", 9),
        ("Oct", 10),
        ("Nov", 11),
        ("Dec", 12),
    ],
    units: UNITS,
    currencies: CURRENCIES,
    abbreviations: ABBREVIATIONS,
    code_words: &[
        "code",
        "pin",
        "id",
        "zip",
        "account",
        "reference",
        "ref",
        "confirmation",
        "ticket",
        "tracking",
        "serial",
        "order",
        "booking",
        "extension",
        "ext",
        "passcode",
        "password",
        "otp",
        "case",
        "invoice",
        "number",
        "postcode",
        "iban",
        "flight",
    ],
    scales: &[
        ("thousand", "thousand"),
        ("million", "million"),
        ("billion", "billion"),
        ("trillion", "trillion"),
        ("k", "thousand"),
        ("K", "thousand"),
        ("M", "million"),
        ("mn", "million"),
        ("bn", "billion"),
        ("B", "billion"),
    ],
    fractions: &[
        (2, "half", "halves"),
        (3, "third", "thirds"),
        (4, "quarter", "quarters"),
        (5, "fifth", "fifths"),
        (6, "sixth", "sixths"),
        (8, "eighth", "eighths"),
        (10, "tenth", "tenths"),
    ],
    fraction_signs: &[
        ('½', "one half"),
        ('¼', "one quarter"),
        ('¾', "three quarters"),
        ('⅓', "one third"),
        ('⅔', "two thirds"),
    ],
};
