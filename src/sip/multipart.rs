//! Bodies of several parts (RFC 5621): the SDP among them is what we read. Gateways put ISUP or a location beside it.

use bytes::Bytes;

use super::header::{Tagged, unquote};
use super::lex;
use super::msg::{HeaderName, Headers};

/// Parts looked at: gateways send two or three.
const PARTS_MAX: usize = 8;
/// Longest boundary (RFC 2046 section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Leaves the SDP of a body of several parts, if it has one and no other part must be understood.
pub(super) fn unwrap(headers: &mut Headers, body: &mut Bytes) {
    let Some(sdp) = description(headers, body) else { return };
    headers.set(HeaderName::ContentType, "application/sdp");
    headers.remove(HeaderName::ContentDisposition);
    *body = body.slice_ref(sdp);
}

fn description<'a>(headers: &Headers, body: &'a Bytes) -> Option<&'a [u8]> {
    let kind = Tagged::parse(headers.get(HeaderName::ContentType)?)?;
    let (family, _) = kind.value.split_once('/')?;
    if !family.eq_ignore_ascii_case("multipart") {
        return None;
    }
    let boundary = unquote(kind.params.get("boundary")?);
    if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
        return None;
    }
    let delimiter = format!("--{boundary}").into_bytes();
    let mut found = None;
    // What stands before the first delimiter is no part.
    let (_, mut rest) = cut(body, &delimiter)?;
    for _ in 0..PARTS_MAX {
        if rest.is_empty() || rest.starts_with(b"--") {
            break;
        }
        let (part, after) = cut(rest, &delimiter).unwrap_or((rest, b"--"));
        let (kind, disposition, content) = read(part)?;
        if kind.eq_ignore_ascii_case("application/sdp") {
            found.get_or_insert(content);
        } else if disposition.to_ascii_lowercase().contains("handling=required") {
            return None;
        }
        rest = after;
    }
    found
}

/// What stands before a delimiter at the beginning of a line, and after it.
fn cut<'a>(text: &'a [u8], delimiter: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let begins = |at: usize| at == 0 || text.get(at - 1) == Some(&b'\n');
    let at = (0..text.len())
        .filter(|at| begins(*at))
        .find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(delimiter)))?;
    Some((text.get(..at)?, text.get(at + delimiter.len()..)?))
}

/// Content-Type without parameters, Content-Disposition, and content without the line break that is the delimiter's.
fn read(part: &[u8]) -> Option<(String, String, &[u8])> {
    let (mut kind, mut disposition) = (String::new(), String::new());
    // The rest of the delimiter's line.
    let (_, mut rest) = lex::split_once(part, b'\n')?;
    while let Some((line, after)) = lex::split_once(rest, b'\n') {
        rest = after;
        let line = lex::trim(line);
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = lex::split_once(line, b':') else { continue };
        let value = String::from_utf8_lossy(lex::trim(value)).into_owned();
        let name = lex::trim(name);
        if name.eq_ignore_ascii_case(b"Content-Type") || name.eq_ignore_ascii_case(b"c") {
            kind = value.split(';').next().unwrap_or_default().trim().to_owned();
        } else if name.eq_ignore_ascii_case(b"Content-Disposition") {
            disposition = value;
        }
    }
    let content = rest.strip_suffix(b"\n").unwrap_or(rest);
    Some((kind, disposition, content.strip_suffix(b"\r").unwrap_or(content)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn left(kind: &str, body: &str) -> (String, String) {
        let mut headers = Headers::new();
        headers.push(HeaderName::ContentType, kind.to_owned());
        let mut body = Bytes::from(body.to_owned());
        unwrap(&mut headers, &mut body);
        let kind = headers.text(HeaderName::ContentType).unwrap().to_owned();
        (kind, String::from_utf8(body.to_vec()).unwrap())
    }

    const ISUP: &str = "Content-Type: application/ISUP;version=itu-t92+\r\n\
                        Content-Disposition: signal;handling=optional\r\n\r\n\u{1}\u{0}x\r\n";
    const SDP: &str = "content-type : application/sdp\r\n\r\nv=0\r\ns=-\r\n\r\n";

    #[test]
    fn the_description_among_several_parts_is_the_body() {
        let expected = ("application/sdp".to_owned(), "v=0\r\ns=-\r\n".to_owned());
        for parts in [
            format!("--b\r\n{ISUP}--b\r\n{SDP}--b--\r\n"),
            format!("preamble\r\n--b \r\n{SDP}--b\r\n{ISUP}--b--"),
            format!("--b\r\n{SDP}--b"),
        ] {
            assert_eq!(left("multipart/mixed;boundary=\"b\"", &parts), expected, "{parts}");
        }
    }

    #[test]
    fn what_cannot_be_taken_apart_stays_as_it_is() {
        let required = ISUP.replace("optional", "required");
        for (kind, body) in [
            ("multipart/mixed", format!("--b\r\n{SDP}--b--\r\n")),
            ("multipart/mixed;boundary=b", format!("--b\r\n{ISUP}--b--\r\n")),
            ("multipart/mixed;boundary=b", format!("--b\r\n{required}--b\r\n{SDP}--b--\r\n")),
            ("multipart/mixed;boundary=b", "--b".to_owned()),
            ("multipart/mixed;boundary=b", format!("x--b\r\n{SDP}")),
            ("text/plain;boundary=b", format!("--b\r\n{SDP}--b--\r\n")),
            (
                "multipart/mixed;boundary=b",
                format!("--b\r\n{}{SDP}", format!("{ISUP}--b\r\n").repeat(9)),
            ),
        ] {
            assert_eq!(left(kind, &body), (kind.to_owned(), body.clone()));
        }
    }
}
