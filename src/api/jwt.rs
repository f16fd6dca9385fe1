//! Signed tokens (RFC 7519) in place of API keys, verified with a shared secret or a file of public keys.
//!
//! Off unless configured. There is no login here: somebody else makes the tokens. A token names its organization
//! and scopes in claims, and must expire.

use std::collections::HashSet;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};

use super::access::Principal;
use crate::types::{OrganizationId, Scope, Secret};

/// Longest token that is looked at.
pub(super) const CHARS_MAX: usize = 4_096;
/// Shortest shared secret, bytes: the size of HS256's own output (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Most keys of a file.
const KEYS_MAX: usize = 32;
/// How far the clocks may differ, seconds.
const LEEWAY_S: u64 = 30;

/// Names of the claims, and what a token must say of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Claims {
    /// Claim that holds the organization's identifier.
    pub organization_claim: String,
    /// Claim that holds the scopes, as a list or separated by spaces.
    pub scopes_claim: String,
    /// What `iss` must be; empty: anything.
    pub issuer: String,
    /// What `aud` must hold; empty: anything.
    pub audience: String,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            organization_claim: "organization_id".to_owned(),
            scopes_claim: "scope".to_owned(),
            issuer: String::new(),
            audience: String::new(),
        }
    }
}

/// Why tokens cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// The secret can be guessed.
    #[error("the secret of tokens has at least {SECRET_BYTES_MIN} bytes")]
    Weak,
    /// The file of keys is none.
    #[error("the file of keys is no JSON Web Key Set of 1 to {KEYS_MAX} public keys")]
    Keys,
}

/// Verifies tokens.
pub struct Verifier {
    claims: Claims,
    /// Key, its id, and the algorithms it may be used with.
    keys: Vec<(DecodingKey, Option<String>, Vec<Algorithm>)>,
}

/// What a token says.
pub(super) struct Verified {
    pub principal: Principal,
    pub expires_at: Option<jiff::Timestamp>,
}

/// Three parts of Base64 with dots between: no key of ours has any.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.bytes().filter(|octet| *octet == b'.').count() == 2
}

impl Verifier {
    /// Tokens signed with a shared secret (HS256).
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn with_secret(secret: &Secret, claims: Claims) -> Result<Self, JwtError> {
        let octets = secret.expose().as_bytes();
        if octets.len() < SECRET_BYTES_MIN {
            return Err(JwtError::Weak);
        }
        let key = DecodingKey::from_secret(octets);
        Ok(Self { claims, keys: vec![(key, None, vec![Algorithm::HS256])] })
    }

    /// Tokens signed with one of these public keys (RFC 7517). Shared secrets in the set are refused.
    ///
    /// # Errors
    /// When the text holds no such keys.
    pub fn with_keys(jwks: &str, claims: Claims) -> Result<Self, JwtError> {
        let set: JwkSet = serde_json::from_str(jwks).map_err(|_| JwtError::Keys)?;
        if set.keys.is_empty() || set.keys.len() > KEYS_MAX {
            return Err(JwtError::Keys);
        }
        let keys = set.keys.iter().map(|jwk| {
            use jsonwebtoken::jwk::AlgorithmParameters as Kind;
            let algorithms = match &jwk.algorithm {
                Kind::RSA(_) => vec![Algorithm::RS256, Algorithm::PS256],
                Kind::EllipticCurve(_) => vec![Algorithm::ES256, Algorithm::ES384],
                Kind::OctetKeyPair(_) => vec![Algorithm::EdDSA],
                _ => return Err(JwtError::Keys),
            };
            let key = DecodingKey::from_jwk(jwk).map_err(|_| JwtError::Keys)?;
            Ok((key, jwk.common.key_id.clone(), algorithms))
        });
        Ok(Self { claims, keys: keys.collect::<Result<_, _>>()? })
    }

    /// Who the bearer of a token is.
    ///
    /// # Errors
    /// Why it is refused, in words that hold nothing of it.
    pub(super) fn verify(&self, token: &str) -> Result<Verified, &'static str> {
        let header = decode_header(token).map_err(|_| "it cannot be read")?;
        let fits = |(_, id, algorithms): &&(DecodingKey, Option<String>, Vec<Algorithm>)| {
            let named = header.kid.is_none() || id.is_none() || header.kid == *id;
            named && algorithms.contains(&header.alg)
        };
        let (key, _, _) = self.keys.iter().find(fits).ok_or("no key fits it")?;
        let mut rules = Validation::new(header.alg);
        rules.leeway = LEEWAY_S;
        rules.required_spec_claims = HashSet::from(["exp".to_owned()]);
        rules.validate_nbf = true;
        rules.validate_aud = !self.claims.audience.is_empty();
        if !self.claims.audience.is_empty() {
            rules.set_audience(&[&self.claims.audience]);
        }
        if !self.claims.issuer.is_empty() {
            rules.set_issuer(&[&self.claims.issuer]);
            rules.required_spec_claims.insert("iss".to_owned());
        }
        let token = decode::<serde_json::Map<String, serde_json::Value>>(token, key, &rules)
            .map_err(|_| "its signature, time, issuer or audience is wrong")?;
        let organization = token.claims.get(&self.claims.organization_claim);
        let organization = organization.and_then(|value| value.as_str());
        let organization =
            organization.filter(|id| !id.is_empty()).ok_or("it names no organization")?;
        let expires = token.claims.get("exp").and_then(serde_json::Value::as_i64);
        Ok(Verified {
            principal: Principal {
                organization: OrganizationId::new(organization.to_owned()),
                key_id: None,
                scopes: scopes(token.claims.get(&self.claims.scopes_claim)),
            },
            expires_at: expires.and_then(|second| jiff::Timestamp::from_second(second).ok()),
        })
    }
}

/// Scopes that we know; others are somebody else's.
fn scopes(claim: Option<&serde_json::Value>) -> Vec<Scope> {
    let words: Vec<&str> = match claim {
        Some(serde_json::Value::String(text)) => text.split_whitespace().collect(),
        Some(serde_json::Value::Array(list)) => list.iter().filter_map(|v| v.as_str()).collect(),
        _ => Vec::new(),
    };
    Scope::ALL.into_iter().filter(|scope| words.contains(&scope.as_str())).collect()
}

#[cfg(test)]
mod tests;
