//! Offers that check connectivity.

use super::*;
use crate::types::IceCredentials;

const ICE: &str = "a=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n";

/// As browsers and relays that check offer: an address that is still to be found, and one port.
fn offer(more: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n\
         a=rtcp-mux\r\na=candidate:1 1 UDP 2130706431 192.0.2.7 40000 typ host\r\n{more}"
    )
}

fn answered(session: &mut Session, offer: &str) -> (String, Option<IceCredentials>) {
    let answer = session.answer(offer.as_bytes(), Direction::SendRecv).unwrap();
    (answer.body, answer.negotiated.ice)
}

fn fresh() -> Session {
    let local = Local::new("198.51.100.1:30000".parse().unwrap());
    Session::new(local, &mut Entropy::seeded(7))
}

#[test]
fn an_offer_that_checks_is_answered_by_a_lite_agent() {
    let mut session = fresh();
    let answer = session.answer(offer(ICE).as_bytes(), Direction::SendRecv).unwrap();
    let ours = answer.negotiated.ice.unwrap();
    let (ufrag, pwd) = (ours.ufrag(), ours.pwd());
    assert!(ufrag.len() >= 4 && pwd.len() >= 22, "RFC 8445 section 5.3");
    for line in [
        "a=ice-lite".to_owned(),
        format!("a=ice-ufrag:{ufrag}"),
        format!("a=ice-pwd:{pwd}"),
        "a=candidate:1 1 UDP 2130706431 198.51.100.1 30000 typ host".to_owned(),
    ] {
        assert!(answer.body.contains(&format!("{line}\r\n")), "no {line} in {}", answer.body);
    }
    let session_part = answer.body.split("m=").next().unwrap();
    assert!(session_part.contains("a=ice-lite"), "it is of the whole session");
    // An address that is still to be found is no hold.
    assert_eq!(answer.negotiated.direction, Direction::SendRecv);
}

#[test]
fn a_session_goes_on_until_the_peer_begins_another() {
    let mut session = fresh();
    let (first, ours) = answered(&mut session, &offer(ICE));
    assert_eq!(answered(&mut session, &offer(ICE)), (first, ours));
    let other = ICE.replace("8hhY", "9iiZ");
    let (_, restarted) = answered(&mut session, &offer(&other));
    assert!(restarted.is_some() && restarted != ours);
    // An offer of ours goes on with it, and ends it where the answer says nothing of it.
    let reoffer = session.offer(Direction::SendOnly);
    assert!(reoffer.contains("a=ice-lite"));
    assert!(reoffer.contains(&format!("a=ice-ufrag:{}\r\n", restarted.unwrap().ufrag())));
    let negotiated = session.accept_answer(offer(&other).as_bytes()).unwrap();
    assert_eq!(negotiated.ice, restarted);
    session.offer(Direction::SendRecv);
    let plain = offer("").replace("0.0.0.0", "192.0.2.7").replace("audio 9", "audio 40000");
    assert_eq!(session.accept_answer(plain.as_bytes()).unwrap().ice, None);
    assert!(!session.offer(Direction::SendRecv).contains("a=ice"));
}

#[test]
fn what_cannot_be_checked_is_answered_without() {
    let for_the_session = |line: &str| offer(ICE).replace("m=audio", &format!("{line}\r\nm=audio"));
    for (offer, why) in [
        (offer(""), "no words"),
        (offer(ICE).replace("a=rtcp-mux\r\n", ""), "two ports"),
        (for_the_session("a=ice-lite"), "two lite agents"),
        (offer(&ICE.replace("asd88fgpdd777uzjYhagZg", "short")), "a short password"),
        (offer(&ICE.replace("8hhY", "8 hY")), "a word that is none"),
    ] {
        let (body, ice) = answered(&mut fresh(), &offer);
        assert_eq!(ice, None, "{why}");
        assert!(!body.contains("a=ice") && !body.contains("a=candidate"), "{why}: {body}");
    }
    // Words for the whole session stand for an m-line without its own.
    let whole = offer("").replace("m=audio", &format!("{ICE}m=audio"));
    assert!(answered(&mut fresh(), &whole).1.is_some());
}

#[test]
fn a_password_is_in_no_log() {
    let (_, ice) = answered(&mut fresh(), &offer(ICE));
    let shown = format!("{:?} {:?}", ice.unwrap(), parse(offer(ICE).as_bytes()).unwrap());
    assert!(!shown.contains(ice.unwrap().pwd()) && !shown.contains("asd88"), "{shown}");
}
