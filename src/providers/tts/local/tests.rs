use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::types::Pii;

fn say(generation: u32, seq: u32, text: &str) -> TtsInput {
    TtsInput::Say { generation: Generation(generation), seq, text: Pii::new(text.to_owned()) }
}

/// A directory with a program called `espeak-ng` that runs `body`.
fn fake(body: &str) -> (tempfile::TempDir, LocalTtsConfig) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("espeak-ng");
    std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = LocalTtsConfig {
        search_path: Some(dir.path().into()),
        timeout: Some(Duration::from_millis(300)),
        ..LocalTtsConfig::default()
    };
    (dir, config)
}

#[test]
fn a_missing_program_says_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        LocalTtsConfig { search_path: Some(dir.path().into()), ..LocalTtsConfig::default() };
    let error = LocalTts::detect(&config).err().unwrap();
    assert_eq!(error.kind, FailureKind::Missing);
    assert!(error.detail.contains("apt-get install flite"), "{error}");
}

#[test]
fn a_voice_cannot_become_an_option() {
    let (_dir, config) = fake("exit 0");
    let tts = LocalTts::detect(&config).unwrap();
    for voice in ["--help", "-v", "a b", "a/../b", "a;b", "a\0"] {
        let params = TtsParams { voice: voice.to_owned(), ..TtsParams::default() };
        assert_eq!(
            tts.voice(&params).err().map(|e| e.kind),
            Some(FailureKind::BadRequest),
            "{voice}"
        );
    }
}

async fn first_failure(body: &str) -> FailureKind {
    let (_dir, config) = fake(body);
    let mut session = LocalTts::detect(&config).unwrap().open(TtsParams::default()).await.unwrap();
    session.input.send(say(1, 0, "hello")).await.unwrap();
    match session.events.recv().await {
        Some(TtsEvent::Failed { error, fatal: false, .. }) => error.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn programs_that_hang_fail_or_talk_nonsense_are_reported() {
    assert_eq!(first_failure("exec sleep 60").await, FailureKind::Stalled);
    assert_eq!(first_failure("exit 3").await, FailureKind::Protocol);
    assert_eq!(first_failure("echo this is not a WAV file at all").await, FailureKind::Protocol);
}

#[tokio::test]
async fn cancel_silences_its_generation_and_the_next_one_speaks() {
    let wav = "cat >/dev/null; printf 'RIFF\\377\\377\\377\\177WAVEfmt \\020\\0\\0\\0\\001\\0\\001\\0\\200\\076\\0\\0\\0\\175\\0\\0\\002\\0\\020\\0data\\377\\377\\377\\177\\001\\0\\002\\0'";
    let (_dir, config) = fake(wav);
    let mut session = LocalTts::detect(&config).unwrap().open(TtsParams::default()).await.unwrap();
    for seq in 0..5 {
        session.input.send(say(1, seq, "old")).await.unwrap();
    }
    session.input.send(TtsInput::Cancel { generation: Generation(1) }).await.unwrap();
    session.input.send(say(1, 5, "late")).await.unwrap();
    session.input.send(say(2, 0, "new")).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = session.events.recv().await {
        let done = matches!(event, TtsEvent::Done { generation: Generation(2), .. });
        events.push(event);
        if done {
            break;
        }
    }
    let samples: Vec<i16> = events
        .iter()
        .filter_map(|event| match event {
            TtsEvent::Audio { generation: Generation(2), pcm, .. } => Some(pcm.samples.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(samples, [1, 2], "{events:?}");
    assert!(
        !events.iter().any(|e| matches!(e, TtsEvent::Audio { seq: 5, .. })),
        "late text of a cancelled generation spoke"
    );
}

#[tokio::test]
async fn installed_voices_speak_even_hostile_text() {
    for engine in [LocalEngine::Flite, LocalEngine::EspeakNg] {
        let config = LocalTtsConfig { engine, ..LocalTtsConfig::default() };
        let tts = match LocalTts::detect(&config) {
            Ok(tts) => tts,
            Err(error) => {
                println!("SKIPPED: {error}");
                continue;
            }
        };
        let mut session = tts.open(TtsParams::default()).await.unwrap();
        let texts =
            ["--help; rm -rf x", "-o /x", "a\0b\nc", "$(reboot) `id`", "...", &"la ".repeat(1_000)];
        for (seq, text) in texts.iter().enumerate() {
            let begun = clock::now();
            session.input.send(say(1, seq as u32, text)).await.unwrap();
            let mut samples = 0;
            loop {
                match session.events.recv().await.unwrap() {
                    TtsEvent::Audio { pcm, at, .. } => {
                        if samples == 0 {
                            println!(
                                "{engine:?} {seq}: first audio {:?}",
                                at.duration_since(begun)
                            );
                        }
                        samples += pcm.samples.len();
                    }
                    TtsEvent::Alignment { .. } => {}
                    TtsEvent::Done { .. } => break,
                    TtsEvent::Failed { error, .. } => panic!("{engine:?} {seq}: {error}"),
                }
            }
            assert_eq!(samples > 0, *text != "...", "{engine:?} {seq}");
        }
    }
}

#[test]
fn wav_is_read_in_any_pieces() {
    let mut bytes =
        b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0"
            .to_vec();
    bytes.extend(b"data\xff\xff\xff\x7f");
    bytes.extend((0..50i16).flat_map(i16::to_le_bytes));
    for piece in 1..bytes.len() {
        let mut decoder = wav::StreamDecoder::default();
        let mut samples = Vec::new();
        for part in bytes.chunks(piece) {
            if let Some(pcm) = decoder.push(part).unwrap() {
                assert_eq!(pcm.rate.hz(), 16_000);
                samples.extend(pcm.samples);
            }
        }
        assert_eq!(samples, (0..50).collect::<Vec<i16>>(), "pieces of {piece}");
    }
}
