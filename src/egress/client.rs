//! The client: one request, one bounded answer, and every connection checked where it is made.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::policy::{Policy, Refusal};

/// Time to open a connection, the handshake included: a server that needs longer is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections kept to one server; more only cost it sockets.
const IDLE_PER_HOST_MAX: usize = 8;
/// How long an idle connection is kept: an event and its follower are seconds apart.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Headers of a request, ours included.
const HEADERS_MAX: usize = 64;

/// Headers that belong to the connection and not to whoever names headers (RFC 9110 section 7.6.1).
const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Looks names up. Tests answer differently each time.
pub trait Lookup: Send + Sync {
    /// Addresses of a host name.
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
struct System;

impl Lookup for System {
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        }
        .boxed()
    }
}

/// What to do with an answer that is larger than wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The request failed: the answer is used, and half of it is none.
    Refuse,
    /// Read no further: only the status matters, and a body that breaks off is no failure.
    Cut,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// `https://` or `http://`.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Octets to send.
    pub body: Bytes,
    /// From the look-up to the last octet of the answer.
    pub timeout: Duration,
    /// Largest answer, octets.
    pub answer_bytes_max: usize,
    /// What happens beyond.
    pub overflow: Overflow,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status. A redirect is an answer like any other.
    pub status: u16,
    /// Names in lower case, and values that are text.
    pub headers: Vec<(String, String)>,
    /// At most `answer_bytes_max` octets.
    pub body: Bytes,
}

impl Response {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer. The texts hold no URL: it may carry a token.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The target may not be reached; nothing was connected.
    #[error("refuse the target: {0}")]
    Refused(Refusal),
    /// The request can't be written.
    #[error("write the request: {0}")]
    Invalid(String),
    /// The name has no address.
    #[error("look up the host name")]
    Lookup,
    /// Nobody listens, or the way there is broken.
    #[error("connect: {0}")]
    Connect(String),
    /// The certificate or the handshake.
    #[error("connect with TLS: {0}")]
    Tls(String),
    /// No answer, or not all of it, in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The answer is larger than wanted.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection broke off.
    #[error("the connection broke off: {0}")]
    Cut(String),
    /// No client can be made.
    #[error("set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

impl EgressError {
    /// Label of metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Invalid(_) => "invalid",
            Self::Lookup => "lookup",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::TooLarge(_) => "too_large",
            Self::Cut(_) => "cut",
            Self::Client(_) => "client",
        }
    }
}

/// A guarded HTTP client; cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    policy: Policy,
}

impl Client {
    /// A client with the system's resolver.
    ///
    /// # Errors
    /// When the system has no usable root certificates.
    pub fn new(policy: Policy) -> Result<Self, EgressError> {
        Self::with_lookup(policy, Arc::new(System))
    }

    /// A client with another resolver.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_lookup(policy: Policy, lookup: Arc<dyn Lookup>) -> Result<Self, EgressError> {
        // Somebody else may have installed one; then theirs is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would connect where we cannot look.
            .no_proxy()
            .referer(false)
            .dns_resolver(Arc::new(Guard { policy: policy.clone(), lookup }))
            .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(EgressError::Client)?;
        Ok(Self { http, policy })
    }

    /// What it may reach.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the target is refused, or there is no whole answer in time.
    pub async fn send(&self, request: Request) -> Result<Response, EgressError> {
        let timeout = request.timeout;
        tokio::time::timeout(timeout, self.exchange(request))
            .await
            .unwrap_or(Err(EgressError::Timeout(timeout)))
    }

    async fn exchange(&self, request: Request) -> Result<Response, EgressError> {
        let url = self.policy.parse(&request.url).map_err(EgressError::Refused)?;
        let method = reqwest::Method::from_bytes(request.method.as_bytes())
            .map_err(|_| EgressError::Invalid("the method is none".to_owned()))?;
        let headers = headers(&request.headers)?;
        let sending = self.http.request(method, url).headers(headers).body(request.body);
        let response = sending.send().await.map_err(|error| sort(error, request.timeout))?;
        read(response, request.answer_bytes_max, request.overflow, request.timeout).await
    }
}

/// Checks a header that a client has named.
///
/// # Errors
/// What is wrong with it.
pub fn check_header(name: &str, value: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        return Err(format!("`{lower}` belongs to the connection"));
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| "the name is none".to_owned())?;
    HeaderValue::from_str(value).map_err(|_| format!("the value of `{lower}` is none"))?;
    Ok(())
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, EgressError> {
    if pairs.len() > HEADERS_MAX {
        return Err(EgressError::Invalid(format!("more than {HEADERS_MAX} headers")));
    }
    let mut map = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        check_header(name, value).map_err(EgressError::Invalid)?;
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    Ok(map)
}

async fn read(
    mut response: reqwest::Response,
    most: usize,
    overflow: Overflow,
    timeout: Duration,
) -> Result<Response, EgressError> {
    let status = response.status().as_u16();
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let headers = response
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
        .collect();
    let mut body = Vec::new();
    loop {
        let chunk = match (response.chunk().await, overflow) {
            (Ok(Some(chunk)), _) => chunk,
            (Ok(None), _) | (Err(_), Overflow::Cut) => break,
            (Err(error), Overflow::Refuse) => return Err(sort(error, timeout)),
        };
        let room = most.saturating_sub(body.len());
        if chunk.len() > room {
            match overflow {
                Overflow::Refuse => return Err(EgressError::TooLarge(most)),
                Overflow::Cut => {
                    body.extend(chunk.iter().take(room));
                    break;
                }
            }
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status, headers, body: body.into() })
}

/// Sorts an error of the client by what it was about.
fn sort(error: reqwest::Error, timeout: Duration) -> EgressError {
    if let Some(refusal) = find::<Refusal>(&error) {
        return EgressError::Refused(*refusal);
    }
    if let Some(error) = find::<rustls::Error>(&error) {
        return EgressError::Tls(error.to_string());
    }
    if find::<Unknown>(&error).is_some() {
        return EgressError::Lookup;
    }
    if error.is_timeout() {
        return EgressError::Timeout(if error.is_connect() { CONNECT_TIMEOUT } else { timeout });
    }
    let last = innermost(&error);
    if error.is_connect() { EgressError::Connect(last) } else { EgressError::Cut(last) }
}

/// The first error of a type in a chain; an I/O error holds another one that is not its source.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// The text of the last error of a chain: the others only say that something failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address")]
struct Unknown;

/// Gives a connection only addresses that it may be made to.
struct Guard {
    policy: Policy,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        let looking = self.lookup.lookup(name.as_str());
        Box::pin(async move {
            let found = looking.await.map_err(|_| Unknown)?;
            let mut refused = None;
            let mut allowed = Vec::new();
            for ip in found {
                match policy.check_address(ip) {
                    Ok(()) => allowed.push(SocketAddr::new(ip, 0)),
                    Err(refusal) => refused = Some(refusal),
                }
            }
            match (allowed.is_empty(), refused) {
                (true, Some(refusal)) => Err(refusal.into()),
                (true, None) => Err(Unknown.into()),
                (false, _) => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
