use super::*;

#[test]
fn sipfrag() {
    let rows: [(&[u8], Option<u16>); 9] = [
        (b"SIP/2.0 100 Trying\r\n", Some(100)),
        (b"SIP/2.0 200 OK", Some(200)),
        (b"\r\n\r\nsip/2.0 603 Declined\r\nContact: <sip:a@b>\r\n", Some(603)),
        (b"SIP/2.0 503", Some(503)),
        (b"", None),
        (b"200 OK", None),
        (b"SIP/2.0 99 Low", None),
        (b"SIP/2.0 70000 High", None),
        (b"\xff\xfe\xff\xff\xff", None),
    ];
    for (body, expected) in rows {
        assert_eq!(sipfrag_status(body), expected, "{}", String::from_utf8_lossy(body));
    }
}
