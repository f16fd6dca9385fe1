//! G.711 (ITU-T G.711, RFC 3551 section 4.5.14): one octet a sample, mu-law and A-law.
//!
//! Encoders take all 16 bits: the decision values are those of tables 1a to 2b of the recommendation,
//! scaled from 13 (A-law) and 14 bits (mu-law).
//! Decoding is a table of 256 values, built at compile time.

/// Largest magnitude mu-law can carry before the bias would overflow 15 bits.
const ULAW_CLIP: i32 = 32_635;
/// Added before the segment search so that segment boundaries are powers of two.
const ULAW_BIAS: i32 = 0x84;
/// An octet of mu-law silence.
pub const ULAW_SILENCE: u8 = 0xFF;
/// An octet of A-law silence.
pub const ALAW_SILENCE: u8 = 0xD5;

static ULAW: [i16; 256] = table(Law::Mu);
static ALAW: [i16; 256] = table(Law::A);

#[derive(Clone, Copy)]
enum Law {
    Mu,
    A,
}

#[expect(clippy::indexing_slicing, reason = "compile-time loop over the table's own length")]
const fn table(law: Law) -> [i16; 256] {
    let mut out = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        out[octet] = match law {
            Law::Mu => expand_ulaw(octet as u8),
            Law::A => expand_alaw(octet as u8),
        };
        octet += 1;
    }
    out
}

const fn expand_ulaw(octet: u8) -> i16 {
    let bits = !octet;
    let segment = (bits >> 4) & 7;
    let magnitude = ((((bits & 15) as i32) << 3) + ULAW_BIAS) << segment;
    let value = magnitude - ULAW_BIAS;
    if bits & 0x80 == 0 { value as i16 } else { -value as i16 }
}

const fn expand_alaw(octet: u8) -> i16 {
    let bits = octet ^ 0x55;
    let segment = (bits >> 4) & 7;
    let mantissa = ((bits & 15) as i32) << 4;
    let value = match segment {
        0 => mantissa + 8,
        _ => (mantissa + 0x108) << (segment - 1),
    };
    if bits & 0x80 == 0 { -value as i16 } else { value as i16 }
}

/// One mu-law octet as a sample.
#[expect(clippy::indexing_slicing, reason = "a table of 256 values indexed by an octet")]
pub fn decode_ulaw(octet: u8) -> i16 {
    ULAW[octet as usize]
}

/// One A-law octet as a sample.
#[expect(clippy::indexing_slicing, reason = "a table of 256 values indexed by an octet")]
pub fn decode_alaw(octet: u8) -> i16 {
    ALAW[octet as usize]
}

/// One sample as a mu-law octet.
pub fn encode_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(ULAW_CLIP) + ULAW_BIAS;
    // The bias puts the leading one at bit 7 (segment 0) to bit 14 (segment 7).
    let segment = 24 - magnitude.leading_zeros();
    let mantissa = (magnitude >> (segment + 3)) & 15;
    !(sign | (segment << 4) as u8 | mantissa as u8)
}

/// One sample as an A-law octet.
pub fn encode_alaw(sample: i16) -> u8 {
    // One's complement, so that -1 mirrors 0: A-law has no zero.
    let (sign, magnitude) =
        if sample < 0 { (0, !i32::from(sample)) } else { (0x80, i32::from(sample)) };
    let octet = if magnitude < 256 {
        magnitude >> 4
    } else {
        let segment = 24 - magnitude.leading_zeros();
        ((segment << 4) as i32) | ((magnitude >> (segment + 3)) & 15)
    };
    (sign | octet as u8) ^ 0x55
}

#[cfg(test)]
mod tests;
