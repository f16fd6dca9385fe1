//! Wideband codecs, their telephone events, and packet durations.

use super::*;
use crate::types::CodecSpec;

#[test]
fn wideband_codecs_are_agreed_by_name_and_clock() {
    let opus = "m=audio 4000 RTP/AVP 107 9 0 101 102\r\na=rtpmap:107 opus/48000/2\r\n\
                a=rtpmap:101 telephone-event/48000\r\na=rtpmap:102 telephone-event/8000\r\n\
                a=fmtp:107 stereo=1; useinbandfec=1\r\n";
    let a = answer(opus);
    let n = a.negotiated;
    assert_eq!(
        (n.codec.name, n.codec.payload_type, n.send_payload_type),
        (CodecName::Opus, 107, 107)
    );
    assert_eq!((n.dtmf_receive_pt, n.dtmf_send_pt), (Some(101), Some(101)), "at the clock of Opus");
    assert_eq!(n.dtmf_clock_rate, 48_000);
    for line in [
        "m=audio 40000 RTP/AVP 107 101\r\n",
        "a=rtpmap:107 opus/48000/2\r\n",
        "a=rtpmap:101 telephone-event/48000\r\n",
        "a=fmtp:107 useinbandfec=1;maxplaybackrate=16000\r\n",
    ] {
        assert!(a.body.contains(line), "{line}: {}", a.body);
    }
    // G.722 says 8,000 and means 16,000; its events are at 8,000.
    for offer in ["9 101", "109 101"] {
        let map = "a=rtpmap:109 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\n";
        let n = answer(&format!("m=audio 4000 RTP/AVP {offer}\r\n{map}")).negotiated;
        assert_eq!((n.codec.name, n.codec.name.clock_rate()), (CodecName::G722, 8_000));
        assert_eq!(n.codec.name.sample_rate(), crate::types::SampleRate::HZ_16000);
        assert_eq!(n.dtmf_send_pt, Some(101));
    }
    for lines in [
        "m=audio 4000 RTP/AVP 9\r\na=rtpmap:9 G722/16000\r\n",
        "m=audio 4000 RTP/AVP 107\r\na=rtpmap:107 opus/8000/2\r\n",
        "m=audio 4000 RTP/AVP 107\r\na=rtpmap:107 opus/48000/1\r\n",
        "m=audio 4000 RTP/AVP 111\r\n",
    ] {
        assert_eq!(refusal(lines), SdpError::NoCommonCodec, "{lines}");
    }
}

/// L16 (RFC 3551 section 4.5.11) has its rate in its name; one channel, and only where a trunk names it.
#[test]
fn l16_is_agreed_by_rate_where_a_trunk_names_it() {
    let codecs = vec![CodecName::L16Wide, CodecName::L16Narrow, CodecName::Pcmu];
    let named =
        || Session::new(Local { codecs: codecs.clone(), ..local() }, &mut Entropy::seeded(7));
    for (map, codec) in [
        ("L16/16000", CodecName::L16Wide),
        ("l16/16000/1", CodecName::L16Wide),
        ("L16/8000", CodecName::L16Narrow),
    ] {
        let lines = format!("m=audio 4000 RTP/AVP 98\r\na=rtpmap:98 {map}\r\na=ptime:60\r\n");
        let a = named().answer(&offer(&lines), Direction::SendRecv).unwrap();
        let n = a.negotiated;
        assert_eq!((n.codec.name, n.codec.payload_type, n.send_payload_type), (codec, 98, 98));
        // 60 ms at 16 kHz are 1,920 octets: more than a datagram of Ethernet.
        let wide = codec == CodecName::L16Wide;
        assert_eq!(n.send_ptime_ms(), if wide { 40 } else { 60 }, "{map}");
        assert_eq!(a.body.contains("a=maxptime:40\r\n"), wide, "{}", a.body);
        assert_eq!(refusal(&lines), SdpError::NoCommonCodec, "a trunk that does not name it");
    }
    for map in ["L16/16000/2", "L16/44100", "L16/48000"] {
        let lines = format!("m=audio 4000 RTP/AVP 98\r\na=rtpmap:98 {map}\r\n");
        let refused = named().answer(&offer(&lines), Direction::SendRecv).unwrap_err();
        assert_eq!(refused, SdpError::NoCommonCodec, "{map}");
    }
    // The static numbers are those of 44,100 Hz.
    let fixed = named().answer(&offer("m=audio 4000 RTP/AVP 11 10\r\n"), Direction::SendRecv);
    assert_eq!(fixed.unwrap_err(), SdpError::NoCommonCodec);

    assert!(!session().offer(Direction::SendRecv).contains("L16"), "not without being named");
    let mut session = named();
    let body = session.offer(Direction::SendRecv);
    for line in [
        "m=audio 40000 RTP/AVP 112 113 0 101 114\r\n",
        "a=rtpmap:112 L16/16000\r\n",
        "a=rtpmap:113 L16/8000\r\n",
        "a=rtpmap:114 telephone-event/16000\r\n",
        "a=maxptime:40\r\n",
    ] {
        assert!(body.contains(line), "{line}: {body}");
    }
    let lines = "m=audio 4000 RTP/AVP 96 97\r\na=rtpmap:96 L16/16000\r\n\
                 a=rtpmap:97 telephone-event/16000\r\n";
    let n = session.accept_answer(&offer(lines)).unwrap();
    assert_eq!(
        (n.codec.name, n.codec.payload_type, n.send_payload_type),
        (CodecName::L16Wide, 112, 96)
    );
    assert_eq!((n.dtmf_receive_pt, n.dtmf_send_pt), (Some(114), Some(97)));
    assert_eq!(n.dtmf_clock_rate, 16_000);
    // Events at 8,000 Hz, as many write them whatever the codec is.
    let lines = "m=audio 4000 RTP/AVP 96 97\r\na=rtpmap:96 L16/16000\r\n\
                 a=rtpmap:97 telephone-event/8000\r\n";
    let n = session.accept_answer(&offer(lines)).unwrap();
    assert_eq!((n.dtmf_receive_pt, n.dtmf_send_pt), (Some(101), Some(97)));
    assert_eq!(n.dtmf_clock_rate, 8_000);
}

#[test]
fn a_trunk_names_its_codecs_and_their_order() {
    let only = |codecs: &[CodecName]| {
        let local = Local { codecs: codecs.to_vec(), ..local() };
        Session::new(local, &mut Entropy::seeded(7))
    };
    let body = only(&[CodecName::Opus, CodecName::G722]).offer(Direction::SendRecv);
    assert!(body.contains("m=audio 40000 RTP/AVP 111 9 101 110\r\n"), "{body}");
    assert!(body.contains("a=rtpmap:110 telephone-event/48000\r\n"), "{body}");
    let narrow = only(&[CodecName::Pcma]);
    let mut narrow = narrow;
    assert!(!narrow.offer(Direction::SendRecv).contains("48000"));
    let offered = offer("m=audio 4000 RTP/AVP 9 8\r\n");
    let agreed = narrow.answer(&offered, Direction::SendRecv).unwrap().negotiated;
    assert_eq!(agreed.codec.name, CodecName::Pcma);
}

/// Each direction has the number its receiver chose (RFC 3264 section 5.1).
#[test]
fn dynamic_numbers_differ_by_direction() {
    let mut session = session();
    session.offer(Direction::SendRecv);
    let lines = "m=audio 4000 RTP/AVP 96 97\r\na=rtpmap:96 opus/48000/2\r\n\
                 a=rtpmap:97 telephone-event/48000\r\n";
    let n = session.accept_answer(&offer(lines)).unwrap();
    assert_eq!((n.codec.payload_type, n.send_payload_type), (111, 96));
    assert_eq!((n.dtmf_receive_pt, n.dtmf_send_pt), (Some(110), Some(97)));
    assert_eq!(n.alternate, None);
}

#[test]
fn an_answer_of_several_codecs_is_taken_at_its_word() {
    let mut session = session();
    session.offer(Direction::SendRecv);
    for (formats, codec, other) in [
        ("8 0 101", CodecName::Pcma, Some(CodecName::Pcmu)),
        ("9 8", CodecName::G722, Some(CodecName::Pcma)),
        ("0 18", CodecName::Pcmu, None),
    ] {
        let n =
            session.accept_answer(&offer(&format!("m=audio 4000 RTP/AVP {formats}\r\n"))).unwrap();
        assert_eq!(n.codec.name, codec);
        assert_eq!(n.alternate, other.map(CodecSpec::with_static_payload_type), "{formats}");
    }
}

#[test]
fn packets_are_as_long_as_the_peer_asks() {
    for (format, lines, expected) in [
        ("0", "", 20),
        ("0", "a=ptime:10\r\n", 10),
        ("0", "a=ptime:20.0\r\n", 20),
        ("0", "a=ptime:30\r\n", 30),
        ("0", "a=ptime:40\r\na=maxptime:30\r\n", 30),
        ("0", "a=maxptime:15\r\n", 10),
        ("0", "a=ptime:60\r\n", 60),
        ("0", "a=ptime:240\r\n", 60),
        ("0", "a=ptime:5\r\n", 10),
        ("0", "a=ptime:0\r\n", 20),
        ("9", "a=ptime:30\r\n", 30),
        ("111", "a=rtpmap:111 opus/48000/2\r\na=ptime:30\r\n", 20),
    ] {
        let n = answer(&format!("m=audio 4000 RTP/AVP {format}\r\n{lines}")).negotiated;
        assert_eq!(n.send_ptime_ms(), expected, "{lines}");
    }
}

#[test]
fn an_offer_within_a_call_begins_with_the_codec_in_use() {
    let codecs = vec![CodecName::Pcmu, CodecName::Pcma, CodecName::Opus];
    let mut session = Session::new(Local { codecs, ..local() }, &mut Entropy::seeded(7));
    let begins = |body: &str, formats: &str| {
        assert!(body.contains(&format!("m=audio 40000 RTP/AVP {formats} ")), "{formats}: {body}");
    };
    begins(&session.offer(Direction::SendRecv), "0 8 111");
    session.accept_answer(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    begins(&session.offer(Direction::SendOnly), "8 0 111");
    let theirs = offer("m=audio 4000 RTP/AVP 107 0\r\na=rtpmap:107 opus/48000/2\r\n");
    session.answer(&theirs, Direction::SendRecv).unwrap();
    begins(&session.offer(Direction::SendOnly), "107 0 8");
}
