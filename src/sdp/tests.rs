#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::{
    CodecOrder, Connection, Description, Direction, Local, Media, Origin, RtpMap, SdpError,
    Session, fuzz, parse,
};
use crate::types::{CodecName, Entropy};

mod dtls;
mod ice;
mod numbers;
mod secure;
mod wide;

fn local() -> Local {
    Local::new(SocketAddr::from((Ipv4Addr::new(203, 0, 113, 1), 40_000)))
}

fn session() -> Session {
    Session::new(local(), &mut Entropy::seeded(7))
}

/// The same on a socket of the other family.
fn session_v6() -> Session {
    let ip = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);
    Session::new(Local::new(SocketAddr::from((ip, 40_000))), &mut Entropy::seeded(7))
}

fn offer(lines: &str) -> Vec<u8> {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{lines}")
        .into_bytes()
}

fn answer(lines: &str) -> super::Answer {
    session().answer(&offer(lines), Direction::SendRecv).unwrap()
}

fn refusal(lines: &str) -> SdpError {
    session().answer(&offer(lines), Direction::SendRecv).unwrap_err()
}

macro_rules! peers {
    ($($name:ident: $file:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            let body = include_bytes!(concat!("../../fixtures/sdp/", $file, ".sdp"));
            let is_v6 = super::address_of(body).is_some_and(|ip| ip.is_ipv6());
            let mut session = if is_v6 { session_v6() } else { session() };
            let text = match session.answer(body, Direction::SendRecv) {
                Ok(a) => format!("{}\n{:#?}", a.body.replace('\r', ""), a.negotiated),
                Err(error) => format!("{error:?}"),
            };
            insta::assert_snapshot!(concat!("answer-", $file), text);
        }
    )*};
}

peers! {
    answers_twilio: "twilio",
    answers_telnyx: "telnyx",
    answers_asterisk: "asterisk",
    answers_freeswitch: "freeswitch",
    answers_cisco_cube: "cisco-cube",
    answers_avaya: "avaya",
    answers_teams: "teams",
    answers_baresip: "baresip",
    answers_linphone: "linphone",
    answers_sipp: "sipp",
    answers_zoiper: "zoiper",
    answers_3cx: "3cx",
}

#[test]
fn order_of_codecs_is_theirs_unless_ours_is_asked_for() {
    let body = offer("m=audio 4000 RTP/AVP 8 0\r\n");
    let theirs = session().answer(&body, Direction::SendRecv).unwrap();
    assert_eq!(theirs.negotiated.codec.name, CodecName::Pcma);
    let ours = Local { order: CodecOrder::Ours, ..local() };
    let ours = Session::new(ours, &mut Entropy::seeded(1)).answer(&body, Direction::SendRecv);
    assert_eq!(ours.unwrap().negotiated.codec.name, CodecName::Pcmu);
}

#[test]
fn dynamic_payload_types_are_mirrored() {
    let a = answer(
        "m=audio 4000 RTP/AVP 97 99\r\na=rtpmap:97 pcma/8000/1\r\na=rtpmap:99 TELEPHONE-EVENT/8000\r\n",
    );
    assert_eq!((a.negotiated.codec.payload_type, a.negotiated.send_payload_type), (97, 97));
    assert_eq!((a.negotiated.dtmf_receive_pt, a.negotiated.dtmf_send_pt), (Some(99), Some(99)));
    assert!(a.body.contains("m=audio 40000 RTP/AVP 97 99\r\na=rtpmap:97 PCMA/8000\r\n"));
    // A static number that is mapped to something else is that something.
    assert_eq!(
        refusal("m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 L16/8000\r\n"),
        SdpError::NoCommonCodec
    );
    assert_eq!(
        refusal("m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 PCMU/16000\r\n"),
        SdpError::NoCommonCodec
    );
}

#[test]
fn directions_and_every_style_of_hold() {
    let table = [
        ("", "", Direction::SendRecv),
        ("", "a=sendonly", Direction::RecvOnly),
        ("", "a=recvonly", Direction::SendOnly),
        ("", "a=inactive", Direction::Inactive),
        ("a=sendonly\r\n", "", Direction::RecvOnly),
        ("a=sendonly\r\n", "a=sendrecv", Direction::SendRecv),
        ("", "c=IN IP4 0.0.0.0", Direction::RecvOnly),
        ("", "c=IN IP4 0.0.0.0\r\na=sendonly", Direction::RecvOnly),
        ("", "c=IN IP4 0.0.0.0\r\na=recvonly", Direction::Inactive),
        ("", "a=SENDONLY", Direction::RecvOnly),
    ];
    for (at_session, at_media, expected) in table {
        // The last line of some gateways has no CRLF.
        let body = offer(&format!("{at_session}m=audio 4000 RTP/AVP 0\r\n{at_media}"));
        let a = session().answer(&body, Direction::SendRecv).unwrap();
        assert_eq!(a.negotiated.direction, expected, "{at_session:?} {at_media:?}");
        assert!(a.body.contains(&format!("a={}\r\n", expected.as_str())), "{}", a.body);
    }
    let body = offer("m=audio 4000 RTP/AVP 0\r\n");
    let held = session().answer(&body, Direction::SendOnly).unwrap();
    assert_eq!(held.negotiated.direction, Direction::SendOnly);
}

#[test]
fn addresses_and_ports() {
    let rtcp = |lines: &str| answer(lines).negotiated.remote_rtcp.to_string();
    assert_eq!(rtcp("m=audio 4000 RTP/AVP 0\r\n"), "192.0.2.1:4001");
    assert_eq!(rtcp("m=audio 4000 RTP/AVP 0\r\na=rtcp:5005\r\n"), "192.0.2.1:5005");
    assert_eq!(
        rtcp("m=audio 4000 RTP/AVP 0\r\na=rtcp:5005 IN IP4 192.0.2.9\r\n"),
        "192.0.2.9:5005"
    );
    assert_eq!(rtcp("m=audio 4000 RTP/AVP 0\r\na=rtcp:5005\r\na=rtcp-mux\r\n"), "192.0.2.1:4000");
    assert_eq!(rtcp("m=audio 65535 RTP/AVP 0\r\n"), "192.0.2.1:65535");
    let lines = "m=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n";
    assert_eq!(refusal(lines), SdpError::Family);
    let v6 = session_v6().answer(&offer(lines), Direction::SendRecv).unwrap();
    assert!(v6.body.contains("c=IN IP6 2001:db8::77\r\n"), "{}", v6.body);
    let hold = offer("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n");
    session_v6().answer(&hold, Direction::SendRecv).unwrap();
    assert_eq!(v6.negotiated.remote_rtp.to_string(), "[2001:db8::1]:4000");
    for bad in ["224.2.1.1/127", "255.255.255.255", "169.254.169.254", "pbx.example.com"] {
        let lines = format!("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 {bad}\r\n");
        assert_eq!(refusal(&lines), SdpError::Address, "{bad}");
    }
    let aside = "m=audio 4000 RTP/AVP 0\r\na=rtcp:5005 IN IP4 169.254.169.254\r\n";
    assert_eq!(refusal(aside), SdpError::Address);
}

#[test]
fn every_m_line_is_answered_in_its_place() {
    let a = answer(
        "m=video 5000 RTP/AVP 96\r\na=mid:v\r\nm=audio 0 RTP/AVP 0\r\nm=audio 4000 RTP/SAVP 0\r\n\
         m=audio 4002 RTP/AVP 18\r\nm=audio 4004 RTP/AVP 8\r\na=mid:a\r\nm=audio 4006 RTP/AVP 0\r\n\
         m=x-odd 9 UDP/ODD *\r\nm=application 9 UDP/BFCP *\r\n",
    );
    let lines: Vec<_> = a.body.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 96",
            "m=audio 0 RTP/AVP 0",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 0 RTP/AVP 18",
            "m=audio 40000 RTP/AVP 8",
            "m=audio 0 RTP/AVP 0",
            "m=x-odd 0 UDP/ODD *",
            "m=application 0 UDP/BFCP *",
        ]
    );
    assert!(a.body.contains("a=mid:v\r\n") && a.body.contains("a=mid:a\r\n"));
    assert_eq!(a.negotiated.remote_rtp.port(), 4004);
}

#[test]
fn errors_have_a_type() {
    assert_eq!(refusal(""), SdpError::NoAudio);
    assert_eq!(refusal("m=video 5000 RTP/AVP 96\r\n"), SdpError::NoAudio);
    assert_eq!(refusal("m=audio 0 RTP/AVP 0\r\n"), SdpError::NoAudio);
    for profile in ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"] {
        let lines = format!("m=audio 4000 {profile} 0\r\n");
        assert_eq!(refusal(&lines), SdpError::NoCommonCrypto);
    }

    assert_eq!(refusal("m=audio 4000 RTP/AVP 18\r\n"), SdpError::NoCommonCodec);
    for port in ["-1", "65536", "x"] {
        let lines = format!("m=audio {port} RTP/AVP 0\r\n");
        assert!(matches!(refusal(&lines), SdpError::Malformed(_)), "{port}");
    }
    for body in [&b""[..], b"\0\0\0", b"v=1\r\n", b"hello", b"v=0\r\nm=audio\r\n"] {
        assert!(matches!(parse(body), Err(SdpError::Malformed(_))), "{body:?}");
    }
    let no_c = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let error = session().answer(no_c, Direction::SendRecv).unwrap_err();
    assert_eq!(error, SdpError::Malformed("no c= line"));
}

#[test]
fn limits_hold() {
    let too_large = |lines: String| matches!(parse(&offer(&lines)), Err(SdpError::TooLarge(_)));
    assert!(too_large("m=audio 4 RTP/AVP 0\r\n".repeat(17)));
    assert!(!too_large("m=audio 4 RTP/AVP 0\r\n".repeat(16)));
    assert!(too_large("a=x\r\n".repeat(257)));
    assert!(!too_large("a=x\r\n".repeat(256)));
    assert!(too_large("b=AS:1\r\n".repeat(2_000)));
    assert!(too_large(format!("m=audio 4 RTP/AVP{}\r\n", " 0".repeat(1_000))));
    assert!(too_large(format!("a={}\r\n", "x".repeat(70_000))));
}

#[test]
fn odd_but_real_bodies_are_read() {
    for body in [
        // LF only, lines out of order, broken lines that do not matter, no s= and t=.
        "v=0\nc=IN IP4 192.0.2.1\no=user name with spaces\nb=AS\nu=no url\ne=\nm=audio 4000 RTP/AVP 0\n",
        // Session numbers too large for 64 bits, a fraction in ptime, an empty attribute.
        "v=0\r\no=- 99999999999999999999999 1 IN IP4 a\r\ns=\r\nc=IN IP4 192.0.2.1\r\nt=\r\nm=AUDIO 4000 rtp/avp 0\r\na=ptime:20.0\r\na=\r\na=rtpmap:junk\r\na=fmtp:\r\n",
    ] {
        let a = session().answer(body.as_bytes(), Direction::SendRecv).expect(body);
        assert_eq!(a.negotiated.remote_rtp.to_string(), "192.0.2.1:4000");
    }
    let latin1 = b"v=0\r\no=J\xfcrgen 1 1 IN IP4 192.0.2.1\r\ns=\xe9\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4 RTP/AVP 0\r\n";
    assert!(session().answer(latin1, Direction::SendRecv).is_ok());
}

#[test]
fn version_rises_only_on_change() {
    let version = |body: &str| {
        body.lines().nth(1).unwrap().split(' ').nth(2).unwrap().parse::<u64>().unwrap()
    };
    let mut session = session();
    let plain = offer("m=audio 4000 RTP/AVP 0\r\n");
    let hold = offer("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n");
    let mut versions = Vec::new();
    for body in [&plain, &plain, &hold, &hold, &plain] {
        versions.push(version(&session.answer(body, Direction::SendRecv).unwrap().body));
    }
    assert!(session.answer(b"junk", Direction::SendRecv).is_err());
    versions.push(version(&session.answer(&plain, Direction::SendRecv).unwrap().body));
    assert_eq!(versions, [1, 1, 2, 2, 3, 3]);
}

#[test]
fn our_offer_and_its_answer() {
    let mut session = session();
    let body = session.offer(Direction::SendRecv);
    insta::assert_snapshot!("offer", body.replace('\r', ""));
    let n = session
        .accept_answer(&offer(
            "m=audio 4000 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\na=ptime:30\r\na=maxptime:20\r\n",
        ))
        .unwrap();
    assert_eq!((n.codec.name, n.codec.payload_type, n.send_payload_type), (CodecName::Pcma, 8, 8));
    assert_eq!((n.dtmf_receive_pt, n.dtmf_send_pt), (Some(101), Some(96)));
    assert_eq!((n.remote_ptime_ms, n.rtcp_mux), (Some(20), false));
    let table = [
        ("", SdpError::Malformed("answer with other m-lines than the offer")),
        ("m=audio 0 RTP/AVP 0\r\n", SdpError::NoAudio),
        ("m=video 4000 RTP/AVP 0\r\n", SdpError::NoAudio),
        ("m=audio 4000 RTP/AVP 18\r\n", SdpError::NoCommonCodec),
        ("m=audio 4000 RTP/SAVP 0\r\n", SdpError::NoCommonCodec),
    ];
    for (lines, expected) in table {
        assert_eq!(session.accept_answer(&offer(lines)), Err(expected), "{lines}");
    }
    session.withdraw_offer();
    let late = session.accept_answer(&offer("m=audio 4000 RTP/AVP 0\r\n"));
    assert_eq!(late, Err(SdpError::Malformed("answer without offer")));
}

#[test]
fn an_offer_within_a_call_keeps_the_m_lines() {
    let mut session = session();
    session
        .answer(&offer("m=video 5 RTP/AVP 96\r\nm=audio 4 RTP/AVP 0\r\n"), Direction::SendRecv)
        .unwrap();
    let body = session.offer(Direction::SendOnly);
    let lines: Vec<_> = body.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(lines, ["m=video 0 RTP/AVP 96", "m=audio 40000 RTP/AVP 0 8 9 111 101 110"]);
    let held = offer("m=video 0 RTP/AVP 96\r\nm=audio 4 RTP/AVP 0\r\na=recvonly\r\n");
    assert_eq!(session.accept_answer(&held).unwrap().direction, Direction::SendOnly);
}

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z][A-Za-z0-9-]{0,11}"
}

fn connection() -> impl Strategy<Value = Connection> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| Connection::Ip(IpAddr::from(ip))),
        any::<[u8; 16]>().prop_map(|ip| Connection::Ip(IpAddr::from(ip))),
        "[a-z]{1,8}\\.example".prop_map(Connection::Name),
    ]
}

fn direction() -> impl Strategy<Value = Option<Direction>> {
    proptest::option::of(prop_oneof![
        Just(Direction::SendRecv),
        Just(Direction::SendOnly),
        Just(Direction::RecvOnly),
        Just(Direction::Inactive),
    ])
}

prop_compose! {
    fn rtpmap()(payload_type in 0_u8..128, encoding in token(), clock_rate in 1_u32..200_000,
                channels in proptest::option::of(any::<u8>())) -> RtpMap {
        RtpMap { payload_type, encoding, clock_rate, channels }
    }
}

prop_compose! {
    fn media()(
        kind in prop_oneof![Just("audio".to_owned()), Just("video".to_owned()), Just("odd".to_owned())],
        port in any::<u16>(),
        protocol in prop_oneof![Just("RTP/AVP".to_owned()), Just("RTP/SAVP".to_owned())],
        formats in proptest::collection::vec((0_u8..128).prop_map(|pt| pt.to_string()), 1..6),
        connection in proptest::option::of(connection()),
        mid in proptest::option::of(token()),
        rtpmaps in proptest::collection::vec(rtpmap(), 0..4),
        fmtps in proptest::collection::vec((0_u8..128, token()), 0..3),
        times in (proptest::option::of(1_u16..=1_000), proptest::option::of(1_u16..=1_000)),
        direction in direction(),
        rtcp in proptest::option::of((1_u16.., proptest::option::of(any::<[u8; 4]>().prop_map(IpAddr::from)))),
        rtcp_mux in any::<bool>(),
    ) -> Media {
        Media { crypto: Vec::new(), dtls: None, ice: None, kind, port, protocol, formats, connection, mid, rtpmaps, fmtps, ptime_ms: times.0,
                maxptime_ms: times.1, direction, rtcp, rtcp_mux }
    }
}

prop_compose! {
    fn description()(session_id in any::<u64>(), version in any::<u64>(), address in connection(),
                     connection in proptest::option::of(connection()), direction in direction(),
                     media in proptest::collection::vec(media(), 0..5)) -> Description {
        let origin = Origin { session_id, version, address };
        Description { origin, connection, direction, ice_lite: false, media }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(description in description()) {
        prop_assert_eq!(parse(description.to_string().as_bytes()), Ok(description));
    }

    #[test]
    fn an_answer_is_a_subset_of_the_offer(offer in description()) {
        let result = session().answer(offer.to_string().as_bytes(), Direction::SendRecv);
        if let Ok(a) = result {
            let answer = parse(a.body.as_bytes()).unwrap();
            prop_assert_eq!(answer.media.len(), offer.media.len());
            prop_assert_eq!(answer.media.iter().filter(|m| m.port != 0).count(), 1);
            for (ours, theirs) in answer.media.iter().zip(&offer.media) {
                prop_assert_eq!(&ours.kind, &theirs.kind);
                prop_assert_eq!(&ours.protocol, &theirs.protocol);
                prop_assert!(ours.formats.iter().all(|f| theirs.formats.contains(f)));
                prop_assert!(theirs.port != 0 || ours.port == 0);
            }
            let theirs = offer.media.iter().find(|m| m.port == a.negotiated.remote_rtp.port()).unwrap();
            let allowed = theirs.direction.or(offer.direction).unwrap_or_default().reversed();
            prop_assert_eq!(a.negotiated.direction.and(allowed), a.negotiated.direction);
        }
    }

    #[test]
    fn no_octets_do_harm(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz::sdp(&data);
    }

    #[test]
    fn no_mutation_does_harm(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut body = include_bytes!("../../fixtures/sdp/baresip.sdp").to_vec();
        let index = at.index(body.len());
        body[index] = with;
        fuzz::sdp(&body);
        body.truncate(cut.index(body.len()));
        fuzz::sdp(&body);
    }
}
