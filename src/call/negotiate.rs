//! Offer and answer for the call's one stream: joins `sdp` (what was agreed) and `media` (what to do with it).

use std::net::SocketAddr;

use bytes::Bytes;

use super::{DtmfWay, MediaPolicy};
use crate::media::{MediaDirection, SourcePolicy, StreamFormat};
use crate::sdp::{CodecOrder, Direction, Local, Negotiated, SdpError, Session};
use crate::types::{Entropy, Fingerprint, SrtpPolicy};

/// One call's offers and answers.
pub struct Negotiation {
    session: Session,
    agreed: Option<Negotiated>,
    description: Bytes,
    /// What we want: to send only while the caller is on hold.
    wanted: Direction,
    /// Keys go out as tones, whatever the peer has.
    tones: bool,
}

impl Negotiation {
    /// Nothing is agreed yet; our audio will be at `local`. `certificate` is asked for where the policy encrypts.
    pub fn new(
        local: SocketAddr,
        policy: &MediaPolicy,
        certificate: impl FnOnce() -> Option<Fingerprint>,
        entropy: &mut Entropy,
    ) -> Self {
        let encrypts = policy.srtp != SrtpPolicy::Disabled;
        let local = Local {
            codecs: policy.codecs.clone(),
            order: CodecOrder::Theirs,
            srtp: policy.srtp,
            keying: policy.keying,
            fingerprint: encrypts.then(certificate).flatten(),
            ..Local::new(local)
        };
        Self {
            session: Session::new(local, entropy),
            agreed: None,
            description: Bytes::new(),
            wanted: Direction::SendRecv,
            tones: policy.dtmf == DtmfWay::Tones,
        }
    }

    /// Answers their offer; [`Self::local_description`] is then the body to send.
    ///
    /// # Errors
    /// Says why there is no agreement. What was agreed before stands.
    pub fn receive_offer(&mut self, offer: &[u8]) -> Result<(), SdpError> {
        let answer = self.session.answer(offer, self.wanted)?;
        self.description = Bytes::from(answer.body);
        self.agreed = Some(answer.negotiated);
        Ok(())
    }

    /// Makes our offer.
    pub fn make_offer(&mut self) -> Bytes {
        self.description = Bytes::from(self.session.offer(self.wanted));
        self.description.clone()
    }

    /// Whether our offer lets the other side begin a DTLS handshake, which may come before its answer.
    pub fn offers_dtls(&self) -> bool {
        self.session.offers_dtls()
    }

    /// Takes their answer to our offer. Early answers may come several times.
    ///
    /// # Errors
    /// Says why there is no agreement. What was agreed before stands.
    pub fn receive_answer(&mut self, answer: &[u8]) -> Result<(), SdpError> {
        self.agreed = Some(self.session.accept_answer(answer)?);
        Ok(())
    }

    /// Takes their answer to our last description, which went out again for the session timer. Codecs and
    /// payload types stand; whether anything else has changed: where audio goes, in which direction, and with which keys.
    ///
    /// # Errors
    /// Says why there is no agreement. What was agreed before stands.
    pub fn receive_refresh(&mut self, answer: &[u8]) -> Result<bool, SdpError> {
        self.session.offer_again();
        let fresh = self.session.accept_answer(answer)?;
        let Some(agreed) = &mut self.agreed else { return Ok(false) };
        let said = |of: &Negotiated| {
            (of.remote_rtp, of.remote_rtcp, of.direction, of.srtp, of.dtls, of.ice)
        };
        let is_changed = said(agreed) != said(&fresh);
        agreed.remote_rtp = fresh.remote_rtp;
        agreed.remote_rtcp = fresh.remote_rtcp;
        agreed.direction = fresh.direction;
        agreed.srtp = fresh.srtp;
        agreed.dtls = fresh.dtls;
        agreed.ice = fresh.ice;
        Ok(is_changed)
    }

    /// Whether our next descriptions put the other side on hold (RFC 3264 section 8.4).
    pub fn hold(&mut self, on: bool) {
        self.wanted = if on { Direction::SendOnly } else { Direction::SendRecv };
    }

    /// The last body we made.
    pub fn local_description(&self) -> Bytes {
        self.description.clone()
    }

    /// Whether an offer has met an answer.
    pub fn is_complete(&self) -> bool {
        self.agreed.is_some()
    }

    /// Whether audio is encrypted, once agreed.
    pub fn is_encrypted(&self) -> bool {
        self.agreed.is_some_and(|agreed| agreed.srtp.is_some() || agreed.dtls.is_some())
    }

    /// Whether the other side has put us on hold: it does not want our audio.
    pub fn is_held(&self) -> bool {
        self.agreed.is_some_and(|agreed| !agreed.direction.sends())
    }

    /// What the media stream is to do, once agreed.
    pub fn format(&self, source_policy: SourcePolicy) -> Option<StreamFormat> {
        let agreed = self.agreed?;
        Some(StreamFormat {
            remote_rtp: agreed.remote_rtp,
            remote_rtcp: agreed.remote_rtcp,
            codec: agreed.codec,
            alternate: agreed.alternate,
            send_ptime_ms: agreed.send_ptime_ms(),
            send_payload_type: agreed.send_payload_type,
            dtmf_receive_pt: agreed.dtmf_receive_pt,
            dtmf_send_pt: agreed.dtmf_send_pt.filter(|_| !self.tones),
            dtmf_clock_rate: agreed.dtmf_clock_rate,
            direction: match agreed.direction {
                Direction::SendRecv => MediaDirection::SendRecv,
                Direction::SendOnly => MediaDirection::SendOnly,
                Direction::RecvOnly => MediaDirection::RecvOnly,
                Direction::Inactive => MediaDirection::Inactive,
            },
            source_policy,
            srtp: agreed.srtp,
            dtls: agreed.dtls,
            ice: agreed.ice,
        })
    }
}

/// The SIP status that refuses an offer for this reason.
pub fn status_of(error: SdpError) -> u16 {
    match error {
        SdpError::Malformed(_) => 400,
        SdpError::TooLarge(_) => 413,
        SdpError::NoCommonCodec
        | SdpError::NoCommonCrypto
        | SdpError::NoAudio
        | SdpError::Family
        | SdpError::Address => 488,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::types::{CodecName, SrtpKeying};

    fn side(port: u16, seed: u64) -> Negotiation {
        let policy = MediaPolicy {
            codecs: vec![CodecName::Pcmu],
            srtp: SrtpPolicy::Required,
            keying: SrtpKeying::default(),
            dtmf: DtmfWay::Events,
            source_policy: SourcePolicy::Strict,
            advertised: None,
        };
        let local = SocketAddr::from(([127, 0, 0, 1], port));
        Negotiation::new(local, &policy, || None, &mut Entropy::seeded(seed))
    }

    /// A gateway may make new keys for every answer, also for one that only keeps the session alive.
    #[test]
    fn new_keys_of_a_refresh_are_taken() {
        let (mut ours, mut theirs) = (side(4_000, 1), side(5_000, 2));
        theirs.receive_offer(&ours.make_offer()).unwrap();
        ours.receive_answer(&theirs.local_description()).unwrap();
        let keys = |side: &Negotiation| side.format(SourcePolicy::Strict).unwrap().srtp.unwrap();
        let before = keys(&ours);
        assert_eq!((before.send, before.receive), (keys(&theirs).receive, keys(&theirs).send));
        theirs.receive_offer(&ours.local_description()).unwrap();
        assert_eq!(ours.receive_refresh(&theirs.local_description()), Ok(false));
        assert_eq!(keys(&ours), before);
        let mut theirs = side(5_000, 3);
        theirs.receive_offer(&ours.local_description()).unwrap();
        assert_eq!(ours.receive_refresh(&theirs.local_description()), Ok(true));
        assert_eq!(keys(&ours).receive, keys(&theirs).send);
        assert_ne!(keys(&ours).receive, before.receive);
        assert_eq!(keys(&ours).send, before.send);
    }
}
