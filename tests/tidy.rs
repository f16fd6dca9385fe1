//! The laws of the house that no compiler checks: floors, sizes, words, strangers at one gate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "tidy/coverage.rs"]
mod coverage;
#[path = "tidy/telephony.rs"]
mod telephony;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which room may import which. A room that is not named here may not exist.
const EDGES: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("schema", &["types", "turn", "audio", "speech"]),
    ("sip", &["types"]),
    ("sdp", &["types"]),
    ("rtp", &["types"]),
    ("audio", &["types"]),
    ("turn", &["types"]),
    ("speech", &["types"]),
    ("score", &["types", "audio"]),
    ("dsl", &["types"]),
    ("media", &["types", "rtp", "audio"]),
    ("net", &["types", "sip", "telemetry"]),
    ("engine", &["types", "rtp", "media", "audio", "net", "telemetry"]),
    ("providers", &["types", "net", "telemetry", "audio"]),
    ("tools", &["types", "schema", "dsl", "net", "telemetry", "egress", "webhook"]),
    ("egress", &["types", "net", "telemetry"]),
    ("mail", &["types"]),
    ("webhook", &["types", "schema", "store", "egress", "mail", "net", "telemetry"]),
    (
        "catalog",
        &[
            "types",
            "schema",
            "dsl",
            "store",
            "providers",
            "tools",
            "call",
            "sip",
            "audio",
            "turn",
            "speech",
            "media",
            "net",
            "telemetry",
            "egress",
        ],
    ),
    ("usage", &["types", "schema", "store", "net", "telemetry"]),
    (
        "after",
        &[
            "types",
            "schema",
            "dsl",
            "store",
            "providers",
            "catalog",
            "net",
            "telemetry",
            "call",
            "usage",
        ],
    ),
    (
        "scheduler",
        &["types", "schema", "store", "switchboard", "catalog", "net", "telemetry", "call"],
    ),
    ("store", &["types", "telemetry"]),
    ("telemetry", &["types"]),
    (
        "call",
        &[
            "types",
            "telemetry",
            "sip",
            "sdp",
            "rtp",
            "audio",
            "media",
            "turn",
            "speech",
            "net",
            "engine",
            "providers",
            "store",
            "tools",
            "usage",
        ],
    ),
    ("sim", &["types", "net"]),
    (
        "softphone",
        &["types", "sip", "sdp", "audio", "media", "net", "engine", "telemetry", "schema"],
    ),
    ("sim", &["types", "sip", "sdp", "rtp", "audio", "media", "turn", "providers", "net"]),
    (
        "switchboard",
        &[
            "types",
            "telemetry",
            "sip",
            "media",
            "net",
            "providers",
            "store",
            "call",
            "tools",
            "catalog",
            "schema",
            "webhook",
            "usage",
        ],
    ),
    (
        "api",
        &[
            "types",
            "telemetry",
            "schema",
            "dsl",
            "sip",
            "store",
            "call",
            "switchboard",
            "net",
            "catalog",
            "tools",
            "webhook",
            "after",
            "usage",
            "scheduler",
            "providers",
            "egress",
        ],
    ),
    ("config", &["*"]),
    ("server", &["*"]),
    (
        "eval",
        &[
            "types",
            "audio",
            "score",
            "sip",
            "net",
            "engine",
            "providers",
            "telemetry",
            "softphone",
            "config",
            "server",
        ],
    ),
    ("cli", &["*"]),
];

/// Each third-party wire type is named in one file (or one folder), so that it can be replaced in an afternoon.
const STRANGERS: &[(&str, &[&str])] = &[
    ("rtc_rtp", &["src/rtp/packet.rs"]),
    ("rtc_rtcp", &["src/rtp/rtcp.rs"]),
    ("audiopus", &["src/audio/opus.rs"]),
    ("rtc_crypto", &["src/rtp/srtp.rs"]),
    ("rtc_dtls", &["src/rtp/dtls.rs"]),
    ("rtc_srtp", &[]),
    ("rtc_stun", &["src/net/stun.rs", "src/rtp/ice.rs", "src/rtp/ice/"]),
    ("rtc_sdp", &["src/sdp/parse.rs"]),
    ("rubato", &["src/audio/resample.rs"]),
    ("hound", &["src/audio/wav.rs"]),
    ("earshot", &["src/audio/vad/neural.rs"]),
    ("sonora_ns", &["src/audio/vad/denoise.rs"]),
    ("async_openai", &["src/providers/llm/openai.rs"]),
    ("jsonschema", &["src/dsl/json_schema.rs"]),
    ("minijinja", &["src/dsl/template.rs"]),
    ("libloading", &["src/providers/stt/sphinx_ffi.rs"]),
    ("whisper_rs", &["src/providers/stt/whisper/engine.rs"]),
    ("csv", &["src/api/table.rs"]),
    ("unicode_properties", &["src/speech/emoji.rs"]),
    ("sqlx", &["src/store/sqlite"]),
    ("tokio_tungstenite", &["src/providers/socket.rs", "src/sim/providers/"]),
    ("thread_priority", &["src/engine/thread.rs"]),
    ("nix", &["src/net/icmp.rs"]),
    ("lettre", &["src/mail/"]),
    ("hickory_resolver", &["src/net/locate/dns.rs", "src/sim/dns.rs"]),
    ("tokio_rustls", &["src/net/tls.rs"]),
    ("hmac", &["src/webhook/sign.rs", "src/store/sign.rs", "src/sip/digest/server.rs"]),
    ("jsonwebtoken", &["src/api/jwt.rs"]),
    ("ort", &["src/providers/turn_model/onnx.rs"]),
    ("rsip", &[]),
];

/// Words that no source file holds, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("unbounded_channel", "a bounded channel with a named limit"),
    ("mpsc::unbounded", "a bounded channel with a named limit"),
    ("todo!(", "the thing itself"),
    ("unimplemented!(", "the thing itself"),
    ("#[ignore", "a test that runs, or no test"),
    ("FIXME", "the fix"),
    ("XXX", "the fix"),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 80;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&root().join(dir), &mut out);
    out.sort();
    out
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/") || name.ends_with("_tests.rs")
}

/// The room of a file under `src/`: its folder, or its stem for a file at the root.
fn room_of(name: &str) -> Option<String> {
    let rest = name.strip_prefix("src/")?;
    let first = rest.split('/').next()?;
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(room, "lib" | "main")).then(|| room.to_owned())
}

/// Code without comments, so that a word in prose is not taken for an import.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn dependencies_point_down() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(room, to)| (*room, to.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for path in rust_files("src") {
        let name = relative(&path);
        let Some(room) = room_of(&name) else { continue };
        let Some(may) = allowed.get(room.as_str()) else {
            wrong.push(format!("{name}: room `{room}` is not in the edge table of tests/tidy.rs"));
            continue;
        };
        if may.contains("*") || is_test_file(&name) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // A short test module at the end of a file may use what it likes.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code_lines(text) {
            for piece in line.split("crate::").skip(1) {
                let target: String =
                    piece.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if allowed.contains_key(target.as_str())
                    && target != room
                    && !may.contains(target.as_str())
                {
                    wrong
                        .push(format!("{name}:{}: `{room}` may not import `{target}`", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "edges that point up or across:\n{}", wrong.join("\n"));
}

#[test]
fn the_edge_table_has_no_cycle() {
    let edges: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    fn visit<'a>(
        room: &'a str,
        edges: &BTreeMap<&'a str, &'a [&'a str]>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) {
        assert!(!path.contains(&room), "cycle: {path:?} -> {room}");
        if !done.insert(room) {
            return;
        }
        path.push(room);
        for next in edges.get(room).into_iter().flat_map(|to| to.iter()).filter(|to| **to != "*") {
            visit(next, edges, path, done);
        }
        path.pop();
    }
    let mut done = BTreeSet::new();
    for (room, _) in EDGES {
        let mut path = Vec::new();
        if !done.contains(room) {
            visit(room, &edges, &mut path, &mut done);
        }
    }
}

#[test]
fn files_and_functions_stay_small() {
    let mut wrong = Vec::new();
    for path in rust_files("src") {
        let name = relative(&path);
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{name}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        if is_test_file(&name) {
            continue;
        }
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let trimmed = line.trim_start();
            let is_fn = [
                "fn ",
                "pub fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "async fn ",
                "pub async fn ",
            ]
            .iter()
            .any(|head| trimmed.starts_with(head));
            if is_fn && open.is_none() && !trimmed.ends_with(';') && !trimmed.ends_with('}') {
                open = Some((number, indent, trimmed.to_owned()));
            }
            if let Some((start, at, head)) = &open
                && indent == *at
                && trimmed == "}"
            {
                let length = number - start + 1;
                let excused = text
                    .lines()
                    .skip(start.saturating_sub(6))
                    .take(7)
                    .any(|l| l.contains("clippy::too_many_lines"));
                if length > FUNCTION_LINES_MAX && !excused {
                    wrong.push(format!("{name}:{}: {length} lines: {head}", start + 1));
                }
                open = None;
            }
        }
    }
    assert!(wrong.is_empty(), "too long:\n{}", wrong.join("\n"));
}

/// Whether a line of code names a crate: `Transport::Udp` does not name `ort`.
fn is_named(line: &str, stranger: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(stranger).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + stranger.len()..]);
        let imported = before.ends_with("use ") && !after.starts_with(is_word);
        !before.ends_with(is_word) && (after.starts_with("::") || imported)
    })
}

#[test]
fn strangers_stay_at_one_gate() {
    let mut wrong = Vec::new();
    for path in rust_files("src") {
        let name = relative(&path);
        if is_test_file(&name) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (stranger, homes) in STRANGERS {
            if homes.iter().any(|home| name.starts_with(home)) {
                continue;
            }
            for (number, line) in code_lines(&text) {
                if is_named(line, stranger) {
                    wrong.push(format!("{name}:{}: `{stranger}` belongs to {homes:?}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "third-party types outside their gate:\n{}", wrong.join("\n"));
}

#[test]
fn banned_words_are_absent() {
    let mut wrong = Vec::new();
    for dir in ["src", "tests", "benches", "fuzz"] {
        for path in rust_files(dir) {
            let name = relative(&path);
            if name == "tests/tidy.rs" || name.contains("/target/") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in code_lines(&text) {
                for (word, instead) in BANNED {
                    if line.contains(word) {
                        wrong.push(format!("{name}:{}: `{word}`: write {instead}", number + 1));
                    }
                }
                let sleeps = line.contains("time::sleep(") || line.contains("thread::sleep(");
                if sleeps && (dir == "tests" || is_test_file(&name)) {
                    wrong.push(format!(
                        "{name}:{}: a sleep: wait for an event or a condition",
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "banned words:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_stands_in_named_files_only() {
    const HOMES: &[&str] = &["src/providers/stt/sphinx_ffi.rs"];
    let mut wrong = Vec::new();
    for path in rust_files("src") {
        let name = relative(&path);
        if HOMES.contains(&name.as_str()) || is_test_file(&name) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        if code_lines(&text)
            .any(|(_, line)| line.contains("unsafe {") || line.contains("unsafe impl"))
        {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "unsafe outside {HOMES:?}: {wrong:?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = rust_files("src")
        .into_iter()
        .filter(|path| !is_test_file(&relative(path)))
        .filter(|path| !fs::read_to_string(path).unwrap().trim_start().starts_with("//!"))
        .map(|path| relative(&path))
        .collect();
    assert!(silent.is_empty(), "files without a module doc: {silent:?}");
}

#[test]
fn decisions_are_indexed() {
    let index = fs::read_to_string(root().join("docs/decisions/README.md")).unwrap();
    for entry in fs::read_dir(root().join("docs/decisions")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        assert!(
            name == "README.md" || index.contains(&name),
            "docs/decisions/README.md does not name {name}"
        );
    }
}
