use std::sync::mpsc::{Receiver, sync_channel};

use super::*;
use crate::providers::turn_model::TurnModel;

/// Tells what it heard: first sample, length. Says 0.9.
struct Fake(std::sync::mpsc::SyncSender<(i16, usize)>);

impl TurnModel for Fake {
    fn judge(&mut self, audio: &[i16]) -> Result<f32, String> {
        self.0.send((audio.first().copied().unwrap_or(0), audio.len())).unwrap();
        Ok(0.9)
    }
}

const RATE: SampleRate = SampleRate::HZ_16000;
const FRAME: usize = 320;

fn ear() -> (Option<TurnEar>, Receiver<(i16, usize)>) {
    let (heard, seen) = sync_channel(8);
    let model = EndOfTurn::run(vec![Box::new(Fake(heard))], 0.5).unwrap();
    (Some(TurnEar::new(Arc::new(model), RATE)), seen)
}

/// Frames that hold their number.
fn push(ear: &mut Option<TurnEar>, frames: std::ops::Range<i16>) {
    frames.for_each(|n| ear.as_mut().unwrap().push(&[n; FRAME]));
}

#[tokio::test]
async fn the_model_hears_the_whole_turn_and_what_came_shortly_before() {
    let (mut ear, seen) = ear();
    push(&mut ear, 0..100);
    // Voice activity is sure after 60 ms: the turn begins 500 ms before its first voiced frame, in frame 72.
    ear.as_mut().unwrap().speech_started(Duration::from_millis(60), true);
    push(&mut ear, 100..120);
    ear.as_mut().unwrap().speech_ended();
    assert_eq!(probability(&mut ear).await, 0.9);
    assert_eq!(seen.recv().unwrap(), (72, 48 * FRAME));
    // The same turn goes on.
    push(&mut ear, 120..140);
    ear.as_mut().unwrap().speech_started(Duration::from_millis(60), false);
    push(&mut ear, 140..150);
    ear.as_mut().unwrap().speech_ended();
    assert_eq!(probability(&mut ear).await, 0.9);
    assert_eq!(seen.recv().unwrap(), (72, 78 * FRAME));
    // Of a long one the last eight seconds count, in memory that was there from the beginning.
    let before = ear.as_ref().unwrap().audio.capacity();
    push(&mut ear, 150..1_000);
    ear.as_mut().unwrap().speech_ended();
    assert_eq!(probability(&mut ear).await, 0.9);
    assert_eq!(seen.recv().unwrap(), (600, 400 * FRAME));
    assert_eq!(ear.as_ref().unwrap().audio.capacity(), before);
}

#[tokio::test]
async fn who_speaks_on_takes_the_question_back() {
    let (mut ear, seen) = ear();
    push(&mut ear, 0..50);
    ear.as_mut().unwrap().speech_started(Duration::from_millis(60), true);
    ear.as_mut().unwrap().speech_ended();
    seen.recv().unwrap();
    ear.as_mut().unwrap().speech_started(Duration::from_millis(60), false);
    let soon = tokio::time::timeout(Duration::from_millis(50), probability(&mut ear)).await;
    assert!(soon.is_err(), "the answer came late");
    assert!(tokio::time::timeout(Duration::ZERO, probability(&mut None)).await.is_err());
}
