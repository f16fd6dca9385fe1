//! A copy of a message that may be kept and shown: what would let its reader in is written over, octet by octet, so
//! that every length in it stays true.
//!
//! Always: proofs of digest credentials, other credentials whole, passwords in URIs, keys of SRTP. Unless personal
//! data may be shown: user parts of URIs but for the last three digits of a number, display names, what callers carry
//! along, keys pressed. What is left is enough to see who sent what, and how it wrote its numbers.

/// What stands in the place of an octet.
const MARK: u8 = b'x';
/// Digits of a number that stay.
const DIGITS_SHOWN: usize = 3;
/// From this many digits on a user part is a number.
const NUMBER_DIGITS_MIN: usize = 5;
/// Digits in a row that may be a number, in headers nobody standardised.
const RUN_DIGITS_MIN: usize = 7;

/// Whether personal data is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personal {
    /// As it came.
    Shown,
    /// Written over.
    Veiled,
}

/// The copy.
pub fn veil(message: &[u8], personal: Personal) -> Vec<u8> {
    let mut copy = message.to_vec();
    let body_at = head_end(message);
    let (head, body) = copy.split_at_mut(body_at.min(message.len()));
    let mut is_dtmf = false;
    let mut rest = head;
    let mut first = true;
    while !rest.is_empty() {
        let end = header_end(rest);
        let (header, after) = rest.split_at_mut(end);
        if first {
            uris(header, personal);
        } else {
            is_dtmf |= one_header(header, personal);
        }
        first = false;
        rest = after;
    }
    for line in body.split_mut(|octet| *octet == b'\n') {
        body_line(line, personal);
        if is_dtmf && personal == Personal::Veiled {
            keys(line);
        }
    }
    copy
}

/// Where the body begins.
fn head_end(message: &[u8]) -> usize {
    let crlf = message.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let lf = message.windows(2).position(|two| two == b"\n\n").map(|at| at + 2);
    crlf.into_iter().chain(lf).min().unwrap_or(message.len())
}

/// Octets of the first header with its folded lines.
fn header_end(head: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = head.get(at..).unwrap_or_default();
        let Some(line) = rest.iter().position(|octet| *octet == b'\n') else { return head.len() };
        at += line + 1;
        let folded = head.get(at).is_some_and(|octet| matches!(octet, b' ' | b'\t'));
        if !folded {
            return at;
        }
    }
}

/// Writes over what one header must not show; says whether it tells of keys in the body.
fn one_header(header: &mut [u8], personal: Personal) -> bool {
    let Some(colon) = header.iter().position(|octet| *octet == b':') else {
        mark_all(header);
        return false;
    };
    let (name, value) = header.split_at_mut(colon);
    let name = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
    let Some((_, value)) = value.split_first_mut() else { return false };
    match name.as_str() {
        "authorization" | "proxy-authorization" => credentials(value),
        "authentication-info" | "proxy-authentication-info" => parameter(value, b"rspauth"),
        "www-authenticate" | "proxy-authenticate" => {}
        _ if ["token", "secret", "password", "api-key", "cookie"]
            .iter()
            .any(|word| name.contains(word)) =>
        {
            mark_all(value);
        }
        _ => {}
    }
    uris(value, personal);
    if personal == Personal::Veiled {
        match name.as_str() {
            "user-to-user" | "identity" | "y" | "subject" | "s" => mark_all(value),
            "from"
            | "f"
            | "to"
            | "t"
            | "contact"
            | "m"
            | "p-asserted-identity"
            | "p-preferred-identity"
            | "remote-party-id"
            | "diversion"
            | "history-info"
            | "refer-to"
            | "r"
            | "referred-by"
            | "b"
            | "reply-to"
            | "p-called-party-id" => {
                display_names(value);
            }
            _ if name.starts_with("x-") || name.starts_with("p-") => digit_runs(value),
            _ => {}
        }
    }
    let is_type = name == "content-type" || name == "c";
    is_type && String::from_utf8_lossy(value).to_ascii_lowercase().contains("dtmf")
}

/// Everything but blanks and line ends.
fn mark_all(value: &mut [u8]) {
    for octet in value.iter_mut().filter(|octet| !octet.is_ascii_whitespace()) {
        *octet = MARK;
    }
}

/// A digest loses its proof, any other scheme everything after its name.
fn credentials(value: &mut [u8]) {
    let begin = value.iter().position(|octet| !octet.is_ascii_whitespace()).unwrap_or(0);
    let scheme_len = value
        .get(begin..)
        .unwrap_or_default()
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at_mut((begin + scheme_len).min(value.len()));
    if scheme.trim_ascii().eq_ignore_ascii_case(b"digest") {
        parameter(rest, b"response");
        parameter(rest, b"cnonce");
    } else {
        mark_all(rest);
    }
}

/// The values of a parameter, wherever it stands.
fn parameter(value: &mut [u8], name: &[u8]) {
    let mut at = 0;
    while let Some(found) = find(value, name, at) {
        at = found + name.len();
        let before = found.checked_sub(1).and_then(|before| value.get(before)).copied();
        if before.is_some_and(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
            continue;
        }
        let mut next = skip_blanks(value, at);
        if value.get(next) != Some(&b'=') {
            continue;
        }
        next = skip_blanks(value, next + 1);
        let quoted = value.get(next) == Some(&b'"');
        next += usize::from(quoted);
        while let Some(octet) = value.get_mut(next) {
            let is_end =
                if quoted { *octet == b'"' } else { *octet == b',' || octet.is_ascii_whitespace() };
            if is_end {
                break;
            }
            *octet = MARK;
            next += 1;
        }
        at = next;
    }
}

fn skip_blanks(value: &[u8], from: usize) -> usize {
    let rest = value.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|octet| octet.is_ascii_whitespace()).count()
}

/// Where `word` stands next, in any case.
fn find(text: &[u8], word: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let at = rest.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))?;
    Some(from + at)
}

/// User parts and passwords of every SIP and tel URI.
fn uris(text: &mut [u8], personal: Personal) {
    for scheme in [&b"sip:"[..], b"sips:", b"tel:"] {
        let mut at = 0;
        while let Some(found) = find(text, scheme, at) {
            at = found + scheme.len();
            let before = found.checked_sub(1).and_then(|before| text.get(before)).copied();
            if before.is_some_and(|octet| octet.is_ascii_alphanumeric()) {
                continue;
            }
            let rest = text.get_mut(at..).unwrap_or_default();
            let len = rest
                .iter()
                .position(|octet| octet.is_ascii_whitespace() || b"<>\"".contains(octet))
                .unwrap_or(rest.len());
            let rest = rest.get_mut(..len).unwrap_or_default();
            // Once over everything: a line of nothing but schemes must not cost its square.
            at += len;
            if scheme == b"tel:" {
                let end = rest.iter().position(|octet| b";,?".contains(octet)).unwrap_or(len);
                user(rest.get_mut(..end).unwrap_or_default(), personal);
            } else if let Some(end) = rest.iter().position(|octet| *octet == b'@') {
                let info = rest.get_mut(..end).unwrap_or_default();
                let name_len = info.iter().position(|octet| *octet == b':').unwrap_or(end);
                let (name, password) = info.split_at_mut(name_len);
                user(name, personal);
                if let Some((_, password)) = password.split_first_mut() {
                    mark_all(password);
                }
            }
        }
    }
}

/// A user part: of a number the last digits stay, of a name nothing but its length.
fn user(name: &mut [u8], personal: Personal) {
    if personal == Personal::Shown {
        return;
    }
    let end = name.iter().position(|octet| *octet == b';').unwrap_or(name.len());
    let name = name.get_mut(..end).unwrap_or_default();
    let digits = name.iter().filter(|octet| octet.is_ascii_digit()).count();
    let mut shown = if digits >= NUMBER_DIGITS_MIN { DIGITS_SHOWN } else { 0 };
    for octet in name.iter_mut().rev() {
        if octet.is_ascii_digit() && shown > 0 {
            shown -= 1;
        } else if octet.is_ascii_alphanumeric() || !octet.is_ascii() {
            *octet = MARK;
        }
    }
}

/// Names before `<`, quoted or not.
fn display_names(value: &mut [u8]) {
    // Between an opening `<` and its `>` there is no name, nor in the parameters after it.
    let mut from = 0;
    while let Some(angle) = value.get(from..).and_then(|rest| rest.iter().position(|o| *o == b'<'))
    {
        let name = value.get_mut(from..from + angle).unwrap_or_default();
        let begin = name.iter().rposition(|octet| *octet == b',').filter(|_| {
            // A comma within quotes belongs to the name.
            !name.contains(&b'"')
        });
        for octet in name.iter_mut().skip(begin.map_or(0, |comma| comma + 1)) {
            if octet.is_ascii_alphanumeric() || !octet.is_ascii() {
                *octet = MARK;
            }
        }
        let rest = value.get(from + angle..).unwrap_or_default();
        let Some(close) = rest.iter().position(|octet| *octet == b'>') else { return };
        from += angle + close;
        // Parameters up to the comma before the next name.
        let rest = value.get(from..).unwrap_or_default();
        let Some(comma) = rest.iter().position(|octet| *octet == b',') else { return };
        from += comma + 1;
    }
}

/// Long runs of digits but for the last ones.
fn digit_runs(value: &mut [u8]) {
    for run in value.split_mut(|octet| !octet.is_ascii_digit()) {
        if run.len() >= RUN_DIGITS_MIN {
            let end = run.len() - DIGITS_SHOWN;
            mark_all(run.get_mut(..end).unwrap_or_default());
        }
    }
}

/// A line of a body: SDP, or what may hold URIs.
fn body_line(line: &mut [u8], personal: Personal) {
    let starts = |with: &[u8]| line.get(..with.len()).is_some_and(|s| s.eq_ignore_ascii_case(with));
    if starts(b"a=crypto:") {
        let mut at = 0;
        while let Some(found) = find(line, b"inline:", at) {
            at = found + b"inline:".len();
            for octet in line.iter_mut().skip(at) {
                if b"|;".contains(octet) || octet.is_ascii_whitespace() {
                    break;
                }
                *octet = MARK;
            }
        }
    } else if starts(b"k=") || starts(b"a=ice-pwd:") || starts(b"a=key-mgmt:") {
        let from = line.iter().position(|octet| *octet == b':').map_or(2, |colon| colon + 1);
        mark_all(line.get_mut(from..).unwrap_or_default());
    } else if starts(b"p=") || starts(b"e=") {
        if personal == Personal::Veiled {
            mark_all(line.get_mut(2..).unwrap_or_default());
        }
    } else {
        uris(line, personal);
    }
}

/// Keys in a body of INFO: `Signal=5`, or the key alone.
fn keys(line: &mut [u8]) {
    let sign = line.iter().position(|octet| matches!(octet, b'=' | b':'));
    let is_signal = line.get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"signal"));
    match sign {
        Some(sign) if is_signal => mark_all(line.get_mut(sign + 1..).unwrap_or_default()),
        Some(_) => {}
        None => mark_all(line),
    }
}

#[cfg(test)]
mod tests;
