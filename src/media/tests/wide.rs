//! Wideband lines, changes of codec, and packets of other durations than 20 ms.

use super::*;
use crate::types::SampleRate;

const WIDE: SampleRate = SampleRate::HZ_16000;

fn agree(pair: &mut Pair, name: CodecName, ptime: u16) {
    let now = pair.now;
    let agreed = |remote| {
        let codec = CodecSpec::with_static_payload_type(name);
        let payload_type = codec.payload_type;
        StreamFormat {
            codec,
            send_payload_type: payload_type,
            send_ptime_ms: ptime,
            ..format(remote)
        }
    };
    pair.alice.command(now, MediaCommand::Configure(agreed(BOB)));
    pair.bob.command(now, MediaCommand::Configure(agreed(ALICE)));
}

/// Two sides without an agreement yet.
fn pair() -> Pair {
    let now = crate::net::clock::now();
    let (alice, bob) = (Side::new(now, 1, ALICE), Side::new(now, 9, BOB));
    Pair { now, alice, bob, fate: |_| Fate::Passes, count: 0, held: None }
}

fn wide_tone(hz: f32, from: usize, len: usize) -> Vec<i16> {
    let turn = hz * std::f32::consts::TAU / 16_000.0;
    (from..from + len).map(|n| ((n as f32 * turn).sin() * 8_000.0) as i16).collect()
}

fn share_at(samples: &[i16], hz: f32, rate: SampleRate) -> f32 {
    let mut bank = crate::audio::tone::Goertzel::new([hz], rate);
    samples.iter().for_each(|sample| bank.push(f32::from(*sample)));
    let energy: f32 = samples.iter().map(|s| f32::from(*s) * f32::from(*s)).sum();
    bank.take()[0] * 2.0 / (energy.max(1.0) * samples.len() as f32)
}

fn say(side: &mut Side, generation: u32, frames: usize, hz: f32) {
    let len = side.stream.rate().samples_in_ms(20);
    for n in 0..frames {
        let samples = match len {
            320 => wide_tone(hz, n * 320, 320),
            _ => tone(hz, n * 160, 160),
        };
        let last = n + 1 == frames;
        let generation = Generation(generation);
        side.io.queue.push_back(PlayoutFrame { frame: Frame::new(&samples), generation, last });
    }
}

fn frames_of_tone(heard: &[i16], hz: f32, rate: SampleRate) -> usize {
    let frames = heard.chunks(rate.samples_in_ms(20));
    frames.filter(|frame| share_at(frame, hz, rate) > 0.85 && rms_dbfs(frame) > -30.0).count()
}

#[test]
fn a_wideband_line_carries_what_a_narrow_one_cannot() {
    for name in [CodecName::G722, CodecName::Opus, CodecName::L16Wide] {
        for hz in [440.0, 5_000.0] {
            let mut pair = pair();
            agree(&mut pair, name, 20);
            assert_eq!((pair.alice.stream.rate(), pair.bob.stream.rate()), (WIDE, WIDE));
            say(&mut pair.alice, 1, 50, hz);
            pair.run(1_300);
            let heard = pair.bob.heard();
            assert!((60..=65).contains(&(heard.len() / 320)), "{name}: {}", heard.len());
            let audible = frames_of_tone(&heard, hz, WIDE);
            assert!(audible >= 44, "{name} {hz} Hz: {audible} frames of the tone");
            let channel = |wanted| {
                let taps = pair.bob.io.taps.iter().filter(move |tap| tap.channel == wanted);
                taps.map(|tap| tap.position + tap.frame.samples().len() as u64).max().unwrap()
            };
            let seconds = channel(TapChannel::Caller) as f64 / 16_000.0;
            assert!((1.2..1.35).contains(&seconds), "{name}: {seconds} s of the caller on tape");
        }
    }
}

#[test]
fn lost_packets_of_a_wideband_line_leave_no_hole() {
    for name in [CodecName::G722, CodecName::Opus, CodecName::L16Wide] {
        let mut pair = pair();
        agree(&mut pair, name, 20);
        pair.fate = |n| if n % 10 == 4 { Fate::Lost } else { Fate::Passes };
        say(&mut pair.alice, 1, 100, 440.0);
        pair.run(2_000);
        let heard = pair.bob.heard();
        assert!((95..=100).contains(&(heard.len() / 320)), "{name}: {}", heard.len() / 320);
        let silent = heard.chunks(320).skip(3).take(90).filter(|f| rms_dbfs(f) < -40.0).count();
        assert_eq!(silent, 0, "{name}: a lost frame is recovered, not silence");
        assert!(pair.bob.stream.stats().inbound.express_lost >= 9);
    }
}

/// A re-INVITE may change the codec: the line keeps its rate, the tone its pitch, time its length.
#[test]
fn the_codec_changes_and_the_line_does_not() {
    for first in CodecName::ALL {
        let mut pair = pair();
        agree(&mut pair, first, 20);
        let rate = first.sample_rate();
        for (generation, name) in (1..).zip(CodecName::ALL) {
            agree(&mut pair, name, 20);
            assert_eq!(pair.bob.stream.rate(), rate);
            pair.run(300);
            let before = pair.bob.heard().len();
            say(&mut pair.alice, generation, 50, 440.0);
            pair.run(1_200);
            let heard = pair.bob.heard();
            let audible = frames_of_tone(&heard[before..], 440.0, rate);
            assert!(audible >= 44, "{first} then {name}: {audible} frames of the tone");
            let frames = (heard.len() - before) / rate.samples_in_ms(20);
            assert!((58..=62).contains(&frames), "{first} then {name}: {frames} frames");
        }
    }
}

#[test]
fn packets_have_the_duration_the_peer_asks_for() {
    for name in CodecName::ALL {
        for ptime in [10_u16, 20, 30, 40, 60] {
            if (name == CodecName::Opus && ptime == 30) || ptime > name.ptime_ms_max() {
                continue;
            }
            let mut pair = pair();
            agree(&mut pair, name, ptime);
            say(&mut pair.alice, 1, 60, 440.0);
            // Packets are kept beside the network.
            let mut sent: Vec<Vec<u8>> = Vec::new();
            for _ in 0..1_500 {
                pair.now += Duration::from_millis(1);
                for side in [&mut pair.alice, &mut pair.bob] {
                    side.io.now = pair.now;
                    if side.stream.next_wake() <= pair.now {
                        side.stream.handle_timeout(pair.now, &mut side.io);
                    }
                }
                sent.extend(pair.alice.rtp_sent().into_iter().map(<[u8]>::to_vec));
                pair.deliver();
            }
            let ticks = name.clock_rate() * u32::from(ptime) / 1_000;
            let packets: Vec<_> =
                sent.iter().map(|packet| crate::rtp::Packet::parse(packet).unwrap()).collect();
            for pair in packets.windows(2) {
                let (a, b) = (pair[0].header, pair[1].header);
                assert_eq!(b.sequence.wrapping_sub(a.sequence), 1);
                assert_eq!(b.timestamp.wrapping_sub(a.timestamp), ticks, "{name} {ptime} ms");
                assert_eq!(name.ticks(pair[0].payload), ticks, "{name} {ptime} ms");
            }
            let expected = 1_500 / usize::from(ptime);
            assert!(packets.len().abs_diff(expected) <= 2, "{name} {ptime}: {}", packets.len());
            let marked = packets.iter().filter(|packet| packet.header.marker).count();
            assert_eq!(marked, 1, "{name} {ptime} ms: one talkspurt");
            let rate = name.sample_rate();
            let audible = frames_of_tone(&pair.bob.heard(), 440.0, rate);
            assert!(audible >= 53, "{name} {ptime} ms: {audible} frames of the tone");
        }
    }
}

/// A peer may use any codec of its answer, also from packet to packet.
#[test]
fn the_other_codec_of_an_answer_is_understood() {
    let mut pair = pair();
    let now = pair.now;
    let agreed = |remote, name| {
        let codec = CodecSpec::with_static_payload_type(name);
        StreamFormat { codec, send_payload_type: codec.payload_type, ..format(remote) }
    };
    let alternate = Some(CodecSpec::with_static_payload_type(CodecName::Pcma));
    let both = StreamFormat { alternate, ..agreed(ALICE, CodecName::Pcmu) };
    pair.bob.command(now, MediaCommand::Configure(both));
    for (generation, name) in [(1, CodecName::Pcma), (2, CodecName::Pcmu), (3, CodecName::Pcma)] {
        let now = pair.now;
        pair.alice.command(now, MediaCommand::Configure(agreed(BOB, name)));
        let before = pair.bob.heard().len();
        say(&mut pair.alice, generation, 25, 440.0);
        pair.run(700);
        let audible = frames_of_tone(&pair.bob.heard()[before..], 440.0, SampleRate::HZ_8000);
        assert!(audible >= 24, "{name}: {audible}");
    }
    assert_eq!(pair.bob.stream.stats().inbound.unexpected, 0);
}

/// RFC 3389: a silent sender says how silent. It is no loss, no timeout and no speech.
#[test]
fn comfort_noise_sounds_as_it_asks() {
    let mut pair = Pair::new();
    pair.alice.say(1, 20, 440.0, true);
    pair.run(500);
    let heard_before = pair.bob.heard().len();
    let template = template(&mut pair);
    let mut noise = template[..12].to_vec();
    noise[1] = 13;
    let sequence = u16::from_be_bytes([template[2], template[3]]).wrapping_add(1);
    noise[2..4].copy_from_slice(&sequence.to_be_bytes());
    let stamp = u32::from_be_bytes([template[4], template[5], template[6], template[7]]);
    noise[4..8].copy_from_slice(&stamp.wrapping_add(160).to_be_bytes());
    noise.push(50);
    let (now, from) = (pair.now, pair.alice.address);
    pair.bob.stream.handle_rtp(now, from, &noise, &mut pair.bob.io);
    pair.run(1_000);
    let heard = pair.bob.heard();
    let tail = &heard[heard.len() - 4_000..];
    let level = rms_dbfs(tail);
    assert!((-52.0..-48.0).contains(&level), "{level} dBFS of noise");
    assert!(heard.len() > heard_before);
    assert_eq!(pair.bob.stream.stats().inbound.express_lost, 0);
}

/// A packet of Alice's as she would send it next, made by a side of its own that shares her identity.
fn template(pair: &mut Pair) -> Vec<u8> {
    pair.alice.command(pair.now, MediaCommand::Configure(format(BOB)));
    pair.now += Duration::from_millis(20);
    pair.alice.io.now = pair.now;
    pair.alice.stream.handle_timeout(pair.now, &mut pair.alice.io);
    let sent = pair.alice.io.sent.last().unwrap().1.clone();
    pair.deliver();
    pair.alice.command(
        pair.now,
        MediaCommand::Configure(StreamFormat {
            direction: MediaDirection::RecvOnly,
            ..format(BOB)
        }),
    );
    sent
}
