//! German words.

use super::lexicon::{Abbreviation, Currency, Language, Lexicon, Next, Unit};

const SMALL: [&str; 20] = [
    "null",
    "ein",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
    "fünfzehn",
    "sechzehn",
    "siebzehn",
    "achtzehn",
    "neunzehn",
];
const TENS: [&str; 10] = [
    "", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig",
];
const SCALES: [(u64, &str, &str); 5] = [
    (1_000_000_000_000_000_000, "eine Trillion", "Trillionen"),
    (1_000_000_000_000_000, "eine Billiarde", "Billiarden"),
    (1_000_000_000_000, "eine Billion", "Billionen"),
    (1_000_000_000, "eine Milliarde", "Milliarden"),
    (1_000_000, "eine Million", "Millionen"),
];

/// `zweiundvierzig`.
pub(super) fn cardinal(number: u64) -> String {
    match stem(number) {
        // At the end of a number the one is whole.
        words if number % 100 == 1 => format!("{words}s"),
        words => words,
    }
}

/// The same before a noun or a further part: `einundzwanzig`, `hundertein`.
pub(super) fn stem(number: u64) -> String {
    if number < 20 {
        return SMALL.get(number as usize).copied().unwrap_or_default().to_owned();
    }
    if number < 100 {
        let tens = TENS.get((number / 10) as usize).copied().unwrap_or_default();
        return match number % 10 {
            0 => tens.to_owned(),
            rest => format!("{}und{tens}", stem(rest)),
        };
    }
    if number < 1_000 {
        return format!("{}hundert{}", stem(number / 100), rest(number % 100));
    }
    if number < 1_000_000 {
        return format!("{}tausend{}", stem(number / 1_000), rest(number % 1_000));
    }
    let Some((scale, one, many)) = SCALES.iter().find(|(scale, ..)| number >= *scale) else {
        return String::new();
    };
    let head = match number / scale {
        1 => (*one).to_owned(),
        several => format!("{} {many}", stem(several)),
    };
    match number % scale {
        0 => head,
        rest => format!("{head} {}", stem(rest)),
    }
}

fn rest(number: u64) -> String {
    if number == 0 { String::new() } else { stem(number) }
}

/// `zweiundvierzigste` with the ending that its surroundings ask for.
pub(super) fn ordinal(number: u64, ending: &str) -> String {
    let stem = stem(number);
    let last = number % 100;
    let irregular =
        [(1, "ein", "erst"), (3, "drei", "dritt"), (7, "sieben", "siebt"), (8, "acht", "acht")];
    let word = match irregular.iter().find(|(own, ..)| last == *own) {
        Some((_, end, odd)) => format!("{}{odd}", stem.strip_suffix(end).unwrap_or_default()),
        None if (1..20).contains(&last) => format!("{stem}t"),
        None => format!("{stem}st"),
    };
    format!("{word}{ending}")
}

/// `neunzehnhundertneunundneunzig`, `zweitausendsechsundzwanzig`.
pub(super) fn year(number: u64) -> String {
    if !(1_100..2_000).contains(&number) {
        return cardinal(number);
    }
    let words = format!("{}hundert{}", stem(number / 100), rest(number % 100));
    if number % 100 == 1 { format!("{words}s") } else { words }
}

const fn unit(sign: &'static str, one: &'static str, many: &'static str) -> Unit {
    Unit { sign, one, many }
}

const UNITS: &[Unit] = &[
    unit("km/h", "ein Kilometer pro Stunde", "Kilometer pro Stunde"),
    unit("m/s", "ein Meter pro Sekunde", "Meter pro Sekunde"),
    unit("Mbit/s", "ein Megabit pro Sekunde", "Megabit pro Sekunde"),
    unit("km²", "ein Quadratkilometer", "Quadratkilometer"),
    unit("m²", "ein Quadratmeter", "Quadratmeter"),
    unit("qm", "ein Quadratmeter", "Quadratmeter"),
    unit("m³", "ein Kubikmeter", "Kubikmeter"),
    unit("cm³", "ein Kubikzentimeter", "Kubikzentimeter"),
    unit("km", "ein Kilometer", "Kilometer"),
    unit("cm", "ein Zentimeter", "Zentimeter"),
    unit("mm", "ein Millimeter", "Millimeter"),
    unit("m", "ein Meter", "Meter"),
    unit("kg", "ein Kilogramm", "Kilogramm"),
    unit("mg", "ein Milligramm", "Milligramm"),
    unit("g", "ein Gramm", "Gramm"),
    unit("t", "eine Tonne", "Tonnen"),
    unit("ml", "ein Milliliter", "Milliliter"),
    unit("l", "ein Liter", "Liter"),
    unit("kWh", "eine Kilowattstunde", "Kilowattstunden"),
    unit("kW", "ein Kilowatt", "Kilowatt"),
    unit("PS", "ein PS", "PS"),
    unit("W", "ein Watt", "Watt"),
    unit("V", "ein Volt", "Volt"),
    unit("TB", "ein Terabyte", "Terabyte"),
    unit("GB", "ein Gigabyte", "Gigabyte"),
    unit("MB", "ein Megabyte", "Megabyte"),
    unit("KB", "ein Kilobyte", "Kilobyte"),
    unit("kB", "ein Kilobyte", "Kilobyte"),
    unit("GHz", "ein Gigahertz", "Gigahertz"),
    unit("MHz", "ein Megahertz", "Megahertz"),
    unit("kHz", "ein Kilohertz", "Kilohertz"),
    unit("Hz", "ein Hertz", "Hertz"),
    unit("dB", "ein Dezibel", "Dezibel"),
    unit("°C", "ein Grad Celsius", "Grad Celsius"),
    unit("°F", "ein Grad Fahrenheit", "Grad Fahrenheit"),
    unit("°", "ein Grad", "Grad"),
    unit("Std.", "eine Stunde", "Stunden"),
    unit("Std", "eine Stunde", "Stunden"),
    unit("h", "eine Stunde", "Stunden"),
    unit("Min.", "eine Minute", "Minuten"),
    unit("Min", "eine Minute", "Minuten"),
    unit("min", "eine Minute", "Minuten"),
    unit("Sek.", "eine Sekunde", "Sekunden"),
    unit("Sek", "eine Sekunde", "Sekunden"),
    unit("ms", "eine Millisekunde", "Millisekunden"),
    unit("s", "eine Sekunde", "Sekunden"),
    unit("‰", "ein Promille", "Promille"),
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

const CENTS: [&str; 2] = ["ein Cent", "Cent"];
const CURRENCIES: &[Currency] = &[
    currency("EUR", Some('€'), ["ein Euro", "Euro"], CENTS),
    currency("USD", Some('$'), ["ein Dollar", "Dollar"], CENTS),
    currency("GBP", Some('£'), ["ein Pfund", "Pfund"], ["ein Penny", "Pence"]),
    currency("JPY", Some('¥'), ["ein Yen", "Yen"], ["", ""]),
    currency("INR", Some('₹'), ["eine Rupie", "Rupien"], ["ein Paisa", "Paise"]),
    currency("CHF", None, ["ein Schweizer Franken", "Schweizer Franken"], ["ein Rappen", "Rappen"]),
    currency("CAD", None, ["ein kanadischer Dollar", "kanadische Dollar"], CENTS),
    currency("AUD", None, ["ein australischer Dollar", "australische Dollar"], CENTS),
    currency("PLN", None, ["ein Zloty", "Zloty"], ["ein Grosz", "Grosze"]),
    currency("SEK", None, ["eine schwedische Krone", "schwedische Kronen"], ["", ""]),
    currency("BTC", Some('₿'), ["ein Bitcoin", "Bitcoin"], ["", ""]),
];

const ABBREVIATIONS: &[Abbreviation] = &[
    ("z. B.", "zum Beispiel", Next::Any),
    ("Z. B.", "Zum Beispiel", Next::Any),
    ("d. h.", "das heißt", Next::Any),
    ("D. h.", "Das heißt", Next::Any),
    ("u. a.", "unter anderem", Next::Any),
    ("v. a.", "vor allem", Next::Any),
    ("i. d. R.", "in der Regel", Next::Any),
    ("o. Ä.", "oder Ähnliches", Next::Any),
    ("o. ä.", "oder ähnlich", Next::Any),
    ("u. U.", "unter Umständen", Next::Any),
    ("z. T.", "zum Teil", Next::Any),
    ("s. o.", "siehe oben", Next::Any),
    ("s. u.", "siehe unten", Next::Any),
    ("m. E.", "meines Erachtens", Next::Any),
    ("a. D.", "außer Dienst", Next::Any),
    ("n. Chr.", "nach Christus", Next::Any),
    ("v. Chr.", "vor Christus", Next::Any),
    ("Dr.", "Doktor", Next::Any),
    ("Prof.", "Professor", Next::Any),
    ("Hr.", "Herr", Next::Any),
    ("Hrn.", "Herrn", Next::Any),
    ("Fr.", "Frau", Next::Name),
    ("Fr.", "Freitag", Next::Any),
    ("Fam.", "Familie", Next::Any),
    ("Dipl.", "Diplom", Next::Any),
    ("Ing.", "Ingenieur", Next::Any),
    ("Nr.", "Nummer", Next::Any),
    ("Nrn.", "Nummern", Next::Any),
    ("Str.", "Straße", Next::Any),
    ("Tel.", "Telefon", Next::Any),
    ("Abs.", "Absatz", Next::Any),
    ("Abt.", "Abteilung", Next::Any),
    ("Art.", "Artikel", Next::Number),
    ("Kap.", "Kapitel", Next::Any),
    ("Bd.", "Band", Next::Number),
    ("S.", "Seite", Next::Number),
    ("St.", "Sankt", Next::Name),
    ("St.", "Stück", Next::AfterNumber),
    ("Stk.", "Stück", Next::Any),
    ("bzw.", "beziehungsweise", Next::Any),
    ("usw.", "und so weiter", Next::Any),
    ("etc.", "et cetera", Next::Any),
    ("ca.", "circa", Next::Any),
    ("Ca.", "Circa", Next::Any),
    ("evtl.", "eventuell", Next::Any),
    ("ggf.", "gegebenenfalls", Next::Any),
    ("Ggf.", "Gegebenenfalls", Next::Any),
    ("inkl.", "inklusive", Next::Any),
    ("exkl.", "exklusive", Next::Any),
    ("zzgl.", "zuzüglich", Next::Any),
    ("abzgl.", "abzüglich", Next::Any),
    ("bspw.", "beispielsweise", Next::Any),
    ("sog.", "sogenannte", Next::Any),
    ("gem.", "gemäß", Next::Any),
    ("geb.", "geboren", Next::Any),
    ("vgl.", "vergleiche", Next::Any),
    ("Vgl.", "Vergleiche", Next::Any),
    ("max.", "maximal", Next::Any),
    ("mind.", "mindestens", Next::Any),
    ("min.", "mindestens", Next::Number),
    ("tgl.", "täglich", Next::Any),
    ("mtl.", "monatlich", Next::Any),
    ("p. a.", "pro Jahr", Next::Any),
    ("MwSt.", "Mehrwertsteuer", Next::Any),
    ("USt.", "Umsatzsteuer", Next::Any),
    ("Mio.", "Millionen", Next::Any),
    ("Mrd.", "Milliarden", Next::Any),
    ("Tsd.", "Tausend", Next::Any),
    ("Std.", "Stunden", Next::Any),
    ("Min.", "Minuten", Next::Any),
    ("Sek.", "Sekunden", Next::Any),
    ("Mo.", "Montag", Next::Any),
    ("Di.", "Dienstag", Next::Any),
    ("Mi.", "Mittwoch", Next::Any),
    ("Do.", "Donnerstag", Next::Any),
    ("Sa.", "Samstag", Next::Any),
    ("So.", "Sonntag", Next::Number),
    ("Jan.", "Januar", Next::Any),
    ("Feb.", "Februar", Next::Any),
    ("Apr.", "April", Next::Any),
    ("Aug.", "August", Next::Any),
    ("Sept.", "September", Next::Any),
    ("Sep.", "September", Next::Any),
    ("Okt.", "Oktober", Next::Any),
    ("Nov.", "November", Next::Any),
    ("Dez.", "Dezember", Next::Any),
];

/// The language.
pub(super) static LEXICON: Lexicon = Lexicon {
    language: Language::German,
    group: '.',
    decimal: ',',
    digits: ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"],
    cardinal,
    signs: &[
        ('.', "Punkt"),
        ('@', "ät"),
        ('-', "Bindestrich"),
        ('_', "Unterstrich"),
        ('/', "Schrägstrich"),
        ('+', "Plus"),
        ('?', "Fragezeichen"),
        ('=', "gleich"),
        ('&', "und"),
        ('%', "Prozent"),
        ('#', "Raute"),
        (':', "Doppelpunkt"),
        ('~', "Tilde"),
    ],
    symbols: &[
        ('&', "und"),
        ('%', "Prozent"),
        ('@', "ät"),
        ('+', "plus"),
        ('=', "gleich"),
        ('<', "kleiner als"),
        ('>', "größer als"),
        ('×', "mal"),
        ('÷', "geteilt durch"),
        ('±', "plus minus"),
        ('≈', "ungefähr"),
        ('≤', "höchstens"),
        ('≥', "mindestens"),
        ('≠', "ungleich"),
        ('−', "minus"),
        ('§', "Paragraf"),
        ('°', "Grad"),
        ('$', "Dollar"),
        ('€', "Euro"),
        ('£', "Pfund"),
        ('‰', "Promille"),
        ('²', "Quadrat"),
        ('³', "hoch drei"),
        ('#', "Nummer"),
        ('~', "etwa"),
        ('№', "Nummer"),
    ],
    minus: "minus",
    plus: "plus",
    point: "Komma",
    dot: "Punkt",
    to: "bis",
    by: "mal",
    slash: "Schrägstrich",
    percent: "Prozent",
    months: [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    month_names: &[
        ("Januar", 1),
        ("Jänner", 1),
        ("Februar", 2),
        ("März", 3),
        ("April", 4),
        ("Mai", 5),
        ("Juni", 6),
        ("Juli", 7),
        ("August", 8),
        ("September", 9),
        ("Oktober", 10),
        ("November", 11),
        ("Dezember", 12),
        ("Jan", 1),
        ("Feb", 2),
        ("Mär", 3),
        ("Apr", 4),
        ("Jun", 6),
        ("Jul", 7),
        ("Aug", 8),
        ("Sept", 9),
        ("Sep", 9),
        ("Okt", 10),
        ("Nov", 11),
        ("Dez", 12),
    ],
    units: UNITS,
    currencies: CURRENCIES,
    abbreviations: ABBREVIATIONS,
    code_words: &[
        "code",
        "pin",
        "tan",
        "id",
        "plz",
        "postleitzahl",
        "konto",
        "kontonummer",
        "-nummer",
        "-nr",
        "-code",
        "-zeichen",
        "-kennung",
        "ticket",
        "passwort",
        "vorgang",
        "iban",
        "durchwahl",
        "auftrag",
        "-auftrag",
    ],
    scales: &[
        ("Tausend", "tausend"),
        ("Tsd.", "tausend"),
        ("tausend", "tausend"),
        ("Millionen", "Millionen"),
        ("Million", "Million"),
        ("Mio.", "Millionen"),
        ("Mio", "Millionen"),
        ("Milliarden", "Milliarden"),
        ("Milliarde", "Milliarde"),
        ("Mrd.", "Milliarden"),
        ("Mrd", "Milliarden"),
        ("Billionen", "Billionen"),
    ],
    fractions: &[
        (2, "halb", "halbe"),
        (3, "Drittel", "Drittel"),
        (4, "Viertel", "Viertel"),
        (5, "Fünftel", "Fünftel"),
        (6, "Sechstel", "Sechstel"),
        (8, "Achtel", "Achtel"),
        (10, "Zehntel", "Zehntel"),
    ],
    fraction_signs: &[
        ('½', "ein halb"),
        ('¼', "ein Viertel"),
        ('¾', "drei Viertel"),
        ('⅓', "ein Drittel"),
        ('⅔', "zwei Drittel"),
    ],
};

/// The stem of a number that may be a year: `neunzehnhundertneunzig` of `1990er`.
pub(super) fn stem_of_year(number: u64) -> String {
    if (1_100..2_000).contains(&number) { year(number) } else { stem(number) }
}
