//! `a=crypto`: master keys in the session description (RFC 4568).
//!
//! A line we cannot honour to the letter is unusable and as good as absent: a tag that is no number, a suite
//! we do not have, a key of another length, a master key identifier (MKI), a session parameter that asks
//! for less protection. Two lines of one tag are both unusable: an answer could mean either.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::types::{SrtpKey, SrtpSuite};

/// Lines looked at: every suite with a key or two of each.
const LINES_MAX: usize = 16;
/// Digits of a tag (RFC 4568 section 9.2).
const TAG_DIGITS_MAX: usize = 9;
/// Smallest replay window a peer may ask for (RFC 4568 section 6.3.6); ours is not smaller.
const WINDOW_MIN: u32 = 64;

/// Some peers leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One usable line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// What the answer refers to.
    pub tag: u32,
    /// Suite, master key and salt of what the writer sends.
    pub key: SrtpKey,
}

/// The usable lines among the values of `a=crypto` of one m-line, in order.
pub fn usable<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Crypto> {
    let values: Vec<&str> = values.take(LINES_MAX).collect();
    let tags: Vec<Option<u32>> = values.iter().map(|value| tag(value)).collect();
    let once = |tag: u32| tags.iter().filter(|other| **other == Some(tag)).count() == 1;
    values.iter().filter_map(|value| read(value)).filter(|crypto| once(crypto.tag)).collect()
}

fn tag(value: &str) -> Option<u32> {
    let text = value.split_whitespace().next()?;
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    (digits && text.len() <= TAG_DIGITS_MAX).then(|| text.parse().ok()).flatten()
}

fn read(value: &str) -> Option<Crypto> {
    let mut fields = value.split_whitespace();
    let tag = fields.next().and_then(tag)?;
    let suite = SrtpSuite::parse(fields.next()?)?;
    // More than one key needs an MKI to tell them apart.
    let parameter = fields.next().filter(|keys| !keys.contains(';'))?;
    let (method, key) = parameter.split_once(':')?;
    if !method.eq_ignore_ascii_case("inline") {
        return None;
    }
    let mut parts = key.split('|');
    let octets = BASE64.decode(parts.next()?).ok()?;
    // The lifetime is of no account: no call lives for 2^31 packets. An MKI has a colon.
    if parts.any(|part| part.contains(':')) || !fields.all(tolerable) {
        return None;
    }
    Some(Crypto { tag, key: SrtpKey::new(suite, &octets)? })
}

/// Whether what a session parameter asks for is what we do (RFC 4568 section 6.3).
fn tolerable(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    match name.to_ascii_uppercase().as_str() {
        "KDR" => value == "0",
        "WSH" => value.parse().is_ok_and(|window: u32| window >= WINDOW_MIN),
        // A parameter that begins with a dash may be ignored, every other must be understood.
        _ => name.starts_with('-'),
    }
}

impl fmt::Display for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = base64::engine::general_purpose::STANDARD.encode(self.key.octets());
        write!(f, "{} {} inline:{key}", self.tag, self.key.suite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key of the example in RFC 4568 section 4.1.
    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn one(value: &str) -> Option<Crypto> {
        usable([value].into_iter()).first().copied()
    }

    #[test]
    fn the_examples_of_rfc_4568_are_read() {
        let crypto = one(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20")).expect("a line");
        assert_eq!((crypto.tag, crypto.key.suite()), (1, SrtpSuite::AesCm128HmacSha1_80));
        assert_eq!(crypto.key.master_key(), b"YS___semctl () {");
        assert_eq!(crypto.to_string(), format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"));
        assert_eq!(one(&crypto.to_string()), Some(crypto));
        // An MKI, which nobody here keeps apart.
        assert_eq!(one(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4")), None);
        assert_eq!(one(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4")), None);
    }

    #[test]
    fn hostile_lines_are_unusable() {
        let long = "A".repeat(4_000);
        for line in [
            String::new(),
            "1".to_owned(),
            "1 AES_CM_128_HMAC_SHA1_80".to_owned(),
            format!("one AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("-1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("12345678901 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 outline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", &KEY[..36]),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}AAAA"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{long}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", "*".repeat(40)),
            format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTCP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} WSH=9"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}"),
        ] {
            assert_eq!(one(&line), None, "{line}");
        }
        let fine = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31 WSH=64 -VENDOR=1");
        assert!(one(&fine).is_some());
    }

    #[test]
    fn two_lines_of_one_tag_are_both_unusable() {
        let line = |tag| format!("{tag} AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        let lines = [line(1), line(1), line(2)];
        let found = usable(lines.iter().map(String::as_str));
        assert_eq!(found.iter().map(|crypto| crypto.tag).collect::<Vec<_>>(), [2]);
        let many: Vec<String> = (0..200).map(line).collect();
        assert_eq!(usable(many.iter().map(String::as_str)).len(), LINES_MAX);
    }

    #[test]
    fn padding_may_be_missing() {
        let octets = [7; 44];
        let padded = base64::engine::general_purpose::STANDARD.encode(octets);
        for text in [padded.as_str(), padded.trim_end_matches('=')] {
            let crypto = one(&format!("3 AEAD_AES_256_GCM inline:{text}")).expect("a line");
            assert_eq!(crypto.key.octets(), octets);
        }
    }
}
