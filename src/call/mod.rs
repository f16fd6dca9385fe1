//! One call's life in one task.
