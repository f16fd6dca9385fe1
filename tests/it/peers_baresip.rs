//! baresip and the server talk: each side's sound is found where the other side writes it down.

use trunkline::call::CallCommand;
use trunkline::config::sections::Trunk;
use trunkline::schema::telephony::TrunkSrtp;
use trunkline::sip::Transport;
use trunkline::types::{CallRecord, CallStatus, CodecName, EndReason};

use crate::support::authority::Authority;
use crate::support::baresip::{Baresip, Media};
use crate::support::server::Server;
use crate::support::{has_program, sound, wait};

const TONE_HZ: u32 = 440;

/// A greeting long enough to be found.
async fn server() -> Server {
    server_with(|_| {}).await
}

/// The same with other trunks.
async fn server_with(change: impl Fn(&mut Trunk)) -> Server {
    Server::with(|config| {
        config.trunks.values_mut().for_each(&change);
        let greeting = "Hello. This is a sentence that takes a little while to say.";
        crate::support::server::agent(config).turn.greeting.text = greeting.to_owned();
    })
    .await
}

/// The same, and it listens for TLS as well.
async fn tls_server(authority: &Authority) -> Server {
    let files = authority.sign("server", "127.0.0.1");
    Server::with(|config| {
        let greeting = "Hello. This is a sentence that takes a little while to say.";
        crate::support::server::agent(config).turn.greeting.text = greeting.to_owned();
        config.sip.listen_tls = vec![([127, 0, 0, 1], 0).into()];
        config.sip.tls.certificate = Some(files.certificate.clone());
        config.sip.tls.key = Some(files.key.clone());
        config.sip.tls.ca = Some(authority.ca());
    })
    .await
}

/// Waits until the greeting was spoken.
async fn greeted(server: &Server, record: &CallRecord) {
    wait::until("the greeting", async || (!server.turns(record.id).await.is_empty()).then_some(()))
        .await;
}

/// The tone came in, speech went out.
async fn both_ways(server: &Server, record: &CallRecord, phone: &Baresip) {
    assert_eq!(record.status, CallStatus::Completed, "{record:?}");
    let [left, right] = server.recording(record);
    let rate = record.codec.expect("a codec").sample_rate().hz() as usize;
    let info = record.recording.as_ref().expect("a recording");
    assert_eq!(info.sample_rate as usize, rate, "the file has the line's rate");
    let tone = sound::tone_ms(&left, f64::from(TONE_HZ), rate);
    assert!(tone >= 1_500, "{tone} ms of baresip's tone in our recording");
    let spoken = loud_ms(&right, rate);
    assert!(spoken >= 1_500, "{spoken} ms of the agent in our recording");
    assert_eq!(sound::tone_ms(&right, f64::from(TONE_HZ), rate), 0, "no echo");
    let (heard, rate) = phone.heard().await;
    let loud = loud_ms(&heard, rate);
    assert!(loud >= 1_500, "{loud} ms of the agent in baresip's recording");
    assert_eq!(sound::tone_ms(&heard, f64::from(TONE_HZ), rate), 0, "no echo");
}

/// Milliseconds of sound at any rate.
fn loud_ms(samples: &[i16], rate: usize) -> usize {
    let loud = |block: &&[i16]| sound::rms(block) > sound::LOUD;
    20 * samples.chunks(rate / 50).filter(loud).count()
}

async fn baresip_calls(transport: Transport) {
    if !has_program("baresip") {
        return;
    }
    let server = server().await;
    let mut phone = Baresip::start(TONE_HZ, transport).await;
    let kind = if transport == Transport::Tcp { ";transport=tcp" } else { "" };
    let uri = format!("sip:fromphone@{}{kind}", server.sip(transport));
    phone.command("dial", &uri).await;
    let record = server.call_to("fromphone").await;
    greeted(&server, &record).await;
    phone.command("hangup", "").await;
    let record = server.ended(record.id).await;
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    both_ways(&server, &record, &phone).await;
}

async fn baresip_is_called(transport: Transport) {
    if !has_program("baresip") {
        return;
    }
    let server = server().await;
    let phone = Baresip::start(TONE_HZ, transport).await;
    let record = server.dial(format!("sip:phone@{}", phone.sip), transport).await;
    server.live(record.id).await;
    greeted(&server, &record).await;
    let end = CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
    server.running.switchboard().command(record.id, end).await.expect("it is live");
    let record = server.ended(record.id).await;
    assert_eq!(record.end_reason, Some(EndReason::ApiHangup));
    both_ways(&server, &record, &phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_calls_over_udp() {
    baresip_calls(Transport::Udp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_calls_over_tcp() {
    baresip_calls(Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_is_called_over_udp() {
    baresip_is_called(Transport::Udp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_is_called_over_tcp() {
    baresip_is_called(Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_calls_over_tls() {
    if !has_program("baresip") {
        return;
    }
    let authority = Authority::new();
    let server = tls_server(&authority).await;
    let mut phone = Baresip::start_secure(TONE_HZ, &authority).await;
    let uri = format!("sip:fromphone@{};transport=tls", server.sip(Transport::Tls));
    phone.command("dial", &uri).await;
    let record = server.call_to("fromphone").await;
    greeted(&server, &record).await;
    phone.command("hangup", "").await;
    let record = server.ended(record.id).await;
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    both_ways(&server, &record, &phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_is_called_over_tls() {
    if !has_program("baresip") {
        return;
    }
    let authority = Authority::new();
    let server = tls_server(&authority).await;
    let phone = Baresip::start_secure(TONE_HZ, &authority).await;
    // baresip listens for TLS on the port after that for the others.
    let port = phone.sip.port() + 1;
    let uri = format!("sip:phone@127.0.0.1:{port};transport=tls");
    let record = server.dial(uri, Transport::Tls).await;
    server.live(record.id).await;
    greeted(&server, &record).await;
    let end = CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
    server.running.switchboard().command(record.id, end).await.expect("it is live");
    let record = server.ended(record.id).await;
    assert_eq!(record.end_reason, Some(EndReason::ApiHangup));
    both_ways(&server, &record, &phone).await;
}

const SRTP: Media = Media { codec: "PCMU/8000/1", rate: 8_000, encryption: ";mediaenc=srtp-mand" };
const SRTP_IF: Media = Media { codec: "PCMU/8000/1", rate: 8_000, encryption: ";mediaenc=srtp" };
const G722: Media = Media { codec: "G722/16000/1", rate: 16_000, encryption: "" };
const OPUS: Media = Media { codec: "opus/48000/1", rate: 48_000, encryption: "" };
const OPUS_SRTP: Media =
    Media { codec: "opus/48000/1", rate: 48_000, encryption: ";mediaenc=srtp-mand" };

/// One call each way: hold and resume in the first, which ends at baresip's side; the second ends at ours.
async fn both_call(media: Media, srtp: TrunkSrtp, codec: CodecName) {
    if !has_program("baresip") {
        return;
    }
    let server = server_with(|trunk| {
        trunk.srtp = srtp;
        trunk.codecs = Some(CodecName::ALL.to_vec());
    })
    .await;
    let mut phone = Baresip::start_with(TONE_HZ, Transport::Udp, media).await;
    let uri = format!("sip:fromphone@{}", server.sip(Transport::Udp));
    phone.command("dial", &uri).await;
    let record = server.call_to("fromphone").await;
    greeted(&server, &record).await;
    phone.command("hold", "").await;
    phone.command("resume", "").await;
    phone.command("hangup", "").await;
    let record = server.ended(record.id).await;
    assert_eq!((record.end_reason, record.codec), (Some(EndReason::UserHangup), Some(codec)));
    both_ways(&server, &record, &phone).await;

    let phone = Baresip::start_with(TONE_HZ, Transport::Udp, media).await;
    let record = server.dial(format!("sip:phone@{}", phone.sip), Transport::Udp).await;
    server.live(record.id).await;
    greeted(&server, &record).await;
    let reason = EndReason::ApiHangup;
    let end = CallCommand::End { message: None, reason, headers: Vec::new() };
    server.running.switchboard().command(record.id, end).await.expect("it is live");
    let record = server.ended(record.id).await;
    assert_eq!((record.end_reason, record.codec), (Some(EndReason::ApiHangup), Some(codec)));
    both_ways(&server, &record, &phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_srtp() {
    both_call(SRTP, TrunkSrtp::Required, CodecName::Pcmu).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_srtp_where_both_can() {
    both_call(SRTP_IF, TrunkSrtp::Optional, CodecName::Pcmu).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_g722() {
    both_call(G722, TrunkSrtp::Disabled, CodecName::G722).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_opus() {
    both_call(OPUS, TrunkSrtp::Disabled, CodecName::Opus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_opus_and_srtp() {
    both_call(OPUS_SRTP, TrunkSrtp::Required, CodecName::Opus).await;
}
