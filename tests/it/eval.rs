//! `trunkline eval` and `trunkline score` as a person runs them: real calls, exit codes, reports.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use trunkline::sip::Transport;

use crate::support::child::{Ran, program, run};
use crate::support::fixture;
use crate::support::server::Server;

/// Half a minute of calls on a machine that does something else as well.
const LIMIT: Duration = Duration::from_secs(150);

async fn eval(args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = program();
    command.arg("eval").args(args).envs(env.iter().copied());
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("calls end");
    let output = output.expect("the program runs");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn write(dir: &Path, text: &str) -> String {
    let path = dir.join("scenario.toml");
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

fn caller<'a>(report: &'a Value, name: &str) -> &'a Value {
    let callers = report["callers"].as_array().expect("callers");
    callers.iter().find(|caller| caller["name"] == name).expect("a caller of this name")
}

/// Callers of the shipped scenario that take a few seconds each; all of them: `trunkline eval
/// config/eval/bistro.toml`.
#[tokio::test(flavor = "multi_thread")]
async fn scripted_callers_pass_over_real_calls() {
    let dir = tempfile::tempdir().expect("a directory");
    let recordings = dir.path().join("recordings").display().to_string();
    let file = format!("{}/config/eval/bistro.toml", env!("CARGO_MANIFEST_DIR"));
    let mut args = vec![file.as_str(), "--report", "json", "--recordings", &recordings];
    for name in ["books a table", "interrupts", "coughs", "by keys", "in mid-reply", "a recorded"] {
        args.extend(["--only", name]);
    }
    let ran = eval(&args, &[]).await;
    assert_eq!(ran.code, 0, "{}\n{}", ran.err, ran.out);
    let report: Value = serde_json::from_str(&ran.out).expect("one JSON object");
    assert_eq!(report["schema"], "trunkline.eval/1");
    assert_eq!(report["totals"]["calls_passed"], 6);
    // What was measured at the caller's end is near what the server says of the same replies.
    let replies = report["totals"]["server"]["n"].as_u64().expect("compared replies");
    assert!(replies >= 5, "{}", report["totals"]);
    let median = report["totals"]["server"]["difference_p50_ms"].as_i64().expect("a median");
    assert!(median.abs() <= 150, "{}", report["totals"]["server"]);
    let yields = &caller(&report, "interrupts in mid-sentence")["score"]["yields"][0];
    assert_eq!(yields["did_yield"], true);
    // The same recording, of which nothing is known but the sound, scores alike.
    let booking = caller(&report, "books a table");
    let recording = booking["recording"].as_str().expect("a recording");
    let scored = run(&["score", recording, "--report", "json"], &[]).await;
    assert_eq!(scored.code, 0, "{}", scored.err);
    let scored: Value = serde_json::from_str(&scored.out).expect("one JSON object");
    assert_eq!(scored["response"]["n"], booking["score"]["response"]["n"]);
    let p50 = |score: &Value| score["response"]["p50_ms"].as_i64().expect("a median");
    assert!((p50(&scored) - p50(&booking["score"])).abs() <= 60, "{scored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_expectation_turns_red_with_the_reason() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let sip = server.sip(Transport::Udp);
    let text = format!(
        r#"
        target = {{ sip = "{sip}", api = "http://{}", api_key = {{ env = "EVAL_KEY" }} }}
        defaults = {{ limit_ms = 10000 }}
        [[caller]]
        name = "expects too much"
        steps = [{{ digits = "2" }}]
        expect = {{ said = ["for how many people", "a hotel"], tools = [{{ name = "book_hotel" }}], outcome = {{ ended_by = "agent" }}, timing = {{ yield_max_ms = 100 }} }}
        [[caller]]
        name = "expects what comes"
        steps = [{{ digits = "2" }}]
        expect = {{ said = ["for how many people"], tools = [], outcome = {{ ended_by = "user" }} }}
        [[caller]]
        name = "waits for what never comes"
        steps = [{{ wait_for_words = "good evening", limit_ms = 300 }}]
        "#,
        server.running.api()
    );
    let key = server.running.first_key().expect("the first key").to_owned();
    let path = write(dir.path(), &text);
    let output = dir.path().join("report.txt").display().to_string();
    let ran = eval(&[&path, "--output", &output], &[("EVAL_KEY", &key)]).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.out.is_empty(), "the report went to the file: {}", ran.out);
    assert!(ran.err.contains("2 of 3 callers failed"), "{}", ran.err);
    let table = std::fs::read_to_string(&output).expect("a report");
    for words in [
        "✗ expects too much",
        "said: expected a hotel",
        "For how many people?",
        "tools: expected book_hotel",
        "found none",
        "outcome.ended_by: expected agent",
        "found user",
        "timing.yield_max_ms: expected at most 100 ms",
        "it never happened",
        "✓ expects what comes",
        "the agent did not say `good evening` within 300ms",
        "1 of 3 callers passed",
    ] {
        assert!(table.contains(words), "the report says nothing of `{words}`:\n{table}");
    }
    assert!(!table.contains("said: expected for how many people"), "what holds is not told");
    assert!(!table.contains(&key) && !ran.err.contains(&key), "a key is shown nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_exit_code_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let caller = "[[caller]]\nname = \"x\"\nsteps = [{ hang_up = true }]\n";
    let target = "target = { sip = \"127.0.0.1:1\", api = \"http://127.0.0.1:1\", \
                  api_key = { env = \"NOT_SET\" } }\n";
    let played = caller.replace("{ hang_up = true }", "{ play = \"none.wav\" }");
    let rows: [(String, &str); 4] = [
        (caller.replace("name", "nane"), "scenario.toml:2"),
        (format!("{target}{caller}"), "NOT_SET"),
        (played, "none.wav"),
        (format!("server = \"none.toml\"\n{caller}"), "none.toml"),
    ];
    for (text, words) in rows {
        let path = write(dir.path(), &text);
        let ran = eval(&[&path], &[]).await;
        assert_eq!(ran.code, 2, "{text}: {}", ran.err);
        assert!(ran.err.contains(words), "{text}: {}", ran.err);
        assert!(ran.out.is_empty(), "{}", ran.out);
    }
    let ran = eval(&["/nowhere.toml"], &[]).await;
    assert_eq!(ran.code, 2);
    let mono = fixture("wav/demo/01_hours.wav").display().to_string();
    let ran = run(&["score", &mono], &[]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("one channel, expected two"), "{}", ran.err);
}
