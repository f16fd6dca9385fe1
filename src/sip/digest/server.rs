//! Digest credentials, the server's side (RFC 7616, RFC 8760): challenges out, answers checked.
//!
//! A nonce is a time, a random part and a seal over both, so that nothing is kept for a challenge that nobody
//! answers. What is kept is how often a nonce served: an answer that came before is refused. Time comes from outside.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::super::config::DigestAlgorithm;
use super::super::event::Credentials;
use super::super::header::{Challenge, quote};
use super::super::msg::{HeaderName, Request};
use super::Hash;
use crate::types::{Entropy, Secret, TrunkName};

/// The realm of our challenges. It names no product: scanners look for those.
pub(crate) const REALM: &str = "sip";

/// How long a nonce serves. A caller answers within a second; halved, phones on slow links are challenged twice.
const NONCE_LIFE: Duration = Duration::from_secs(60);

/// Nonces whose uses are remembered; each call uses one. Beyond, answers are challenged again.
const USED_MAX: usize = 20_000;

/// Answers of one request that are looked at.
const ANSWERS_MAX: usize = 4;

/// Hex digits of a nonce: 8 octets of time, 8 of random, 16 of seal.
const NONCE_LEN: usize = 64;
const SEALED_LEN: usize = 32;

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// User name and password are those of this trunk.
    Good(TrunkName),
    /// They are, but the nonce is too old or served already: another challenge, `stale`.
    Stale,
    /// They are not, or there is no answer.
    Wrong,
}

/// Challenges and what is remembered of them.
pub(crate) struct Server {
    key: [u8; 32],
    /// Checked in place of a password nobody has.
    nobody: Secret,
    epoch: Option<Instant>,
    used: HashMap<String, u32>,
    oldest: VecDeque<(Instant, String)>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("used", &self.used.len()).finish_non_exhaustive()
    }
}

/// One answer, as it came.
struct Answer<'a> {
    username: &'a str,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    hash: Hash,
    /// Count, client's nonce and protection; `None`: RFC 2069.
    quality: Option<(&'a str, &'a str, &'a str)>,
}

impl Server {
    pub(crate) fn new(entropy: &mut Entropy) -> Self {
        let mut key = [0u8; 32];
        entropy.fill(&mut key);
        Self {
            key,
            nobody: Secret::new(entropy.hex(16)),
            epoch: None,
            used: HashMap::new(),
            oldest: VecDeque::new(),
        }
    }

    /// The values of WWW-Authenticate, one a hash, all with one nonce (RFC 8760 section 2.3).
    pub(crate) fn challenges(
        &mut self,
        now: Instant,
        entropy: &mut Entropy,
        verdict: &Verdict,
        algorithms: &[DigestAlgorithm],
    ) -> Vec<String> {
        let nonce = self.nonce(now, entropy);
        let stale = if *verdict == Verdict::Stale { ", stale=true" } else { "" };
        let value = |algorithm: &DigestAlgorithm| {
            format!(
                "Digest realm={}, nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
                quote(REALM),
                algorithm.as_str()
            )
        };
        algorithms.iter().map(value).collect()
    }

    fn since(&mut self, now: Instant) -> Duration {
        let epoch = *self.epoch.get_or_insert(now);
        now.saturating_duration_since(epoch)
    }

    fn nonce(&mut self, now: Instant, entropy: &mut Entropy) -> String {
        let ms = u64::try_from(self.since(now).as_millis()).unwrap_or(u64::MAX);
        let sealed = format!("{ms:016x}{}", entropy.hex(8));
        let seal = self.seal(&sealed);
        format!("{sealed}{seal}")
    }

    fn seal(&self, sealed: &str) -> String {
        use std::fmt::Write as _;
        // HMAC takes keys of every length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(sealed.as_bytes());
        let octets = mac.finalize().into_bytes();
        octets.iter().take(16).fold(String::new(), |mut out, octet| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{octet:02x}");
            out
        })
    }

    /// Checks the answers of a request against those who may call. Whatever is wrong takes the same way: nobody
    /// learns whether a user name exists.
    pub(crate) fn check<'a>(
        &mut self,
        now: Instant,
        request: &Request,
        callers: impl Iterator<Item = (&'a TrunkName, &'a Credentials)> + Clone,
    ) -> Verdict {
        self.forget(now);
        let headers = request.headers.get_all(HeaderName::Authorization).take(ANSWERS_MAX);
        let read: Vec<Challenge> =
            headers.flat_map(|value| Challenge::parse_all(value)).take(ANSWERS_MAX).collect();
        let mut verdict = Verdict::Wrong;
        for answer in read.iter().filter_map(Answer::read) {
            match self.check_one(now, request, &answer, callers.clone()) {
                Verdict::Good(trunk) => return Verdict::Good(trunk),
                Verdict::Stale => verdict = Verdict::Stale,
                Verdict::Wrong => {}
            }
        }
        verdict
    }

    fn check_one<'a>(
        &mut self,
        now: Instant,
        request: &Request,
        answer: &Answer<'_>,
        callers: impl Iterator<Item = (&'a TrunkName, &'a Credentials)>,
    ) -> Verdict {
        let Some((sealed, seal)) = answer.nonce.split_at_checked(SEALED_LEN) else {
            return Verdict::Wrong;
        };
        let is_ours = bool::from(self.seal(sealed).as_bytes().ct_eq(seal.as_bytes()));
        let mut good = None;
        let mut tried = 0;
        for (trunk, credentials) in callers.filter(|(_, one)| one.username == answer.username) {
            tried += 1;
            if answer.fits(request, &credentials.password) && good.is_none() {
                good = Some(trunk.clone());
            }
        }
        if tried == 0 {
            // An unknown name costs what a known one does.
            let _ = answer.fits(request, &self.nobody);
        }
        match good {
            Some(trunk) if is_ours && answer.nonce.len() == NONCE_LEN => {
                if self.serves(now, sealed, answer) { Verdict::Good(trunk) } else { Verdict::Stale }
            }
            _ => Verdict::Wrong,
        }
    }

    /// Whether a nonce of ours is young enough, and this use of it the first.
    fn serves(&mut self, now: Instant, sealed: &str, answer: &Answer<'_>) -> bool {
        let made = sealed.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let Some(made) = made.map(Duration::from_millis) else { return false };
        if self.since(now) > made + NONCE_LIFE {
            return false;
        }
        let count = match answer.quality {
            Some((count, _, _)) => u32::from_str_radix(count, 16).unwrap_or(0),
            // RFC 2069 counts nothing: once.
            None => u32::MAX,
        };
        let is_full = self.used.len() >= USED_MAX;
        match self.used.get_mut(answer.nonce) {
            Some(last) if count > *last => *last = count,
            Some(_) => return false,
            None if count == 0 || is_full => return false,
            None => {
                self.used.insert(answer.nonce.to_owned(), count);
                self.oldest.push_back((now + NONCE_LIFE, answer.nonce.to_owned()));
            }
        }
        true
    }

    /// Nonces that no longer serve need not be remembered.
    fn forget(&mut self, now: Instant) {
        while self.oldest.front().is_some_and(|(until, _)| *until < now) {
            if let Some((_, nonce)) = self.oldest.pop_front() {
                self.used.remove(&nonce);
            }
        }
    }
}

impl<'a> Answer<'a> {
    fn read(from: &'a Challenge) -> Option<Self> {
        if !from.is_digest() || from.get("realm") != Some(REALM) {
            return None;
        }
        let hash = match from.get("algorithm").unwrap_or("MD5") {
            name if name.eq_ignore_ascii_case("MD5") => Hash::Md5,
            name if name.eq_ignore_ascii_case("SHA-256") => Hash::Sha256,
            _ => return None,
        };
        let quality = match from.get("qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                Some((from.get("nc")?, from.get("cnonce")?, qop))
            }
            Some(_) => return None,
        };
        Some(Self {
            username: from.get("username")?,
            nonce: from.get("nonce")?,
            uri: from.get("uri")?,
            response: from.get("response")?,
            hash,
            quality,
        })
    }

    /// Whether the answer was made with this password. The URI is the answer's own: proxies on the way rewrite the
    /// request line (RFC 3261 section 22.4).
    fn fits(&self, request: &Request, password: &Secret) -> bool {
        let hash = self.hash;
        let a1 = hash.hex(format!("{}:{REALM}:{}", self.username, password.expose()).as_bytes());
        let a2 = hash.hex(format!("{}:{}", request.method, self.uri).as_bytes());
        let nonce = self.nonce;
        let joined = match self.quality {
            Some((nc, cnonce, qop)) => format!("{a1}:{nonce}:{nc}:{cnonce}:{qop}:{a2}"),
            None => format!("{a1}:{nonce}:{a2}"),
        };
        let wanted = hash.hex(joined.as_bytes());
        bool::from(wanted.as_bytes().ct_eq(self.response.to_ascii_lowercase().as_bytes()))
    }
}
