//! Replaces (RFC 3891): INVITEs that take the place of a call of ours, and REFERs that ask for one.

use super::agent::Agent;
use super::event::DialogId;
use super::header::Tagged;
use super::key::LegKey;
use super::leg::{Leg, State};
use super::msg::{HeaderName, Request};

/// Octets of a URI header that stand for themselves (RFC 3261 section 25.1: unreserved and some).
const PLAIN: &[u8] = b"-_.!~*'()[]/?:+$";

impl Agent {
    /// The leg an INVITE takes the place of, by section 3; `None`: it replaces none.
    ///
    /// # Errors
    /// The status that refuses it.
    pub(super) fn replaced(&self, invite: &Request) -> Result<Option<DialogId>, u16> {
        let mut values = invite.headers.values(HeaderName::Replaces);
        let Some(value) = values.next() else { return Ok(None) };
        let named = Tagged::parse(value).filter(|_| values.next().is_none()).ok_or(400_u16)?;
        let tag = |name| named.params.get(name);
        let (Some(to_tag), Some(from_tag)) = (tag("to-tag"), tag("from-tag")) else {
            return Err(400);
        };
        let id = *self.by_key.get(&LegKey::new(&named.value, to_tag)).ok_or(481_u16)?;
        let leg = self.legs.get(&id).ok_or(481_u16)?;
        let early_only = named.params.contains("early-only");
        match &leg.state {
            State::Calling(calling) => {
                let known = calling.forks.iter().any(|fork| fork.tag == from_tag);
                if known { Ok(Some(id)) } else { Err(481) }
            }
            _ if leg.dialog.remote_tag != from_tag => Err(481),
            // A call that somebody else began and nobody answered: there is nothing to take over.
            State::Incoming(_) => Err(481),
            State::Closing(_) => Err(603),
            State::Confirmed(_) | State::AwaitingAck { .. } if early_only => Err(486),
            State::Confirmed(_) | State::AwaitingAck { .. } => Ok(Some(id)),
        }
    }

    /// The URI of a Refer-To that lets the other side of one leg take the place of ours in another: the peer of
    /// `other`, with its dialog as that peer sees it (RFC 5589 section 7).
    pub(super) fn refer_to(&self, other: DialogId) -> Option<String> {
        let leg: &Leg = self.legs.get(&other)?;
        if !matches!(leg.state, State::Confirmed(_)) {
            return None;
        }
        let dialog = &leg.dialog;
        let value = format!(
            "{};to-tag={};from-tag={}",
            dialog.call_id, dialog.remote_tag, dialog.local_tag
        );
        let uri = dialog.remote_target.to_string();
        let joint = if uri.contains('?') { '&' } else { '?' };
        Some(format!("{uri}{joint}Replaces={}", escaped(&value)))
    }
}

/// A value as a header of a URI.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 16);
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || PLAIN.contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}
