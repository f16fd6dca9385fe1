//! E-mail addresses and web addresses: found, and spoken sign by sign.

use super::emoji::is_emoji;
use super::lexicon::Lexicon;

/// Longest address that is looked for: RFC 5321 allows an e-mail address 254 characters.
const ADDRESS_CHARS_MAX: usize = 254;

/// Last labels of host names that are written without `https://` or `www.`: those of a telephone conversation.
const TOP_LEVELS: &[&str] = &[
    "com", "org", "net", "edu", "gov", "info", "biz", "io", "ai", "app", "dev", "co", "eu", "de",
    "at", "ch", "uk", "us", "fr", "nl", "be", "es", "it", "pl", "ca", "au", "tv", "shop", "online",
    "cloud", "berlin",
];

/// The end of the address that begins at `at`, if one does.
pub(super) fn end_of(chars: &[char], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).and_then(|before| chars.get(before));
    if before.is_some_and(|c| {
        c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-' | '@' | '/')
    }) {
        return None;
    }
    let rest = chars.get(at..)?;
    let rest = rest.get(..rest.len().min(ADDRESS_CHARS_MAX)).unwrap_or(rest);
    let length = email(rest).or_else(|| url(rest))?;
    Some(at + length)
}

fn run(chars: &[char], is_part: impl Fn(char) -> bool) -> usize {
    chars.iter().take_while(|c| is_part(**c)).count()
}

fn email(rest: &[char]) -> Option<usize> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-');
    let local = run(rest, part);
    if !rest.first()?.is_ascii_alphanumeric() || rest.get(local) != Some(&'@') {
        return None;
    }
    let host = host(rest.get(local + 1..)?)?;
    Some(local + 1 + host)
}

/// Length of a host name with at least one dot whose last label has two letters or more.
fn host(rest: &[char]) -> Option<usize> {
    let all = run(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    let mut end = all;
    while end > 0 && matches!(rest.get(end - 1), Some('.' | '-')) {
        end -= 1;
    }
    let host = rest.get(..end)?;
    let mut labels = host.split(|c| *c == '.');
    let last = labels.next_back()?;
    let whole = labels.next().is_some() && host.split(|c| *c == '.').all(|label| !label.is_empty());
    (whole && last.len() >= 2 && last.iter().all(char::is_ascii_alphabetic)).then_some(end)
}

fn url(rest: &[char]) -> Option<usize> {
    let starts = |with: &str| {
        let mut own = rest.iter().map(char::to_ascii_lowercase);
        with.chars().all(|c| own.next() == Some(c))
    };
    let scheme = ["https://", "http://", "www."].into_iter().find(|with| starts(with));
    let path = |c: char| {
        !c.is_whitespace()
            && !c.is_control()
            && !is_emoji(c)
            && !matches!(c, '<' | '>' | '"' | '`' | '|' | '{' | '}' | '[' | ']' | '*')
    };
    let end = match scheme {
        Some(scheme) => {
            let first = rest.get(scheme.len())?;
            first.is_ascii_alphanumeric().then(|| run(rest, path))?
        }
        None => {
            let end = host(rest)?;
            let label: String = rest.get(..end)?.rsplit(|c| *c == '.').next()?.iter().collect();
            if !TOP_LEVELS.contains(&label.to_ascii_lowercase().as_str()) {
                return None;
            }
            match rest.get(end) {
                Some('/') => end + run(rest.get(end..)?, path),
                Some(c) if c.is_alphanumeric() || matches!(c, '@' | '_') => return None,
                _ => end,
            }
        }
    };
    let mut end = end;
    let closes = |c: &char| !c.is_alphanumeric() && !matches!(c, '/' | '=' | '%');
    while end > 0 && rest.get(end - 1).is_some_and(closes) {
        end -= 1;
    }
    (end > 0).then_some(end)
}

/// How an address is said.
pub(super) fn words(address: &[char], lexicon: &Lexicon) -> String {
    let text: String = address.iter().collect();
    let lower = text.to_ascii_lowercase();
    let scheme = ["https://", "http://"].into_iter().find(|scheme| lower.starts_with(scheme));
    let text = text.get(scheme.map_or(0, str::len)..).unwrap_or_default();
    let text = text.strip_suffix('/').unwrap_or(text);
    let mut out: Vec<String> = Vec::new();
    let mut letters = String::new();
    for c in text.chars() {
        if c.is_alphabetic() {
            letters.push(c);
            continue;
        }
        if !letters.is_empty() {
            out.push(std::mem::take(&mut letters));
        }
        match c.to_digit(10) {
            Some(digit) => out.push(lexicon.digit(digit).to_owned()),
            None => out.extend(lexicon.sign(c).map(str::to_owned)),
        }
    }
    out.push(letters);
    out.retain(|word| !word.is_empty());
    out.join(" ")
}
