//! One DTLS handshake (RFC 6347) and the keys of SRTP it leads to (RFC 5764): the only file that names `rtc-dtls`.
//!
//! Sans-IO: datagrams and the time go in, datagrams and at last keys come out. A certificate is nobody's word but
//! its own; what counts is that its fingerprint is the one of the peer's SDP (RFC 5763 section 5), which is
//! checked before a key is exported. What the library sees of a peer passes [`guard`] first.

mod guard;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::providers::RingProvider;
use rtc_dtls::crypto_provider::{CryptoError, RTCCrypto, RTCCryptoProvider, RTCRandom};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use sha2::{Digest, Sha256};

use crate::types::{DtlsRole, Fingerprint, SrtpKey, SrtpKeys, SrtpSuite};
use guard::Guard;

pub(super) use guard::{COOKIE_BYTES, Hello, hello, is_first_of_server, verify_request};

/// Octets of a datagram of ours: what crosses every tunnel.
const MTU_BYTES: usize = 1_200;
/// A flight goes out again after this long, seven times. RFC 6347 section 4.2.4.1 has a second for a start, which is
/// a second of silence in a call whose first datagram came too early or not at all; half of this would double what
/// a peer far away gets twice.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(400);
/// A peer that repeats itself gets our last flight again, so often at most.
const REPEAT_GAP: Duration = Duration::from_millis(100);
/// How often what a peer may send is counted anew.
const REFILL: Duration = Duration::from_secs(1);
/// What keys are exported under (RFC 5764 section 4.2).
const LABEL: &str = "EXTRACTOR-dtls_srtp";
/// The library keeps peers apart by address; here each handshake has one of its own.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// Most wanted first: they encrypt with what protects the packets afterwards.
const SUITES: [CipherSuiteId; 4] = [
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
    CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
    CipherSuiteId::Tls_Ecdhe_Rsa_With_ChaCha20_Poly1305_Sha256,
];

/// Profiles of SRTP, most wanted first, and what they are here.
const PROFILES: [(SrtpProtectionProfile, SrtpSuite); 4] = [
    (SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm, SrtpSuite::AeadAes256Gcm),
    (SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, SrtpSuite::AeadAes128Gcm),
    (SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, SrtpSuite::AesCm128HmacSha1_80),
    (SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32, SrtpSuite::AesCm128HmacSha1_32),
];

/// Why a handshake came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer's certificate is not the one its SDP names.
    #[error("another certificate than the session description names")]
    Fingerprint,
    /// No profile of SRTP in common.
    #[error("no SRTP protection profile in common")]
    Profile,
    /// The peer took back what it had begun.
    #[error("the peer closed the association")]
    Closed,
    /// Everything else.
    #[error("{0}")]
    Protocol(String),
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// Our certificate, signed by itself, and its key.
pub struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    fingerprint: Fingerprint,
}

impl Identity {
    /// Makes one: ECDSA with P-256.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, HandshakeError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(RingProvider::new());
        let name = vec!["localhost".to_owned()];
        let certificate = Certificate::generate_self_signed(name, provider.crypto())?;
        let der = certificate.certificate.first();
        let der = der.ok_or_else(|| HandshakeError::Protocol("no certificate".to_owned()))?;
        let fingerprint = fingerprint_of(der);
        Ok(Self { provider, certificate, fingerprint })
    }

    /// Its fingerprint, for SDP.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

/// The library's cryptography, with a cookie of ours: it makes one where it asks for so many random octets, and for
/// so many only then.
struct WithCookie {
    base: Arc<dyn RTCCryptoProvider>,
    cookie: [u8; COOKIE_BYTES],
}

impl RTCCryptoProvider for WithCookie {
    fn name(&self) -> &'static str {
        self.base.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self.base.crypto()
    }

    fn random(&self) -> &dyn RTCRandom {
        self
    }
}

impl RTCRandom for WithCookie {
    fn fill(&self, output: &mut [u8]) -> Result<(), CryptoError> {
        if output.len() == COOKIE_BYTES {
            output.copy_from_slice(&self.cookie);
            return Ok(());
        }
        self.base.random().fill(output)
    }
}

fn fingerprint_of(certificate: &[u8]) -> Fingerprint {
    Fingerprint::new(Sha256::digest(certificate).into())
}

/// One handshake with one peer.
pub struct Handshake {
    endpoint: Endpoint,
    guard: Guard,
    role: DtlsRole,
    peer: Fingerprint,
    mismatch: Arc<AtomicBool>,
    is_done: bool,
    sent_at: Option<Instant>,
    refilled_at: Instant,
}

impl Handshake {
    /// Begins as the client, with something to send at once. `peer` is what the server's certificate must be.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn client(
        now: Instant,
        identity: &Identity,
        peer: Fingerprint,
    ) -> Result<Self, HandshakeError> {
        let provider = Arc::clone(&identity.provider);
        Self::new(now, (identity, provider), DtlsRole::Client, peer)
    }

    /// Begins as the server of a client that was asked to bring back this cookie.
    ///
    /// # Errors
    /// When the library does not take its settings.
    pub fn server(
        now: Instant,
        identity: &Identity,
        peer: Fingerprint,
        cookie: [u8; COOKIE_BYTES],
    ) -> Result<Self, HandshakeError> {
        let provider = WithCookie { base: Arc::clone(&identity.provider), cookie };
        Self::new(now, (identity, Arc::new(provider)), DtlsRole::Server, peer)
    }

    fn new(
        now: Instant,
        (identity, provider): (&Identity, Arc<dyn RTCCryptoProvider>),
        role: DtlsRole,
        peer: Fingerprint,
    ) -> Result<Self, HandshakeError> {
        let mismatch = Arc::new(AtomicBool::new(false));
        let config = config((identity, provider), role, peer, &mismatch)?;
        let (endpoint, guard) = match role {
            DtlsRole::Client => {
                let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
                endpoint.connect(now, PEER, Arc::new(config), None)?;
                (endpoint, Guard::default())
            }
            DtlsRole::Server => {
                let config = Some(Arc::new(config));
                (Endpoint::new(PEER, TransportProtocol::UDP, config), Guard::of_server())
            }
        };
        Ok(Self {
            endpoint,
            guard,
            role,
            peer,
            mismatch,
            is_done: false,
            sent_at: None,
            refilled_at: now,
        })
    }

    /// Takes a datagram of the peer; the keys, once.
    ///
    /// # Errors
    /// Says why nothing will come of it. What is to be sent still is.
    pub fn handle(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Option<SrtpKeys>, HandshakeError> {
        if now.saturating_duration_since(self.refilled_at) >= REFILL {
            self.refilled_at = now;
            self.guard.refill();
        }
        let sifted = self.guard.sift(datagram);
        if let Some(hello) = sifted.first_hello {
            let read = self.endpoint.read(now, PEER, None, BytesMut::from(hello.as_slice()));
            read.map_err(|error| self.error_of(error))?;
            // It asks for the cookie, which is on its way behind.
            while self.endpoint.poll_transmit().is_some() {}
        }
        let mut keys = None;
        for record in sifted.records {
            let events = self.endpoint.read(now, PEER, None, BytesMut::from(record.as_slice()));
            let events = match events {
                Ok(events) => events,
                // Nothing that comes later takes keys back.
                Err(_) if self.is_done => return Ok(keys),
                Err(error) => return Err(self.error_of(error)),
            };
            for event in events {
                match event {
                    EndpointEvent::HandshakeComplete if !self.is_done => {
                        keys = Some(self.export()?);
                        self.is_done = true;
                    }
                    EndpointEvent::PeerClosed if !self.is_done => {
                        return Err(HandshakeError::Closed);
                    }
                    _ => {}
                }
            }
        }
        if sifted.repeats && !self.is_done {
            self.repeat(now)?;
        }
        Ok(keys)
    }

    /// Does what is due.
    ///
    /// # Errors
    /// When the peer has been silent for too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        if self.next_timeout().is_none_or(|at| now < at) {
            return Ok(());
        }
        Ok(self.endpoint.handle_timeout(PEER, now)?)
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&PEER).filter(|_| !self.is_done)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        let sent = self.endpoint.poll_transmit()?;
        self.sent_at = Some(sent.now);
        Some(sent.message)
    }

    /// The alert in the clear that came last (RFC 5246 section 7.2); it may be forged.
    pub fn alert(&self) -> Option<u8> {
        self.guard.alert()
    }

    /// The peer has not heard our last flight.
    fn repeat(&mut self, now: Instant) -> Result<(), HandshakeError> {
        let soon = self.sent_at.is_some_and(|at| now < at + REPEAT_GAP);
        let Some(at) = self.endpoint.poll_timeout(&PEER).filter(|_| !soon) else { return Ok(()) };
        Ok(self.endpoint.handle_timeout(PEER, now.max(at))?)
    }

    fn error_of(&self, error: Error) -> HandshakeError {
        if self.mismatch.load(Ordering::Relaxed) {
            return HandshakeError::Fingerprint;
        }
        match error {
            Error::ErrServerNoMatchingSrtpProfile
            | Error::ErrClientNoMatchingSrtpProfile
            | Error::ErrRequestedButNoSrtpExtension => HandshakeError::Profile,
            error => error.into(),
        }
    }

    /// The keys of both directions: of the client, of the server, then their salts (RFC 5764 section 4.2).
    fn export(&self) -> Result<SrtpKeys, HandshakeError> {
        let none = || HandshakeError::Protocol("no association".to_owned());
        let state = self.endpoint.get_connection_state(PEER).ok_or_else(none)?;
        // The library asks while it verifies signatures; this is the word that counts.
        let proven = state.peer_certificates.first().map(|der| fingerprint_of(der));
        if proven != Some(self.peer) {
            return Err(HandshakeError::Fingerprint);
        }
        let chosen = state.srtp_protection_profile();
        let suite = PROFILES.iter().find(|(profile, _)| *profile == chosen);
        let suite = suite.map(|(_, suite)| *suite).ok_or(HandshakeError::Profile)?;
        let (key, salt) = (suite.key_bytes(), suite.salt_bytes());
        let material = state.export_keying_material(LABEL, &[], 2 * (key + salt))?;
        let octets: &[u8] = material.as_ref();
        let of = |side: usize| {
            let key_at = side * key;
            let salt_at = 2 * key + side * salt;
            let parts = [octets.get(key_at..key_at + key)?, octets.get(salt_at..salt_at + salt)?];
            SrtpKey::new(suite, &parts.concat())
        };
        let short = || HandshakeError::Protocol("keying material is short".to_owned());
        let (client, server) = of(0).zip(of(1)).ok_or_else(short)?;
        Ok(match self.role {
            DtlsRole::Client => SrtpKeys { send: client, receive: server },
            DtlsRole::Server => SrtpKeys { send: server, receive: client },
        })
    }
}

fn config(
    (identity, provider): (&Identity, Arc<dyn RTCCryptoProvider>),
    role: DtlsRole,
    peer: Fingerprint,
    mismatch: &Arc<AtomicBool>,
) -> Result<HandshakeConfig, HandshakeError> {
    let mismatch = Arc::clone(mismatch);
    let builder = ConfigBuilder::default()
        .with_crypto_provider(provider)
        .with_certificates(vec![identity.certificate.clone()])
        .with_cipher_suites(SUITES.to_vec())
        .with_srtp_protection_profiles(PROFILES.iter().map(|(profile, _)| *profile).collect())
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_flight_interval(FLIGHT_INTERVAL)
        .with_mtu(MTU_BYTES)
        // It is said to whoever is called, and says nothing.
        .with_server_name("localhost".to_owned())
        // There is no chain to an authority: the fingerprint decides.
        .with_insecure_skip_verify(true)
        .with_verify_peer_certificate(Some(Arc::new(move |chain: &[Vec<u8>], _: &_| {
            if chain.first().map(|der| fingerprint_of(der)) == Some(peer) {
                return Ok(());
            }
            mismatch.store(true, Ordering::Relaxed);
            Err(Error::Other("fingerprint".to_owned()))
        })));
    Ok(builder.build(role == DtlsRole::Client, Some(PEER))?)
}

#[cfg(test)]
mod tests;
