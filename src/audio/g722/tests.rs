#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::audio::level::rms_dbfs;

fn tone(hz: f32, len: usize) -> Vec<i16> {
    let turn = std::f32::consts::TAU * hz / 16_000.0;
    (0..len).map(|n| ((n as f32 * turn).sin() * 10_000.0) as i16).collect()
}

fn through(pcm: &[i16]) -> Vec<i16> {
    let mut payload = vec![0; pcm.len() / 2];
    assert_eq!(Encoder::default().encode(pcm, &mut payload), payload.len());
    let mut heard = vec![0; pcm.len()];
    assert_eq!(Decoder::default().decode(&payload, &mut heard), heard.len());
    heard
}

/// Both bands: what G.711 carries, and what it does not.
#[test]
fn tones_of_both_bands_survive() {
    for (hz, noise_db) in [(300.0, 25.0), (1_000.0, 25.0), (3_000.0, 20.0), (5_500.0, 8.0)] {
        let pcm = tone(hz, 16_000);
        let heard = through(&pcm);
        // The two mirror filters take 22 samples.
        let error: Vec<i16> = pcm[4_000..12_000]
            .iter()
            .zip(&heard[4_022..12_022])
            .map(|(sent, heard)| sent.saturating_sub(*heard))
            .collect();
        let ratio = rms_dbfs(&pcm[4_000..12_000]) - rms_dbfs(&error);
        assert!(ratio > noise_db, "{hz} Hz: {ratio} dB");
    }
}

#[test]
fn silence_stays_silent_and_the_loudest_does_not_wrap() {
    assert!(rms_dbfs(&through(&[0; 3_200])) < -60.0);
    let square: Vec<i16> =
        (0..3_200).map(|n| if n / 40 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
    let heard = through(&square);
    let flips = heard[400..].iter().zip(&square[378..]).filter(|(h, s)| (**h < 0) != (**s < 0));
    assert!(flips.count() < 400, "half waves turned over");
}

#[test]
fn short_buffers_bound_the_work() {
    let mut pcm = [1; 5];
    assert_eq!(Decoder::default().decode(&[0xff; 9], &mut pcm), 4);
    assert_eq!(pcm[4], 1);
    assert_eq!(Encoder::default().encode(&[0; 9], &mut [0; 2]), 2);
    assert_eq!(Encoder::default().encode(&[0; 3], &mut [0; 9]), 1);
}

/// Any octets are a signal: no state may leave its range.
#[test]
fn hostile_octets_keep_the_state_in_range() {
    let mut decoder = Decoder::default();
    let mut pcm = [0; 320];
    let mut state = 1_u32;
    for _ in 0..2_000 {
        let mut payload = [0; 160];
        for octet in &mut payload {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *octet = (state >> 24) as u8;
        }
        assert_eq!(decoder.decode(&payload, &mut pcm), 320);
    }
}

fn hash(octets: impl Iterator<Item = u8>) -> u64 {
    octets.fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SpanDSP, which many exchanges run, makes the same octets and samples of 4 s of noise at 14 levels. The hashes
/// (FNV-1a, samples little-endian) were printed by `fixtures/golden/g722.py`.
#[test]
fn another_implementation_agrees_to_the_bit() {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16
    };
    let noise: Vec<i16> = (0..64_000).map(|n| next() >> (2 + n / 1_000 % 14)).collect();
    let mut payload = vec![0; 32_000];
    assert_eq!(Encoder::default().encode(&noise, &mut payload), 32_000);
    assert_eq!(hash(payload.iter().copied()), 0xaedc_9612_a692_3cd0);
    let mut pcm = vec![0; 64_000];
    assert_eq!(Decoder::default().decode(&payload, &mut pcm), 64_000);
    assert_eq!(hash(pcm.into_iter().flat_map(i16::to_le_bytes)), 0xd995_1af1_9cfe_3aec);
}
