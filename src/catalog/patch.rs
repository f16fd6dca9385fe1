//! JSON merge patches (RFC 7396).

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Nested objects of a patch: what goes deeper replaces.
const DEPTH_MAX: usize = 32;

/// Applies a patch to an object.
pub fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    merge_at(target, patch, 0);
}

fn merge_at(target: &mut Map<String, Value>, patch: Map<String, Value>, depth: usize) {
    for (name, value) in patch {
        match (value, target.get_mut(&name)) {
            (Value::Null, _) => {
                target.remove(&name);
            }
            (Value::Object(patch), Some(Value::Object(inner))) if depth < DEPTH_MAX => {
                merge_at(inner, patch, depth + 1);
            }
            (Value::Object(patch), _) if depth < DEPTH_MAX => {
                let mut inner = Map::new();
                merge_at(&mut inner, patch, depth + 1);
                target.insert(name, Value::Object(inner));
            }
            (value, _) => {
                target.insert(name, value);
            }
        }
    }
}

/// The object a value is written as.
pub fn object<T: Serialize>(value: &T) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// A value with a patch applied.
///
/// # Errors
/// When what comes out does not fit; the text names the field, not the value.
pub fn merged<T: Serialize + DeserializeOwned>(
    value: &T,
    patch: Map<String, Value>,
) -> Result<T, String> {
    let mut target = object(value);
    merge(&mut target, patch);
    serde_path_to_error::deserialize(Value::Object(target)).map_err(|error| {
        let text = error.inner().to_string();
        let what = if text.starts_with("unknown field") { "unknown field" } else { "wrong value" };
        format!("{what} at `{}`", error.path())
    })
}
