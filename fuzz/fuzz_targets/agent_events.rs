#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline::sip::fuzz_agent::agent_events(data));
