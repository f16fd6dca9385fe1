#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline::media::fuzz::media_ops(data));
