#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline::providers::llm::scripted::fuzz::phrase(data));
