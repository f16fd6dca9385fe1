//! Recipients as CSV (RFC 4180): a header row, one recipient a row; columns with other names are template variables.

use std::collections::BTreeMap;

use super::error::{ApiError, Code};
use super::extract::bad_field;

/// Most columns.
const COLUMNS_MAX: usize = 64;
/// Names of the column that holds the number; the first that is there counts.
const NUMBER: [&str; 4] = ["to_number", "phone_number", "number", "phone"];

/// One recipient.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// Whom to call, as it stands there.
    pub number: String,
    /// Column `name`; a variable too.
    pub name: Option<String>,
    /// Column `timezone`.
    pub timezone: Option<String>,
    /// Every other column that is not empty.
    pub variables: BTreeMap<String, String>,
}

/// Reads a table of at most `rows_max` recipients. Empty rows do not count.
pub(super) fn read(bytes: &[u8], rows_max: usize) -> Result<Vec<Row>, ApiError> {
    // A byte order mark is what spreadsheets put before UTF-8.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(malformed)?.clone();
    if header.len() > COLUMNS_MAX {
        return Err(bad_field("header", format!("a table has at most {COLUMNS_MAX} columns")));
    }
    let column = |name: &str| header.iter().position(|column| column.eq_ignore_ascii_case(name));
    let Some(number) = NUMBER.iter().find_map(|name| column(name)) else {
        let message = format!("the header row names a column `{}`", NUMBER.join("`, `"));
        return Err(ApiError::because(Code::MissingField, message).param("to_number"));
    };
    let timezone = column("timezone");
    let name = column("name");
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        if record.iter().all(str::is_empty) {
            continue;
        }
        if rows.len() >= rows_max {
            return Err(bad_field("rows", format!("a table has at most {rows_max} recipients")));
        }
        let cell = |at: Option<usize>| {
            let text = at.and_then(|at| record.get(at)).filter(|text| !text.is_empty());
            text.map(str::to_owned)
        };
        let variables = header
            .iter()
            .zip(record.iter())
            .enumerate()
            .filter(|(at, (key, value))| {
                *at != number && Some(*at) != timezone && !key.is_empty() && !value.is_empty()
            })
            .map(|(_, (key, value))| (key.to_owned(), value.to_owned()));
        rows.push(Row {
            number: cell(Some(number)).unwrap_or_default(),
            name: cell(name),
            timezone: cell(timezone),
            variables: variables.collect(),
        });
    }
    Ok(rows)
}

fn malformed(error: csv::Error) -> ApiError {
    // The crate's own words may repeat a cell, which may be personal.
    let place = match error.position() {
        Some(position) => format!("the table is malformed at line {}", position.line()),
        None => "the table is malformed".to_owned(),
    };
    ApiError::because(Code::MalformedBody, place)
        .hint("every row has as many cells as the header, in UTF-8")
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn other_columns_are_variables() {
        let rows = read(
            b"\xef\xbb\xbfname,Phone,city,timezone,empty\r\n\"Lovelace, Ada\", +4930123456 ,Berlin,,\r\n,,,,\r\nBob,12,,Europe/Paris,\r\n",
            2,
        )
        .unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].number, "+4930123456");
        assert_eq!(rows[0].name.as_deref(), Some("Lovelace, Ada"));
        let variables: Vec<_> = rows[0].variables.iter().collect();
        assert_eq!(
            variables,
            [
                (&"city".to_owned(), &"Berlin".to_owned()),
                (&"name".to_owned(), &"Lovelace, Ada".to_owned())
            ]
        );
        assert_eq!(rows[1].number, "12", "what is no number is for the caller to judge");
        assert_eq!(rows[1].timezone.as_deref(), Some("Europe/Paris"));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (text, why) in [
            (&b""[..], "no header"),
            (b"city\nBerlin\n", "no number"),
            (b"phone,city\n+4930123456\n", "a short row"),
            (b"phone\n\xff\xfe\n", "not UTF-8"),
            (b"phone\n1\n2\n3\n", "too many rows"),
        ] {
            assert!(read(text, 2).is_err(), "{why}");
        }
    }
}
