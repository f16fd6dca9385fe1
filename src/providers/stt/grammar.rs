//! Phrases of a dialogue, compiled for a grammar-based recogniser: JSGF, the words it needs with
//! their pronunciations, and the loop of single phones that speech outside the phrases fits better.
//!
//! Words that the pronouncing dictionary does not have are reported with a hint, because a phrase
//! with such a word could never be heard.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::BufRead;
use std::path::Path;

use crate::providers::phrase::{Node, Phrase, Slots};

/// The 39 phones of the CMU English model.
const PHONES: [&str; 39] = [
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH",
    "UW", "V", "W", "Y", "Z", "ZH",
];
/// Marks a word of the phone loop. No word of the dictionary begins like it.
const PHONE_PREFIX: &str = "zzphone";
/// Words of one grammar: the decoder's time and memory grow with them.
pub const GRAMMAR_WORDS_MAX: usize = 1_000;
/// Longest line of a pronouncing dictionary.
const DICTIONARY_LINE_BYTES_MAX: usize = 512;

/// What a dialogue expects to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// Phrases, all possible at any time.
    pub phrases: Vec<Phrase>,
    /// Slots that the phrases name, and that may be said alone.
    pub slots: Slots,
    /// Pronunciations beyond the dictionary: word, phones separated by blanks.
    pub pronunciations: BTreeMap<String, String>,
}

/// A compiled grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// JSGF source of the dialogue's phrases.
    pub(crate) phrases: String,
    /// JSGF source of the loop over all phones: what any speech scores without a grammar.
    pub(crate) phones: String,
    /// Words (with variants such as `route(2)`) and their phones, in the order to be added.
    pub(crate) words: Vec<(String, String)>,
}

impl Vocabulary {
    fn words(&self) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        for phrase in &self.phrases {
            phrase.each_word(&mut |word| {
                words.insert(word.to_owned());
            });
        }
        for kind in self.slots.values() {
            let forms = kind.spoken_forms();
            words.extend(
                forms
                    .split(|c: char| !(c.is_alphabetic() || c == '\''))
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned),
            );
        }
        words
    }

    /// Compiles the grammar with the pronunciations of a dictionary file in CMU format.
    ///
    /// # Errors
    /// A sentence that names every word without pronunciation, or says what is wrong with the file.
    pub fn compile(&self, dictionary: &Path) -> Result<Grammar, String> {
        let wanted = self.words();
        if wanted.is_empty() {
            return Err("the dialogue has no phrases".to_owned());
        }
        if wanted.len() > GRAMMAR_WORDS_MAX {
            return Err(format!("a grammar has at most {GRAMMAR_WORDS_MAX} words"));
        }
        let mut found = read_dictionary(dictionary, &wanted)?;
        for (word, phones) in &self.pronunciations {
            if let Some(bad) = phones.split_whitespace().find(|phone| !PHONES.contains(phone)) {
                return Err(format!(
                    "the pronunciation of \"{word}\" has no phone \"{bad}\"; phones are {}",
                    PHONES.join(" ")
                ));
            }
            found.insert(word.clone(), vec![phones.clone()]);
        }
        let missing: Vec<&str> =
            wanted.iter().filter(|word| !found.contains_key(*word)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(format!(
                "no pronunciation for: {}. Use other words, or add them under [pronunciations], \
                 for example tofu = \"T OW F UW\"",
                missing.join(", ")
            ));
        }
        let mut words = Vec::new();
        for word in &wanted {
            for (index, phones) in found.get(word).into_iter().flatten().enumerate() {
                let name = if index == 0 { word.clone() } else { format!("{word}({})", index + 1) };
                words.push((name, phones.clone()));
            }
        }
        for phone in PHONES {
            words.push((phone_word(phone), phone.to_owned()));
        }
        Ok(Grammar { phrases: self.jsgf(), phones: phone_loop(), words })
    }

    fn jsgf(&self) -> String {
        let mut jsgf = String::from("#JSGF V1.0;\ngrammar agent;\n");
        for (name, kind) in &self.slots {
            let _ = writeln!(jsgf, "<slot_{name}> = {};", kind.spoken_forms());
        }
        let mut phrases: Vec<String> =
            self.phrases.iter().map(|phrase| sequence(phrase.nodes())).collect();
        phrases.extend(self.slots.keys().map(|name| format!("<slot_{name}>")));
        phrases.sort();
        phrases.dedup();
        let _ = writeln!(jsgf, "<phrase> = {};", phrases.join(" | "));
        jsgf.push_str("public <utterance> = <phrase>;\n");
        jsgf
    }
}

/// Any sequence of phones.
fn phone_loop() -> String {
    let phones: Vec<String> = PHONES.iter().map(|phone| phone_word(phone)).collect();
    format!("#JSGF V1.0;\ngrammar phones;\npublic <utterance> = ({})+;\n", phones.join(" | "))
}

/// The word of the phone loop that is this one phone.
fn phone_word(phone: &str) -> String {
    format!("{PHONE_PREFIX}{}", phone.to_lowercase())
}

/// The words of a hypothesis: "route(2)" is a pronunciation, not another word.
pub(crate) fn plain_words(hypothesis: &str) -> String {
    let words = hypothesis.split_whitespace().map(|word| word.split('(').next().unwrap_or(word));
    words.collect::<Vec<_>>().join(" ")
}

fn sequence(nodes: &[Node]) -> String {
    let alternatives = |sequences: &[Vec<Node>]| {
        sequences.iter().map(|nodes| sequence(nodes)).collect::<Vec<_>>().join(" | ")
    };
    let parts: Vec<String> = nodes
        .iter()
        .map(|node| match node {
            Node::Word(word) => word.clone(),
            Node::Slot(name) => format!("<slot_{name}>"),
            Node::Choice(sequences) => format!("({})", alternatives(sequences)),
            Node::Optional(sequences) => format!("[{}]", alternatives(sequences)),
        })
        .collect();
    parts.join(" ")
}

/// Pronunciations of the wanted words, first the usual one.
fn read_dictionary(
    path: &Path,
    wanted: &BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let file = std::fs::File::open(path)
        .map_err(|e| format!("cannot read the dictionary {}: {e}", path.display()))?;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in std::io::BufReader::new(file).lines() {
        let line = line.map_err(|e| format!("cannot read the dictionary: {e}"))?;
        if line.len() > DICTIONARY_LINE_BYTES_MAX {
            return Err("the dictionary has a line that is no pronunciation".to_owned());
        }
        let Some((entry, phones)) = line.split_once(char::is_whitespace) else { continue };
        let word = entry.split('(').next().unwrap_or(entry);
        if wanted.contains(word) {
            found.entry(word.to_owned()).or_default().push(phones.trim().to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
