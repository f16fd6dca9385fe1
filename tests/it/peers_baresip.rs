//! baresip and the server talk: each side's sound is found where the other side writes it down.

use trunkline::schema::telephony::{TrunkSrtp, TrunkSrtpKeys};
use trunkline::sip::Transport;
use trunkline::types::CodecName;

use crate::support::authority::Authority;
use crate::support::baresip::{Baresip, Media};
use crate::support::has_program;
use crate::support::peer::Message;
use crate::support::phone::{
    GREETING, Phone, TONE_HZ, both_ways, greeted, it_hangs_up, keys_and_hold, we_hang_up,
};
use crate::support::server::{Server, agent};

/// What a call is made of.
#[derive(Clone, Copy)]
struct How {
    transport: Transport,
    media: Media,
    srtp: TrunkSrtp,
    keys: TrunkSrtpKeys,
    codec: CodecName,
}

const PLAIN: Media = Media { codec: "PCMU/8000/1", rate: 8_000, encryption: "" };
const UDP: How = How {
    transport: Transport::Udp,
    media: PLAIN,
    srtp: TrunkSrtp::Disabled,
    keys: TrunkSrtpKeys::Sdes,
    codec: CodecName::Pcmu,
};
const SRTP: How = How {
    media: Media { encryption: ";mediaenc=srtp-mand", ..PLAIN },
    srtp: TrunkSrtp::Required,
    ..UDP
};
const DTLS: How = How {
    media: Media { encryption: ";mediaenc=dtls_srtp", ..PLAIN },
    keys: TrunkSrtpKeys::Dtls,
    ..SRTP
};
const OPUS: Media = Media { codec: "opus/48000/1", rate: 48_000, encryption: "" };

impl How {
    /// A server with its trunks; it listens for TLS as well.
    async fn server(&self, authority: &Authority) -> Server {
        let files = authority.sign("server", "127.0.0.1");
        Server::with(|config| {
            for trunk in config.trunks.values_mut() {
                (trunk.srtp, trunk.srtp_keys) = (self.srtp, self.keys);
                let mut codecs = CodecName::DEFAULT.to_vec();
                codecs.retain(|codec| *codec != self.codec);
                codecs.push(self.codec);
                trunk.codecs = Some(codecs);
            }
            GREETING.clone_into(&mut agent(config).turn.greeting.text);
            config.sip.listen_tls = vec![([127, 0, 0, 1], 0).into()];
            config.sip.tls.certificate = Some(files.certificate.clone());
            config.sip.tls.key = Some(files.key.clone());
            config.sip.tls.ca = Some(authority.ca());
        })
        .await
    }

    async fn phone(&self, authority: &Authority) -> Baresip {
        match self.transport {
            Transport::Tls => Baresip::start_secure(TONE_HZ, authority, self.media).await,
            other => Baresip::start_with(TONE_HZ, other, self.media).await,
        }
    }

    /// baresip calls, presses a key and gets one, holds and is held, and hangs up. What was said: whether by us.
    async fn calls(self) -> Option<Vec<(bool, Message)>> {
        if !has_program("baresip") {
            return None;
        }
        let authority = Authority::new();
        let server = self.server(&authority).await;
        let mut phone = self.phone(&authority).await;
        let (address, kind) = (server.sip(self.transport), self.transport.as_str());
        phone.dial(&format!("sip:fromphone@{address};transport={kind}")).await;
        let record = server.call_to("fromphone").await;
        greeted(&server, record.id).await;
        keys_and_hold(&server, record.id, &mut phone).await;
        let record = it_hangs_up(&server, record.id, &mut phone).await;
        assert_eq!(record.codec, Some(self.codec));
        both_ways(&server, &record, &mut phone).await;
        Some(server.ladder(record.id).await)
    }

    /// baresip is called, and the server hangs up.
    async fn is_called(self) {
        if !has_program("baresip") {
            return;
        }
        let authority = Authority::new();
        let server = self.server(&authority).await;
        let mut phone = self.phone(&authority).await;
        let (address, kind) = (phone.address(self.transport), self.transport.as_str());
        let uri = format!("sip:phone@{address};transport={kind}");
        let record = server.dial(uri, self.transport).await;
        server.live(record.id).await;
        greeted(&server, record.id).await;
        let record = we_hang_up(&server, record.id).await;
        assert_eq!(record.codec, Some(self.codec));
        both_ways(&server, &record, &mut phone).await;
    }

    async fn both(self) {
        tokio::join!(self.calls(), self.is_called());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_calls_and_is_called_over_udp() {
    UDP.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_calls_and_is_called_over_tcp() {
    How { transport: Transport::Tcp, ..UDP }.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_calls_and_is_called_over_tls() {
    How { transport: Transport::Tls, ..UDP }.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_over_tls_with_srtp() {
    How { transport: Transport::Tls, ..SRTP }.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_srtp() {
    SRTP.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_keys_by_dtls() {
    DTLS.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_checks_whether_it_reaches_us() {
    for (how, encryption) in [(UDP, ";medianat=ice"), (DTLS, ";medianat=ice;mediaenc=dtls_srtp")] {
        let how = How { media: Media { encryption, ..PLAIN }, ..how };
        let Some(said) = how.calls().await else { return };
        let offers: Vec<&str> = said
            .iter()
            .filter(|(ours, message)| !ours && message.first().starts_with("INVITE "))
            .map(|(_, message)| message.body())
            .collect();
        // It has no candidates where there is nothing but the loopback.
        let [first, rest @ ..] = offers.as_slice() else { panic!("no offers in {said:#?}") };
        assert!(first.contains("a=ice-ufrag:") && rest.len() >= 2, "{said:#?}");
        if first.contains("a=candidate:") {
            let has = |offer: &&str| offer.contains("a=remote-candidates:1 127.0.0.1 ");
            assert!(rest.iter().all(has), "it settled on our address: {said:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_srtp_where_both_can() {
    let media = Media { encryption: ";mediaenc=srtp", ..PLAIN };
    How { media, srtp: TrunkSrtp::Optional, ..UDP }.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_g722() {
    let media = Media { codec: "G722/16000/1", rate: 16_000, ..PLAIN };
    How { media, codec: CodecName::G722, ..UDP }.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_l16_at_16_khz() {
    let media = Media { codec: "L16/16000/1", rate: 16_000, ..PLAIN };
    How { media, codec: CodecName::L16Wide, ..UDP }.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_l16_at_8_khz_and_srtp() {
    let media = Media { codec: "L16/8000/1", encryption: ";mediaenc=srtp-mand", ..PLAIN };
    How { media, codec: CodecName::L16Narrow, ..SRTP }.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_opus() {
    How { media: OPUS, codec: CodecName::Opus, ..UDP }.both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_opus_and_srtp() {
    let media = Media { encryption: ";mediaenc=srtp-mand", ..OPUS };
    How { media, codec: CodecName::Opus, ..SRTP }.both().await;
}
