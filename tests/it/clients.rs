//! Clients that others' generators make of our document, each driving a real call against SIPp.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use trunkline::sip::Transport;

use crate::support::server::{OUT, Server};
use crate::support::sipp::Sipp;
use crate::support::{has_program, wait};

fn source(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(name)
}

/// A directory for what the package managers install: kept, because they are slow.
fn workshop(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// Runs a program to its end and gives what it printed.
async fn run(program: impl AsRef<std::ffi::OsStr>, args: &[&str], dir: &Path) -> String {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).kill_on_drop(true).stdin(std::process::Stdio::null());
    let shown = format!("{command:?}");
    let output = wait::slow(&shown, command.output()).await.expect("it can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{text}\n{errors}");
    text
}

/// The server's own document, as a generator would fetch it.
async fn document(server: &Server, dir: &Path) -> PathBuf {
    let url = format!("http://{}/v1/openapi.json", server.running.api());
    let text = reqwest::get(url).await.expect("the server").text().await.expect("the document");
    let path = dir.join("openapi.json");
    std::fs::write(&path, text).expect("a file");
    path
}

/// Lets the client call SIPp, and looks at what it says of the call and at what the server stored.
async fn drives_a_call(
    server: &Server,
    words: &str,
    client: impl AsyncFnOnce([String; 4]) -> String,
) {
    let callee = Sipp::uas("uas_plain", Transport::Udp).await;
    let key = server.running.first_key().expect("a first start").to_owned();
    let base = format!("http://{}", server.running.api());
    let printed = client([base, key, callee.uri("client"), OUT.to_owned()]).await;
    callee.passes().await;
    let said: serde_json::Value = serde_json::from_str(printed.trim()).expect("one JSON object");
    assert_eq!(said["status"], "completed", "{said}");
    assert_eq!(said["end_reason"], "api_hangup", "{said}");
    assert_eq!(said["listed"], true, "{said}");
    let turns = said["turns"].as_array().expect("turns");
    assert!(turns.iter().any(|turn| turn == words), "{said}");
    let stored = server.ended(said["id"].as_str().expect("an id").parse().expect("a UUID")).await;
    assert!(stored.talk_ms.is_some_and(|ms| ms > 0), "{stored:?}");
}

// covers: S0-38
#[tokio::test(flavor = "multi_thread")]
async fn a_generated_python_client_drives_a_call() {
    if !has_program("python3") {
        return;
    }
    let server = Server::start().await;
    let dir = workshop("python");
    let python = dir.join("venv/bin/python");
    if !python.is_file() {
        run("python3", &["-m", "venv", "venv"], &dir).await;
    }
    let wanted = source("python/requirements-generator.txt");
    let wanted = wanted.to_str().expect("a path");
    run(&python, &["-m", "pip", "install", "-q", "-r", wanted], &dir).await;
    let spec = document(&server, &dir).await;
    let generator = dir.join("venv/bin/openapi-python-client");
    let spec = spec.to_str().expect("a path");
    let args = ["generate", "--path", spec, "--output-path", "trunkline_client"];
    let args = [&args[..], &["--overwrite", "--meta", "none"]].concat();
    run(&generator, &args, &dir).await;
    let script = source("python/drive.py");
    let script = script.to_str().expect("a path").to_owned();
    drives_a_call(&server, "Hello from Python.", async |args| {
        let [base, key, to, trunk] = &args;
        // The package lies in the working directory; a script's own directory would be searched instead.
        let run_it = "import sys,runpy; sys.path.insert(0, '.'); sys.argv.pop(0); \
             runpy.run_path(sys.argv[0], run_name='__main__')";
        run(&python, &["-c", run_it, &script, base, key, to, trunk], &dir).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_typescript_client_drives_a_call() {
    if !has_program("node") || !has_program("npm") {
        return;
    }
    let server = Server::start().await;
    let dir = workshop("typescript");
    for file in ["package.json", "tsconfig.json", "drive.ts"] {
        std::fs::copy(source("typescript").join(file), dir.join(file)).expect("a copy");
    }
    run("npm", &["install", "--no-audit", "--no-fund", "--ignore-scripts"], &dir).await;
    document(&server, &dir).await;
    let generator = "node_modules/openapi-typescript/bin/cli.js";
    // A field with a default may be left out of a request.
    let args = [generator, "openapi.json", "-o", "schema.d.ts", "--default-non-nullable=false"];
    run("node", &args, &dir).await;
    run("node", &["node_modules/typescript/bin/tsc", "-p", "."], &dir).await;
    drives_a_call(&server, "Hello from TypeScript.", async |args| {
        let [base, key, to, trunk] = &args;
        run("node", &["out/drive.js", base, key, to, trunk], &dir).await
    })
    .await;
}
