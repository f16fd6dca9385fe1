//! Calls that change hands, that nobody refreshes, that begin before the answer: against sockets of our own.

use trunkline::call::command::OnFail;
use trunkline::call::{CallCommand, TransferMode};
use trunkline::sip::Transport;
use trunkline::types::EndReason;

use crate::support::line::Line;
use crate::support::peer::{Caller, Message, sdp};
use crate::support::server::Server;
use crate::support::sound;

fn tag(value: &str) -> String {
    value.split(";tag=").nth(1).unwrap_or_default().to_owned()
}

/// Replaces of a call as the one who takes over writes it: the server's tag is `to-tag`.
fn replaces(caller: &Caller, ok: &Message) -> String {
    let to = tag(ok.header("to"));
    format!("Replaces: {};to-tag={to};from-tag=caller\r\n", caller.call_id)
}

/// Another party takes a call over: the first gets BYE, the second hears the agent's line, the call is one record.
#[tokio::test(flavor = "multi_thread")]
async fn an_invite_with_replaces_takes_the_call_over() {
    for delayed in [false, true] {
        let server = Server::start().await;
        let (first_line, second_line) = (Line::new().await, Line::new().await);
        let mut first = Caller::new(&server, Transport::Udp, "taken").await;
        let ok = first.call(first_line.local).await;
        let mut second = Caller::new(&server, Transport::Udp, "taken-over").await;
        let replaces = replaces(&first, &ok);
        let sdp = sdp(second_line.local);
        let (kind, body) = match delayed {
            true => ("", String::new()),
            false => ("Content-Type: application/sdp\r\n", sdp.clone()),
        };
        second.send("INVITE", &format!("{replaces}Require: replaces\r\n{kind}"), &body).await;
        let answer = second.peer.final_to("INVITE").await;
        assert_eq!(answer.status(), 200, "{}", answer.text);
        second.learn(&answer);
        second.ack(if delayed { &sdp } else { "" }).await;
        let bye = first.hung_up().await;
        assert!(bye.header("reason").contains("replaced"), "{}", bye.text);
        second_line.connect(answer.media());
        // The new dialog is the call's: who took it over hears what is said, and its end is the call's end.
        let record = server.call_to("taken").await;
        let switchboard = server.running.switchboard();
        let heard = second_line.count();
        let say = CallCommand::Say {
            content: "Here is the new party.".to_owned().into(),
            interrupt: true,
            interruptible: true,
            end_after: false,
            voice: None,
        };
        switchboard.command(record.id, say).await.expect("it is live");
        second_line.hears(heard, 200).await;
        second.hang_up().await;
        let record = server.ended(record.id).await;
        assert_eq!(record.end_reason, Some(EndReason::UserHangup));
        assert_eq!(server.calls().await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_may_not_be_taken_over_goes_on() {
    let server = Server::start().await;
    let line = Line::new().await;
    let mut first = Caller::new(&server, Transport::Udp, "kept").await;
    let ok = first.call(line.local).await;
    let mut second = Caller::new(&server, Transport::Udp, "thief").await;
    for (head, status) in [
        (replaces(&first, &ok).replace("from-tag=caller", "from-tag=other"), 481),
        (replaces(&first, &ok).replace("\r\n", ";early-only\r\n"), 486),
    ] {
        let head = format!("{head}Content-Type: application/sdp\r\n");
        second.send("INVITE", &head, &sdp(line.local)).await;
        let answer = second.peer.final_to("INVITE").await;
        assert_eq!(answer.status(), status, "{}", answer.text);
        second.learn(&answer);
        second.ack("").await;
        second = Caller::new(&server, Transport::Udp, "thief").await;
    }
    // A party without a codec of ours changes nothing either.
    let alien = sdp(line.local).replace("RTP/AVP 0", "RTP/AVP 98");
    let head = format!("{}Content-Type: application/sdp\r\n", replaces(&first, &ok));
    second.send("INVITE", &head, &alien).await;
    assert_eq!(second.peer.final_to("INVITE").await.status(), 488);
    first.hang_up().await;
    let record = server.ended_to("kept").await;
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    assert_eq!(server.calls().await.len(), 1);
}

/// Two callers, connected with each other: one is referred to the other's dialog, and takes our place in it.
#[tokio::test(flavor = "multi_thread")]
async fn an_attended_transfer_connects_two_calls() {
    let server = Server::start().await;
    let (line, other_line) = (Line::new().await, Line::new().await);
    let mut caller = Caller::new(&server, Transport::Udp, "caller").await;
    caller.call(line.local).await;
    let mut expert = Caller::new(&server, Transport::Udp, "expert").await;
    let ok = expert.call(other_line.local).await;
    let (call, other) = (server.call_to("caller").await, server.call_to("expert").await);
    let switchboard = server.running.switchboard();
    server.live(call.id).await;
    server.live(other.id).await;
    let transfer = |headers: &[(&str, &str)]| CallCommand::Transfer {
        destination: "sip:expert@127.0.0.1".to_owned().into(),
        replaces: switchboard.dialog_of(other.id),
        mode: TransferMode::Blind,
        trunk: None,
        message: None,
        brief: None,
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        timeout: None,
        on_fail: OnFail::Resume,
    };
    let secret = transfer(&[("Secret", "1")]);
    switchboard.command(call.id, secret).await.expect_err("no trunk lets this out");
    let allowed = transfer(&[("X-Case", "7"), ("User-to-User", "56a3;encoding=hex")]);
    switchboard.command(call.id, allowed).await.expect("a transfer");
    let refer = caller.peer.request("REFER").await;
    let ours = tag(ok.header("to"));
    let named = format!("{}%3Bto-tag%3Dcaller%3Bfrom-tag%3D{ours}", expert.call_id);
    let target = format!("<sip:caller@{}?Replaces={named}>", expert.peer.local);
    assert_eq!(refer.header("refer-to"), target);
    assert!(refer.header("referred-by").starts_with("<sip:"), "{}", refer.text);
    assert_eq!((refer.header("x-case"), refer.header("user-to-user")), ("7", "56a3;encoding=hex"));
    caller.peer.answer(&refer, "202 Accepted", "", "").await;
    let head = "Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n\
                Content-Type: message/sipfrag\r\n";
    let told = caller.ask("NOTIFY", head, "SIP/2.0 200 OK\r\n").await;
    assert_eq!(told.status(), 200);
    caller.hung_up().await;
    expert.hang_up().await;
    assert_eq!(server.ended(call.id).await.end_reason, Some(EndReason::Transferred));
    assert_eq!(server.ended(other.id).await.end_reason, Some(EndReason::UserHangup));
}

/// The caller said it would refresh the session, and does not: 14 s at an interval of 20.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_refreshes_ends_with_its_own_reason() {
    let server = Server::with(|config| config.sip.session_min = 20).await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "forgetful").await;
    caller.extra = "Supported: timer\r\nSession-Expires: 20;refresher=uac\r\n".to_owned();
    let ok = caller.call(line.local).await;
    assert_eq!(ok.header("session-expires"), "20;refresher=uac");
    line.connect(ok.media());
    let bye = caller.hung_up().await;
    assert!(bye.header("reason").starts_with("Q.850;cause=102"), "{}", bye.text);
    let record = server.ended_to("forgetful").await;
    assert_eq!(record.end_reason, Some(EndReason::SessionExpired));
    assert_eq!(record.sip.hangup_cause.as_deref(), Some("recovery_on_timer"));
    assert_eq!(record.error.expect("an error").code, "session_expired");
    let length = record.talk_ms.expect("it was answered");
    assert!((13_000..17_000).contains(&length), "{length}");
}

/// A trunk that wants early media opens the audio path before the answer.
#[tokio::test(flavor = "multi_thread")]
async fn early_media_reaches_the_caller_before_the_answer() {
    let server = Server::with_agents(
        |config| {
            let trunk = config.trunks.get_mut("local").expect("the trunk of callers here");
            trunk.calls.early_media = "silence".to_owned();
        },
        |directory| crate::support::providers::slow_voice(directory, "early"),
    )
    .await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "early").await;
    caller.invite(&sdp(line.local)).await;
    let early = caller.peer.find(|message| message.status() == 183).await;
    line.connect(early.media());
    line.hears_silence(100).await;
    caller.learn(&early);
    let ok = caller.peer.final_to("INVITE").await;
    assert_eq!(ok.status(), 200);
    assert_eq!(ok.media(), early.media(), "the answer stands");
    caller.ack("").await;
    caller.hang_up().await;
    server.ended_to("early").await;
}

/// What is heard before the answer, and the greeting after it: level and frequency of the tone.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_hears_ringback_or_a_notice_and_then_the_agent() {
    for (played, hz) in [("ringback", [440.0, 480.0]), ("notice.wav", [1_000.0, 1_000.0])] {
        let media = tempfile::tempdir().expect("a directory");
        let notice = sound::tone(1_000.0, 1_200);
        let path = media.path().join("notice.wav");
        sound::write(&path, &notice);
        let server = Server::with(|config| {
            config.call.media_dir = media.path().to_owned();
            let trunk = config.trunks.get_mut("local").expect("the trunk of callers here");
            trunk.calls.early_media = played.to_owned();
            trunk.calls.early_media_seconds = 1;
        })
        .await;
        let line = Line::new().await;
        let mut caller = Caller::new(&server, Transport::Udp, "rung").await;
        caller.invite(&sdp(line.local)).await;
        let early = caller.peer.find(|message| message.status() == 183).await;
        line.connect(early.media());
        caller.learn(&early);
        let ok = caller.peer.final_to("INVITE").await;
        let at_answer = line.count();
        assert_eq!((ok.status(), ok.media()), (200, early.media()));
        caller.ack("").await;
        let before = line.audio(0);
        let heard = |block: &&[i16]| {
            let share: f64 = if hz[0] == hz[1] {
                sound::share_at(block, hz[0], 8_000)
            } else {
                hz.iter().map(|hz| sound::share_at(block, *hz, 8_000)).sum()
            };
            share > 0.8 && sound::rms(block) > 1_500.0
        };
        let loud_ms = 100 * before.chunks_exact(800).filter(heard).count();
        // A notice is heard whole; a tone as long as was asked for, less what the start took.
        let least = if played == "ringback" { 700 } else { 1_000 };
        assert!(loud_ms >= least, "{played}: {loud_ms} ms");
        // The greeting follows, and the tone does not.
        line.hears(at_answer, 300).await;
        let later = line.audio(at_answer + 10);
        assert!(!later.chunks_exact(800).any(|block| heard(&block)), "{played}: it went on");
        caller.hang_up().await;
        let record = server.ended_to("rung").await;
        assert!(record.error.is_none(), "{played}: {:?}", record.error);
    }
}

/// What a carrier says of a caller is in the record; headers that the trunk does not let in are not.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_keeps_what_the_trunk_lets_in() {
    let server = Server::with(|config| {
        let trunk = config.trunks.get_mut("local").expect("the trunk of callers here");
        trunk.calls.headers_in = vec!["X-Cust*".to_owned()];
    })
    .await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "known").await;
    // Signed tokens make an INVITE longer than any packet of an Ethernet.
    let token = "t".repeat(6_000);
    caller.extra = format!(
        "P-Asserted-Identity: <sip:+15550177;verstat=TN-Validation-Passed-A@c.example>\r\n\
         Diversion: <sip:+15550188@c.example>;reason=no-answer\r\nIdentity: {token}\r\n\
         X-Customer: 4711\r\nX-Secret: no\r\n"
    );
    caller.call(line.local).await;
    caller.extra.clear();
    // A caller that knows the way says why it goes, in two words.
    let reason = "Reason: SIP;cause=200;text=\"a, b\", Q.850;cause=31;text=\"x\"\r\n";
    assert_eq!(caller.ask("BYE", reason, "").await.status(), 200);
    let record = server.ended_to("known").await;
    assert_eq!(record.sip.q850_cause, Some(31));
    assert_eq!(record.from_number.reveal(), "+15550177");
    let said = record.sip_identity.expect("it is kept");
    assert_eq!(said.verstat.as_deref(), Some("TN-Validation-Passed-A"));
    assert_eq!(said.identity[0].reveal(), &token);
    assert_eq!(said.diversion.len(), 1);
    let headers: Vec<_> =
        said.headers.iter().map(|(n, v)| (n.as_str(), v.reveal().as_str())).collect();
    assert_eq!(headers, [("x-customer", "4711")]);
}

/// A phone that another one answered for: the CANCEL says so, in a SIP cause.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_says_why() {
    let server = Server::with_agents(
        |config| config.call.answer_wait_ms = 10_000,
        |directory| crate::support::providers::slow_voice(directory, "elsewhere"),
    )
    .await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "elsewhere").await;
    caller.invite(&sdp(line.local)).await;
    caller.peer.find(|message| message.status() == 180).await;
    let reason = "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n";
    let cancel = caller.text("CANCEL", "INVITE1", reason, "");
    caller.peer.send(cancel.as_bytes()).await;
    assert_eq!(caller.peer.final_to("INVITE").await.status(), 487);
    let record = server.ended_to("elsewhere").await;
    assert_eq!(record.end_reason, Some(EndReason::Canceled));
    assert_eq!(record.sip.hangup_cause.as_deref(), Some("answered_elsewhere"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bye_carries_what_the_trunk_lets_out() {
    let server = Server::start().await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "farewell").await;
    caller.call(line.local).await;
    let id = server.call_to("farewell").await.id;
    server.live(id).await;
    let end = |name: &str| CallCommand::End {
        message: None,
        reason: EndReason::ApiHangup,
        headers: vec![(name.to_owned(), "56a3;encoding=hex".to_owned())],
    };
    let switchboard = server.running.switchboard();
    switchboard.command(id, end("P-Secret")).await.expect_err("no trunk lets this out");
    switchboard.command(id, end("User-to-User")).await.expect("the call ends");
    let bye = caller.hung_up().await;
    assert_eq!(bye.header("user-to-user"), "56a3;encoding=hex");
    assert!(bye.header("reason").starts_with("Q.850;cause=16"), "{}", bye.text);
    assert_eq!(server.ended(id).await.end_reason, Some(EndReason::ApiHangup));
}
