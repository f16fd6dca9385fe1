//! Connectivity checks of the peer (RFC 8445), answered as a lite agent does: it has one address, sends no checks of its
//! own, and goes where the peer's checks say. Sans-IO.
//!
//! A check that does not prove our password gets no answer, so that nobody can have us send datagrams to others.

use std::net::SocketAddr;

use rtc_stun::attributes::{
    ATTR_FINGERPRINT, ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY,
    ATTR_USE_CANDIDATE, ATTR_USERNAME,
};
use rtc_stun::error_code::CODE_ROLE_CONFLICT;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{
    BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Message, MessageType, Setter,
};
use rtc_stun::xoraddr::XorMappedAddress;

use super::srtp::crypto;
use crate::types::IceCredentials;

/// Longest check that is read: browsers send about 100 octets.
const CHECK_BYTES_MAX: usize = 1_024;

/// What comes of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The response, to where the check came from.
    pub response: Vec<u8>,
    /// Whether media goes there from now on.
    pub is_nominated: bool,
}

/// One ICE session, seen from its lite side.
#[derive(Debug)]
pub struct Lite {
    credentials: IceCredentials,
    /// Where the peer wants media, and the priority of that.
    chosen: Option<(u32, SocketAddr)>,
    refused: u64,
}

impl Lite {
    /// Nothing was checked yet.
    pub fn new(credentials: IceCredentials) -> Self {
        Self { credentials, chosen: None, refused: 0 }
    }

    /// Takes a datagram that is STUN by its first octet (RFC 7983); `None`: it wants no answer, or gets none.
    pub fn handle(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Checked> {
        let mut check = Message::new();
        let is_readable =
            datagram.len() <= CHECK_BYTES_MAX && check.unmarshal_binary(datagram).is_ok();
        if !is_readable || check.typ != BINDING_REQUEST || !self.is_ours(&mut check) {
            self.refused += 1;
            return None;
        }
        // RFC 8445 section 7.3.1.1: of two who want to be led, the lite one stays it.
        if check.contains(ATTR_ICE_CONTROLLED) {
            let response = self.response(&check, BINDING_ERROR, Box::new(CODE_ROLE_CONFLICT))?;
            return Some(Checked { response, is_nominated: false });
        }
        let seen = XorMappedAddress { ip: from.ip().to_canonical(), port: from.port() };
        let response = self.response(&check, BINDING_SUCCESS, Box::new(seen))?;
        let is_nominated = check.contains(ATTR_USE_CANDIDATE) && self.choose(&check, from);
        Some(Checked { response, is_nominated })
    }

    /// Datagrams that proved nothing.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether it is for this session, from somebody who knows its password.
    fn is_ours(&self, check: &mut Message) -> bool {
        let is_named = check.get(ATTR_USERNAME).is_ok_and(|name| {
            let ours = self.credentials.ufrag().as_bytes();
            name.strip_prefix(ours).is_some_and(|rest| rest.starts_with(b":"))
        });
        // What stands behind the proof is not proved.
        let behind = check.attributes.0.iter().skip_while(|it| it.typ != ATTR_MESSAGE_INTEGRITY);
        let is_all_proved = behind.skip(1).all(|it| it.typ == ATTR_FINGERPRINT);
        let is_whole = !check.contains(ATTR_FINGERPRINT) || FINGERPRINT.check(check).is_ok();
        let key = self.credentials.pwd().as_bytes();
        is_named
            && is_all_proved
            && is_whole
            && MessageIntegrity::check(check, key, crypto()).is_ok()
    }

    /// Whether media is to go elsewhere now. Who nominates several means the one of the highest priority
    /// (RFC 8445 section 8.1.1).
    fn choose(&mut self, check: &Message, at: SocketAddr) -> bool {
        let priority = check.get(ATTR_PRIORITY).ok().and_then(|value| value.try_into().ok());
        let priority = priority.map_or(0, u32::from_be_bytes);
        match self.chosen {
            Some((_, known)) if known == at => false,
            Some((known, _)) if priority < known => false,
            _ => {
                self.chosen = Some((priority, at));
                true
            }
        }
    }

    fn response(
        &self,
        check: &Message,
        kind: MessageType,
        content: Box<dyn Setter>,
    ) -> Option<Vec<u8>> {
        let pwd = self.credentials.pwd().to_owned();
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd, crypto());
        let mut response = Message::new();
        let parts: [Box<dyn Setter + '_>; 5] = [
            Box::new(check.transaction_id),
            Box::new(kind),
            content,
            Box::new(integrity),
            Box::new(FINGERPRINT),
        ];
        response.build(&parts).ok()?;
        Some(response.raw)
    }
}

#[cfg(test)]
mod tests;
