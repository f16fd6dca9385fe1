//! The smallest pieces of SIP's grammar (RFC 3261 section 25.1): octet classes, numbers, escapes.

use bytes::Bytes;

/// Letters, digits and the signs a token may hold.
pub(in crate::sip) fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&octet)
}

/// Space and tab.
pub(in crate::sip) fn is_blank(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}

/// Whether every octet is one of a token's and there is at least one.
pub(in crate::sip) fn token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|octet| is_token(*octet))
}

/// Without spaces, tabs and line ends on both sides.
pub(in crate::sip) fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// A decimal number below 2^32 with nothing around it.
pub(in crate::sip) fn number(text: &[u8]) -> Option<u32> {
    let text = trim(text);
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter().try_fold(0_u32, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u32::from(digit.saturating_sub(b'0')))
    })
}

/// Octets as text, if they are UTF-8.
pub(in crate::sip) fn text(octets: &[u8]) -> Option<&str> {
    std::str::from_utf8(octets).ok()
}

/// Splits at the first `at`.
pub(in crate::sip) fn split_once(octets: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = octets.iter().position(|octet| *octet == at)?;
    Some((octets.get(..position)?, octets.get(position + 1..)?))
}

/// The value with CR, LF and NUL replaced by spaces and without blanks around it.
pub(in crate::sip) fn single_line(value: Bytes) -> Bytes {
    let bad = |octet: &u8| matches!(octet, b'\r' | b'\n' | 0);
    if value.iter().any(bad) {
        let clean: Vec<u8> =
            value.iter().map(|octet| if bad(octet) { b' ' } else { *octet }).collect();
        return Bytes::copy_from_slice(trim(&clean));
    }
    let trimmed = trim(&value);
    if trimmed.len() == value.len() { value } else { value.slice_ref(trimmed) }
}

/// Undoes `%XX` escapes; a stray `%` stays. The result may be any octets.
pub(in crate::sip) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |octet: Option<&u8>| octet.and_then(|octet| char::from(*octet).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (*first, hex(tail.first()), hex(tail.get(1))) {
            out.push((high * 16 + low) as u8);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// Whether every `%` begins an escape of two hexadecimal digits.
pub(in crate::sip) fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        after.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    })
}
