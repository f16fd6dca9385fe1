#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::net::clock;

fn speech(audible: usize, silent: usize) -> Vec<i16> {
    let mut samples = vec![3_000; audible * 160];
    samples.resize((audible + silent) * 160, 0);
    samples
}

/// Plays everything that waits as the stream would, a frame every 20 ms from `start` on.
fn play(mouth: &mut Mouth, start: Instant) -> BTreeMap<u32, Said> {
    let mut told = BTreeMap::new();
    let (mut current, mut heard) = (None, None);
    let mut at = start;
    while let Some(frame) = mouth.next_frame() {
        let generation = frame.generation;
        let mut event = |event| {
            mouth.on_event(&event, |id, said| {
                told.insert(id.0, said);
            });
        };
        if current.replace(generation) != Some(generation) {
            event(MediaEvent::FirstPacket { generation, at });
        }
        let audible = level::rms_dbfs(frame.frame.samples()) > AUDIBLE_DBFS;
        if audible && heard.replace(generation) != Some(generation) {
            event(MediaEvent::FirstAudible { generation, at });
        }
        at += Duration::from_millis(20);
    }
    told
}

#[test]
fn marks_are_the_packets_themselves() {
    let start = clock::now();
    let at = |frame: u64| Some(start + Duration::from_millis(20 * frame));
    let mut mouth = Mouth::default();
    mouth.say(UtteranceId(0), &speech(5, 3)).unwrap();
    mouth.say(UtteranceId(1), &speech(1, 0)).unwrap();
    mouth.say(UtteranceId(2), &speech(0, 2)).unwrap();
    mouth.say(UtteranceId(3), &speech(4, 0)).unwrap();
    mouth.say(UtteranceId(4), &[]).unwrap();
    let told = play(&mut mouth, start);
    let said = |started: u64, onset: Option<u64>, last: Option<u64>, finished: u64| Said {
        started: at(started),
        onset: onset.and_then(at),
        last_audible: last.and_then(at),
        finished: at(finished),
        cut: false,
    };
    assert_eq!(told[&0], said(0, Some(0), Some(4), 7));
    assert_eq!(told[&1], said(8, Some(8), Some(8), 8));
    assert_eq!(told[&2], said(9, None, None, 10));
    assert_eq!(told[&3], said(11, Some(11), Some(14), 14));
    assert_eq!(told[&4], said(15, None, None, 15));
    assert!(mouth.cut().is_none(), "everything has left");
}

#[test]
fn a_cut_ends_what_is_said_and_what_waits() {
    let start = clock::now();
    let mut mouth = Mouth::default();
    mouth.say(UtteranceId(0), &speech(10, 0)).unwrap();
    mouth.say(UtteranceId(1), &speech(10, 0)).unwrap();
    let generation = mouth.next_frame().unwrap().generation;
    mouth.on_event(&MediaEvent::FirstPacket { generation, at: start }, |_, _| {});
    let last = mouth.cut().unwrap();
    assert!(!mouth.has_frame());
    let mut told = Vec::new();
    let stopped = MediaEvent::Stopped { generation: last, samples: 160, at: start };
    mouth.on_event(&stopped, |id, said| told.push((id.0, said)));
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, said)| said.cut && said.last_audible.is_none()));
    mouth.say(UtteranceId(2), &speech(2, 0)).unwrap();
    assert!(mouth.next_frame().unwrap().generation > last, "stale audio could play");
}

#[test]
fn too_many_utterances_are_refused() {
    let mut mouth = Mouth::default();
    for n in 0..UTTERANCES_MAX as u32 {
        mouth.say(UtteranceId(n), &[]).unwrap();
    }
    assert_eq!(mouth.say(UtteranceId(99), &[]), Err(Full));
}

#[test]
fn the_last_frame_is_filled_up() {
    let mut mouth = Mouth::default();
    mouth.say(UtteranceId(0), &[1_000; 200]).unwrap();
    assert_eq!(mouth.next_frame().unwrap().frame.samples().len(), 160);
    let last = mouth.next_frame().unwrap();
    assert_eq!(last.frame.samples()[39..42], [1_000, 0, 0]);
    assert!(last.last && mouth.next_frame().is_none());
}
