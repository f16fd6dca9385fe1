#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{Arrived, Express, Piece};

/// What came out: `P` payload, `L` lost, `S` silence, each with first sample and length in frames.
fn drain(express: &mut Express) -> String {
    let mut out = String::new();
    while let Some(piece) = express.pop() {
        let (kind, timestamp, samples) = match piece {
            Piece::Payload { timestamp, payload, .. } => ('P', timestamp, payload.len() as u64),
            Piece::Lost { timestamp, samples } => ('L', timestamp, u64::from(samples)),
            Piece::Silence { timestamp, samples } => ('S', timestamp, u64::from(samples)),
        };
        out += &format!("{kind}{}+{} ", timestamp / 160, samples / 160);
    }
    out.trim_end().to_owned()
}

fn put(express: &mut Express, sequence: u64, frame: u64) -> String {
    express.insert(Arrived {
        sequence,
        timestamp: frame * 160,
        payload_type: 0,
        payload: &[0; 160],
        samples: 160,
    });
    drain(express)
}

#[test]
fn order_loss_and_reordering() {
    let table: [(u8, &[u64], &[&str]); 7] = [
        (1, &[1, 2, 3], &["P1+1", "P2+1", "P3+1"]),
        // A swap of neighbours is repaired.
        (1, &[1, 3, 2, 4], &["P1+1", "", "P2+1 P3+1", "P4+1"]),
        // One packet is held, the second proves the loss.
        (1, &[1, 3, 4], &["P1+1", "", "L2+1 P3+1 P4+1"]),
        (0, &[1, 3, 2, 4], &["P1+1", "L2+1 P3+1", "", "P4+1"]),
        (2, &[1, 4, 3, 2, 5], &["P1+1", "", "", "P2+1 P3+1 P4+1", "P5+1"]),
        (2, &[1, 5, 6, 7], &["P1+1", "", "", "L2+3 P5+1 P6+1 P7+1"]),
        // Duplicates.
        (1, &[1, 1, 2, 4, 4, 3], &["P1+1", "", "P2+1", "", "", "P3+1 P4+1"]),
    ];
    for (reorder, sequences, expected) in table {
        let mut express = Express::new(reorder, 8_000);
        let got: Vec<_> = sequences.iter().map(|s| put(&mut express, *s, *s)).collect();
        assert_eq!(got, expected, "reorder {reorder}, {sequences:?}");
    }
}

#[test]
fn silence_is_not_loss_and_the_clock_fills_it() {
    let mut express = Express::new(1, 8_000);
    put(&mut express, 1, 1);
    // Sequence goes on, timestamp skips: the sender was silent.
    assert_eq!(put(&mut express, 2, 5), "S2+3 P5+1");
    express.fill(8 * 160);
    assert_eq!(drain(&mut express), "S6+2");
    assert_eq!(express.position(), Some(8 * 160));
    // What the clock filled cannot pass twice; what follows fits.
    assert_eq!(put(&mut express, 3, 7), "");
    assert_eq!(put(&mut express, 4, 8), "P8+1");
    assert_eq!(express.late(), 1);
}

#[test]
fn packets_without_audio_take_a_number_and_no_time() {
    let mut express = Express::new(1, 8_000);
    put(&mut express, 1, 1);
    express.insert(Arrived {
        sequence: 2,
        timestamp: 0,
        payload_type: 101,
        payload: &[],
        samples: 0,
    });
    assert_eq!(drain(&mut express), "");
    assert_eq!(put(&mut express, 3, 2), "P2+1");
    assert_eq!(express.lost(), 0);
}

#[test]
fn giving_up_frees_what_is_held() {
    let mut express = Express::new(1, 8_000);
    put(&mut express, 1, 1);
    assert_eq!(put(&mut express, 3, 3), "");
    assert!(express.is_waiting());
    express.give_up();
    assert_eq!(drain(&mut express), "L2+1 P3+1");
    assert_eq!(express.lost(), 1);
}

proptest! {
    /// Whatever is lost, doubled or out of order: the pieces are gapless, in order, and a packet that
    /// comes before its successors' proof is never lost.
    #[test]
    fn the_timeline_is_always_true(reorder in 0_u8..=2, lost in proptest::collection::vec(0_u8..10, 60),
                                   swaps in proptest::collection::vec(0_usize..58, 0..20)) {
        let mut order: Vec<u64> = (0..60).filter(|i| *i == 0 || lost[*i as usize] > 0).collect();
        for swap in swaps {
            if swap > 0 && swap + 1 < order.len() {
                order.swap(swap, swap + 1);
            }
        }
        let mut express = Express::new(reorder, 8_000);
        let mut at = None;
        let mut payloads = 0;
        for sequence in &order {
            express.insert(Arrived { sequence: *sequence, timestamp: sequence * 160, payload_type: 0,
                                     payload: &[0; 160], samples: 160 });
            while let Some(piece) = express.pop() {
                let (timestamp, samples) = match piece {
                    Piece::Payload { timestamp, payload, .. } => { payloads += 1; (timestamp, payload.len() as u64) }
                    Piece::Lost { timestamp, samples } | Piece::Silence { timestamp, samples } => (timestamp, u64::from(samples)),
                };
                prop_assert!(at.is_none_or(|at| at == timestamp));
                at = Some(timestamp + samples);
            }
        }
        express.give_up();
        while let Some(piece) = express.pop() { payloads += u64::from(matches!(piece, Piece::Payload { .. })); }
        prop_assert_eq!(payloads + express.late() , order.len() as u64);
    }
}
