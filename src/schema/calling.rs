//! How the calls of a trunk are led: what its peer wants or cannot bear.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the calls of a trunk are led.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrunkCalls {
    /// Reliable provisional responses (RFC 3262): `off` unless the caller requires them, `supported` offers them
    /// and uses them for early media, `required` wants them of whom we call.
    pub reliable_provisional: ReliableProvisional,
    /// What a caller hears before the answer: `off` is 180 without audio; the rest is 183 with SDP: `silence`,
    /// `ringback`, or the name of a WAV file below `call.media_dir`, which is played to its end, such as a notice.
    pub early_media: String,
    /// Seconds of `ringback` before the answer at least, 0 to 60.
    pub early_media_seconds: u32,
    /// What becomes of a call that is answered 3xx: `surface` ends it with that status, `follow` tries its contacts,
    /// five at most, as if each had been dialled.
    pub redirects: Redirects,
    /// What becomes of a REFER of the other side: `refuse` answers 603, `follow` calls whom it names, as if somebody
    /// had dialled it, and the agent goes on with who answers.
    pub refers: Refers,
    /// User part of our From, whatever number a call shows: the account name, for peers that match it. Empty: as
    /// `from_user_mode` says.
    pub from_user: String,
    /// Whether the number shown goes into P-Asserted-Identity (RFC 3325): for peers that trust us.
    pub asserted_identity: bool,
    /// Whether it goes into P-Preferred-Identity: for peers that check it.
    pub preferred_identity: bool,
    /// Whether it goes into Remote-Party-ID: for peers of before RFC 3325.
    pub remote_party_id: bool,
    /// Headers of an INVITE that are kept with the call and shown to its agent: names that begin with `X-`, `*` at
    /// the end for any rest. At most 32.
    pub headers_in: Vec<String>,
    /// Headers of a request's own that may leave in INVITE, REFER and BYE: names that begin with `X-`, or
    /// `User-to-User`; `*` as above. At most 32.
    pub headers_out: Vec<String>,
}

impl Default for TrunkCalls {
    fn default() -> Self {
        Self {
            reliable_provisional: ReliableProvisional::Off,
            early_media: EARLY_OFF.to_owned(),
            early_media_seconds: 2,
            redirects: Redirects::Surface,
            refers: Refers::Refuse,
            from_user: String::new(),
            asserted_identity: false,
            preferred_identity: false,
            remote_party_id: false,
            headers_in: vec!["X-*".to_owned()],
            headers_out: vec!["X-*".to_owned(), "User-to-User".to_owned()],
        }
    }
}

/// No audio before the answer.
const EARLY_OFF: &str = "off";
/// The longest ringback before an answer, seconds.
const EARLY_SECONDS_MAX: u32 = 60;

impl TrunkCalls {
    /// What is wrong with it: key and message.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if self.early_media_seconds > EARLY_SECONDS_MAX {
            return Some(("early_media_seconds", format!("0 to {EARLY_SECONDS_MAX}")));
        }
        let text = self.early_media.as_str();
        let is_word = matches!(text, EARLY_OFF | "silence" | "ringback");
        let is_file = text.len() <= 200 && text.to_ascii_lowercase().ends_with(".wav");
        (!is_word && !is_file).then(|| {
            let allowed = "`off`, `silence`, `ringback`, or the name of a `.wav` file";
            ("early_media", allowed.to_owned())
        })
    }
}

/// Redirected calls of a trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum Redirects {
    #[default]
    Surface,
    Follow,
}

/// Calls of a trunk whose other side wants to be replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum Refers {
    #[default]
    Refuse,
    Follow,
}

/// Reliable provisional responses of a trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum ReliableProvisional {
    #[default]
    Off,
    Supported,
    Required,
}
