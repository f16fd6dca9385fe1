use super::*;

fn veiled(text: &str, personal: Personal) -> String {
    let text = text.replace('\n', "\r\n");
    let copy = veil(text.as_bytes(), personal);
    assert_eq!(copy.len(), text.len(), "a length changed");
    String::from_utf8(copy).unwrap().replace("\r\n", "\n")
}

const INVITE: &str = "INVITE sip:+15550100@trunk.example SIP/2.0\n\
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds\n\
From: \"Alice Smith\" <sip:+4930123456@pbx.example;user=phone>;tag=1928301774\n\
To: <sip:+15550100@trunk.example>\n\
Call-ID: a84b4c76e66710@192.0.2.1\n\
CSeq: 314159 INVITE\n\
Contact: <sip:alice:hunter2@192.0.2.1:5060>\n\
Authorization: Digest username=\"alice\", realm=\"trunk\", nonce=\"dcd98b\", uri=\"sip:trunk.example\",\n \
qop=auth, nc=00000001, cnonce=\"0a4f113b\", response =\n \"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc\"\n\
P-Asserted-Identity: Bob <tel:+4930123456>, \"Bob\" <sip:bob@pbx.example>\n\
X-Customer: id 4930123456\n\
X-Api-Key: abc def\n\
User-to-User: 56a390f3d2b7310023;encoding=hex\n\
Content-Type: application/sdp\n\
Content-Length: 200\n\
\n\
v=0\n\
o=- 4711111111 1 IN IP4 192.0.2.1\n\
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:32\n\
k=clear:secret\n\
a=ice-pwd:YH75Fviy6338Vbrhrlp8Yh\n";

#[test]
fn secrets_are_written_over_and_nothing_else() {
    let copy = veiled(INVITE, Personal::Shown);
    for secret in ["6629fae4", "0a4f113b", "hunter2", "d0RmdmcmV", "secret", "YH75Fv", "abc"] {
        assert!(!copy.contains(secret), "{secret} in {copy}");
    }
    for shown in [
        "INVITE sip:+15550100@trunk.example SIP/2.0",
        "\"Alice Smith\" <sip:+4930123456@pbx.example;user=phone>;tag=1928301774",
        "username=\"alice\", realm=\"trunk\", nonce=\"dcd98b\", uri=\"sip:trunk.example\"",
        "opaque=\"5ccc\"",
        "Contact: <sip:alice:xxxxxxx@192.0.2.1:5060>",
        "inline:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx|2^20|1:32",
        "k=clear:xxxxxx",
        "o=- 4711111111 1 IN IP4 192.0.2.1",
    ] {
        assert!(copy.contains(shown), "no {shown} in {copy}");
    }
}

#[test]
fn personal_data_keeps_only_its_shape() {
    let copy = veiled(INVITE, Personal::Veiled);
    for shown in [
        "INVITE sip:+xxxxx100@trunk.example SIP/2.0",
        "From: \"xxxxx xxxxx\" <sip:+xxxxxxx456@pbx.example;user=phone>;tag=1928301774",
        "Contact: <sip:xxxxx:xxxxxxx@192.0.2.1:5060>",
        "P-Asserted-Identity: xxx <tel:+xxxxxxx456>, \"xxx\" <sip:xxx@pbx.example>",
        "X-Customer: id xxxxxxx456",
        "Call-ID: a84b4c76e66710@192.0.2.1",
        "CSeq: 314159 INVITE",
    ] {
        assert!(copy.contains(shown), "no {shown} in {copy}");
    }
    assert!(!copy.contains("56a390f3d2b7310023"), "{copy}");
}

#[test]
fn keys_pressed_are_personal() {
    let info =
        "INFO sip:a@b SIP/2.0\nContent-Type: application/dtmf-relay\n\nSignal= 5\nDuration=160\n";
    assert!(veiled(info, Personal::Veiled).contains("Signal= x\nDuration=160"));
    assert!(veiled(info, Personal::Shown).contains("Signal= 5"));
    let plain = "INFO sip:a@b SIP/2.0\nc: application/dtmf\n\n#";
    assert!(veiled(plain, Personal::Veiled).ends_with("\n\nx"));
}

#[test]
fn other_credentials_go_whole_and_odd_octets_do_no_harm() {
    let basic = "OPTIONS sip:a@b SIP/2.0\nProxy-Authorization: Bearer eyJhbGciOi.J9\nNoColon\n\n";
    let copy = veiled(basic, Personal::Shown);
    assert!(copy.contains("Proxy-Authorization: Bearer xxxxxxxxxxxxx\n"), "{copy}");
    for odd in [&b""[..], b"\n", b"\r\n\r\n", b"sip:", b"a\nFrom: <", b"\xff\xfe:\n \n\nk="] {
        assert_eq!(veil(odd, Personal::Veiled).len(), odd.len());
    }
}
