use proptest::prelude::*;

use super::*;

fn slots() -> Slots {
    [
        ("party".to_owned(), SlotKind::Number { min: 1, max: 12 }),
        ("day".to_owned(), SlotKind::Weekday),
        ("time".to_owned(), SlotKind::Time),
        ("order".to_owned(), SlotKind::Digits { min: 4, max: 4 }),
    ]
    .into()
}

#[test]
fn phrases_find_their_words_and_values() {
    let cases = [
        ("book a table [please]", "Uh, book a table, please!", Some("")),
        ("book a table", "book the table", None),
        ("(check | track) my order", "track my order", Some("")),
        ("for {party} people", "for eleven people", Some("11")),
        ("for {party} people", "for thirteen people", None),
        ("order {order}", "order four oh one nine", Some("4 0 1 9")),
        ("order {order}", "order 4719.", Some("4 7 1 9")),
        ("order {order}", "order one two three", None),
        ("on {day}", "on friday", Some("Friday")),
        ("{day}", "5", Some("Friday")),
        ("{time}", "half past seven", Some("7:30")),
        ("{time}", "seven forty five p.m.", Some("7:45 p.m.")),
        ("{time}", "730", Some("7:30")),
        ("{time}", "at 19:30", Some("19:30")),
        ("{time}", "2599", None),
    ];
    for (phrase, heard, value) in cases {
        let found = Phrase::parse(phrase).unwrap().find_in(&words_of(heard), &slots());
        let found = found.map(|f| f.slots.into_values().next().unwrap_or_default());
        assert_eq!(found.as_deref(), value, "{phrase} / {heard}");
    }
}

#[test]
fn bad_phrases_are_refused_with_a_reason() {
    for bad in
        ["", "[please]", "(a | )", "(a", "a {", "{}", "press 1", "<x>", "a; b", "((((((a))))))"]
    {
        assert!(Phrase::parse(bad).is_err(), "{bad:?}");
    }
    assert!(Phrase::parse(&"a ".repeat(200)).is_err());
}

proptest! {
    #[test]
    fn nothing_makes_the_parser_or_the_reader_panic(source in "[a-c \\[\\](){}|']{0,60}", heard in "\\PC{0,80}") {
        if let Ok(phrase) = Phrase::parse(&source) {
            phrase.find_in(&words_of(&heard), &slots());
        }
        for kind in slots().values() {
            kind.read(&words_of(&heard), 0);
        }
    }
}
