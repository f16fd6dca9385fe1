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

#[test]
fn an_agent_names_no_file_of_the_server() {
    let text = |stt: &str| {
        format!(
            r#"
            [providers.ear]
            kind = "whisper-cpp"
            model = "/nowhere/ggml.bin"
            [agents.a]
            stt = {{ {stt} }}
            llm.provider = "script"
            tts.provider = "local"
            "#
        )
    };
    let refusal = |stt: &str| {
        let env = crate::config::Env::default();
        let loaded = crate::config::load_str::<Config>("test.toml", &text(stt), &env);
        loaded.err().unwrap().to_string()
    };
    let other = refusal(r#"provider = "ear", model = "/etc/passwd""#);
    assert!(other.contains("agents.a.stt.model") && other.contains("leave it out"), "{other}");
    // Its own model gets as far as the file, or as the build.
    for same in [r#"provider = "ear""#, r#"provider = "ear", model = "/nowhere/ggml.bin""#] {
        let same = refusal(same);
        let reached = ["is not in this build", "`model` \"/nowhere/ggml.bin\": cannot be read"];
        assert!(same.contains("agents.a.stt.provider"), "{same}");
        assert!(reached.iter().any(|words| same.contains(words)), "{same}");
    }
    let standing_in = verdict(
        r#"
        stt.fallbacks = [{ provider = "file", model = "/etc/passwd" }]
        [providers.file]
        kind = "whisper-cpp"
        "#,
    );
    assert!(standing_in.unwrap_err().contains("cannot be chosen here"));
}
