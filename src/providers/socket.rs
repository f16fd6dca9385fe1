//! WebSocket connections to providers: the one file that names the WebSocket library.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

use super::http::{CONNECT_TIMEOUT, install_crypto, kind_of_status};
use super::{FailureKind, ProviderError, Stage};
use crate::types::Secret;

/// Largest message a provider may send: a second of 48 kHz audio in base64 is 128 kB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Read buffer of a connection. The library's 128 kB would be most of a call's memory.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Unsent octets before a send waits: three seconds of 16 kHz audio.
const WRITE_BUFFER_BYTES_MAX: usize = 96 * 1024;

/// How long a send may wait for a provider that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Where and how to connect.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name in the configuration.
    pub provider: String,
    /// Which stage.
    pub stage: Stage,
    /// `ws://` or `wss://` with its query.
    pub url: String,
    /// Header with the credential: name and value.
    pub auth: Option<(&'static str, Secret)>,
}

impl Endpoint {
    /// An error of this provider.
    pub fn error(&self, kind: FailureKind, detail: impl Into<String>) -> ProviderError {
        ProviderError {
            provider: self.provider.clone(),
            stage: self.stage,
            kind,
            detail: detail.into(),
        }
    }
}

/// What a provider sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

/// One connection.
pub struct Socket {
    endpoint: Endpoint,
    closes: fn(u16) -> Option<FailureKind>,
    inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects, within [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    /// Classified by what the server or the network said.
    pub async fn connect(endpoint: Endpoint) -> Result<Self, ProviderError> {
        let mut request = endpoint.url.as_str().into_client_request().map_err(|_| {
            endpoint.error(FailureKind::BadRequest, "the URL is not a WebSocket URL")
        })?;
        if let Some((name, value)) = &endpoint.auth {
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| {
                endpoint.error(FailureKind::Auth, "the key holds characters no header can carry")
            })?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connector = connector(&endpoint)?;
        let connecting = tokio_tungstenite::connect_async_tls_with_config(
            request,
            Some(config),
            true,
            Some(connector),
        );
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok((inner, _))) => Ok(Self { endpoint, closes: |_| None, inner }),
            Ok(Err(error)) => Err(classify(&endpoint, "connect", &error)),
            Err(_) => Err(endpoint.error(
                FailureKind::Stalled,
                format!("connect: no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            )),
        }
    }

    /// Sets what close codes of the vendor's own mean, before those of the protocol.
    pub fn set_closes(&mut self, closes: fn(u16) -> Option<FailureKind>) {
        self.closes = closes;
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn text(&mut self, text: impl Into<String>) -> Result<(), ProviderError> {
        self.send(Message::text(text.into())).await
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn binary(&mut self, bytes: Bytes) -> Result<(), ProviderError> {
        self.send(Message::Binary(bytes)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), ProviderError> {
        match tokio::time::timeout(SEND_TIMEOUT, self.inner.send(message)).await {
            Ok(sent) => sent.map_err(|error| classify(&self.endpoint, "send", &error)),
            Err(_) => {
                Err(self.endpoint.error(FailureKind::Stalled, "send: the provider does not read"))
            }
        }
    }

    /// The next message. Cancellation-safe.
    ///
    /// # Errors
    /// When the connection ends or breaks its protocol.
    pub async fn next(&mut self) -> Result<Incoming, ProviderError> {
        loop {
            match self.inner.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Incoming::Text(text.to_string())),
                Some(Ok(Message::Binary(bytes))) => return Ok(Incoming::Binary(bytes)),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    let (kind, detail) = frame.map_or_else(
                        || (FailureKind::Cut, "closed without a reason".to_owned()),
                        |frame| {
                            let code = u16::from(frame.code);
                            let kind = (self.closes)(code).unwrap_or_else(|| kind_of_close(code));
                            (kind, format!("closed with code {code}"))
                        },
                    );
                    return Err(self.endpoint.error(kind, detail));
                }
                Some(Err(error)) => return Err(classify(&self.endpoint, "receive", &error)),
                None => return Err(self.endpoint.error(FailureKind::Cut, "the connection ended")),
            }
        }
    }

    /// Says goodbye, without waiting for an answer.
    pub async fn close(mut self) {
        // The other side may be gone already; then there is nobody to say goodbye to.
        let _ = tokio::time::timeout(Duration::from_millis(200), self.inner.close(None)).await;
    }
}

fn connector(endpoint: &Endpoint) -> Result<Connector, ProviderError> {
    if endpoint.url.starts_with("ws://") {
        return Ok(Connector::Plain);
    }
    static TLS: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = TLS.get() {
        return Ok(Connector::Rustls(Arc::clone(config)));
    }
    install_crypto();
    let config = rustls::ClientConfig::with_platform_verifier().map_err(|_| {
        endpoint.error(FailureKind::Missing, "no root certificates: install `ca-certificates`")
    })?;
    Ok(Connector::Rustls(Arc::clone(TLS.get_or_init(|| Arc::new(config)))))
}

fn kind_of_close(code: u16) -> FailureKind {
    match code {
        1008 => FailureKind::Auth,
        1002 | 1003 | 1007 | 1009 => FailureKind::BadRequest,
        1011..=1013 => FailureKind::Unavailable,
        _ => FailureKind::Cut,
    }
}

fn classify(endpoint: &Endpoint, doing: &str, error: &Error) -> ProviderError {
    match error {
        Error::Http(response) => {
            let status = response.status().as_u16();
            endpoint.error(kind_of_status(status), format!("{doing}: HTTP {status}"))
        }
        Error::Io(error) => {
            let kind = match error.kind() {
                std::io::ErrorKind::ConnectionRefused
                | std::io::ErrorKind::HostUnreachable
                | std::io::ErrorKind::NetworkUnreachable
                | std::io::ErrorKind::NotFound => FailureKind::Unavailable,
                _ => FailureKind::Cut,
            };
            endpoint.error(kind, format!("{doing}: {}", error.kind()))
        }
        // The commonest end of all: the other side is gone without a word.
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => endpoint.error(FailureKind::Cut, format!("{doing}: the connection is closed")),
        Error::Tls(_) => endpoint.error(FailureKind::Unavailable, format!("{doing}: TLS failed")),
        Error::Url(_) | Error::HttpFormat(_) => {
            endpoint.error(FailureKind::BadRequest, format!("{doing}: the URL is not usable"))
        }
        Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_) | Error::AttackAttempt => {
            endpoint.error(FailureKind::Protocol, format!("{doing}: not the WebSocket protocol"))
        }
        Error::WriteBufferFull(_) => {
            endpoint.error(FailureKind::Stalled, format!("{doing}: the provider does not read"))
        }
    }
}

/// Adds a query parameter, percent-encoded.
pub fn push_query(url: &mut String, name: &str, value: &str) {
    use std::fmt::Write;
    url.push(if url.contains('?') { '&' } else { '?' });
    url.push_str(name);
    url.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

/// The WebSocket form of a base URL: `http://` becomes `ws://`, `https://` `wss://`.
pub fn ws_base(base: &str) -> String {
    let base = base.trim_end_matches('/');
    if let Some(rest) = base.strip_prefix("http://") {
        format!("ws://{rest}")
    } else if let Some(rest) = base.strip_prefix("https://") {
        format!("wss://{rest}")
    } else {
        base.to_owned()
    }
}
