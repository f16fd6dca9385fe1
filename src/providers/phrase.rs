//! The phrase language of the scripted dialogue: what a caller may say, written by a person.
//!
//! `book a table [please]`, `(check | track) my order {order}`: words, optional groups, choices and
//! slots. The same tree serves two readers: [`Phrase::find_in`] matches recognised text against it,
//! and [`super::stt::grammar`] compiles it for the recogniser. It knows neither.

mod slot;

pub use slot::{DIGITS_MAX, SlotKind};

use std::collections::BTreeMap;

/// Longest phrase in characters: a caller's sentence, not a speech.
pub const PHRASE_CHARS_MAX: usize = 200;
/// Deepest nesting of groups: more cannot be read by a person either.
pub const PHRASE_DEPTH_MAX: usize = 4;
/// Words of one utterance that are looked at: half a minute of fast speech.
pub const UTTERANCE_WORDS_MAX: usize = 100;

/// Slots by name, as a dialogue declares them.
pub type Slots = BTreeMap<String, SlotKind>;

/// One piece of a phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A word in lower case.
    Word(String),
    /// One of several sequences.
    Choice(Vec<Vec<Node>>),
    /// One of several sequences, or nothing.
    Optional(Vec<Vec<Node>>),
    /// A value, by the name of its slot.
    Slot(String),
}

/// A parsed phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    source: String,
    nodes: Vec<Node>,
}

/// Where a phrase was found in an utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Words of the utterance that the phrase covers.
    pub words: usize,
    /// Values of its slots, ready to be spoken back.
    pub slots: BTreeMap<String, String>,
}

/// The words of a text as phrases know them: lower case, without punctuation.
pub fn words_of(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once(' ')) {
        let c = if c == '\u{2019}' { '\'' } else { c };
        if c.is_alphanumeric() || c == '\'' {
            word.extend(c.to_lowercase());
        } else if c == '.' && !word.is_empty() {
            // "p.m." is one word; a dot at the end of a sentence changes nothing.
        } else if c == ':' && word.chars().all(|c| c.is_ascii_digit()) && !word.is_empty() {
            word.push(c);
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word).trim_matches(['\'', ':']).to_owned());
            if words.len() == UTTERANCE_WORDS_MAX {
                break;
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

impl Phrase {
    /// Parses a phrase.
    ///
    /// # Errors
    /// One fragment that says what is wrong and where.
    pub fn parse(source: &str) -> Result<Self, String> {
        if source.chars().count() > PHRASE_CHARS_MAX {
            return Err(format!("a phrase has at most {PHRASE_CHARS_MAX} characters"));
        }
        let mut parser = Parser { rest: source.char_indices().peekable(), depth: 0 };
        let mut sequences = parser.sequences(None)?;
        let nodes = match (sequences.pop(), sequences.is_empty()) {
            (Some(only), true) => only,
            (Some(last), false) => {
                sequences.push(last);
                vec![Node::Choice(sequences)]
            }
            (None, _) => Vec::new(),
        };
        if may_be_empty(&nodes) {
            return Err("a phrase needs at least one word that is not optional".to_owned());
        }
        Ok(Self { source: source.to_owned(), nodes })
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The tree.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Calls `each` with every word of the tree.
    pub fn each_word<'a>(&'a self, each: &mut impl FnMut(&'a str)) {
        visit(&self.nodes, &mut |node| {
            if let Node::Word(word) = node {
                each(word);
            }
        });
    }

    /// Calls `each` with every slot name of the tree.
    pub fn each_slot<'a>(&'a self, each: &mut impl FnMut(&'a str)) {
        visit(&self.nodes, &mut |node| {
            if let Node::Slot(name) = node {
                each(name);
            }
        });
    }

    /// Looks for the phrase anywhere in an utterance; the longest place wins, then the first.
    pub fn find_in(&self, words: &[String], slots: &Slots) -> Option<Found> {
        let words = words.get(..words.len().min(UTTERANCE_WORDS_MAX)).unwrap_or(words);
        let mut best: Option<Found> = None;
        for start in 0..words.len() {
            let mut ends = BTreeMap::from([(start, BTreeMap::new())]);
            advance(&self.nodes, words, slots, &mut ends);
            if let Some((end, values)) = ends.pop_last() {
                let covered = end.saturating_sub(start);
                if best.as_ref().is_none_or(|best| covered > best.words) {
                    best = Some(Found { words: covered, slots: values });
                }
            }
        }
        best.filter(|found| found.words > 0)
    }
}

/// Positions in the utterance that can be reached, each with the first slot values that reach it.
type Ends = BTreeMap<usize, BTreeMap<String, String>>;

/// Moves every reachable position over a sequence. Positions are merged, so the work is at most
/// nodes × words² whatever the phrase.
fn advance(nodes: &[Node], words: &[String], slots: &Slots, ends: &mut Ends) {
    for node in nodes {
        let from = std::mem::take(ends);
        match node {
            Node::Word(word) => {
                for (at, values) in from {
                    if words.get(at).is_some_and(|heard| heard == word) {
                        ends.entry(at.saturating_add(1)).or_insert(values);
                    }
                }
            }
            Node::Slot(name) => {
                let Some(kind) = slots.get(name) else { continue };
                for (at, values) in from {
                    for (end, value) in kind.read(words, at) {
                        let mut values = values.clone();
                        values.insert(name.clone(), value);
                        ends.entry(end).or_insert(values);
                    }
                }
            }
            Node::Choice(sequences) | Node::Optional(sequences) => {
                for sequence in sequences {
                    let mut reached = from.clone();
                    advance(sequence, words, slots, &mut reached);
                    for (end, values) in reached {
                        ends.entry(end).or_insert(values);
                    }
                }
                if matches!(node, Node::Optional(_)) {
                    for (at, values) in from {
                        ends.entry(at).or_insert(values);
                    }
                }
            }
        }
    }
}

fn visit<'a>(nodes: &'a [Node], each: &mut impl FnMut(&'a Node)) {
    for node in nodes {
        each(node);
        if let Node::Choice(sequences) | Node::Optional(sequences) = node {
            for sequence in sequences {
                visit(sequence, each);
            }
        }
    }
}

fn may_be_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| match node {
        Node::Word(_) | Node::Slot(_) => false,
        Node::Optional(_) => true,
        Node::Choice(sequences) => sequences.iter().any(|sequence| may_be_empty(sequence)),
    })
}

struct Parser<'a> {
    rest: std::iter::Peekable<std::str::CharIndices<'a>>,
    depth: usize,
}

impl Parser<'_> {
    /// Sequences separated by `|` up to `close` (or the end of the text).
    fn sequences(&mut self, close: Option<char>) -> Result<Vec<Vec<Node>>, String> {
        let mut sequences = Vec::new();
        let mut nodes = Vec::new();
        loop {
            let Some((at, c)) = self.rest.next() else {
                return match close {
                    Some(close) => Err(format!("the group is never closed with \"{close}\"")),
                    None => {
                        sequences.push(nodes);
                        Ok(sequences)
                    }
                };
            };
            match c {
                _ if Some(c) == close => {
                    if nodes.is_empty() {
                        return Err(format!("an empty alternative before character {at}"));
                    }
                    sequences.push(nodes);
                    return Ok(sequences);
                }
                '|' if nodes.is_empty() => {
                    return Err(format!("an empty alternative before character {at}"));
                }
                '|' => sequences.push(std::mem::take(&mut nodes)),
                '(' => nodes.push(Node::Choice(self.group(')')?)),
                '[' => nodes.push(Node::Optional(self.group(']')?)),
                '{' => nodes.push(Node::Slot(self.name()?)),
                c if c.is_whitespace() || matches!(c, ',' | '.' | '!' | '?' | '-') => {}
                c if c.is_alphabetic() || c == '\'' => nodes.push(Node::Word(self.word(c))),
                c if c.is_ascii_digit() => {
                    return Err(format!("write the number at character {at} as words"));
                }
                c => return Err(format!("\"{c}\" at character {at} means nothing here")),
            }
        }
    }

    fn group(&mut self, close: char) -> Result<Vec<Vec<Node>>, String> {
        self.depth += 1;
        if self.depth > PHRASE_DEPTH_MAX {
            return Err(format!("groups nest at most {PHRASE_DEPTH_MAX} deep"));
        }
        let sequences = self.sequences(Some(close))?;
        self.depth = self.depth.saturating_sub(1);
        Ok(sequences)
    }

    fn word(&mut self, first: char) -> String {
        let mut word: String = first.to_lowercase().collect();
        while let Some((_, c)) = self.rest.next_if(|(_, c)| c.is_alphabetic() || *c == '\'') {
            word.extend(c.to_lowercase());
        }
        word
    }

    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        for (_, c) in self.rest.by_ref() {
            match c {
                '}' if name.is_empty() => return Err("a slot needs a name: {day}".to_owned()),
                '}' => return Ok(name),
                c if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
                c => return Err(format!("\"{c}\" cannot stand in the name of a slot")),
            }
        }
        Err("the slot is never closed with \"}\"".to_owned())
    }
}

#[cfg(test)]
mod tests;
