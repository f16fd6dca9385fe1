#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::config::Config;

/// What the configuration says of an agent with these lines.
fn verdict(lines: &str) -> Result<(), String> {
    let text = format!(
        r#"
        [providers.ear]
        kind = "deepgram"
        api_key = {{ env = "KEY" }}
        [providers.ear2]
        kind = "soniox"
        api_key = {{ env = "KEY" }}
        [providers.brain]
        kind = "openai"
        api_key = {{ env = "KEY" }}
        [agents.a]
        stt.provider = "ear"
        llm.provider = "brain"
        tts.provider = "ear"
        {lines}
        "#
    );
    let env = crate::config::Env::from([("KEY".to_owned(), "secret".to_owned())]);
    let loaded = crate::config::load_str::<Config>("test.toml", &text, &env);
    loaded.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn fallbacks_are_checked_by_name() {
    assert_eq!(verdict(r#"stt.fallbacks = ["ear2"]"#), Ok(()));
    let named = r#"tts.fallbacks = [{ provider = "ear2", voice = "Maya" }]"#;
    assert_eq!(verdict(named), Ok(()));
    for (lines, wrong) in [
        (r#"stt.fallbacks = ["nobody"]"#, "stt.fallbacks[0].provider"),
        (r#"stt.fallbacks = ["ear"]"#, "is the agent's own provider"),
        (r#"stt.fallbacks = ["ear2", "ear2"]"#, "listed twice"),
        (r#"llm.fallbacks = ["script"]"#, "can't stand in"),
        (r#"llm.fallbacks = ["ear"]"#, "does not do"),
        (r#"stt.fallbacks = [{ provider = "ear2", voice = "v" }]"#, "only a fallback of `tts`"),
        (r#"stt.fallbacks = ["a", "b", "c", "d", "e"]"#, "at most 4 entries"),
    ] {
        let found = verdict(lines).unwrap_err();
        assert!(found.contains(wrong), "{found}");
    }
}
