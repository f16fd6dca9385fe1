//! The next target of an INVITE (RFC 3263 section 4.3).

use super::*;

fn at(n: u8) -> Flow {
    let remote = format!("192.0.2.{n}:5060");
    Flow::new(Transport::Udp, "192.0.2.1:5060".parse().unwrap(), remote.parse().unwrap())
}

/// A call with the targets 192.0.2.2, .3 and .4; its first INVITE is `sent[0]`.
fn placed_at_three() -> (Bench, DialogId) {
    let mut bench = Bench::new();
    let dialog = DialogId::outbound(1);
    let mut invite = outgoing(dialog, bench.flow);
    invite.others = vec![at(3), at(4)];
    bench.command(Command::Invite(Box::new(invite)));
    (bench, dialog)
}

fn targets(bench: &Bench) -> Vec<u8> {
    let last = |sent: &Sent| match sent.flow.remote.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    bench.sent.iter().filter(|sent| sent.start().starts_with("INVITE")).map(last).collect()
}

#[test]
fn silence_sends_the_invite_to_the_next_target() {
    let (mut bench, _) = placed_at_three();
    bench.pass_ms(2_999);
    assert!(targets(&bench).iter().all(|target| *target == 2));
    bench.pass_ms(1);
    let (first, second) = (bench.sent[0].clone(), bench.last().clone());
    assert_eq!(second.flow, at(3));
    for same in ["Call-ID", "CSeq", "From", "To"] {
        assert_eq!(first.header(same), second.header(same), "{same}");
    }
    assert_ne!(first.branch(), second.branch());
    bench.receive(&second.response("100 Trying", "", "", ""));
    bench.pass_ms(10_000);
    assert!(!targets(&bench).contains(&4), "a target that speaks is kept");
    bench.receive(&second.response("200 OK", "tag", CONTACT, ANSWER));
    assert_eq!(bench.names(), ["TargetFailed", "Answered"]);
}

#[test]
fn the_last_target_gets_all_the_time_there_is() {
    let (mut bench, _) = placed_at_three();
    bench.pass_ms(6_000 + 31_999);
    assert_eq!(bench.names(), ["TargetFailed", "TargetFailed"]);
    assert!([2, 3, 4].iter().all(|target| targets(&bench).contains(target)));
    bench.pass_ms(1);
    assert_eq!(bench.names().last().unwrap(), "Failed NoResponse 0");
    bench.assert_forgotten();
}

#[test]
fn a_503_and_a_broken_transport_send_it_on_at_once() {
    let (mut bench, _) = placed_at_three();
    let first = bench.last().clone();
    bench.receive(&first.response("100 Trying", "", "", ""));
    bench.receive(&first.response("503 Service Unavailable", "a", "", ""));
    assert_eq!(targets(&bench), [2, 3]);
    let starts = bench.starts(1);
    assert!(starts[0].starts_with("ACK") && starts[1].starts_with("INVITE"), "{starts:?}");
    bench.handle(Input::FlowFailed { flow: at(3) });
    assert_eq!(targets(&bench), [2, 3, 4]);
    let last = bench.last().clone();
    bench.receive(&last.response("503 Service Unavailable", "c", "", ""));
    assert_eq!(bench.names(), ["TargetFailed", "TargetFailed", "Failed Refused 503"]);
    bench.assert_forgotten();
}

#[test]
fn other_refusals_are_the_answer() {
    for status in ["404 Not Found", "486 Busy Here", "500 Server Internal Error", "603 Decline"] {
        let (mut bench, _) = placed_at_three();
        let first = bench.last().clone();
        bench.receive(&first.response(status, "a", "", ""));
        assert_eq!(targets(&bench), [2], "{status}");
        bench.assert_forgotten();
    }
}

#[test]
fn who_answers_too_late_is_told_that_nobody_is_there() {
    let (mut bench, _) = placed_at_three();
    let first = bench.last().clone();
    bench.pass_ms(3_000);
    let second = bench.last().clone();
    let from = bench.sent.len();
    bench.receive(&first.response("180 Ringing", "late", "", ""));
    bench.receive(&first.response("180 Ringing", "late", "", ""));
    assert_eq!(bench.starts(from), ["CANCEL sip:+15550100@192.0.2.2"], "once");
    assert_eq!(bench.last().branch(), first.branch());
    bench.receive(&second.response("200 OK", "tag", CONTACT, ANSWER));
    let from = bench.sent.len();
    bench.receive(&first.response("200 OK", "late", CONTACT, ANSWER));
    let starts = bench.starts(from);
    assert!(starts[0].starts_with("ACK") && starts[1].starts_with("BYE"), "{starts:?}");
    assert_eq!(bench.names(), ["TargetFailed", "Answered"]);
}

#[test]
fn a_call_that_is_canceled_goes_nowhere_else() {
    let (mut bench, dialog) = placed_at_three();
    bench.command(Command::Cancel { dialog });
    bench.pass_ms(40_000);
    assert!(targets(&bench).iter().all(|target| *target == 2));
    assert_eq!(bench.names(), ["Failed Canceled 0"]);
    bench.assert_forgotten();
}

#[test]
fn credentials_serve_at_the_next_target_as_well() {
    let mut bench = Bench::new();
    let mut invite = outgoing(DialogId::outbound(1), bench.flow);
    invite.others = vec![at(3)];
    invite.credentials =
        Some(Credentials { username: "alice".to_owned(), password: Secret::new("secret") });
    bench.command(Command::Invite(Box::new(invite)));
    let challenge = "WWW-Authenticate: Digest realm=\"x\", nonce=\"n\", qop=\"auth\"\r\n";
    for _ in 0..2 {
        let asked = bench.last().clone();
        bench.receive(&asked.response("401 Unauthorized", "a", challenge, ""));
        let answered = bench.last().clone();
        assert!(answered.header("Authorization").is_some());
        bench.receive(&answered.response("503 Service Unavailable", "a", "", ""));
    }
    assert_eq!(targets(&bench), [2, 2, 3, 3]);
    bench.assert_forgotten();
}

/// A bench with TCP of its own, and a call of which the INVITE is too long for UDP.
fn long_call(others: Vec<Flow>) -> (Bench, DialogId, Sent) {
    let mut bench =
        Bench::with(Config { advertised_tcp: Some("192.0.2.1:5060".to_owned()), ..config() });
    let dialog = DialogId::outbound(1);
    let mut invite = outgoing(dialog, bench.flow);
    invite.headers = vec![("X-Long".to_owned(), "x".repeat(1_300))];
    invite.others = others;
    bench.command(Command::Invite(Box::new(invite)));
    let first = bench.last().clone();
    assert_eq!(first.flow.transport, Transport::Tcp);
    (bench, dialog, first)
}

#[test]
fn what_is_too_long_for_udp_goes_by_udp_where_nobody_takes_tcp() {
    let (mut bench, dialog, first) = long_call(vec![at(3)]);
    bench.handle(Input::FlowFailed { flow: first.flow });
    let second = bench.last().clone();
    assert_eq!(second.flow, bench.flow, "the same target");
    assert!(second.header("Via").unwrap().starts_with("SIP/2.0/UDP"));
    assert_eq!(second.header("Contact").unwrap(), "<sip:192.0.2.1:5060>");
    for same in ["Call-ID", "CSeq", "From", "To"] {
        assert_eq!(first.header(same), second.header(same), "{same}");
    }
    bench.receive(&second.response("200 OK", "tag", CONTACT, ANSWER));
    assert_eq!(bench.names(), ["Answered"]);
    // What follows in the dialog does not ask again.
    let long = format!("{OFFER}a=x-long:{}\r\n", "x".repeat(1_300));
    bench.command(Command::Reoffer { dialog, sdp: Bytes::from(long) });
    assert!(bench.last().start().starts_with("INVITE"));
    assert_eq!(bench.last().flow, bench.flow);
}

#[test]
fn a_target_that_fails_by_udp_as_well_is_followed_by_the_next_which_may_take_tcp() {
    let (mut bench, _, first) = long_call(vec![at(3)]);
    bench.handle(Input::FlowFailed { flow: first.flow });
    bench.handle(Input::FlowFailed { flow: bench.flow });
    let next = bench.last().clone();
    assert_eq!((next.flow.remote, next.flow.transport), (at(3).remote, Transport::Tcp));
    bench.handle(Input::FlowFailed { flow: next.flow });
    assert_eq!(bench.last().flow, at(3));
    bench.handle(Input::FlowFailed { flow: at(3) });
    assert_eq!(bench.names(), ["TargetFailed", "Failed Transport 0"]);
    bench.assert_forgotten();
}

#[test]
fn a_long_request_within_a_dialog_goes_by_udp_where_nobody_takes_tcp() {
    let mut bench =
        Bench::with(Config { advertised_tcp: Some("192.0.2.1:5060".to_owned()), ..config() });
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(ANSWER.as_bytes()) });
    let to = to_us(bench.last());
    bench.receive(&request("ACK", "ack", 1, &to, "", ""));
    let long = format!("{OFFER}a=x-long:{}\r\n", "x".repeat(1_300));
    bench.command(Command::Reoffer { dialog, sdp: Bytes::from(long) });
    let first = bench.last().clone();
    assert_eq!(first.flow.transport, Transport::Tcp);
    bench.handle(Input::FlowFailed { flow: first.flow });
    let second = bench.last().clone();
    assert_eq!(second.flow.transport, Transport::Udp);
    bench.receive(&second.response("200 OK", "", CONTACT, ANSWER));
    assert_eq!(bench.names(), ["Incoming", "Established", "OfferAnswered"]);
}

/// A PRACK with a long route goes as every other long request does, also one that came to be long by credentials.
#[test]
fn a_long_prack_goes_by_tcp_and_by_udp_where_nobody_takes_it() {
    let credentials = Some(Credentials { username: "u".repeat(200), password: Secret::new("p") });
    let policy =
        CallPolicy { reliable: crate::sip::policy::Reliable::Supported, ..CallPolicy::default() };
    for (hops, transport) in [(12, Transport::Tcp), (6, Transport::Udp)] {
        let mut bench =
            Bench::with(Config { advertised_tcp: Some("192.0.2.1:5060".to_owned()), ..config() });
        let placed = outgoing(DialogId::outbound(1), bench.flow);
        let credentials = credentials.clone();
        let invite = OutgoingInvite { policy, credentials, ..placed };
        bench.command(Command::Invite(Box::new(invite)));
        let invite = bench.last().clone();
        assert_eq!(invite.flow, bench.flow);
        let hop = format!("Record-Route: <sip:192.0.2.2;lr;x={}>\r\n", "x".repeat(80));
        let head = format!("{CONTACT}Require: 100rel\r\nRSeq: 1\r\n{}", hop.repeat(hops));
        bench.receive(&invite.response("183 Session Progress", "a", &head, ANSWER));
        let first = bench.last().clone();
        assert!(first.start().starts_with("PRACK "));
        assert_eq!(first.flow.transport, transport, "{} octets", first.text.len());
        let challenge = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
        bench.receive(&first.response("407 Proxy Authentication Required", "", challenge, ""));
        let second = bench.last().clone();
        assert!(second.header("Proxy-Authorization").is_some());
        assert_eq!(second.flow.transport, Transport::Tcp, "{} octets", second.text.len());
        assert!(second.header("Via").unwrap().starts_with("SIP/2.0/TCP"));
        bench.handle(Input::FlowFailed { flow: second.flow });
        let third = bench.last().clone();
        assert_eq!((third.flow, third.header("RAck")), (bench.flow, first.header("RAck")));
        assert_eq!(third.header("CSeq").unwrap(), "4 PRACK");
        assert!(third.header("Via").unwrap().starts_with("SIP/2.0/UDP"));
        bench.receive(&third.response("200 OK", "", "", ""));
        bench.receive(&invite.response("200 OK", "a", CONTACT, ""));
        assert_eq!(bench.names(), ["Progress 183 sdp", "Answered"]);
    }
}
