#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline::config::load::config_toml(data));
