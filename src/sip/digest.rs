//! Digest credentials, the client's side (RFC 2617, RFC 7616, RFC 8760): a challenge in, a header value out.
//! Checking what others send us is not here.

pub(crate) mod server;

use std::fmt::Write as _;

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

use super::event::Credentials;
use super::header::{Challenge, quote};
use super::msg::{HeaderName, Method, Response};
use crate::types::Entropy;

/// Octets of random in a cnonce: 64 bits, enough that none is used twice with one nonce.
const CNONCE_BYTES: usize = 8;

/// Hash function of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the functions' own names")]
pub enum Hash {
    Md5,
    Sha256,
    Sha512Slash256,
}

impl Hash {
    fn hex(self, text: &[u8]) -> String {
        let octets: Vec<u8> = match self {
            Self::Md5 => Md5::digest(text).to_vec(),
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha512Slash256 => Sha512_256::digest(text).to_vec(),
        };
        octets.iter().fold(String::with_capacity(octets.len() * 2), |mut out, octet| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{octet:02x}");
            out
        })
    }
}

/// Protection a challenge asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qop {
    /// RFC 2069: none.
    Absent,
    Auth,
    AuthInt,
}

/// A challenge we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Usable {
    hash: Hash,
    session: bool,
    qop: Qop,
    challenge: Challenge,
}

impl Usable {
    fn from_challenge(challenge: &Challenge) -> Option<Self> {
        if !challenge.is_digest() || challenge.get("nonce").is_none() {
            return None;
        }
        let algorithm = challenge.get("algorithm").unwrap_or("MD5").to_ascii_uppercase();
        let (name, session) = match algorithm.strip_suffix("-SESS") {
            Some(name) => (name, true),
            None => (algorithm.as_str(), false),
        };
        let hash = match name {
            "MD5" => Hash::Md5,
            "SHA-256" => Hash::Sha256,
            "SHA-512-256" => Hash::Sha512Slash256,
            _ => return None,
        };
        let offered = challenge.get("qop");
        let offers = |word: &str| {
            offered.is_some_and(|list| {
                list.split(',').any(|one| one.trim().eq_ignore_ascii_case(word))
            })
        };
        let qop = if offers("auth") {
            Qop::Auth
        } else if offers("auth-int") {
            Qop::AuthInt
        } else if offered.is_none_or(|list| list.trim().is_empty()) {
            Qop::Absent
        } else {
            return None;
        };
        Some(Self { hash, session, qop, challenge: challenge.clone() })
    }

    fn strength(&self) -> u8 {
        if self.hash == Hash::Md5 { 0 } else { 1 }
    }

    fn get(&self, name: &str) -> &str {
        self.challenge.get(name).unwrap_or_default()
    }
}

/// Why a challenge is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No challenge with a scheme, hash and protection we know.
    #[error("no usable challenge")]
    Unusable,
    /// Our credentials were refused: the same challenge came again and is not stale.
    #[error("credentials refused")]
    Refused,
}

/// What is hashed of the request besides the credentials.
#[derive(Clone, Copy, Debug)]
pub struct Protected<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// Request-URI exactly as it stands in the request line.
    pub uri: &'a str,
    /// Body, for `auth-int`.
    pub body: &'a [u8],
}

/// Answers the challenges of one dialog or registration and counts the uses of a nonce.
#[derive(Debug)]
pub struct Client {
    credentials: Credentials,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    usable: Usable,
    header: HeaderName,
    /// Uses of this nonce.
    uses: u32,
    cnonce: String,
    /// Answers sent since the last success.
    tries: u8,
}

impl Client {
    /// Nothing known of the other side yet.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, current: None }
    }

    /// Takes a 401 or 407: of all challenges that belong to its status the first of the strongest hash.
    ///
    /// # Errors
    /// [`DigestError::Unusable`], or [`DigestError::Refused`] when an answer was sent already and the new
    /// challenge does not say `stale=true`, or says so a second time.
    pub fn challenged(&mut self, response: &Response) -> Result<(), DigestError> {
        let header = if response.status.code() == 407 {
            HeaderName::ProxyAuthorization
        } else {
            HeaderName::Authorization
        };
        let challenges = response.challenges();
        let usable = challenges
            .iter()
            .filter_map(Usable::from_challenge)
            .reduce(|best, next| if next.strength() > best.strength() { next } else { best })
            .ok_or(DigestError::Unusable)?;
        let stale = usable.get("stale").eq_ignore_ascii_case("true");
        let tries = match &self.current {
            Some(current) if current.header == header => current.tries,
            _ => 0,
        };
        if tries > 1 || (tries == 1 && !stale) {
            return Err(DigestError::Refused);
        }
        self.current = Some(Current { usable, header, uses: 0, cnonce: String::new(), tries });
        Ok(())
    }

    /// A request of ours got something other than a challenge: the credentials are good.
    pub fn accepted(&mut self) {
        if let Some(current) = &mut self.current {
            current.tries = 0;
        }
    }

    /// Authorization or Proxy-Authorization for one request; `None` before the first challenge.
    pub fn authorize(
        &mut self,
        request: Protected<'_>,
        entropy: &mut Entropy,
    ) -> Option<(HeaderName, String)> {
        let current = self.current.as_mut()?;
        current.uses = current.uses.saturating_add(1);
        current.tries = current.tries.saturating_add(1);
        // The session key of `-sess` is bound to the first cnonce of the nonce.
        if current.cnonce.is_empty() || !current.usable.session {
            current.cnonce = entropy.hex(CNONCE_BYTES);
        }
        let value = current.value(&self.credentials, request);
        Some((current.header, value))
    }
}

impl Current {
    fn value(&self, credentials: &Credentials, request: Protected<'_>) -> String {
        let usable = &self.usable;
        let nc = format!("{:08x}", self.uses);
        let response = response_of(usable, credentials, request, (&nc, &self.cnonce));
        let mut out = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quote(&credentials.username),
            quote(usable.get("realm")),
            quote(usable.get("nonce")),
            quote(request.uri),
        );
        if let Some(algorithm) = usable.challenge.get("algorithm") {
            out.push_str(", algorithm=");
            out.push_str(algorithm);
        }
        if usable.qop != Qop::Absent {
            let qop = if usable.qop == Qop::Auth { "auth" } else { "auth-int" };
            // Writing to a String cannot fail.
            let _ = write!(out, ", cnonce=\"{}\", nc={nc}, qop={qop}", self.cnonce);
        } else if usable.session {
            let _ = write!(out, ", cnonce=\"{}\"", self.cnonce);
        }
        if let Some(opaque) = usable.challenge.get("opaque") {
            out.push_str(", opaque=");
            out.push_str(&quote(opaque));
        }
        out
    }
}

/// RFC 7616 section 3.4.1, RFC 2617 section 3.2.2.1. The last argument is nonce count and cnonce.
fn response_of(
    usable: &Usable,
    credentials: &Credentials,
    request: Protected<'_>,
    (nc, cnonce): (&str, &str),
) -> String {
    let hash = usable.hash;
    let nonce = usable.get("nonce");
    let secret = format!(
        "{}:{}:{}",
        credentials.username,
        usable.get("realm"),
        credentials.password.expose()
    );
    let mut a1 = hash.hex(secret.as_bytes());
    if usable.session {
        a1 = hash.hex(format!("{a1}:{nonce}:{cnonce}").as_bytes());
    }
    let mut a2 = format!("{}:{}", request.method, request.uri);
    if usable.qop == Qop::AuthInt {
        a2 = format!("{a2}:{}", hash.hex(request.body));
    }
    let a2 = hash.hex(a2.as_bytes());
    let joined = match usable.qop {
        Qop::Absent => format!("{a1}:{nonce}:{a2}"),
        Qop::Auth => format!("{a1}:{nonce}:{nc}:{cnonce}:auth:{a2}"),
        Qop::AuthInt => format!("{a1}:{nonce}:{nc}:{cnonce}:auth-int:{a2}"),
    };
    hash.hex(joined.as_bytes())
}

#[cfg(test)]
mod tests;
