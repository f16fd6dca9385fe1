use super::Encoding;
use crate::audio::g711;

#[test]
fn mu_law_that_came_from_a_call_leaves_as_the_same_octets() {
    for octet in 0..=u8::MAX {
        let sample = g711::decode_ulaw(octet);
        let sent = Encoding::MuLaw.encode(&[sample]);
        // The law has two zeros; the negative one leaves as the positive one.
        let wanted = if octet == 0x7F { 0xFF } else { octet };
        assert_eq!(sent.as_ref(), &[wanted], "{octet:#04x} decoded to {sample}");
    }
}
