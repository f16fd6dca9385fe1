use super::*;

const ULAW_GOLDEN: &[u8] = include_bytes!("../../../fixtures/golden/g711_ulaw_of_all_s16.bin");
const ALAW_GOLDEN: &[u8] = include_bytes!("../../../fixtures/golden/g711_alaw_of_all_s16.bin");
const ULAW_DECODED: &[u8] = include_bytes!("../../../fixtures/golden/g711_ulaw_decoded.s16le");
const ALAW_DECODED: &[u8] = include_bytes!("../../../fixtures/golden/g711_alaw_decoded.s16le");

fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

#[test]
fn every_octet_decodes_as_an_independent_decoder_does() {
    for (decoded, decode) in
        [(ULAW_DECODED, decode_ulaw as fn(u8) -> i16), (ALAW_DECODED, decode_alaw)]
    {
        let golden = samples(decoded);
        assert_eq!(golden.len(), 256);
        for (octet, expected) in (0..=255_u8).zip(golden) {
            assert_eq!(decode(octet), expected, "octet {octet:#04x}");
        }
    }
}

/// The other encoder first rounds to 14 (mu-law) or 13 (A-law) bits, so at the border between two
/// codes both may be right. A difference is allowed only where ours is at least as near.
fn compare(golden: &[u8], encode: fn(i16) -> u8, decode: fn(u8) -> i16) -> usize {
    assert_eq!(golden.len(), 65_536);
    let mut different = 0;
    for (sample, theirs) in (i16::MIN..=i16::MAX).zip(golden) {
        let ours = encode(sample);
        if ours == *theirs {
            continue;
        }
        let error = |octet| (i32::from(decode(octet)) - i32::from(sample)).abs();
        assert!(error(ours) <= error(*theirs), "sample {sample}: {ours:#04x} and {theirs:#04x}");
        different += 1;
    }
    different
}

#[test]
fn every_sample_encodes_as_an_independent_encoder_does_or_nearer() {
    let ulaw = compare(ULAW_GOLDEN, encode_ulaw, decode_ulaw);
    let alaw = compare(ALAW_GOLDEN, encode_alaw, decode_alaw);
    println!("differences at code borders: mu-law {ulaw}, A-law {alaw}");
    assert!(ulaw + alaw < 1_500, "{ulaw} + {alaw}");
}

#[test]
fn encoding_takes_the_nearest_value() {
    for (encode, decode) in
        [(encode_ulaw as fn(i16) -> u8, decode_ulaw as fn(u8) -> i16), (encode_alaw, decode_alaw)]
    {
        let mut values: Vec<i32> = (0..=255).map(|octet| i32::from(decode(octet))).collect();
        values.sort_unstable();
        for sample in i16::MIN..=i16::MAX {
            let wide = i32::from(sample);
            let after = values.partition_point(|value| *value < wide);
            let nearest = [after.checked_sub(1), Some(after)]
                .into_iter()
                .flatten()
                .filter_map(|at| values.get(at))
                .map(|value| (value - wide).abs())
                .min();
            let ours = (i32::from(decode(encode(sample))) - wide).abs();
            assert_eq!(Some(ours), nearest, "sample {sample}");
        }
    }
}

#[test]
fn silence_is_the_code_of_zero() {
    assert_eq!(encode_ulaw(0), ULAW_SILENCE);
    assert_eq!(encode_alaw(0), ALAW_SILENCE);
}

#[test]
fn transcoding_our_own_octets_is_lossless() {
    for octet in 0..=255_u8 {
        assert_eq!(encode_alaw(decode_alaw(octet)), octet);
        // mu-law has two zeros; the negative one becomes the positive one.
        let expected = if octet == 0x7F { 0xFF } else { octet };
        assert_eq!(encode_ulaw(decode_ulaw(octet)), expected);
    }
}
