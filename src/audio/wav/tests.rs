use super::*;
use proptest::prelude::*;
use std::io::Cursor;

fn ramp(len: usize) -> Vec<i16> {
    (0..len).map(|n| (n * 7 % 30_000) as i16).collect()
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.wav");
    let mut writer = WavWriter::create(&path, SampleRate::HZ_8000, Channels::Stereo).unwrap();
    writer.write_stereo(&ramp(500), &ramp(300)).unwrap();
    writer.write_mono(&[5; 10]).unwrap();
    assert_eq!(writer.samples(), 510);
    writer.finish().unwrap();
    let audio = read_file(&path).unwrap();
    assert_eq!(audio.rate, SampleRate::HZ_8000);
    assert_eq!(audio.channels[0][..500], ramp(500));
    assert_eq!(audio.channels[1][..300], ramp(300));
    assert!(audio.channels[1][300..500].iter().all(|sample| *sample == 0));
    assert_eq!(audio.channels[1][500..], [5; 10]);
    assert_eq!(read_mono(&path).unwrap().samples[500..], [5; 10]);
}

/// A writer that is forgotten is what a killed process leaves: neither drop nor flush runs.
fn killed_after(path: &Path, frames: usize) {
    let mut writer = WavWriter::create(path, SampleRate::HZ_8000, Channels::Stereo).unwrap();
    for _ in 0..frames {
        writer.write_stereo(&[111; 160], &[-222; 160]).unwrap();
    }
    std::mem::forget(writer);
}

#[test]
fn a_killed_writer_leaves_a_playable_file_that_lacks_at_most_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.wav");
    for frames in [0, 1, 49, 50, 51, 149, 175, 260] {
        killed_after(&path, frames);
        let audio = read_file(&path).unwrap();
        let kept = audio.channels[0].len();
        assert!(kept <= frames * 160 && kept + 8_000 >= frames * 160, "{frames}: {kept}");
        assert!(audio.channels[1].iter().all(|sample| *sample == -222));
    }
}

#[test]
fn other_kinds_of_wav_are_refused_by_name() {
    let write = |spec: hound::WavSpec| {
        let mut bytes = Cursor::new(Vec::new());
        hound::WavWriter::new(&mut bytes, spec).unwrap().finalize().unwrap();
        read(Cursor::new(bytes.into_inner()))
    };
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    assert!(write(spec).unwrap().channels[0].is_empty());
    for other in [
        hound::WavSpec { bits_per_sample: 24, ..spec },
        hound::WavSpec { channels: 3, ..spec },
        hound::WavSpec { sample_rate: 1_000, ..spec },
        hound::WavSpec { bits_per_sample: 32, sample_format: hound::SampleFormat::Float, ..spec },
    ] {
        assert!(matches!(write(other), Err(WavError::Unsupported { .. })), "{other:?}");
    }
    assert!(matches!(read(&b"RIFF"[..]), Err(WavError::Io(_) | WavError::Format(_))));
}

#[test]
fn a_header_that_claims_hours_is_refused_before_anything_is_read() {
    let mut bytes = Cursor::new(Vec::new());
    WavWriter::new(&mut bytes, SampleRate::HZ_8000, Channels::Mono).unwrap().finish().unwrap();
    let mut bytes = bytes.into_inner();
    bytes[40..44].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
    assert!(matches!(read(Cursor::new(bytes)), Err(WavError::TooLong { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(Cursor::new(bytes.clone()));
        let mut wav = b"RIFF\x10\0\0\0WAVE".to_vec();
        wav.extend(&bytes);
        let _ = read(Cursor::new(wav));
    }
}
