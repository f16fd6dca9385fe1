//! The reference file: every key with its default and its doc comment.
//!
//! The text comes from the doc comments of the config structs themselves, read from their source,
//! and the values from their `Default`; so neither can fall behind the code. An undocumented key is
//! an error, which a test turns red.

use std::fmt::Write;

use serde::Serialize;
use toml::{Table, Value};

/// Name of the entry that stands for all of a table keyed by name.
pub const EXAMPLE: &str = "example";

/// Where the struct of one section is written.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Dotted name in the file; empty for the keys above every section.
    pub name: &'static str,
    /// Text of the Rust file.
    pub source: &'static str,
    /// Name of the struct in it.
    pub item: &'static str,
}

/// Why there is no reference.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The defaults cannot be written as TOML.
    #[error("write the defaults as TOML")]
    Defaults(#[source] toml::ser::Error),
    /// A section of the configuration has no row in the table of sections, or the reverse.
    #[error("find the struct of the section `{0}`")]
    Section(String),
    /// A key without a doc comment.
    #[error("find the doc comment of `{0}`")]
    Undocumented(String),
}

/// Writes the reference of a configuration.
///
/// # Errors
/// When a section or a key is not described.
pub fn reference<T: Serialize>(defaults: &T, sections: &[Section]) -> Result<String, ExplainError> {
    let root = Table::try_from(defaults).map_err(ExplainError::Defaults)?;
    let described =
        |name: &str| sections.iter().any(|section| section.name.split('.').next() == Some(name));
    let is_section = |value: &Value| value.as_table().is_some_and(|table| !table.is_empty());
    if let Some((name, _)) = root.iter().find(|(name, value)| is_section(value) && !described(name))
    {
        return Err(ExplainError::Section(name.clone()));
    }
    let mut out = String::from(
        "# Every key with its default. A key can also be set by the environment variable\n\
         # TRUNKLINE__SECTION__KEY. Secrets are written { env = \"NAME\" } or { file = \"path\" }.\n",
    );
    for section in sections {
        let missing = || ExplainError::Section(section.name.to_owned());
        let path = section.name.split('.').filter(|key| !key.is_empty());
        let table = path
            .clone()
            .try_fold(&root, |table, key| table.get(key)?.as_table())
            .ok_or_else(missing)?;
        let docs = docs(section).ok_or_else(missing)?;
        // Writing to a String cannot fail.
        let _ = match section.name {
            "" => writeln!(out),
            name => writeln!(out, "\n[{name}]"),
        };
        if section.name.split('.').any(|part| part == EXAMPLE) {
            let _ = writeln!(out, "# One table an entry: `{EXAMPLE}` is a name of your own.");
        }
        for (key, doc) in &docs.fields {
            if doc.is_empty() {
                return Err(ExplainError::Undocumented(format!("{}.{key}", section.name)));
            }
            // Tables, and maps that are keyed by name, have sections of their own.
            let value = table.get(key);
            if section.name.is_empty() && value.is_none() {
                continue;
            }
            if value.is_some_and(Value::is_table) {
                continue;
            }
            doc.iter().for_each(|line| {
                let _ = writeln!(out, "# {line}");
            });
            let _ = match value {
                Some(value) => writeln!(out, "{key} = {value}"),
                None => writeln!(out, "# {key} ="),
            };
        }
        let described = |key: &str| docs.fields.iter().any(|(name, _)| name == key);
        if let Some(key) = table.keys().find(|key| !described(key)) {
            return Err(ExplainError::Undocumented(format!("{}.{key}", section.name)));
        }
    }
    Ok(out)
}

/// Fields of a struct in order, each with the lines of its doc comment.
struct Docs {
    fields: Vec<(String, Vec<String>)>,
}

/// Reads the fields of a struct from formatted source: one line a field, docs above it.
fn docs(section: &Section) -> Option<Docs> {
    let head = format!("pub struct {} {{\n", section.item);
    let (_, body) = section.source.split_once(&head)?;
    let mut fields = Vec::new();
    let mut doc = Vec::new();
    for line in body.lines().take_while(|line| *line != "}") {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim().to_owned());
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|l| l.split_once(": ")) {
            let name = name.strip_prefix("r#").unwrap_or(name);
            fields.push((name.to_owned(), std::mem::take(&mut doc)));
        }
    }
    Some(Docs { fields })
}
