//! How audio is protected: what of an offer is taken up, what is offered, what an answer settles.
//!
//! Keys stand in SDP (RFC 4568), or SDP says whose certificate a DTLS handshake must prove and who begins it
//! (RFC 5763, RFC 8122). Either may be asked for by the profile of the m-line or offered beside audio in the clear
//! (RFC 8643).

use std::fmt;
use std::net::SocketAddr;

use super::negotiate::Local;
use super::{Crypto, Media, SdpError};
use crate::types::{DtlsPlan, DtlsRole, Fingerprint, SrtpKeying, SrtpKeys, SrtpPolicy};

/// The profile of our offers that are to be encrypted by DTLS.
const PROFILE_DTLS: &str = "UDP/TLS/RTP/SAVP";

/// Who is ready to begin a handshake (RFC 4145).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The writer does.
    Active,
    /// The other side does.
    Passive,
    /// The other side chooses.
    ActPass,
}

impl Setup {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        }
    }

    /// `holdconn` is nobody: as good as absent.
    fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Passive, Self::ActPass]
            .into_iter()
            .find(|setup| text.eq_ignore_ascii_case(setup.as_str()))
    }

    fn of(role: DtlsRole) -> Self {
        match role {
            DtlsRole::Client => Self::Active,
            DtlsRole::Server => Self::Passive,
        }
    }
}

/// What an m-line says of DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dtls {
    /// The writer's certificate.
    pub fingerprint: Fingerprint,
    /// Who begins; `None`: it does not say.
    pub setup: Option<Setup>,
}

impl Dtls {
    /// From the values of `a=fingerprint` and `a=setup`; `None`: no certificate we can check. Several are several
    /// certificates or hashes of one: the first with SHA-256 counts.
    pub(super) fn new<'a>(
        mut fingerprints: impl Iterator<Item = &'a str>,
        setup: Option<&str>,
    ) -> Option<Self> {
        let sha_256 = |value: &str| {
            let (hash, text) = value.trim().split_once(char::is_whitespace)?;
            let known = hash.eq_ignore_ascii_case("sha-256");
            known.then(|| Fingerprint::parse(text.trim())).flatten()
        };
        let fingerprint = fingerprints.find_map(sha_256)?;
        let setup = match setup {
            Some(text) => Some(Setup::parse(text.trim())?),
            None => None,
        };
        Some(Self { fingerprint, setup })
    }
}

impl fmt::Display for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a=fingerprint:sha-256 {}\r\n", self.fingerprint)?;
        match self.setup {
            Some(setup) => write!(f, "a=setup:{}\r\n", setup.as_str()),
            None => Ok(()),
        }
    }
}

/// What a transport profile says of encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// RTP/AVP: in the clear, or encrypted if there is what it takes (RFC 8643).
    Clear,
    /// RTP/SAVP: encrypted.
    Secure,
    /// UDP/TLS/RTP/SAVP: encrypted with keys by DTLS.
    Dtls,
}

impl Profile {
    /// `None`: a profile nobody here speaks.
    pub(super) fn of(protocol: &str) -> Option<Self> {
        let is = |names: [&str; 2]| names.iter().any(|name| protocol.eq_ignore_ascii_case(name));
        if is(["RTP/AVP", "RTP/AVPF"]) {
            Some(Self::Clear)
        } else if is(["RTP/SAVP", "RTP/SAVPF"]) {
            Some(Self::Secure)
        } else {
            is([PROFILE_DTLS, "UDP/TLS/RTP/SAVPF"]).then_some(Self::Dtls)
        }
    }
}

/// What of an offered m-line is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing.
    Clear,
    /// This line, whose key is theirs.
    Crypto(Crypto),
    /// A handshake.
    Dtls(Dtls),
}

/// What is agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Clear,
    Sdes(SrtpKeys),
    Dtls {
        plan: DtlsPlan,
        /// Where the peer was described the last time that it was anywhere.
        remote: SocketAddr,
    },
}

impl Security {
    pub(super) fn keys(self) -> Option<SrtpKeys> {
        if let Self::Sdes(keys) = self { Some(keys) } else { None }
    }

    pub(super) fn plan(self) -> Option<DtlsPlan> {
        if let Self::Dtls { plan, .. } = self { Some(plan) } else { None }
    }
}

/// What the policy takes of an offered m-line.
pub(super) fn take(local: &Local, profile: Profile, media: &Media) -> Result<Taken, SdpError> {
    let may = local.srtp != SrtpPolicy::Disabled;
    let crypto = media.crypto.first().filter(|_| may && profile != Profile::Dtls);
    let dtls = media.dtls.filter(|_| may && local.fingerprint.is_some());
    let (crypto, dtls) = (crypto.copied().map(Taken::Crypto), dtls.map(Taken::Dtls));
    let taken = match local.keying {
        SrtpKeying::Sdes => crypto.or(dtls),
        SrtpKeying::Dtls => dtls.or(crypto),
    };
    let needed = profile != Profile::Clear || local.srtp == SrtpPolicy::Required;
    match taken {
        None if needed => Err(SdpError::NoCommonCrypto),
        taken => Ok(taken.unwrap_or(Taken::Clear)),
    }
}

/// Our role where they offer. One that was agreed stays if they leave it to us (RFC 8842 section 5.3).
pub(super) fn role_of_offer(theirs: Dtls, before: Option<DtlsPlan>) -> DtlsRole {
    match theirs.setup.unwrap_or(Setup::Active) {
        Setup::Active => DtlsRole::Server,
        Setup::Passive => DtlsRole::Client,
        Setup::ActPass => before.map_or(DtlsRole::Client, |plan| plan.role),
    }
}

/// Our role where they answer; `None`: they chose nothing.
fn role_of_answer(theirs: Dtls) -> Option<DtlsRole> {
    match theirs.setup.unwrap_or(Setup::Passive) {
        Setup::Active => Some(DtlsRole::Server),
        Setup::Passive => Some(DtlsRole::Client),
        Setup::ActPass => None,
    }
}

/// What was agreed, as a handshake with `peer` in `role` wants it: another one only if role, certificate or place
/// are others (RFC 5763 section 5). `first` is the number of the first.
pub(super) fn plan(
    (before, first): (Option<Security>, u32),
    role: DtlsRole,
    peer: Fingerprint,
    at: SocketAddr,
) -> Security {
    let held = |address: SocketAddr| address.ip().is_unspecified();
    let (association, remote) = match before {
        Some(Security::Dtls { plan, remote }) => {
            let same_place = at == remote || held(at) || held(remote);
            let same = plan.role == role && plan.peer == peer && same_place;
            let remote = if held(at) { remote } else { at };
            (plan.association.wrapping_add(u32::from(!same)), remote)
        }
        _ => (first, at),
    };
    Security::Dtls { plan: DtlsPlan { association, role, peer }, remote }
}

/// Profile and certificate of an offer of ours; `None`: it is not by DTLS.
pub(super) fn offered(
    local: &Local,
    before: Option<Security>,
    profile: Option<&str>,
) -> Option<(String, Dtls)> {
    let fingerprint = local.fingerprint?;
    match before {
        // Who has a role keeps it: some peers take another one whenever they are left the choice.
        Some(Security::Dtls { plan, .. }) => {
            let dtls = Dtls { fingerprint, setup: Some(Setup::of(plan.role)) };
            Some((profile.unwrap_or(PROFILE_DTLS).to_owned(), dtls))
        }
        Some(_) => None,
        None => {
            let profile = match local.srtp {
                SrtpPolicy::Disabled => return None,
                SrtpPolicy::Optional => "RTP/AVP",
                SrtpPolicy::Required => PROFILE_DTLS,
            };
            let dtls = Dtls { fingerprint, setup: Some(Setup::ActPass) };
            (local.keying == SrtpKeying::Dtls).then(|| (profile.to_owned(), dtls))
        }
    }
}

/// What the m-line of our answer says of a handshake that is agreed.
pub(super) fn answered(local: &Local, plan: DtlsPlan) -> Option<Dtls> {
    let fingerprint = local.fingerprint?;
    Some(Dtls { fingerprint, setup: Some(Setup::of(plan.role)) })
}

/// What an answer settles, if anything.
pub(super) fn settled(
    ours: &Media,
    theirs: &Media,
    before: (Option<Security>, u32),
    at: SocketAddr,
) -> Option<Security> {
    if ours.dtls.is_some()
        && let Some(dtls) = theirs.dtls
        && let Some(role) = role_of_answer(dtls)
    {
        return Some(plan(before, role, dtls.fingerprint, at));
    }
    keys_of_answer(ours, theirs).map(Security::Sdes)
}

/// The keys an answer settles: its line must name one of ours by tag and suite.
fn keys_of_answer(ours: &Media, theirs: &Media) -> Option<SrtpKeys> {
    theirs.crypto.iter().find_map(|answer| {
        let offered = ours.crypto.iter().find(|offered| offered.tag == answer.tag)?;
        let same = offered.key.suite() == answer.key.suite();
        same.then_some(SrtpKeys { send: offered.key, receive: answer.key })
    })
}
