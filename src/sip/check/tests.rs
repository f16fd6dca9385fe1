use bytes::Bytes;

use super::*;
use crate::sip::msg::Message;
use crate::sip::wire::parse;

const GOOD: [&str; 6] = [
    "Via: SIP/2.0/UDP h;branch=z9hG4bK1",
    "From: <sip:a@b>;tag=1",
    "To: <sip:a@b>",
    "Call-ID: x",
    "CSeq: 1 OPTIONS",
    "Max-Forwards: 70",
];

/// Reads OPTIONS with the good headers, the one that begins like `change` replaced, or `change` added.
fn verdict(change: &str, repeat: bool) -> Option<Fault> {
    let name = change.split(':').next().unwrap_or_default();
    let kept = GOOD.iter().filter(|line| repeat || !line.starts_with(&format!("{name}:")));
    let value = change.split_once(':').map_or("", |(_, value)| value);
    let added = if value.is_empty() { "X: y" } else { change };
    let lines: Vec<&str> = kept.copied().chain([added]).collect();
    let text = format!("OPTIONS sip:a@b SIP/2.0\r\n{}\r\n\r\n", lines.join("\r\n"));
    match parse(&Bytes::from(text)) {
        Ok(Message::Request(_)) => None,
        Ok(Message::Response(_)) => panic!("not a request"),
        Err(error) => Some(error.fault),
    }
}

#[test]
fn each_fault_is_named() {
    use HeaderName as H;
    let rows = [
        ("X: y", false, None),
        ("Via:", false, Some(Fault::Missing(H::Via))),
        ("From:", false, Some(Fault::Missing(H::From))),
        ("To:", false, Some(Fault::Missing(H::To))),
        ("Call-ID:", false, Some(Fault::Missing(H::CallId))),
        ("CSeq:", false, Some(Fault::Missing(H::CSeq))),
        ("Max-Forwards:", false, None),
        ("Max-Forwards: 0", false, None),
        ("Max-Forwards: 256", false, Some(Fault::Header(H::MaxForwards))),
        ("Max-Forwards: x", false, Some(Fault::Header(H::MaxForwards))),
        ("From: <sip:c@d>;tag=2", true, Some(Fault::Repeated(H::From))),
        ("To: <sip:c@d>", true, Some(Fault::Repeated(H::To))),
        ("Call-ID: y", true, Some(Fault::Repeated(H::CallId))),
        ("CSeq: 2 OPTIONS", true, Some(Fault::Repeated(H::CSeq))),
        ("CSeq: 1 INVITE", false, Some(Fault::CSeqMethod)),
        ("CSeq: 2147483648 OPTIONS", false, Some(Fault::Header(H::CSeq))),
        ("CSeq: 2147483647 OPTIONS", false, None),
        ("CSeq: -1 OPTIONS", false, Some(Fault::Header(H::CSeq))),
        ("Contact: <sip:a@b", false, Some(Fault::Header(H::Contact))),
        ("Route: sip:a@b c", false, Some(Fault::Header(H::Route))),
        ("Date: Sat, 21 Nov 2026 00:16:13 GMT", false, None),
        ("Date: Sat, 21 Nov 2026 00:16:13 CET", false, Some(Fault::Header(H::Date))),
    ];
    for (change, repeat, want) in rows {
        assert_eq!(verdict(change, repeat), want, "{change}");
    }
}
