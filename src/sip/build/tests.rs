use super::*;
use crate::sip::msg::Message;
use crate::sip::wire::parse;

const INVITE: &str = "INVITE sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\nVia: SIP/2.0/TCP i;branch=2\r\n\
    Record-Route: <sip:p;lr>\r\nf: \"J\" <sip:c@d>;tag=1\r\nt: sip:a@b\r\ni: x\r\nCSeq: 7 INVITE\r\nTimestamp: 5\r\n\r\n";

fn invite() -> Request {
    match parse(&Bytes::from(INVITE)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn responses_copy_what_they_must() {
    let ok = Response::to_request(&invite(), StatusCode::OK, Some("mine"))
        .with_body("application/sdp", Bytes::from_static(b"v=0\r\n"));
    assert_eq!(
        std::str::from_utf8(&ok.to_bytes()).unwrap(),
        "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\nVia: SIP/2.0/TCP i;branch=2\r\n\
         Record-Route: <sip:p;lr>\r\nf: \"J\" <sip:c@d>;tag=1\r\nTo: sip:a@b;tag=mine\r\ni: x\r\n\
         CSeq: 7 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    );
    let trying = Response::to_request(&invite(), StatusCode::TRYING, Some("mine"));
    assert_eq!(trying.to_tag(), None);
    assert!(trying.headers.get_named("timestamp").is_some());
    let busy = Response::to_request(&invite(), StatusCode::new(486).unwrap(), Some("mine"));
    assert!(!busy.headers.contains(HeaderName::RecordRoute));
    assert_eq!(busy.reason_text(), "Busy Here");
}

#[test]
fn a_reason_phrase_cannot_start_a_line() {
    let response = Response::to_request(&invite(), StatusCode::OK, None).with_reason("a\r\nX: y");
    assert!(response.to_bytes().starts_with(b"SIP/2.0 200 a  X: y\r\n"));
}
