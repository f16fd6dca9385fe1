//! One HTTP client for every provider: pooled, no redirects, keys only in headers that are never logged.

use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStream;
use tokio::sync::oneshot;

use super::{FailureKind, ProviderError, Stage};
use crate::types::Secret;

/// Time to open a connection: a provider that needs longer is down for a telephone call.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Idle connections kept open to each provider, so that a reply never waits for a handshake.
const IDLE_PER_HOST_MAX: usize = 128;

/// How long an idle connection is kept: longer than the pauses of a conversation.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Makes ring the process's TLS provider. Every client below would panic without one.
pub fn install_crypto() {
    // Somebody else may have installed one; then theirs is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The shared client.
///
/// # Errors
/// When the system has no usable root certificates.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let client = build()?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

fn build() -> Result<reqwest::Client, reqwest::Error> {
    install_crypto();
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// What kind of failure an HTTP status is.
pub fn kind_of_status(status: u16) -> FailureKind {
    match status {
        401 | 403 => FailureKind::Auth,
        402 | 429 => FailureKind::RateLimited,
        408 => FailureKind::Stalled,
        400..=499 => FailureKind::BadRequest,
        500..=599 => FailureKind::Unavailable,
        _ => FailureKind::Protocol,
    }
}

/// What kind of failure a client error is.
pub fn kind_of_error(error: &reqwest::Error) -> FailureKind {
    if let Some(status) = error.status() {
        kind_of_status(status.as_u16())
    } else if error.is_timeout() {
        FailureKind::Stalled
    } else if error.is_connect() {
        FailureKind::Unavailable
    } else if error.is_builder() {
        FailureKind::BadRequest
    } else {
        // What the client calls a decoding error is a body that ends too early: no JSON is read by it.
        FailureKind::Cut
    }
}

/// A provider's error for a client error. The URL is left out: it may hold a key.
pub fn error(provider: &str, stage: Stage, doing: &str, error: reqwest::Error) -> ProviderError {
    let kind = kind_of_error(&error);
    let detail = match error.status() {
        Some(status) => format!("{doing}: HTTP {}", status.as_u16()),
        None => format!("{doing}: {}", error.without_url()),
    };
    ProviderError { provider: provider.to_owned(), stage, kind, detail }
}

/// Refuses an answer that is not a success. A redirect is none: it would carry the key elsewhere.
pub(super) fn success(
    provider: &str,
    stage: Stage,
    doing: &str,
    response: reqwest::Response,
) -> Result<reqwest::Response, ProviderError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(ProviderError {
        provider: provider.to_owned(),
        stage,
        kind: kind_of_status(status.as_u16()),
        detail: format!("{doing}: HTTP {}", status.as_u16()),
    })
}

/// A body of at most `most` octets; `None` if it is larger.
pub(super) async fn bounded(
    mut response: reqwest::Response,
    most: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Opens a connection and gives it to the pool, so that the first real request finds it there.
pub(super) async fn warm_up(url: String, key: Secret, within: Duration, most: usize) {
    let Ok(client) = client() else { return };
    let mut request = client.get(url).timeout(within);
    if !key.is_empty() {
        request = request.bearer_auth(key.expose());
    }
    // Only the open connection matters; reading the body gives it back to the pool.
    if let Ok(response) = request.send().await {
        let _ = bounded(response, most).await;
    }
}

/// A body that says when it leaves: when the connection takes it, after any handshake.
pub(super) struct Departing {
    octets: Option<Bytes>,
    left: Option<oneshot::Sender<()>>,
}

impl Departing {
    pub(super) fn new(octets: Bytes, left: Option<oneshot::Sender<()>>) -> Self {
        Self { octets: Some(octets), left }
    }
}

impl From<Departing> for reqwest::Body {
    fn from(body: Departing) -> Self {
        Self::wrap(body)
    }
}

impl http_body::Body for Departing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if let Some(left) = self.left.take() {
            // Nobody waits for it when the reply was canceled.
            let _ = left.send(());
        }
        Poll::Ready(self.octets.take().map(|octets| Ok(http_body::Frame::data(octets))))
    }

    fn is_end_stream(&self) -> bool {
        self.octets.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.octets.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// A successful answer with this body.
pub(super) fn response_of<S>(body: S) -> reqwest::Response
where
    S: TryStream + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Bytes: From<S::Ok>,
{
    axum::http::Response::new(reqwest::Body::wrap_stream(body)).into()
}
