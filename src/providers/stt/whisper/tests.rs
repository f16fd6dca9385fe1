use super::*;
use crate::providers::config::{ProviderKind, build_stt};

fn config(model: &str) -> ProviderConfig {
    ProviderConfig {
        kind: ProviderKind::WhisperCpp,
        model: model.to_owned(),
        ..ProviderConfig::default()
    }
}

fn refusal(config: &ProviderConfig) -> String {
    build_stt("w", config, Secret::default()).err().unwrap().to_string()
}

#[test]
fn settings_it_does_not_take_are_named() {
    let rate = ProviderConfig { sample_rate: 8_000, ..config("m.bin") };
    assert_eq!(refusal(&rate), "`sample_rate` 8000 is not allowed; allowed: 16000");
    let law = ProviderConfig { encoding: "mulaw".to_owned(), ..config("m.bin") };
    assert_eq!(refusal(&law), "`encoding` \"mulaw\" is not allowed; allowed: pcm");
}

#[cfg(not(feature = "whisper"))]
#[test]
fn a_build_without_the_engine_says_so() {
    assert_eq!(
        refusal(&config("/models/ggml-base.bin")),
        "kind `whisper-cpp` is not in this build: build with `--features whisper`, or run whisper.cpp's server and \
         name it with kind `openai`"
    );
}

/// Octets of a header with plausible figures.
fn header() -> Vec<u8> {
    let figures = [MAGIC, 51_865, 1_500, 384, 6, 4, 448, 384, 6, 4, 80, 1];
    figures.iter().flat_map(|figure| figure.to_le_bytes()).collect()
}

const OCTETS: u64 = 5_000_000;

/// A header and as many zeros as weights would take.
fn plausible() -> Vec<u8> {
    let mut octets = header();
    octets.resize(OCTETS as usize, 0);
    octets
}

#[test]
fn a_file_that_is_no_model_is_refused_before_the_engine_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str, octets: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, octets).unwrap();
        inspect(&path).map(|file| file.octets)
    };
    let problem = |made: Result<u64, String>| made.unwrap_err();
    assert_eq!(problem(of("empty", b"")), "is too short for a model");
    assert!(problem(of("text", &[b'x'; 200])).starts_with("is not a ggml model"));
    let mut damaged = header();
    damaged.truncate(8);
    damaged.resize(100, 0xff);
    assert!(problem(of("damaged", &damaged)).contains("damaged"));
    assert_eq!(problem(of("cut", &header())), "is cut: it holds fewer weights than it says");
    assert_eq!(of("model", &plausible()), Ok(OCTETS));
    assert_eq!(inspect(Path::new("")).unwrap_err(), "no path is set");
    assert_eq!(inspect(dir.path()).unwrap_err(), "is not a file");
    let gone = inspect(&dir.path().join("gone")).unwrap_err();
    assert!(gone.starts_with("cannot be read: No such file"), "{gone}");
}

#[cfg(feature = "whisper")]
#[test]
fn a_missing_or_bogus_model_is_named() {
    assert_eq!(
        refusal(&config("/nowhere/ggml-base.bin")),
        "`model` \"/nowhere/ggml-base.bin\": cannot be read: No such file or directory (os error 2); allowed: the \
         path of a ggml model file of whisper.cpp"
    );
    assert!(refusal(&config("")).starts_with("`model` \"\": no path is set; allowed"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zeros.bin");
    std::fs::write(&path, plausible()).unwrap();
    let refused = refusal(&config(path.to_str().unwrap()));
    assert!(refused.contains("is not a model of whisper.cpp, or is damaged"), "{refused}");
}

#[test]
fn sounds_in_brackets_are_no_words() {
    for sound in [
        "",
        "  ",
        " [BLANK_AUDIO]",
        "(music)",
        " (upbeat music playing)",
        "*sighs*",
        "♪ la la la ♪",
        "[BLANK_",
        "【音楽】",
        "（笑）",
        " . . .",
        "- [inaudible] -",
    ] {
        assert_eq!(words(sound), None, "{sound:?}");
    }
    for (text, expected) in [
        (" Hello, world.", "Hello, world."),
        (" [noise]  Yes,\n please. (coughs)", "Yes, please."),
        ("2 * 3", "2 3"),
        ("♪ Hold on", "Hold on"),
        (" Grüezi.", "Grüezi."),
        ("你好", "你好"),
    ] {
        assert_eq!(words(text).as_deref(), Some(expected), "{text:?}");
    }
}

#[test]
fn a_segment_that_is_likely_no_speech_is_left_out() {
    let segment = |text: &str, no_speech_probability| Segment {
        text: text.to_owned(),
        no_speech_probability,
    };
    assert_eq!(heard(&[]), Heard::Unknown);
    assert_eq!(heard(&[segment(" Thank you.", 0.9)]), Heard::Unknown);
    let both = [segment(" I am here.", 0.1), segment(" Thanks for watching!", 0.95)];
    assert_eq!(heard(&both), Heard::Words("I am here.".to_owned()));
}

#[test]
fn a_prompt_holds_whole_terms_and_no_control_letters() {
    let terms = |list: &[&str]| list.iter().map(|term| (*term).to_owned()).collect::<Vec<_>>();
    assert_eq!(prompt(&[]), "");
    assert_eq!(prompt(&terms(&["Acme\0", "Zürich"])), "Acme, Zürich");
    let many = vec!["abcdefgh".to_owned(); 200];
    let prompt = prompt(&many);
    assert!(prompt.len() <= PROMPT_CHARS_MAX && prompt.ends_with("abcdefgh"), "{prompt}");
}

/// With the weights that `TRUNKLINE_WHISPER_MODEL` names. A second use of the model loads nothing.
#[tokio::test]
async fn a_recording_is_transcribed_where_there_are_weights() {
    use crate::providers::stt::{SttEvent, SttInput};

    let Ok(path) = std::env::var("TRUNKLINE_WHISPER_MODEL") else {
        println!("SKIPPED: TRUNKLINE_WHISPER_MODEL names no model");
        return;
    };
    // The engine's own files for tests hold no weights, which is enough to see that it runs.
    let stt: Arc<dyn Stt> = if path.contains("for-tests") {
        let pool = Arc::new(load(Path::new(&path)).unwrap());
        Arc::new(WhisperStt { name: "w".to_owned(), model: path.clone(), pool })
    } else {
        match build_stt("w", &config(&path), Secret::default()) {
            Ok(stt) => {
                let again = model(Path::new(&path)).unwrap();
                assert!(Arc::ptr_eq(&again, &model(Path::new(&path)).unwrap()));
                stt
            }
            Err(error @ ConfigError::NotBuilt { .. }) => {
                println!("SKIPPED: {error}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let wav = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/wav/speech/hello.wav");
    let mut wav = hound::WavReader::open(wav).unwrap();
    let copies = (16_000 / wav.spec().sample_rate) as usize;
    let samples: Vec<i16> = wav
        .samples::<i16>()
        .flat_map(|sample| std::iter::repeat_n(sample.unwrap(), copies))
        .collect();
    let keyterms = vec!["hello".to_owned()];
    for (id, language) in ["en-US", "", "de", "x-unknown"].into_iter().enumerate() {
        let params = SttParams { language: language.to_owned(), keyterms: keyterms.clone() };
        let mut session = stt.open(params).await.unwrap();
        session.input.send(SttInput::SpeechStarted).await.unwrap();
        for frame in samples.chunks(640) {
            session.input.send(SttInput::Audio(frame.to_vec())).await.unwrap();
        }
        let id = id as u32;
        session.input.send(SttInput::Finalize { id }).await.unwrap();
        let Some(SttEvent::Final { text, answers, understood, .. }) = session.events.recv().await
        else {
            panic!("no final")
        };
        assert_eq!(answers, Some(id));
        println!("{language:?}: {understood} {:?}", text.reveal());
        if language == "en-US" && !path.contains("for-tests") {
            assert!(text.reveal().to_lowercase().contains("hello"), "{:?}", text.reveal());
        }
    }
}
