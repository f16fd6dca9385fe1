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
    if let Ok(answer) = session.answer(data, Direction::SendRecv) {
        let demanded = srtp == SrtpPolicy::Required;
        assert!(!demanded || answer.negotiated.srtp.is_some(), "in the clear: {}", answer.body);
        assert!(parse(answer.body.as_bytes()).is_ok(), "our answer must be SDP: {}", answer.body);
    }
    session.offer(Direction::SendRecv);
    let _ = session.accept_answer(data);
}
