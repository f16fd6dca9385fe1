//! Fuzz body: no octets may make parsing, printing or negotiation panic or disagree with themselves.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Direction, Local, Session, parse};
use crate::types::{Entropy, SrtpPolicy};

/// Parses, prints, parses again; answers; takes it as an answer.
pub fn sdp(data: &[u8]) {
    if let Ok(description) = parse(data) {
        let printed = description.to_string();
        assert_eq!(parse(printed.as_bytes()).as_ref(), Ok(&description), "{printed}");
    }
    for srtp in [SrtpPolicy::Disabled, SrtpPolicy::Optional, SrtpPolicy::Required] {
        negotiate(data, srtp);
    }
}

fn negotiate(data: &[u8], srtp: SrtpPolicy) {
    let local = Local::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)));
    let mut session = Session::new(Local { srtp, ..local }, &mut Entropy::seeded(1));
    let answered = session.answer(data, Direction::SendRecv);
    if let Ok(answer) = &answered {
        let demanded = srtp == SrtpPolicy::Required;
        assert!(!demanded || answer.negotiated.srtp.is_some(), "in the clear: {}", answer.body);
        assert!(parse(answer.body.as_bytes()).is_ok(), "our answer must be SDP: {}", answer.body);
    }
    let offer = session.offer(Direction::SendRecv);
    assert!(parse(offer.as_bytes()).is_ok(), "our offer must be SDP: {offer}");
    let Ok(offer) = parse(offer.as_bytes()) else { return };
    for line in offer.media.iter().filter(|line| line.port != 0) {
        let numbers: Vec<u8> = line.payload_types().collect();
        let twice = numbers
            .iter()
            .enumerate()
            .any(|(n, one)| numbers.iter().skip(n + 1).any(|other| other == one));
        assert!(!twice, "one number for two formats: {numbers:?}");
        if let Ok(answer) = &answered {
            let first = numbers.first().copied();
            assert_eq!(
                first,
                Some(answer.negotiated.codec.payload_type),
                "the number that was agreed"
            );
        }
    }
    let _ = session.accept_answer(data);
}
