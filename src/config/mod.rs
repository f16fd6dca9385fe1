//! Typed configuration: load, check, explain. Composes every room's own `Config`.
