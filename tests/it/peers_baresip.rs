//! baresip and the server talk: each side's sound is found where the other side writes it down.

use trunkline::call::CallCommand;
use trunkline::sip::Transport;
use trunkline::types::{CallRecord, CallStatus, EndReason};

use crate::support::baresip::Baresip;
use crate::support::server::Server;
use crate::support::{has_program, sound, wait};

const TONE_HZ: u32 = 440;

/// A greeting long enough to be found.
async fn server() -> Server {
    Server::with(|config| {
        let greeting = "Hello. This is a sentence that takes a little while to say.";
        crate::support::server::agent(config).turn.greeting.text = greeting.to_owned();
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
    let tone = sound::tone_ms(&left, f64::from(TONE_HZ), sound::RATE);
    assert!(tone >= 1_500, "{tone} ms of baresip's tone in our recording");
    let spoken = sound::loud_ms(&right);
    assert!(spoken >= 1_500, "{spoken} ms of the agent in our recording");
    assert_eq!(sound::tone_ms(&right, f64::from(TONE_HZ), sound::RATE), 0, "no echo");
    let heard = phone.heard().await;
    let loud = sound::loud_ms(&heard);
    assert!(loud >= 1_500, "{loud} ms of the agent in baresip's recording");
    assert_eq!(sound::tone_ms(&heard, f64::from(TONE_HZ), sound::RATE), 0, "no echo");
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
