//! Transfers with telephones that others wrote: who was transferred is heard by the destination, and hears it.

use std::net::SocketAddr;

use trunkline::call::command::OnFail;
use trunkline::call::{CallCommand, TransferMode};
use trunkline::schema::calling::Refers;
use trunkline::sip::Transport;
use trunkline::types::{CallEventKind, CallId, CallStatus, EndReason, TrunkName};

use crate::support::baresip::Baresip;
use crate::support::has_program;
use crate::support::linphone::Linphone;
use crate::support::phone::{
    GREETING, Phone, TONE_HZ, both_ways, command, greeted, happens, it_hangs_up, say, we_hang_up,
};
use crate::support::server::{OUT, Server, agent};
use crate::support::sound;

/// What the destination of a transfer plays.
const FAR_HZ: u32 = 800;
/// How much of it must be heard.
const HEARD_MS: usize = 1_500;

async fn server() -> Server {
    Server::with(|config| GREETING.clone_into(&mut agent(config).turn.greeting.text)).await
}

/// A blind transfer.
pub(crate) fn transfer(destination: String) -> CallCommand {
    CallCommand::Transfer {
        replaces: None,
        destination: destination.into(),
        mode: TransferMode::Blind,
        trunk: None,
        message: None,
        brief: None,
        headers: Vec::new(),
        timeout: None,
        on_fail: OnFail::Resume,
    }
}

/// A server that goes where a telephone refers it to, by a proxy if there is one.
async fn follower(proxy: Option<SocketAddr>) -> Server {
    Server::with(|config| {
        GREETING.clone_into(&mut agent(config).turn.greeting.text);
        for trunk in config.trunks.values_mut() {
            trunk.calls.refers = Refers::Follow;
            trunk.outbound_proxy = proxy.map_or_else(String::new, |proxy| proxy.to_string());
        }
    })
    .await
}

fn heard(recording: &(Vec<i16>, usize), hz: u32) -> usize {
    sound::tone_ms(&recording.0, f64::from(hz), recording.1)
}

pub(crate) async fn transferred(server: &Server, id: CallId) {
    let record = server.ended(id).await;
    assert_eq!(record.status, CallStatus::Completed, "{record:?}");
    assert_eq!(record.end_reason, Some(EndReason::Transferred));
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_goes_where_it_is_referred() {
    if !has_program("baresip") {
        return;
    }
    let server = server().await;
    let mut phone = Baresip::start(TONE_HZ, Transport::Udp).await;
    let far = Baresip::start(FAR_HZ, Transport::Udp).await;
    phone.dial(&format!("sip:blind@{}", server.sip(Transport::Udp))).await;
    let id = server.call_to("blind").await.id;
    greeted(&server, id).await;
    command(&server, id, transfer(format!("sip:phone@{}", far.sip))).await;
    transferred(&server, id).await;
    // They talk without us: the call that baresip made is its second.
    phone.hears(1, HEARD_MS + 500).await;
    far.hears(0, HEARD_MS + 500).await;
    phone.hang_up().await;
    let (ours, theirs) = (phone.recordings(2).await, far.recordings(1).await);
    assert!(heard(&ours[1], FAR_HZ) >= HEARD_MS, "the destination is heard");
    assert!(heard(&theirs[0], TONE_HZ) >= HEARD_MS, "and hears who was transferred");
    assert_eq!(heard(&ours[0], FAR_HZ), 0, "not before");
}

/// The destination may be an agent here: the same telephone, another call.
#[tokio::test(flavor = "multi_thread")]
async fn baresip_is_referred_back_to_us() {
    if !has_program("baresip") {
        return;
    }
    let server = server().await;
    let mut phone = Baresip::start(TONE_HZ, Transport::Udp).await;
    let record = server.dial(format!("sip:phone@{}", phone.sip), Transport::Udp).await;
    server.live(record.id).await;
    greeted(&server, record.id).await;
    let again = format!("sip:again@{}", server.sip(Transport::Udp));
    command(&server, record.id, transfer(again)).await;
    transferred(&server, record.id).await;
    let again = server.call_to("again").await;
    greeted(&server, again.id).await;
    let again = it_hangs_up(&server, again.id, &mut phone).await;
    let [left, _] = server.recording(&again);
    assert!(sound::tone_ms(&left, f64::from(TONE_HZ), sound::RATE) >= HEARD_MS);
    let both = phone.recordings(2).await;
    for (samples, _) in &both {
        assert!(sound::loud_ms(samples) >= HEARD_MS, "the agent greets in both calls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_leaves_baresip_with_the_agent() {
    if !has_program("baresip") {
        return;
    }
    let server = server().await;
    let mut phone = Baresip::start(TONE_HZ, Transport::Udp).await;
    phone.dial(&format!("sip:refused@{}", server.sip(Transport::Udp))).await;
    let id = server.call_to("refused").await.id;
    greeted(&server, id).await;
    // baresip takes calls to its own name only.
    let other = Baresip::start(FAR_HZ, Transport::Udp).await;
    command(&server, id, transfer(format!("sip:nobody@{}", other.sip))).await;
    happens(&server, id, "the refusal", |kind| {
        matches!(kind, CallEventKind::TransferFailed { sip_status: Some(404), .. })
    })
    .await;
    say(&server, id, "That did not work, so we go on here with our conversation.").await;
    let record = it_hangs_up(&server, id, &mut phone).await;
    both_ways(&server, &record, &mut phone).await;
}

/// The second leg: the caller's telephone and the destination's are not the same program, and both talk through us.
#[tokio::test(flavor = "multi_thread")]
async fn baresip_and_linphone_talk_through_us() {
    if !has_program("baresip") || !has_program("linphonec") {
        return;
    }
    let server = server().await;
    let mut phone = Baresip::start(TONE_HZ, Transport::Udp).await;
    let mut far = Linphone::start_narrow(FAR_HZ, None).await;
    phone.dial(&format!("sip:bridged@{}", server.sip(Transport::Udp))).await;
    let id = server.call_to("bridged").await.id;
    greeted(&server, id).await;
    let mut bridge = transfer(format!("sip:far@{}", far.sip));
    if let CallCommand::Transfer { mode, trunk, .. } = &mut bridge {
        (*mode, *trunk) = (TransferMode::Bridge, Some(TrunkName(OUT.to_owned())));
    }
    command(&server, id, bridge).await;
    far.hears_tone(TONE_HZ, HEARD_MS).await;
    phone.press('4').await;
    far.gets_key('4').await;
    phone.hang_up().await;
    transferred(&server, id).await;
    let ours = phone.recordings(1).await;
    assert!(heard(&ours[0], FAR_HZ) >= 1_000, "{} ms", heard(&ours[0], FAR_HZ));
}

/// Two telephones that talk with us, each with an agent, talk with each other: one is sent to the other's dialog.
/// baresip 1.0 knows no Replaces; Linphone honours it on either side.
#[tokio::test(flavor = "multi_thread")]
async fn linphone_takes_our_place_in_another_call() {
    if !has_program("linphonec") {
        return;
    }
    let server = server().await;
    let mut phone = Linphone::start_narrow(TONE_HZ, None).await;
    let expert = Linphone::start_narrow(FAR_HZ, None).await;
    phone.dial(&format!("sip:caller@{}", server.sip(Transport::Udp))).await;
    let uri = format!("sip:expert@{}", expert.sip);
    let other = server.dial(uri.clone(), Transport::Udp).await;
    let call = server.call_to("caller").await;
    server.live(other.id).await;
    greeted(&server, call.id).await;
    greeted(&server, other.id).await;
    let dialog = server.running.switchboard().dialog_of(other.id);
    assert!(dialog.is_some(), "it is live");
    let mut attended = transfer(uri);
    if let CallCommand::Transfer { replaces, .. } = &mut attended {
        *replaces = dialog;
    }
    command(&server, call.id, attended).await;
    transferred(&server, call.id).await;
    // Who was replaced gets BYE from the one that was called, which is the end of its call.
    let other = server.ended(other.id).await;
    assert_eq!(other.end_reason, Some(EndReason::UserHangup));
    // They talk without us.
    phone.hears_tone(FAR_HZ, HEARD_MS).await;
    expert.hears_tone(TONE_HZ, HEARD_MS).await;
    phone.hang_up().await;
}

/// Linphone has us and a colleague on the line, and connects the two: the colleague's INVITE replaces its call here.
#[tokio::test(flavor = "multi_thread")]
async fn linphone_gives_its_call_with_us_to_a_colleague() {
    if !has_program("linphonec") {
        return;
    }
    let server = server().await;
    let mut phone = Linphone::start_narrow(FAR_HZ, None).await;
    // What it is referred to has no port, as Linphone writes it: it goes where its proxy is.
    let proxy = Some(server.sip(Transport::Udp));
    let mut colleague = Linphone::start_narrow(TONE_HZ, proxy).await;
    phone.dial(&format!("sip:given@{}", server.sip(Transport::Udp))).await;
    let id = server.call_to("given").await.id;
    greeted(&server, id).await;
    phone.hold().await;
    phone.dial(&format!("sip:colleague@{}", colleague.sip)).await;
    phone.said().after(0, &["Media streams established", "for call 2"]).await;
    phone.types("transfer 2 --to-call 1").await;
    colleague.said().after(0, &["Media streams established", "for call 2"]).await;
    goes_on_with(&server, id, &mut colleague).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_goes_on_with_whom_baresip_names() {
    if !has_program("baresip") || !has_program("linphonec") {
        return;
    }
    let server = follower(None).await;
    let mut phone = Baresip::start(TONE_HZ, Transport::Udp).await;
    let mut far = Linphone::start_narrow(FAR_HZ, None).await;
    phone.dial(&format!("sip:referred@{}", server.sip(Transport::Udp))).await;
    let id = server.call_to("referred").await.id;
    greeted(&server, id).await;
    phone.transfer(&format!("sip:far@{}", far.sip)).await;
    far.said().after(0, &["Media streams established"]).await;
    goes_on_with(&server, id, &mut far).await;
    // baresip was told how it ended, and let go.
    let ours = phone.recordings(1).await;
    assert!(sound::loud_ms(&ours[0].0) >= HEARD_MS, "the greeting");
}

/// It has us and a colleague on the line, and tells us to take its place with the colleague: REFER with Replaces in.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_takes_the_place_of_linphone() {
    if !has_program("linphonec") {
        return;
    }
    let mut colleague = Linphone::start_narrow(FAR_HZ, None).await;
    // Linphone names people without their ports: a proxy of the trunk knows where they are.
    let server = follower(Some(colleague.sip)).await;
    let mut phone = Linphone::start_narrow(TONE_HZ, None).await;
    phone.dial(&format!("sip:place@{}", server.sip(Transport::Udp))).await;
    let id = server.call_to("place").await.id;
    greeted(&server, id).await;
    phone.hold().await;
    phone.dial(&format!("sip:colleague@{}", colleague.sip)).await;
    phone.said().after(0, &["Media streams established", "for call 2"]).await;
    phone.types("transfer 1 --to-call 2").await;
    colleague.said().after(0, &["Media streams established", "for call 2"]).await;
    goes_on_with(&server, id, &mut colleague).await;
}

/// The same call, the same agent, and another party that hears it and is heard.
async fn goes_on_with(server: &Server, id: CallId, far: &mut Linphone) {
    say(server, id, "Good to hear you as well. Let us see what we can do about it.").await;
    let record = we_hang_up(server, id).await;
    assert_eq!(server.calls().await.len(), 1, "one record");
    let [left, _] = server.recording(&record);
    let of = |hz: u32| sound::tone_ms(&left, f64::from(hz), sound::RATE);
    assert!(of(TONE_HZ) >= HEARD_MS, "{} ms of who called", of(TONE_HZ));
    assert!(of(FAR_HZ) >= HEARD_MS, "{} ms of who came", of(FAR_HZ));
    let (samples, rate) = far.heard().await;
    let late = &samples[samples.len().saturating_sub(2 * rate)..];
    assert!(sound::rms(late) > sound::LOUD, "the agent is heard by who came");
}
