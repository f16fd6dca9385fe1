use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

use super::*;
use crate::types::Entropy;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn key(suite: SrtpSuite, hex: &str) -> SrtpKey {
    SrtpKey::new(suite, &bytes(hex)).unwrap()
}

/// RFC 3711 appendix B.3, for both directions of the labels.
#[test]
fn session_keys_are_those_of_rfc_3711() {
    let master = "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6";
    let key = key(SrtpSuite::AesCm128HmacSha1_80, master);
    for (label, expected) in [
        (LABEL_KEY, "C61E7A93744F39EE10734AFE3FF7A087"),
        (LABEL_SALT, "30CBBC08863D8C85D49DB34A9AE1"),
        (
            LABEL_MAC,
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2DC68",
        ),
    ] {
        let expected = bytes(expected);
        let mut out = vec![0; expected.len()];
        derive(&key, label, &mut out).unwrap();
        assert_eq!(out, expected, "label {label}");
    }
}

/// RFC 3711 appendix B.2: the key stream of AES-CM, its first and its last three blocks of 2^16.
#[test]
fn the_key_stream_is_that_of_rfc_3711() {
    let salt: [u8; 16] = bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    let block = counter_block(&salt, 0, 0);
    let key = bytes("2B7E151628AED2A6ABF7158809CF4F3C");
    let mut cipher = RingCrypto.new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, &key).unwrap();
    let mut stream = vec![0; 0xff02 * 16];
    cipher.apply_keystream(&block, &mut stream).unwrap();
    assert_eq!(
        stream[..48],
        bytes(
            "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
             41E95B3BB0A2E8DD477901E4FCA894C0"
        )
    );
    assert_eq!(
        stream[0xfeff * 16..],
        bytes(
            "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE
             6A2CC3787889374FBEB4C81B17BA6C44"
        )
    );
}

/// RFC 6188 section 7.2.
#[test]
fn session_keys_are_those_of_rfc_6188() {
    let key = key(
        SrtpSuite::Aes256CmHmacSha1_80,
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6 3b04803de51ee7c96423ab5b78d2",
    );
    for (label, expected) in [
        (LABEL_KEY, "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"),
        (LABEL_SALT, "fa31791685ca444a9e07c6c64e93"),
        (LABEL_MAC, "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"),
    ] {
        let expected = bytes(expected);
        let mut out = vec![0; expected.len()];
        derive(&key, label, &mut out).unwrap();
        assert_eq!(out, expected, "label {label}");
    }
}

/// RFC 7714 section 16.1 and 17: session keys stand in the document, so the ciphers are built with them.
#[test]
fn packets_are_those_of_rfc_7714() {
    let salt: [u8; 12] = bytes("517569642070726f2071756f").try_into().unwrap();
    let plain = bytes(
        "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e69732064697669736120696e20706172746573
         2074726573",
    );
    for (algorithm, key, sealed) in [
        (
            AeadAlgorithm::Aes128Gcm,
            "000102030405060708090a0b0c0d0e0f",
            "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b
             36de3adf8833899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            AeadAlgorithm::Aes256Gcm,
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f
             1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let cipher = RingCrypto.new_aead(algorithm, &bytes(key)).unwrap();
        let mut transform = Transform::Gcm { cipher, salt };
        let mut body = plain.clone();
        let mut tag = [0; 16];
        let at = (0x5501_a0b2, 0xf17b);
        transform.seal((&mut body, 12), at, &[0; 4], &mut tag).unwrap();
        assert_eq!([body.as_slice(), &tag].concat(), bytes(sealed));
        transform.open((&mut body, 12), at, &[0; 4], &tag).unwrap();
        assert_eq!(body, plain);
    }
    // Section 17.1: SRTCP.
    let cipher =
        RingCrypto.new_aead(AeadAlgorithm::Aes128Gcm, &bytes("000102030405060708090a0b0c0d0e0f"));
    let mut transform = Transform::Gcm { cipher: cipher.unwrap(), salt };
    let mut body = bytes(
        "81c8000d4d617273 4e5450314e545032525450200000042a0000e930 4c756e61
         deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    );
    let mut tag = [0; 16];
    let word = bytes("800005d4");
    transform.seal((&mut body, 8), (0x4d61_7273, 0x5d4), &word, &mut tag).unwrap();
    assert_eq!(
        [body.as_slice(), &tag, &word].concat(),
        bytes(
            "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda
             4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade 800005d4"
        )
    );
}

fn profile(suite: SrtpSuite) -> ProtectionProfile {
    match suite {
        SrtpSuite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpSuite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpSuite::Aes256CmHmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
        SrtpSuite::Aes256CmHmacSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
        SrtpSuite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
    }
}

/// The other implementation of the same documents.
fn other(key: &SrtpKey) -> Context {
    Context::new(
        key.master_key(),
        key.master_salt(),
        profile(key.suite()),
        Some(srtp_replay_protection(64)),
        Some(srtcp_replay_protection(64)),
        &RingCrypto,
    )
    .unwrap()
}

fn packet(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn protected(sender: &mut Sender, plain: &[u8]) -> Vec<u8> {
    let mut space = plain.to_vec();
    space.resize(plain.len() + OVERHEAD_BYTES_MAX, 0);
    let len = sender.protect(&mut space, plain.len()).unwrap();
    space.truncate(len);
    space
}

fn protected_control(sender: &mut Sender, plain: &[u8]) -> Vec<u8> {
    let mut space = plain.to_vec();
    space.resize(plain.len() + OVERHEAD_BYTES_MAX, 0);
    let len = sender.protect_control(&mut space, plain.len()).unwrap();
    space.truncate(len);
    space
}

const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];

#[test]
fn another_implementation_agrees_both_ways_in_every_suite() {
    let mut entropy = Entropy::seeded(2);
    for suite in SrtpSuite::ALL {
        let key = SrtpKey::generate(suite, &mut entropy);
        let (mut sender, mut receiver) = (Sender::new(key).unwrap(), Receiver::new(key).unwrap());
        let (mut their_sender, mut their_receiver) = (other(&key), other(&key));
        for sequence in (65_500..=65_535).chain(0..40) {
            let plain = packet(sequence, 7, &[sequence as u8; 160]);
            let ours = protected(&mut sender, &plain);
            assert_eq!(their_receiver.decrypt_rtp(&ours).unwrap(), plain, "{suite} {sequence}");
            let theirs = their_sender.encrypt_rtp(&plain).unwrap();
            assert_eq!(theirs, ours);
            assert_eq!(receiver.open(&theirs), Ok(plain.as_slice()));
            let report = [REPORT.as_slice(), &[sequence as u8; 24]].concat();
            let ours = protected_control(&mut sender, &report);
            assert_eq!(their_receiver.decrypt_rtcp(&ours).unwrap(), report);
            let theirs = their_sender.encrypt_rtcp(&report).unwrap();
            assert_eq!(receiver.open_control(&theirs), Ok(report.as_slice()));
        }
    }
}

#[test]
fn lists_and_extensions_of_the_header_stay_in_the_clear() {
    for suite in SrtpSuite::ALL {
        let key = SrtpKey::generate(suite, &mut Entropy::seeded(3));
        let (mut sender, mut receiver) = (Sender::new(key).unwrap(), Receiver::new(key).unwrap());
        let mut plain = packet(1, 7, &[0, 0, 0, 9, 0xbe, 0xde, 0, 1, 1, 2, 3, 4, 5, 6, 7]);
        plain[0] = 0x91;
        let sealed = protected(&mut sender, &plain);
        assert_eq!(sealed[..24], plain[..24]);
        assert_ne!(sealed[24..27], plain[24..27]);
        assert_eq!(receiver.open(&sealed), Ok(plain.as_slice()));
    }
}

#[test]
fn changed_short_and_replayed_packets_are_refused() {
    for suite in SrtpSuite::ALL {
        let key = SrtpKey::generate(suite, &mut Entropy::seeded(4));
        let (mut sender, mut receiver) = (Sender::new(key).unwrap(), Receiver::new(key).unwrap());
        let sealed = protected(&mut sender, &packet(1_000, 7, &[1; 160]));
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert!(receiver.open(&forged).is_err(), "octet {at}");
            assert!(receiver.open(&sealed[..at]).is_err(), "length {at}");
        }
        assert!(receiver.open(&[0x80; 2_000]).is_err());
        assert!(receiver.sources.is_empty(), "what is not authentic leaves no trace");
        assert!(receiver.open(&sealed).is_ok());
        assert_eq!(receiver.open(&sealed), Err(SrtpError::Replay));
        let late = protected(&mut sender, &packet(1_001, 7, &[1; 160]));
        for sequence in 1_002..1_200 {
            let next = protected(&mut sender, &packet(sequence, 7, &[1; 160]));
            assert!(receiver.open(&next).is_ok());
        }
        assert_eq!(receiver.open(&late), Err(SrtpError::Replay), "too old to tell");

        let report = [REPORT.as_slice(), &[9; 24]].concat();
        let sealed = protected_control(&mut sender, &report);
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert!(receiver.open_control(&forged).is_err(), "octet {at}");
            assert!(receiver.open_control(&sealed[..at]).is_err(), "length {at}");
        }
        assert!(receiver.open_control(&report).is_err(), "in the clear");
        assert!(receiver.open_control(&sealed).is_ok());
        assert_eq!(receiver.open_control(&sealed), Err(SrtpError::Replay));
    }
}

/// The flag that says "encrypted" is the attacker's to clear: without it the packet must not be believed.
#[test]
fn control_packets_without_encryption_are_refused() {
    let key = SrtpKey::generate(SrtpSuite::AesCm128HmacSha1_80, &mut Entropy::seeded(5));
    let mut receiver = Receiver::new(key).unwrap();
    let forged = [REPORT.as_slice(), &[0, 0, 0, 1], &[0; 10]].concat();
    assert_eq!(receiver.open_control(&forged), Err(SrtpError::Authentication));
    assert!(
        other(&key).decrypt_rtcp(&forged).is_ok(),
        "the library has learnt it: see decision 0019"
    );
}

/// 65,536 packets and a pause in which nothing is sent: the counter goes on while the key stays.
#[test]
fn the_rollover_counter_outlives_a_hold_and_dies_with_its_key() {
    let mut entropy = Entropy::seeded(6);
    let key = SrtpKey::generate(SrtpSuite::AeadAes128Gcm, &mut entropy);
    let (mut sender, mut receiver) = (Sender::new(key).unwrap(), Receiver::new(key).unwrap());
    let mut sequence = 40_000_u16;
    for count in 0..95_000_u32 {
        let sealed = protected(&mut sender, &packet(sequence, 7, &[count as u8; 20]));
        // Losses of up to a second, so that wraps fall into gaps too.
        if count % 97 != 0 && !(25_530..25_580).contains(&count) {
            assert!(receiver.open(&sealed).is_ok(), "packet {count}");
        }
        sequence = sequence.wrapping_add(1);
    }
    assert_eq!(sender.last.map(|index| index >> 16), Some(2));
    assert_eq!(receiver.sources[0].1.highest >> 16, 2);
    // Another key: both begin at zero.
    let key = SrtpKey::generate(SrtpSuite::AeadAes128Gcm, &mut entropy);
    let (mut sender, mut receiver) = (Sender::new(key).unwrap(), Receiver::new(key).unwrap());
    let sealed = protected(&mut sender, &packet(sequence, 7, &[1; 20]));
    assert!(receiver.open(&sealed).is_ok());
    assert_eq!(receiver.sources[0].1.highest, u64::from(sequence));
}

#[test]
fn reordered_packets_around_a_wrap_are_opened_once() {
    let key = SrtpKey::generate(SrtpSuite::AeadAes128Gcm, &mut Entropy::seeded(7));
    let (mut sender, mut receiver) = (Sender::new(key).unwrap(), Receiver::new(key).unwrap());
    let mut sealed: Vec<_> = (0..8_u16)
        .map(|n| protected(&mut sender, &packet(65_532_u16.wrapping_add(n), 7, &[n as u8; 20])))
        .collect();
    sealed.swap(3, 5);
    sealed.swap(4, 6);
    for packet in &sealed {
        assert!(receiver.open(packet).is_ok());
    }
    for packet in &sealed {
        assert_eq!(receiver.open(packet), Err(SrtpError::Replay));
    }
}

#[test]
fn sources_are_bounded() {
    let key = SrtpKey::generate(SrtpSuite::AeadAes128Gcm, &mut Entropy::seeded(8));
    let mut receiver = Receiver::new(key).unwrap();
    for ssrc in 0..100 {
        let mut sender = Sender::new(key).unwrap();
        let sealed = protected(&mut sender, &packet(1, ssrc, &[1; 20]));
        assert!(receiver.open(&sealed).is_ok());
        let report = [&REPORT[..4], &ssrc.to_be_bytes(), &[1; 24]].concat();
        assert!(receiver.open_control(&protected_control(&mut sender, &report)).is_ok());
    }
    assert_eq!(
        (receiver.sources.len(), receiver.control_sources.len()),
        (SOURCES_MAX, SOURCES_MAX)
    );
}
