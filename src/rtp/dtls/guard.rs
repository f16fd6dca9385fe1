//! What of a peer's datagrams reaches the handshake (RFC 6347), because the library behind it trusts them.
//!
//! Records of epoch 0 are in the clear: anybody can write them. Of these, whole handshake messages pass, each
//! once and in order, put together here within limits; alerts and application data do not. So a fragment that
//! lies about its length, thousands of empty ones, or a message that comes again do nothing (why: decision 0020).
//! Encrypted records pass as they are, so many a second: what is not authentic the library drops.
//!
//! A client shows first that it is where it says (RFC 6347 section 4.2.1). Here that needs no state: its hello is
//! answered with a cookie made of its address ([`verify_request`]), and a handshake begins with the hello that brings
//! it back. The library, which wants to have made the cookie itself, sees that hello twice: at first without it.

use std::ops::Range;

/// Octets of a record's header.
const RECORD_HEADER_BYTES: usize = 13;
/// Octets of a handshake message's header.
const MESSAGE_HEADER_BYTES: usize = 12;
/// The largest message: a certificate of RSA with 8,192 bits and two above it fit.
const MESSAGE_BYTES_MAX: usize = 8 * 1_024;
/// Messages of one side in a whole handshake are 6; some peers add one or two.
const MESSAGES_MAX: u16 = 16;
/// Messages that may come before the one that is next: a flight has 5.
const WINDOW: usize = 6;
/// Encrypted records taken in a second: a handshake needs 1, or as many as times it comes again.
const ENCRYPTED_MAX: u8 = 16;
/// An encrypted record of a handshake: Finished has 61 octets, an alert 39.
const ENCRYPTED_BYTES_MAX: usize = 256;
/// Records that say that what follows is encrypted; one is needed.
const CHANGES_MAX: u8 = 4;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// Octets of a cookie of ours.
pub(in crate::rtp) const COOKIE_BYTES: usize = 20;
/// Version and random number of a hello.
const HELLO_START_BYTES: usize = 34;

/// What passes of one datagram.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sifted {
    /// A hello as it was without its cookie; what answers it is not for the peer.
    pub(super) first_hello: Option<Vec<u8>>,
    /// Records, one each.
    pub(super) records: Vec<Vec<u8>>,
    /// There were messages that came before: the peer has not heard our last flight.
    pub(super) repeats: bool,
}

/// Sifts the datagrams of one peer.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Number of the message that is next.
    next: u16,
    /// Messages from there on that are not whole.
    waiting: [Option<Message>; WINDOW],
    /// Records of epoch 0 that passed; the library sees them numbered anew.
    passed: u64,
    changes: u8,
    encrypted: u8,
    alert: Option<u8>,
}

/// One record of a datagram.
#[derive(Clone, Copy)]
struct Record<'a> {
    kind: u8,
    version: [u8; 2],
    epoch: u16,
    body: &'a [u8],
    whole: &'a [u8],
}

/// Part of a handshake message.
#[derive(Clone, Copy)]
struct Fragment<'a> {
    kind: u8,
    len: usize,
    number: u16,
    offset: usize,
    body: &'a [u8],
}

/// A handshake message while it is put together.
#[derive(Debug)]
struct Message {
    kind: u8,
    version: [u8; 2],
    body: Vec<u8>,
    have: Vec<bool>,
}

impl Guard {
    /// Before a server, which has nothing to do with a client's first hello.
    pub(super) fn of_server() -> Self {
        Self { next: 1, ..Self::default() }
    }

    /// Takes a datagram apart.
    pub(super) fn sift(&mut self, datagram: &[u8]) -> Sifted {
        let mut sifted = Sifted::default();
        let mut rest = datagram;
        while let Some((record, behind)) = record(rest) {
            rest = behind;
            match (record.epoch, record.kind) {
                (0, HANDSHAKE) => self.messages(record, &mut sifted),
                (0, CHANGE_CIPHER_SPEC) if self.changes < CHANGES_MAX => {
                    self.changes += 1;
                    let numbered = self.numbered(record.kind, record.version, record.body);
                    sifted.records.extend(numbered);
                }
                // It may be forged: it is kept for whoever asks why nothing came of it.
                (0, ALERT) => self.alert = record.body.get(1).copied().or(self.alert),
                (1, _)
                    if self.encrypted < ENCRYPTED_MAX
                        && record.whole.len() <= ENCRYPTED_BYTES_MAX =>
                {
                    self.encrypted += 1;
                    sifted.records.push(record.whole.to_vec());
                }
                _ => {}
            }
        }
        sifted
    }

    /// A second is over.
    pub(super) fn refill(&mut self) {
        self.encrypted = 0;
    }

    /// The alert in the clear that came last.
    pub(super) fn alert(&self) -> Option<u8> {
        self.alert
    }

    fn messages(&mut self, record: Record<'_>, sifted: &mut Sifted) {
        let mut rest = record.body;
        while let Some((fragment, behind)) = fragment(rest) {
            rest = behind;
            let Some(ahead) = fragment.number.checked_sub(self.next) else {
                sifted.repeats = true;
                continue;
            };
            if fragment.number >= MESSAGES_MAX {
                continue;
            }
            if let Some(slot) = self.waiting.get_mut(usize::from(ahead)) {
                slot.get_or_insert_with(|| Message::empty(fragment, record.version)).add(fragment);
            }
            self.pass_whole(sifted);
        }
    }

    fn pass_whole(&mut self, sifted: &mut Sifted) {
        let whole = |slot: &mut Option<Message>| slot.take_if(|message| message.is_whole());
        while let Some(message) = self.waiting.first_mut().and_then(whole) {
            if message.kind == CLIENT_HELLO && self.next == 1 {
                let first = Message { body: without_cookie(&message.body), ..message.like() };
                sifted.first_hello = self.passed(0, &first);
            }
            sifted.records.extend(self.passed(self.next, &message));
            self.waiting.rotate_left(1);
            self.next += 1;
        }
    }

    /// A whole message in a record of its own.
    fn passed(&mut self, number: u16, message: &Message) -> Option<Vec<u8>> {
        let len = u32::try_from(message.body.len()).ok()?.to_be_bytes();
        let len = len.get(1..)?;
        let mut body = vec![message.kind];
        body.extend_from_slice(len);
        body.extend_from_slice(&number.to_be_bytes());
        body.extend_from_slice(&[0; 3]);
        body.extend_from_slice(len);
        body.extend_from_slice(&message.body);
        self.numbered(HANDSHAKE, message.version, &body)
    }

    fn numbered(&mut self, kind: u8, version: [u8; 2], body: &[u8]) -> Option<Vec<u8>> {
        let len = u16::try_from(body.len()).ok()?;
        let mut record = vec![kind];
        record.extend_from_slice(&version);
        // Epoch 0, then 48 bits.
        record.extend_from_slice(&self.passed.to_be_bytes());
        record.extend_from_slice(&len.to_be_bytes());
        record.extend_from_slice(body);
        self.passed += 1;
        Some(record)
    }
}

impl Message {
    fn empty(fragment: Fragment<'_>, version: [u8; 2]) -> Self {
        let (body, have) = (vec![0; fragment.len], vec![false; fragment.len]);
        Self { kind: fragment.kind, version, body, have }
    }

    /// Another one of its kind.
    fn like(&self) -> Self {
        Self { kind: self.kind, version: self.version, body: Vec::new(), have: Vec::new() }
    }

    /// Takes a fragment over, if it is of this message.
    fn add(&mut self, fragment: Fragment<'_>) {
        if fragment.kind != self.kind || fragment.len != self.body.len() {
            return;
        }
        let range = fragment.offset..fragment.offset + fragment.body.len();
        if let (Some(body), Some(have)) =
            (self.body.get_mut(range.clone()), self.have.get_mut(range))
        {
            body.copy_from_slice(fragment.body);
            have.fill(true);
        }
    }

    fn is_whole(&self) -> bool {
        self.have.iter().all(|have| *have)
    }
}

fn record(datagram: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (header, behind) = datagram.split_first_chunk::<RECORD_HEADER_BYTES>()?;
    let [kind, major, minor, epoch_high, epoch_low, .., len_high, len_low] = *header;
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    let (body, behind) = behind.split_at_checked(len)?;
    let whole = datagram.get(..RECORD_HEADER_BYTES + len)?;
    let epoch = u16::from_be_bytes([epoch_high, epoch_low]);
    Some((Record { kind, version: [major, minor], epoch, body, whole }, behind))
}

/// The first fragment, if it says of itself what can be.
fn fragment(body: &[u8]) -> Option<(Fragment<'_>, &[u8])> {
    let (header, behind) = body.split_first_chunk::<MESSAGE_HEADER_BYTES>()?;
    let [kind, l0, l1, l2, n0, n1, o0, o1, o2, f0, f1, f2] = *header;
    let number = |a, b, c| u32::from_be_bytes([0, a, b, c]) as usize;
    let (len, offset, here) = (number(l0, l1, l2), number(o0, o1, o2), number(f0, f1, f2));
    let (body, behind) = behind.split_at_checked(here)?;
    // An empty one says something of an empty message only.
    let sound = len <= MESSAGE_BYTES_MAX && offset + here <= len && (here > 0 || len == 0);
    let fragment = Fragment { kind, len, number: u16::from_be_bytes([n0, n1]), offset, body };
    sound.then_some((fragment, behind))
}

/// What a client says before it is believed to be anywhere.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rtp) struct Hello {
    /// Its random number, the same whether it has a cookie or not.
    pub(in crate::rtp) random: [u8; 32],
    /// The cookie it brings back; empty at first.
    pub(in crate::rtp) cookie: Vec<u8>,
}

/// The hello that a datagram begins with.
pub(in crate::rtp) fn hello(datagram: &[u8]) -> Option<Hello> {
    let (record, _) = record(datagram)?;
    let (fragment, _) = fragment(record.body)?;
    let is_hello = record.epoch == 0 && record.kind == HANDSHAKE && fragment.kind == CLIENT_HELLO;
    if !is_hello || fragment.offset != 0 {
        return None;
    }
    let cookie = fragment.body.get(cookie_of(fragment.body)?)?.to_vec();
    // The version comes first.
    let random = fragment.body.get(2..)?.first_chunk::<32>()?;
    Some(Hello { random: *random, cookie })
}

/// Whether a datagram is how a server begins: it asks for a cookie, or says hello.
pub(in crate::rtp) fn is_first_of_server(datagram: &[u8]) -> bool {
    let begins = || {
        let (record, _) = record(datagram)?;
        let (fragment, _) = fragment(record.body)?;
        let first = record.epoch == 0 && record.kind == HANDSHAKE && fragment.number == 0;
        Some(first && matches!(fragment.kind, SERVER_HELLO | HELLO_VERIFY_REQUEST))
    };
    begins().unwrap_or(false)
}

/// Where the cookie of a hello stands: behind version, random number and an identifier of a session.
fn cookie_of(hello: &[u8]) -> Option<Range<usize>> {
    let session = usize::from(*hello.get(HELLO_START_BYTES)?);
    let len_at = HELLO_START_BYTES + 1 + session;
    let begin = len_at + 1;
    Some(begin..begin + usize::from(*hello.get(len_at)?))
}

fn without_cookie(hello: &[u8]) -> Vec<u8> {
    let parts = || {
        let cookie = cookie_of(hello)?;
        let before = hello.get(..cookie.start.checked_sub(1)?)?;
        Some([before, &[0], hello.get(cookie.end..)?].concat())
    };
    parts().unwrap_or_default()
}

/// What asks a client to show that it is where it says. The number of the record is always the same: a client takes
/// one, and the numbers behind are the handshake's.
pub(in crate::rtp) fn verify_request(cookie: &[u8; COOKIE_BYTES]) -> Vec<u8> {
    let version = [0xfe, 0xfd];
    let mut body = version.to_vec();
    body.push(COOKIE_BYTES as u8);
    body.extend_from_slice(cookie);
    let kind = HELLO_VERIFY_REQUEST;
    let message = Message { kind, version, body, have: Vec::new() };
    Guard::default().passed(0, &message).unwrap_or_default()
}

#[cfg(test)]
mod tests;
