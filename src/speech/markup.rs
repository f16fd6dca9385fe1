//! What is meant for eyes and not for ears: Markdown, tags, emoji, control characters.
//!
//! Works on single sentences, which may begin or end in the middle of an emphasis: a mark needs no partner.

use super::address;
use super::emoji::is_emoji;
use super::text::{Text, Writer};

/// Longest tag and longest target of a link, characters: beyond, its first character alone is left out.
const MARK_CHARS_MAX: usize = 300;

const EMOTICONS: &[&str] =
    &[":-)", ":-(", ";-)", ":-D", ":-P", ":)", ":(", ";)", ":D", ":P", "xD", "<3"];

const ENTITIES: &[(&str, &str)] = &[
    ("&nbsp;", " "),
    ("&amp;", "&"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#39;", "'"),
    ("&apos;", "'"),
];

/// Removes it. `signs`: whether a later step says `<`, `>`, `#`, `~` and the like where they mean something.
pub(super) fn strip(text: &Text, signs: Signs) -> Text {
    let mut stripper = Stripper {
        chars: text.chars(),
        out: Writer::new(text),
        at: 0,
        is_line_start: true,
        is_table: false,
        links: 0,
        signs,
    };
    while stripper.at < stripper.chars.len() {
        stripper.step();
    }
    stripper.out.finish()
}

/// What becomes of signs that some texts mean to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Signs {
    /// A later step says them.
    Said,
    /// Nobody would.
    Dropped,
}

struct Stripper<'a> {
    chars: &'a [char],
    out: Writer<'a>,
    at: usize,
    is_line_start: bool,
    is_table: bool,
    /// Links whose text is being read.
    links: u32,
    signs: Signs,
}

impl Stripper<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn before(&self) -> Option<char> {
        self.at.checked_sub(1).and_then(|before| self.chars.get(before)).copied()
    }

    fn starts(&self, with: &str) -> bool {
        (0..).zip(with.chars()).all(|(ahead, c)| self.peek(ahead) == Some(c))
    }

    fn keep(&mut self, length: usize) {
        self.out.keep(self.at, self.at + length);
        self.at += length;
    }

    fn put(&mut self, length: usize, words: &str) {
        self.out.put(self.at, self.at + length, words);
        self.at += length;
    }

    fn step(&mut self) {
        if self.is_line_start {
            self.line_start();
            self.is_line_start = false;
            return;
        }
        let Some(c) = self.peek(0) else { return };
        if let Some(end) = address::end_of(self.chars, self.at) {
            self.keep(end - self.at);
            return;
        }
        if let Some(face) = self.emoticon() {
            self.at += face;
            return;
        }
        if let Some((entity, meant)) =
            ENTITIES.iter().find(|(entity, _)| c == '&' && self.starts(entity))
        {
            self.put(entity.len(), meant);
            return;
        }
        match c {
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => {
                self.is_line_start = true;
                self.is_table = false;
                self.put(1, " ");
            }
            '\\' => self.backslash(),
            '`' | '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}' | '\u{feff}' => {
                self.at += 1
            }
            // They join letters of some scripts, and pictures.
            '\u{200c}' | '\u{200d}' if self.joins_letters() => self.keep(1),
            '\u{200c}' | '\u{200d}' => self.at += 1,
            '*' => self.star(),
            '_' => self.between_words(" "),
            '[' | ']' | '!' => self.link(c),
            '<' | '>' => self.angle(c),
            '|' => self.bar(),
            '#' | '~' | '^' => self.sign(c),
            '{' | '}' => self.put(1, " "),
            '→' | '⇒' | '•' | '·' | '▪' | '●' | '■' => self.put(1, ", "),
            '\u{a0}' | '\u{2009}' | '\u{202f}' | '\u{2007}' | '\'' | '’' if self.is_group() => {
                self.at += 1
            }
            c if c.is_whitespace() => self.put(1, " "),
            c if c.is_control() || is_emoji(c) || is_private(c) => self.at += 1,
            _ => self.keep(1),
        }
    }

    fn joins_letters(&self) -> bool {
        let mark =
            self.before().is_some_and(|c| !c.is_ascii() && !c.is_whitespace() && !is_emoji(c));
        mark && self.peek(1).is_some_and(char::is_alphabetic)
    }

    /// What a line begins with: headings, quotations, bullets, fences, rules, tables.
    fn line_start(&mut self) {
        loop {
            let spaces =
                self.chars.iter().skip(self.at).take_while(|c| matches!(c, ' ' | '\t')).count();
            self.at += spaces;
            let line = self.chars.get(self.at..).unwrap_or_default();
            let line = line.split(|c| *c == '\n').next().unwrap_or_default();
            let rule =
                |c: &char| matches!(c, '-' | '*' | '_' | '=' | '|' | ':' | ' ' | '\t' | '\r');
            let marks = line.iter().filter(|c| !c.is_whitespace()).count();
            if marks >= 3 && line.iter().all(rule) {
                self.at += line.len();
                return;
            }
            if self.starts("```") || self.starts("~~~") {
                self.at += line.len();
                return;
            }
            let hashes = line.iter().take_while(|c| **c == '#').count();
            let is_space = |at: usize| line.get(at).is_none_or(|c| c.is_whitespace());
            let first = line.first().copied();
            let mark = match first {
                Some('#') if hashes <= 6 && is_space(hashes) => hashes,
                Some('>' | '-' | '*' | '+' | '•' | '‣' | '◦' | '–' | '▪' | '●' | '·')
                    if is_space(1) =>
                {
                    1
                }
                Some('[')
                    if matches!(line.get(1), Some(' ' | 'x' | 'X'))
                        && line.get(2) == Some(&']') =>
                {
                    3
                }
                Some('|') => {
                    self.is_table = true;
                    1
                }
                _ => 0,
            };
            if mark == 0 {
                return;
            }
            self.at += mark;
        }
    }

    fn emoticon(&self) -> Option<usize> {
        let free = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        if !free(self.before()) {
            return None;
        }
        let own = EMOTICONS.iter().find(|own| self.starts(own) && free(self.peek(own.len())))?;
        // "wait <3 minutes" is no heart.
        let quantity = *own == "<3" && self.peek(own.len()).is_some_and(|c| c.is_whitespace());
        (!quantity).then_some(own.len())
    }

    fn backslash(&mut self) {
        match self.peek(1) {
            Some(next)
                if next.is_ascii_punctuation() && !matches!(next, '*' | '_' | '`' | '#' | '\\') =>
            {
                self.at += 1
            }
            Some(next) if next.is_ascii_punctuation() => self.at += 2,
            _ => self.put(1, " "),
        }
    }

    fn star(&mut self) {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let tight = digit(self.before()) && digit(self.peek(1));
        let wide = self.before() == Some(' ')
            && self.peek(1) == Some(' ')
            && digit(self.peek(2))
            && digit(self.at.checked_sub(2).and_then(|at| self.chars.get(at)).copied());
        if (tight || wide) && self.signs == Signs::Said {
            self.put(1, "×");
        } else {
            self.at += 1;
        }
    }

    /// A mark between letters parts words; elsewhere it is left out.
    fn between_words(&mut self, instead: &str) {
        let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        if letter(self.before()) && letter(self.peek(1)) {
            self.put(1, instead);
        } else {
            self.at += 1;
        }
    }

    fn link(&mut self, c: char) {
        match c {
            '!' if self.peek(1) == Some('[') => self.at += 1,
            '!' => self.keep(1),
            '[' if self.peek(1) == Some('^') => {
                let note = self.find(']').map_or(1, |length| length + 1);
                self.at += note;
            }
            '[' => {
                self.links = self.links.saturating_add(1);
                self.at += 1;
            }
            _ if self.links == 0 => self.at += 1,
            _ => {
                self.links -= 1;
                self.at += 1;
                match self.peek(0) {
                    Some('(') => {
                        self.at += self.find(')').map_or_else(|| self.word(), |length| length + 1)
                    }
                    Some('[') => self.at += self.find(']').map_or(1, |length| length + 1),
                    _ => {}
                }
            }
        }
    }

    /// Distance to a character that is not too far.
    fn find(&self, wanted: char) -> Option<usize> {
        let rest = self.chars.get(self.at..)?;
        rest.iter().take(MARK_CHARS_MAX).take_while(|c| **c != '\n').position(|c| *c == wanted)
    }

    /// Length of what stands here without white space.
    fn word(&self) -> usize {
        self.chars.iter().skip(self.at).take_while(|c| !c.is_whitespace()).count()
    }

    fn angle(&mut self, c: char) {
        let begins_tag = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?');
        if c == '<' && self.peek(1).is_some_and(begins_tag) {
            let Some(length) = self.find('>') else {
                self.at += 1;
                return;
            };
            let inner = self.chars.get(self.at + 1..self.at + length).unwrap_or_default();
            let is_address = inner.iter().all(|c| !c.is_whitespace())
                && address::end_of(inner, 0) == Some(inner.len());
            if is_address {
                self.at += 1;
            } else {
                self.put(length + 1, " ");
            }
            return;
        }
        let spaced = self.peek(1).is_some_and(|c| c == ' ' || c == '=' || c.is_ascii_digit());
        let arrow = c == '>' && matches!(self.before(), Some('-' | '='));
        if self.signs == Signs::Said && spaced && !arrow {
            self.keep(1);
        } else {
            self.put(1, " ");
        }
    }

    fn bar(&mut self) {
        let rest = self.chars.get(self.at + 1..).unwrap_or_default();
        let is_last = rest.iter().take_while(|c| **c != '\n').all(|c| c.is_whitespace());
        if self.is_table && !is_last {
            self.put(1, ", ");
        } else {
            self.put(1, " ");
        }
    }

    fn sign(&mut self, c: char) {
        let digit = self.peek(1).is_some_and(|c| c.is_ascii_digit());
        let beside = self.before().is_some_and(char::is_alphanumeric);
        match c {
            '#' if matches!(self.before(), Some('C' | 'F'))
                && !self.peek(1).is_some_and(char::is_alphanumeric) =>
            {
                self.put(1, " sharp");
            }
            '#' | '~' if digit && !beside && self.signs == Signs::Said => self.keep(1),
            _ => self.between_words(" "),
        }
    }

    /// Whether this parts the thousands of a number: `1 000`, `1'000`.
    fn is_group(&self) -> bool {
        let digit = |ahead: usize| self.peek(ahead).is_some_and(|c| c.is_ascii_digit());
        self.before().is_some_and(|c| c.is_ascii_digit())
            && digit(1)
            && digit(2)
            && digit(3)
            && !digit(4)
            && self.signs == Signs::Said
    }
}

fn is_private(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' | '\u{f0000}'..='\u{10ffff}' | '\u{e0000}'..='\u{e007f}')
}
