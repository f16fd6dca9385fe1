//! The room's tests by subject.

mod ask;
mod sign;
