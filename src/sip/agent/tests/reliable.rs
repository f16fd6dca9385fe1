//! Reliable provisional responses (RFC 3262), both sides; forks that speak early.

use super::*;
use crate::sip::policy::Reliable;

const REQUIRED: &str = "Require: 100rel\r\n";
const SUPPORTED: &str = "Supported: 100rel, timer\r\n";

fn sdp(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

/// An incoming call whose INVITE has these lines and this body.
fn invited(head: &str, body: &str, reliable: Reliable) -> (Bench, DialogId) {
    let policy = CallPolicy { reliable, ..CallPolicy::default() };
    let mut config = config();
    config.trunks[0].policy = policy;
    let mut bench = Bench::with(config);
    bench.receive(&request("INVITE", "inv", 1, TO, head, body));
    let dialog = bench.incoming();
    (bench, dialog)
}

fn prack(bench: &Bench, cseq: u32, rseq: &str, body: &str) -> String {
    let to = to_us(bench.last());
    request("PRACK", &format!("p{cseq}"), cseq, &to, &format!("RAck: {rseq} 1 INVITE\r\n"), body)
}

#[test]
fn a_reliable_response_is_repeated_until_its_prack() {
    let (mut bench, dialog) = invited(REQUIRED, OFFER, Reliable::Off);
    bench.command(Command::Ring { dialog, sdp: None });
    let ringing = bench.last().clone();
    assert_eq!(ringing.start(), "180 Ringing");
    assert_eq!(ringing.header("Require").unwrap(), "100rel");
    let rseq = ringing.header("RSeq").unwrap();
    let from = bench.sent.len();
    bench.pass_ms(16_000);
    let at: Vec<u128> = bench.sent[from..].iter().map(|sent| sent.at_ms).collect();
    assert_eq!(at, [500, 1_500, 3_500, 7_500, 15_500], "the interval doubles without a cap");
    assert!(bench.sent[from..].iter().all(|sent| sent.text == ringing.text));
    // One that names another response, method or CSeq is none of ours.
    let other = (rseq.parse::<u32>().unwrap() + 1).to_string();
    bench.receive(&prack(&bench, 2, &other, ""));
    assert_eq!(bench.last().start(), "481 Call/Transaction Does Not Exist");
    bench.receive(&prack(&bench, 3, &rseq, ""));
    assert_eq!(bench.last().start(), "200 OK");
    assert!(bench.last().header("CSeq").unwrap().ends_with("PRACK"));
    let sent = bench.sent.len();
    bench.pass_ms(40_000);
    assert_eq!(bench.sent.len(), sent);
    // The next has the next number.
    bench.command(Command::Ring { dialog, sdp: sdp(ANSWER) });
    assert_eq!(bench.last().start(), "183 Session Progress");
    assert_eq!(bench.last().header("RSeq").unwrap(), other);
}

#[test]
fn without_prack_the_call_gets_504() {
    let (mut bench, dialog) = invited(REQUIRED, OFFER, Reliable::Off);
    bench.command(Command::Ring { dialog, sdp: None });
    bench.pass(Duration::from_secs(32));
    assert!(bench.starts(0).contains(&"504 Server Time-out"));
    assert!(bench.counted.contains(&"prack_timeout"));
    assert_eq!(bench.names(), ["Incoming", "Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn when_responses_are_reliable() {
    use Reliable::{Off, Required, Supported};
    let rows = [
        (REQUIRED, Off, true, true),
        (SUPPORTED, Off, false, false),
        (SUPPORTED, Supported, false, true),
        (SUPPORTED, Required, true, true),
        ("", Required, false, false),
    ];
    for (head, policy, plain, early) in rows {
        for (body, reliable) in [(None, plain), (sdp(ANSWER), early)] {
            let (mut bench, dialog) = invited(head, OFFER, policy);
            bench.command(Command::Ring { dialog, sdp: body.clone() });
            let is_reliable = bench.last().header("RSeq").is_some();
            assert_eq!(is_reliable, reliable, "{head} {policy:?} {body:?}");
        }
    }
}

#[test]
fn the_200_waits_for_the_prack_of_an_answer() {
    let (mut bench, dialog) = invited(REQUIRED, OFFER, Reliable::Off);
    bench.command(Command::Ring { dialog, sdp: sdp(ANSWER) });
    let rseq = bench.last().header("RSeq").unwrap();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(ANSWER.as_bytes()) });
    assert_eq!(bench.last().start(), "183 Session Progress", "section 3 forbids the 200 now");
    bench.receive(&prack(&bench, 2, &rseq, ""));
    assert_eq!(bench.starts(2), ["200 OK", "200 OK"]);
    assert!(bench.last().header("CSeq").unwrap().ends_with("INVITE"));
    assert_eq!(bench.last().body(), ANSWER, "for callers that look at the 200 only");
    // Without a description the 200 overtakes; a PRACK that crosses it is no stranger.
    let (mut bench, dialog) = invited(REQUIRED, OFFER, Reliable::Off);
    bench.command(Command::Ring { dialog, sdp: None });
    let rseq = bench.last().header("RSeq").unwrap();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(ANSWER.as_bytes()) });
    assert_eq!(bench.last().start(), "200 OK");
    bench.receive(&prack(&bench, 2, &rseq, ""));
    assert_eq!(bench.last().start(), "200 OK");
    assert!(bench.last().header("CSeq").unwrap().ends_with("PRACK"));
}

#[test]
fn an_offer_in_the_prack_and_in_an_early_update() {
    let (mut bench, dialog) = invited(REQUIRED, OFFER, Reliable::Off);
    bench.command(Command::Ring { dialog, sdp: sdp(ANSWER) });
    let rseq = bench.last().header("RSeq").unwrap();
    bench.receive(&prack(&bench, 2, &rseq, OFFER));
    let Some(Event::Offered { offer, .. }) = bench.events.last() else { panic!() };
    assert_eq!(offer.as_deref(), Some(OFFER.as_bytes()));
    // The call is answered before its offer is: one after the other.
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    bench.command(Command::AnswerOffer { dialog, answer: Ok(Bytes::from_static(b"v=0\r\n")) });
    assert_eq!(bench.starts(2), ["200 OK", "200 OK"]);
    assert!(bench.sent[2].header("CSeq").unwrap().ends_with("PRACK"));
    assert_eq!(bench.sent[2].body(), "v=0\r\n");
    let (mut bench, dialog) = invited(REQUIRED, OFFER, Reliable::Off);
    bench.command(Command::Ring { dialog, sdp: sdp(ANSWER) });
    let rseq = bench.last().header("RSeq").unwrap();
    let to = to_us(bench.last());
    bench.receive(&prack(&bench, 2, &rseq, ""));
    bench.receive(&request("UPDATE", "up", 3, &to, "", OFFER));
    assert!(matches!(bench.events.last(), Some(Event::Offered { .. })));
    bench.receive(&request("UPDATE", "up4", 4, &to, "", OFFER));
    assert_eq!(bench.last().start(), "500 Server Internal Error", "one at a time");
    bench.command(Command::AnswerOffer { dialog, answer: Err(Rejection::status(488)) });
    assert_eq!(bench.last().start(), "488 Not Acceptable Here");
    // One that nobody answers is answered all the same, also by the end of the call.
    bench.receive(&request("UPDATE", "up5", 5, &to, "", OFFER));
    bench.pass(Duration::from_secs(20));
    assert_eq!(bench.last().start(), "500 Server Internal Error");
    bench.receive(&request("UPDATE", "up6", 6, &to, "", OFFER));
    bench.receive(&request("CANCEL", "inv", 1, TO, "", ""));
    let last = bench.starts(bench.sent.len() - 3);
    assert_eq!(last, ["200 OK", "487 Request Terminated", "487 Request Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn a_delayed_offer_meets_its_answer_in_the_prack() {
    for (answer, event) in [(ANSWER, "OfferAnswered"), ("", "OfferAnswered 0")] {
        let (mut bench, dialog) = invited(REQUIRED, "", Reliable::Off);
        bench.command(Command::Ring { dialog, sdp: None });
        assert_eq!(bench.last().start(), "100 Trying", "a 180 without offer is forbidden");
        bench.command(Command::Ring { dialog, sdp: sdp(OFFER) });
        let rseq = bench.last().header("RSeq").unwrap();
        assert_eq!(bench.last().body(), OFFER);
        bench.receive(&prack(&bench, 2, &rseq, answer));
        assert_eq!(bench.names().last().unwrap(), event);
        bench.command(Command::Accept { dialog, sdp: Bytes::from_static(OFFER.as_bytes()) });
        assert_eq!(bench.last().start(), "200 OK");
        assert_eq!(bench.last().body(), "", "a body would be another offer");
    }
}

#[test]
fn our_side_acknowledges_in_order_and_once() {
    let mut bench = Bench::new();
    let dialog = DialogId::outbound(1);
    let policy = CallPolicy { reliable: Reliable::Supported, ..CallPolicy::default() };
    let invite = OutgoingInvite { policy, ..outgoing(dialog, bench.flow) };
    bench.command(Command::Invite(Box::new(invite)));
    let invite = bench.last().clone();
    assert!(invite.header("Supported").unwrap().contains("100rel"));
    assert!(invite.header("Require").is_none());
    let early = |rseq: u32, tag: &str, body: &str| {
        let head =
            format!("{CONTACT}{REQUIRED}RSeq: {rseq}\r\nRecord-Route: <sip:192.0.2.9;lr>\r\n");
        invite.response("183 Session Progress", tag, &head, body)
    };
    bench.receive(&early(7, "a", ANSWER));
    let prack = bench.last().clone();
    assert_eq!(prack.start(), "PRACK sip:peer@192.0.2.2:5060");
    assert_eq!(prack.header("RAck").unwrap(), "7 1 INVITE");
    assert_eq!(prack.header("CSeq").unwrap(), "2 PRACK");
    assert_eq!(prack.header("Route").unwrap(), "<sip:192.0.2.9;lr>");
    assert_eq!(prack.to_tag(), "a");
    bench.receive(&prack.response("200 OK", "", "", ""));
    let sent = bench.sent.len();
    bench.receive(&early(7, "a", ANSWER));
    bench.receive(&early(9, "a", ANSWER));
    assert_eq!(bench.sent.len(), sent, "heard before, and out of turn");
    bench.receive(&early(8, "a", ""));
    assert_eq!(bench.last().header("RAck").unwrap(), "8 1 INVITE");
    // Another fork counts for itself.
    bench.receive(&early(1, "b", ANSWER));
    assert_eq!(bench.last().header("RAck").unwrap(), "1 1 INVITE");
    assert_eq!(bench.last().to_tag(), "b");
    bench.receive(&invite.response("200 OK", "a", CONTACT, ""));
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    assert_eq!(bench.last().header("CSeq").unwrap(), "5 BYE", "above every PRACK");
    let names = ["Progress 183 sdp", "Progress 183", "Progress 183 sdp", "Answered"];
    assert_eq!(bench.names(), names);
    let bye = bench.last().response("200 OK", "", "", "");
    bench.receive(&bye);
    bench.assert_forgotten();
}

#[test]
fn a_challenged_prack_comes_again() {
    let mut bench = Bench::new();
    let credentials = Some(Credentials { username: "u".to_owned(), password: Secret::new("p") });
    let policy = CallPolicy { reliable: Reliable::Required, ..CallPolicy::default() };
    let placed = outgoing(DialogId::outbound(1), bench.flow);
    bench.command(Command::Invite(Box::new(OutgoingInvite { credentials, policy, ..placed })));
    let invite = bench.last().clone();
    assert_eq!(invite.header("Require").unwrap(), "100rel");
    let head = format!("{CONTACT}{REQUIRED}RSeq: 1\r\n");
    bench.receive(&invite.response("180 Ringing", "a", &head, ""));
    let first = bench.last().clone();
    let challenge = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
    bench.receive(&first.response("407 Proxy Authentication Required", "", challenge, ""));
    let second = bench.last().clone();
    assert!(second.start().starts_with("PRACK "));
    assert_eq!(second.header("RAck"), first.header("RAck"));
    assert_eq!(second.header("CSeq").unwrap(), "3 PRACK");
    assert!(second.header("Proxy-Authorization").is_some());
    assert_ne!(second.branch(), first.branch());
}

/// Early media follows the fork that answers, and leaves the one that is gone.
#[test]
fn early_media_follows_the_winning_fork() {
    let (mut bench, _) = placed();
    let invite = bench.last().clone();
    assert!(invite.header("Supported").unwrap().ends_with("199"));
    let said = |bench: &Bench| match bench.events.last() {
        Some(Event::Progress { sdp, .. } | Event::Answered { sdp, .. }) => sdp.clone(),
        other => panic!("{other:?}"),
    };
    bench.receive(&invite.response("183 Session Progress", "a", CONTACT, ANSWER));
    bench.receive(&invite.response("183 Session Progress", "b", CONTACT, OFFER));
    assert_eq!(said(&bench).as_deref(), Some(OFFER.as_bytes()));
    bench.receive(&invite.response("199 Early Dialog Terminated", "b", "", ""));
    assert_eq!(said(&bench).as_deref(), Some(ANSWER.as_bytes()), "b is gone");
    bench.receive(&invite.response("183 Session Progress", "c", CONTACT, OFFER));
    bench.receive(&invite.response("180 Ringing", "c", CONTACT, ""));
    bench.receive(&invite.response("199 Early Dialog Terminated", "unheard", "", ""));
    // A 200 without body: what this fork said, not what was said last.
    bench.receive(&invite.response("200 OK", "a", CONTACT, ""));
    assert_eq!(said(&bench).as_deref(), Some(ANSWER.as_bytes()));
}
