use super::*;

#[test]
fn defaults_are_in_range_and_an_empty_table_means_them() {
    let config = TurnConfig::default();
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(serde_json::from_str::<TurnConfig>("{}").unwrap(), config);
    assert!(serde_json::from_str::<TurnConfig>(r#"{"silence": 3}"#).is_err());
}

#[test]
fn a_value_out_of_range_is_named() {
    let rows: [(&str, &str); 5] = [
        (r#"{"silence_ms": 99}"#, "silence_ms"),
        (r#"{"barge_in": {"min_ms": 2001}}"#, "barge_in.min_ms"),
        (r#"{"inactivity": {"prompt_after_ms": 999}}"#, "inactivity.prompt_after_ms"),
        (r#"{"filler_after_ms": 2401}"#, "filler_after_ms"),
        (r#"{"first_clause_min_chars": 3}"#, "first_clause_min_chars"),
    ];
    for (text, key) in rows {
        let config: TurnConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.validate().unwrap_err().key, key);
    }
    let off: TurnConfig =
        serde_json::from_str(r#"{"inactivity": {"prompt_after_ms": 0}}"#).unwrap();
    assert_eq!(off.validate(), Ok(()));
}

#[test]
fn policies() {
    let policy = |enabled, min_words| {
        BargeIn { enabled, min_ms: 5, min_words, ..BargeIn::default() }.policy()
    };
    assert_eq!(policy(false, 3), Interruption::Off);
    assert_eq!(policy(true, 0), Interruption::AnySpeech { min_ms: 5 });
    assert_eq!(policy(true, 3), Interruption::MinWords { n: 3 });
}
