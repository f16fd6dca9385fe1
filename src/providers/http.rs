//! One HTTP client for every provider: pooled, no redirects, keys only in headers that are never logged.

use std::sync::OnceLock;
use std::time::Duration;

use super::{FailureKind, ProviderError, Stage};

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
    install_crypto();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(CLIENT.get_or_init(|| client).clone())
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
    } else if error.is_decode() {
        FailureKind::Protocol
    } else {
        FailureKind::Cut
    }
}

/// A provider's error for a client error. The URL is left out: it may hold a key.
pub fn error(provider: &str, stage: Stage, doing: &str, error: reqwest::Error) -> ProviderError {
    let kind = kind_of_error(&error);
    ProviderError {
        provider: provider.to_owned(),
        stage,
        kind,
        detail: format!("{doing}: {}", error.without_url()),
    }
}
