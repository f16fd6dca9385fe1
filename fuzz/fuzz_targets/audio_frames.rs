#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline::audio::fuzz::audio_frames(data));
