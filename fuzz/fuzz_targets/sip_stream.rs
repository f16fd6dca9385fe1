#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline::sip::fuzz::sip_stream(data));
