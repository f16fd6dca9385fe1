//! Every operation of the OpenAPI document against schemathesis: no 5xx, nothing that the document does not say.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::server::Server;

/// Cases for each operation and phase at most. Together they are far more than [`CASES_MIN`].
const EXAMPLES: &str = "40";
/// Fewest cases that count as a run.
const CASES_MIN: usize = 1_000;
/// The script's word for "cannot be installed here".
const MISSING: i32 = 77;

/// The number before `generated`, as the tool reports its cases.
fn cases(report: &str) -> Option<usize> {
    let words: Vec<&str> = report.split_whitespace().collect();
    words.windows(2).find_map(|pair| match pair {
        [number, word] if word.starts_with("generated") => number.replace(',', "").parse().ok(),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let server = Server::start().await;
    let base = format!("http://{}", server.running.api());
    let key = server.running.first_key().expect("the first key").to_owned();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/contract.sh");
    let output = Command::new(script)
        .args([&base, &key, EXAMPLES])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the script runs");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() == Some(MISSING) {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        crate::support::skip_or_fail("schemathesis", &why);
        return;
    }
    assert!(output.status.success(), "{report}");
    let cases = cases(&report).unwrap_or_else(|| panic!("no number of cases in:\n{report}"));
    eprintln!("schemathesis: {cases} cases");
    assert!(cases >= CASES_MIN, "{cases} cases\n{report}");
}
