//! Whether a provider takes a key: one request that costs nothing.

use std::time::Duration;

use super::config::{ProviderConfig, ProviderKind};
use super::http;
use crate::types::Secret;

/// Longest wait for the answer.
const WAIT: Duration = Duration::from_secs(10);

/// Asks a provider for something only a key opens, and gives the status of its answer.
///
/// # Errors
/// Why there is no answer, without the URL.
pub async fn probe(config: &ProviderConfig, key: &Secret) -> Result<u16, String> {
    let base = |usual: &str| {
        let url = if config.base_url.is_empty() { usual } else { config.base_url.as_str() };
        let url = match url.strip_prefix("ws") {
            Some(rest) => format!("http{rest}"),
            None => url.to_owned(),
        };
        url.trim_end_matches('/').to_owned()
    };
    let (url, header, value) = match config.kind {
        ProviderKind::OpenAi => (
            format!("{}/models", base("https://api.openai.com/v1")),
            "authorization",
            format!("Bearer {}", key.expose()),
        ),
        ProviderKind::Deepgram => (
            format!("{}/v1/projects", base("https://api.deepgram.com")),
            "authorization",
            format!("Token {}", key.expose()),
        ),
        ProviderKind::ElevenLabs => (
            format!("{}/v1/user", base("https://api.elevenlabs.io")),
            "xi-api-key",
            key.expose().to_owned(),
        ),
        ProviderKind::Sphinx | ProviderKind::Scripted | ProviderKind::Local => {
            return Err("this kind needs no key".to_owned());
        }
    };
    let client = http::client().map_err(|_| "no root certificates".to_owned())?;
    let answer = client.get(url).header(header, value).timeout(WAIT).send().await;
    match answer {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) if error.is_timeout() => Err("the provider does not answer".to_owned()),
        Err(_) => Err("the provider cannot be reached".to_owned()),
    }
}
