//! JSON Schema: compiled once, then values are held against it. `jsonschema` is named only here.
//!
//! References to other documents are not followed, patterns run without backtracking, and formats are checked.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

/// Largest schema, bytes of JSON: it goes to a model with every request.
pub const SCHEMA_BYTES_MAX: usize = 16_384;
/// Nested objects and lists of a schema.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Parts of a schema with every reference written out: what a value is held against at most.
pub const SCHEMA_NODES_MAX: usize = 20_000;
/// Keywords that refer, or change what is referred to, in ways that cannot be followed beforehand.
const DYNAMIC: [&str; 4] = ["$dynamicRef", "$recursiveRef", "$id", "id"];
/// Faults of one value that are told: a model needs the first few.
const FAULTS_MAX: usize = 5;
/// Longest text of one fault, characters: it may quote the value.
const FAULT_CHARS_MAX: usize = 200;

/// Why something is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is too long.
    #[error("has at most {SCHEMA_BYTES_MAX} bytes as JSON")]
    TooLong,
    /// It is too deep.
    #[error("has at most {SCHEMA_DEPTH_MAX} levels")]
    TooDeep,
    /// A reference leads out of it, or nowhere.
    #[error("has `$ref` only as `#/` and a path within itself, not `{0}`")]
    Reference(String),
    /// It contains itself, so that a value could be held against it without end.
    #[error("refers to itself at `{0}`: write out the levels that are needed")]
    Recursive(String),
    /// Its references make far more of it than is written.
    #[error("has at most {SCHEMA_NODES_MAX} parts once its references are followed")]
    TooWide,
    /// It breaks a rule of JSON Schema.
    #[error("is not JSON Schema: {0}")]
    Wrong(String),
}

/// Whether faults repeat what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// They do, so that a model sees what it wrote.
    Values,
    /// They do not: the value may be personal, and the fault is kept or logged.
    Nothing,
}

/// A schema, ready to hold values against.
#[derive(Clone)]
pub struct JsonSchema {
    schema: Arc<Value>,
    validator: Arc<jsonschema::Validator>,
}

impl JsonSchema {
    /// Checks a schema.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(schema: Value) -> Result<Self, SchemaError> {
        check_size(&schema)?;
        check_references(&schema)?;
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(&schema)
            .map_err(|error| {
                SchemaError::Wrong(at(error.instance_path().as_str(), error.masked().to_string()))
            })?;
        Ok(Self { schema: Arc::new(schema), validator: Arc::new(validator) })
    }

    /// The schema.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The first few faults of a value, each with its place; none: it fits.
    pub fn faults(&self, value: &Value, quoting: Quoting) -> Vec<String> {
        let errors = self.validator.iter_errors(value).take(FAULTS_MAX);
        let fault = |error: jsonschema::ValidationError<'_>| {
            let text = match quoting {
                Quoting::Values => error.to_string(),
                Quoting::Nothing => error.masked().to_string(),
            };
            let text = text.chars().take(FAULT_CHARS_MAX).collect();
            at(error.instance_path().as_str(), text)
        };
        errors.map(fault).collect()
    }
}

/// Whether something has the size of a schema.
///
/// # Errors
/// When it is too long or too deep.
pub fn check_size(schema: &Value) -> Result<(), SchemaError> {
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err(SchemaError::TooLong);
    }
    if is_deeper(schema, SCHEMA_DEPTH_MAX) { Err(SchemaError::TooDeep) } else { Ok(()) }
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else { return true };
    match value {
        Value::Array(list) => list.iter().any(|value| is_deeper(value, left)),
        Value::Object(map) => map.values().any(|value| is_deeper(value, left)),
        _ => false,
    }
}

/// Whether following the references comes to an end, and how soon: a few hundred bytes of them can stand for
/// billions of parts.
fn check_references(schema: &Value) -> Result<(), SchemaError> {
    let mut walk =
        Walk { root: schema, top: schema.as_object(), open: Vec::new(), sizes: HashMap::new() };
    if walk.size(schema)? > SCHEMA_NODES_MAX { Err(SchemaError::TooWide) } else { Ok(()) }
}

struct Walk<'a> {
    root: &'a Value,
    /// The schema itself, which may have a name of its own.
    top: Option<&'a Map<String, Value>>,
    /// References that are being followed.
    open: Vec<&'a str>,
    /// Parts behind the ones that were.
    sizes: HashMap<&'a str, usize>,
}

impl<'a> Walk<'a> {
    fn size(&mut self, part: &'a Value) -> Result<usize, SchemaError> {
        let mut size = 1_usize;
        match part {
            Value::Array(list) => {
                for part in list {
                    size = size.saturating_add(self.size(part)?);
                }
            }
            Value::Object(map) => {
                for (key, part) in map {
                    let added = match part {
                        Value::String(target) if key == "$ref" => self.behind(target)?,
                        Value::String(target)
                            if DYNAMIC.contains(&key.as_str())
                                && !self.top.is_some_and(|top| std::ptr::eq(map, top)) =>
                        {
                            return Err(SchemaError::Reference(short(target)));
                        }
                        part => self.size(part)?,
                    };
                    size = size.saturating_add(added);
                }
            }
            _ => {}
        }
        Ok(size)
    }

    fn behind(&mut self, target: &'a str) -> Result<usize, SchemaError> {
        if let Some(size) = self.sizes.get(target) {
            return Ok(*size);
        }
        if self.open.contains(&target) {
            return Err(SchemaError::Recursive(short(target)));
        }
        let root = self.root;
        let part = target
            .strip_prefix('#')
            .filter(|path| path.starts_with('/') && !path.contains('%'))
            .and_then(|path| root.pointer(path))
            .ok_or_else(|| SchemaError::Reference(short(target)))?;
        self.open.push(target);
        let size = self.size(part)?;
        self.open.pop();
        self.sizes.insert(target, size);
        Ok(size)
    }
}

fn short(text: &str) -> String {
    text.chars().take(FAULT_CHARS_MAX).collect()
}

fn at(path: &str, text: String) -> String {
    if path.is_empty() { text } else { format!("{text} (at `{path}`)") }
}

#[cfg(test)]
mod tests;
