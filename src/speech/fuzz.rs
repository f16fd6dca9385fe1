//! Body of the fuzz target `speech_text`: any text, laws checked.

#![allow(clippy::panic, reason = "an oracle reports by panicking")]

use super::{Pronunciation, Speech, SpeechConfig};

/// Makes any text ready for a voice, in three languages.
///
/// # Panics
/// When a law is broken.
pub fn speech_text(data: &[u8]) {
    let (head, text) = data.split_at(data.len().min(1));
    let text = String::from_utf8_lossy(text);
    let choice = head.first().copied().unwrap_or(0);
    let language =
        ["en", "de", "en-GB", "fr"].get(usize::from(choice & 3)).copied().unwrap_or("en");
    let mut config = SpeechConfig { normalize: choice & 4 == 0, ..SpeechConfig::default() };
    check(&config, language, &text);
    config.pronunciations = vec![
        Pronunciation {
            from: "a".to_owned(),
            to: "*<b>7".to_owned(),
            whole_word: false,
            case_sensitive: true,
        },
        Pronunciation { from: "x y".to_owned(), to: String::new(), ..Pronunciation::default() },
    ];
    let said = Speech::new(&config, language).say(&text);
    laws_of_map(&said, &text);
}

/// Checks what holds for every text without pronunciations.
///
/// # Panics
/// When it does not.
pub fn check(config: &SpeechConfig, language: &str, text: &str) {
    let speech = Speech::new(config, language);
    let said = speech.say(text);
    laws_of_map(&said, text);
    if !config.normalize {
        assert!(said.is_verbatim() && said.text() == text, "changed without being asked");
        return;
    }
    let known = language.starts_with("en") || language.starts_with("de");
    let left = said.text().chars().find(|c| {
        c.is_control() || (known && (c.is_ascii_digit() || "<>*_`|#~^[]{}".contains(*c)))
    });
    assert!(left.is_none(), "{left:?} is left in {:?} of {text:?}", said.text());
    let again = speech.say(said.text());
    assert_eq!(again.text(), said.text(), "said twice, {text:?} changes");
}

fn laws_of_map(said: &super::Spoken, text: &str) {
    let all = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    assert_eq!(said.chars() as usize, said.text().chars().count());
    let mut before = 0;
    for spoken in 0..=said.chars() {
        let original = said.original_chars(spoken);
        assert!(original >= before && original <= all, "{original} of {all} after {before}");
        before = original;
    }
    assert!(
        said.chars() == 0 || before == all,
        "the end of what is said is not the end of the text"
    );
}
