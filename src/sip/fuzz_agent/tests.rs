use proptest::prelude::*;

use super::{agent_events, random_dialogs};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_ends_in_nothing(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        agent_events(&data);
    }
}

/// Long runs, so that limits are met.
#[test]
fn long_sequences_end_in_nothing() {
    for seed in 0..64 {
        let mut data = vec![0; 4_096];
        crate::types::Entropy::seeded(seed).fill(&mut data);
        agent_events(&data);
    }
}

/// `TRUNKLINE_DIALOGS=100000 cargo test --release --lib random_dialogs -- --nocapture` has that many.
#[test]
fn random_dialogs_on_one_agent_leave_nothing() {
    let count = std::env::var("TRUNKLINE_DIALOGS").ok().and_then(|text| text.parse().ok());
    let pages = || std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident_kb =
        || pages().split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0u64) * 4;
    let _warm = random_dialogs(500);
    let before = resident_kb();
    let had = random_dialogs(count.unwrap_or(2_000));
    eprintln!("{had} dialogs, resident memory {before} kB before and {} kB after", resident_kb());
}
