//! Replays every committed corpus file through the body of its fuzz target, without a fuzzer.
//!
//! The bodies live in the library behind the feature `fuzzing`; each asserts the promises of its room.
//! A finding of the fuzzer becomes a file in `fuzz/corpus/<target>/` and so a test for ever.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use trunkline::providers::llm::scripted::fuzz as scripted;
use trunkline::{audio, config, media, rtp, sdp, sip, speech, turn};

/// Files of one target: more is a fuzzer's working set, which does not belong into the repository.
const FILES_MAX: usize = 100;
/// Octets of one target.
const BYTES_MAX: u64 = 200_000;

macro_rules! replay {
    ($($target:ident => $body:path,)*) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),*];
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), $body);
            }
        )*
    };
}

replay! {
    agent_events => sip::fuzz_agent::agent_events,
    audio_frames => audio::fuzz::audio_frames,
    config_toml => config::load::config_toml,
    digest_challenge => sip::fuzz::digest_challenge,
    dtls => rtp::fuzz::dtls,
    dtmf => rtp::fuzz::dtmf,
    ice => rtp::fuzz::ice,
    jitter_ops => rtp::fuzz::jitter_ops,
    media_ops => media::fuzz::media_ops,
    phrase => scripted::phrase,
    provider_message => trunkline::providers::provider_message,
    recording => trunkline::store::fuzz::recording,
    rtcp => rtp::fuzz::rtcp,
    srtp => rtp::fuzz::srtp,
    rtp_packet => rtp::fuzz::rtp_packet,
    scripted_dialogue => scripted::scripted_dialogue,
    sdp => sdp::fuzz::sdp,
    sentence => turn::fuzz::sentence,
    sip_datagram => sip::fuzz::sip_datagram,
    sip_stream => sip::fuzz::sip_stream,
    speech_text => speech::fuzz::speech_text,
    turn_events => turn::fuzz::turn_events,
    uri => sip::fuzz::uri,
    wav => audio::fuzz::wav,
}

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(target: &str, body: fn(&[u8])) {
    let files = files(&fuzz_dir().join("corpus").join(target));
    assert!(!files.is_empty() && files.len() <= FILES_MAX, "{target}: {} files", files.len());
    let mut bytes = 0;
    let mut broken = Vec::new();
    for file in files {
        let data = std::fs::read(&file).unwrap();
        bytes += data.len() as u64;
        if std::panic::catch_unwind(|| body(&data)).is_err() {
            broken.push(file);
        }
    }
    assert!(bytes <= BYTES_MAX, "{target}: {bytes} octets");
    assert!(broken.is_empty(), "{target} fails on {broken:#?}");
}

#[test]
fn every_target_has_a_body_a_corpus_and_a_replay() {
    let stems = |dir: &str| -> BTreeSet<String> {
        let files = files(&fuzz_dir().join(dir));
        files.iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect()
    };
    let replayed: BTreeSet<String> = TARGETS.iter().map(|&target| target.to_owned()).collect();
    assert_eq!(stems("fuzz_targets"), replayed);
    assert_eq!(stems("corpus"), replayed);
    let manifest = std::fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    let declared: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .map(str::to_owned)
        .collect();
    assert_eq!(declared, replayed);
}
