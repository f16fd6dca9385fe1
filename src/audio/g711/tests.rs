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

/// The other encoder first rounds to 14 (mu-law) or 13 (A-law) bits, so within that rounding of a
/// border between two codes it may give either. Nowhere else may it differ.
fn compare(golden: &[u8], encode: fn(i16) -> u8, rounding: i16) -> usize {
    assert_eq!(golden.len(), 65_536);
    let mut different = 0;
    for (sample, theirs) in (i16::MIN..=i16::MAX).zip(golden) {
        let near = [sample, sample.saturating_sub(rounding), sample.saturating_add(rounding)];
        let ours = near.map(encode);
        assert!(ours.contains(theirs), "sample {sample}: {ours:02x?} and {theirs:#04x}");
        different += usize::from(ours[0] != *theirs);
    }
    different
}

#[test]
fn every_sample_encodes_as_an_independent_encoder_does() {
    let ulaw = compare(ULAW_GOLDEN, encode_ulaw, 2);
    let alaw = compare(ALAW_GOLDEN, encode_alaw, 4);
    // At most the rounding on one side of each of the 255 borders.
    assert!(ulaw <= 255 * 2 && alaw <= 255 * 4, "{ulaw} and {alaw}");
}

#[test]
fn segments_begin_at_the_decision_values_of_the_recommendation() {
    // Table 2a, column 3 (14 bits) and table 1a, column 3 (13 bits), where the segments meet.
    for border in [31, 95, 223, 479, 991, 2_015, 4_063] {
        let at = border * 4;
        let segment = |sample: i16| (!encode_ulaw(sample) >> 4) & 7;
        assert_eq!(segment(at), segment(at - 1) + 1, "mu-law {border}");
        assert_eq!(segment(-at), segment(1 - at) + 1, "mu-law -{border}");
    }
    for border in [64, 128, 256, 512, 1_024, 2_048] {
        let at = border * 8;
        let segment = |sample: i16| ((encode_alaw(sample) ^ 0x55) >> 4) & 7;
        assert_eq!(segment(at), segment(at - 1) + 1, "A-law {border}");
        assert_eq!(segment(-at - 1), segment(-at) + 1, "A-law -{border}");
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
