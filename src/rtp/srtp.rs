//! SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714): the only file that names `rtc-crypto`.
//!
//! Ciphers and MACs are the library's; packets are protected and opened in place here, so that nothing is
//! allocated for a packet and nothing is kept for one that is not authentic (why: decision 0019). One
//! [`Sender`] and one [`Receiver`] live as long as their key: packet indices, and with them the rollover
//! counter, go on over hold and re-INVITE and begin anew with another key.

use std::ops::Range;

use rtc_crypto::providers::RingCrypto;
use rtc_crypto::{
    AeadAlgorithm, AeadCipher, HmacAlgorithm, Mac, RTCCrypto, StreamCipher, StreamCipherAlgorithm,
    constant_time_eq,
};

use super::packet::{HEADER_BYTES, PACKET_BYTES_MAX};
use crate::types::{SrtpKey, SrtpSuite};

/// Octets that protection adds to a packet at most: the tag of GCM and the index of RTCP.
pub const OVERHEAD_BYTES_MAX: usize = GCM_TAG_BYTES + INDEX_BYTES;
/// Sources whose index is kept; a peer takes another one at a transfer, seldom else. The oldest gives way.
pub const SOURCES_MAX: usize = 8;

const GCM_TAG_BYTES: usize = 16;
/// Index and encryption flag of SRTCP.
const INDEX_BYTES: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
/// What of an RTCP packet stays in the clear.
const CONTROL_HEADER_BYTES: usize = 8;
/// Tag of SRTCP with HMAC-SHA1, whatever the suite says of SRTP (RFC 4568 section 6.2).
const CONTROL_TAG_BYTES: usize = 10;
const SHA1_BYTES: usize = 20;
/// Indices behind the highest that may still come once (RFC 3711 section 3.3.2 asks for 64).
const WINDOW: u64 = 128;

/// The cryptography of the room.
pub(super) fn crypto() -> &'static dyn RTCCrypto {
    &RingCrypto
}

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// Shorter than its parts, or longer than a datagram of ours.
    #[error("wrong size")]
    Size,
    /// Its tag is not of this key; or RTCP without encryption.
    #[error("not authentic")]
    Authentication,
    /// Opened before, or too old to tell.
    #[error("replayed")]
    Replay,
}

/// The ciphers cannot be built with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("build the ciphers of SRTP")]
pub struct KeyError;

/// What protects one kind of packet in one direction.
enum Transform {
    Counter { cipher: Box<dyn StreamCipher>, mac: Box<dyn Mac>, salt: [u8; 16], tag_bytes: usize },
    Gcm { cipher: Box<dyn AeadCipher>, salt: [u8; 12] },
}

/// Labels of key derivation (RFC 3711 section 4.3.2): of SRTP; SRTCP's lie three above.
const LABEL_KEY: u8 = 0;
const LABEL_MAC: u8 = 1;
const LABEL_SALT: u8 = 2;
const LABELS_OF_CONTROL: u8 = 3;

impl Transform {
    fn new(key: &SrtpKey, labels: u8) -> Result<Self, KeyError> {
        let suite = key.suite();
        let session = |label: u8, out: &mut [u8]| derive(key, labels + label, out);
        let mut cipher_key = [0; 32];
        let cipher_key = cipher_key.get_mut(..suite.key_bytes()).ok_or(KeyError)?;
        session(LABEL_KEY, cipher_key)?;
        let aead = match suite {
            SrtpSuite::AeadAes256Gcm => Some(AeadAlgorithm::Aes256Gcm),
            SrtpSuite::AeadAes128Gcm => Some(AeadAlgorithm::Aes128Gcm),
            _ => None,
        };
        if let Some(algorithm) = aead {
            let mut salt = [0; 12];
            session(LABEL_SALT, &mut salt)?;
            let cipher = RingCrypto.new_aead(algorithm, cipher_key).map_err(|_| KeyError)?;
            return Ok(Self::Gcm { cipher, salt });
        }
        let mut salt = [0; 16];
        session(LABEL_SALT, salt.get_mut(..14).ok_or(KeyError)?)?;
        let mut mac_key = [0; SHA1_BYTES];
        session(LABEL_MAC, &mut mac_key)?;
        let short =
            matches!(suite, SrtpSuite::AesCm128HmacSha1_32 | SrtpSuite::Aes256CmHmacSha1_32);
        let tag_bytes = if short && labels == 0 { 4 } else { CONTROL_TAG_BYTES };
        let cipher =
            RingCrypto.new_stream_cipher(counter_mode(suite), cipher_key).map_err(|_| KeyError)?;
        let mac = RingCrypto.new_hmac(HmacAlgorithm::Sha1, &mac_key).map_err(|_| KeyError)?;
        Ok(Self::Counter { cipher, mac, salt, tag_bytes })
    }

    fn tag_bytes(&self) -> usize {
        match self {
            Self::Counter { tag_bytes, .. } => *tag_bytes,
            Self::Gcm { .. } => GCM_TAG_BYTES,
        }
    }
}

fn counter_mode(suite: SrtpSuite) -> StreamCipherAlgorithm {
    if suite.key_bytes() == 32 {
        StreamCipherAlgorithm::Aes256Ctr
    } else {
        StreamCipherAlgorithm::Aes128Ctr
    }
}

/// A session key: the key stream of the master key from salt and label on (RFC 3711 section 4.3.3).
fn derive(key: &SrtpKey, label: u8, out: &mut [u8]) -> Result<(), KeyError> {
    let mut block = [0_u8; 16];
    for (to, from) in block.iter_mut().zip(key.master_salt()) {
        *to = *from;
    }
    block[7] ^= label;
    out.fill(0);
    RingCrypto
        .new_stream_cipher(counter_mode(key.suite()), key.master_key())
        .and_then(|mut cipher| cipher.apply_keystream(&block, out))
        .map_err(|_| KeyError)
}

/// Counter block of AES-CM (RFC 3711 section 4.1.1) for a 48-bit index.
fn counter_block(salt: &[u8; 16], ssrc: u32, index: u64) -> [u8; 16] {
    let number = (u128::from(ssrc) << 64) | (u128::from(index & 0xffff_ffff_ffff) << 16);
    (u128::from_be_bytes(*salt) ^ number).to_be_bytes()
}

/// Nonce of GCM (RFC 7714 sections 8.1 and 9.1) for a 48-bit index.
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> [u8; 12] {
    let mut nonce = *salt;
    let number = (u128::from(ssrc) << 48) | u128::from(index & 0xffff_ffff_ffff);
    for (to, from) in nonce.iter_mut().zip(number.to_be_bytes().into_iter().skip(4)) {
        *to ^= from;
    }
    nonce
}

impl Transform {
    /// Encrypts `body` from `clear` on and writes the tag over all of it and `trailer`.
    fn seal(
        &mut self,
        (body, clear): (&mut [u8], usize),
        (ssrc, index): (u32, u64),
        trailer: &[u8],
        tag: &mut [u8],
    ) -> Option<()> {
        match self {
            Self::Counter { cipher, mac, salt, .. } => {
                let block = counter_block(salt, ssrc, index);
                cipher.apply_keystream(&block, body.get_mut(clear..)?).ok()?;
                let mut whole = [0; SHA1_BYTES];
                mac.sign(&[body, trailer], &mut whole).ok()?;
                tag.copy_from_slice(whole.get(..tag.len())?);
            }
            Self::Gcm { cipher, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                let (header, payload) = body.split_at_mut_checked(clear)?;
                let mut space = [0; CONTROL_HEADER_BYTES + INDEX_BYTES];
                let header = joined(header, trailer, &mut space);
                cipher.seal_in_place(&nonce, header, payload, tag).ok()?;
            }
        }
        Some(())
    }

    /// Checks the tag and decrypts `body` from `clear` on.
    fn open(
        &mut self,
        (body, clear): (&mut [u8], usize),
        (ssrc, index): (u32, u64),
        trailer: &[u8],
        tag: &[u8],
    ) -> Option<()> {
        match self {
            Self::Counter { cipher, mac, salt, .. } => {
                let mut whole = [0; SHA1_BYTES];
                mac.sign(&[body, trailer], &mut whole).ok()?;
                if !constant_time_eq(whole.get(..tag.len())?, tag) {
                    return None;
                }
                let block = counter_block(salt, ssrc, index);
                cipher.apply_keystream(&block, body.get_mut(clear..)?).ok()
            }
            Self::Gcm { cipher, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                let (header, payload) = body.split_at_mut_checked(clear)?;
                let mut space = [0; CONTROL_HEADER_BYTES + INDEX_BYTES];
                let header = joined(header, trailer, &mut space);
                cipher.open_in_place(&nonce, header, payload, tag).ok()
            }
        }
    }

    /// Where tag and index word of SRTCP stand behind `len` octets: the word before the tag (RFC 3711),
    /// or behind it (RFC 7714).
    fn control_tail(&self, len: usize) -> (Range<usize>, Range<usize>) {
        let tag = self.tag_bytes();
        match self {
            Self::Counter { .. } => {
                let begin = len + INDEX_BYTES;
                (begin..begin + tag, len..begin)
            }
            Self::Gcm { .. } => (len..len + tag, len + tag..len + tag + INDEX_BYTES),
        }
    }
}

/// What GCM authenticates in the clear: the header of RTP; header and index word of RTCP.
fn joined<'a>(
    header: &'a [u8],
    trailer: &[u8],
    space: &'a mut [u8; CONTROL_HEADER_BYTES + INDEX_BYTES],
) -> &'a [u8] {
    // The rollover counter of RTP is in the nonce.
    if header.len() != CONTROL_HEADER_BYTES {
        return header;
    }
    for (to, from) in space.iter_mut().zip(header.iter().chain(trailer)) {
        *to = *from;
    }
    space
}

/// Protects what one stream sends.
pub struct Sender {
    key: SrtpKey,
    media: Transform,
    control: Transform,
    /// Index of the last packet.
    last: Option<u64>,
    control_index: u32,
}

impl Sender {
    /// Begins with a key: indices from zero on.
    ///
    /// # Errors
    /// When the ciphers cannot be built.
    pub fn new(key: SrtpKey) -> Result<Self, KeyError> {
        let media = Transform::new(&key, 0)?;
        let control = Transform::new(&key, LABELS_OF_CONTROL)?;
        Ok(Self { key, media, control, last: None, control_index: 0 })
    }

    /// Its key.
    pub fn key(&self) -> &SrtpKey {
        &self.key
    }

    /// Protects the RTP packet in the first `len` octets of `packet`, in place, and returns its new length.
    /// `None`: there is no room for the tag, or it is no packet.
    pub fn protect(&mut self, packet: &mut [u8], len: usize) -> Option<usize> {
        let header = Fixed::of(packet.get(..len)?)?;
        let index = match self.last {
            None => u64::from(header.sequence),
            Some(last) => closest(last, header.sequence),
        };
        self.last = self.last.max(Some(index));
        let rollover = ((index >> 16) as u32).to_be_bytes();
        let end = len + self.media.tag_bytes();
        let (body, tag) = packet.get_mut(..end)?.split_at_mut(len);
        self.media.seal((body, header.bytes), (header.ssrc, index), &rollover, tag)?;
        Some(end)
    }

    /// The same for a compound RTCP packet.
    pub fn protect_control(&mut self, packet: &mut [u8], len: usize) -> Option<usize> {
        let ssrc = control_ssrc(packet.get(..len)?)?;
        self.control_index = (self.control_index + 1) & !ENCRYPTED;
        let word = (self.control_index | ENCRYPTED).to_be_bytes();
        let at = (ssrc, u64::from(self.control_index));
        let (tag_at, word_at) = self.control.control_tail(len);
        let end = tag_at.end.max(word_at.end);
        packet.get_mut(word_at)?.copy_from_slice(&word);
        let mut tag = [0; GCM_TAG_BYTES];
        let tag = tag.get_mut(..tag_at.len())?;
        self.control.seal((packet.get_mut(..len)?, CONTROL_HEADER_BYTES), at, &word, tag)?;
        packet.get_mut(tag_at)?.copy_from_slice(tag);
        Some(end)
    }
}

/// Opens what one stream receives.
pub struct Receiver {
    key: SrtpKey,
    media: Transform,
    control: Transform,
    /// Sources that sent an authentic packet, the newest first.
    sources: Vec<(u32, Window)>,
    control_sources: Vec<(u32, Window)>,
    plain: Box<[u8; PACKET_BYTES_MAX]>,
}

impl Receiver {
    /// Begins with a key: rollover counters are zero.
    ///
    /// # Errors
    /// When the ciphers cannot be built.
    pub fn new(key: SrtpKey) -> Result<Self, KeyError> {
        Ok(Self {
            media: Transform::new(&key, 0)?,
            control: Transform::new(&key, LABELS_OF_CONTROL)?,
            key,
            sources: Vec::with_capacity(SOURCES_MAX),
            control_sources: Vec::with_capacity(SOURCES_MAX),
            plain: Box::new([0; PACKET_BYTES_MAX]),
        })
    }

    /// Its key.
    pub fn key(&self) -> &SrtpKey {
        &self.key
    }

    /// Opens an RTP packet.
    ///
    /// # Errors
    /// Says why it is to be dropped; nothing has changed then.
    pub fn open(&mut self, datagram: &[u8]) -> Result<&[u8], SrtpError> {
        let packet = copied(&mut self.plain, datagram)?;
        let header = Fixed::of(packet).ok_or(SrtpError::Size)?;
        let window = find(&self.sources, header.ssrc);
        let index = match window {
            None => u64::from(header.sequence),
            Some(window) => closest(window.highest, header.sequence),
        };
        if window.is_some_and(|window| !window.admits(index)) {
            return Err(SrtpError::Replay);
        }
        let rollover = ((index >> 16) as u32).to_be_bytes();
        let len = packet.len().checked_sub(self.media.tag_bytes()).ok_or(SrtpError::Size)?;
        let (body, tag) = packet.split_at_mut(len);
        self.media
            .open((body, header.bytes), (header.ssrc, index), &rollover, tag)
            .ok_or(SrtpError::Authentication)?;
        note(&mut self.sources, header.ssrc, index);
        Ok(body)
    }

    /// Opens an RTCP packet. One that is not encrypted is refused, as its sender agreed to encrypt.
    ///
    /// # Errors
    /// Says why it is to be dropped; nothing has changed then.
    pub fn open_control(&mut self, datagram: &[u8]) -> Result<&[u8], SrtpError> {
        let packet = copied(&mut self.plain, datagram)?;
        let ssrc = control_ssrc(packet).ok_or(SrtpError::Size)?;
        let tail = self.control.tag_bytes() + INDEX_BYTES;
        let len = packet.len().checked_sub(tail).filter(|len| *len >= CONTROL_HEADER_BYTES);
        let len = len.ok_or(SrtpError::Size)?;
        let (tag_at, word_at) = self.control.control_tail(len);
        let word = packet.get(word_at).and_then(|word| word.first_chunk::<INDEX_BYTES>());
        let word = *word.ok_or(SrtpError::Size)?;
        let number = u32::from_be_bytes(word);
        if number & ENCRYPTED == 0 {
            return Err(SrtpError::Authentication);
        }
        let index = u64::from(number & !ENCRYPTED);
        if find(&self.control_sources, ssrc).is_some_and(|window| !window.admits(index)) {
            return Err(SrtpError::Replay);
        }
        let (body, rest) = packet.split_at_mut(len);
        let tag = rest.get(tag_at.start - len..tag_at.end - len).ok_or(SrtpError::Size)?;
        self.control
            .open((body, CONTROL_HEADER_BYTES), (ssrc, index), &word, tag)
            .ok_or(SrtpError::Authentication)?;
        note(&mut self.control_sources, ssrc, index);
        Ok(body)
    }
}

fn copied<'a>(
    plain: &'a mut [u8; PACKET_BYTES_MAX],
    datagram: &[u8],
) -> Result<&'a mut [u8], SrtpError> {
    let packet = plain.get_mut(..datagram.len()).ok_or(SrtpError::Size)?;
    packet.copy_from_slice(datagram);
    Ok(packet)
}

fn control_ssrc(packet: &[u8]) -> Option<u32> {
    let header = packet.first_chunk::<CONTROL_HEADER_BYTES>()?;
    let [.., a, b, c, d] = *header;
    Some(u32::from_be_bytes([a, b, c, d]))
}

/// What of an RTP header protection needs.
struct Fixed {
    sequence: u16,
    ssrc: u32,
    /// Octets in the clear: fixed header, CSRC list, extension.
    bytes: usize,
}

impl Fixed {
    fn of(packet: &[u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<HEADER_BYTES>()?;
        let [flags, _, high, low, _, _, _, _, a, b, c, d] = *fixed;
        let mut bytes = HEADER_BYTES + usize::from(flags & 0x0f) * 4;
        if flags & 0x10 != 0 {
            let extension = packet.get(bytes..)?.first_chunk::<4>()?;
            let [.., words_high, words_low] = *extension;
            bytes += 4 + usize::from(u16::from_be_bytes([words_high, words_low])) * 4;
        }
        let whole = flags >> 6 == 2 && bytes <= packet.len();
        whole.then_some(Self {
            sequence: u16::from_be_bytes([high, low]),
            ssrc: u32::from_be_bytes([a, b, c, d]),
            bytes,
        })
    }
}

/// The index with these lower 16 bits that is closest to `highest` (RFC 3711 section 3.3.1).
fn closest(highest: u64, sequence: u16) -> u64 {
    let same = (highest & !0xffff) | u64::from(sequence);
    if same > highest + 0x8000 {
        same.checked_sub(0x1_0000).unwrap_or(same)
    } else if same + 0x8000 < highest {
        same + 0x1_0000
    } else {
        same
    }
}

/// Which indices of one source came.
#[derive(Clone, Copy, Debug)]
struct Window {
    highest: u64,
    /// Bit 0 is `highest`.
    seen: u128,
}

impl Window {
    fn admits(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(behind) => behind < WINDOW && self.seen >> behind & 1 == 0,
        }
    }

    fn note(&mut self, index: u64) {
        match self.highest.checked_sub(index) {
            Some(behind) => self.seen |= 1_u128.checked_shl(behind as u32).unwrap_or(0),
            None => {
                let ahead = u32::try_from(index - self.highest).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
                self.highest = index;
            }
        }
    }
}

fn find(sources: &[(u32, Window)], ssrc: u32) -> Option<&Window> {
    sources.iter().find(|(known, _)| *known == ssrc).map(|(_, window)| window)
}

/// Takes an authentic index in; another source takes the place of the one that is longest silent.
fn note(sources: &mut Vec<(u32, Window)>, ssrc: u32, index: u64) {
    match sources.iter().position(|(known, _)| *known == ssrc) {
        Some(0) => {}
        Some(at) => {
            if let Some(newer) = sources.get_mut(..=at) {
                newer.rotate_right(1);
            }
        }
        None => {
            sources.truncate(SOURCES_MAX - 1);
            sources.insert(0, (ssrc, Window { highest: index, seen: 0 }));
        }
    }
    if let Some((_, window)) = sources.first_mut() {
        window.note(index);
    }
}

#[cfg(test)]
mod tests;
