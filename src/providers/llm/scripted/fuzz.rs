//! Bodies of the fuzz targets `scripted_dialogue` and `phrase`.

use std::collections::BTreeMap;

use super::{Answer, PHRASES_MAX, Place, Script, ScriptedDialogue, clock};
use crate::providers::llm::{LlmRequest, Message, Role};
use crate::providers::phrase::{Node, Phrase, SlotKind, Slots, words_of};

/// Utterances of one conversation; more only makes it longer.
const UTTERANCES_MAX: usize = 16;

/// A script, then (after a NUL) what a caller says line by line.
///
/// # Panics
/// When the same words at the same place get two answers, a value is kept that nobody declared, or a
/// conversation leaves the script.
pub fn scripted_dialogue(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (source, utterances) = text.split_once('\0').unwrap_or((&text, "1\nyes"));
    let script = match Script::parse(source) {
        Ok(script) => script,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal says why");
            return;
        }
    };
    let vocabulary = script.vocabulary();
    assert!(vocabulary.phrases.len() <= PHRASES_MAX, "too many phrases");
    let mut place = script.start();
    let mut answers = Vec::new();
    for utterance in utterances.lines().take(UTTERANCES_MAX) {
        let words = words_of(utterance);
        let (next, answer) = script.advance(&place, &words);
        assert_eq!((&next, &answer), both(&script.advance(&place, &words)), "undecided");
        assert!(next.slots.keys().all(|name| vocabulary.slots.contains_key(name)), "unknown slot");
        assert!(next.misses == 0 || next.misses == place.misses + 1, "misses leap");
        assert!(!answer.text.contains(['{', '}']) || has_braces(&next), "a template is left");
        let failed = vec![serde_json::json!({"error": "refused"}); answer.calls.len()];
        let (later, words_of_it) = script.outcome(&place, &words, &failed);
        assert!(words_of_it.calls.is_empty() && later.misses == next.misses, "a call without end");
        (place, _) = (next, answers.push(answer));
    }
    as_a_model(script, utterances, &answers);
}

fn both((place, answer): &(Place, Answer)) -> (&Place, &Answer) {
    (place, answer)
}

fn has_braces(place: &Place) -> bool {
    place.slots.values().any(|value| value.contains(['{', '}']))
}

/// The same conversation through the provider, every request twice as after a retry.
fn as_a_model(script: Script, utterances: &str, answers: &[Answer]) {
    let now = clock::now();
    let dialogue = ScriptedDialogue::new(script);
    let message = |role, text: &str| Message::new(role, text.to_owned());
    let mut request = LlmRequest { conversation: "c".to_owned(), ..LlmRequest::default() };
    for (utterance, answer) in utterances.lines().zip(answers) {
        request.messages.push(message(Role::User, utterance));
        assert_eq!(&dialogue.answer(&request, now), answer, "the model differs from the script");
        assert_eq!(&dialogue.answer(&request, now), answer, "a retry moves the conversation");
        request.messages.push(message(Role::Assistant, &answer.text));
    }
}

/// A phrase, and (first octet) which of its alternatives a caller says.
///
/// # Panics
/// When a phrase is not found in words that follow it, alone and amid others.
pub fn phrase(data: &[u8]) {
    let Some((choices, source)) = data.split_first() else { return };
    let source = String::from_utf8_lossy(source);
    let phrase = match Phrase::parse(&source) {
        Ok(phrase) => phrase,
        Err(error) => {
            assert!(!error.is_empty(), "a refusal says why");
            return;
        }
    };
    assert_eq!(phrase.source(), source);
    let slots = slots();
    let mut said = Said { words: Vec::new(), choices: *choices, known: true };
    said.sequence(phrase.nodes());
    let heard = phrase.find_in(&said.words, &slots);
    // The hundredth word is the last that is looked at: a longer phrase is not found.
    if !said.known || said.words.is_empty() || said.words.len() > 99 {
        return;
    }
    let covered = heard.map(|found| found.words);
    assert_eq!(covered, Some(said.words.len()), "{source} was said as {:?}", said.words);
    let amid: Vec<String> = ["um".to_owned()].into_iter().chain(said.words.clone()).collect();
    let found = phrase.find_in(&amid, &slots).map_or(0, |found| found.words);
    // The longest place wins.
    assert!(found >= said.words.len().min(98), "{source} is not found amid {amid:?}");
}

fn slots() -> Slots {
    BTreeMap::from([
        ("d".to_owned(), SlotKind::Digits { min: 1, max: 4 }),
        ("n".to_owned(), SlotKind::Number { min: 0, max: 99 }),
        ("w".to_owned(), SlotKind::Weekday),
        ("t".to_owned(), SlotKind::Time),
        ("y".to_owned(), SlotKind::YesNo),
        ("c".to_owned(), SlotKind::Choice(vec!["for here".to_owned(), "for".to_owned()])),
    ])
}

/// A caller who says what a phrase asks for.
struct Said {
    words: Vec<String>,
    choices: u8,
    known: bool,
}

impl Said {
    fn sequence(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Word(word) => self.words.push(word.clone()),
                Node::Slot(name) => match name.as_str() {
                    "d" => self.words.push("seven".to_owned()),
                    "n" => self.words.extend(["twenty", "one"].map(str::to_owned)),
                    "w" => self.words.push("tuesday".to_owned()),
                    "t" => self.words.extend(["half", "past", "seven"].map(str::to_owned)),
                    "y" => self.words.push("yes".to_owned()),
                    "c" => self.words.extend(["for", "here"].map(str::to_owned)),
                    _ => self.known = false,
                },
                Node::Choice(sequences) => self.one_of(sequences),
                Node::Optional(sequences) => {
                    if self.next() & 1 == 0 {
                        self.one_of(sequences);
                    }
                }
            }
        }
    }

    fn one_of(&mut self, sequences: &[Vec<Node>]) {
        let choice = usize::from(self.next()) % sequences.len().max(1);
        if let Some(sequence) = sequences.get(choice) {
            self.sequence(sequence);
        }
    }

    fn next(&mut self) -> u8 {
        self.choices = self.choices.rotate_left(3).wrapping_mul(5).wrapping_add(1);
        self.choices
    }
}
