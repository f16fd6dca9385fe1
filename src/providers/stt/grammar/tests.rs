use super::*;

#[test]
fn words_without_pronunciation_are_named_with_a_hint() {
    let mut dictionary = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut dictionary, b"route R UW T\nroute(2) R AW T\n").unwrap();
    let mut vocabulary = Vocabulary {
        phrases: vec![Phrase::parse("route [quux]").unwrap()],
        ..Vocabulary::default()
    };
    let error = vocabulary.compile(dictionary.path()).unwrap_err();
    assert!(error.contains("quux") && error.contains("[pronunciations]"), "{error}");
    vocabulary.pronunciations.insert("quux".to_owned(), "K W AH K S".to_owned());
    let grammar = vocabulary.compile(dictionary.path()).unwrap();
    assert!(grammar.phrases.contains("<phrase> = route [quux];"), "{}", grammar.phrases);
    assert!(grammar.words.contains(&("route(2)".to_owned(), "R AW T".to_owned())));
    vocabulary.pronunciations.insert("quux".to_owned(), "K XX".to_owned());
    assert!(vocabulary.compile(dictionary.path()).unwrap_err().contains("XX"));
}
