//! Which characters are pictures, by the tables of Unicode.

use unicode_properties::{EmojiStatus, UnicodeEmoji};

/// Whether a character is a picture or part of one.
pub(super) fn is_emoji(c: char) -> bool {
    // Digits, `#` and `*` begin keycaps; ©, ® and ™ are text to everybody.
    if c.is_ascii() || matches!(c, '©' | '®' | '™' | '‼' | '⁉') {
        return false;
    }
    match c.emoji_status() {
        EmojiStatus::NonEmoji | EmojiStatus::NonEmojiButEmojiComponent => is_component(c),
        _ => !matches!(c, '↔' | '↕' | '→' | '←' | 'ℹ'),
    }
}

/// Joiners, variation selectors, enclosing keycap, tags, skin tones and flag letters.
fn is_component(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{20e3}' | '\u{e0000}'..='\u{e007f}' | '\u{1f1e6}'..='\u{1f1ff}' | '\u{1f3fb}'..='\u{1f3ff}')
}
