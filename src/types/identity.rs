//! Who a caller says it is, who vouches for it and where the call has been, as the INVITE has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Pii;

/// What the headers of an INVITE say of the caller and of the way of the call. Values are as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipIdentity {
    /// URI of From.
    pub from: Pii<String>,
    /// Display name of From.
    pub display_name: Option<Pii<String>>,
    /// Whether From hides the caller (RFC 3323), or a Privacy header asks for it.
    pub is_anonymous: bool,
    /// URIs of P-Asserted-Identity (RFC 3325).
    pub asserted: Vec<Pii<String>>,
    /// URIs of P-Preferred-Identity.
    pub preferred: Vec<Pii<String>>,
    /// Values of Remote-Party-ID.
    pub remote_party: Vec<Pii<String>>,
    /// Words of Privacy.
    pub privacy: Vec<String>,
    /// Values of Diversion (RFC 5806), the last diversion first.
    pub diversion: Vec<Pii<String>>,
    /// Values of History-Info (RFC 7044).
    pub history: Vec<Pii<String>>,
    /// Values of User-to-User (RFC 7433).
    pub user_to_user: Vec<Pii<String>>,
    /// Values of Identity (RFC 8224), octet by octet.
    pub identity: Vec<Pii<String>>,
    /// What the carrier found of the number (ATIS-1000074), for example `TN-Validation-Passed-A`.
    pub verstat: Option<String>,
    /// Further headers that the trunk lets in, by their names in lower case.
    pub headers: BTreeMap<String, Pii<String>>,
}
