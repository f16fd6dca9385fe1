//! API keys: `tk_` and 256 random bits. Only their SHA-256 is kept.
//!
//! Every known hash is in memory, so a request with a good key needs no database. A key cannot be
//! guessed, and there is no other secret to try, so the limit on wrong keys protects the database
//! and the log, not the key: a known key is always taken, or anybody behind the operator's proxy
//! could lock the operator out.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio_util::sync::CancellationToken;

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::jwt;
use super::limit::Attempts;
use super::rate::{Rates, Verdict};
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
/// Most keys that are stored, those taken back among them: they are kept for whoever reads old logs.
const STORED_MAX: usize = 10 * KEYS_MAX;
/// Longest step of the wait for a key's expiry.
const EXPIRY_STEP_MS: u64 = 60_000;

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

/// What stands behind a key as long as requests with it run.
#[derive(Debug)]
pub(super) struct Session {
    /// Cancelled when the key is taken back.
    revoked: CancellationToken,
    expires_at: Option<jiff::Timestamp>,
    rates: Mutex<Rates>,
    /// Minute in which its use was noted last.
    noted: AtomicI64,
}

impl Session {
    fn new(expires_at: Option<jiff::Timestamp>, rates: Rates) -> Self {
        let (revoked, noted) = (CancellationToken::new(), AtomicI64::new(0));
        Self { revoked, expires_at, rates: Mutex::new(rates), noted }
    }

    fn is_over(&self) -> bool {
        self.revoked.is_cancelled() || self.expires_at.is_some_and(|at| clock::wall() >= at)
    }

    /// Returns when the key is taken back or expires: open streams end then.
    pub(super) async fn over(&self) {
        let expired = async {
            while let Some(at) = self.expires_at {
                let left = at.as_millisecond().saturating_sub(clock::wall().as_millisecond());
                match u64::try_from(left) {
                    Ok(left) if left > 0 => {
                        // In steps, so that a step of the wall clock does not put it off for long.
                        tokio::time::sleep(Duration::from_millis(left.min(EXPIRY_STEP_MS))).await;
                    }
                    _ => return,
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.revoked.cancelled() => {}
            () = expired => {}
        }
    }

    fn take(&self) -> Option<Verdict> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now())
    }
}

/// The hash of a key, and who shows it.
#[derive(Clone)]
struct Known {
    hash: [u8; 32],
    principal: Arc<Principal>,
    session: Arc<Session>,
}

impl Known {
    fn of(record: &ApiKeyRecord) -> Option<Self> {
        if record.revoked_at.is_some() {
            return None;
        }
        let principal = Arc::new(Principal {
            organization: record.organization_id.clone(),
            key_id: Some(record.id.clone()),
            scopes: record.scopes.clone(),
        });
        let rates = Rates::new(record.rate_limit_rpm, record.rate_limit_rpd, clock::now());
        let session = Arc::new(Session::new(record.expires_at, rates));
        Some(Self { hash: from_hex(&record.hash)?, principal, session })
    }
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub(super) struct KeyPlan {
    pub name: String,
    pub organization: OrganizationId,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<jiff::Timestamp>,
    pub rate_limit_rpm: Option<u32>,
    pub rate_limit_rpd: Option<u32>,
}

impl KeyPlan {
    /// A key that may do everything in an organization.
    pub(super) fn whole(name: &str, organization: OrganizationId) -> Self {
        Self {
            name: name.to_owned(),
            organization,
            scopes: Scope::ALL.to_vec(),
            expires_at: None,
            rate_limit_rpm: None,
            rate_limit_rpd: None,
        }
    }
}

/// Every key that is let in.
pub struct Keys {
    store: Arc<Store>,
    known: Mutex<Vec<Known>>,
    attempts: Mutex<Attempts>,
    jwt: Option<jwt::Verifier>,
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
            let session = Arc::new(Session::new(None, Rates::default()));
            known.push(Known { hash: sha256(key.expose()), principal, session });
        }
        let first = known.is_empty();
        let attempts = Mutex::new(Attempts::default());
        let keys = Self { store, known: Mutex::new(known), attempts, jwt: None };
        if !first {
            return Ok((keys, None));
        }
        let plan = KeyPlan::whole("first start", OrganizationId::default());
        let (_, secret) = keys.create(plan, entropy.hex(KEY_BYTES)).await?;
        Ok((keys, Some(secret)))
    }

    /// Lets in bearers of signed tokens besides.
    #[must_use]
    pub fn with_jwt(mut self, verifier: Option<jwt::Verifier>) -> Self {
        self.jwt = verifier;
        self
    }

    /// Makes a key out of fresh randomness and stores its hash.
    ///
    /// # Errors
    /// When the store fails or there are too many keys.
    pub(super) async fn create(
        &self,
        plan: KeyPlan,
        random_hex: String,
    ) -> Result<(ApiKeyRecord, Secret), KeyError> {
        if self.known().len() >= KEYS_MAX || self.store.keys().await?.len() >= STORED_MAX {
            return Err(KeyError::TooMany);
        }
        let key = format!("{KEY_PREFIX}{random_hex}");
        let hash = sha256(&key);
        let hash_hex = to_hex(&hash);
        let record = ApiKeyRecord {
            id: format!("key_{}", hash_hex.chars().take(16).collect::<String>()),
            name: plan.name,
            prefix: key.chars().take(SHOWN_CHARS).collect(),
            hash: hash_hex,
            created_at: clock::wall(),
            organization_id: plan.organization,
            scopes: plan.scopes,
            expires_at: plan.expires_at,
            revoked_at: None,
            rate_limit_rpm: plan.rate_limit_rpm,
            rate_limit_rpd: plan.rate_limit_rpd,
        };
        self.store.insert_key(&record).await?;
        self.known().extend(Known::of(&record));
        Ok((record, Secret::new(key)))
    }

    /// Takes a key back: from this moment no request with it is let in, and its open streams end.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn revoke(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<Option<ApiKeyRecord>, KeyError> {
        let stored = self.store.keys().await?;
        let ours = |key: &ApiKeyRecord| key.id == id && key.organization_id == *organization;
        let Some(mut record) = stored.into_iter().find(ours) else { return Ok(None) };
        record.revoked_at.get_or_insert(clock::wall());
        self.store.update_key(&record).await?;
        self.known().retain(|known| {
            let out = known.principal.key_id.as_deref() == Some(id);
            if out {
                known.session.revoked.cancel();
            }
            !out
        });
        Ok(Some(record))
    }

    /// Notes that a key is used, at most once a minute.
    fn note_use(&self, known: &Known) {
        let now = clock::wall();
        let minute = now.as_second() / 60;
        let Some(id) = known.principal.key_id.clone() else { return };
        if known.session.noted.swap(minute, Ordering::Relaxed) == minute {
            return;
        }
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            if let Err(error) = store.keys_used(&[(id, now)]).await {
                let error = crate::telemetry::chain::chain(&error).to_string();
                tracing::debug!(error, "failed to note the use of an API key");
            }
        });
    }

    /// Random bytes a new key takes.
    pub(super) fn random_bytes() -> usize {
        KEY_BYTES
    }

    /// Lets a request in or says why not.
    async fn check(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Known, ApiError> {
        let Some(key) = presented(headers) else {
            return Err(ApiError::because(Code::Unauthorized, "an API key is required")
                .hint("send `Authorization: Bearer <key>` or `X-API-Key: <key>`"));
        };
        let hash = sha256(key);
        if let Some(known) = self.find(&hash) {
            if known.session.is_over() {
                return Err(ApiError::because(Code::Unauthorized, "the API key has expired"));
            }
            self.note_use(&known);
            return Ok(known);
        }
        if let Some(jwt) = self.jwt.as_ref().filter(|_| jwt::looks_like_one(key)) {
            let claims = jwt.verify(key).map_err(|reason| {
                ApiError::because(Code::Unauthorized, format!("the token is refused: {reason}"))
            })?;
            let session = Arc::new(Session::new(claims.expires_at, Rates::default()));
            return Ok(Known { hash, principal: Arc::new(claims.principal), session });
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
            && let Some(fresh) = Known::of(&found).filter(|fresh| !fresh.session.is_over())
        {
            let mut known = self.known();
            if known.len() < KEYS_MAX {
                known.push(fresh.clone());
            }
            return Ok(fresh);
        }
        self.attempts().failed(clock::now(), peer);
        Err(ApiError::because(Code::Unauthorized, "the API key is unknown"))
    }

    /// Compares with every hash, in a time that does not depend on which one fits.
    fn find(&self, hash: &[u8; 32]) -> Option<Known> {
        let known = self.known();
        let matches = known.iter().map(|known| known.hash.ct_eq(hash).unwrap_u8());
        let place = (1u64..).zip(matches).fold(0, |found, (place, matched)| {
            u64::conditional_select(&found, &place, matched.into())
        });
        let index = usize::try_from(place).ok()?.checked_sub(1)?;
        known.get(index).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        // A push is complete before anything can panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a request: `Authorization: Bearer` (RFC 6750 section 2.1), else `X-API-Key`. A key wins over a
/// token.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value: &HeaderValue| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let other = || headers.get(X_API_KEY)?.to_str().ok().map(str::trim);
    let key = bearer.filter(|bearer| !jwt::looks_like_one(bearer)).or_else(other).or(bearer)?;
    let most = if jwt::looks_like_one(key) { jwt::CHARS_MAX } else { KEY_CHARS_MAX };
    (!key.is_empty() && key.len() <= most).then_some(key)
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The middleware around every route that needs a key.
pub(super) async fn require(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let known = api.keys.check(request.headers(), Peer::of(&request)).await?;
    let verdict = known.session.take();
    if let Some(Verdict { pass: Err(wait), limit, reset_s, .. }) = verdict {
        return Err(ApiError::new(Code::RateLimited)
            .header(header::RETRY_AFTER, wait.as_secs_f64().ceil() as u64)
            .header(LIMIT, u64::from(limit))
            .header(REMAINING, 0u64)
            .header(RESET, reset_s));
    }
    // For layers that are made before the state is.
    request.extensions_mut().insert(Arc::clone(&api));
    request.extensions_mut().insert(known.principal);
    request.extensions_mut().insert(known.session);
    let mut response = next.run(request).await;
    if let Some(verdict) = verdict {
        let headers = response.headers_mut();
        headers.insert(LIMIT, verdict.limit.into());
        headers.insert(REMAINING, verdict.remaining.into());
        headers.insert(RESET, verdict.reset_s.into());
    }
    Ok(response)
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
