//! REFER of the other side: whom it names is called, and the agent goes on with who answers.

use trunkline::schema::calling::Refers;
use trunkline::sip::Transport;
use trunkline::types::{CallEventKind, EndReason, TrunkName};

use crate::bridge::Far;
use crate::conversation::Talk;
use crate::support::http::Client;
use crate::support::peer::Message;
use crate::support::server::{Server, event};
use crate::support::wait;

/// A server whose callers may name somebody else.
async fn following() -> Server {
    Server::with(|config| {
        let trunk = config.trunks.get_mut("local").expect("the trunk of callers here");
        trunk.calls.refers = Refers::Follow;
        trunk.dial_limits.calls_per_number_per_day = 2;
    })
    .await
}

/// Sends REFER; gives its answer.
async fn refer(talk: &mut Talk, target: &str, more: &str) -> Message {
    let head = format!("Refer-To: <{target}>\r\nReferred-By: <sip:boss@127.0.0.1>\r\n{more}");
    talk.caller.ask("REFER", &head, "").await
}

/// The next NOTIFY, answered: its status line and its Subscription-State.
async fn told(talk: &mut Talk) -> (String, String) {
    let notify = talk.caller.peer.request("NOTIFY").await;
    talk.caller.peer.answer(&notify, "200 OK", "", "").await;
    assert!(notify.header("event").starts_with("refer"), "{}", notify.text);
    assert_eq!(notify.header("content-type"), "message/sipfrag;version=2.0");
    (notify.body().trim().to_owned(), notify.header("subscription-state").to_owned())
}

fn states(
    events: &mut tokio::sync::broadcast::Receiver<std::sync::Arc<trunkline::types::CallEvent>>,
) -> Vec<String> {
    let mut found = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let CallEventKind::Referred { state, .. } = &event.kind {
            found.push(state.clone());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_goes_on_with_whom_a_refer_names() {
    let server = following().await;
    let mut far = Far::new(&server).await;
    let mut talk = Talk::begin(&server, "referred").await;
    let mut events = server.events();
    // As in an attended transfer: the referrer has talked with them already.
    let replaces =
        "Replaces=there%40far%3Bto-tag%3Dt%3Bfrom-tag%3Df&User-to-User=56a3%3Bencoding%3Dhex";
    let target = format!("{}?{replaces}", far.uri());
    assert_eq!(refer(&mut talk, &target, "").await.status(), 202);
    assert_eq!(told(&mut talk).await.0, "SIP/2.0 100 Trying");
    let invite = far.invited().await;
    assert_eq!(invite.header("replaces"), "there@far;to-tag=t;from-tag=f");
    assert_eq!(invite.header("require"), "replaces");
    assert_eq!(invite.header("user-to-user"), "56a3;encoding=hex");
    assert_eq!(invite.header("referred-by"), "<sip:boss@127.0.0.1>");
    assert_eq!(invite.media(), talk.line.target(), "the line stays what it is");
    far.answer(&invite, "180 Ringing", false).await;
    assert_eq!(told(&mut talk).await.0, "SIP/2.0 180 Ringing");
    // Until somebody answers, the call is the referrer's.
    talk.press('1').await;
    talk.agent_finishes().await;
    far.picks_up(&invite).await;
    let (line, state) = told(&mut talk).await;
    assert_eq!((line.as_str(), state.as_str()), ("SIP/2.0 200 OK", "terminated;reason=noresource"));
    talk.caller.hang_up().await;
    // From now on it is the other's: heard and talked to.
    let from = far.line.count();
    far.line.press('1', true).await;
    talk.agent_finishes().await;
    far.line.hears(from, 500).await;
    let trunk = TrunkName("local".to_owned());
    assert_eq!(server.running.switchboard().live_on(&trunk), 1, "the referrer's place is free");
    far.hangs_up(&invite).await;
    let record = server.ended(talk.id).await;
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    assert!(record.first_talk_ms.is_some() && record.first_talk_ms < record.talk_ms);
    assert_eq!(server.calls().await.len(), 1, "one call, whoever is in it");
    let leg = record.usage.iter().find(|row| row.destination.is_some()).expect("a leg's row");
    assert_eq!(leg.provider, "local", "the trunk that carried it");
    assert_eq!(states(&mut events), ["started", "ringing", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refer_that_leads_nowhere_leaves_the_call() {
    let server = following().await;
    let client = Client::new(&server);
    let mut far = Far::new(&server).await;
    let mut talk = Talk::begin(&server, "stays").await;
    let mut events = server.events();
    assert_eq!(refer(&mut talk, &far.uri(), "").await.status(), 202);
    assert_eq!(told(&mut talk).await.0, "SIP/2.0 100 Trying");
    let invite = far.invited().await;
    far.answer(&invite, "486 Busy Here", false).await;
    far.peer.request("ACK").await;
    let (line, state) = told(&mut talk).await;
    assert_eq!(
        (line.as_str(), state.as_str()),
        ("SIP/2.0 486 Busy Here", "terminated;reason=noresource")
    );
    talk.press('1').await;
    talk.agent_finishes().await;
    assert_eq!(refer(&mut talk, "http://example.com/", "").await.status(), 416);
    // Without a subscription nobody is told.
    assert_eq!(refer(&mut talk, &far.uri(), "Refer-Sub: false\r\n").await.status(), 200);
    let invite = far.invited().await;
    far.answer(&invite, "603 Decline", false).await;
    far.peer.request("ACK").await;
    event(&mut events, "the failure", |event| {
        matches!(&event.kind, CallEventKind::Referred { sip_status: Some(603), .. }).then_some(())
    })
    .await;
    // The limits of everything that dials hold here as well: a third call to the same is one too many.
    // The failure is told here a moment before the dialog takes another REFER: until then it says 491.
    let mut status = 491;
    while status == 491 {
        status = refer(&mut talk, &far.uri(), "").await.status();
    }
    assert_eq!(status, 403);
    let answer = client.request("GET", "/metrics").send().await.expect("an answer");
    let text = answer.text().await.expect("a body");
    let counted = |line: &str| {
        ["dial_refused", "path=\"refer\"", "reason=\"calls_per_number\""]
            .iter()
            .all(|word| line.contains(word))
    };
    assert!(text.lines().any(counted), "{text}");
    talk.caller.hang_up().await;
    assert_eq!(server.ended(talk.id).await.end_reason, Some(EndReason::UserHangup));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referrer_that_hangs_up_at_once_loses_nothing() {
    let server = following().await;
    for answers in [true, false] {
        let mut far = Far::new(&server).await;
        let user = format!("hasty{answers}");
        let mut talk = Talk::begin(&server, &user).await;
        assert_eq!(refer(&mut talk, &far.uri(), "").await.status(), 202);
        talk.caller.hang_up().await;
        let invite = far.invited().await;
        // Nobody hears the agent meanwhile.
        let heard = talk.line.count();
        far.answer(&invite, "180 Ringing", false).await;
        if answers {
            far.picks_up(&invite).await;
            let from = far.line.count();
            far.line.press('1', true).await;
            talk.agent_finishes().await;
            far.line.hears(from, 500).await;
            // What was on its way when they hung up, and no more.
            assert!(talk.line.count() <= heard + 25, "{heard} {}", talk.line.count());
            far.hangs_up(&invite).await;
        } else {
            far.answer(&invite, "480 Temporarily Unavailable", false).await;
            far.peer.request("ACK").await;
        }
        assert_eq!(server.ended(talk.id).await.end_reason, Some(EndReason::UserHangup), "{user}");
        wait::until("no live call", async || {
            (server.running.switchboard().live() == 0).then_some(())
        })
        .await;
    }
}

/// Our end of the call ends the call to whom it was to be given.
#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_of_ours_ends_what_a_refer_began() {
    let server = following().await;
    let mut far = Far::new(&server).await;
    let mut talk = Talk::begin(&server, "ended").await;
    assert_eq!(refer(&mut talk, &far.uri(), "").await.status(), 202);
    assert_eq!(told(&mut talk).await.0, "SIP/2.0 100 Trying");
    let invite = far.invited().await;
    far.answer(&invite, "180 Ringing", false).await;
    assert_eq!(told(&mut talk).await.0, "SIP/2.0 180 Ringing");
    let end = trunkline::call::CallCommand::End {
        message: None,
        reason: EndReason::ApiHangup,
        headers: Vec::new(),
    };
    server.running.switchboard().command(talk.id, end).await.expect("it is live");
    assert_eq!(told(&mut talk).await.0, "SIP/2.0 487 Request Terminated");
    talk.caller.hung_up().await;
    let cancel = far.peer.request("CANCEL").await;
    far.peer.answer(&cancel, "200 OK", "", "").await;
    far.peer.answer(&invite, "487 Request Terminated", "", "").await;
    assert_eq!(server.ended(talk.id).await.end_reason, Some(EndReason::ApiHangup));
}

/// A trunk that says nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refer_is_declined_where_nobody_wants_it() {
    let server = Server::start().await;
    for transport in [Transport::Udp, Transport::Tcp] {
        let line = crate::support::line::Line::new().await;
        let mut caller = crate::support::peer::Caller::new(&server, transport, "declined").await;
        caller.call(line.local).await;
        let head = "Refer-To: <sip:a@127.0.0.1>\r\n";
        assert_eq!(caller.ask("REFER", head, "").await.status(), 603);
        caller.hang_up().await;
    }
}
