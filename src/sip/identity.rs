//! Reads the caller's identity and the history of a call out of an INVITE. Nothing here fails: what cannot be read
//! is absent, and what is too much is left out.

use super::header::NameAddr;
use super::lex;
use super::msg::{HeaderName, Headers};
use crate::types::{Pii, SipIdentity};

/// Values kept of one header: real histories have two to six.
const VALUES_MAX: usize = 16;

/// Longest value kept, bytes.
const VALUE_BYTES_MAX: usize = 2_048;

/// Longest Identity value kept, bytes: signed tokens with a certificate chain by reference are 0.5 to 6 kB.
const IDENTITY_BYTES_MAX: usize = 16_384;

/// Identity values kept: one for each passport type in use, twice.
const IDENTITIES_MAX: usize = 8;

/// What the INVITE says. Its `headers` are for the trunk to let in.
pub(super) fn identity(headers: &Headers) -> SipIdentity {
    let from = headers.from().ok();
    let uri = from.as_ref().map(|from| from.uri.to_string()).unwrap_or_default();
    let privacy: Vec<String> = headers
        .get_all(HeaderName::Privacy)
        .flat_map(|value| value.split(|octet| matches!(octet, b';' | b',')))
        .map(|word| String::from_utf8_lossy(lex::trim(word)).to_ascii_lowercase())
        .filter(|word| !word.is_empty())
        .take(VALUES_MAX)
        .collect();
    let hidden = uri.contains("anonymous.invalid") || uri.starts_with("sip:anonymous@");
    SipIdentity {
        from: Pii::new(uri),
        display_name: from.and_then(|from| from.display).map(Pii::new),
        is_anonymous: hidden || privacy.iter().any(|word| word != "none"),
        asserted: uris(headers.values(HeaderName::PAssertedIdentity)),
        preferred: uris(named(headers, "P-Preferred-Identity")),
        remote_party: texts(headers.values(HeaderName::RemotePartyId)),
        privacy,
        diversion: texts(headers.values(HeaderName::Diversion)),
        history: texts(named(headers, "History-Info")),
        user_to_user: texts(named(headers, "User-to-User")),
        identity: headers
            .get_all(HeaderName::Identity)
            .filter(|value| value.len() <= IDENTITY_BYTES_MAX)
            .take(IDENTITIES_MAX)
            .map(|value| Pii::new(String::from_utf8_lossy(value).into_owned()))
            .collect(),
        verstat: verstat(headers),
        headers: std::collections::BTreeMap::new(),
    }
}

/// Every value of a header we have no word for.
fn named<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.written().eq_ignore_ascii_case(name.as_bytes()))
        .flat_map(|header| super::header::split_commas(header.value()))
}

fn texts<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<Pii<String>> {
    let text = |value: &[u8]| Pii::new(String::from_utf8_lossy(value).into_owned());
    values.filter(|value| value.len() <= VALUE_BYTES_MAX).take(VALUES_MAX).map(text).collect()
}

fn uris<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<Pii<String>> {
    let uri = |value| NameAddr::parse(value).map(|address| Pii::new(address.uri.to_string()));
    values.filter_map(uri).take(VALUES_MAX).collect()
}

/// `verstat` of P-Asserted-Identity or From, where carriers put it: in the user part, the URI or the header. Else
/// what Twilio says in a header of its own.
fn verstat(headers: &Headers) -> Option<String> {
    let parameter = |value: &[u8]| {
        let text = String::from_utf8_lossy(value).into_owned();
        let at = text.to_ascii_lowercase().find("verstat=")? + "verstat=".len();
        let word: String = text.get(at..)?.chars().take_while(|c| is_word(*c)).collect();
        (!word.is_empty()).then_some(word)
    };
    [HeaderName::PAssertedIdentity, HeaderName::From]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .find_map(|value| parameter(value))
        .or_else(|| {
            let value = headers.get_named("X-Twilio-VerStat")?;
            let text = String::from_utf8_lossy(value).into_owned();
            Some(text.trim().to_owned())
                .filter(|text| !text.is_empty() && text.chars().all(is_word))
        })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}
