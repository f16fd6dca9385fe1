//! From a file and the environment to a checked configuration.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::problem::{ConfigError, Problem, Validate};

/// Begins the name of every variable that overrides a key: `TRUNKLINE__STORE__DATABASE`.
pub const ENV_PREFIX: &str = "TRUNKLINE__";

/// A copy of the environment, taken by the caller.
pub type Env = BTreeMap<String, String>;

/// Reads a file, lays the environment over it, and checks the whole.
///
/// # Errors
/// When the file cannot be read, or with everything that is wrong in it.
pub fn load<T: DeserializeOwned + Validate>(path: &Path, env: &Env) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    load_str(&path.display().to_string(), &text, env)
}

/// As [`load`], from a text; `file` is its name in problems.
///
/// # Errors
/// With everything that is wrong in it.
pub fn load_str<T: DeserializeOwned + Validate>(
    file: &str,
    text: &str,
    env: &Env,
) -> Result<T, ConfigError> {
    let source = Source { file, text, env };
    let one = |problem| ConfigError::Problems(vec![problem]);
    let mut table: Table = toml::from_str(text).map_err(|error| one(source.syntax(&error)))?;
    for (name, value) in env {
        if let Some(path) = name.strip_prefix(ENV_PREFIX) {
            overlay(&mut table, name, path, value).map_err(one)?;
        }
    }
    let config: T = serde_path_to_error::deserialize(table).map_err(|error| {
        let path = error.path().to_string();
        one(source.mismatch(&path, error.inner().message()))
    })?;
    let problems: Vec<_> = config
        .problems()
        .into_iter()
        .map(|found| Problem {
            place: source.place(&found.key),
            key: found.key,
            message: found.message,
            ..Problem::default()
        })
        .collect();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
}

/// Puts one variable into the table.
fn overlay(table: &mut Table, name: &str, path: &str, value: &str) -> Result<(), Problem> {
    let wrong = |message: &str| Problem {
        place: format!("environment variable `{name}`"),
        message: message.to_owned(),
        ..Problem::default()
    };
    let path = path.to_ascii_lowercase();
    let mut keys: Vec<&str> = path.split("__").collect();
    let last = keys.pop().unwrap_or_default();
    if last.is_empty() || keys.iter().any(|key| key.is_empty()) {
        return Err(wrong("expected `TRUNKLINE__SECTION__KEY`"));
    }
    let mut at = table;
    for key in keys {
        let next = at.entry(key).or_insert_with(|| Value::Table(Table::new()));
        at = next.as_table_mut().ok_or_else(|| wrong(&format!("`{key}` is not a section")))?;
    }
    at.insert(last.to_owned(), scalar(value));
    Ok(())
}

/// Booleans, numbers, arrays, inline tables and quoted strings as TOML writes them; any other text
/// is itself a string, so that paths and addresses need no quotes.
fn scalar(text: &str) -> Value {
    let parsed = if text.contains(['\n', '\r']) {
        None
    } else {
        toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut t| t.remove("value"))
    };
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
    env: &'a Env,
}

impl Source<'_> {
    /// The file is no TOML.
    fn syntax(&self, error: &toml::de::Error) -> Problem {
        Problem {
            place: self.position(error.span().map_or(0, |span| span.start)),
            message: error.message().replace('\n', ", "),
            ..Problem::default()
        }
    }

    /// A key or a value does not fit the types.
    fn mismatch(&self, path: &str, message: &str) -> Problem {
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let mut allowed: Vec<String> = Vec::new();
        // serde names our structs; a person knows them as sections.
        let expected = message.split_once("expected struct ").map(|(head, _)| head);
        let text = expected.map_or(message.to_owned(), |head| format!("{head}expected a section"));
        let (mut key, mut text) = (path.to_owned(), text);
        let (mut hint, mut offender) = (None, None);
        let closed_set =
            message.starts_with("unknown field") || message.starts_with("unknown variant");
        if let (true, Some((first, rest))) = (closed_set, quoted.split_first()) {
            allowed = rest.iter().map(|name| (*name).to_owned()).collect();
            hint = nearest(first, rest).map(|name| format!("did you mean `{name}`?"));
            offender = Some(*first);
            text = format!("unknown value `{first}`");
        }
        if let (true, Some(field)) = (message.starts_with("unknown field"), offender) {
            let parent = match key.strip_suffix(field) {
                Some(parent) if parent.is_empty() || parent.ends_with('.') => parent,
                _ if key == "." || key.is_empty() => "",
                _ => &format!("{key}."),
            };
            key = format!("{parent}{field}");
            text = "unknown key".to_owned();
        }
        Problem { place: self.place(&key), key, message: text, allowed, hint }
    }

    /// Where a key stands: the variable that set it, or its line, or the nearest section above.
    fn place(&self, key: &str) -> String {
        let variable = format!("{ENV_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"));
        let same = |name: &&String| name.to_ascii_uppercase() == variable;
        if let Some(name) = self.env.keys().find(same) {
            return format!("environment variable `{name}`");
        }
        match locate(self.text, key) {
            Some(span) => self.position(span.start),
            None => self.file.to_owned(),
        }
    }

    fn position(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        format!("{}:{line}:{column}", self.file)
    }
}

/// Span of the key, or of the deepest of its parents that stands in the text.
fn locate(text: &str, key: &str) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let mut found = None;
    let mut table = root.get_ref();
    // serde_path_to_error writes an array element as `trunks[1].host`.
    for part in key.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let Some((at, value)) = table.iter().find(|(at, _)| at.get_ref() == name) else { break };
        found = Some(at.span());
        let mut value = value;
        if let (DeValue::Array(items), Some(index)) = (value.get_ref(), index) {
            let Some(item) = items.get(index) else { break };
            found = Some(item.span());
            value = item;
        }
        match value.get_ref() {
            DeValue::Table(next) => table = next,
            _ => break,
        }
    }
    found
}

/// The name most like `word`, if any is like it at all.
fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    // 0.75 accepts a slip or two in a word and refuses unrelated words of the same length.
    let scored = names.iter().map(|name| (strsim::jaro_winkler(word, name), *name));
    scored
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Body of the fuzz target `config_toml`: a refusal says why, and what is taken prints as itself.
#[cfg(any(test, feature = "fuzzing"))]
pub fn config_toml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (file, value) = text.split_once('\0').unwrap_or((&text, ""));
    let env = Env::from([("TRUNKLINE__STORE__DATABASE".to_owned(), value.to_owned())]);
    let config = match load_str::<super::Config>("fuzz.toml", file, &env) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty(), "a refusal says why"),
    };
    let printed = toml::to_string(&config).unwrap_or_else(|error| error.to_string());
    let again = load_str::<super::Config>("printed.toml", &printed, &Env::new());
    assert_eq!(again.ok().as_ref(), Some(&config), "{printed}");
}
