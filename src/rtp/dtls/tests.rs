//! Two ends in memory.

use super::*;
use crate::rtp::fuzz::origin;
use crate::types::Entropy;

const COOKIE: [u8; COOKIE_BYTES] = [7; COOKIE_BYTES];

/// What a server does with a datagram of a client: hellos without the cookie are not for a handshake.
fn serve(
    server: &mut Handshake,
    now: Instant,
    datagram: &[u8],
) -> Result<Result<Option<SrtpKeys>, Vec<u8>>, HandshakeError> {
    match hello(datagram) {
        Some(hello) if hello.cookie != COOKIE => Ok(Err(verify_request(&COOKIE))),
        _ => server.handle(now, datagram).map(Ok),
    }
}

/// A way between two ends.
struct Way {
    now: Instant,
    client: Handshake,
    server: Handshake,
    keys: [Option<SrtpKeys>; 2],
    /// Datagrams each of them sent.
    sent: [usize; 2],
}

impl Way {
    fn between(client: &Identity, server: &Identity) -> Self {
        Self::expecting((client, client.fingerprint()), (server, server.fingerprint()))
    }

    /// Each side with the certificate that the other expects of it.
    fn expecting(client: (&Identity, Fingerprint), server: (&Identity, Fingerprint)) -> Self {
        let now = origin();
        Self {
            now,
            client: Handshake::client(now, client.0, server.1).expect("a client"),
            server: Handshake::server(now, server.0, client.1, COOKIE).expect("a server"),
            keys: [None; 2],
            sent: [0; 2],
        }
    }

    /// Carries what is sent, unless `lost` says so of the n-th datagram of the client or of the server; until both
    /// have keys, or `limit` is over.
    fn run(
        &mut self,
        limit: Duration,
        mut lost: impl FnMut(DtlsRole, usize) -> bool,
    ) -> Result<(), HandshakeError> {
        let end = self.now + limit;
        while self.now < end && self.keys.iter().any(Option::is_none) {
            let mut idle = true;
            while let Some(datagram) = self.client.poll_transmit() {
                idle = false;
                self.sent[0] += 1;
                if !lost(DtlsRole::Client, self.sent[0]) {
                    match serve(&mut self.server, self.now, &datagram)? {
                        Ok(keys) => self.keys[1] = self.keys[1].or(keys),
                        Err(asks) => {
                            self.sent[1] += 1;
                            if !lost(DtlsRole::Server, self.sent[1]) {
                                self.client.handle(self.now, &asks)?;
                            }
                        }
                    }
                }
            }
            while let Some(datagram) = self.server.poll_transmit() {
                idle = false;
                self.sent[1] += 1;
                if !lost(DtlsRole::Server, self.sent[1]) {
                    let keys = self.client.handle(self.now, &datagram)?;
                    self.keys[0] = self.keys[0].or(keys);
                }
            }
            if idle {
                self.now += Duration::from_millis(20);
                self.client.handle_timeout(self.now)?;
                self.server.handle_timeout(self.now)?;
            }
        }
        Ok(())
    }

    fn agreed(&self) -> Option<SrtpKeys> {
        let [Some(client), Some(server)] = self.keys else { return None };
        assert_eq!((client.send, client.receive), (server.receive, server.send));
        assert!(client.send != client.receive);
        Some(client)
    }
}

fn identities() -> (Identity, Identity) {
    (Identity::generate().expect("an identity"), Identity::generate().expect("an identity"))
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn both_ends_export_the_same_keys() {
    let (client, server) = identities();
    let mut way = Way::between(&client, &server);
    way.run(LONG, |_, _| false).expect("a handshake");
    let keys = way.agreed().expect("keys");
    assert_eq!(keys.send.suite(), SrtpSuite::AeadAes256Gcm);
    let mut again = Way::between(&client, &server);
    again.run(LONG, |_, _| false).expect("a handshake");
    assert!(again.agreed() != Some(keys), "keys of their own");
}

#[test]
fn another_certificate_is_refused_on_either_side() {
    let (client, server) = identities();
    let other = Identity::generate().expect("an identity");
    let mut way = Way::expecting((&client, client.fingerprint()), (&server, other.fingerprint()));
    assert_eq!(way.run(LONG, |_, _| false), Err(HandshakeError::Fingerprint));
    assert_eq!(way.keys, [None; 2]);
    let mut way = Way::expecting((&client, other.fingerprint()), (&server, server.fingerprint()));
    assert_eq!(way.run(LONG, |_, _| false), Err(HandshakeError::Fingerprint));
    assert_eq!(way.keys, [None; 2]);
}

/// Each datagram is lost once, alone and together with the one after it.
#[test]
fn whatever_is_lost_comes_again() {
    let (client, server) = identities();
    for role in [DtlsRole::Client, DtlsRole::Server] {
        for first in 1..=4 {
            for count in 1..=3 {
                let mut way = Way::between(&client, &server);
                let lost = |of, number| of == role && (first..first + count).contains(&number);
                way.run(LONG, lost).expect("a handshake");
                let took = way.now.duration_since(origin());
                assert!(way.agreed().is_some(), "{role:?} {first} {count} {took:?}");
            }
        }
    }
}

#[test]
fn a_lossy_way_is_long_and_not_endless() {
    let (client, server) = identities();
    let mut finished = 0;
    for seed in 0..40 {
        let mut entropy = Entropy::seeded(seed);
        let mut way = Way::between(&client, &server);
        let run = way.run(LONG, |_, _| entropy.u32() % 100 < 20);
        finished += usize::from(run.is_ok() && way.agreed().is_some());
    }
    assert!(finished >= 39, "{finished} of 40 with a fifth of the datagrams lost");
}

#[test]
fn a_silent_peer_is_given_up() {
    let (client, server) = identities();
    let mut way = Way::between(&client, &server);
    assert!(way.run(LONG, |_, _| true).is_err());
    assert!(way.sent[0] >= 5 && way.sent[0] <= 10, "{:?}", way.sent);
}

/// A datagram with one octet changed, one cut, one sent twice: nobody panics, and the handshake either goes on or
/// fails; wrong keys never come of it.
#[test]
fn hostile_datagrams_end_nothing_else() {
    let (client, server) = identities();
    for seed in 0..15 {
        let mut entropy = Entropy::seeded(seed);
        let mut way = Way::between(&client, &server);
        let now = way.now;
        for _ in 0..12 {
            for to_server in [true, false] {
                let mut sent = Vec::new();
                let from = if to_server { &mut way.client } else { &mut way.server };
                while let Some(datagram) = from.poll_transmit() {
                    sent.push(datagram);
                }
                for datagram in sent {
                    let mut hostile = datagram.to_vec();
                    let at = entropy.u32() as usize % hostile.len();
                    match entropy.u32() % 3 {
                        0 => hostile[at] ^= 1 << (entropy.u32() % 8),
                        1 => hostile.truncate(at),
                        _ => hostile.extend_from_slice(&datagram),
                    }
                    for octets in [&hostile[..], &datagram[..], &datagram[..]] {
                        let keys = match to_server {
                            false => way.client.handle(now, octets),
                            true => match serve(&mut way.server, now, octets) {
                                Ok(Err(asks)) => way.client.handle(now, &asks),
                                Ok(Ok(keys)) => Ok(keys),
                                Err(error) => Err(error),
                            },
                        };
                        if let Ok(Some(keys)) = keys {
                            way.keys[usize::from(to_server)] = Some(keys);
                        }
                    }
                }
            }
        }
        way.agreed();
    }
}

#[test]
fn an_early_finish_of_a_lost_last_flight_comes_again() {
    let (client, server) = identities();
    let mut way = Way::between(&client, &server);
    // The server is done, and its last flight is lost, time and again.
    way.run(Duration::from_millis(1_500), |of, number| of == DtlsRole::Server && number > 2)
        .expect("a handshake");
    assert!(way.keys[1].is_some() && way.keys[0].is_none());
    way.run(LONG, |_, _| false).expect("a handshake");
    assert!(way.agreed().is_some());
}
