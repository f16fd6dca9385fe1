#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use rtc_stun::attributes::{ATTR_ERROR_CODE, AttrType, RawAttribute};
use rtc_stun::message::{Getter, TransactionId};
use rtc_stun::textattrs::TextAttribute;

use super::*;
use crate::types::Entropy;

const PEER: &str = "192.0.2.9:40000";
const OTHER: &str = "198.51.100.7:50000";

fn lite() -> (Lite, IceCredentials) {
    let credentials = IceCredentials::generate(&mut Entropy::seeded(1));
    (Lite::new(credentials), credentials)
}

fn attribute(typ: AttrType, value: &[u8]) -> Box<dyn Setter> {
    Box::new(RawAttribute { typ, length: value.len() as u16, value: value.to_vec() })
}

/// A check of a peer that leads.
fn check(ufrag: &str, pwd: &str, more: Vec<Box<dyn Setter>>) -> Vec<u8> {
    let name = TextAttribute::new(ATTR_USERNAME, format!("{ufrag}:theirs"));
    let mut parts: Vec<Box<dyn Setter>> =
        vec![Box::new(TransactionId([7; 12])), Box::new(BINDING_REQUEST), Box::new(name)];
    parts.extend(more);
    let pwd = pwd.to_owned();
    parts.push(Box::new(MessageIntegrity::new_short_term_integrity_with_provider(pwd, crypto())));
    parts.push(Box::new(FINGERPRINT));
    let mut message = Message::new();
    message.build(&parts).unwrap();
    message.raw
}

fn nominating(credentials: &IceCredentials, priority: u32) -> Vec<u8> {
    let more =
        vec![attribute(ATTR_PRIORITY, &priority.to_be_bytes()), attribute(ATTR_USE_CANDIDATE, &[])];
    check(credentials.ufrag(), credentials.pwd(), more)
}

#[test]
fn a_check_is_answered_with_where_it_came_from_and_our_proof() {
    let (mut lite, credentials) = lite();
    let from: SocketAddr = PEER.parse().unwrap();
    let plain = check(credentials.ufrag(), credentials.pwd(), Vec::new());
    let checked = lite.handle(from, &plain).unwrap();
    assert!(!checked.is_nominated);
    let mut response = Message::new();
    response.unmarshal_binary(&checked.response).unwrap();
    assert_eq!((response.typ, response.transaction_id), (BINDING_SUCCESS, TransactionId([7; 12])));
    let mut seen = XorMappedAddress::default();
    seen.get_from(&response).unwrap();
    assert_eq!(SocketAddr::new(seen.ip, seen.port), from);
    let key = credentials.pwd().as_bytes().to_vec();
    assert!(MessageIntegrity::check(&mut response, &key, crypto()).is_ok());
    assert!(FINGERPRINT.check(&response).is_ok());
}

#[test]
fn media_goes_where_the_peer_nominates_and_the_higher_priority_wins() {
    let (mut lite, credentials) = lite();
    let (peer, other) = (PEER.parse().unwrap(), OTHER.parse().unwrap());
    let mut goes = |from, priority| {
        lite.handle(from, &nominating(&credentials, priority)).unwrap().is_nominated
    };
    assert!(goes(peer, 100));
    assert!(!goes(peer, 100), "it is there already");
    assert!(!goes(other, 99));
    assert!(goes(other, 200));
    assert!(!goes(peer, 100));
}

#[test]
fn who_does_not_know_the_password_gets_no_answer() {
    let (mut lite, credentials) = lite();
    let from = PEER.parse().unwrap();
    let (ufrag, pwd) = (credentials.ufrag(), credentials.pwd());
    let good = nominating(&credentials, 1);
    // What is put behind the proof is nobody's word.
    let mut longer = Message::new();
    longer.unmarshal_binary(&check(ufrag, pwd, Vec::new())).unwrap();
    longer.add(ATTR_USE_CANDIDATE, &[]);
    longer.write_header();
    for (n, wrong) in [
        check(ufrag, "another password of some length", Vec::new()),
        check("other", pwd, Vec::new()),
        check("", pwd, Vec::new()),
        good[..good.len() - 1].to_vec(),
        longer.raw,
        b"\x00\x01\x00\x00".to_vec(),
        Vec::new(),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(lite.handle(from, wrong), None, "{n}");
        assert_eq!(lite.refused(), n as u64 + 1);
    }
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert_eq!(lite.handle(from, &changed), None, "octet {at}");
    }
    assert!(lite.handle(from, &good).unwrap().is_nominated);
}

#[test]
fn a_peer_that_wants_to_be_led_is_told_to_lead() {
    let (mut lite, credentials) = lite();
    let more = vec![attribute(ATTR_ICE_CONTROLLED, &[0; 8]), attribute(ATTR_USE_CANDIDATE, &[])];
    let check = check(credentials.ufrag(), credentials.pwd(), more);
    let checked = lite.handle(PEER.parse().unwrap(), &check).unwrap();
    assert!(!checked.is_nominated);
    let mut response = Message::new();
    response.unmarshal_binary(&checked.response).unwrap();
    let code = response.get(ATTR_ERROR_CODE).unwrap();
    assert_eq!((response.typ, &code[2..4]), (BINDING_ERROR, &[4, 87][..]));
}

/// RFC 5769 section 2.1: a check whose proof others made.
#[test]
fn the_request_of_rfc_5769_proves_its_password() {
    let octets: Vec<u8> = [
        "000100582112a442b7e7a701bc34d686fa87dfae",
        "802200105354554e207465737420636c69656e74",
        "002400046e0001ff80290008932ff9b151263b36",
        "000600096576746a3a68367659202020",
        "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2",
        "80280004e57a3bcf",
    ]
    .concat()
    .as_bytes()
    .chunks(2)
    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
    .collect();
    let mut message = Message::new();
    message.unmarshal_binary(&octets).unwrap();
    let key = b"VOkJxbRl1RmTxUk/WvJxBt";
    assert!(FINGERPRINT.check(&message).is_ok());
    assert!(MessageIntegrity::check(&mut message, key, crypto()).is_ok());
    assert!(MessageIntegrity::check(&mut message, b"another", crypto()).is_err());
}

#[test]
fn no_datagram_does_harm() {
    let (mut lite, credentials) = lite();
    let good = nominating(&credentials, 1);
    let mut entropy = Entropy::seeded(2);
    let mut below = |bound: usize| entropy.u32() as usize % bound;
    for _ in 0..50_000 {
        let mut octets = good.clone();
        for _ in 0..=below(5) {
            let at = below(octets.len());
            octets[at] = below(256) as u8;
        }
        octets.truncate(octets.len() - below(30));
        // Lengths that fit are more telling.
        if below(2) == 0 && octets.len() >= 20 {
            let length = ((octets.len() - 20) as u16).to_be_bytes();
            octets[2..4].copy_from_slice(&length);
        }
        let _ = lite.handle(PEER.parse().unwrap(), &octets);
    }
}
