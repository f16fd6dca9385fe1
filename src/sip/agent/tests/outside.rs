//! What stands outside any dialog: OPTIONS of ours, and peers that come and go while we run.

use super::*;
use crate::sip::Ping;

fn ping(bench: &mut Bench) -> DialogId {
    let id = DialogId::outbound(9);
    let ping = Ping {
        id,
        flow: bench.flow,
        uri: "sip:192.0.2.2".to_owned(),
        from: "<sip:192.0.2.1>".to_owned(),
        route: vec!["<sip:proxy.example;lr>".to_owned()],
    };
    bench.command(Command::Ping(Box::new(ping)));
    id
}

fn answers(bench: &Bench) -> Vec<Option<u16>> {
    let status = |event: &Event| match event {
        Event::Pinged { status, .. } => Some(*status),
        _ => None,
    };
    bench.events.iter().filter_map(status).collect()
}

#[test]
fn a_ping_is_told_of_its_final_answer_or_of_silence() {
    for (line, expected) in [("200 OK", 200), ("401 Unauthorized", 401), ("503 Away", 503)] {
        let mut bench = Bench::new();
        ping(&mut bench);
        let options = bench.last().clone();
        assert_eq!(options.start(), "OPTIONS sip:192.0.2.2");
        assert_eq!(options.header("Route").unwrap(), "<sip:proxy.example;lr>");
        bench.receive(&options.response("100 Trying", "", "", ""));
        assert!(answers(&bench).is_empty());
        bench.receive(&options.response(line, "peer", "", ""));
        assert_eq!(answers(&bench), [Some(expected)]);
        bench.assert_forgotten();
    }
    let mut silent = Bench::new();
    ping(&mut silent);
    silent.pass_ms(31_999);
    assert!(answers(&silent).is_empty());
    silent.pass_ms(1);
    assert_eq!(answers(&silent), [None]);
    silent.assert_forgotten();
}

#[test]
fn peers_come_and_go_while_calls_go_on() {
    let (mut bench, dialog, _) = answered();
    bench.command(Command::SetTrunks(Vec::new()));
    let from = bench.sent.len();
    bench.receive(&request("OPTIONS", "z9hG4bKq", 1, "<sip:a@192.0.2.1>", "", ""));
    assert_eq!(bench.starts(from), Vec::<String>::new(), "a stranger's OPTIONS finds nobody");
    assert_eq!(bench.counted.last(), Some(&"unknown_source"));
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    assert!(bench.last().start().starts_with("BYE "), "the call is still ours");
    bench.command(Command::SetTrunks(config().trunks));
    let from = bench.sent.len();
    bench.receive(&request("OPTIONS", "z9hG4bKr", 2, "<sip:a@192.0.2.1>", "", ""));
    assert_eq!(bench.starts(from), ["200 OK"]);
}
