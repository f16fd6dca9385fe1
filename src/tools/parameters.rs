//! JSON Schema of a tool's arguments. `jsonschema` is named only here.

use std::sync::Arc;

use serde_json::Value;

/// Largest schema, bytes: it goes into every request to the model.
const SCHEMA_BYTES_MAX: usize = 16 * 1_024;
/// Faults told to the model at once.
const FAULTS_MAX: usize = 4;
/// Longest text of one fault, characters: it quotes the value.
const FAULT_CHARS_MAX: usize = 200;

/// A schema, ready to check arguments with.
#[derive(Clone)]
pub(super) struct Parameters {
    schema: Arc<Value>,
    validator: Arc<jsonschema::Validator>,
}

impl Parameters {
    /// Checks a schema. References into the network are refused by the crate's lack of a client.
    pub(super) fn compile(schema: &Value) -> Result<Self, String> {
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err("the schema of the arguments has `\"type\": \"object\"`".to_owned());
        }
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Err(format!("a schema has at most {SCHEMA_BYTES_MAX} bytes"));
        }
        let validator = jsonschema::validator_for(schema).map_err(|error| {
            format!("not a JSON Schema: {error} at `{}`", error.instance_path())
        })?;
        Ok(Self { schema: Arc::new(schema.clone()), validator: Arc::new(validator) })
    }

    /// The schema.
    pub(super) fn schema(&self) -> &Value {
        &self.schema
    }

    /// Whether it names any argument.
    pub(super) fn names_arguments(schema: &Value) -> bool {
        schema
            .get("properties")
            .and_then(Value::as_object)
            .is_some_and(|properties| !properties.is_empty())
    }

    /// What is wrong with arguments, in words for the model.
    pub(super) fn check(&self, arguments: &Value) -> Result<(), String> {
        let faults: Vec<String> = self
            .validator
            .iter_errors(arguments)
            .take(FAULTS_MAX)
            .map(|error| {
                let text: String = error.to_string().chars().take(FAULT_CHARS_MAX).collect();
                match error.instance_path().as_str() {
                    "" => text,
                    at => format!("{text} (at `{at}`)"),
                }
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }
}
