//! Orders that take several calls.

pub mod plan;
pub mod windows;
pub mod zones;
