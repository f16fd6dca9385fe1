//! What a transcript says about whether its speaker is done, and what a question asks for.
//!
//! Silence alone cannot tell a pause to think from the end of a turn. The words often can: after
//! "my number is four five" somebody is not done, after "Yes, please." they are.

use super::lexicon::{Lexicon, lexicon};

/// What the agent's last words ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing in particular, or nothing that is known to matter.
    #[default]
    Open,
    /// Yes or no.
    YesNo,
    /// Digits or letters, of this number if it is known.
    Digits(Option<u8>),
}

/// What the words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// The speaker is done.
    Complete,
    /// They say nothing about it.
    Neutral,
    /// The speaker goes on.
    Incomplete,
}

/// Words of a text in small letters, without punctuation around them.
pub(super) fn tokens(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || c == '-')
        .map(|run| {
            run.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase().replace('’', "'")
        })
        .filter(|word| !word.is_empty())
        .collect()
}

fn ends_with(tokens: &[String], phrase: &str) -> bool {
    let words: Vec<_> = phrase.split(' ').collect();
    tokens.len() >= words.len() && tokens.iter().rev().zip(words.iter().rev()).all(|(a, b)| a == b)
}

fn is_phrase(tokens: &[String], phrase: &str) -> bool {
    tokens.len() == phrase.split(' ').count() && ends_with(tokens, phrase)
}

/// Whether every word belongs to one of the phrases, which may follow one another.
fn made_of(tokens: &[String], phrases: &[&str]) -> bool {
    let mut rest = tokens;
    while !rest.is_empty() {
        let fits = |phrase: &&&str| {
            let words = phrase.split(' ').count();
            rest.get(..words).is_some_and(|head| is_phrase(head, phrase))
        };
        let longest = phrases.iter().filter(fits).max_by_key(|phrase| phrase.split(' ').count());
        let Some(phrase) = longest else { return false };
        rest = rest.get(phrase.split(' ').count()..).unwrap_or_default();
    }
    !tokens.is_empty()
}

fn is_digit_word(word: &str, words: &Lexicon) -> bool {
    word.chars().any(|c| c.is_ascii_digit()) || words.digits.contains(&word)
}

/// A single spoken letter, as in a name that is spelled.
fn is_letter(word: &str) -> bool {
    word.chars().count() == 1 && word.chars().all(char::is_alphabetic)
}

/// Digits of the words at the end that are dictated one after the other.
fn dictated(tokens: &[String], words: &Lexicon) -> usize {
    let spoken =
        tokens.iter().rev().take_while(|word| is_digit_word(word, words) || is_letter(word));
    spoken.map(|word| word.chars().filter(char::is_ascii_digit).count().max(1)).sum()
}

/// What a question asks for.
pub fn asked(question: &str, language: &str) -> Asked {
    let Some(words) = lexicon(language) else { return Asked::Open };
    // Only the last sentence is the question; what comes before it explains.
    let trimmed = question.trim_end_matches(|c: char| !c.is_alphanumeric());
    let last = trimmed.rsplit(['.', '!', '?', '\n']).next().unwrap_or_default();
    let tokens = tokens(last);
    let asks = words.asks_digits.iter().find(|(phrase, _)| {
        let span = phrase.split(' ').count();
        tokens.windows(span).any(|window| is_phrase(window, phrase))
    });
    if let Some((_, expected)) = asks {
        return Asked::Digits(*expected);
    }
    let is_question = question.trim_end().ends_with('?');
    let begins = |phrase: &&str| {
        tokens.get(..phrase.split(' ').count()).is_some_and(|head| is_phrase(head, phrase))
    };
    if is_question && words.asks_yes_no.iter().any(begins) { Asked::YesNo } else { Asked::Open }
}

/// What the words of an answer say about whether its speaker is done.
pub fn judge(text: &str, asked: Asked, language: &str) -> Completeness {
    let text = text.trim_end();
    let tokens = tokens(text);
    if tokens.is_empty() {
        return Completeness::Neutral;
    }
    let open_end = [',', ';', ':', '-', '–', '—', '…'];
    if text.ends_with(open_end) || text.ends_with("...") {
        return Completeness::Incomplete;
    }
    let stops = text.ends_with(['.', '?', '!', '。', '？', '！']);
    let Some(words) = lexicon(language) else {
        return if stops { Completeness::Complete } else { Completeness::Neutral };
    };
    if made_of(&tokens, words.complete) || words.complete.iter().any(|p| ends_with(&tokens, p)) {
        return Completeness::Complete;
    }
    if asked == Asked::YesNo && made_of(&tokens, words.yes_no) {
        return Completeness::Complete;
    }
    let run = dictated(&tokens, words);
    match asked {
        Asked::Digits(Some(expected)) if run >= usize::from(expected) => {
            return Completeness::Complete;
        }
        Asked::Digits(_) if run > 0 => return Completeness::Incomplete,
        Asked::Digits(_) | Asked::YesNo | Asked::Open => {}
    }
    // A recogniser puts a full stop wherever it is told to finish: the words know better.
    if !text.ends_with('?') && words.trailing.iter().any(|phrase| ends_with(&tokens, phrase)) {
        return Completeness::Incomplete;
    }
    // Three digits one by one are more often the beginning of a number than a whole one.
    if run >= 3 && asked == Asked::Open {
        return Completeness::Incomplete;
    }
    if stops { Completeness::Complete } else { Completeness::Neutral }
}

/// Whether these words only say that their speaker listens.
pub fn is_acknowledgement(text: &str, language: &str) -> bool {
    let tokens = tokens(text);
    lexicon(language).is_some_and(|words| made_of(&tokens, words.acknowledgements))
}

/// Whether these words ask the other side to stop, however short they are.
pub fn is_interruption(text: &str, language: &str) -> bool {
    let tokens = tokens(text);
    lexicon(language).is_some_and(|words| {
        words.interruptions.iter().any(|phrase| {
            let span = phrase.split(' ').count();
            tokens.windows(span).any(|window| is_phrase(window, phrase))
        })
    })
}

/// Whether two texts are the same but for case and punctuation.
pub fn same_words(one: &str, other: &str) -> bool {
    tokens(one) == tokens(other)
}

/// Whether the words were the agent's own, heard back through the caller's line: all of them stand in
/// what the agent said, in this order.
pub fn is_echo(text: &str, said: &str) -> bool {
    let heard = tokens(text);
    let said = tokens(said);
    // Two words may agree by chance.
    heard.len() >= 3 && said.windows(heard.len()).any(|window| window == heard)
}

#[cfg(test)]
mod tests;
