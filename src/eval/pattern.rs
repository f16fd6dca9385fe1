//! Words that must be in what was said: `a table for (four | 4) [people]`. Case and punctuation do not
//! count. The signs are those of a dialogue's phrases; unlike those, which a recogniser has to know, words
//! here may be numbers and nothing is a slot.

use std::collections::BTreeSet;

use crate::providers::phrase::words_of;

/// Characters of a pattern.
const CHARS_MAX: usize = 500;
/// Brackets within brackets.
const DEPTH_MAX: usize = 4;
/// Words of a text looked at together; `words_of` takes 100 at once.
const WINDOW_WORDS: usize = 60;

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    source: String,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Word(String),
    One(Vec<Vec<Node>>),
    Maybe(Vec<Vec<Node>>),
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// One fragment that says what is wrong.
    pub fn parse(source: &str) -> Result<Self, String> {
        let wrong = |message: &str| format!("`{source}`: {message}");
        if source.chars().count() > CHARS_MAX {
            return Err(wrong(&format!("at most {CHARS_MAX} characters")));
        }
        let mut rest = source;
        let mut choices = sequences(&mut rest, None, 0).map_err(|message| wrong(&message))?;
        let nodes = match choices.len() {
            1 => choices.pop().unwrap_or_default(),
            _ => vec![Node::One(choices)],
        };
        if ends(&nodes, &[], BTreeSet::from([0])).contains(&0) {
            return Err(wrong("needs at least one word that is not optional"));
        }
        Ok(Self { source: source.to_owned(), nodes })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a text holds it.
    pub fn is_in(&self, text: &str) -> bool {
        let words: Vec<&str> = text.split_whitespace().collect();
        let windows = (0..words.len().max(1)).step_by(WINDOW_WORDS / 2);
        windows.into_iter().any(|from| {
            let window: Vec<&str> = words.iter().skip(from).take(WINDOW_WORDS).copied().collect();
            let window = words_of(&window.join(" "));
            (0..window.len()).any(|at| !ends(&self.nodes, &window, BTreeSet::from([at])).is_empty())
        })
    }
}

/// Reads alternatives up to the closing sign, or to the end.
fn sequences(rest: &mut &str, close: Option<char>, depth: usize) -> Result<Vec<Vec<Node>>, String> {
    if depth > DEPTH_MAX {
        return Err(format!("at most {DEPTH_MAX} brackets within each other"));
    }
    let mut choices = vec![Vec::new()];
    loop {
        let text = rest.find(['(', ')', '[', ']', '|']).unwrap_or(rest.len());
        let (words, after) = rest.split_at(text);
        if let Some(last) = choices.last_mut() {
            last.extend(words_of(words).into_iter().map(Node::Word));
        }
        let mut signs = after.chars();
        let sign = signs.next();
        *rest = signs.as_str();
        let node = match sign {
            None if close.is_none() => return Ok(choices),
            None => return Err(format!("`{}` is missing", close.unwrap_or(')'))),
            Some('|') => {
                choices.push(Vec::new());
                continue;
            }
            Some('(') => Node::One(sequences(rest, Some(')'), depth + 1)?),
            Some('[') => Node::Maybe(sequences(rest, Some(']'), depth + 1)?),
            Some(sign) if close == Some(sign) => return Ok(choices),
            Some(sign) => return Err(format!("`{sign}` closes nothing")),
        };
        if let Some(last) = choices.last_mut() {
            last.push(node);
        }
    }
}

/// Where a sequence may end that begins at one of `starts`.
fn ends(nodes: &[Node], words: &[String], starts: BTreeSet<usize>) -> BTreeSet<usize> {
    let mut at = starts;
    for node in nodes {
        at = match node {
            Node::Word(word) => {
                let fits = |at: &usize| words.get(*at) == Some(word);
                at.into_iter().filter(fits).map(|at| at + 1).collect()
            }
            Node::One(choices) => {
                choices.iter().flat_map(|choice| ends(choice, words, at.clone())).collect()
            }
            Node::Maybe(choices) => {
                let mut all = at.clone();
                all.extend(choices.iter().flat_map(|choice| ends(choice, words, at.clone())));
                all
            }
        };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whatever_their_case_and_punctuation() {
        let rows = [
            ("a table for (4 | four) [people]", "Good. A table for 4, on Friday!", true),
            ("a table for (4 | four) people", "A table for four.", false),
            ("table booked", "Your table is booked.", false),
            ("[your] table is", "The TABLE is booked", true),
            ("yes | no", "Oh no.", true),
            ("cat", "concatenate", false),
            ("open at 7:30 p.m.", "We open at 7:30 p.m. today", true),
        ];
        for (pattern, text, found) in rows {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.is_in(text), found, "{pattern:?} in {text}");
        }
    }

    #[test]
    fn a_long_text_is_read_to_its_end() {
        let text = "word ".repeat(300) + "the end";
        assert!(Pattern::parse("the end").unwrap().is_in(&text));
        assert!(!Pattern::parse("the beginning").unwrap().is_in(&text));
        assert!(!Pattern::parse("x").unwrap().is_in(""));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for (pattern, reason) in [
            ("", "needs at least one word"),
            ("[maybe]", "needs at least one word"),
            ("(a | b", "`)` is missing"),
            ("a ]", "`]` closes nothing"),
            ("(((((a)))))", "within each other"),
        ] {
            let error = Pattern::parse(pattern).unwrap_err();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
    }
}
