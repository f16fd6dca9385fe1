use super::*;
use crate::sip::msg::{Headers, StatusCode};
use crate::types::Secret;

fn usable(text: &str) -> Usable {
    Usable::from_challenge(&Challenge::parse_all(text.as_bytes())[0]).unwrap()
}

fn mufasa(password: &str) -> Credentials {
    Credentials { username: "Mufasa".to_owned(), password: Secret::new(password) }
}

fn get<'a>(method: &'a Method, body: &'a [u8]) -> Protected<'a> {
    Protected { method, uri: "/dir/index.html", body }
}

/// RFC 2617 section 3.5.
#[test]
fn rfc_2617_vector() {
    let challenge = usable(
        "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
    );
    let method = Method::Other("GET".to_owned());
    let response = response_of(
        &challenge,
        &mufasa("Circle Of Life"),
        get(&method, b""),
        ("00000001", "0a4f113b"),
    );
    assert_eq!(response, "6629fae49393a05397450978507c4ef1");
}

/// RFC 7616 section 3.9.1: MD5 and SHA-256 over the same challenge.
#[test]
fn rfc_7616_vectors() {
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let rows = [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ];
    for (algorithm, want) in rows {
        let challenge = usable(&format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        ));
        let method = Method::Other("GET".to_owned());
        let response = response_of(
            &challenge,
            &mufasa("Circle of Life"),
            get(&method, b""),
            ("00000001", cnonce),
        );
        assert_eq!(response, want, "{algorithm}");
    }
}

fn challenge_response(status: u16, headers: &[(HeaderName, &str)]) -> Response {
    let mut list = Headers::new();
    for (name, value) in headers {
        list.push(*name, (*value).to_owned());
    }
    Response {
        status: StatusCode::new(status).unwrap(),
        reason: bytes::Bytes::new(),
        headers: list,
        body: bytes::Bytes::new(),
    }
}

fn client() -> (Client, Entropy) {
    (Client::new(mufasa("p\"w")), Entropy::seeded(1))
}

fn invite() -> Protected<'static> {
    Protected { method: &Method::Invite, uri: "sip:+1555@h:5080;transport=udp", body: b"" }
}

#[test]
fn picks_by_status_and_strength() {
    let response = challenge_response(
        407,
        &[
            (HeaderName::WwwAuthenticate, "Digest realm=\"w\", nonce=\"w1\""),
            (
                HeaderName::ProxyAuthenticate,
                "Digest realm=\"a, \\\"b\\\"\", nonce=\"n1\", algorithm=MD5, Basic realm=\"x\", \
                 Digest realm=\"s\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth,auth-int\", opaque=\"\"",
            ),
        ],
    );
    let (mut client, mut entropy) = client();
    client.challenged(&response).unwrap();
    let (name, value) = client.authorize(invite(), &mut entropy).unwrap();
    assert_eq!(name, HeaderName::ProxyAuthorization);
    for part in [
        "realm=\"s\"",
        "nonce=\"n2\"",
        "uri=\"sip:+1555@h:5080;transport=udp\"",
        "algorithm=SHA-256",
        "nc=00000001",
        "qop=auth",
        "opaque=\"\"",
    ] {
        assert!(value.contains(part), "{part} in {value}");
    }
    let mut last = String::new();
    for _ in 0..15 {
        client.accepted();
        last = client.authorize(invite(), &mut entropy).unwrap().1;
    }
    assert!(last.contains("nc=00000010"), "{last}");
}

#[test]
fn quotes_in_the_realm_stay_escaped() {
    let (mut client, mut entropy) = client();
    let value = "Digest realm=\"a, \\\"b\\\"\", nonce=\"n1\"";
    client.challenged(&challenge_response(401, &[(HeaderName::WwwAuthenticate, value)])).unwrap();
    let (_, value) = client.authorize(invite(), &mut entropy).unwrap();
    assert!(value.contains("realm=\"a, \\\"b\\\"\""), "{value}");
    assert!(!value.contains("qop") && !value.contains("nc=") && !value.contains("algorithm"));
}

#[test]
fn stale_is_retried_once_and_refusal_ends() {
    let ask = |stale: &str| {
        let value = format!("Digest realm=\"r\", nonce=\"n{stale}\", qop=\"auth\"{stale}");
        challenge_response(401, &[(HeaderName::WwwAuthenticate, &value)])
    };
    let (mut client, mut entropy) = client();
    client.challenged(&ask("")).unwrap();
    client.authorize(invite(), &mut entropy).unwrap();
    assert_eq!(client.challenged(&ask("")), Err(DigestError::Refused));
    client.challenged(&ask(", stale=TRUE")).unwrap();
    client.authorize(invite(), &mut entropy).unwrap();
    assert_eq!(client.challenged(&ask(", stale=TRUE")), Err(DigestError::Refused));
}

#[test]
fn nothing_usable() {
    let (mut client, mut entropy) = client();
    for value in ["Basic realm=\"x\"", "Digest realm=\"r\", nonce=\"n\", algorithm=FOO", ";;,=", ""]
    {
        let response = challenge_response(401, &[(HeaderName::WwwAuthenticate, value)]);
        assert_eq!(client.challenged(&response), Err(DigestError::Unusable), "{value}");
    }
    assert!(client.authorize(invite(), &mut entropy).is_none());
}
