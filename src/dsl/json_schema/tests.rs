use serde_json::json;

use super::*;

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    let wrong = |schema| JsonSchema::compile(schema).err().map(|error| error.to_string());
    let misspelt = json!({"properties": {"a": {"type": "nope"}}});
    let message = wrong(misspelt).unwrap_or_default();
    assert!(message.contains("/properties/a") && !message.contains("nope"), "{message}");
    for schema in [
        json!({"properties": {"a": {"pattern": "("}}}),
        json!({"properties": {"a": {"pattern": "(a+)+\\1"}}}),
        json!({"$ref": "http://127.0.0.1:9/x.json"}),
        json!({"$ref": "file:///etc/passwd"}),
    ] {
        assert!(wrong(schema.clone()).is_some(), "{schema}");
    }
}

#[test]
fn schemas_are_bounded() {
    let long = json!({"description": "x".repeat(SCHEMA_BYTES_MAX)});
    assert_eq!(JsonSchema::compile(long).err(), Some(SchemaError::TooLong));
    let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"not": inner}));
    assert_eq!(JsonSchema::compile(nested(SCHEMA_DEPTH_MAX)).err(), Some(SchemaError::TooDeep));
    assert!(JsonSchema::compile(nested(SCHEMA_DEPTH_MAX - 1)).is_ok());
}

/// A few hundred bytes that stand for 2^40 parts, and some that have no end.
#[test]
fn references_are_followed_beforehand() {
    let refused = |schema: Value| JsonSchema::compile(schema).err();
    let twice = |n: usize| {
        let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
        (format!("d{n}"), json!({"allOf": [next, next]}))
    };
    let mut parts: serde_json::Map<String, Value> = (0..40).map(twice).collect();
    parts.insert("d40".to_owned(), json!({"type": "object"}));
    let wide = json!({"$ref": "#/$defs/d0", "$defs": parts});
    assert_eq!(refused(wide), Some(SchemaError::TooWide));
    let own = json!({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}});
    assert_eq!(refused(own), Some(SchemaError::Recursive("#/$defs/a".to_owned())));
    let named = json!({"properties": {"enum": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"properties": {"const": {"$ref": "#/properties/enum"}}}}});
    assert!(matches!(refused(named), Some(SchemaError::Recursive(_))));
    for target in ["#", "#/nowhere", "#name", "other.json", "#/%24defs/a"] {
        let schema = json!({"properties": {"a": {"$ref": target}}, "$defs": {"a": {}}});
        assert_eq!(refused(schema), Some(SchemaError::Reference(target.to_owned())));
    }
    let inner =
        json!({"$id": "https://a.example/", "properties": {"a": {"$id": "b", "type": "string"}}});
    assert_eq!(refused(inner), Some(SchemaError::Reference("b".to_owned())));
    let fine = json!({"$id": "https://a.example/", "$defs": {"day": {"type": "string"}},
        "properties": {"id": {"type": "string"}, "$ref": {"$ref": "#/$defs/day"}, "to": {"$ref": "#/$defs/day"}}});
    assert_eq!(refused(fine), None);
}

#[test]
fn faults_are_few_short_and_quote_only_when_asked() {
    let schema = json!({"type": "object", "additionalProperties": {"type": "integer"},
        "properties": {"day": {"type": "string", "format": "date"}}});
    let schema = JsonSchema::compile(schema).unwrap_or_else(|error| panic!("{error}"));
    assert!(schema.faults(&json!({"day": "2026-11-21", "n": 1}), Quoting::Values).is_empty());
    let value = json!({"day": "canary"});
    let quoted = schema.faults(&value, Quoting::Values);
    assert!(quoted.iter().all(|fault| fault.contains("canary") && fault.contains("at `/day`")));
    let masked = schema.faults(&value, Quoting::Nothing);
    assert!(masked.len() == 1 && !masked.iter().any(|fault| fault.contains("canary")));
    let many: Value = (0..50).map(|n| (n.to_string(), json!("x".repeat(5_000)))).collect();
    let faults = schema.faults(&many, Quoting::Values);
    assert_eq!(faults.len(), FAULTS_MAX);
    assert!(faults.iter().all(|fault| fault.chars().count() < FAULT_CHARS_MAX + 40));
}
