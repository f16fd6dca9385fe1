//! Who a caller says it is and where the call has been, as the API shows it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::types::{self, Pii};

/// What the headers of an inbound INVITE say of the caller and of the way of the call. Texts of an agent reach it as
/// `{{sip.verstat}}` or `{{sip.headers["x-customer"] | default("")}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct SipIdentity {
    /// URI of From.
    pub from: String,
    /// Display name of From.
    pub display_name: Option<String>,
    /// Whether From or Privacy hides the caller.
    pub is_anonymous: bool,
    /// URIs of P-Asserted-Identity.
    pub asserted: Vec<String>,
    /// URIs of P-Preferred-Identity.
    pub preferred: Vec<String>,
    /// Values of Remote-Party-ID.
    pub remote_party: Vec<String>,
    /// Words of Privacy.
    pub privacy: Vec<String>,
    /// Values of Diversion, the last diversion first.
    pub diversion: Vec<String>,
    /// Values of History-Info.
    pub history: Vec<String>,
    /// Values of User-to-User.
    pub user_to_user: Vec<String>,
    /// Values of Identity (STIR), as they came; not verified here.
    pub identity: Vec<String>,
    /// What the carrier found of the caller's number, for example `TN-Validation-Passed-A`.
    pub verstat: Option<String>,
    /// Further headers that the trunk's `calls.headers_in` lets in, by their names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl From<&types::SipIdentity> for SipIdentity {
    fn from(said: &types::SipIdentity) -> Self {
        let all = |values: &[Pii<String>]| values.iter().map(|v| v.reveal().clone()).collect();
        Self {
            from: said.from.reveal().clone(),
            display_name: said.display_name.as_ref().map(|name| name.reveal().clone()),
            is_anonymous: said.is_anonymous,
            asserted: all(&said.asserted),
            preferred: all(&said.preferred),
            remote_party: all(&said.remote_party),
            privacy: said.privacy.clone(),
            diversion: all(&said.diversion),
            history: all(&said.history),
            user_to_user: all(&said.user_to_user),
            identity: all(&said.identity),
            verstat: said.verstat.clone(),
            headers: said.headers.iter().map(|(n, v)| (n.clone(), v.reveal().clone())).collect(),
        }
    }
}
