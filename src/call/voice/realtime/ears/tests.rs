#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn ears() -> Ears {
    Ears::new(SampleRate::HZ_8000, false)
}

#[test]
fn only_speech_is_sent_with_what_came_just_before() {
    let mut ears = ears();
    for frame in 0..50 {
        ears.push(&[frame; 160]);
    }
    assert_eq!(ears.take(), None);
    ears.started();
    ears.push(&[50; 160]);
    let sent = ears.take().unwrap();
    assert_eq!(sent.len(), 3_200 + 160);
    assert_eq!((sent[0], sent[3_359]), (30, 50));
    assert!(ears.ended(7));
    ears.push(&[51; 160]);
    assert_eq!(ears.take(), None);
}

#[test]
fn what_is_not_known_is_heard_again_and_no_more_than_ten_seconds_of_it() {
    let mut ears = ears();
    for commit in 0..2 {
        ears.started();
        for _ in 0..400 {
            ears.push(&[1; 160]);
        }
        ears.take();
        ears.ended(commit);
    }
    let audio = |ears: &Ears| -> usize {
        let of = |input: &RealtimeInput| match input {
            RealtimeInput::Audio(samples) => samples.len(),
            _ => 0,
        };
        ears.replay().iter().map(of).sum()
    };
    assert_eq!(audio(&ears), 80_000);
    ears.known(Some(0), &Pii::new("one".to_owned()));
    assert!(
        matches!(&ears.replay()[0], RealtimeInput::Insert { text, .. } if text.reveal() == "one")
    );
    ears.settle();
    assert!(matches!(
        ears.replay()[..],
        [RealtimeInput::Audio(_), RealtimeInput::Commit { id: 1 }]
    ));
    ears.known(Some(1), &Pii::new("two".to_owned()));
    ears.settle();
    assert!(ears.replay().is_empty());
}
