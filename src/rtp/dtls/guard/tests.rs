//! What passes and what does not.

use super::*;

const VERSION: [u8; 2] = [0xfe, 0xfd];

fn record_of(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, VERSION[0], VERSION[1]];
    record.extend_from_slice(&epoch.to_be_bytes());
    record.extend_from_slice(&[0; 6]);
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

/// A fragment that says `len`, `offset` and `here` of itself.
fn fragment_of(kind: u8, number: u16, says: (u32, u32, u32), body: &[u8]) -> Vec<u8> {
    let (len, offset, here) = says;
    let mut out = vec![kind];
    out.extend_from_slice(&len.to_be_bytes()[1..]);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&offset.to_be_bytes()[1..]);
    out.extend_from_slice(&here.to_be_bytes()[1..]);
    out.extend_from_slice(body);
    out
}

fn message(kind: u8, number: u16, body: &[u8]) -> Vec<u8> {
    let len = body.len() as u32;
    record_of(HANDSHAKE, 0, &fragment_of(kind, number, (len, 0, len), body))
}

/// Number and body of a handshake record that passed.
fn read(passed: &[u8]) -> (u16, Vec<u8>) {
    let (record, behind) = record(passed).expect("a record");
    assert!(behind.is_empty() && record.epoch == 0 && record.kind == HANDSHAKE);
    let (fragment, behind) = fragment(record.body).expect("a fragment");
    assert!(behind.is_empty() && fragment.offset == 0 && fragment.body.len() == fragment.len);
    (fragment.number, fragment.body.to_vec())
}

#[test]
fn fragments_pass_as_whole_messages_in_order() {
    let mut guard = Guard::default();
    let later = message(12, 1, b"key exchange");
    assert_eq!(guard.sift(&later), Sifted::default());
    let body: Vec<u8> = (0..100).collect();
    let part = |from: usize, to: usize| {
        let says = (100, from as u32, (to - from) as u32);
        record_of(HANDSHAKE, 0, &fragment_of(11, 0, says, &body[from..to]))
    };
    assert_eq!(guard.sift(&part(60, 100)), Sifted::default());
    assert_eq!(guard.sift(&part(30, 70)), Sifted::default());
    let sifted = guard.sift(&part(0, 30));
    let passed: Vec<_> = sifted.records.iter().map(|record| read(record)).collect();
    assert_eq!(passed, [(0, body.clone()), (1, b"key exchange".to_vec())]);
    assert!(!sifted.repeats);
    // Each has a number of its own.
    assert!(sifted.records[0][10] == 0 && sifted.records[1][10] == 1);
    let again = guard.sift(&[part(0, 100), later].concat());
    assert_eq!(again, Sifted { repeats: true, ..Sifted::default() });
}

/// A hello: version, random number, no session, a cookie, and something behind.
fn hello_body(cookie: &[u8]) -> Vec<u8> {
    [&VERSION[..], &[7; 32], &[0, cookie.len() as u8], cookie, b"suites and so on"].concat()
}

#[test]
fn a_hello_with_its_cookie_is_seen_without_it_first() {
    let cookie = [9; COOKIE_BYTES];
    let first = message(CLIENT_HELLO, 0, &hello_body(&[]));
    let second = message(CLIENT_HELLO, 1, &hello_body(&cookie));
    let said = |cookie: &[u8]| Some(Hello { random: [7; 32], cookie: cookie.to_vec() });
    assert_eq!(hello(&first), said(&[]));
    assert_eq!(hello(&second), said(&cookie));
    assert_eq!(hello(&message(2, 0, &hello_body(&[]))), None);
    assert_eq!(hello(&message(CLIENT_HELLO, 0, &hello_body(&cookie)[..40])), None);
    let mut guard = Guard::of_server();
    assert_eq!(guard.sift(&first), Sifted { repeats: true, ..Sifted::default() });
    let sifted = guard.sift(&second);
    let seen = sifted.first_hello.as_deref().map(read);
    assert_eq!(seen, Some((0, hello_body(&[]))));
    let passed: Vec<_> = sifted.records.iter().map(|record| read(record)).collect();
    assert_eq!(passed, [(1, hello_body(&cookie))]);
    assert_eq!(guard.sift(&second), Sifted { repeats: true, ..Sifted::default() });
    // What asks for it is a message that every client reads.
    let (number, body) = read(&verify_request(&cookie));
    assert_eq!((number, body), (0, [&VERSION[..], &[20], &cookie].concat()));
}

/// Fragments that lie, that are empty, that make a chain the library would follow: none reaches it.
#[test]
fn fragments_that_lie_do_nothing() {
    let mut guard = Guard::default();
    for says in [
        (0, 0, 1),
        (0, 1, 1),
        (4, 1, 4),
        (4, 0xff_ffff, 4),
        (0xff_ffff, 0, 4),
        (9_000, 0, 4),
        (4, 0, 0),
        (4, 0, 0xff_ffff),
    ] {
        let lie = record_of(HANDSHAKE, 0, &fragment_of(1, 0, says, b"body"));
        assert_eq!(guard.sift(&lie), Sifted::default(), "{says:?}");
    }
    let mut chain = Vec::new();
    for offset in 0..150 {
        chain.extend_from_slice(&fragment_of(1, 0, (0, offset, 1), &[]));
    }
    assert_eq!(guard.sift(&record_of(HANDSHAKE, 0, &chain)), Sifted::default());
    // What is kept is bounded: messages far ahead are not.
    for number in 0..u16::MAX {
        guard.sift(&record_of(HANDSHAKE, 0, &fragment_of(11, number, (8_000, 0, 1), b"x")));
    }
    assert_eq!(guard.waiting.iter().flatten().count(), WINDOW);
}

#[test]
fn a_handshake_without_end_is_cut() {
    let mut guard = Guard::default();
    let passed: usize =
        (0..1_000).map(|number| guard.sift(&message(11, number, b"more")).records.len()).sum();
    assert_eq!(passed, usize::from(MESSAGES_MAX));
    let change = record_of(CHANGE_CIPHER_SPEC, 0, &[1]);
    let passed: usize = (0..100).map(|_| guard.sift(&change).records.len()).sum();
    assert_eq!(passed, usize::from(CHANGES_MAX));
}

#[test]
fn only_so_much_is_taken_that_nobody_can_read() {
    let mut guard = Guard::default();
    let encrypted = record_of(HANDSHAKE, 1, &[9; 48]);
    for _ in 0..2 {
        let passed: usize = (0..100).map(|_| guard.sift(&encrypted).records.len()).sum();
        assert_eq!(passed, usize::from(ENCRYPTED_MAX));
        guard.refill();
    }
    assert!(guard.sift(&record_of(HANDSHAKE, 1, &[9; 1_000])).records.is_empty());
    assert!(guard.sift(&record_of(HANDSHAKE, 2, &[9; 48])).records.is_empty());
}

#[test]
fn what_anybody_can_forge_does_not_pass() {
    let mut guard = Guard::default();
    assert_eq!(guard.sift(&record_of(ALERT, 0, &[2, 40])), Sifted::default());
    assert_eq!(guard.alert(), Some(40));
    assert_eq!(guard.sift(&record_of(23, 0, b"data")), Sifted::default());
    assert_eq!(guard.sift(&record_of(99, 0, b"data")), Sifted::default());
    let whole = message(11, 0, b"certificate");
    for len in 0..whole.len() {
        assert_eq!(guard.sift(&whole[..len]), Sifted::default(), "{len}");
    }
    assert_eq!(guard.sift(&whole).records.len(), 1);
}
