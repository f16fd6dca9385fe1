#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::audio::level::rms_dbfs;

const RATE: SampleRate = SampleRate::HZ_16000;

/// A voice-like sound: harmonics whose pitch and level move, so that no frame is like the last.
fn voice(len: usize) -> Vec<i16> {
    let mut phase = 0.0_f32;
    (0..len)
        .map(|n| {
            let time = n as f32 / 16_000.0;
            phase += std::f32::consts::TAU * (140.0 + 30.0 * (time * 4.0).sin()) / 16_000.0;
            let swell = 0.6 + 0.4 * (time * 9.0).sin();
            let sum: f32 = (1..12).map(|k| (phase * k as f32).sin() / k as f32).sum();
            (sum * swell * 6_000.0) as i16
        })
        .collect()
}

fn packets(pcm: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(RATE).unwrap();
    pcm.chunks_exact(320)
        .map(|frame| {
            let mut payload = [0; 640];
            let len = encoder.encode(frame, &mut payload);
            payload[..len].to_vec()
        })
        .collect()
}

/// Decodes all packets but every seventh, which is restored or concealed.
fn with_losses(packets: &[Vec<u8>], restore: bool) -> Vec<i16> {
    let mut decoder = Decoder::new(RATE).unwrap();
    let mut heard = Vec::new();
    for (n, packet) in packets.iter().enumerate() {
        let mut pcm = [0; 320];
        let len = match packets.get(n + 1) {
            Some(next) if n % 7 == 3 && restore => decoder.restore(next, &mut pcm),
            Some(_) if n % 7 == 3 => decoder.conceal(&mut pcm),
            _ => decoder.decode(packet, &mut pcm),
        };
        assert_eq!(len, 320, "packet {n}");
        heard.extend_from_slice(&pcm);
    }
    heard
}

#[test]
fn what_is_lost_is_restored_from_the_packet_behind_it() {
    let pcm = voice(16_000 * 4);
    let packets = packets(&pcm);
    let whole = {
        let mut decoder = Decoder::new(RATE).unwrap();
        let mut heard = Vec::new();
        for packet in &packets {
            let mut frame = [0; 320];
            assert_eq!(decoder.decode(packet, &mut frame), 320);
            heard.extend_from_slice(&frame);
        }
        heard
    };
    let error = |heard: &[i16]| {
        let lost = (0..packets.len() - 1).filter(|n| n % 7 == 3 && *n > 50);
        let difference: Vec<i16> = lost
            .flat_map(|n| n * 320..(n + 1) * 320)
            .map(|at| whole[at].saturating_sub(heard[at]))
            .collect();
        rms_dbfs(&difference)
    };
    let (restored, concealed) =
        (error(&with_losses(&packets, true)), error(&with_losses(&packets, false)));
    assert!(restored + 3.0 < concealed, "restored {restored}, concealed {concealed} dBFS of error");
    assert!(rms_dbfs(&with_losses(&packets, false)) > rms_dbfs(&whole) - 3.0, "no holes");
}

#[test]
fn frames_of_every_packet_duration_are_made_and_others_are_not() {
    let pcm = voice(960);
    for (ms, made) in [(10, true), (20, true), (40, true), (60, true), (30, false), (7, false)] {
        let mut payload = [0; 640];
        let len = Encoder::new(RATE).unwrap().encode(&pcm[..RATE.samples_in_ms(ms)], &mut payload);
        assert_eq!(len > 0, made, "{ms} ms");
    }
}

#[test]
fn what_is_no_opus_gives_nothing_and_silence_may_be_left_out() {
    let mut decoder = Decoder::new(RATE).unwrap();
    let mut pcm = [0; 1_920];
    assert_eq!(decoder.decode(&[], &mut pcm), 0);
    assert_eq!(decoder.decode(&[0xff; 3], &mut pcm), 0);
    // A packet of one octet says: nothing changed (DTX).
    assert_eq!(decoder.decode(&[9 << 3], &mut pcm), 320);
    assert_eq!(decoder.restore(&[9 << 3, 1], &mut pcm[..7]), 0);
    assert_eq!(decoder.conceal(&mut pcm[..330]), 320);
    assert!(Decoder::new(SampleRate::new(11_025).unwrap()).is_err());
    assert!(Encoder::new(SampleRate::new(44_100).unwrap()).is_err());
}
