//! Tables that have a short form: one value stands for a table with defaults elsewhere.

/// The short forms there are.
pub(super) trait Short: Sized {
    /// From a text.
    fn text(text: &str) -> Option<Self>;
    /// From a boolean.
    fn boolean(value: bool) -> Option<Self>;
}

impl Short for String {
    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn boolean(_: bool) -> Option<Self> {
        None
    }
}

impl Short for bool {
    fn text(_: &str) -> Option<Self> {
        None
    }

    fn boolean(value: bool) -> Option<Self> {
        Some(value)
    }
}

/// Reads a struct from its short form or from a table of its fields, each of which has a default.
macro_rules! short_form {
    ($name:ident, $fields:ident, $short:ty, $expecting:literal,
     { $($field:ident: $type:ty),+ $(,)? }, $make:expr) => {
        #[derive(serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct $fields { $($field: $type),+ }

        impl Default for $fields {
            fn default() -> Self {
                let $name { $($field),+ } = $name::default();
                Self { $($field),+ }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Forms;

                impl<'de> serde::de::Visitor<'de> for Forms {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        let short = <$short as crate::schema::short::Short>::text(text);
                        short.map($make).ok_or_else(|| {
                            E::invalid_type(serde::de::Unexpected::Str(text), &self)
                        })
                    }

                    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<$name, E> {
                        let short = <$short as crate::schema::short::Short>::boolean(value);
                        short.map($make).ok_or_else(|| {
                            E::invalid_type(serde::de::Unexpected::Bool(value), &self)
                        })
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        map: A,
                    ) -> Result<$name, A::Error> {
                        let map = serde::de::value::MapAccessDeserializer::new(map);
                        let $fields { $($field),+ } = serde::Deserialize::deserialize(map)?;
                        Ok($name { $($field),+ })
                    }
                }
                deserializer.deserialize_any(Forms)
            }
        }
    };
}

pub(super) use short_form;
