//! A secret that goes in and never comes out.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::types::Secret;

/// A secret of a resource: text in the API, a reference in the configuration. The text is never written anywhere:
/// neither into an answer nor into the row at rest, which keeps it sealed beside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WriteOnly {
    /// There is none, or it is kept sealed.
    #[default]
    None,
    /// The secret itself.
    Text(Secret),
    /// Name of an environment variable: `{ env = "NAME" }`.
    Env(String),
    /// A file that holds the secret and nothing else: `{ file = "path" }`.
    File(PathBuf),
}

impl WriteOnly {
    /// Whether it is left out when it is written: all but references.
    pub fn is_hidden(&self) -> bool {
        matches!(self, Self::None | Self::Text(_))
    }

    /// Whether it is a reference, which only a configuration may hold.
    pub fn is_reference(&self) -> bool {
        matches!(self, Self::Env(_) | Self::File(_))
    }

    /// Takes the text out.
    pub fn take_text(&mut self) -> Option<Secret> {
        match std::mem::take(self) {
            Self::Text(secret) => Some(secret),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Serialize for WriteOnly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None | Self::Text(_) => serializer.serialize_none(),
            Self::Env(name) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("env", name)?;
                map.end()
            }
            Self::File(path) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("file", path)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for WriteOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Forms)
    }
}

struct Forms;

impl<'de> Visitor<'de> for Forms {
    type Value = WriteOnly;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a secret as text, or a reference `{ env = \"NAME\" }` or `{ file = \"path\" }`",
        )
    }

    fn visit_unit<E: de::Error>(self) -> Result<WriteOnly, E> {
        Ok(WriteOnly::None)
    }

    fn visit_none<E: de::Error>(self) -> Result<WriteOnly, E> {
        Ok(WriteOnly::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<WriteOnly, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<WriteOnly, E> {
        Ok(if text.is_empty() { WriteOnly::None } else { WriteOnly::Text(Secret::new(text)) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WriteOnly, A::Error> {
        let wrong =
            || de::Error::custom("expected one of `{ env = \"NAME\" }`, `{ file = \"path\" }`");
        let reference = match map.next_key::<String>()?.as_deref() {
            Some("env") => WriteOnly::Env(map.next_value()?),
            Some("file") => WriteOnly::File(map.next_value()?),
            _ => return Err(wrong()),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(wrong());
        }
        Ok(reference)
    }
}
