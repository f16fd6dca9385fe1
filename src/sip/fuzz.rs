//! Bodies of the fuzz targets: any octets in, an assertion that fails when a promise of this room is broken.

use bytes::Bytes;

use super::digest::{Client, Protected};
use super::event::Credentials;
use super::header::Challenge;
use super::msg::{Message, Method};
use super::stream::{Framed, Framer};
use super::uri::Uri;
use super::wire;
use crate::types::{Entropy, Secret};

/// Reading never panics; what is read and printed is read again as the same message.
pub fn sip_datagram(data: &[u8]) {
    let Ok(message) = wire::parse(&Bytes::copy_from_slice(data)) else { return };
    let printed = message.to_bytes();
    // Printing adds a Content-Length and may so exceed a limit that the original kept just so.
    if printed.len() > wire::MESSAGE_BYTES_MAX || message.headers().len() >= wire::HEADERS_MAX {
        return;
    }
    let again = wire::parse(&printed);
    assert!(again.is_ok(), "printed form is refused: {again:?}");
    let Ok(again) = again else { return };
    assert_eq!(again.body(), message.body(), "body changed");
    assert_eq!(again.to_bytes(), printed, "printing is not stable");
    assert_eq!(start(&again), start(&message), "start line changed");
}

fn start(message: &Message) -> String {
    match message {
        Message::Request(request) => format!("{} {}", request.method, request.uri),
        Message::Response(response) => format!("{} {}", response.status, response.reason_text()),
    }
}

/// A stream cut anywhere gives the same messages, and the framer's memory stays bounded.
pub fn sip_stream(data: &[u8]) {
    let whole = frames(data, data.len().max(1));
    assert_eq!(whole, frames(data, 1), "one octet at a time differs");
    assert_eq!(whole, frames(data, 7), "seven octets at a time differs");
}

fn frames(data: &[u8], chunk: usize) -> (Vec<Framed>, bool) {
    let mut framer = Framer::new();
    let mut out = Vec::new();
    for octets in data.chunks(chunk) {
        framer.push(octets);
        loop {
            match framer.next() {
                Ok(Some(framed)) => out.push(framed),
                Ok(None) => break,
                Err(_) => return (out, true),
            }
        }
    }
    (out, false)
}

/// A URI that is read prints as one that reads the same.
pub fn uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = Uri::parse(text) else { return };
    assert_eq!(Uri::parse(&uri.to_string()), Ok(uri));
}

/// Challenges are bounded in number whatever comes, and an answer says back what the challenge said.
pub fn digest_challenge(data: &[u8]) {
    assert!(Challenge::parse_all(data).len() <= 16);
    let mut text =
        b"SIP/2.0 401 x\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=c\r\n\
        To: <sip:a@b>\r\nCall-ID: d\r\nCSeq: 1 INVITE\r\nWWW-Authenticate: "
            .to_vec();
    text.extend_from_slice(data);
    text.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
    let Ok(Message::Response(response)) = wire::parse(&Bytes::from(text)) else { return };
    let credentials = Credentials { username: "a\"b".to_owned(), password: Secret::new("p") };
    let mut client = Client::new(credentials);
    if client.challenged(&response).is_err() {
        return;
    }
    let protected = Protected { method: &Method::Invite, uri: "sip:a@b", body: b"" };
    let value = client.authorize(protected, &mut Entropy::seeded(1)).map(|(_, value)| value);
    let value = value.unwrap_or_default();
    assert!(!value.contains(['\r', '\n']), "a line of a peer in our header: {value:?}");
    let said = Challenge::parse_all(value.as_bytes());
    let [said] = said.as_slice() else { unreachable!("one answer: {value:?}") };
    assert_eq!(said.get("username"), Some("a\"b"), "{value:?}");
    let challenges = response.challenges();
    // A quoted string holds no control character (RFC 3261 section 25.1): none is said back.
    let values =
        challenges.iter().flat_map(|c| ["realm", "nonce", "opaque"].map(|name| c.get(name)));
    if values.flatten().any(|value| value.contains(char::is_control)) {
        return;
    }
    let same =
        |name| challenges.iter().any(|c| c.get(name).unwrap_or("") == said.get(name).unwrap_or(""));
    assert!(same("realm") && same("nonce") && same("opaque"), "{challenges:?} {value:?}");
}
