use proptest::prelude::*;

use super::agent_events;

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
