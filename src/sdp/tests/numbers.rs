//! Payload type numbers from the first description of a session to its end.

use super::*;

/// Formats of our m-line, with the maps of the dynamic ones.
fn formats(body: &str) -> Vec<String> {
    let description = parse(body.as_bytes()).unwrap();
    let media = description.media.iter().find(|media| media.port != 0).unwrap();
    let named = |number: u8| match media.rtpmap(number) {
        Some(map) => format!("{number} {}/{}", map.encoding, map.clock_rate),
        None => number.to_string(),
    };
    media.payload_types().map(named).collect()
}

fn line(numbers: &str, maps: &[&str]) -> Vec<u8> {
    let maps: String = maps.iter().map(|map| format!("a=rtpmap:{map}\r\n")).collect();
    offer(&format!("m=audio 4000 RTP/AVP {numbers}\r\n{maps}"))
}

#[test]
fn an_offer_within_a_call_keeps_the_numbers_of_theirs() {
    let mut session = session();
    let maps = [
        "107 opus/48000/2",
        "97 PCMU/8000",
        "100 telephone-event/48000",
        "102 telephone-event/8000",
    ];
    session.answer(&line("107 97 100 102", &maps), Direction::SendRecv).unwrap();
    let kept = [
        "107 opus/48000",
        "97 PCMU/8000",
        "8 PCMA/8000",
        "9 G722/8000",
        "102 telephone-event/8000",
        "100 telephone-event/48000",
    ];
    // Hold, resume, and once more after an answer with numbers of its own.
    for direction in [Direction::SendOnly, Direction::SendRecv, Direction::SendOnly] {
        assert_eq!(formats(&session.offer(direction)), kept);
        let theirs = line("120 121", &["120 opus/48000/2", "121 telephone-event/48000"]);
        let n = session.accept_answer(&theirs).unwrap();
        assert_eq!((n.codec.payload_type, n.send_payload_type), (107, 120));
        assert_eq!((n.dtmf_receive_pt, n.dtmf_send_pt), (Some(100), Some(121)));
    }
    // The refresh of a session says the same again.
    session.offer_again();
    let theirs = line("120 121", &["120 opus/48000/2", "121 telephone-event/48000"]);
    assert_eq!(session.accept_answer(&theirs).unwrap().codec.payload_type, 107);
}

#[test]
fn what_is_new_gets_a_number_that_never_stood_for_anything() {
    let mut session = session();
    // Theirs are ours with other meanings, and 110 is something we do not know.
    let maps = ["101 opus/48000/2", "111 telephone-event/8000", "110 speex/8000"];
    session.answer(&line("101 0 111 110", &maps), Direction::SendRecv).unwrap();
    let ours = [
        "101 opus/48000",
        "0 PCMU/8000",
        "8 PCMA/8000",
        "9 G722/8000",
        "111 telephone-event/8000",
        "96 telephone-event/48000",
    ];
    for direction in [Direction::SendOnly, Direction::SendRecv] {
        assert_eq!(formats(&session.offer(direction)), ours);
    }
    // They change to A-law and forget the rest: it is still what it was.
    session.answer(&line("8", &[]), Direction::SendRecv).unwrap();
    let mut again = formats(&session.offer(Direction::SendOnly));
    assert_eq!(again.first().map(String::as_str), Some("8 PCMA/8000"));
    again.sort();
    let mut before = ours;
    before.sort_unstable();
    assert_eq!(again, before);
    // Their answer's own numbers are not given to anything else.
    session.accept_answer(&line("8 97", &["97 telephone-event/8000"])).unwrap();
    // A peer that gives 96 another meaning has its way, in the answer and from then on.
    let n = session.answer(&line("96", &["96 opus/48000/2"]), Direction::SendRecv).unwrap();
    assert_eq!(n.negotiated.codec.payload_type, 96);
    let body = formats(&session.offer(Direction::SendOnly));
    assert_eq!(body.first().map(String::as_str), Some("96 opus/48000"));
    assert_eq!(body.last().map(String::as_str), Some("98 telephone-event/48000"));
}

#[test]
fn numbers_of_an_answer_are_theirs_alone_until_they_offer() {
    let mut session = session();
    let ours = [
        "111 opus/48000",
        "0 PCMU/8000",
        "8 PCMA/8000",
        "9 G722/8000",
        "101 telephone-event/8000",
        "110 telephone-event/48000",
    ];
    session.offer(Direction::SendRecv);
    let maps = ["96 opus/48000/2", "97 telephone-event/48000"];
    let n = session.accept_answer(&line("96 97", &maps)).unwrap();
    assert_eq!((n.codec.payload_type, n.send_payload_type), (111, 96));
    assert_eq!(formats(&session.offer(Direction::SendOnly)), ours);
    session.withdraw_offer();
    let n = session.answer(&line("96 97", &maps), Direction::SendRecv).unwrap();
    assert_eq!(formats(&n.body), ["96 opus/48000", "97 telephone-event/48000"]);
    let mut theirs = ours;
    (theirs[0], theirs[5]) = ("96 opus/48000", "97 telephone-event/48000");
    assert_eq!(formats(&session.offer(Direction::SendOnly)), theirs);
    // What nobody takes changes nothing.
    let refused = session.answer(&line("8", &["8 speex/8000"]), Direction::SendRecv);
    assert_eq!(refused.unwrap_err(), SdpError::NoCommonCodec);
    assert_eq!(formats(&session.offer(Direction::SendOnly)), theirs);
}

/// Another of several numbers for the same codec is as good, but the one in use is the one we took.
#[test]
fn of_two_numbers_for_one_codec_the_one_taken_stays() {
    let mut session = session();
    let maps = [
        "96 opus/48000/2",
        "97 opus/48000/2",
        "98 telephone-event/8000",
        "99 telephone-event/8000",
    ];
    session.answer(&line("96 97 98 99", &maps), Direction::SendRecv).unwrap();
    let body = formats(&session.offer(Direction::SendOnly));
    assert_eq!(body.first().map(String::as_str), Some("96 opus/48000"));
    assert!(body.contains(&"98 telephone-event/8000".to_owned()), "{body:?}");
}

#[test]
fn a_peer_that_uses_up_every_number_still_gets_offers() {
    let mut session = session();
    for from in (0_u8..128).step_by(32) {
        let numbers: Vec<String> = (from..from + 32).map(|number| number.to_string()).collect();
        let maps: Vec<String> =
            (from..from + 32).map(|number| format!("{number} x/8000")).collect();
        let maps: Vec<&str> = maps.iter().map(String::as_str).chain(["0 PCMU/8000"]).collect();
        let text = format!("{} 0", numbers.join(" "));
        // The first map of a number counts.
        let mut maps = maps;
        maps.rotate_right(1);
        session.answer(&line(&text, &maps), Direction::SendRecv).unwrap();
    }
    let mut numbers: Vec<u8> = formats(&session.offer(Direction::SendRecv))
        .iter()
        .map(|format| format.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers.len(), 6);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 6, "each format has its own");
}
