//! A reference to a credential. The credential itself never stands in the file.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::load::Env;
use crate::schema::secret::WriteOnly;
use crate::types::Secret;

/// `{ env = "NAME" }` or `{ file = "path" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// Name of an environment variable.
    Env(String),
    /// A file that holds the credential and nothing else; white space around it is cut off.
    File(PathBuf),
}

/// Why a reference leads to no credential.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or empty.
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    /// The file cannot be read.
    #[error("read the secret file `{0}`")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file holds nothing.
    #[error("the secret file `{0}` is empty")]
    Empty(PathBuf),
}

impl SecretRef {
    /// The reference of a resource's secret, if it is one.
    pub fn of(secret: &WriteOnly) -> Option<Self> {
        match secret {
            WriteOnly::Env(name) => Some(Self::Env(name.clone())),
            WriteOnly::File(path) => Some(Self::File(path.clone())),
            WriteOnly::None | WriteOnly::Text(_) => None,
        }
    }

    /// Fetches the credential.
    ///
    /// # Errors
    /// When there is none.
    pub fn resolve(&self, env: &Env) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => match env.get(name).filter(|value| !value.is_empty()) {
                Some(value) => Ok(Secret::new(value)),
                None => Err(SecretError::Unset(name.clone())),
            },
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| SecretError::Read(path.clone(), source))?;
                match text.trim() {
                    "" => Err(SecretError::Empty(path.clone())),
                    value => Ok(Secret::new(value)),
                }
            }
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Env(name) => map.serialize_entry("env", name)?,
            Self::File(path) => map.serialize_entry("file", path)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reference)
    }
}

struct Reference;

impl<'de> Visitor<'de> for Reference {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`{ env = \"NAME\" }` or `{ file = \"path\" }`")
    }

    // The value is not in the message: it may be the credential.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<SecretRef, E> {
        Err(E::custom(
            "a secret does not stand in the configuration: write `{ env = \"NAME\" }` or `{ file = \"path\" }`",
        ))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
        let wrong =
            || de::Error::custom("expected one of `{ env = \"NAME\" }`, `{ file = \"path\" }`");
        let reference = match map.next_key::<String>()?.as_deref() {
            Some("env") => SecretRef::Env(map.next_value()?),
            Some("file") => SecretRef::File(map.next_value()?),
            _ => return Err(wrong()),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(wrong());
        }
        Ok(reference)
    }
}
