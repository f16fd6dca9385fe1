//! Checks of fields that several requests have: destinations, texts, variables, ranges, objects of the client's own.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::{ApiError, Code};
use super::extract::bad_field;
use crate::switchboard::DialError;
use crate::switchboard::trunk::{DestinationError, is_destination};
use crate::types::PhoneNumber;

/// Longest opening words, characters: about two minutes of speech.
const TEXT_CHARS_MAX: usize = 2_000;
/// Longest BCP 47 tag (RFC 5646 section 4.4.1).
const LANGUAGE_CHARS_MAX: usize = 35;
/// Longest caller name that is not a number.
const USER_CHARS_MAX: usize = 64;
/// Largest `metadata`, bytes of JSON: it is stored with every change of what it belongs to.
pub(super) const METADATA_BYTES_MAX: usize = 16_384;
/// Longest instructions, bytes.
const INSTRUCTIONS_BYTES_MAX: usize = 32_000;
/// Most variables of one recipient.
const VARIABLES_MAX: usize = 64;
/// Longest name of a variable, characters.
const VARIABLE_NAME_CHARS_MAX: usize = 64;

/// Somebody who can be called.
pub(super) fn check_destination(param: &str, text: &str) -> Result<(), ApiError> {
    if is_destination(text) { Ok(()) } else { Err(bad_destination(param)) }
}

/// The refusal of a destination.
pub(super) fn bad_destination(param: &str) -> ApiError {
    ApiError::because(Code::InvalidNumber, DestinationError::Format.to_string()).param(param)
}

/// A number or a name that a call can show.
pub(super) fn check_caller(from: Option<&str>) -> Result<(), ApiError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_caller = |text: &str| {
        if text.starts_with('+') {
            return PhoneNumber::parse(text).is_ok();
        }
        !text.is_empty() && text.len() <= USER_CHARS_MAX && text.bytes().all(plain)
    };
    if from.is_none_or(is_caller) {
        return Ok(());
    }
    Err(ApiError::because(Code::InvalidNumber, DialError::From.to_string()).param("from_number"))
}

/// Text to be spoken: not empty, not endless.
pub(super) fn check_text(param: &str, text: Option<&str>) -> Result<(), ApiError> {
    let Some(text) = text else { return Ok(()) };
    if text.trim().is_empty() {
        return Err(bad_field(param, format!("`{param}` is empty")));
    }
    if text.chars().count() > TEXT_CHARS_MAX {
        let message = format!("`{param}` has at most {TEXT_CHARS_MAX} characters");
        return Err(bad_field(param, message));
    }
    Ok(())
}

/// Instructions: a template, and not endless.
pub(super) fn check_instructions(text: Option<&str>) -> Result<(), ApiError> {
    let Some(text) = text else { return Ok(()) };
    if text.len() > INSTRUCTIONS_BYTES_MAX {
        let message = format!("`instructions` has at most {INSTRUCTIONS_BYTES_MAX} bytes");
        return Err(bad_field("instructions", message));
    }
    crate::dsl::template::check(text).map_err(|error| bad_field("instructions", error.to_string()))
}

/// A BCP 47 tag.
pub(super) fn check_language(language: Option<&str>) -> Result<(), ApiError> {
    let Some(language) = language else { return Ok(()) };
    let tag = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let length = language.len();
    if length == 0 || length > LANGUAGE_CHARS_MAX || !language.chars().all(tag) {
        return Err(bad_field("language", "`language` is a BCP 47 tag, such as `en-GB`"));
    }
    Ok(())
}

/// Names that templates can use.
pub(super) fn check_names(variables: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if variables.keys().all(|name| crate::catalog::check::is_variable(name)) {
        return Ok(());
    }
    let message = "a variable is a letter or `_`, then letters, digits and `_`; at most 64";
    Err(bad_field("variables", message))
}

/// Variables: few and short. Names are whatever a table has above its columns; see [`check_names`].
pub(super) fn check_variables(
    param: &str,
    variables: &BTreeMap<String, String>,
) -> Result<(), ApiError> {
    if variables.len() > VARIABLES_MAX {
        return Err(bad_field(param, format!("at most {VARIABLES_MAX} variables")));
    }
    for (name, value) in variables {
        let length = name.chars().count();
        if length == 0 || length > VARIABLE_NAME_CHARS_MAX {
            let message =
                format!("the name of a variable has 1 to {VARIABLE_NAME_CHARS_MAX} characters");
            return Err(bad_field(param, message));
        }
        if value.chars().count() > TEXT_CHARS_MAX {
            let message = format!("a variable has at most {TEXT_CHARS_MAX} characters");
            return Err(bad_field(&format!("{param}.{name}"), message));
        }
    }
    Ok(())
}

/// A number in its range.
pub(super) fn check_range(
    param: &str,
    value: Option<u32>,
    min: u32,
    max: u32,
) -> Result<(), ApiError> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            Err(bad_field(param, format!("`{param}` is {min} to {max}")))
        }
        _ => Ok(()),
    }
}

/// An object of the client's own: it is stored with every change, so it is short.
pub(super) fn check_object(param: &str, object: &Map<String, Value>) -> Result<(), ApiError> {
    let length = serde_json::to_string(object).map_or(usize::MAX, |text| text.len());
    if length <= METADATA_BYTES_MAX {
        return Ok(());
    }
    let message = format!("`{param}` has at most {METADATA_BYTES_MAX} bytes as JSON");
    Err(bad_field(param, message))
}
