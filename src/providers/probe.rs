//! Whether a provider takes a key: one request that costs nothing.

use std::time::Duration;

use super::config::{ProviderConfig, or_default};
use super::http;
use crate::types::Secret;

/// Longest wait for the answer.
const WAIT: Duration = Duration::from_secs(10);

/// Asks a provider for something only a key opens, and gives the status of its answer.
///
/// # Errors
/// Why there is no answer, without the URL.
pub async fn probe(config: &ProviderConfig, key: &Secret) -> Result<u16, String> {
    let Some(probe) = &config.kind.vendor().probe else {
        return Err("this kind has no request that tries a key".to_owned());
    };
    let base = or_default(&config.base_url, probe.base_url);
    let base = match base.strip_prefix("ws") {
        Some(rest) => format!("http{rest}"),
        None => base,
    };
    let url = format!("{}{}", base.trim_end_matches('/'), probe.path);
    let (header, value) = (probe.header, format!("{}{}", probe.scheme, key.expose()));
    let client = http::client().map_err(|_| "no root certificates".to_owned())?;
    let mut request = client.get(url).header(header, value).timeout(WAIT);
    if let Some((header, value)) = probe.besides {
        request = request.header(header, value);
    }
    let answer = request.send().await;
    match answer {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) if error.is_timeout() => Err("the provider does not answer".to_owned()),
        Err(_) => Err("the provider cannot be reached".to_owned()),
    }
}
