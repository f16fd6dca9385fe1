//! What a file may say, and what its writer is told otherwise.

use super::*;
use crate::config::load_str;

fn parsed(text: &str) -> Result<Scenario, String> {
    load_str("evening.toml", text, &Env::new()).map_err(|error| error.to_string())
}

const GOOD: &str = r#"
[[caller]]
name = "asks"
steps = [{ say = "hello" }, { pause_ms = 300 }, { say = "again", at_once = true }, { hang_up = true }]
"#;

#[test]
fn a_short_file_is_enough() {
    let scenario = parsed(GOOD).unwrap();
    assert_eq!(scenario.caller.len(), 1);
    assert_eq!(scenario.dial(&scenario.caller[0]), "demo");
    assert_eq!(scenario.repeat(&scenario.caller[0]), 1);
}

#[test]
fn what_is_wrong_is_told_with_file_line_caller_key_and_remedy() {
    let caller = |rest: &str| format!("[[caller]]\nname = \"asks\"\n{rest}\n");
    let rows: [(String, &[&str]); 15] = [
        (String::new(), &["nobody calls", "hint"]),
        (caller("steps = []"), &["evening.toml:3", "caller[0].steps", "\"asks\"", "1 to 100"]),
        (caller("steps = [{ sya = \"x\" }]"), &["evening.toml:3", "sya", "say"]),
        (caller("steps = [{ say = \"x\", digits = \"1\" }]"), &["steps[0]", "a step is one of"]),
        (caller("steps = [{ digits = \"1x\" }]"), &["no keypad has `x`", "allowed"]),
        (caller("steps = [{ say = \"\" }]"), &["`say` is empty", "hint"]),
        (caller("steps = [{ hang_up = true }, { say = \"x\" }]"), &["nothing can follow"]),
        (caller("steps = [{ wait_for = \"noon\" }]"), &["wait_for", "agent_done"]),
        (caller("steps = [{ pause_ms = 9, at_once = true }]"), &["not to waiting"]),
        (caller("steps = [{ pause_ms = 9, as = \"sound\" }]"), &["`as` belongs to"]),
        (caller("noise = { kind = \"rain\", snr_db = 3 }"), &["noise.kind", "pink"]),
        (
            caller("steps = [{ hang_up = true }]\nnoise = { kind = \"pink\", snr_db = 90 }"),
            &["caller[0].noise.snr_db", "-10 to 60"],
        ),
        (
            caller("steps = [{ hang_up = true }]\nexpect = { said = [\"(a\"] }"),
            &["caller[0].expect.said[0]", "`)` is missing"],
        ),
        (format!("{GOOD}\n{GOOD}"), &["another caller has this name"]),
        (format!("parallel = 90\n{GOOD}"), &["parallel", "1 to 32"]),
    ];
    for (text, words) in rows {
        let error = parsed(&text).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{text}\nsays nothing of `{word}`:\n{error}");
        }
    }
}

#[test]
fn a_server_is_started_or_it_runs_already() {
    let target = "target = { sip = \"127.0.0.1:5060\", api = \"http://127.0.0.1:8080\", \
                  api_key = { env = \"KEY\" } }";
    assert!(parsed(&format!("{target}\n{GOOD}")).is_ok());
    let error = parsed(&format!("server = \"x.toml\"\n{target}\n{GOOD}")).unwrap_err();
    assert!(error.contains("cannot both be"), "{error}");
    // A key is named, never written.
    let error = parsed(&format!("{}\n{GOOD}", target.replace("{ env = \"KEY\" }", "\"hunter2\"")));
    assert!(!error.unwrap_err().contains("hunter2"));
}

#[test]
fn the_shipped_scenario_loads_and_its_paths_are_beside_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scenario = Scenario::load(&root.join("config/eval/bistro.toml")).unwrap();
    assert!(scenario.caller.len() >= 12, "{}", scenario.caller.len());
    assert!(scenario.server.unwrap().is_file());
    let played = scenario.caller.iter().flat_map(|caller| &caller.steps);
    for path in played.filter_map(|step| step.play.as_ref()) {
        assert!(path.is_file(), "{}", path.display());
    }
}
