//! What a language model may do during a call besides talking: the tools of an agent, checked and ready.
//!
//! Definitions are public JSON ([`crate::schema::tool`]); this room makes [`ToolSpec`]s of them. Start reading
//! there.

pub mod spec;

pub use spec::{ToolError, ToolSpec};
