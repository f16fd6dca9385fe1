//! Reading a request: own extractors, so that every refusal has the same body and names its `param`.
//!
//! Rules: bytes that are not JSON are 400; JSON that does not fit is 422 and names the field. A query
//! parameter with a bad value is 400; one with an unknown name is 422, as an unknown field is. An
//! empty body counts as `{}`, so commands without fields need none.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::error::{ApiError, Code};
use crate::types::CallId;

/// Most query parameters of one request: every filter of a list, with room for repeated ones.
const PARAMS_MAX: usize = 64;
/// Octets of a name the client made up that an error repeats to it.
const ECHO_MAX: usize = 64;

/// Limits of a body, put into every request by the router.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    /// Most bytes.
    pub bytes_max: usize,
    /// Longest time the body may take to arrive.
    pub wait: Duration,
}

/// A JSON body.
pub(super) struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        from_slice(&read_body(request).await?).map(Self)
    }
}

/// A JSON object whose shape depends on one of its fields.
pub(super) struct JsonObject(pub serde_json::Map<String, serde_json::Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        from_slice(&read_body(request).await?).map(Self)
    }
}

/// The call a path names. A malformed identifier is an unknown one: 404.
pub(super) struct PathId(pub CallId);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let unknown = || ApiError::new(Code::CallNotFound).param("id");
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| unknown())?;
        let id = params.iter().find(|(name, _)| *name == "id").map(|(_, value)| value);
        id.and_then(|id| id.parse().ok()).map(Self).ok_or_else(unknown)
    }
}

/// The resource a path names, and what it names beside.
pub(super) struct PathName {
    /// `{id}`.
    pub id: String,
    /// The second part, if there is one.
    pub other: String,
}

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let unknown = || ApiError::new(Code::ResourceNotFound).param("id");
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| unknown())?;
        let mut values = params.iter().map(|(_, value)| value.to_owned());
        let id = values.next().ok_or_else(unknown)?;
        Ok(Self { id, other: values.next().unwrap_or_default() })
    }
}

/// The identifier a path names, of something that is no call.
pub(super) struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let unknown = || ApiError::new(Code::RouteNotFound);
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| unknown())?;
        let first = params.iter().next().map(|(_, value)| Self(value.to_owned()));
        first.ok_or_else(unknown)
    }
}

/// The query parameters, in order.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| ApiError::because(Code::InvalidParameter, "the query is malformed"))?;
        if pairs.0.len() > PARAMS_MAX {
            let message = format!("a request has at most {PARAMS_MAX} query parameters");
            return Err(ApiError::because(Code::InvalidParameter, message));
        }
        Ok(Self(pairs.0))
    }
}

impl Params {
    /// Refuses every name that is not in the list.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), ApiError> {
        let unknown = self.0.iter().find(|(name, _)| !names.contains(&name.as_str()));
        let Some((name, _)) = unknown else { return Ok(()) };
        let name = echo(name);
        let known = if names.is_empty() { "it takes none".to_owned() } else { names.join("`, `") };
        Err(ApiError::because(Code::UnknownField, format!("unknown query parameter `{name}`"))
            .param(name)
            .hint(format!("the parameters are `{known}`")))
    }

    /// As [`Params::only`], with the parameters of every list.
    pub(super) fn only_list(&self, filters: &[&str]) -> Result<(), ApiError> {
        self.only(&[super::paging::NAMES.as_slice(), filters].concat())
    }

    /// Every parameter but these and empty ones, sorted.
    pub(super) fn without(&self, names: &[&str]) -> Vec<(&str, &str)> {
        let pairs = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut rest: Vec<_> =
            pairs.filter(|(name, value)| !names.contains(name) && !value.is_empty()).collect();
        rest.sort_unstable();
        rest
    }

    /// As [`Params::only`], but every name that begins with `prefix` is taken too.
    pub(super) fn only_with(&self, names: &[&str], prefix: &str) -> Result<(), ApiError> {
        let rest = self.0.iter().filter(|(name, _)| !name.starts_with(prefix)).cloned();
        Self(rest.collect()).only(names)
    }

    /// Rest of the name and value of each parameter that begins with `prefix`.
    pub(super) fn starting_with<'a>(
        &'a self,
        prefix: &'static str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// A value of a closed set, by its public name.
    pub(super) fn word<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let value = serde_json::Value::String(text.to_owned());
        let wrong = |_| bad_param(name, format!("`{name}` has no such value"));
        serde_json::from_value(value).map(Some).map_err(wrong)
    }

    /// An identifier.
    pub(super) fn id<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let wrong = |_| bad_param(name, format!("`{name}` is a UUID"));
        text.parse().map(Some).map_err(wrong)
    }

    /// The value of a parameter that may come once. An empty value counts as none.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(bad_param(name, format!("`{name}` comes more than once")));
        }
        Ok(first)
    }

    /// Every value of a parameter that may be repeated, without empty ones.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = name.to_owned();
        let named = self.0.iter().filter(move |(key, _)| *key == name);
        named.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number =
            text.parse().map_err(|_| bad_param(name, format!("`{name}` is a whole number")))?;
        Ok(Some(number))
    }

    /// An RFC 3339 time.
    pub(super) fn time(&self, name: &str) -> Result<Option<jiff::Timestamp>, ApiError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let at = text.parse().map_err(|_| {
            bad_param(name, format!("`{name}` is an RFC 3339 time, such as 2026-11-21T09:30:00Z"))
                .hint("in a query, write the `+` of an offset as %2B")
        })?;
        Ok(Some(at))
    }
}

/// A refusal of a query parameter's value.
pub(super) fn bad_param(name: &str, message: impl Into<String>) -> ApiError {
    ApiError::because(Code::InvalidParameter, message).param(name)
}

/// A refusal of a field's value.
pub(super) fn bad_field(name: &str, message: impl Into<String>) -> ApiError {
    ApiError::because(Code::InvalidValue, message).param(name)
}

/// Reads a value from JSON that is already parsed; errors name the field.
pub(super) fn from_object<T: DeserializeOwned>(
    object: serde_json::Map<String, serde_json::Value>,
) -> Result<T, ApiError> {
    let value = serde_json::Value::Object(object);
    serde_path_to_error::deserialize(value)
        .map_err(|error| refusal(&error.path().to_string(), error.inner()))
}

fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    // A struct would also be read from an array, field by field; that is no contract of ours.
    if body.iter().find(|octet| !octet.is_ascii_whitespace()) != Some(&b'{') {
        return Err(match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            Ok(_) => ApiError::because(Code::InvalidValue, "the body is a JSON object"),
            Err(_) => malformed("the body is not JSON"),
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| refusal(&error.path().to_string(), error.inner()))?;
    reader.end().map_err(|_| malformed("something follows the JSON value"))?;
    Ok(value)
}

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::because(Code::MalformedBody, message)
}

/// Says what is wrong in our words: serde's own repeat the value, which may be personal.
fn refusal(path: &str, error: &serde_json::Error) -> ApiError {
    if !error.is_data() {
        let (line, column) = (error.line(), error.column());
        return malformed(format!("the body is not JSON (line {line}, column {column})"));
    }
    let text = error.to_string();
    let parent = if path == "." { "" } else { path };
    if let Some(name) = quoted(&text, "unknown field ") {
        // The path already ends with the unknown name when the field is known to the tracker.
        let known = text.split_once("expected ").map(|(_, rest)| strip_position(rest));
        let error = ApiError::because(Code::UnknownField, format!("unknown field `{name}`"));
        let error = error.param(join(parent, &name));
        return match known {
            Some(known) => {
                error.hint(format!("the fields are {}", known.trim_start_matches("one of ")))
            }
            None => error.hint("the body has no fields"),
        };
    }
    if let Some(name) = quoted(&text, "missing field ") {
        let param = join(parent, &name);
        return ApiError::because(Code::MissingField, format!("`{param}` is required"))
            .param(param);
    }
    let expected =
        text.split_once("expected ").map_or("another value", |(_, rest)| strip_position(rest));
    let error = ApiError::because(Code::InvalidValue, format!("expected {expected}"));
    if parent.is_empty() { error } else { error.param(parent) }
}

/// The name between the first backquotes after a prefix.
fn quoted(text: &str, prefix: &str) -> Option<String> {
    let (_, rest) = text.split_once(prefix)?;
    let (name, _) = rest.strip_prefix('`')?.split_once('`')?;
    Some(echo(name))
}

fn strip_position(text: &str) -> &str {
    text.split_once(" at line ").map_or(text, |(head, _)| head)
}

fn join(parent: &str, name: &str) -> String {
    match parent.rsplit_once('.') {
        _ if parent.is_empty() || parent == name => name.to_owned(),
        Some((_, last)) if last == name => parent.to_owned(),
        _ => format!("{parent}.{name}"),
    }
}

/// A name from the client, short enough to be repeated.
fn echo(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(ECHO_MAX).collect()
}

/// What a client sends in bulk: JSON of any shape, or CSV.
pub(super) enum Bulk {
    /// `application/json`.
    Json(serde_json::Value),
    /// `text/csv`.
    Csv(Vec<u8>),
}

/// Largest body in bulk, bytes: ten thousand recipients with 1.6 kB of values each.
const BULK_BYTES_MAX: usize = 16 * 1_024 * 1_024;

impl<S: Send + Sync> FromRequest<S> for Bulk {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (headers, bytes) = collect(request, BULK_BYTES_MAX).await?;
        if essence(&headers).as_deref() == Some("text/csv") {
            return Ok(Self::Csv(bytes));
        }
        if !is_json(&headers) {
            return Err(ApiError::new(Code::UnsupportedMediaType).hint(
                "send the header `Content-Type: application/json` or `Content-Type: text/csv`",
            ));
        }
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| refusal(&error.path().to_string(), error.inner()))?;
        reader.end().map_err(|_| malformed("something follows the JSON value"))?;
        Ok(Self::Json(value))
    }
}

async fn read_body(request: Request) -> Result<Vec<u8>, ApiError> {
    let (headers, bytes) = collect(request, 0).await?;
    if !bytes.is_empty() && !is_json(&headers) {
        return Err(ApiError::new(Code::UnsupportedMediaType)
            .hint("send the header `Content-Type: application/json`"));
    }
    Ok(bytes)
}

/// Reads a body to its end: as much as the server takes, or `at_least` where a route takes more.
async fn collect(request: Request, at_least: usize) -> Result<(HeaderMap, Vec<u8>), ApiError> {
    let (octets, parts) = read_octets_of(request, at_least).await?;
    Ok((parts.headers, octets))
}

/// The whole body, whatever it is, and the rest of the request.
pub(super) async fn read_octets(request: Request) -> Result<(Vec<u8>, Parts), ApiError> {
    read_octets_of(request, BULK_BYTES_MAX).await
}

async fn read_octets_of(request: Request, at_least: usize) -> Result<(Vec<u8>, Parts), ApiError> {
    let (parts, body) = request.into_parts();
    let Some(limits) = parts.extensions.get::<BodyLimits>().copied() else {
        tracing::error!("the router put no body limits into a request");
        return Err(ApiError::new(Code::Internal));
    };
    let bytes_max = limits.bytes_max.max(at_least);
    if content_length(&parts.headers).is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    let mut stream = body.into_data_stream();
    let read = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|_| malformed("the body ended early"))?;
            if bytes.len() + chunk.len() > bytes_max {
                return Err(too_large(bytes_max));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    let late = |_| ApiError::new(Code::BodyTimeout);
    let bytes = tokio::time::timeout(limits.wait, read).await.map_err(late)??;
    Ok((bytes, parts))
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::because(Code::BodyTooLarge, format!("a body has at most {bytes_max} bytes"))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `application/json` or `application/*+json`, with any parameters (RFC 6839 section 3.1).
fn is_json(headers: &HeaderMap) -> bool {
    let Some(essence) = essence(headers) else { return false };
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The type of a body without its parameters.
fn essence(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
}

/// The identifiers in a path. A malformed one is an unknown one: 404.
pub(super) struct PathIds(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::new(Code::RouteNotFound))?;
        let owned = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self(owned.collect()))
    }
}

impl PathIds {
    /// One of them; `unknown` is the refusal if it is none.
    pub(super) fn get<T: std::str::FromStr>(
        &self,
        name: &str,
        unknown: Code,
    ) -> Result<T, ApiError> {
        let text = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let id = text.and_then(|text| text.parse().ok());
        id.ok_or_else(|| ApiError::new(unknown).param(name))
    }
}
