//! `docs/sip.md` against the sources: each test that it names is there, and there are as many as it says.

use std::collections::BTreeSet;
use std::fs;

use super::{relative, root, rust_files};

/// What the page may say of a feature.
const STATES: [&str; 5] =
    ["done", "done, by refusal", "done, without verifying", "partly", "not yet"];

/// Names of functions in all Rust files of tests and sources.
fn functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        let text = fs::read_to_string(&path).unwrap();
        let names = text.lines().filter_map(|line| {
            let line = line.trim_start();
            let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
            Some(rest.split(['(', '<']).next()?.to_owned())
        });
        found.extend(names);
        // Tests that a macro makes of a list, as in `answers_teams: "teams",`.
        let made = text.lines().filter_map(|line| line.trim_start().split_once(": \""));
        found.extend(made.filter(|(name, _)| is_name(name)).map(|(name, _)| name.to_owned()));
    }
    found
}

fn scenarios() -> BTreeSet<String> {
    let files = fs::read_dir(root().join("tests/it/sipp")).unwrap();
    let names =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
    names.filter(|name| name != "uas_crowd").collect()
}

/// Tests that talk to the server through sockets of their own.
fn over_raw_sockets() -> usize {
    let files = rust_files("tests/it").into_iter().filter_map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let is_support = relative(&path).contains("/support/");
        let is_raw = text.contains("support::peer::") || text.contains("conversation::Talk");
        (is_raw && !is_support).then(|| text.matches("#[tokio::test").count())
    });
    files.sum()
}

/// Every `word` of a text.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.contains('_')
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[test]
fn telephony_every_test_that_the_page_names_exists() {
    let page = fs::read_to_string(root().join("docs/sip.md")).unwrap();
    let reference = fs::read_to_string(root().join("config/reference.toml")).unwrap();
    let mut api = fs::read_to_string(root().join("docs/openapi.json")).unwrap();
    for file in fs::read_dir(root().join("docs")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "md") && !path.ends_with("sip.md") {
            api.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let (functions, scenarios) = (functions(), scenarios());
    let mut wrong = Vec::new();
    let mut is_of_features = false;
    for line in page.lines() {
        // Other tables of the page are about programs.
        is_of_features =
            line.starts_with("| Feature | State |") || (is_of_features && line.starts_with('|'));
        let is_row = line.starts_with("| ") && !line.starts_with("| Feature");
        if !is_of_features || !is_row {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').splitn(3, " | ").collect();
        let [feature, state, what] = cells[..] else {
            wrong.push(format!("not three cells: {line}"));
            continue;
        };
        let (feature, state) = (feature.trim(), state.trim());
        if !STATES.contains(&state) {
            wrong.push(format!("{feature}: `{state}` is no state"));
        }
        let mut tests = 0;
        for word in quoted(what) {
            if word.ends_with(".rs") {
                tests += 1;
                if !root().join(&word).exists() {
                    wrong.push(format!("{feature}: there is no `{word}`"));
                }
            } else if functions.contains(&word) || scenarios.contains(&word) {
                tests += 1;
            } else if is_name(&word) && !reference.contains(&word) && !api.contains(&word) {
                wrong.push(format!("{feature}: `{word}` is no test, no scenario and no setting"));
            }
        }
        if tests == 0 && state != "not yet" {
            wrong.push(format!("{feature}: no test is named"));
        }
    }
    assert!(wrong.is_empty(), "docs/sip.md:\n{}", wrong.join("\n"));
}

#[test]
fn telephony_there_are_as_many_scenarios_as_the_page_says() {
    let page = fs::read_to_string(root().join("docs/sip.md")).unwrap().replace('\n', " ");
    let said = |before: &str, after: &str| -> usize {
        let rest = page.split(before).nth(1).expect(before);
        rest.split(after).next().expect(after).trim().parse().expect("a number")
    };
    let (sipp, raw) = (scenarios().len(), over_raw_sockets());
    println!("{sipp} SIPp scenarios, {raw} tests over raw sockets");
    assert!(sipp >= said("at least", "SIPp scenarios"), "{sipp} SIPp scenarios");
    assert!(raw >= said("and at least", "tests over raw sockets"), "{raw} tests over raw sockets");
    // A scenario that no test runs shows nothing.
    let mut tests = String::new();
    for path in rust_files("tests/it") {
        tests.push_str(&fs::read_to_string(path).unwrap());
    }
    let idle: Vec<String> =
        scenarios().into_iter().filter(|name| !tests.contains(&format!("\"{name}\""))).collect();
    assert!(idle.is_empty(), "scenarios that nobody runs: {idle:?}");
}
