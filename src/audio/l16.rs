//! L16 (RFC 3551 section 4.5.11): samples as they are, the more significant octet first.

/// Decodes as many samples as there are and as fit; returns how many. Half a sample at the end is not one.
pub fn decode(payload: &[u8], pcm: &mut [i16]) -> usize {
    let (samples, _) = payload.as_chunks::<2>();
    for (to, from) in pcm.iter_mut().zip(samples) {
        *to = i16::from_be_bytes(*from);
    }
    samples.len().min(pcm.len())
}

/// Encodes as many samples as there are and as fit; returns the octets.
pub fn encode(pcm: &[i16], payload: &mut [u8]) -> usize {
    let (places, _) = payload.as_chunks_mut::<2>();
    for (to, from) in places.iter_mut().zip(pcm) {
        *to = from.to_be_bytes();
    }
    places.len().min(pcm.len()) * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_in_network_byte_order() {
        let mut payload = [0; 7];
        assert_eq!(encode(&[1, -2, 0x1234, 9], &mut payload), 6);
        assert_eq!(payload, [0, 1, 0xff, 0xfe, 0x12, 0x34, 0]);
        let mut pcm = [0; 4];
        assert_eq!(decode(&payload, &mut pcm), 3);
        assert_eq!(pcm, [1, -2, 0x1234, 0]);
        assert_eq!(decode(&payload, &mut pcm[..1]), 1);
        assert_eq!((encode(&[], &mut payload), decode(&[], &mut pcm)), (0, 0));
    }
}
