//! The command line: what is data, what is talk, which exit code, which words.

use std::path::PathBuf;

use trunkline::config::{self, Config};

use crate::support::child::{ServerProcess, run, write_config};

async fn check(text: &str, env: &[(&str, &str)]) -> (i32, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, text).expect("a file");
    let ran = run(&["check-config", "--config", path.to_str().expect("a path")], env).await;
    assert!(ran.out.is_empty(), "standard output is data: {}", ran.out);
    (ran.code, ran.err)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_says_where_and_what_instead() {
    let rows: &[(&str, &[&str])] = &[
        (
            "[sip]\nlisten_upd = []\n",
            &["bad.toml:2", "sip.listen_upd", "unknown key", "did you mean `listen_udp`"],
        ),
        (
            "[sip]\nunknown_source = \"reject\"\n",
            &["bad.toml:2", "sip.unknown_source", "forbid", "silent"],
        ),
        ("[media]\nrtp_ports = \"9\"\n", &["bad.toml:2", "media.rtp_ports", "first-last"]),
        ("[media]\ntimeout_seconds = 0\n", &["bad.toml:2", "media.timeout_seconds"]),
        ("[admission]\ncalls_per_second = 0\n", &["bad.toml:2", "admission.calls_per_second"]),
        (
            "[agents.demo.turn]\nsilence_ms = 5\n",
            &["bad.toml:2", "agents.demo.turn.silence_ms", "100 to 3000"],
        ),
        ("[agents.demo]\nstt = \"nobody\"\n", &["bad.toml:2", "agents.demo.stt", "nobody"]),
        ("[numbers]\n\"+15550100\" = \"nobody\"\n", &["numbers.+15550100", "nobody"]),
        ("[trunks.x]\npassword = \"hunter2\"\n", &["bad.toml:2", "trunks.x.password", "env"]),
        ("[trunks.x]\nallowed_networks = [\"10.0.0.0/99\"]\n", &["bad.toml:2", "allowed_networks"]),
        ("[sip\n", &["bad.toml:1"]),
    ];
    for (text, words) in rows {
        let (code, err) = check(text, &[]).await;
        assert_eq!(code, 2, "{text}: {err}");
        for word in *words {
            assert!(err.contains(word), "{text}\nsays nothing of `{word}`:\n{err}");
        }
        assert!(!err.contains("hunter2"), "a secret does not reach a message: {err}");
    }
    let (code, err) = check("", &[("TRUNKLINE__SIP__DIALOGS_MAX", "many")]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("TRUNKLINE__SIP__DIALOGS_MAX"), "{err}");
    let (code, err) = check("[agents.demo]\nrecording = false\n", &[]).await;
    assert_eq!(code, 0, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_and_a_missing_secret_are_usage_errors() {
    let ran = run(&["check-config", "--config", "/nowhere.toml"], &[]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("/nowhere.toml"), "{}", ran.err);
    let text = "[trunks.x]\nusername = \"u\"\npassword = { env = \"NOT_SET\" }\n";
    let (code, err) = check(text, &[]).await;
    assert_eq!(code, 2);
    assert!(err.contains("NOT_SET") && err.contains("trunks.x.password"), "{err}");
}

/// Compares with a committed file, or writes it where `UPDATE_GOLDEN=1`.
fn golden(path: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, text).expect("a file");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is not what the program says: run the tests with UPDATE_GOLDEN=1 and read the change",
        path.display()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_reference_of_the_configuration() {
    let ran = run(&["print-config", "--reference"], &[]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    golden("config/reference.toml", &ran.out);
    let read: Config = config::load_str("reference.toml", &ran.out, &config::Env::new())
        .unwrap_or_else(|error| panic!("the reference is itself a configuration: {error}"));
    assert_eq!(read.sip, Config::default().sip);
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_help() {
    let mut all = String::new();
    for command in [
        "",
        "serve",
        "demo",
        "call",
        "calls show",
        "doctor",
        "check-config",
        "print-config",
        "completions",
    ] {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let ran = run(&args, &[("COLUMNS", "100")]).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        all.push_str(&format!("$ trunkline {}\n{}\n", args.join(" "), ran.out));
    }
    golden("tests/it/golden/help.txt", &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completions", shell], &[]).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        for command in ["serve", "demo", "call", "check-config", "print-config", "completions"] {
            assert!(ran.out.contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"], &[]).await.code, 2);
    assert_eq!(run(&["frobnicate"], &[]).await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_in_force_is_printed_without_secrets() {
    let ran = run(&["print-config"], &[("TRUNKLINE__SIP__DIALOGS_MAX", "77")]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let read: Config = config::load_str("printed", &ran.out, &config::Env::new())
        .unwrap_or_else(|error| panic!("it can be read again: {error}"));
    assert_eq!(read.sip.dialogs_max, 77);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_setting() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let udp = socket.local_addr().expect("bound");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let tcp = listener.local_addr().expect("bound");
    for (setting, address) in [("sip.listen_udp", udp), ("sip.listen_tcp", tcp), ("api.bind", tcp)]
    {
        let path = write_config(&dir, |config| match setting {
            "sip.listen_udp" => config.sip.listen_udp = vec![address],
            "sip.listen_tcp" => config.sip.listen_tcp = vec![address],
            _ => config.api.bind = address,
        });
        let ran = run(&["serve", "--config", path.to_str().expect("a path")], &[]).await;
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains(setting), "{setting}: {}", ran.err);
        assert!(ran.err.contains(&address.port().to_string()), "{setting}: {}", ran.err);
        assert!(ran.out.is_empty(), "{}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_where_it_listens_and_what_is_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write_config(&dir, |_| {});
    let server = ServerProcess::start(&path).await;
    let address = server.sip;
    server.terminate();
    assert_eq!(server.wait().await, 0);
    assert_ne!(address.port(), 0);
}
