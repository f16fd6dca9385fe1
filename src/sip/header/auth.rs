//! WWW-Authenticate and Proxy-Authenticate (RFC 3261 section 20.44, RFC 7616 section 3.3).

use super::super::lex;
use super::{split_commas, unquote};

/// Most challenges read from one header: a peer offers at most a handful of algorithms.
const CHALLENGES_MAX: usize = 16;

/// One challenge: a scheme and its parameters, quotes and escapes undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Scheme as written: Digest, Basic, ...
    pub scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// Reads every challenge of one header value: a comma both separates parameters and begins a challenge.
    /// What cannot be read is left out.
    pub fn parse_all(value: &[u8]) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        for part in split_commas(value) {
            if out.len() > CHALLENGES_MAX {
                break;
            }
            let head =
                part.get(..part.iter().position(|octet| *octet == b'=').unwrap_or(part.len()));
            let head = lex::trim(head.unwrap_or_default());
            // `Digest realm=...`: a word, blanks, a word. A parameter alone has no blank before its `=`.
            let param = match head.iter().position(|octet| lex::is_blank(*octet)) {
                Some(blank) => {
                    let (scheme, _) = part.split_at_checked(blank).unwrap_or_default();
                    out.extend(Self::begin(scheme));
                    part.get(blank..).unwrap_or_default()
                }
                None if !part.contains(&b'=') => {
                    out.extend(Self::begin(part));
                    continue;
                }
                None => part,
            };
            if let (Some(challenge), Some((name, value))) =
                (out.last_mut(), lex::split_once(param, b'='))
            {
                let value = unquote(&String::from_utf8_lossy(lex::trim(value)));
                let name = String::from_utf8_lossy(lex::trim(name)).to_ascii_lowercase();
                if challenge.params.len() < super::super::uri::PARAMS_MAX {
                    challenge.params.push((name, value));
                }
            }
        }
        // The parameters of one too many went with it.
        out.truncate(CHALLENGES_MAX);
        out
    }

    fn begin(scheme: &[u8]) -> Option<Self> {
        let scheme = lex::text(scheme).filter(|text| lex::token(text.as_bytes()))?;
        Some(Self { scheme: scheme.to_owned(), params: Vec::new() })
    }

    /// Value of a parameter (lower-case name).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the scheme is Digest.
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Digest")
    }
}
