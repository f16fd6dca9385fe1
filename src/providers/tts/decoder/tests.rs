use super::{Decoder, NotPcm};
use crate::providers::config::Encoding;
use crate::types::SampleRate;

fn wav(extra: &[u8], channels: u16, rate: u32) -> Vec<u8> {
    let mut out = b"RIFF\xff\xff\xff\xffWAVE".to_vec();
    out.extend_from_slice(extra);
    out.extend_from_slice(b"fmt \x10\0\0\0\x01\0");
    out.extend_from_slice(&channels.to_le_bytes());
    out.extend_from_slice(&rate.to_le_bytes());
    out.extend_from_slice(b"\0\0\0\0\x02\0\x10\0data\xff\xff\xff\xff");
    out.extend_from_slice(&[1, 0, 2, 0, 3, 0]);
    out
}

#[test]
fn any_cut_of_the_octets_gives_the_same_samples() {
    for octets in
        [vec![1, 0, 2, 0, 3, 0], wav(b"", 1, 16_000), wav(b"LIST\x03\0\0\0abc\0", 1, 16_000)]
    {
        for cut in 0..octets.len() {
            let mut decoder = Decoder::new(SampleRate::HZ_24000, Encoding::Pcm);
            let (head, tail) = octets.split_at(cut);
            let pieces = [head, tail].map(|piece| decoder.push(piece).unwrap());
            let samples: Vec<i16> =
                pieces.iter().flatten().flat_map(|pcm| pcm.samples.clone()).collect();
            assert_eq!(samples, [1, 2, 3], "cut at {cut}");
            let rate = pieces.iter().flatten().last().unwrap().rate;
            assert_eq!(rate.hz(), if octets.len() == 6 { 24_000 } else { 16_000 });
        }
    }
}

#[test]
fn other_wav_files_are_refused() {
    for octets in [wav(b"", 2, 16_000), wav(b"", 1, 1), wav(b"junk\xff\xff\xff\x7f", 1, 8_000)] {
        assert_eq!(Decoder::new(SampleRate::HZ_24000, Encoding::Pcm).push(&octets), Err(NotPcm));
    }
    let mut odd = Decoder::new(SampleRate::HZ_24000, Encoding::Pcm);
    assert_eq!(odd.push(&[7]), Ok(None));
}

#[test]
fn mulaw_has_no_header_and_a_wav_must_have_one() {
    let mut mulaw = Decoder::new(SampleRate::HZ_8000, Encoding::Mulaw);
    let pcm = mulaw.push(b"RIFF\xff").unwrap().unwrap();
    assert_eq!((pcm.samples.len(), pcm.samples[4]), (5, 0));
    assert_eq!(Decoder::wav().push(b"<html>"), Err(NotPcm));
    let pcm = Decoder::wav().push(&wav(b"", 1, 22_050)).unwrap().unwrap();
    assert_eq!((pcm.rate.hz(), pcm.samples), (22_050, vec![1, 2, 3]));
}
