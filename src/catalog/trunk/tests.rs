//! Destinations and caller values.

use super::*;

fn sought(host: &str, port: Option<u16>, transport: Option<Transport>) -> Sought {
    Sought { host: host.to_owned(), port, transport }
}

fn trunk(config: TrunkConfig) -> Trunk {
    Trunk::new(TrunkName("t".into()), config, None, None)
}

#[test]
fn a_number_goes_to_the_trunk_and_a_uri_to_its_own_host() {
    let t = trunk(TrunkConfig { host: "sip.example".into(), ..TrunkConfig::default() });
    let number = t.target("+15550100").unwrap();
    assert_eq!(
        (number.uri.as_str(), number.sought),
        ("sip:+15550100@sip.example", sought("sip.example", None, Some(Transport::Udp)))
    );
    let uri = t.target("sip:bob@192.0.2.7:5070").unwrap();
    assert_eq!(uri.sought, sought("192.0.2.7", Some(5070), Some(Transport::Udp)));
    let secure = t.target("sips:bob@bob.example").unwrap();
    assert_eq!(secure.sought, sought("bob.example", None, Some(Transport::Tls)));
    let named = t.target("sip:bob@bob.example;transport=TCP").unwrap();
    assert_eq!(named.sought, sought("bob.example", None, Some(Transport::Tcp)));
    assert_eq!(t.target("15550100"), Err(DestinationError::Format));
    assert_eq!(t.target("sip:bob@a\r\nX: y"), Err(DestinationError::Format));
}

#[test]
fn what_a_trunk_says_of_its_protocol_is_in_its_uris() {
    for (transport, uri, wanted) in [
        (TransportName::Udp, "sip:+15550100@sip.example", Some(Transport::Udp)),
        (TransportName::Auto, "sip:+15550100@sip.example", None),
        (TransportName::Tcp, "sip:+15550100@sip.example;transport=tcp", Some(Transport::Tcp)),
        (TransportName::Tls, "sip:+15550100@sip.example;transport=tls", Some(Transport::Tls)),
    ] {
        let config = TrunkConfig { host: "sip.example".into(), transport, ..Default::default() };
        let target = trunk(config).target("+15550100").unwrap();
        assert_eq!((target.uri.as_str(), target.sought.transport), (uri, wanted));
    }
}

#[test]
fn an_outbound_proxy_takes_the_packet_and_a_route_header() {
    let t = trunk(TrunkConfig {
        host: "sip.example".into(),
        outbound_proxy: "[2001:db8::1]:5080".into(),
        ..TrunkConfig::default()
    });
    let target = t.target("+15550100").unwrap();
    assert_eq!(target.sought, sought("2001:db8::1", Some(5080), Some(Transport::Udp)));
    assert_eq!(target.route, ["<sip:[2001:db8::1]:5080;lr>"]);
}

#[test]
fn a_trunk_without_a_host_only_receives() {
    assert_eq!(
        trunk(TrunkConfig::default()).target("+15550100"),
        Err(DestinationError::ReceiveOnly)
    );
}

#[test]
fn caller_values_never_carry_control_characters() {
    let t = trunk(TrunkConfig { host: "2001:db8::9".into(), ..TrunkConfig::default() });
    assert_eq!(t.from_value("+1555 0100\r\n>", "x"), "<sip:+1555%200100%0D%0A%3E@[2001:db8::9]>");
}

#[test]
fn a_trunk_without_a_caller_number_sends_a_uri_without_user() {
    let t = trunk(TrunkConfig::default());
    assert_eq!(t.from_value("", "192.0.2.1"), "<sip:192.0.2.1>");
}

#[test]
fn destinations_and_what_a_refer_names() {
    for (text, call, refer) in [
        ("+15550100", true, Some("tel:+15550100")),
        ("sip:bob@example.org", true, Some("sip:bob@example.org")),
        ("tel:+15550100", false, Some("tel:+15550100")),
        ("15550100", false, None),
        ("http://example.org/", false, None),
        ("sip:a@b>\r\nX: y", false, None),
        ("", false, None),
    ] {
        assert_eq!(super::is_destination(text), call, "{text}");
        assert_eq!(super::refer_target(text).as_deref(), refer, "{text}");
    }
}

#[test]
fn what_a_trunk_is_told_of_who_calls() {
    let calls = TrunkCalls {
        from_user: "account".into(),
        asserted_identity: true,
        preferred_identity: true,
        remote_party_id: true,
        ..TrunkCalls::default()
    };
    let t = trunk(TrunkConfig {
        host: "sip.example".into(),
        privacy: true,
        calls,
        ..TrunkConfig::default()
    });
    assert_eq!(t.from_value("+15550100", "192.0.2.1"), "<sip:account@sip.example>");
    let uri = "<sip:+15550100@sip.example>";
    let own = |name: &str, value: String| (name.to_owned(), value);
    let expected = [
        own("P-Asserted-Identity", uri.to_owned()),
        own("P-Preferred-Identity", uri.to_owned()),
        own("Remote-Party-ID", format!("{uri};party=calling;screen=no;privacy=full")),
        own("Privacy", "id".to_owned()),
    ];
    assert_eq!(t.identity_headers("+15550100", "192.0.2.1"), expected);
    assert_eq!(t.identity_headers("", "192.0.2.1"), expected[3..], "no number, nothing to assert");
    let plain = trunk(TrunkConfig { host: "sip.example".into(), ..TrunkConfig::default() });
    assert!(plain.identity_headers("+15550100", "192.0.2.1").is_empty());
}
