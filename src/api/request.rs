//! What happens around every request: its id, its span in the log, its time limit, the wall
//! against panics, the body of errors, and the headers every answer has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::Instrument;

use super::Api;
use super::error::{ApiError, Code};
use super::extract::BodyLimits;
use crate::net::clock;

/// Header that carries a request's id, in both directions.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken from a client.
const REQUEST_ID_MAX: usize = 64;

/// Who is at the other end of the connection. Forwarding headers are not believed: anybody can
/// write them.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// The address of a request's peer; unspecified when the request came by no connection.
    pub(super) fn of(request: &Request) -> IpAddr {
        let peer = request.extensions().get::<Self>();
        peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip().to_canonical())
    }
}

/// The middleware around every route.
pub(super) async fn around(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(request.headers()).unwrap_or_else(|| api.new_request_id());
    for name in [header::AUTHORIZATION, super::auth::X_API_KEY] {
        if let Some(value) = request.headers_mut().get_mut(name) {
            value.set_sensitive(true);
        }
    }
    request.extensions_mut().insert(BodyLimits {
        bytes_max: api.config.body_bytes_max,
        wait: api.config.body_timeout(),
    });
    let method = request.method().clone();
    // The template, never the address: identifiers and searches stay out of the log.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let span = tracing::info_span!(
        "http_request",
        method = method_name(&method),
        route = route.as_deref().unwrap_or("unmatched"),
        request_id = %id,
    );
    let started = clock::now();
    let answer = async {
        let next = AssertUnwindSafe(next.run(request)).catch_unwind();
        match tokio::time::timeout(api.config.request_timeout(), next).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => {
                tracing::error!("a request's handler panicked");
                ApiError::new(Code::Internal).into_response()
            }
            Err(_) => ApiError::new(Code::Timeout).into_response(),
        }
    };
    let mut response = answer.instrument(span.clone()).await;
    write_error(&mut response, &id, &method);
    add_headers(response.headers_mut(), &id);
    let _entered = span.enter();
    let status = response.status().as_u16();
    let ms = clock::now().saturating_duration_since(started).as_millis();
    match response.status() {
        status_code if status_code.is_server_error() => {
            tracing::warn!(status, ms, "answered a request");
        }
        _ => tracing::debug!(status, ms, "answered a request"),
    }
    response
}

/// Unknown methods are peer text, and stay out of the log.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The client's own id, if it is one that cannot harm a log.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let harmless = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good = !id.is_empty() && id.len() <= REQUEST_ID_MAX && id.bytes().all(harmless);
    good.then(|| id.to_owned())
}

/// Gives an error its body. Refusals that no handler of ours made get the nearest code.
fn write_error(response: &mut Response, id: &str, method: &Method) {
    let error = response.extensions_mut().remove::<ApiError>().or_else(|| foreign(response));
    let Some(error) = error else { return };
    let Ok(body) = serde_json::to_vec(&error.body(id)) else { return };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = if method == Method::HEAD { Body::empty() } else { Body::from(body) };
}

fn foreign(response: &Response) -> Option<ApiError> {
    let code = match response.status() {
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        StatusCode::BAD_REQUEST => Code::InvalidParameter,
        StatusCode::NOT_FOUND => Code::RouteNotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        _ => return None,
    };
    let json = response.headers().get(header::CONTENT_TYPE);
    let ours = json.is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    (!ours).then(|| ApiError::new(code))
}

fn add_headers(headers: &mut HeaderMap, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
}
