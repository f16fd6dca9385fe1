//! Phone numbers in E.164 form.

use std::fmt;

use super::Pii;

/// An E.164 number: `+` and 7 to 15 digits, the first not 0 (ITU-T E.164 section 6).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(Pii<String>);

/// Why a text is not an E.164 number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// The text does not begin with `+`.
    #[error("a phone number begins with `+` and the country code")]
    NoPlus,
    /// Something other than a digit follows the `+`.
    #[error("a phone number holds only digits after the `+`")]
    NotADigit,
    /// Fewer than 7 or more than 15 digits.
    #[error("a phone number has 7 to 15 digits")]
    Length,
    /// Country codes never begin with 0.
    #[error("a country code never begins with 0")]
    LeadingZero,
}

impl PhoneNumber {
    /// Checks a text against E.164. Nothing is guessed: spaces and punctuation are refused.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let digits = text.strip_prefix('+').ok_or(NumberError::NoPlus)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NumberError::NotADigit);
        }
        if digits.starts_with('0') {
            return Err(NumberError::LeadingZero);
        }
        if !(7..=15).contains(&digits.len()) {
            return Err(NumberError::Length);
        }
        Ok(Self(Pii::new(text.to_owned())))
    }

    /// The number with its `+`.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
