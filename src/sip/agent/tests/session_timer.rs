//! Session timers (RFC 4028) on both sides, in virtual time.

use super::super::super::event::SessionEnd;
use super::pair::Pair;
use super::*;

const ALLOWS: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n";

/// An answered incoming call whose INVITE had these lines.
fn answered_with(head: &str) -> (Bench, DialogId, String) {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, head, OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(ANSWER.as_bytes()) });
    let to = to_us(bench.last());
    bench.receive(&request("ACK", "ack", 1, &to, "", ""));
    (bench, dialog, to)
}

/// A call of ours that a 200 with these lines answered.
fn placed_with(head: &str) -> (Bench, DialogId) {
    let (mut bench, dialog) = placed();
    let ok = bench.last().response("200 OK", "tag", &format!("{CONTACT}{head}"), ANSWER);
    bench.receive(&ok);
    (bench, dialog)
}

/// The 200 to the INVITE.
fn ok(bench: &Bench) -> &Sent {
    bench.sent.iter().find(|sent| sent.start() == "200 OK").unwrap()
}

fn why(bench: &Bench) -> SessionEnd {
    let end = bench.events.iter().find_map(|event| match event {
        Event::SessionExpired { why, .. } => Some(*why),
        _ => None,
    });
    end.expect("the session expires")
}

#[test]
fn what_our_200_says_of_the_timer() {
    let rows = [
        ("Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\n", "1800;refresher=uac", true),
        ("Supported: timer\r\nx: 120;refresher=uas\r\n", "120;refresher=uas", true),
        ("Supported: timer\r\nSession-Expires: 600\r\n", "600;refresher=uas", true),
        ("Require: timer\r\nSession-Expires: 600;refresher=uac\r\n", "600;refresher=uac", true),
        ("Supported: timer\r\n", "1800;refresher=uas", true),
        ("Supported: timer\r\nMin-SE: 3600\r\n", "3600;refresher=uas", true),
        ("Session-Expires: 600\r\n", "600;refresher=uas", false),
        ("", "", false),
    ];
    for (head, expires, required) in rows {
        let (bench, _, _) = answered_with(head);
        let ok = ok(&bench);
        assert_eq!(ok.header("Session-Expires").unwrap_or_default(), expires, "{head}");
        assert_eq!(ok.header("Require").as_deref() == Some("timer"), required, "{head}");
        assert!(ok.header("Supported").unwrap().contains("timer"));
    }
}

#[test]
fn an_interval_too_short_gets_422() {
    let short = "Supported: timer\r\nSession-Expires: 60;refresher=uac\r\n";
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, short, OFFER));
    assert_eq!(bench.last().start(), "422 Session Interval Too Small");
    assert_eq!(bench.last().header("Min-SE").unwrap(), "90");
    bench.receive(&request("ACK", "inv", 1, &to_us(bench.last()), "", ""));
    assert!(bench.events.is_empty());
    bench.assert_forgotten();
    // Within a call: the session goes on as it was.
    let (mut bench, _, to) = answered_with("Supported: timer\r\nSession-Expires: 600\r\n");
    for (method, cseq) in [("INVITE", 2), ("UPDATE", 3)] {
        bench.receive(&request(method, method, cseq, &to, short, ""));
        assert_eq!(bench.last().start(), "422 Session Interval Too Small", "{method}");
    }
    assert_eq!(bench.names(), ["Incoming", "Established"]);
}

#[test]
fn a_422_to_our_invite_is_followed() {
    let (mut bench, _) = placed();
    let first = bench.last().clone();
    assert_eq!(first.header("Session-Expires").unwrap(), "1800");
    assert!(first.header("Supported").unwrap().contains("timer"));
    assert!(first.header("Min-SE").is_none(), "90 is understood");
    bench.receive(&first.response("422 Session Interval Too Small", "t", "Min-SE: 3600\r\n", ""));
    let second = bench.last().clone();
    assert_eq!(second.start(), first.start());
    assert_eq!(second.header("Session-Expires").unwrap(), "3600");
    assert_eq!(second.header("Min-SE").unwrap(), "3600");
    assert_eq!(second.header("Call-ID"), first.header("Call-ID"));
    assert_eq!(second.header("From"), first.header("From"));
    assert_eq!(second.header("CSeq").unwrap(), "2 INVITE");
    let ok = second.response("200 OK", "tag", CONTACT, ANSWER);
    bench.receive(&ok);
    assert_eq!(bench.names(), ["Answered"]);
    // One that asks for no more than it got, or for ever more, is a refusal.
    let (mut bench, _) = placed();
    let refusal = bench.last().response("422 Too Small", "t", "Min-SE: 1800\r\n", "");
    bench.receive(&refusal);
    assert_eq!(bench.names(), ["Failed Refused 422"]);
    let (mut bench, _) = placed();
    for min in ["Min-SE: 2000\r\n", "Min-SE: 3000\r\n", "Min-SE: 4000\r\n", "Min-SE: 5000\r\n"] {
        let invite = bench.sent.iter().rev().find(|sent| sent.start().starts_with("INVITE"));
        let refusal = invite.unwrap().response("422 Too Small", "t", min, "");
        bench.receive(&refusal);
    }
    assert_eq!(bench.names(), ["Failed Refused 422"]);
    bench.assert_forgotten();
}

#[test]
fn without_a_timer_nothing_is_said_of_it() {
    let quiet = CallPolicy { session_expires_s: Some(0), ..CallPolicy::default() };
    let mut bench = Bench::new();
    let invite = OutgoingInvite { policy: quiet, ..outgoing(DialogId::outbound(1), bench.flow) };
    bench.command(Command::Invite(Box::new(invite)));
    assert!(bench.last().header("Session-Expires").is_none());
    assert!(!bench.last().header("Supported").unwrap().contains("timer"));
    // The callee that imposes one gets it all the same.
    let head = format!("{CONTACT}{ALLOWS}Require: timer\r\nSession-Expires: 120;refresher=uac\r\n");
    let ok = bench.last().response("200 OK", "tag", &head, ANSWER);
    bench.receive(&ok);
    bench.pass(Duration::from_secs(60));
    assert!(bench.last().start().starts_with("UPDATE "));
}

#[test]
fn we_refresh_by_update_at_half_the_interval() {
    let imposed = format!("{ALLOWS}Session-Expires: 120\r\n");
    let (mut bench, _) = placed_with(&imposed);
    for round in 1..=70 {
        bench.pass(Duration::from_secs(60));
        let update = bench.last().clone();
        assert!(update.start().starts_with("UPDATE "), "round {round}");
        assert_eq!(update.at_ms, 60_000 * round);
        assert_eq!(update.header("Session-Expires").unwrap(), "120;refresher=uac");
        assert_eq!(update.body(), "");
        let ok = update.response("200 OK", "", "Session-Expires: 120;refresher=uac\r\n", "");
        bench.receive(&ok);
    }
    assert_eq!(bench.names(), ["Answered"]);
}

#[test]
fn we_refresh_by_an_unchanged_offer_where_there_is_no_update() {
    let head = "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n";
    let (mut bench, _, _) = answered_with(head);
    for _ in 0..3 {
        bench.pass(Duration::from_secs(45));
        let reinvite = bench.last().clone();
        assert!(reinvite.start().starts_with("INVITE "));
        assert_eq!(reinvite.body(), ANSWER, "our last description, octet by octet");
        let ok = reinvite.response("200 OK", "", CONTACT, OFFER);
        bench.receive(&ok);
        assert!(bench.last().start().starts_with("ACK "));
        let Some(Event::Refreshed { answer, .. }) = bench.events.last() else { panic!() };
        assert_eq!(answer, OFFER);
    }
    assert!(!bench.names().contains(&"OfferAnswered".to_owned()), "nobody asked for an offer");
}

#[test]
fn update_that_is_not_taken_after_all_becomes_a_reinvite() {
    let head = format!("{ALLOWS}Supported: timer\r\nSession-Expires: 90\r\n");
    let (mut bench, _, _) = answered_with(&head);
    bench.pass(Duration::from_secs(45));
    let refusal = bench.last().response("405 Method Not Allowed", "", "", "");
    bench.receive(&refusal);
    assert!(bench.last().start().starts_with("INVITE "));
    assert_eq!(bench.last().body(), ANSWER);
    let reinvite = bench.last().clone();
    bench.receive(&reinvite.response("200 OK", "", CONTACT, OFFER));
    bench.pass(Duration::from_secs(45));
    assert!(bench.last().start().starts_with("INVITE "), "it is remembered");
}

#[test]
fn a_refresh_that_fails_ends_the_call() {
    for (answer, allow) in [
        (Some("481 Call/Transaction Does Not Exist"), ALLOWS),
        (Some("408 Request Timeout"), ALLOWS),
        (Some("481 Call/Transaction Does Not Exist"), ""),
        (Some("408 Request Timeout"), ""),
        (None, ALLOWS),
        (None, ""),
    ] {
        let head = format!("{allow}Supported: timer\r\nSession-Expires: 300\r\n");
        let (mut bench, _, _) = answered_with(&head);
        bench.pass(Duration::from_secs(150));
        let refresh = bench.last().clone();
        match answer {
            Some(status) => bench.receive(&refresh.response(status, "", "", "")),
            None => bench.pass(Duration::from_secs(32)),
        }
        let bye = bench.last().clone();
        assert!(bye.start().starts_with("BYE "), "{answer:?}: {}", bye.start());
        assert_eq!(bye.header("Reason").unwrap(), "Q.850;cause=102;text=\"session expired\"");
        assert_eq!(why(&bench), SessionEnd::RefreshFailed);
        bench.receive(&bye.response("481 Call/Transaction Does Not Exist", "", "", ""));
        assert_eq!(bench.names().last().unwrap(), "Terminated");
        bench.assert_forgotten();
    }
}

#[test]
fn a_refresh_that_is_refused_is_tried_again_until_the_expiry() {
    let head = format!("{ALLOWS}Supported: timer\r\nSession-Expires: 240\r\n");
    let (mut bench, _, _) = answered_with(&head);
    bench.pass(Duration::from_secs(120));
    let mut tries = 0;
    while bench.last().start().starts_with("UPDATE ") {
        tries += 1;
        let refusal = bench.last().response("503 Service Unavailable", "", "", "");
        bench.receive(&refusal);
        bench.pass(Duration::from_secs(30));
    }
    // 120, 150, 180; over at 240 - 32.
    assert_eq!(tries, 3);
    assert!(bench.last().start().starts_with("BYE "));
    assert_eq!(why(&bench), SessionEnd::NotRefreshed);
    let bye = bench.sent.iter().find(|sent| sent.start().starts_with("BYE ")).unwrap();
    assert_eq!(bye.at_ms, 208_000);
}

#[test]
fn a_422_to_our_refresh_raises_the_interval() {
    let head = format!("{ALLOWS}Supported: timer\r\nSession-Expires: 90\r\n");
    let (mut bench, _, _) = answered_with(&head);
    bench.pass(Duration::from_secs(45));
    let refusal = bench.last().response("422 Too Small", "", "Min-SE: 600\r\n", "");
    bench.receive(&refusal);
    let update = bench.last().clone();
    assert_eq!(update.header("Session-Expires").unwrap(), "600;refresher=uac");
    assert_eq!(update.header("Min-SE").unwrap(), "600");
    bench.receive(&update.response("200 OK", "", "Session-Expires: 600;refresher=uac\r\n", ""));
    bench.pass(Duration::from_secs(299));
    assert_eq!(bench.last().text, update.text);
    bench.pass(Duration::from_secs(1));
    assert_ne!(bench.last().text, update.text);
}

#[test]
fn a_session_they_do_not_refresh_is_ended() {
    let head = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
    let (mut bench, dialog, to) = answered_with(head);
    // An UPDATE, a re-INVITE and a hold each start the time anew.
    bench.pass(Duration::from_secs(59));
    bench.receive(&request("UPDATE", "up", 2, &to, head, ""));
    assert_eq!(bench.last().header("Session-Expires").unwrap(), "90;refresher=uac");
    bench.pass(Duration::from_secs(59));
    bench.receive(&request("INVITE", "re", 3, &to, head, OFFER));
    bench.command(Command::AnswerOffer { dialog, answer: Ok(Bytes::from_static(b"v=0\r\n")) });
    assert_eq!(bench.last().header("Require").unwrap(), "timer");
    bench.receive(&request("ACK", "reack", 3, &to, "", ""));
    bench.pass(Duration::from_millis(59_999));
    assert_eq!(bench.last().start(), "200 OK");
    bench.pass_ms(1);
    assert!(bench.last().start().starts_with("BYE "));
    assert_eq!(why(&bench), SessionEnd::NotRefreshed);
    let bye = bench.last().response("200 OK", "", "", "");
    bench.receive(&bye);
    bench.assert_forgotten();
}

#[test]
fn a_refresh_does_not_collide_with_an_offer() {
    // Their hold is open when our refresh is due: it waits.
    let head = "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n";
    let (mut bench, dialog, to) = answered_with(head);
    bench.pass(Duration::from_secs(44));
    bench.receive(&request("INVITE", "re", 2, &to, "Supported: timer\r\n", OFFER));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.last().start(), "100 Trying");
    bench.command(Command::AnswerOffer { dialog, answer: Ok(Bytes::from_static(b"v=0\r\n")) });
    bench.receive(&request("ACK", "reack", 2, &to, "", ""));
    let sent = bench.sent.len();
    bench.pass(Duration::from_secs(44));
    assert_eq!(bench.sent.len(), sent, "their offer was a refresh");
    bench.pass(Duration::from_secs(2));
    let refresh = bench.last().clone();
    assert!(refresh.start().starts_with("INVITE "));
    // Their offer crosses it: both get 491, and ours comes again.
    bench.receive(&request("INVITE", "re3", 3, &to, "", OFFER));
    assert_eq!(bench.last().start(), "491 Request Pending");
    bench.receive(&request("ACK", "re3", 3, &to, "", ""));
    bench.receive(&refresh.response("491 Request Pending", "", "", ""));
    bench.pass_ms(4_100);
    let again = bench.last().clone();
    assert!(again.start().starts_with("INVITE "));
    assert_eq!(again.body(), refresh.body());
    // Our own hold meanwhile is refused to whoever asked, not lost.
    bench.command(Command::Reoffer { dialog, sdp: Bytes::from_static(OFFER.as_bytes()) });
    assert_eq!(bench.names().last().unwrap(), "CommandRefused reoffer");
    bench.receive(&again.response("200 OK", "", CONTACT, OFFER));
    bench.command(Command::Reoffer { dialog, sdp: Bytes::from_static(OFFER.as_bytes()) });
    assert!(bench.last().start().starts_with("INVITE "));
    assert_eq!(bench.last().body(), OFFER);
}

/// Answers whatever was offered to either side since the last time.
fn answer_offers(pair: &mut Pair, seen: &mut [usize; 2]) {
    for (bench, seen) in pair.benches.iter_mut().zip(seen) {
        let offered: Vec<DialogId> = bench.events[*seen..]
            .iter()
            .filter_map(|event| match event {
                Event::Offered { dialog, .. } => Some(*dialog),
                _ => None,
            })
            .collect();
        *seen = bench.events.len();
        for dialog in offered {
            let sdp = Bytes::from_static(ANSWER.as_bytes());
            bench.command(Command::AnswerOffer { dialog, answer: Ok(sdp) });
        }
    }
}

/// A call of 70 minutes between two agents, whoever refreshes and however, over a link that loses
/// messages, with holds at any time. Then one side falls silent.
#[test]
fn seventy_minutes_with_either_refresher() {
    let by_caller = |text: String| {
        text.replace("Session-Expires: 90\r\n", "Session-Expires: 90;refresher=uac\r\n")
    };
    let no_update = |text: String| text.replace(" UPDATE,", "");
    let unasked = |text: String| {
        // The first INVITE is the only message that names no refresher.
        text.replace("Session-Expires: 90\r\n", "")
    };
    let edits: [fn(String) -> String; 5] = [
        |text| text,
        by_caller,
        no_update,
        |text| {
            text.replace(" UPDATE,", "")
                .replace("Session-Expires: 90\r\n", "Session-Expires: 90;refresher=uac\r\n")
        },
        unasked,
    ];
    let session = super::super::super::config::SessionConfig { expires_s: 90, min_s: 90 };
    for (seed, edit) in edits.into_iter().enumerate() {
        for loss in [0, 5] {
            let what = format!("edit {seed}, loss {loss}");
            let config = Config { session, ..config() };
            let mut pair = Pair::with(seed as u64, loss, config);
            pair.edit = edit;
            let out = DialogId::outbound(1);
            let invite = outgoing(out, pair.benches[0].flow);
            pair.benches[0].command(Command::Invite(Box::new(invite)));
            pair.run(Duration::from_secs(5));
            let inn = pair.benches[1].incoming();
            let sdp = Bytes::from_static(ANSWER.as_bytes());
            pair.benches[1].command(Command::Accept { dialog: inn, sdp });
            let mut seen = [0; 2];
            for second in 0..4_200_u32 {
                pair.run(Duration::from_secs(1));
                answer_offers(&mut pair, &mut seen);
                if second % 61 == 7 {
                    let side = (second / 61 % 2) as usize;
                    let dialog = if side == 0 { out } else { inn };
                    let sdp = Bytes::from_static(OFFER.as_bytes());
                    pair.benches[side].command(Command::Reoffer { dialog, sdp });
                }
            }
            for bench in &pair.benches {
                let names = bench.names();
                let over = names.iter().any(|n| n == "SessionExpired" || n == "Terminated");
                assert!(!over, "{what}: {names:?}");
                assert_eq!(bench.agent.counts().dialogs, 1, "{what}");
            }
            let refreshes = |bench: &Bench| {
                bench.sent.iter().filter(|sent| sent.text.contains("refresher=")).count()
            };
            assert!(pair.benches.iter().map(refreshes).sum::<usize>() > 70, "{what}");
            // Everything is lost from now on: each ends the call by itself, by its own timer.
            pair.loss_percent = 100;
            pair.run(Duration::from_secs(150));
            for bench in &pair.benches {
                let ends = bench.names().iter().filter(|n| *n == "SessionExpired").count();
                assert_eq!(ends, 1, "{what}: {:?}", bench.names());
            }
            pair.run(Duration::from_secs(700));
            for bench in &pair.benches {
                assert_eq!(bench.agent.counts(), Counts::default(), "{what}");
                assert_eq!(bench.agent.next_wake(), None, "{what}");
            }
        }
    }
}
