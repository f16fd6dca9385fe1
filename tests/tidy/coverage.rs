//! Which test shows which field or operation of the five call APIs: `docs/api-coverage.md`, and from the same
//! rows `docs/migrating.md`.
//!
//! A test names what it shows in a comment above it: `// covers: S0-05 S1-16..S1-22 E2-07`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::{relative, root, rust_files};

/// Core and light rows that no test shows yet. A row leaves this list with its test, and the list ends empty.
const OPEN: &[&str] = &[];

struct Row {
    id: String,
    class: String,
    theirs: String,
    ours: String,
    note: String,
}

const PLATFORMS: &[(&str, &str, &str)] = &[
    ("S0", "CallingBox", "the call object, its webhooks and statuses"),
    ("S1", "Voicy", "the call model and its latency breakdown"),
    ("S2", "VOCALS", "calls and batches"),
    ("S3", "Revox", "call orders, attempts and retries"),
    (
        "S4",
        "Flireo, HMS Sovereign, VoiceDock",
        "the whole API: agents, tools, trunks, campaigns, control",
    ),
    ("E2", "Traps", "where the five differ or mislead"),
];

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("fixtures/coverage/rows.tsv")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            assert_eq!(cells.len(), 5, "five cells: {line}");
            let cell = |at: usize| cells[at].to_owned();
            assert!(["core", "light", "later", "none"].contains(&cells[1]), "class of {line}");
            Row { id: cell(0), class: cell(1), theirs: cell(2), ours: cell(3), note: cell(4) }
        })
        .collect()
}

/// Tests by the rows they show: `path::name`.
fn shown(rows: &[Row]) -> BTreeMap<String, Vec<String>> {
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in rust_files("tests").into_iter().chain(rust_files("src")) {
        let name = relative(&path);
        if name == "tests/tidy/coverage.rs" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut waiting: Vec<String> = Vec::new();
        for line in text.lines() {
            if let Some(words) = line.trim_start().strip_prefix("// covers: ") {
                words.split_whitespace().for_each(|word| waiting.extend(ids(rows, word, &name)));
            } else if let Some(test) = function(line)
                && !waiting.is_empty()
            {
                let place = name.trim_start_matches("tests/").trim_start_matches("src/");
                for id in waiting.drain(..) {
                    shown.entry(id).or_default().push(format!("{place} `{test}`"));
                }
            }
        }
        assert!(waiting.is_empty(), "{name}: `covers:` without a test below it: {waiting:?}");
    }
    shown
}

/// [`OPEN`], row by row.
fn open(rows: &[Row]) -> Vec<String> {
    OPEN.iter().flat_map(|word| ids(rows, word, "OPEN")).collect()
}

/// `S0-05`, or every row of `S1-16..S1-22`.
fn ids(rows: &[Row], word: &str, place: &str) -> Vec<String> {
    let (first, last) = word.split_once("..").unwrap_or((word, word));
    let at = |id: &str| {
        let found = rows.iter().position(|row| row.id == id);
        found.unwrap_or_else(|| panic!("{place}: no row `{id}` in fixtures/coverage/rows.tsv"))
    };
    let (first, last) = (at(first), at(last));
    assert!(first <= last, "{place}: `{word}` is backwards");
    rows[first..=last].iter().map(|row| row.id.clone()).collect()
}

fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = ["fn ", "async fn ", "pub fn ", "pub(super) fn ", "pub(super) async fn "]
        .iter()
        .find_map(|head| line.strip_prefix(head))?;
    rest.split(['(', '<']).next()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn platform_rows<'a>(rows: &'a [Row], prefix: &'a str) -> impl Iterator<Item = &'a Row> {
    rows.iter().filter(move |row| row.id.starts_with(prefix))
}

fn coverage(rows: &[Row], open: &[String], shown: &BTreeMap<String, Vec<String>>) -> String {
    let mut page = String::from(
        "# API coverage\n\nEvery field and operation that five call APIs state on their public pages, what stands for it here, and \
         the test that shows it. Made by `make docs` from `fixtures/coverage/rows.tsv` and the `covers:` comments of \
         the tests; a test fails when this page is out of date or a row loses its test.\n\nClass: *core*; *light*: a \
         smaller equivalent; *later*: a release to come; *none*: no place on a server of one's own.\n",
    );
    for (prefix, name, what) in PLATFORMS {
        let _ = write!(
            page,
            "\n## {prefix}: {name}, {what}\n\n| Row | Theirs | Ours | Class | Shown by |\n|---|---|---|---|---|\n"
        );
        for row in platform_rows(rows, prefix) {
            let tests = shown.get(&row.id).map_or_else(
                || {
                    if open.contains(&row.id) { "**open**".to_owned() } else { "-".to_owned() }
                },
                |tests| tests.join("; "),
            );
            let class = match row.note.as_str() {
                "" => row.class.clone(),
                note => format!("{}: {note}", row.class),
            };
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                row.id,
                cell(&row.theirs),
                cell(&row.ours),
                cell(&class),
                cell(&tests)
            );
        }
    }
    page
}

fn migrating(rows: &[Row]) -> String {
    let mut page = String::from(
        "# Migrating from another call API\n\nWhere each field and operation of five platforms went. Names on the left are theirs, as their public \
         pages stated them in 2026; everything on the right is under `/v1` (docs/api.md, docs/openapi.json). Made by \
         `make docs` from `fixtures/coverage/rows.tsv`.\n\nThree habits differ for all of them: times are RFC 3339 in UTC with milliseconds, money is an \
         integer number of millionths (`*_micros`), and why a call ended stands in four fields: `status` (where in its life), `end_reason` (why it \
         stopped), `answered_by` (who picked up) and `outcome` (one word for lists and retries). Filters take the other platforms' words too: \
         `incoming`, `outgoing`, `ongoing`, `in-progress`, `connecting`, `ended`, `cancelled`, `caller_hangup`.\n",
    );
    for (prefix, name, what) in PLATFORMS.iter().filter(|(prefix, ..)| *prefix != "E2") {
        let _ = write!(page, "\n## {name}: {what}\n\n| Theirs | Ours | Remark |\n|---|---|---|\n");
        for row in platform_rows(rows, prefix) {
            let _ = writeln!(
                page,
                "| {} | {} | {} |",
                cell(&row.theirs),
                cell(&row.ours),
                cell(&row.note)
            );
        }
    }
    page
}

fn golden(name: &str, text: &str) {
    let path = root().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "{name} is out of date: run `make docs`");
}

#[test]
fn every_row_of_the_five_apis_is_shown_by_a_test() {
    let rows = rows();
    let shown = shown(&rows);
    let open = open(&rows);
    golden("docs/api-coverage.md", &coverage(&rows, &open, &shown));
    golden("docs/migrating.md", &migrating(&rows));
    let owed = |row: &&Row| matches!(row.class.as_str(), "core" | "light");
    let without: Vec<&str> = rows
        .iter()
        .filter(owed)
        .map(|row| row.id.as_str())
        .filter(|id| !shown.contains_key(*id) && !open.iter().any(|row| row == id))
        .collect();
    assert!(without.is_empty(), "no test says `// covers:` for {without:?}");
    let done: Vec<_> = open.iter().filter(|id| shown.contains_key(*id)).collect();
    assert!(done.is_empty(), "these rows have a test now; take them out of OPEN: {done:?}");
}
