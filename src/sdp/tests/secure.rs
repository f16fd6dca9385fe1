//! Keys in offers and answers (RFC 4568), by policy.

use super::*;
use crate::types::{SrtpPolicy, SrtpSuite};

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const OTHER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn with(srtp: SrtpPolicy) -> Session {
    Session::new(Local { srtp, ..local() }, &mut Entropy::seeded(7))
}

fn line(tag: &str, key: &str) -> String {
    format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n")
}

fn answer_by(
    srtp: SrtpPolicy,
    profile: &str,
    lines: &str,
) -> Result<super::super::Answer, SdpError> {
    let body = offer(&format!("m=audio 4000 {profile} 0\r\n{lines}"));
    with(srtp).answer(&body, Direction::SendRecv)
}

#[test]
fn the_policy_decides() {
    use SrtpPolicy::{Disabled, Optional, Required};
    let key = line("1", KEY);
    let none = Err(SdpError::NoCommonCrypto);
    for (policy, profile, lines, expected) in [
        (Disabled, "RTP/AVP", "", Ok(false)),
        (Disabled, "RTP/AVP", key.as_str(), Ok(false)),
        (Disabled, "RTP/SAVP", key.as_str(), none),
        (Optional, "RTP/AVP", "", Ok(false)),
        (Optional, "RTP/AVP", key.as_str(), Ok(true)),
        (Optional, "RTP/SAVPF", key.as_str(), Ok(true)),
        (Optional, "RTP/SAVP", "", none),
        (Required, "RTP/AVP", "", none),
        (Required, "RTP/AVP", key.as_str(), Ok(true)),
        (Required, "RTP/SAVP", key.as_str(), Ok(true)),
        (Required, "UDP/TLS/RTP/SAVPF", key.as_str(), none),
    ] {
        let outcome = answer_by(policy, profile, lines).map(|answer| {
            assert!(answer.body.contains(&format!(" {profile} 0")), "{}", answer.body);
            assert_eq!(answer.body.contains("a=crypto:1 "), answer.negotiated.srtp.is_some());
            answer.negotiated.srtp.is_some()
        });
        assert_eq!(outcome, expected, "{policy:?} {profile} {lines}");
    }
}

#[test]
fn the_answer_names_the_tag_it_took() {
    let lines = format!("{}{}{}", line("x", KEY), line("7", OTHER), line("9", KEY));
    let answer = answer_by(SrtpPolicy::Optional, "RTP/SAVP", &lines).unwrap();
    let taken: Vec<_> = answer.body.lines().filter(|l| l.starts_with("a=crypto:")).collect();
    assert_eq!(taken.len(), 1);
    assert!(taken[0].starts_with("a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:"), "{taken:?}");
    let keys = answer.negotiated.srtp.unwrap();
    assert_eq!(keys.receive.octets(), [0; 30]);
    assert!(!taken[0].contains(OTHER), "the answer bears a key of our own");
}

#[test]
fn hostile_lines_refuse_the_offer_and_nothing_else() {
    for lines in [
        line("one", KEY),
        format!("{}{}", line("1", KEY), line("1", OTHER)),
        line("1", &KEY[..20]),
        line("1", &format!("{KEY}{KEY}")),
        line("1", &format!("{KEY}|2^31|1:4")),
    ] {
        let refused = answer_by(SrtpPolicy::Required, "RTP/SAVP", &lines).map(|_| ());
        assert_eq!(refused, Err(SdpError::NoCommonCrypto), "{lines}");
        let clear = answer_by(SrtpPolicy::Optional, "RTP/AVP", &lines).unwrap();
        assert_eq!(clear.negotiated.srtp, None);
    }
}

/// Packet indices go on as long as both keys stay: over hold, resume and refresh.
#[test]
fn keys_stay_over_a_reinvite_and_change_with_theirs() {
    let mut session = with(SrtpPolicy::Optional);
    let body = |key: &str, direction: &str| {
        offer(&format!("m=audio 4000 RTP/SAVP 0\r\na={direction}\r\n{}", line("1", key)))
    };
    let mut keys = |key, direction| {
        let answer = session.answer(&body(key, direction), Direction::SendRecv).unwrap();
        answer.negotiated.srtp.unwrap()
    };
    let first = keys(KEY, "sendrecv");
    assert_eq!(keys(KEY, "sendonly"), first);
    assert_eq!(keys(KEY, "sendrecv"), first);
    let second = keys(OTHER, "sendrecv");
    assert_ne!(second.receive, first.receive);
    assert_ne!(second.send, first.send, "a new endpoint knows no counter of ours");
    // Our own offer repeats what was agreed, and nothing else.
    let body = session.offer(Direction::SendRecv);
    let lines: Vec<_> = body.lines().filter(|l| l.starts_with("a=crypto:")).collect();
    assert_eq!(lines.len(), 1, "{body}");
    let agreed = super::super::Crypto { tag: 1, key: second.send };
    assert_eq!(lines[0], format!("a=crypto:{agreed}"));
}

#[test]
fn our_offer_names_every_suite_and_the_answer_picks_one() {
    for (policy, profile) in [(SrtpPolicy::Optional, "RTP/AVP"), (SrtpPolicy::Required, "RTP/SAVP")]
    {
        let mut session = with(policy);
        let body = session.offer(Direction::SendRecv);
        assert!(body.contains(&format!(" {profile} ")), "{body}");
        for suite in SrtpSuite::ALL {
            assert!(body.contains(&format!(" {suite} inline:")), "{body}");
        }
        assert_eq!(session.offer(Direction::SendRecv), body, "a repeated offer says the same");
        let answered = |session: &mut Session, profile: &str, lines: &str| {
            session.accept_answer(&offer(&format!("m=audio 4000 {profile} 0\r\n{lines}")))
        };
        // The fourth of ours is AES_CM_128_HMAC_SHA1_80; the first is not.
        for wrong in [line("1", KEY), line("40", KEY)] {
            let outcome = answered(&mut session, profile, &wrong).map(|agreed| agreed.srtp);
            let clear = policy == SrtpPolicy::Optional;
            assert_eq!(outcome, if clear { Ok(None) } else { Err(SdpError::NoCommonCrypto) });
        }
        let keys = answered(&mut session, "RTP/SAVP", &line("4", KEY)).unwrap().srtp.unwrap();
        assert_eq!(keys.receive.suite(), SrtpSuite::AesCm128HmacSha1_80);
        let sent = super::super::Crypto { tag: 4, key: keys.send };
        assert!(body.contains(&format!("a=crypto:{sent}\r\n")));
    }
    assert!(!with(SrtpPolicy::Disabled).offer(Direction::SendRecv).contains("crypto"));
}
