//! What is heard where packets are missing.

use super::*;

#[test]
fn a_lost_beginning_is_made_up_from_what_follows() {
    let mut pair = Pair::new();
    pair.fate = |n| if (30..33).contains(&n) { Fate::Lost } else { Fate::Passes };
    while pair.count < 30 {
        pair.run(1);
    }
    pair.alice.say(1, 50, 440.0, true);
    pair.run(1_500);
    let heard = pair.bob.heard();
    let loud = heard.chunks(160).filter(|frame| rms_dbfs(frame) > -25.0).count();
    assert!((49..=52).contains(&loud), "{loud} frames of the 50, three of which were lost");
    let from = heard.chunks(160).position(|frame| rms_dbfs(frame) > -25.0).unwrap();
    assert!((29..=31).contains(&from), "the tone begins with frame {from}");
}

#[test]
fn a_stall_fades_and_time_goes_on() {
    let mut pair = Pair::new();
    pair.fate = |n| if (40..60).contains(&n) { Fate::Lost } else { Fate::Passes };
    while pair.count < 20 {
        pair.run(1);
    }
    pair.alice.say(1, 80, 440.0, true);
    pair.run(2_500);
    let heard = pair.bob.heard();
    let levels: Vec<f32> = heard.chunks(160).map(rms_dbfs).collect();
    let first = levels.iter().position(|level| *level > -25.0).unwrap();
    // 20 frames came, then nothing for 400 ms.
    let gap = &levels[first + 21..first + 38];
    assert!(gap[0] > -25.0 && gap[4] < gap[1], "{gap:?}");
    assert!(gap[9..13].iter().all(|level| *level < -60.0), "{gap:?}");
    let sent = pair.count - 20;
    assert!(levels.len() + 5 > sent, "time goes on: {} frames of {sent}", levels.len());
}

/// Music on hold plays for as long as the hold lasts, and nothing of it is a loss.
#[test]
fn whoever_was_heard_is_sent_to_while_it_is_silent() {
    let mut pair = Pair::new();
    pair.run(1_000);
    let held = StreamFormat { direction: MediaDirection::RecvOnly, ..format(ALICE) };
    let holds = StreamFormat { direction: MediaDirection::SendOnly, ..format(BOB) };
    pair.bob.command(pair.now, MediaCommand::Configure(held));
    pair.alice.command(pair.now, MediaCommand::Configure(holds));
    let before = pair.count;
    pair.run(12_000);
    assert!(pair.count - before > 590, "{} packets in 12 s of hold", pair.count - before);
    assert_eq!(pair.bob.stream.stats().inbound.express_lost, 0);
}

/// Sending pauses while nobody was ever heard. Who is heard at last sees no loss: numbers go on where they stopped, and
/// timestamps tell how long it was.
#[test]
fn a_pause_of_sending_is_no_loss_to_who_is_heard_at_last() {
    for (ptime, keys) in [(20_u16, None), (40, None), (20, Some(SrtpSuite::AesCm128HmacSha1_80))] {
        let mut entropy = Entropy::seeded(5);
        let (one, other) = match keys {
            None => (None, None),
            Some(suite) => {
                let send = SrtpKey::generate(suite, &mut entropy);
                let receive = SrtpKey::generate(suite, &mut entropy);
                let keys = SrtpKeys { send, receive };
                (Some(keys), Some(SrtpKeys { send: receive, receive: send }))
            }
        };
        let mut pair = Pair::new();
        let agreed = |remote, srtp| StreamFormat { send_ptime_ms: ptime, srtp, ..format(remote) };
        pair.alice.command(pair.now, MediaCommand::Configure(agreed(BOB, one)));
        let to_alice = StreamFormat { direction: MediaDirection::RecvOnly, ..agreed(ALICE, other) };
        pair.bob.command(pair.now, MediaCommand::Configure(to_alice));
        pair.alice.say(1, 600, 440.0, true);
        // A key is pressed to nobody: it is over when somebody is there.
        pair.run(300 * u64::from(ptime));
        let key = MediaCommand::SendDigit { digit: b'5', duration_ms: 100, gap_ms: 50 };
        pair.alice.command(pair.now, key);
        pair.run(200 * u64::from(ptime));
        let told = |event: &&MediaEvent| matches!(event, MediaEvent::DigitsSent);
        assert_eq!(pair.alice.io.events.iter().filter(told).count(), 1);
        let before = pair.bob.stream.stats().inbound;
        assert_eq!(before.packets, 250);
        assert_eq!(
            pair.alice.stream.stats().outbound.packets,
            250,
            "what left is what is reported"
        );
        // Bob's first packet.
        let both = StreamFormat { direction: MediaDirection::SendRecv, ..agreed(ALICE, other) };
        pair.bob.command(pair.now, MediaCommand::Configure(both));
        pair.run(1_000);
        let after = pair.bob.stream.stats().inbound;
        assert!(after.packets > 250 + 15, "{} packets", after.packets);
        assert_eq!((after.cumulative_lost, after.express_lost, after.unauthenticated), (0, 0, 0));
        let digit = |event: &&MediaEvent| matches!(event, MediaEvent::Digit { .. });
        assert_eq!(pair.bob.io.events.iter().filter(digit).count(), 0);
    }
}
