use super::*;
use crate::sip::msg::Headers;

fn addr(text: &str) -> NameAddr {
    NameAddr::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn name_addr() {
    let rows = [
        ("\"A, \\\"B\\\"\" <sip:a@b;x=1>;tag=t", Some("A, \"B\""), "sip:a@b;x=1", Some("t")),
        ("caller<sip:a@b>;tag=t", Some("caller"), "sip:a@b", Some("t")),
        ("sip:a@b ; tag = t", None, "sip:a@b", Some("t")),
        ("<tel:+1555>", None, "tel:+1555", None),
        ("\"\" <sip:a@b>", Some(""), "sip:a@b", None),
    ];
    for (text, display, uri, tag) in rows {
        let value = addr(text);
        assert_eq!(value.display.as_deref(), display, "{text}");
        assert_eq!(value.uri.to_string(), uri, "{text}");
        assert_eq!(value.tag(), tag, "{text}");
        assert_eq!(addr(&value.to_string()), value, "{text}");
    }
    for text in [
        "",
        "\"A <sip:a@b>",
        "A, B <sip:a@b>",
        "< sip:a@b >",
        "sip:a@b?x=y",
        "<sip:a@b>;;",
        "<sip:a@b>x",
    ] {
        assert_eq!(NameAddr::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn via_stamp() {
    let source = "192.0.2.77:9999".parse().unwrap();
    let stamped = |text: &str| {
        let mut via = Via::parse(text.as_bytes()).unwrap();
        via.stamp(source);
        via.to_string()
    };
    assert_eq!(
        stamped("SIP/2.0/UDP h:5080;branch=b;rport"),
        "SIP/2.0/UDP h:5080;branch=b;rport=9999;received=192.0.2.77"
    );
    assert_eq!(stamped("SIP/2.0/UDP 192.0.2.77;branch=b"), "SIP/2.0/UDP 192.0.2.77;branch=b");
    let via = Via::parse(b"SIP/2.0/UDP [2001:db8::1]:1;received=[2001:db8::2];rport").unwrap();
    assert_eq!(via.received(), "2001:db8::2".parse().ok());
    assert_eq!((via.port, via.rport()), (Some(1), Some(None)));
}

#[test]
fn only_the_top_via_of_a_line_changes() {
    let mut headers = Headers::new();
    headers.push(HeaderName::Via, "SIP/2.0/UDP a;branch=1;rport , SIP/2.0/TCP b;branch=2");
    let mut via = headers.top_via().unwrap();
    via.stamp("192.0.2.1:7".parse().unwrap());
    headers.set_top_via(&via);
    let values: Vec<_> = headers.values(HeaderName::Via).collect();
    assert_eq!(values.len(), 2);
    assert_eq!(values[1], b"SIP/2.0/TCP b;branch=2");
    assert_eq!(headers.top_via().unwrap().rport(), Some(Some(7)));
}

#[test]
fn reason_values() {
    let mut headers = Headers::new();
    headers.push(HeaderName::Reason, "Q.850;cause=16;text=\"a, b\", SIP ;cause=200");
    headers.push(HeaderName::Reason, "Q.850");
    let all = reasons(&headers);
    assert_eq!(all.len(), 3);
    assert_eq!(all[0].protocol, ReasonProtocol::Q850);
    assert_eq!((all[0].cause, all[0].text.as_deref()), (Some(16), Some("a, b")));
    assert_eq!((&all[1].protocol, all[1].cause), (&ReasonProtocol::Sip, Some(200)));
    assert_eq!(all[2].cause, None);
}

#[test]
fn small_values() {
    let mut headers = Headers::new();
    headers.push(HeaderName::RetryAfter, "18000;duration=3600");
    headers.push(HeaderName::Supported, "timer, 100rel,,");
    headers.push(HeaderName::Supported, "Replaces");
    assert_eq!(retry_after_s(&headers), Some(18_000));
    assert!(headers.has_token(HeaderName::Supported, "replaces"));
    assert_eq!(headers.values(HeaderName::Supported).count(), 3);
    let state = SubscriptionState::parse(b"Terminated;reason=noresource").unwrap();
    assert!(state.is_terminated());
    let kind = Tagged::parse(b"multipart/mixed; boundary=\"a;b\"").unwrap();
    assert!(kind.is("Multipart/Mixed"));
    assert_eq!(kind.params.get("boundary").map(unquote).as_deref(), Some("a;b"));
    assert_eq!(Contact::parse(b" * "), Some(Contact::Star));
}
