#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline::speech::fuzz::speech_text(data));
