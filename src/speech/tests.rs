//! Tables of what is said, and laws that hold for any text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod english;
mod german;
mod neutral;

use proptest::prelude::*;

use super::{Pronunciation, Speech, SpeechConfig, fuzz};

/// Rows of text and what is said for it.
fn check(language: &str, rows: &[(&str, &str)]) {
    let speech = Speech::new(&SpeechConfig::default(), language);
    let mut wrong = Vec::new();
    for (text, expected) in rows {
        fuzz::check(&SpeechConfig::default(), language, text);
        let said = speech.say(text);
        if said.text() != *expected {
            wrong.push(format!("{text:?}\n  is      {:?}\n  not     {expected:?}", said.text()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn the_tables_are_large_enough() {
    assert!(english::ROWS.len() + german::ROWS.len() >= 150);
}

#[test]
fn what_is_said_maps_back_to_what_was_written() {
    let speech = Speech::new(&SpeechConfig::default(), "en");
    let said = speech.say("It costs $5.50 **today**, Dr. Chen.");
    let until = |words: &str| {
        let at = said.text().find(words).expect("the words") + words.len();
        said.original_chars(u32::try_from(said.text()[..at].chars().count()).unwrap())
    };
    assert_eq!(said.text(), "It costs five dollars and fifty cents today, Doctor Chen.");
    assert_eq!(until("costs "), 9);
    assert_eq!(until("fifty cents"), 14);
    assert!((10..14).contains(&until("five dollars")));
    assert_eq!(until("today"), 22);
    assert_eq!(until("Doctor"), 29);
    assert_eq!(said.original_chars(said.chars()), 35);
    assert_eq!(said.original_chars(0), 0);
    assert_eq!(said.original_chars(9_999), 35);
}

#[test]
fn text_without_signs_is_said_as_it_is_written() {
    for language in ["en", "de", "fr"] {
        let said =
            Speech::new(&SpeechConfig::default(), language).say("Hello there, how can I help?");
        assert!(said.is_verbatim() && !said.is_silent(), "{language}");
    }
}

#[test]
fn text_without_words_is_silent_and_maps_to_its_end() {
    let speech = Speech::new(&SpeechConfig::default(), "en");
    for text in
        ["😀", "**", "---", "| --- | :-: |", " \n", "<break time=\"1s\"/>", "👍🏽 ❤️", "```", ""]
    {
        let said = speech.say(text);
        assert!(said.is_silent(), "{text:?} is {:?}", said.text());
    }
}

fn dictionary(pronunciations: Vec<Pronunciation>, normalize: bool, text: &str) -> String {
    let config = SpeechConfig { normalize, pronunciations };
    Speech::new(&config, "en").say(text).text().to_owned()
}

fn entry(from: &str, to: &str) -> Pronunciation {
    Pronunciation { from: from.to_owned(), to: to.to_owned(), ..Pronunciation::default() }
}

#[test]
fn pronunciations_come_first() {
    let own =
        vec![entry("SQL", "sequel"), entry("SQL Server", "sequel server two"), entry("Ng", "Ing")];
    assert_eq!(
        dictionary(own.clone(), true, "Ask Ms. Ng about **SQL**."),
        "Ask Ms Ing about sequel."
    );
    assert_eq!(dictionary(own.clone(), true, "SQL Server 5"), "sequel server two five");
    assert_eq!(dictionary(own.clone(), true, "MySQL, sql"), "MySQL, sequel");
    assert_eq!(dictionary(own, false, "**sql** 5"), "**sequel** 5");
    let exact =
        Pronunciation { case_sensitive: true, whole_word: false, ..entry("GmbH", "Gesellschaft") };
    assert_eq!(dictionary(vec![exact], true, "die ExtraGmbH, gmbh"), "die ExtraGesellschaft, gmbh");
    assert_eq!(dictionary(vec![entry("(R)", "")], true, "Trunkline(R) works"), "Trunkline works");
}

#[test]
fn a_dictionary_is_bounded() {
    let many =
        SpeechConfig { pronunciations: vec![entry("a", "b"); 257], ..SpeechConfig::default() };
    assert_eq!(many.check().unwrap_err().0, "pronunciations");
    let long = SpeechConfig {
        pronunciations: vec![entry("a", &"b".repeat(101))],
        ..SpeechConfig::default()
    };
    assert_eq!(long.check().unwrap_err().0, "pronunciations[0].to");
    let empty = SpeechConfig { pronunciations: vec![entry(" ", "b")], ..SpeechConfig::default() };
    assert_eq!(empty.check().unwrap_err().0, "pronunciations[0].from");
    assert!(
        SpeechConfig { pronunciations: vec![entry("a", ""); 256], ..SpeechConfig::default() }
            .check()
            .is_ok()
    );
}

#[test]
fn cardinals_and_ordinals_reach_far() {
    let rows = [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (21, "twenty-one", "einundzwanzig"),
        (100, "one hundred", "einhundert"),
        (101, "one hundred one", "einhunderteins"),
        (1_001, "one thousand one", "eintausendeins"),
        (21_000, "twenty-one thousand", "einundzwanzigtausend"),
        (1_000_000, "one million", "eine Million"),
        (2_000_001, "two million one", "zwei Millionen eins"),
        (
            999_999,
            "nine hundred ninety-nine thousand nine hundred ninety-nine",
            "neunhundertneunundneunzigtausendneunhundertneunundneunzig",
        ),
    ];
    for (number, english, german) in rows {
        assert_eq!(super::en::cardinal(number), english);
        assert_eq!(super::de::cardinal(number), german);
    }
    assert!(super::en::cardinal(u64::MAX).starts_with("eighteen quintillion"));
    assert!(super::de::cardinal(u64::MAX).starts_with("achtzehn Trillionen"));
    for (number, english, german) in [
        (1, "first", "erste"),
        (3, "third", "dritte"),
        (7, "seventh", "siebte"),
        (8, "eighth", "achte"),
        (12, "twelfth", "zwölfte"),
        (20, "twentieth", "zwanzigste"),
        (31, "thirty-first", "einunddreißigste"),
        (101, "one hundred first", "einhunderterste"),
    ] {
        assert_eq!(super::en::ordinal(number), english);
        assert_eq!(super::de::ordinal(number, "e"), german);
    }
}

/// Pieces that texts of a model are made of, so that random texts hit the readings and their edges.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        " ",
        ", ",
        ". ",
        "-",
        "–",
        "/",
        ":",
        "(",
        ")",
        "**",
        "_",
        "`",
        "#",
        "<",
        ">",
        "|",
        "~",
        "\n",
        "€",
        "$",
        "%",
        "°C",
        "+",
        "1",
        "0",
        "5",
        "12",
        "007",
        "2026",
        "1,000",
        "1.000",
        "3.14",
        "3,14",
        "555-0100",
        "am",
        " Uhr",
        "Dr. ",
        "z. B. ",
        "😀",
        "März",
        "March",
        "st",
        "th",
        "km",
        "kg",
        "x",
        "Mio.",
        "million",
        "a@b.de",
        "https://a.de/x?y=1",
        "[a](b)",
        "St.",
        "B2B",
        "½",
        "²",
        "&",
        "EUR",
        "Nr. ",
        "code ",
        "<b>",
        "&amp;",
        "'90s",
        "er",
        "und",
        "A",
        "\u{200d}",
        "\u{fe0f}",
    ]);
    prop_oneof![8 => fixed.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from), 1 => "[a-zA-Z0-9.,:/ -]{0,6}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn laws_hold_for_any_text(pieces in prop::collection::vec(piece(), 0..14), language in 0usize..4) {
        let language = ["en", "de", "en-GB", "fr"][language];
        fuzz::check(&SpeechConfig::default(), language, &pieces.concat());
    }

    #[test]
    fn whole_numbers_are_said_as_words(number in 0u64..10_000) {
        for language in ["en", "de"] {
            let said = Speech::new(&SpeechConfig::default(), language).say(&format!("{number} x"));
            prop_assert!(said.text().chars().all(|c| c.is_alphabetic() || " ,-".contains(c)), "{}", said.text());
        }
    }

    #[test]
    fn amounts_keep_their_size(whole in 0u64..1_000_000, cents in 0u64..100) {
        let said = Speech::new(&SpeechConfig::default(), "en").say(&format!("${whole}.{cents:02}"));
        if whole > 0 {
            prop_assert!(said.text().starts_with(&super::en::cardinal(whole)));
        }
        if cents > 0 {
            prop_assert!(said.text().contains(&super::en::cardinal(cents)));
        }
    }
}
