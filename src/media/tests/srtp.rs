//! Two encrypted voice paths.

use super::*;
use crate::types::{DtlsPlan, DtlsRole, Fingerprint, KeyingFailure};

fn keys(suite: SrtpSuite, seed: u64) -> (SrtpKeys, SrtpKeys) {
    let mut entropy = Entropy::seeded(seed);
    let (send, receive) =
        (SrtpKey::generate(suite, &mut entropy), SrtpKey::generate(suite, &mut entropy));
    (SrtpKeys { send, receive }, SrtpKeys { send: receive, receive: send })
}

fn agree(pair: &mut Pair, (alice, bob): (SrtpKeys, SrtpKeys), direction: MediaDirection) {
    let now = pair.now;
    let format = |remote, srtp| StreamFormat { srtp: Some(srtp), direction, ..format(remote) };
    pair.alice.command(now, MediaCommand::Configure(format(BOB, alice)));
    pair.bob.command(now, MediaCommand::Configure(format(ALICE, bob)));
}

#[test]
fn an_encrypted_tone_crosses_in_every_suite() {
    for (suite, seed) in SrtpSuite::ALL.into_iter().zip(1..) {
        let mut pair = Pair::new();
        agree(&mut pair, keys(suite, seed), MediaDirection::SendRecv);
        pair.alice.say(1, 50, 440.0, true);
        // Reports come too: the longest wait for one is 7.5 s.
        pair.run(8_000);
        let heard = pair.bob.heard();
        let audible = heard.chunks(160).filter(|frame| share(frame, 440.0) > 0.9).count();
        assert!((49..=50).contains(&audible), "{suite}: {audible} frames of the tone");
        let stats = pair.bob.stream.stats();
        assert_eq!((stats.inbound.unauthenticated, stats.inbound.replayed), (0, 0));
        assert!(stats.inbound.control_packets > 0, "reports are encrypted and opened");
    }
}

/// Neither what is in the clear nor what bears another key, nor what came before, is heard.
#[test]
fn what_is_not_authentic_is_dropped_and_counted() {
    let mut pair = Pair::new();
    agree(&mut pair, keys(SrtpSuite::AesCm128HmacSha1_80, 3), MediaDirection::SendRecv);
    pair.run(200);
    let before = pair.bob.stream.stats().inbound;
    let mut forged = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9];
    forged.extend_from_slice(&[0x21; 170]);
    let now = pair.now;
    for _ in 0..50 {
        pair.bob.stream.handle_rtp(now, pair.alice.address, &forged, &mut pair.bob.io);
    }
    // A goodbye that says it is not encrypted.
    let goodbye = [[0x80, 201, 0, 1, 0, 0, 0, 7], [0x81, 203, 0, 1, 0, 0, 0, 7]].concat();
    let goodbye = [goodbye.as_slice(), &[0, 0, 0, 9], &[0; 10]].concat();
    let control = SocketAddr::new(pair.alice.address.ip(), pair.alice.address.port() + 1);
    pair.bob.stream.handle_rtcp(now, control, &goodbye, &mut pair.bob.io);
    pair.alice.stream.handle_timeout(now + Duration::from_millis(20), &mut pair.alice.io);
    let sent = pair.alice.io.sent.pop().unwrap().1;
    pair.bob.stream.handle_rtp(now, pair.alice.address, &sent, &mut pair.bob.io);
    pair.bob.stream.handle_rtp(now, pair.alice.address, &sent, &mut pair.bob.io);
    let after = pair.bob.stream.stats().inbound;
    assert_eq!(after.unauthenticated - before.unauthenticated, 51);
    assert_eq!(after.replayed - before.replayed, 1);
    assert_eq!(after.packets - before.packets, 1);
    assert_eq!(after.control_packets, before.control_packets);
    assert!(!pair.bob.io.events.iter().any(|event| matches!(event, MediaEvent::RtcpBye)));
}

/// The rollover counter goes on over hold and re-INVITE with the same keys; 23 minutes of packets pass, so
/// that the sequence number wraps. Other keys begin anew, and the old ones are worth nothing.
#[test]
fn a_wrap_of_the_sequence_number_across_a_hold_is_survived() {
    let mut pair = Pair::new();
    let first = keys(SrtpSuite::AeadAes128Gcm, 4);
    agree(&mut pair, first, MediaDirection::SendRecv);
    for (round, seconds) in [(0, 600), (1, 600), (2, 200)] {
        for _ in 0..seconds * 50 {
            pair.now += Duration::from_millis(20);
            let now = pair.now;
            for side in [&mut pair.alice, &mut pair.bob] {
                side.io.now = now;
                side.stream.handle_timeout(now, &mut side.io);
                side.io.events.clear();
                side.io.taps.clear();
            }
            pair.deliver();
        }
        agree(&mut pair, first, MediaDirection::Inactive);
        pair.run(1_000);
        agree(&mut pair, first, MediaDirection::SendRecv);
        let stats = pair.bob.stream.stats().inbound;
        assert_eq!((stats.unauthenticated, stats.replayed), (0, 0), "round {round}");
    }
    assert!(pair.bob.stream.stats().inbound.packets > 65_536);
    agree(&mut pair, keys(SrtpSuite::AeadAes128Gcm, 5), MediaDirection::SendRecv);
    let before = pair.bob.heard().len();
    pair.alice.say(1, 50, 440.0, true);
    pair.run(1_200);
    let heard = pair.bob.heard();
    let tone = heard[before..].chunks(160).filter(|frame| share(frame, 440.0) > 0.9).count();
    assert!(tone >= 48, "{tone} frames after the change of keys");
}

/// Until the keys are here nothing leaves and nothing is heard; keys of another agreement are not taken.
#[test]
fn a_stream_without_its_keys_is_silent() {
    let mut pair = Pair::new();
    let (alice, bob) = keys(SrtpSuite::AeadAes128Gcm, 4);
    let now = pair.now;
    let peer = Fingerprint::new([1; 32]);
    let plan = DtlsPlan { association: 1, role: DtlsRole::Client, peer };
    let format =
        |remote, dtls| MediaCommand::Configure(StreamFormat { dtls: Some(dtls), ..format(remote) });
    pair.alice.command(now, format(BOB, plan));
    pair.alice.say(1, 50, 440.0, true);
    pair.run(400);
    assert!(pair.bob.heard().is_empty());
    assert!(pair.alice.io.sent.is_empty(), "nothing leaves");
    pair.bob.command(now, format(ALICE, plan));
    let clear = [&[0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9][..], &[0x21; 160]].concat();
    pair.bob.stream.handle_rtp(now, pair.alice.address, &clear, &mut pair.bob.io);
    assert_eq!(pair.bob.stream.stats().inbound.unauthenticated, 1);
    let other = DtlsPlan { association: 2, ..plan };
    let (at_alice, at_bob) = (pair.alice.address, pair.bob.address);
    for (plan, told) in [(other, 0), (plan, 1)] {
        let Pair { alice: a, bob: b, now, .. } = &mut pair;
        a.stream.keyed(*now, plan, (alice, at_bob), &mut a.io);
        b.stream.keyed(*now, plan, (bob, at_alice), &mut b.io);
        let count = |events: &[MediaEvent]| {
            events.iter().filter(|event| matches!(event, MediaEvent::Keyed)).count()
        };
        assert_eq!((count(&a.io.events), count(&b.io.events)), (told, told));
    }
    pair.alice.say(2, 20, 440.0, true);
    pair.run(600);
    let heard = pair.bob.heard();
    assert!(heard.chunks(160).filter(|frame| share(frame, 440.0) > 0.9).count() >= 19);
    // A failure of what has keys already is no news; one of another certificate is.
    pair.bob.io.events.clear();
    let failed = |pair: &mut Pair, plan| {
        pair.bob.stream.keying_failed(plan, KeyingFailure::Silence, &mut pair.bob.io);
        pair.bob.io.events.drain(..).any(|event| matches!(event, MediaEvent::KeyingFailed(_)))
    };
    assert!(!failed(&mut pair, plan));
    let now = pair.now;
    pair.bob.command(now, format(ALICE, other));
    assert!(!failed(&mut pair, other), "its keys serve on");
    let stranger = DtlsPlan { peer: Fingerprint::new([2; 32]), ..other };
    pair.bob.command(now, format(ALICE, stranger));
    assert!(failed(&mut pair, stranger));
}
