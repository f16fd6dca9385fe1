use super::Completeness::{Complete, Incomplete, Neutral};
use super::*;
use crate::turn::lexicon::lexicon;

#[test]
fn what_the_words_say() {
    for (language, text, expected) in [
        ("en", "", Neutral),
        ("en", "I would like to book a table", Neutral),
        ("en", "I would like to book a table.", Complete),
        ("en", "I would like to book a table and", Incomplete),
        ("en", "I would like to book a table and.", Incomplete),
        ("en-US", "We need it by Friday, um", Incomplete),
        ("en", "Well,", Incomplete),
        ("en", "Let me think...", Incomplete),
        ("en", "My number is four five six", Incomplete),
        ("en", "Table for four.", Complete),
        ("en", "Table for four", Neutral),
        ("en", "No, thank you", Complete),
        ("en", "What are you looking at?", Complete),
        ("en", "Could you send it to my", Incomplete),
        ("de", "Ich möchte einen Tisch reservieren", Neutral),
        ("de", "Ich möchte einen Tisch reservieren.", Complete),
        ("de", "Ich möchte einen Tisch für", Incomplete),
        ("de", "Am Freitag, ähm", Incomplete),
        ("de", "Das wäre alles", Complete),
        ("de-AT", "Die Nummer ist null sechs sechs vier", Incomplete),
        ("es", "Quiero una mesa para", Incomplete),
        ("fr", "Je voudrais réserver et", Incomplete),
        ("ja", "そうです。", Complete),
        ("xx", "kala maja ja", Neutral),
    ] {
        assert_eq!(judge(text, Asked::Open, language), expected, "{language}: {text}");
    }
}

#[test]
fn what_was_asked_changes_it() {
    let digits = Asked::Digits(None);
    for (text, asked, expected) in [
        ("Yes", Asked::YesNo, Complete),
        ("Yes please", Asked::YesNo, Complete),
        ("Yes", Asked::Open, Neutral),
        ("Yes but", Asked::YesNo, Incomplete),
        ("Four seven", digits, Incomplete),
        ("4 7.", digits, Incomplete),
        ("4711", Asked::Digits(Some(4)), Complete),
        ("47", Asked::Digits(Some(4)), Incomplete),
        ("four seven one one.", Asked::Digits(Some(4)), Complete),
        ("B as in Berlin, R", digits, Incomplete),
        ("I do not have it here.", digits, Complete),
    ] {
        assert_eq!(judge(text, asked, "en"), expected, "{text} {asked:?}");
    }
}

#[test]
fn what_a_question_asks_for() {
    for (language, question, expected) in [
        ("en", "Thanks. What is your phone number?", Asked::Digits(None)),
        ("en", "And your ZIP code, please?", Asked::Digits(Some(5))),
        ("en", "Could you spell that for me?", Asked::Digits(None)),
        ("en", "Shall I book it for you?", Asked::YesNo),
        ("en", "Your phone number is noted. What else can I do?", Asked::Open),
        ("en", "Tell me more.", Asked::Open),
        ("de", "Wie lautet Ihre Postleitzahl?", Asked::Digits(Some(5))),
        ("de", "Möchten Sie das buchen?", Asked::YesNo),
        ("xx", "Kas te soovite?", Asked::Open),
        ("en", "", Asked::Open),
    ] {
        assert_eq!(asked(question, language), expected, "{question}");
    }
}

#[test]
fn small_words_are_told_apart() {
    for (language, text, acknowledges, interrupts) in [
        ("en", "Mm-hm.", true, false),
        ("en", "Okay, I see.", true, false),
        ("en", "Right, right", true, false),
        ("en", "Yeah but wait", false, true),
        ("en", "Stop!", false, true),
        ("en", "No, the other one", false, true),
        ("en", "tomorrow", false, false),
        ("de", "Ja, genau.", true, false),
        ("de", "Einen Moment, bitte", false, true),
        ("de", "Nein", false, true),
        ("xx", "jah", false, false),
        ("en", "", false, false),
    ] {
        assert_eq!(is_acknowledgement(text, language), acknowledges, "{text}");
        assert_eq!(is_interruption(text, language), interrupts, "{text}");
    }
}

#[test]
fn the_agents_own_words_are_known_again() {
    let said = "Your table is booked for Friday at eight. Anything else?";
    assert!(is_echo("booked for friday at", said));
    assert!(!is_echo("at eight", said), "two words may agree by chance");
    assert!(!is_echo("booked for saturday at", said));
}

#[test]
fn every_table_is_in_the_form_that_is_matched() {
    for tag in ["en", "de", "es", "fr"] {
        let words = lexicon(tag).unwrap();
        let lists = [
            words.trailing,
            words.acknowledgements,
            words.interruptions,
            words.yes_no,
            words.complete,
            words.digits,
            words.asks_yes_no,
        ];
        let phrases = lists.into_iter().flatten().copied();
        for phrase in phrases.chain(words.asks_digits.iter().map(|(phrase, _)| *phrase)) {
            assert_eq!(tokens(phrase).join(" "), phrase, "{tag}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_judged(text in "\\PC{0,80}", said in "\\PC{0,80}") {
        for language in ["en", "de", "fr", "es", "zz", ""] {
            judge(&text, asked(&said, language), language);
            is_acknowledgement(&text, language);
            is_interruption(&text, language);
            is_echo(&text, &said);
        }
    }
}
