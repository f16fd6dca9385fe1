//! Small languages that tenants write in: JSON Schema and templates.
//!
//! Whoever takes a schema or a template takes it from here, so that all of them have the same grammar and the same
//! limits: nothing is read from disk or network, and neither time nor memory can be used up. What a schema or a text
//! is for is no matter of this room. Start at [`json_schema::JsonSchema`] and [`template::Scope`].

pub mod json_schema;
pub mod shape;
pub mod template;
