use super::*;

#[test]
fn networks() {
    let rows = [
        ("192.0.2.0/24", "192.0.2.255", true),
        ("192.0.2.0/24", "192.0.3.0", false),
        ("192.0.2.0/24", "::ffff:192.0.2.7", true),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("198.51.100.7", "198.51.100.7", true),
        ("198.51.100.7", "198.51.100.6", false),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("::/0", "2001:db9::1", true),
    ];
    for (network, address, expected) in rows {
        let network: Network = network.parse().unwrap();
        assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?} {address}");
    }
}

#[test]
fn networks_refused() {
    for (text, expected) in [
        ("", NetworkError::Address),
        ("trunk.example/24", NetworkError::Address),
        ("192.0.2.0/33", NetworkError::Prefix),
        ("192.0.2.0/", NetworkError::Prefix),
        ("2001:db8::/129", NetworkError::Prefix),
    ] {
        assert_eq!(text.parse::<Network>(), Err(expected), "{text}");
    }
}
