//! Offer and answer for one audio stream (RFC 3264), from our side of the call.
//!
//! [`Session`] keeps what must survive a re-INVITE: the `o=` identity, the last description we sent and
//! an offer of ours that waits for its answer. A failed negotiation changes nothing (RFC 3261 section
//! 14.2: the old session stands).

use std::net::SocketAddr;

use super::formats::{
    DTMF_CLOCK_RATE, DTMF_EVENTS, Dtmf, codec_of, dtmf_of, fmtp_of, is_alternate, map_of,
    maxptime_of, push_dtmf,
};
use super::model::{Connection, Description, Direction, Media, Origin};
use super::numbers::{Format, Numbers, number_in};
use super::place::remote_of;
use super::secure::{self, Profile, Security, Taken};
use super::{Crypto, SdpError, ice, parse};
use crate::types::{
    CodecName, CodecSpec, DtlsPlan, Entropy, Fingerprint, IceCredentials, SrtpKey, SrtpKeying,
    SrtpKeys, SrtpPolicy, SrtpSuite,
};

/// What we send and would like to receive (`types::audio::FRAME_MS`).
const PTIME_MS: u16 = 20;

/// Whose order of codecs decides an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodecOrder {
    /// The offer's order, filtered by ours (RFC 3264 section 6.1 recommends it).
    #[default]
    Theirs,
    /// Our order, filtered by the offer.
    Ours,
}

/// What we bring to every negotiation of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Address and port the peer shall send RTP to, as the peer sees it.
    pub rtp: SocketAddr,
    /// Port for RTCP when it is not multiplexed.
    pub rtcp_port: u16,
    /// Codecs, most wanted first.
    pub codecs: Vec<CodecName>,
    /// Whose order decides.
    pub order: CodecOrder,
    /// Whether audio is encrypted.
    pub srtp: SrtpPolicy,
    /// How our offers hand keys over.
    pub keying: SrtpKeying,
    /// Our certificate; `None`: DTLS is out of the question.
    pub fingerprint: Option<Fingerprint>,
}

impl Local {
    /// The usual codecs in their default order, RTCP on the next port, in the clear.
    pub fn new(rtp: SocketAddr) -> Self {
        Self {
            rtp,
            rtcp_port: rtp.port().saturating_add(1),
            codecs: CodecName::DEFAULT.to_vec(),
            order: CodecOrder::default(),
            srtp: SrtpPolicy::default(),
            keying: SrtpKeying::default(),
            fingerprint: None,
        }
    }
}

/// What offer and answer agreed on, seen from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Where our RTP goes. An unspecified address (old-style hold) takes neither RTP nor RTCP.
    pub remote_rtp: SocketAddr,
    /// Where our RTCP goes; equal to `remote_rtp` if multiplexed.
    pub remote_rtcp: SocketAddr,
    /// The codec, with the payload type of packets we receive.
    pub codec: CodecSpec,
    /// Another codec of the peer's answer: it may switch at any time (RFC 3264 section 7).
    pub alternate: Option<CodecSpec>,
    /// Payload type of packets we send.
    pub send_payload_type: u8,
    /// Payload type of telephone-event in packets we receive.
    pub dtmf_receive_pt: Option<u8>,
    /// Payload type of telephone-event in packets we send.
    pub dtmf_send_pt: Option<u8>,
    /// Clock of the durations of telephone-event, Hz: the codec's, or 8,000 where the peer knows no other.
    pub dtmf_clock_rate: u32,
    /// Direction from our side: what we may send and will receive.
    pub direction: Direction,
    /// Packet duration the peer asks for, bounded by its `maxptime`.
    pub remote_ptime_ms: Option<u16>,
    /// Whether RTCP shares the RTP port.
    pub rtcp_mux: bool,
    /// Keys, if audio and RTCP are encrypted with keys of SDP.
    pub srtp: Option<SrtpKeys>,
    /// How there will be keys, if they come by DTLS.
    pub dtls: Option<DtlsPlan>,
    /// What the peer's checks prove, if it says by them where our packets go.
    pub ice: Option<IceCredentials>,
}

impl Negotiated {
    /// Duration of packets we send: what the peer asks for, of what we can make, 20 ms unless it says. Opus has no
    /// frame of 30 ms.
    pub fn send_ptime_ms(&self) -> u16 {
        let wanted = self.remote_ptime_ms.unwrap_or(PTIME_MS).min(self.codec.name.ptime_ms_max());
        let made = [60, 40, 30, 20]
            .into_iter()
            .filter(|ptime| *ptime != 30 || self.codec.name != CodecName::Opus);
        made.into_iter().find(|ptime| *ptime <= wanted).unwrap_or(10)
    }
}

/// An answer to a peer's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body to send.
    pub body: String,
    /// What it agrees to.
    pub negotiated: Negotiated,
}

/// One side of a call's offers and answers.
#[derive(Debug)]
pub struct Session {
    local: Local,
    session_id: u64,
    sent: Option<Description>,
    /// Our offer that has no answer yet.
    pending: Option<Description>,
    /// For keys of ours.
    entropy: Entropy,
    /// A key for each suite of our first offer, so that a repeated offer says the same.
    offered_keys: Vec<SrtpKey>,
    /// What the last agreement said of encryption; `None` before the first.
    secured: Option<Security>,
    /// Number of the first DTLS association: another session of the same stream has others.
    association: u32,
    /// Profile of the last agreement.
    profile: Option<String>,
    /// The codec of the last agreement.
    agreed: Option<CodecName>,
    /// What each payload type stands for.
    numbers: Numbers,
    ice: ice::Session,
}

impl Session {
    /// A session that has sent nothing yet.
    pub fn new(local: Local, entropy: &mut Entropy) -> Self {
        // 62 bits: some peers read the identifier as a signed 64-bit number.
        let session_id = entropy.u64() >> 2;
        let mut entropy = entropy.fork();
        let association = entropy.u32();
        Self {
            local,
            session_id,
            sent: None,
            pending: None,
            entropy,
            offered_keys: Vec::new(),
            secured: None,
            association,
            profile: None,
            agreed: None,
            numbers: Numbers::default(),
            ice: ice::Session::default(),
        }
    }

    /// What we bring.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Answers a peer's offer. `wanted` is the direction we would like, `SendRecv` unless we hold.
    ///
    /// # Errors
    /// Says why there is no agreement; nothing has changed then.
    pub fn answer(&mut self, offer: &[u8], wanted: Direction) -> Result<Answer, SdpError> {
        let offer = parse(offer)?;
        let (index, chosen) = self.choose(&offer)?;
        let mut negotiated = agree(&offer, chosen.media, &chosen)?;
        self.reaches(&negotiated)?;
        negotiated.direction = negotiated.direction.and(wanted);
        negotiated.ice = self.ice.agree(&offer, chosen.media, &mut self.entropy);
        let place = ice::place(negotiated.ice.is_some(), negotiated.remote_rtp);
        let security = self.security_of(chosen.taken, place);
        self.secure(security, &chosen.media.protocol, &mut negotiated);
        self.agreed = Some(negotiated.codec.name);
        let accepted = self.accepted(&chosen, &negotiated);
        self.numbers.offered(chosen.media, &accepted);
        let mut media: Vec<Media> = offer.media.iter().map(refused).collect();
        if let Some(line) = media.get_mut(index) {
            *line = accepted;
        }
        let body = self.publish(media);
        Ok(Answer { body, negotiated })
    }

    /// Our offer: for an outbound call, a delayed offer (INVITE without SDP) or a re-INVITE.
    pub fn offer(&mut self, wanted: Direction) -> String {
        // An offer may not drop m-lines of earlier descriptions (RFC 3264 section 8).
        let audio = self.offered(wanted);
        let media = match &self.sent {
            Some(sent) => {
                let active = sent.media.iter().position(|m| m.port != 0).unwrap_or(0);
                let line = |(i, m): (usize, &Media)| {
                    if i == active { audio.clone() } else { refused(m) }
                };
                sent.media.iter().enumerate().map(line).collect()
            }
            None => vec![audio],
        };
        let body = self.publish(media);
        self.pending = self.sent.clone();
        body
    }

    /// Whether our offer that waits for its answer has a certificate.
    pub fn offers_dtls(&self) -> bool {
        self.pending.iter().flat_map(|offer| &offer.media).any(|media| media.dtls.is_some())
    }

    /// Our last description goes out again as an offer, unchanged (RFC 4028 section 7.4).
    pub fn offer_again(&mut self) {
        self.pending.clone_from(&self.sent);
    }

    /// Takes the peer's answer to our last offer.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] if no offer waits or the answer does not fit it, else why there is no
    /// agreement. The offer stays pending: a later answer (RFC 3261 section 13.2.1: early media, then
    /// 200) may still fit.
    pub fn accept_answer(&mut self, answer: &[u8]) -> Result<Negotiated, SdpError> {
        let offer = self.pending.as_ref().ok_or(SdpError::Malformed("answer without offer"))?;
        let answer = parse(answer)?;
        if answer.media.len() != offer.media.len() {
            return Err(SdpError::Malformed("answer with other m-lines than the offer"));
        }
        let (ours, theirs) = offer
            .media
            .iter()
            .zip(&answer.media)
            .find(|(ours, _)| ours.port != 0)
            .ok_or(SdpError::NoAudio)?;
        if theirs.kind != ours.kind || theirs.port == 0 {
            return Err(SdpError::NoAudio);
        }
        let Some(profile) = Profile::of(&theirs.protocol) else {
            return Err(SdpError::NoCommonCodec);
        };
        let by_ice = ours.ice.is_some() && ice::is_usable(&answer, theirs);
        let place = ice::place(by_ice, remote_of(&answer, theirs)?.0);
        let security = secure::settled(ours, theirs, (self.secured, self.association), place);
        // Some answer an offer that may be encrypted (RFC 8643) with the profile that must be.
        let same = theirs.protocol.eq_ignore_ascii_case(&ours.protocol);
        if !same && (profile == Profile::Clear || security.is_none()) {
            return Err(SdpError::NoCommonCodec);
        }
        let needed = profile != Profile::Clear || self.local.srtp == SrtpPolicy::Required;
        if security.is_none() && needed {
            return Err(SdpError::NoCommonCrypto);
        }
        let mut common = theirs
            .payload_types()
            .filter_map(|pt| Some((pt, codec_of(theirs, pt)?)))
            .filter(|(_, name)| self.local.codecs.contains(name));
        let codec = common.next().ok_or(SdpError::NoCommonCodec)?;
        let number = |format| number_in(ours, format);
        let alternate = common
            .map(|(_, name)| name)
            .filter(|name| is_alternate(codec.1, *name))
            .find_map(|name| Some(CodecSpec { name, payload_type: number(Format::Codec(name))? }));
        let dtmf = dtmf_of(theirs, codec.1.clock_rate());
        let mut negotiated =
            agree(&answer, theirs, &Chosen { media: theirs, codec, dtmf, taken: Taken::Clear })?;
        self.reaches(&negotiated)?;
        // We receive what we offered, whatever number the peer uses for what it receives.
        negotiated.codec.payload_type = number(Format::Codec(codec.1)).unwrap_or(codec.0);
        negotiated.alternate = alternate;
        negotiated.dtmf_receive_pt =
            dtmf.map(|dtmf| number(Format::Events(dtmf.clock_rate)).unwrap_or(dtmf.payload_type));
        negotiated.rtcp_mux &= ours.rtcp_mux;
        negotiated.direction = negotiated.direction.and(ours.direction.unwrap_or_default());
        negotiated.ice = match &ours.ice {
            Some(_) => self.ice.agree(&answer, theirs, &mut self.entropy),
            None => None,
        };
        self.secure(security.unwrap_or(Security::Clear), &theirs.protocol, &mut negotiated);
        self.agreed = Some(negotiated.codec.name);
        self.numbers.answered(theirs);
        Ok(negotiated)
    }

    /// Our one socket reaches addresses of its own family.
    fn reaches(&self, negotiated: &Negotiated) -> Result<(), SdpError> {
        let (ours, theirs) = (self.local.rtp.ip().to_canonical(), negotiated.remote_rtp.ip());
        let same = theirs.is_unspecified() || ours.is_ipv4() == theirs.to_canonical().is_ipv4();
        if same { Ok(()) } else { Err(SdpError::Family) }
    }

    /// The offer will get no usable answer: forget it.
    pub fn withdraw_offer(&mut self) {
        self.pending = None;
    }

    /// The first audio m-line we can use.
    fn choose<'a>(&self, offer: &'a Description) -> Result<(usize, Chosen<'a>), SdpError> {
        let mut error = SdpError::NoAudio;
        let audio = |m: &Media| m.kind == "audio" && m.port != 0;
        for (index, media) in offer.media.iter().enumerate().filter(|(_, m)| audio(m)) {
            error = SdpError::NoCommonCodec;
            let Some(profile) = Profile::of(&media.protocol) else { continue };
            let taken = match secure::take(&self.local, profile, media) {
                Ok(taken) => taken,
                Err(why) => {
                    error = why;
                    continue;
                }
            };
            let mut common = media.payload_types().filter_map(|pt| {
                let name = codec_of(media, pt)?;
                Some((self.local.codecs.iter().position(|ours| *ours == name)?, (pt, name)))
            });
            let best = match self.local.order {
                CodecOrder::Theirs => common.next(),
                CodecOrder::Ours => common.min_by_key(|(rank, _)| *rank),
            };
            if let Some((_, codec)) = best {
                let dtmf = dtmf_of(media, codec.1.clock_rate());
                return Ok((index, Chosen { media, codec, dtmf, taken }));
            }
        }
        Err(error)
    }

    fn accepted(&self, chosen: &Chosen<'_>, negotiated: &Negotiated) -> Media {
        let (payload_type, name) = chosen.codec;
        let mut media = Media {
            kind: chosen.media.kind.clone(),
            port: self.local.rtp.port(),
            protocol: chosen.media.protocol.clone(),
            formats: vec![payload_type.to_string()],
            mid: chosen.media.mid.clone(),
            rtpmaps: vec![map_of(payload_type, name)],
            fmtps: fmtp_of(payload_type, name).into_iter().collect(),
            ptime_ms: Some(PTIME_MS),
            maxptime_ms: maxptime_of(&[name]),
            direction: Some(negotiated.direction),
            rtcp: (!negotiated.rtcp_mux).then_some((self.local.rtcp_port, None)),
            rtcp_mux: negotiated.rtcp_mux,
            // The tag says which of theirs we took (RFC 4568 section 5.1.2).
            crypto: match (chosen.taken, negotiated.srtp) {
                (Taken::Crypto(theirs), Some(keys)) => {
                    vec![Crypto { tag: theirs.tag, key: keys.send }]
                }
                _ => Vec::new(),
            },
            dtls: negotiated.dtls.and_then(|plan| secure::answered(&self.local, plan)),
            ice: self.ice.line(self.local.rtp),
            ..Media::default()
        };
        if let Some(dtmf) = chosen.dtmf {
            // The answer names only events the offer named too (RFC 4733 section 2.5.1.1).
            push_dtmf(&mut media, (dtmf.payload_type, dtmf.clock_rate), dtmf.events);
        }
        media
    }

    /// The keys beside their key. Ours stays as long as theirs does: packet indices go on over hold. A new
    /// one of theirs may mean a new endpoint, which knows no rollover counter of ours.
    fn keys_for(&mut self, receive: SrtpKey) -> SrtpKeys {
        match self.secured.and_then(Security::keys) {
            Some(keys) if keys.receive == receive => keys,
            _ => SrtpKeys { send: SrtpKey::generate(receive.suite(), &mut self.entropy), receive },
        }
    }

    /// What is agreed by taking something of their offer up.
    fn security_of(&mut self, taken: Taken, at: SocketAddr) -> Security {
        match taken {
            Taken::Clear => Security::Clear,
            Taken::Crypto(crypto) => Security::Sdes(self.keys_for(crypto.key)),
            Taken::Dtls(dtls) => {
                let role = secure::role_of_offer(dtls, self.secured.and_then(Security::plan));
                secure::plan((self.secured, self.association), role, dtls.fingerprint, at)
            }
        }
    }

    fn secure(&mut self, security: Security, profile: &str, negotiated: &mut Negotiated) {
        (negotiated.srtp, negotiated.dtls) = (security.keys(), security.plan());
        self.secured = Some(security);
        self.profile = Some(profile.to_owned());
    }

    /// The lines of an offer: every suite at first, then what was agreed.
    fn offered_crypto(&mut self) -> Vec<Crypto> {
        let keys = match (self.local.srtp, self.secured) {
            (SrtpPolicy::Disabled, _) | (SrtpPolicy::Optional, Some(Security::Clear)) => {
                return Vec::new();
            }
            (_, Some(Security::Sdes(keys))) => vec![keys.send],
            _ => {
                if self.offered_keys.is_empty() {
                    let generate = |suite| SrtpKey::generate(suite, &mut self.entropy);
                    self.offered_keys = SrtpSuite::ALL.into_iter().map(generate).collect();
                }
                self.offered_keys.clone()
            }
        };
        keys.into_iter().zip(1..).map(|(key, tag)| Crypto { tag, key }).collect()
    }

    fn offered(&mut self, wanted: Direction) -> Media {
        let plain = if self.local.srtp == SrtpPolicy::Required { "RTP/SAVP" } else { "RTP/AVP" };
        let dtls = secure::offered(&self.local, self.secured, self.profile.as_deref());
        let (protocol, crypto, dtls) = match dtls {
            Some((protocol, dtls)) => (protocol, Vec::new(), Some(dtls)),
            None => (plain.to_owned(), self.offered_crypto(), None),
        };
        // What is in use comes first: a hold is no reason to change the codec.
        let mut names = self.local.codecs.clone();
        names.sort_by_key(|name| Some(*name) != self.agreed);
        let numbers: Vec<(u8, CodecName)> =
            names.iter().map(|name| (self.numbers.offer(Format::Codec(*name)), *name)).collect();
        let mut media = Media {
            kind: "audio".to_owned(),
            port: self.local.rtp.port(),
            protocol,
            crypto,
            dtls,
            formats: numbers.iter().map(|(number, _)| number.to_string()).collect(),
            rtpmaps: numbers.iter().map(|(number, name)| map_of(*number, *name)).collect(),
            fmtps: numbers.iter().filter_map(|(number, name)| fmtp_of(*number, *name)).collect(),
            ptime_ms: Some(PTIME_MS),
            maxptime_ms: maxptime_of(&names),
            direction: Some(wanted),
            rtcp: Some((self.local.rtcp_port, None)),
            rtcp_mux: true,
            ice: self.ice.line(self.local.rtp),
            ..Media::default()
        };
        let mut clocks = vec![DTMF_CLOCK_RATE];
        clocks.extend(names.iter().map(|name| name.clock_rate()));
        for (n, clock) in clocks.iter().enumerate() {
            if !clocks.iter().take(n).any(|before| before == clock) {
                let number = self.numbers.offer(Format::Events(*clock));
                push_dtmf(&mut media, (number, *clock), DTMF_EVENTS);
            }
        }
        media
    }

    /// Makes `media` the description we sent last; its version rises only if something changed.
    fn publish(&mut self, media: Vec<Media>) -> String {
        let address = Connection::Ip(self.local.rtp.ip());
        let mut next = Description {
            origin: Origin {
                session_id: self.session_id,
                version: self.sent.as_ref().map_or(1, |s| s.origin.version),
                address: address.clone(),
            },
            connection: Some(address),
            direction: None,
            ice_lite: media.iter().any(|media| media.ice.is_some()),
            media,
        };
        if self.sent.as_ref().is_some_and(|sent| *sent != next) {
            next.origin.version = next.origin.version.saturating_add(1);
        }
        let body = next.to_string();
        self.sent = Some(next);
        body
    }
}

/// The m-line and formats both sides can use.
struct Chosen<'a> {
    media: &'a Media,
    codec: (u8, CodecName),
    dtmf: Option<Dtmf>,
    taken: Taken,
}

/// Reads the peer's half of an agreement.
fn agree(theirs: &Description, media: &Media, chosen: &Chosen<'_>) -> Result<Negotiated, SdpError> {
    let (remote_rtp, remote_rtcp) = remote_of(theirs, media)?;
    let mut direction = media.direction.or(theirs.direction).unwrap_or_default().reversed();
    // An address that is still to be found is none (RFC 8840 section 4.1.3).
    if remote_rtp.ip().is_unspecified() && !ice::is_usable(theirs, media) {
        // Hold as in RFC 2543: the peer has no place to receive.
        direction = direction.and(Direction::RecvOnly);
    }
    let (payload_type, name) = chosen.codec;
    let ptime = media.ptime_ms.or(media.maxptime_ms);
    let dtmf_pt = chosen.dtmf.map(|dtmf| dtmf.payload_type);
    Ok(Negotiated {
        remote_rtp,
        remote_rtcp,
        codec: CodecSpec { name, payload_type },
        alternate: None,
        send_payload_type: payload_type,
        dtmf_receive_pt: dtmf_pt,
        dtmf_send_pt: dtmf_pt,
        dtmf_clock_rate: chosen.dtmf.map_or(DTMF_CLOCK_RATE, |dtmf| dtmf.clock_rate),
        direction,
        remote_ptime_ms: ptime.map(|p| media.maxptime_ms.map_or(p, |max| p.min(max))),
        rtcp_mux: media.rtcp_mux,
        srtp: None,
        dtls: None,
        ice: None,
    })
}

/// An m-line we do not use (RFC 3264 section 6): same place, same formats, port 0.
fn refused(theirs: &Media) -> Media {
    Media {
        kind: theirs.kind.clone(),
        port: 0,
        protocol: theirs.protocol.clone(),
        formats: theirs.formats.clone(),
        mid: theirs.mid.clone(),
        ..Media::default()
    }
}
