use proptest::prelude::*;

use super::*;

#[test]
fn good_uris_print_as_they_were() {
    for text in [
        "sip:a@b",
        "sips:a:secret@example.com:5061;transport=tls?Subject=x",
        "sip:[2001:db8::1]:5070;lr",
        "sip:1;par=u%40x@example.com",
        "sip:user?x/;y@example.com",
        "sip:192.0.2.1;maddr=192.0.2.2",
        "tel:+1-555-0100;phone-context=example.com",
        "urn:service:sos",
    ] {
        assert_eq!(Uri::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn bad_uris_are_refused() {
    for text in [
        "",
        "sip:",
        "sip",
        "sip:@h",
        "sip:a@",
        "sip:a@b@c",
        "sip:a b@c",
        "<sip:a@b>",
        "sip:2001:db8::10",
        "sip:a@b:70000",
        "sip:a@b:",
        "sip:[::1",
        "sip:a%4@b",
        "sip:a@b;x=\u{e9}",
        "tel:",
        "tel:hello",
        "1x:y",
    ] {
        assert_eq!(Uri::parse(text), Err(Fault::Uri), "{text}");
    }
}

#[test]
fn what_matters_is_compared() {
    let same = |one: &str, two: &str| Uri::parse(one).unwrap().same(&Uri::parse(two).unwrap());
    assert!(same("sip:%61lice@Atlanta.com;x=1", "SIP:alice@atlanta.com;y=2"));
    assert!(same("sip:a@h;transport=TCP", "sip:a@h;transport=tcp"));
    assert!(!same("sip:Alice@h", "sip:alice@h"));
    assert!(!same("sip:a@h", "sip:a@h:5060"));
    assert!(!same("sip:a@h", "sip:a@h;transport=udp"));
    assert!(!same("sip:a@h", "sips:a@h"));
}

#[test]
fn parts_are_found() {
    let uri = Uri::parse("sip:%2B1555@[2001:db8::1]:5070;transport=tcp;lr").unwrap();
    assert_eq!(uri.user_text(), "+1555");
    assert_eq!(uri.transport(), Some("tcp"));
    assert!(uri.lr());
    assert_eq!(uri.socket_addr(), "[2001:db8::1]:5070".parse().ok());
    let made = Uri::sip(Some("a b@c"), Host::Name("h".to_owned()), None);
    assert_eq!(made.to_string(), "sip:a%20b%40c@h");
}

proptest! {
    #[test]
    fn printing_and_reading_is_the_identity(text in "(sip|sips|tel|x):[a-c0-9@:;=?&%+.\\[\\]/-]{1,24}") {
        crate::sip::fuzz::uri(text.as_bytes());
    }
}
