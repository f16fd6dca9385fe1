//! The shape of what is extracted: a flat list of words, or JSON Schema; and whether an answer has it.
//!
//! Errors never repeat a value. What was not said is null, so a shape's own `required` at the top says which keys
//! there are, not that a model must invent values for them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::json_schema::{self, JsonSchema, Quoting, SchemaError};

/// Most keys of a flat shape.
const KEYS_MAX: usize = 100;

/// Why something is no shape, or an answer has not the shape. Holds no value of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The shape itself is wrong.
    #[error("the shape {0}")]
    Shape(String),
    /// The answer holds no JSON object.
    #[error("the answer is not a JSON object")]
    NoJson,
    /// The answer is JSON of another shape.
    #[error("{0}")]
    Mismatch(String),
}

impl From<SchemaError> for ShapeError {
    fn from(error: SchemaError) -> Self {
        Self::Shape(error.to_string())
    }
}

/// A shape that answers are held against.
pub struct Shape {
    schema: JsonSchema,
    keys: Vec<String>,
    strict: bool,
}

impl Shape {
    /// Reads a flat shape, such as `{"confirmed": "boolean", "day": ["monday", "friday"]}`, or JSON Schema.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(shape: &Value) -> Result<Self, ShapeError> {
        json_schema::check_size(shape)?;
        let Some(object) = shape.as_object() else {
            return Err(ShapeError::Shape("is a JSON object".to_owned()));
        };
        let is_schema = object.get("properties").is_some_and(Value::is_object)
            && object.get("type").is_none_or(|word| word == "object");
        let (schema, strict) = if is_schema { (loosened(object), false) } else { flat(object)? };
        let keys = schema.get("properties").and_then(Value::as_object);
        let keys = keys.map(|keys| keys.keys().cloned().collect()).unwrap_or_default();
        Ok(Self { schema: JsonSchema::compile(schema)?, keys, strict })
    }

    /// Any JSON Schema, as templates have: nothing of it is changed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_schema(schema: &Value) -> Result<Self, ShapeError> {
        let schema = JsonSchema::compile(schema.clone())?;
        Ok(Self { schema, keys: Vec::new(), strict: false })
    }

    /// JSON Schema of an answer.
    pub fn schema(&self) -> &Value {
        self.schema.schema()
    }

    /// Whether the schema keeps to what strict modes of providers take.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// Names of the values.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Reads a model's answer: the JSON object in it, of this shape, with null for every value that is absent.
    ///
    /// # Errors
    /// What is wrong with it, in words that a model can act on.
    pub fn accept(&self, answer: &str) -> Result<Value, ShapeError> {
        let json = object_in(answer).ok_or(ShapeError::NoJson)?;
        self.check(json)
    }

    /// Makes a result of texts that were set during the call; `None` if none of them is one of ours.
    ///
    /// # Errors
    /// When a text is not what its name asks for.
    pub fn accept_texts(
        &self,
        texts: &BTreeMap<String, String>,
    ) -> Option<Result<Value, ShapeError>> {
        let ours = |name: &&String| texts.contains_key(*name);
        if !self.keys.iter().any(|name| ours(&name)) {
            return None;
        }
        let values = self.keys.iter().filter_map(|name| {
            let property = self.schema().pointer("/properties")?.get(name);
            Some((name.clone(), typed(texts.get(name)?, property)))
        });
        Some(self.check(Value::Object(values.collect())))
    }

    fn check(&self, mut json: Value) -> Result<Value, ShapeError> {
        // A null says that there is no value, whatever the value would have to be.
        if let Some(object) = json.as_object_mut().filter(|_| !self.keys.is_empty()) {
            object.retain(|key, value| !(value.is_null() && self.keys.contains(key)));
        }
        let complaints = self.schema.faults(&json, Quoting::Nothing);
        if !complaints.is_empty() {
            return Err(ShapeError::Mismatch(complaints.join("; ")));
        }
        if let Some(object) = json.as_object_mut() {
            for key in &self.keys {
                object.entry(key.clone()).or_insert(Value::Null);
            }
        }
        Ok(json)
    }
}

/// JSON Schema whose values may all be absent.
fn loosened(schema: &Map<String, Value>) -> Value {
    let mut schema = schema.clone();
    schema.remove("required");
    schema.insert("type".to_owned(), json!("object"));
    Value::Object(schema)
}

/// The schema of a flat shape, and whether it is plain enough for strict modes.
fn flat(shape: &Map<String, Value>) -> Result<(Value, bool), ShapeError> {
    if shape.is_empty() || shape.len() > KEYS_MAX {
        return Err(ShapeError::Shape(format!("has 1 to {KEYS_MAX} values")));
    }
    let mut strict = true;
    let mut properties = Map::new();
    for (name, word) in shape {
        let (schema, is_plain) = property(word)
            .ok_or_else(|| ShapeError::Shape(format!("has no type for `{name}`: {TYPES}")))?;
        strict &= is_plain;
        properties.insert(name.clone(), schema);
    }
    // Every key stands in the answer, with null for what was not said; strict modes ask for the same.
    let schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    Ok((schema, strict))
}

const TYPES: &str = "write `boolean`, `string`, `number`, `integer`, `date`, `datetime`, `array`, `object`, \
    or a list of the texts it may be";

fn property(word: &Value) -> Option<(Value, bool)> {
    let nullable = |name: &str| json!({ "type": [name, "null"] });
    match word {
        Value::String(word) => Some(match word.as_str() {
            "boolean" | "string" | "number" | "integer" => (nullable(word), true),
            "array" | "object" => (nullable(word), false),
            "date" => (json!({"type": ["string", "null"], "format": "date"}), true),
            "datetime" => (json!({"type": ["string", "null"], "format": "date-time"}), true),
            _ => return None,
        }),
        Value::Array(texts) if !texts.is_empty() && texts.iter().all(Value::is_string) => {
            let mut allowed = texts.clone();
            allowed.push(Value::Null);
            Some((json!({"type": ["string", "null"], "enum": allowed}), true))
        }
        Value::Object(more) => {
            // `{"type": "date", "description": "…"}`, or a property as JSON Schema writes it.
            let base = match (more.get("type"), more.get("enum")) {
                (None, Some(list)) => property(list)?,
                (Some(Value::String(_)), Some(list))
                    if more.get("type") == Some(&json!("string")) =>
                {
                    property(list)?
                }
                (Some(word @ Value::String(_)), None) => property(word)?,
                _ => return None,
            };
            let (mut schema, is_plain) = base;
            let object = schema.as_object_mut()?;
            let others = more.iter().filter(|(key, _)| !matches!(key.as_str(), "type" | "enum"));
            let mut bare = true;
            for (key, value) in others {
                bare &= key == "description";
                object.insert(key.clone(), value.clone());
            }
            Some((schema, is_plain && bare))
        }
        _ => None,
    }
}

/// The object in a text that may have a fence or words around it.
fn object_in(text: &str) -> Option<Value> {
    let (first, last) = (text.find('{')?, text.rfind('}')?);
    let json: Value = serde_json::from_str(text.get(first..=last)?).ok()?;
    json.is_object().then_some(json)
}

/// A text as the value that its property asks for; itself if it is none.
fn typed(text: &str, property: Option<&Value>) -> Value {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let types = property.and_then(|property| property.get("type"));
    let wants: Vec<String> = match types {
        Some(Value::Array(words)) => words.iter().filter_map(word).collect(),
        Some(one) => word(one).into_iter().collect(),
        None => Vec::new(),
    };
    if wants.iter().any(|word| word == "string") || wants.is_empty() {
        return Value::String(text.to_owned());
    }
    serde_json::from_str(text.trim()).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests;
