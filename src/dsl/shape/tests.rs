use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Shape, ShapeError};
use crate::dsl::json_schema::SCHEMA_BYTES_MAX;

fn shape(returns: Value) -> Shape {
    Shape::read(&returns).unwrap_or_else(|error| panic!("{returns}: {error}"))
}

/// Seed 000's own example, and every type that the flat form knows.
#[test]
fn flat_shapes_take_their_types_and_nothing_else() {
    let rows: [(Value, &[Value], &[Value]); 8] = [
        (json!("boolean"), &[json!(true), json!(null)], &[json!("yes"), json!(1)]),
        (json!("string"), &[json!("x"), json!(null)], &[json!(1), json!([])]),
        (json!("number"), &[json!(1), json!(1.5)], &[json!("1")]),
        (json!("integer"), &[json!(1), json!(-3)], &[json!(1.5), json!("1")]),
        (json!("date"), &[json!("2026-11-21")], &[json!("21.11.2026"), json!("2026-02-30")]),
        (json!("datetime"), &[json!("2026-11-21T10:00:00Z")], &[json!("2026-11-21"), json!(5)]),
        (json!(["red", "green"]), &[json!("red"), json!(null)], &[json!("blue"), json!("")]),
        (
            json!({"type": "array", "description": "names", "items": {"type": "string"}}),
            &[json!(["a"]), json!([])],
            &[json!([1]), json!("a")],
        ),
    ];
    for (word, good, bad) in rows {
        let shape = shape(json!({"value": word, "other": "object"}));
        for value in good {
            let answer = json!({"value": value}).to_string();
            let expected = json!({"value": value, "other": null});
            assert_eq!(shape.accept(&answer), Ok(expected), "{word} {value}");
        }
        for value in bad {
            let answer = json!({"value": value}).to_string();
            let Err(ShapeError::Mismatch(complaint)) = shape.accept(&answer) else {
                panic!("{word} takes {value}");
            };
            assert!(complaint.contains("/value"), "{complaint}");
        }
        assert!(shape.accept(r#"{"invented": 1}"#).is_err(), "{word}");
    }
}

#[test]
fn what_is_no_shape_is_refused_with_the_key() {
    for (returns, word) in [
        (json!({"a": "bool"}), "`a`"),
        (json!({"a": []}), "`a`"),
        (json!({"a": [1]}), "`a`"),
        (json!({"a": 5}), "`a`"),
        (json!({}), "1 to 100"),
        (json!("boolean"), "object"),
        (json!({"a": "x".repeat(SCHEMA_BYTES_MAX)}), "bytes"),
        (json!({"type": "object", "properties": {"a": {"type": "bool"}}}), "JSON Schema"),
        (json!({"properties": {"a": {"pattern": "("}}}), "JSON Schema"),
        (json!({"properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}), "within itself"),
    ] {
        let Err(error) = Shape::read(&returns) else { panic!("{returns} is taken") };
        assert!(error.to_string().contains(word), "{returns}: {error}");
    }
}

#[test]
fn json_schema_keeps_its_rules_but_no_value_must_be_invented() {
    let shape = shape(json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "guests": {"type": "integer", "minimum": 1},
            "address": {"type": "object", "properties": {"zip": {"type": "string"}}, "required": ["zip"]}
        },
        "required": ["name", "guests"]
    }));
    let accept = |json: Value| shape.accept(&json.to_string());
    assert_eq!(
        accept(json!({"name": "Ada", "guests": null})),
        Ok(json!({"name": "Ada", "guests": null, "address": null}))
    );
    assert_eq!(accept(json!({})), Ok(json!({"name": null, "guests": null, "address": null})));
    for wrong in [json!({"name": "A"}), json!({"guests": 0}), json!({"address": {}})] {
        assert!(accept(wrong.clone()).is_err(), "{wrong}");
    }
    assert!(!shape.is_strict());
}

#[test]
fn a_field_may_be_called_type_or_properties() {
    let shape = shape(json!({"type": "string", "properties": "string"}));
    let answer = shape.accept(r#"{"type": "a"}"#);
    assert_eq!(answer, Ok(json!({"type": "a", "properties": null})));
}

#[test]
fn answers_are_found_in_fences_and_words() {
    let shape = shape(json!({"ok": "boolean"}));
    for answer in [
        r#"{"ok": true}"#,
        "```json\n{\"ok\": true}\n```",
        "Here it is: {\"ok\": true} as you asked.",
    ] {
        assert_eq!(shape.accept(answer), Ok(json!({"ok": true})), "{answer}");
    }
    for answer in ["", "no", "{", "}{", "[true]", "{\"ok\": tru}"] {
        assert_eq!(shape.accept(answer), Err(ShapeError::NoJson), "{answer}");
    }
}

#[test]
fn complaints_never_repeat_a_value() {
    let shape = shape(json!({"ok": "boolean", "day": "date"}));
    let error = shape.accept(r#"{"ok": "canary", "day": "canary"}"#).unwrap_err().to_string();
    assert!(
        error.contains("/ok") && error.contains("/day") && !error.contains("canary"),
        "{error}"
    );
}

#[test]
fn texts_of_the_call_become_values() {
    let shape = shape(json!({
        "confirmed": "boolean", "guests": "integer", "name": "string", "day": "date",
    }));
    let texts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    assert_eq!(shape.accept_texts(&texts(&[("else", "1")])), None, "nothing of ours was set");
    assert_eq!(
        shape.accept_texts(&texts(&[("confirmed", "true"), ("guests", "4"), ("name", "7")])),
        Some(Ok(json!({"confirmed": true, "guests": 4, "name": "7", "day": null})))
    );
    for pair in [("confirmed", "maybe"), ("guests", "four"), ("day", "tomorrow")] {
        assert!(matches!(shape.accept_texts(&texts(&[pair])), Some(Err(_))), "{pair:?}");
    }
}

proptest::proptest! {
    /// Whatever a model answers, reading it neither panics nor lets a value through that the shape forbids.
    #[test]
    fn any_answer_is_read_or_refused(answer in "\\PC{0,80}", key in "[a-c]", value in "\\PC{0,8}") {
        let shape = shape(json!({"a": "boolean", "b": "integer", "c": "date"}));
        let _ = shape.accept(&answer);
        let text = format!("{{\"{key}\": {value}}}");
        if let Ok(read) = shape.accept(&text) {
            let object = read.as_object().unwrap();
            proptest::prop_assert_eq!(object.len(), 3);
            proptest::prop_assert!(object["a"].is_boolean() || object["a"].is_null());
            proptest::prop_assert!(object["b"].is_number() || object["b"].is_null());
        }
    }
}
