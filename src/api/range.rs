//! One byte range of a representation (RFC 9110 section 14). Pure.

/// What a `Range` header asks of a representation of a known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// All of it. Also for units, syntax and lists of ranges that are not served: the RFC lets a
    /// server ignore them.
    Whole,
    /// From the first byte to the last, inclusive.
    Part(u64, u64),
    /// Nothing that exists.
    Unsatisfiable,
}

/// Reads a `Range` header.
pub(super) fn read(header: Option<&str>, length: u64) -> Span {
    header.and_then(|text| part(text, length)).unwrap_or(Span::Whole)
}

fn part(text: &str, length: u64) -> Option<Span> {
    let (unit, range) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let end = length.checked_sub(1);
    match (number(first), number(last)) {
        (Some(first), last) if !first_is_wrong(last, first) && (last.is_some() || empty(range)) => {
            let Some(end) = end.filter(|end| first <= *end) else {
                return Some(Span::Unsatisfiable);
            };
            Some(Span::Part(first, last.map_or(end, |last| last.min(end))))
        }
        (None, Some(suffix)) if range.trim().starts_with('-') => match end {
            Some(end) if suffix > 0 => Some(Span::Part(length.saturating_sub(suffix), end)),
            _ => Some(Span::Unsatisfiable),
        },
        _ => None,
    }
}

fn first_is_wrong(last: Option<u64>, first: u64) -> bool {
    last.is_some_and(|last| last < first)
}

/// Whether a range ends with its dash.
fn empty(range: &str) -> bool {
    range.trim().ends_with('-')
}

/// Digits only: `parse` alone would take a sign. A number beyond 64 bits is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_the_rfc_gives_them() {
        let table = [
            (None, Span::Whole),
            (Some("bytes=0-499"), Span::Part(0, 499)),
            (Some("bytes=500-999"), Span::Part(500, 999)),
            (Some("bytes=-500"), Span::Part(500, 999)),
            (Some("bytes=-5000"), Span::Part(0, 999)),
            (Some("bytes=990-"), Span::Part(990, 999)),
            (Some("bytes=0-99999999999999999999999"), Span::Part(0, 999)),
            (Some("BYTES=0-0"), Span::Part(0, 0)),
            (Some("bytes=999-999"), Span::Part(999, 999)),
            (Some("bytes=1000-"), Span::Unsatisfiable),
            (Some("bytes=99999999999999999999999-"), Span::Unsatisfiable),
            (Some("bytes=-0"), Span::Unsatisfiable),
            (Some("bytes=5-4"), Span::Whole),
            (Some("bytes=0-1,5-6"), Span::Whole),
            (Some("bytes=a-b"), Span::Whole),
            (Some("bytes=1-x"), Span::Whole),
            (Some("bytes=+1-2"), Span::Whole),
            (Some("bytes=-"), Span::Whole),
            (Some("bytes=--5"), Span::Whole),
            (Some("lines=0-1"), Span::Whole),
            (Some(""), Span::Whole),
        ];
        for (header, expected) in table {
            assert_eq!(read(header, 1_000), expected, "{header:?}");
        }
        assert_eq!(read(Some("bytes=0-"), 0), Span::Unsatisfiable);
        assert_eq!(read(Some("bytes=-1"), 0), Span::Unsatisfiable);
        assert_eq!(read(None, 0), Span::Whole);
    }
}
