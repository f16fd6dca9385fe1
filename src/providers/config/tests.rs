use super::{ConfigError, ProviderConfig, ProviderKind, build_llm, build_stt, build_tts};
use crate::types::Secret;

fn config(text: &str) -> Result<ProviderConfig, toml::de::Error> {
    toml::from_str(text)
}

#[test]
fn every_kind_makes_the_stages_it_serves() {
    let key = || Secret::new("k");
    let openai = config("kind = 'openai'").unwrap();
    assert!(build_stt("a", &openai, key()).is_ok());
    assert_eq!(build_llm("a", &openai, key()).unwrap().model(), Some("gpt-4o-mini"));
    assert!(build_tts("a", &openai, key()).is_ok());
    let deepgram = config("kind = 'deepgram'\nbase_url = 'ws://127.0.0.1:1'").unwrap();
    assert_eq!(build_stt("d", &deepgram, key()).unwrap().sample_rate().hz(), 8_000);
    assert!(build_tts("d", &deepgram, key()).is_ok());
    let wrong = build_llm("d", &deepgram, key()).err().unwrap();
    assert_eq!(
        wrong.to_string(),
        "kind `deepgram` does not do llm; allowed: openai, anthropic, gemini, scripted"
    );
    let eleven = config("kind = 'elevenlabs'\nvoice = 'v1'").unwrap();
    assert!(build_tts("e", &eleven, key()).is_ok());
    assert!(build_stt("e", &eleven, key()).is_ok());
    let assembly = config("kind = 'assemblyai'").unwrap();
    assert!(build_stt("a", &assembly, key()).unwrap().ends_turns());
    assert!(build_tts("a", &assembly, key()).is_err());
    let voiceless = config("kind = 'elevenlabs'").unwrap();
    assert_eq!(build_tts("e", &voiceless, key()).err(), Some(ConfigError::Voice));
}

#[test]
fn bad_settings_are_named() {
    assert!(config("kind = 'whisper'").is_err());
    assert!(config("api_key = 'x'").unwrap_err().to_string().contains("api_key"));
    for url in ["ftp://x", "x", "http://", "https://h/?key=1", "https://u:p@h/"] {
        let bad = ProviderConfig { base_url: url.to_owned(), ..ProviderConfig::default() };
        assert_eq!(build_llm("a", &bad, Secret::default()).err(), Some(ConfigError::Url), "{url}");
    }
    let rate = ProviderConfig {
        kind: ProviderKind::Deepgram,
        sample_rate: 11_025,
        ..ProviderConfig::default()
    };
    let error = build_stt("a", &rate, Secret::default()).err().unwrap();
    assert!(error.to_string().starts_with("`sample_rate` 11025 is not allowed; allowed: 8000"));
    let law = ProviderConfig { encoding: "alaw".to_owned(), ..rate };
    let error = build_stt("a", &law, Secret::default()).err().unwrap();
    assert_eq!(error.to_string(), "`encoding` \"alaw\" is not allowed; allowed: pcm, mulaw");
}

#[test]
fn a_plain_service_has_host_and_port_and_nothing_else() {
    let wyoming = |url: &str| ProviderConfig {
        kind: ProviderKind::Wyoming,
        base_url: url.to_owned(),
        ..ProviderConfig::default()
    };
    for url in ["", "tcp://piper:10200", "tcp://127.0.0.1:1/"] {
        assert!(build_tts("w", &wyoming(url), Secret::default()).is_ok(), "{url}");
    }
    for url in ["http://h:1", "tcp://h", "tcp://h:1/x", "tcp://u:p@h:1", "tcp://h:1?x", "h:1"] {
        let refused = build_tts("w", &wyoming(url), Secret::default()).err();
        assert_eq!(refused, Some(ConfigError::TcpUrl), "{url}");
    }
}

#[test]
fn an_encoding_is_a_known_word() {
    let with = |encoding: &str| ProviderConfig {
        kind: ProviderKind::Rime,
        encoding: encoding.to_owned(),
        ..ProviderConfig::default()
    };
    for word in ["", "pcm", "mulaw"] {
        assert!(build_tts("r", &with(word), Secret::default()).is_ok(), "{word}");
    }
    let error = build_tts("r", &with("opus"), Secret::default()).err().unwrap();
    assert_eq!(error.to_string(), "`encoding` \"opus\" is not allowed; allowed: pcm, mulaw");
}
