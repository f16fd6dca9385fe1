//! Answers 401 and 407 within one leg (RFC 3261 section 22). The arithmetic is in [`super::digest`].
//!
//! A request first goes out without credentials, even when an earlier one was challenged: nonces
//! that serve once would make the old one count as refused.

use super::craft::Frame;
use super::digest::{Client, Protected};
use super::event::Credentials;
use super::msg::{HeaderName, Response};
use crate::types::Entropy;

/// Digest state of a leg: the far end and a proxy on the way may both ask.
#[derive(Debug)]
pub(crate) struct Auth {
    server: Client,
    proxy: Client,
}

impl Auth {
    /// Nothing asked yet.
    pub(crate) fn new(credentials: &Credentials) -> Self {
        Self { server: Client::new(credentials.clone()), proxy: Client::new(credentials.clone()) }
    }

    /// The headers that answer the challenge of a response to `frame`, and any that `frame` already
    /// answered; `None`: it cannot be answered, or our answer was refused.
    pub(crate) fn answer(
        &mut self,
        entropy: &mut Entropy,
        frame: &Frame,
        response: &Response,
    ) -> Option<Vec<(String, String)>> {
        let (asked, other, other_name) = match response.status.code() {
            407 => (&mut self.proxy, &mut self.server, HeaderName::Authorization),
            _ => (&mut self.server, &mut self.proxy, HeaderName::ProxyAuthorization),
        };
        asked.challenged(response).ok()?;
        let uri = frame.uri.to_string();
        let body = frame.body.as_ref().map(|(_, body)| body.as_ref()).unwrap_or_default();
        let protected = Protected { method: &frame.method, uri: &uri, body };
        let mut headers = vec![asked.authorize(protected, entropy)?];
        if frame.headers.iter().any(|(name, _)| name == other_name.as_str()) {
            headers.extend(other.authorize(protected, entropy));
        }
        Some(headers.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect())
    }

    /// A request got a final response other than a challenge.
    pub(crate) fn accepted(&mut self) {
        self.server.accepted();
        self.proxy.accepted();
    }
}
