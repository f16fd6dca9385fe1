//! Resources as data: agents, numbers, trunks, templates, credentials, and what calls are made of from them.

pub mod directory;
pub mod trunk;

pub use directory::Directory;
pub use trunk::{Trunk, TrunkConfig};
