//! What is wrong with a configuration, in words that lead to the place and the remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A value that has the right type and is still wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Dotted key, for example `store.database`.
    pub key: String,
    /// What is wrong, without secrets.
    pub message: String,
}

impl Complaint {
    /// A complaint about `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

/// Checks that types cannot express.
pub trait Validate {
    /// Every problem, not just the first.
    fn problems(&self) -> Vec<Complaint>;
}

/// One problem and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// `file:line:column`, the file alone, or the environment variable.
    pub place: String,
    /// Dotted key; empty if the file does not parse.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What could stand there.
    pub allowed: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.allowed.is_empty() {
            write!(f, "\n  allowed: `{}`", self.allowed.join("`, `"))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the configuration file `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file, or a variable, says something that cannot be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}
