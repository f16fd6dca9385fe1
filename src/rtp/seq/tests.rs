#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{SequenceExtender, TimestampExtender};

#[test]
fn follows_wraps_and_reordering() {
    let mut sequences = SequenceExtender::default();
    let base = sequences.extend(65_534) - 65_534;
    let table = [(65_535, 65_535), (1, 65_537), (0, 65_536), (65_533, 65_533), (2, 65_538)];
    for (sequence, expected) in table {
        assert_eq!(sequences.extend(sequence) - base, expected);
    }
    assert_eq!(sequences.highest(), Some(base + 65_538));
    assert_eq!(base % (1 << 32), 0, "the low 32 bits are those of RFC 3550");
}

#[test]
fn goes_below_its_first_value() {
    let mut sequences = SequenceExtender::default();
    let first = sequences.extend(0);
    assert_eq!(sequences.extend(65_535), first - 1);
    let mut timestamps = TimestampExtender::default();
    let first = timestamps.extend(0);
    assert_eq!(timestamps.extend(u32::MAX), first - 1);
}

proptest! {
    #[test]
    fn any_step_below_half_the_range_is_exact(start: u16, steps in proptest::collection::vec(1_u64..32_000, 1..50)) {
        let mut sequences = SequenceExtender::default();
        let first = sequences.extend(start);
        let mut sum = 0;
        for step in steps {
            sum += step;
            prop_assert_eq!(sequences.extend(start.wrapping_add(sum as u16)), first + sum);
        }
    }

    #[test]
    fn timestamps_too(start: u32, steps in proptest::collection::vec(1_u64..2_000_000_000, 1..50)) {
        let mut timestamps = TimestampExtender::default();
        let first = timestamps.extend(start);
        let mut sum = 0;
        for step in steps {
            sum += step;
            prop_assert_eq!(timestamps.extend(start.wrapping_add(sum as u32)), first + sum);
        }
    }
}
