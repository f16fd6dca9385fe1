//! API keys: `tk_` and 256 random bits. Only their SHA-256 is kept.
//!
//! Every known hash is in memory, so a request with a good key needs no database. A key cannot be
//! guessed, and there is no other secret to try, so the limit on wrong keys protects the database
//! and the log, not the key: a known key is always taken, or anybody behind the operator's proxy
//! could lock the operator out.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::limit::Attempts;
use super::request::Peer;
use crate::net::clock;
use crate::store::{ApiKeyRecord, Store, StoreError};
use crate::types::{Entropy, OrganizationId, Scope, Secret};

/// The header for clients that cannot set `Authorization`.
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// What every made key begins with, so that secret scanners find it.
pub const KEY_PREFIX: &str = "tk_";
/// Characters of a key that are kept to recognise it by: 32 of its 256 bits.
const SHOWN_CHARS: usize = 11;
/// Random bytes of a key.
const KEY_BYTES: usize = 32;
/// Shortest key the environment may set.
const KEY_CHARS_MIN: usize = 16;
/// Longest key that is looked at.
const KEY_CHARS_MAX: usize = 256;
/// Most keys, so that comparing against all of them stays below 100 us.
pub const KEYS_MAX: usize = 1_000;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store does not answer.
    #[error("use the store of API keys")]
    Store(#[from] StoreError),
    /// The configured key can be guessed or cannot be sent.
    #[error(
        "the configured API key has {KEY_CHARS_MIN} to {KEY_CHARS_MAX} visible ASCII characters"
    )]
    Weak,
    /// [`KEYS_MAX`] keys exist.
    #[error("there are {KEYS_MAX} API keys already")]
    TooMany,
}

/// The hash of a key, and who shows it.
struct Known {
    hash: [u8; 32],
    principal: Arc<Principal>,
}

impl Known {
    fn of(record: &ApiKeyRecord) -> Option<Self> {
        let principal = Arc::new(Principal {
            organization: record.organization_id.clone(),
            key_id: Some(record.id.clone()),
            scopes: record.scopes.clone(),
        });
        Some(Self { hash: from_hex(&record.hash)?, principal })
    }
}

/// Every key that is let in.
pub struct Keys {
    store: Arc<Store>,
    known: Mutex<Vec<Known>>,
    attempts: Mutex<Attempts>,
}

impl Keys {
    /// Loads the keys. `configured` is a key from the environment: it is let in as long as it is
    /// configured, and never stored. Without it, and without a stored key, this is a first start:
    /// one key is made and returned, to be shown once.
    ///
    /// # Errors
    /// When the store fails or the configured key is weak.
    pub async fn open(
        store: Arc<Store>,
        configured: Option<&Secret>,
        entropy: &mut Entropy,
    ) -> Result<(Self, Option<Secret>), KeyError> {
        let stored = store.keys().await?;
        let mut known: Vec<_> = stored.iter().filter_map(Known::of).collect();
        if let Some(key) = configured {
            let visible = key.expose().bytes().all(|b| b.is_ascii_graphic());
            if !visible || !(KEY_CHARS_MIN..=KEY_CHARS_MAX).contains(&key.expose().len()) {
                return Err(KeyError::Weak);
            }
            let principal = Arc::new(Principal {
                organization: OrganizationId::default(),
                key_id: None,
                scopes: Scope::ALL.to_vec(),
            });
            known.push(Known { hash: sha256(key.expose()), principal });
        }
        let first = known.is_empty();
        let keys =
            Self { store, known: Mutex::new(known), attempts: Mutex::new(Attempts::default()) };
        if !first {
            return Ok((keys, None));
        }
        let (_, secret) = keys.create("first start", entropy.hex(KEY_BYTES)).await?;
        Ok((keys, Some(secret)))
    }

    /// Makes a key out of fresh randomness and stores its hash.
    ///
    /// # Errors
    /// When the store fails or there are too many keys.
    pub(super) async fn create(
        &self,
        name: &str,
        random_hex: String,
    ) -> Result<(ApiKeyRecord, Secret), KeyError> {
        if self.known().len() >= KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let key = format!("{KEY_PREFIX}{random_hex}");
        let hash = sha256(&key);
        let hash_hex = to_hex(&hash);
        let record = ApiKeyRecord {
            id: format!("key_{}", hash_hex.chars().take(16).collect::<String>()),
            name: name.to_owned(),
            prefix: key.chars().take(SHOWN_CHARS).collect(),
            hash: hash_hex,
            created_at: clock::wall(),
            organization_id: OrganizationId::default(),
            scopes: Scope::ALL.to_vec(),
        };
        self.store.insert_key(&record).await?;
        self.known().extend(Known::of(&record));
        Ok((record, Secret::new(key)))
    }

    /// Random bytes a new key takes.
    pub(super) fn random_bytes() -> usize {
        KEY_BYTES
    }

    /// Lets a request in or says why not.
    async fn check(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Arc<Principal>, ApiError> {
        let Some(key) = presented(headers) else {
            return Err(ApiError::because(Code::Unauthorized, "an API key is required")
                .hint("send `Authorization: Bearer <key>` or `X-API-Key: <key>`"));
        };
        let hash = sha256(key);
        if let Some(principal) = self.find(&hash) {
            return Ok(principal);
        }
        let blocked = self.attempts().blocked(clock::now(), peer);
        if let Some(wait) = blocked {
            let seconds = wait.as_secs().saturating_add(1);
            return Err(ApiError::new(Code::TooManyAttempts).header(header::RETRY_AFTER, seconds));
        }
        // Another process may have added it since the start.
        let hex = to_hex(&hash);
        if let Some(found) = self.store.key_by_hash(&hex).await?
            && bool::from(found.hash.as_bytes().ct_eq(hex.as_bytes()))
        {
            let mut known = self.known();
            if known.len() < KEYS_MAX {
                known.extend(Known::of(&found));
            }
            if let Some(known) = Known::of(&found) {
                return Ok(known.principal);
            }
        }
        self.attempts().failed(clock::now(), peer);
        Err(ApiError::because(Code::Unauthorized, "the API key is unknown"))
    }

    /// Compares with every hash, in a time that does not depend on which one fits.
    fn find(&self, hash: &[u8; 32]) -> Option<Arc<Principal>> {
        let known = self.known();
        let matches = known.iter().map(|known| known.hash.ct_eq(hash).unwrap_u8());
        let place = (1u64..).zip(matches).fold(0, |found, (place, matched)| {
            u64::conditional_select(&found, &place, matched.into())
        });
        let index = usize::try_from(place).ok()?.checked_sub(1)?;
        known.get(index).map(|known| Arc::clone(&known.principal))
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        // A push is complete before anything can panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a request: `Authorization: Bearer` (RFC 6750 section 2.1), else `X-API-Key`.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value: &HeaderValue| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let key = bearer.or_else(|| headers.get(X_API_KEY)?.to_str().ok().map(str::trim))?;
    (!key.is_empty() && key.len() <= KEY_CHARS_MAX).then_some(key)
}

/// The middleware around every route that needs a key.
pub(super) async fn require(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let principal = api.keys.check(request.headers(), Peer::of(&request)).await?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

fn sha256(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn to_hex(bytes: &[u8; 32]) -> String {
    let digits = bytes.iter().flat_map(|octet| [octet >> 4, octet & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let bytes: Option<Vec<u8>> = digits?
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect();
    bytes?.try_into().ok()
}
