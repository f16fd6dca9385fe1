//! Certificates in offers and answers (RFC 5763), by policy.

use super::*;
use crate::types::{DtlsPlan, DtlsRole, Fingerprint, SrtpKeying, SrtpPolicy};

fn fingerprint(seed: u8) -> Fingerprint {
    Fingerprint::new([seed; 32])
}

fn with(srtp: SrtpPolicy, keying: SrtpKeying) -> Session {
    let local = Local { srtp, keying, fingerprint: Some(fingerprint(1)), ..local() };
    Session::new(local, &mut Entropy::seeded(7))
}

fn lines(seed: u8, setup: &str) -> String {
    format!("a=fingerprint:SHA-256 {}\r\na=setup:{setup}\r\n", fingerprint(seed))
}

fn body(profile: &str, rest: &str) -> Vec<u8> {
    offer(&format!("m=audio 4000 {profile} 0\r\n{rest}"))
}

const DTLS: &str = "UDP/TLS/RTP/SAVPF";
const KEY: &str =
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";

fn plan_of(session: &mut Session, offer: &[u8]) -> Result<Option<DtlsPlan>, SdpError> {
    session.answer(offer, Direction::SendRecv).map(|answer| answer.negotiated.dtls)
}

#[test]
fn the_policy_decides_about_dtls() {
    use SrtpPolicy::{Disabled, Optional, Required};
    let dtls = lines(2, "actpass");
    let none = Err(SdpError::NoCommonCrypto);
    for (policy, keying, profile, rest, expected) in [
        (Disabled, SrtpKeying::Dtls, DTLS, dtls.clone(), none),
        (Disabled, SrtpKeying::Dtls, "RTP/AVP", dtls.clone(), Ok("")),
        (Optional, SrtpKeying::Sdes, DTLS, dtls.clone(), Ok("dtls")),
        (Optional, SrtpKeying::Sdes, "UDP/TLS/RTP/SAVP", dtls.clone(), Ok("dtls")),
        (Required, SrtpKeying::Sdes, "RTP/AVP", dtls.clone(), Ok("dtls")),
        // As browsers wrote it before RFC 5764 had a profile of its own.
        (Required, SrtpKeying::Sdes, "RTP/SAVPF", dtls.clone(), Ok("dtls")),
        (Optional, SrtpKeying::Sdes, "RTP/AVP", format!("{KEY}{dtls}"), Ok("sdes")),
        (Optional, SrtpKeying::Dtls, "RTP/AVP", format!("{KEY}{dtls}"), Ok("dtls")),
        (Optional, SrtpKeying::Sdes, DTLS, format!("{KEY}{dtls}"), Ok("dtls")),
        (Optional, SrtpKeying::Dtls, DTLS, KEY.to_owned(), none),
        (Optional, SrtpKeying::Dtls, DTLS, lines(2, "holdconn"), none),
        (Optional, SrtpKeying::Dtls, DTLS, lines(2, "anything"), none),
        (Optional, SrtpKeying::Dtls, DTLS, dtls.replace("SHA-256", "sha-1"), none),
        (Optional, SrtpKeying::Dtls, DTLS, dtls.replace("02:02", "02:0"), none),
        (Optional, SrtpKeying::Dtls, "RTP/AVP", dtls.replace("02:02", "02:0"), Ok("")),
    ] {
        let answer = with(policy, keying).answer(&body(profile, &rest), Direction::SendRecv);
        let outcome = answer.map(|answer| {
            assert!(answer.body.contains(&format!(" {profile} 0")), "{}", answer.body);
            let lines = format!("a=fingerprint:sha-256 {}\r\na=setup:active\r\n", fingerprint(1));
            assert_eq!(answer.body.contains(&lines), answer.negotiated.dtls.is_some());
            match (answer.negotiated.dtls, answer.negotiated.srtp) {
                (Some(plan), None) => {
                    assert_eq!((plan.role, plan.peer), (DtlsRole::Client, fingerprint(2)));
                    "dtls"
                }
                (None, Some(_)) => "sdes",
                _ => "",
            }
        });
        assert_eq!(outcome, expected, "{policy:?} {keying:?} {profile} {rest}");
    }
    // Without a certificate of ours there is nothing to offer.
    let local = Local { srtp: Optional, ..local() };
    let mut session = Session::new(local, &mut Entropy::seeded(7));
    assert_eq!(plan_of(&mut session, &body(DTLS, &dtls)), none.map(|_: &str| None));
}

#[test]
fn what_is_said_for_the_session_stands_for_the_audio() {
    let whole = String::from_utf8(body(DTLS, "")).unwrap();
    let said = whole.replace("t=0 0\r\n", &format!("t=0 0\r\n{}", lines(2, "passive")));
    let mut session = with(SrtpPolicy::Required, SrtpKeying::Sdes);
    let plan = plan_of(&mut session, said.as_bytes()).unwrap().unwrap();
    assert_eq!((plan.role, plan.peer), (DtlsRole::Client, fingerprint(2)));
    // The m-line's own word counts, and of several certificates the first that can be checked.
    let own = format!("a=fingerprint:sha-1 00:11\r\n{}", lines(3, "active"));
    let mut session = with(SrtpPolicy::Required, SrtpKeying::Sdes);
    let plan = plan_of(&mut session, format!("{said}{own}").as_bytes()).unwrap().unwrap();
    assert_eq!((plan.role, plan.peer), (DtlsRole::Server, fingerprint(3)));
}

/// Who checks connectivity describes where it settled, and goes on with the keys it has (RFC 8842 section 6).
#[test]
fn where_checks_settled_is_no_other_handshake() {
    let ice = "a=rtcp-mux\r\na=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n";
    let settled = |port: u16, with: &str| {
        let rest = format!("c=IN IP4 192.0.2.{port}\r\n{}{with}", lines(2, "actpass"));
        body(DTLS, &rest)
    };
    let mut session = with(SrtpPolicy::Optional, SrtpKeying::Sdes);
    let mut plan = |offer: Vec<u8>| plan_of(&mut session, &offer).unwrap().unwrap();
    let first = plan(settled(7, ice));
    assert_eq!(plan(settled(8, ice)), first);
    assert_eq!(plan(settled(9, &ice.replace("8hhY", "9iiZ"))), first, "checks that begin anew");
    assert_eq!(plan(settled(9, "")), first);
    assert_ne!(plan(settled(10, "")), first, "without checks another place is another peer");
    // In its answer to an offer of ours as well.
    let mut session = with(SrtpPolicy::Optional, SrtpKeying::Sdes);
    let first = plan_of(&mut session, &settled(7, ice)).unwrap().unwrap();
    session.offer(Direction::SendOnly);
    let rest = format!("c=IN IP4 192.0.2.8\r\n{}{ice}a=recvonly\r\n", lines(2, "passive"));
    assert_eq!(session.accept_answer(&body(DTLS, &rest)).unwrap().dtls, Some(first));
}

/// RFC 5763 section 5: certificate, role and place decide whether there is another handshake.
#[test]
fn a_reinvite_is_another_handshake_only_if_something_changed() {
    let mut session = with(SrtpPolicy::Optional, SrtpKeying::Sdes);
    let mut plan = |rest: String| plan_of(&mut session, &body(DTLS, &rest)).unwrap().unwrap();
    let first = plan(lines(2, "actpass"));
    assert_eq!(first.role, DtlsRole::Client);
    assert_eq!(plan(format!("{}a=sendonly\r\n", lines(2, "actpass"))), first);
    assert_eq!(plan(format!("c=IN IP4 0.0.0.0\r\n{}", lines(2, "actpass"))), first);
    assert_eq!(plan(lines(2, "passive")), first);
    let second = plan(lines(3, "actpass"));
    assert_eq!((second.role, second.peer), (DtlsRole::Client, fingerprint(3)));
    assert_ne!(second.association, first.association);
    let third = plan(lines(3, "active"));
    assert_eq!(third.role, DtlsRole::Server);
    assert_ne!(third.association, second.association);
    assert_eq!(plan(lines(3, "actpass")), third, "a role that is left to us stays");
    let fourth = plan(format!("c=IN IP4 192.0.2.77\r\n{}", lines(3, "actpass")));
    assert_ne!(fourth.association, third.association, "another place");
    // Our own offer says the profile and the role that are agreed.
    let ours = session.offer(Direction::SendOnly);
    assert!(ours.contains(" UDP/TLS/RTP/SAVPF ") && ours.contains("a=setup:passive\r\n"), "{ours}");
    assert!(session.offers_dtls() && !ours.contains("a=crypto"));
    let answer = body(DTLS, &format!("c=IN IP4 192.0.2.77\r\n{}", lines(3, "active")));
    assert_eq!(session.accept_answer(&answer).unwrap().dtls, Some(fourth));
}

#[test]
fn our_offer_leaves_the_role_to_the_answer() {
    for (policy, profile) in
        [(SrtpPolicy::Optional, "RTP/AVP"), (SrtpPolicy::Required, "UDP/TLS/RTP/SAVP")]
    {
        let mut session = with(policy, SrtpKeying::Dtls);
        let body_of_ours = session.offer(Direction::SendRecv);
        assert!(body_of_ours.contains(&format!(" {profile} ")), "{body_of_ours}");
        assert!(body_of_ours.contains("a=setup:actpass\r\n") && session.offers_dtls());
        assert!(!body_of_ours.contains("a=crypto"), "{body_of_ours}");
        let mut answered = |profile: &str, rest: &str| {
            session.accept_answer(&body(profile, rest)).map(|agreed| agreed.dtls)
        };
        for wrong in ["", KEY, &lines(2, "actpass")] {
            let clear = policy == SrtpPolicy::Optional;
            let expected = if clear { Ok(None) } else { Err(SdpError::NoCommonCrypto) };
            assert_eq!(answered(profile, wrong), expected, "{wrong}");
        }
        for (setup, role) in [("active", DtlsRole::Server), ("passive", DtlsRole::Client)] {
            let plan = answered("UDP/TLS/RTP/SAVPF", &lines(2, setup)).unwrap().unwrap();
            assert_eq!((plan.role, plan.peer), (role, fingerprint(2)));
        }
    }
    let disabled = with(SrtpPolicy::Disabled, SrtpKeying::Dtls).offer(Direction::SendRecv);
    assert!(!disabled.contains("fingerprint") && disabled.contains("RTP/AVP"));
    // Two sessions of one stream never mean the same association.
    let first = with(SrtpPolicy::Required, SrtpKeying::Sdes);
    let local = first.local().clone();
    let mut sessions = [first, Session::new(local, &mut Entropy::seeded(8))];
    let [one, other] = &mut sessions;
    let offer = body(DTLS, &lines(2, "actpass"));
    assert_ne!(plan_of(one, &offer).unwrap(), plan_of(other, &offer).unwrap());
}
