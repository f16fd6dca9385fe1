//! An error and its sources as one line: `failed to start: open the database: disk full`.
//!
//! Error texts of this project never repeat their source (`thiserror`'s `#[source]`), so whoever
//! reports an error prints the whole chain, once, with this.

use std::error::Error;
use std::fmt;

/// Most links printed; a longer chain is a cycle or a bug, and a log line stays a line.
const LINKS_MAX: usize = 16;

/// Prints an error followed by each of its sources, separated by `: `.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        let mut printed = 1;
        while let Some(error) = next {
            if printed == LINKS_MAX {
                return f.write_str(": ...");
            }
            write!(f, ": {error}")?;
            next = error.source();
            printed += 1;
        }
        Ok(())
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The chain as a string, for places that keep it.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    Chain(error).to_string()
}

#[cfg(test)]
mod tests;
