//! White space and punctuation after something was left out.

use super::text::{Text, Writer};

/// One space between words, none before punctuation, nothing that opens and closes on nothing.
pub(super) fn tidy(text: &Text) -> Text {
    let chars = text.chars();
    let mut out = Writer::new(text);
    let mut at = 0;
    let mut space = false;
    while let Some(&c) = chars.get(at) {
        let end = at + 1;
        if c.is_whitespace() {
            space = true;
            at = end;
            continue;
        }
        let next = chars.get(end);
        let closes_word =
            is_pause(c) && next.is_none_or(|next| next.is_whitespace() || is_pause(*next));
        let begins = out.last().is_none();
        // A pause at the beginning, or a second one, pauses for nothing.
        let idle =
            (begins && (is_pause(c) || is_dash(c)) && next.is_none_or(|next| next.is_whitespace()))
                || (begins && matches!(c, ',' | ';'))
                || (matches!(c, ',' | ';') && matches!(out.last(), Some(',' | ';' | ':')));
        if idle {
            at = end;
            continue;
        }
        if let Some(close) = empty_pair(chars, at) {
            at = close;
            continue;
        }
        if space && !begins && !closes_word {
            out.put(at, at, " ");
        }
        space = false;
        out.keep(at, end);
        at = end;
    }
    out.finish()
}

fn is_pause(c: char) -> bool {
    matches!(c, ',' | '.' | ';' | ':' | '!' | '?')
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '–' | '—')
}

/// The end of brackets with nothing in them.
fn empty_pair(chars: &[char], at: usize) -> Option<usize> {
    let close = match chars.get(at)? {
        '(' => ')',
        '"' => '"',
        '„' => '“',
        '“' => '”',
        _ => return None,
    };
    let spaces = chars.iter().skip(at + 1).take_while(|c| c.is_whitespace()).count();
    let end = at + 1 + spaces;
    (chars.get(end) == Some(&close)).then_some(end + 1)
}
