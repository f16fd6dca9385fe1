//! Linphone, a second telephone with another SIP stack, media stack and TLS: linphonec without a sound card.

use trunkline::schema::telephony::TrunkSrtp;
use trunkline::sip::Transport;
use trunkline::types::CodecName;

use crate::support::authority::Authority;
use crate::support::has_program;
use crate::support::linphone::Linphone;
use crate::support::phone::{
    GREETING, Phone, TONE_HZ, both_ways, greeted, it_hangs_up, keys_and_hold, we_hang_up,
};
use crate::support::server::{Server, agent};

async fn server(codec: CodecName) -> Server {
    Server::with(|config| {
        config.trunks.values_mut().for_each(|trunk| trunk.codecs = Some(vec![codec]));
        GREETING.clone_into(&mut agent(config).turn.greeting.text);
    })
    .await
}

/// Linphone calls, presses a key and gets one, holds and is held, and hangs up.
async fn calls(transport: Transport, codec: CodecName) {
    let server = server(codec).await;
    let mut phone = Linphone::start(TONE_HZ, transport).await;
    let (address, kind) = (server.sip(transport), transport.as_str());
    phone.dial(&format!("sip:fromphone@{address};transport={kind}")).await;
    let record = server.call_to("fromphone").await;
    greeted(&server, record.id).await;
    keys_and_hold(&server, record.id, &mut phone).await;
    let record = it_hangs_up(&server, record.id, &mut phone).await;
    assert_eq!(record.codec, Some(codec));
    both_ways(&server, &record, &mut phone).await;
}

/// Linphone is called; the same, and the server hangs up.
async fn is_called(transport: Transport, codec: CodecName) {
    let server = server(codec).await;
    let mut phone = Linphone::start(TONE_HZ, transport).await;
    let uri = format!("sip:phone@{};transport={}", phone.sip, transport.as_str());
    let record = server.dial(uri, transport).await;
    server.live(record.id).await;
    greeted(&server, record.id).await;
    keys_and_hold(&server, record.id, &mut phone).await;
    let record = we_hang_up(&server, record.id).await;
    assert_eq!(record.codec, Some(codec));
    both_ways(&server, &record, &mut phone).await;
}

async fn both(transport: Transport, codec: CodecName) {
    if has_program("linphonec") {
        tokio::join!(calls(transport, codec), is_called(transport, codec));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_calls_and_is_called_over_udp() {
    both(Transport::Udp, CodecName::Pcmu).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_calls_and_is_called_over_tcp() {
    both(Transport::Tcp, CodecName::Pcma).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_with_opus() {
    both(Transport::Udp, CodecName::Opus).await;
}

/// It takes no TLS itself: its calls alone, one of which each side ends. The server's BYE has only its connection.
#[tokio::test(flavor = "multi_thread")]
async fn linphone_calls_over_tls_with_srtp() {
    if !has_program("linphonec") {
        return;
    }
    let authority = Authority::new();
    let files = authority.sign("server", "localhost");
    let server = Server::with(|config| {
        config.trunks.values_mut().for_each(|trunk| trunk.srtp = TrunkSrtp::Required);
        GREETING.clone_into(&mut agent(config).turn.greeting.text);
        config.sip.listen_tls = vec![([127, 0, 0, 1], 0).into()];
        config.sip.tls.certificate = Some(files.certificate.clone());
        config.sip.tls.key = Some(files.key.clone());
    })
    .await;
    let call = async |user: &str, it_ends: bool| {
        let mut phone = Linphone::start_secure(TONE_HZ, &authority).await;
        // It reads names in certificates, no addresses.
        let port = server.sip(Transport::Tls).port();
        phone.dial(&format!("sip:{user}@localhost:{port};transport=tls")).await;
        let record = server.call_to(user).await;
        greeted(&server, record.id).await;
        keys_and_hold(&server, record.id, &mut phone).await;
        let record = match it_ends {
            true => it_hangs_up(&server, record.id, &mut phone).await,
            false => we_hang_up(&server, record.id).await,
        };
        both_ways(&server, &record, &mut phone).await;
    };
    tokio::join!(call("its-end", true), call("our-end", false));
}
