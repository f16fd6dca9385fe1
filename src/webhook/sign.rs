//! Signatures: Standard Webhooks, and the two styles that other call platforms use.
//!
//! See <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>. The standard
//! style signs with the octets that the secret's base64 stands for; the other two with the text of the secret as it
//! was shown, because that is what verifiers of those platforms do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::schema::webhook::SignatureStyle;
use crate::types::pii::SIGNING_PREFIX;
use crate::types::{Entropy, Secret};

/// Octets of a new secret.
const KEY_BYTES: usize = 32;

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Another shape.
    #[error("a signing secret is `whsec_` and 24 to 64 octets in base64")]
    Shape,
}

/// A secret that deliveries are signed with, as `whsec_<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningSecret(Secret);

impl SigningSecret {
    /// Makes one.
    pub fn generate(entropy: &mut Entropy) -> Self {
        let mut key = [0; KEY_BYTES];
        entropy.fill(&mut key);
        Self(Secret::new(format!("{SIGNING_PREFIX}{}", STANDARD.encode(key))))
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn parse(text: &str) -> Result<Self, SignError> {
        Self::new(Secret::new(text))
    }

    /// Takes one that was kept as a secret.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn new(secret: Secret) -> Result<Self, SignError> {
        if secret.signing_key().is_some() { Ok(Self(secret)) } else { Err(SignError::Shape) }
    }

    /// The text, for the one answer that shows it and for the sealed row that keeps it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    fn key(&self) -> Vec<u8> {
        self.0.signing_key().unwrap_or_default()
    }
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Identifier of the event.
    pub id: &'a str,
    /// Name of the event.
    pub kind: &'a str,
    /// Moment of sending, Unix seconds. Receivers refuse what is older than 300 s.
    pub timestamp: i64,
    /// The octets of the body.
    pub body: &'a [u8],
}

/// The headers of a message: its identity and a signature by every secret, the newest first.
pub fn headers(
    style: SignatureStyle,
    secrets: &[SigningSecret],
    message: Message<'_>,
) -> Vec<(String, String)> {
    let timestamp = message.timestamp.to_string();
    let mut headers = vec![
        ("webhook-id".to_owned(), message.id.to_owned()),
        ("webhook-timestamp".to_owned(), timestamp.clone()),
        ("x-webhook-event".to_owned(), message.kind.to_owned()),
    ];
    let over_time = |secret: &SigningSecret| {
        let parts = [timestamp.as_bytes(), b".", message.body];
        hex(&mac(secret.expose().as_bytes(), &parts))
    };
    match style {
        SignatureStyle::Standard => {
            let parts = [message.id.as_bytes(), b".", timestamp.as_bytes(), b".", message.body];
            let sign = |secret: &SigningSecret| {
                format!("v1,{}", STANDARD.encode(mac(&secret.key(), &parts)))
            };
            let signatures: Vec<String> = secrets.iter().map(sign).collect();
            headers.push(("webhook-signature".to_owned(), signatures.join(" ")));
        }
        SignatureStyle::TV1 => {
            let mut value = format!("t={timestamp}");
            for secret in secrets {
                value.push_str(",v1=");
                value.push_str(&over_time(secret));
            }
            headers.push(("x-webhook-signature".to_owned(), value));
        }
        SignatureStyle::Sha256Ts => {
            headers.push(("x-webhook-timestamp".to_owned(), timestamp.clone()));
            // The style has room for one signature: the older secret's stands beside it.
            let names = ["x-webhook-signature", "x-webhook-signature-previous"];
            for (name, secret) in names.into_iter().zip(secrets) {
                headers.push((name.to_owned(), format!("sha256={}", over_time(secret))));
            }
        }
    }
    headers
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length (RFC 2104 section 3).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
