//! JSON Schema cut down to what Gemini's `Schema` knows: it refuses a request with any other word.

use serde_json::{Map, Value, json};

/// Words that mean the same in both.
const SAME: &[&str] = &[
    "title",
    "description",
    "nullable",
    "default",
    "required",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "pattern",
    "propertyOrdering",
];

/// Formats that the vendor names.
const FORMATS: &[&str] = &["float", "double", "int32", "int64", "enum", "date-time"];

/// Deepest schema: more cannot be filled in by a model either.
const DEPTH_MAX: usize = 16;

/// The part of a schema that is known there. What is not is left out: the prompt says it besides.
pub(super) fn subset(schema: &Value) -> Value {
    let mut left = 4_096;
    cut(schema, DEPTH_MAX, &mut left)
}

fn cut(schema: &Value, depth: usize, left: &mut usize) -> Value {
    let Some(fields) = schema.as_object().filter(|_| depth > 0 && *left > 0) else {
        return json!({"type": "string"});
    };
    *left -= 1;
    let mut out = Map::new();
    for name in SAME {
        if let Some(value) = fields.get(*name) {
            out.insert((*name).to_owned(), value.clone());
        }
    }
    types(fields, &mut out);
    if let Some(format) = fields
        .get("format")
        .filter(|format| format.as_str().is_some_and(|format| FORMATS.contains(&format)))
    {
        out.insert("format".to_owned(), format.clone());
    }
    // A choice is one of words only.
    let choices = fields.get("enum").and_then(Value::as_array).cloned();
    let choices = choices.or_else(|| fields.get("const").map(|only| vec![only.clone()]));
    if let Some(choices) = choices.filter(|all| !all.is_empty() && all.iter().all(Value::is_string))
    {
        out.insert("type".to_owned(), json!("string"));
        out.insert("enum".to_owned(), Value::Array(choices));
    }
    if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
        let inner = properties.iter().map(|(k, v)| (k.clone(), cut(v, depth - 1, left)));
        let inner: Map<_, _> = inner.collect();
        if !inner.is_empty() {
            out.insert("properties".to_owned(), Value::Object(inner));
        }
    }
    if let Some(items) = fields.get("items") {
        out.insert("items".to_owned(), cut(items, depth - 1, left));
    }
    let any = ["anyOf", "oneOf"].iter().find_map(|name| fields.get(*name)?.as_array());
    if let Some(any) = any {
        let any: Vec<Value> = any.iter().map(|one| cut(one, depth - 1, left)).collect();
        out.insert("anyOf".to_owned(), Value::Array(any));
    }
    Value::Object(out)
}

/// A type is one word there; `null` among several is another.
fn types(fields: &Map<String, Value>, out: &mut Map<String, Value>) {
    match fields.get("type") {
        Some(Value::Array(several)) => {
            if several.iter().any(|one| one == "null") {
                out.insert("nullable".to_owned(), json!(true));
            }
            if let Some(one) = several.iter().find(|one| *one != "null") {
                out.insert("type".to_owned(), one.clone());
            }
        }
        Some(one @ Value::String(_)) => {
            out.insert("type".to_owned(), one.clone());
        }
        _ => {}
    }
}
