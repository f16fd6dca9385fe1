use std::collections::VecDeque;

use super::*;

const RATE: SampleRate = SampleRate::HZ_8000;

#[derive(Default)]
struct Queue(VecDeque<PlayoutFrame>);

impl Queue {
    fn push(&mut self, generation: u32, level: i16, last: bool) {
        let frame = Frame::new(&[level; 160]);
        self.0.push_back(PlayoutFrame { frame, generation: Generation(generation), last });
    }
}

impl FrameSource for Queue {
    fn next_frame(&mut self) -> Option<PlayoutFrame> {
        self.0.pop_front()
    }
}

fn level(frame: &Frame) -> i16 {
    frame.samples().first().copied().unwrap_or(0)
}

#[test]
fn plays_in_order_and_says_when_it_is_over() {
    let (mut playout, mut queue) = (Playout::new(RATE), Queue::default());
    assert!(matches!(playout.tick(&mut queue), Tick::Silence));
    queue.push(1, 100, false);
    queue.push(1, 200, true);
    let Tick::Audio { generation, frame, finished: false } = playout.tick(&mut queue) else {
        panic!()
    };
    assert_eq!((generation, level(&frame)), (Generation(1), 100));
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { finished: true, .. }));
    assert!(matches!(playout.tick(&mut queue), Tick::Silence));
    assert_eq!(playout.underruns(), 0);
}

#[test]
fn a_stop_fades_within_one_frame_and_stale_audio_never_plays() {
    let (mut playout, mut queue) = (Playout::new(RATE), Queue::default());
    for _ in 0..5 {
        queue.push(7, 8_000, false);
    }
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { .. }));
    assert_eq!(playout.stop(Generation(7)), Stop::Fading);
    let Tick::Stopped { generation: Generation(7), frame } = playout.tick(&mut queue) else {
        panic!()
    };
    assert!(level(&frame) > 7_900, "the fade starts at full level");
    assert!(frame.samples()[80..].iter().all(|sample| *sample == 0), "and ends after 10 ms");
    queue.push(7, 8_000, false);
    queue.push(6, 8_000, true);
    for _ in 0..10 {
        assert!(matches!(playout.tick(&mut queue), Tick::Silence));
    }
    queue.push(8, 50, true);
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { generation: Generation(8), .. }));
    assert_eq!(playout.stale_frames(), 5);
}

#[test]
fn a_stop_with_an_empty_queue_fades_from_the_last_frame() {
    let (mut playout, mut queue) = (Playout::new(RATE), Queue::default());
    queue.push(1, 8_000, false);
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { .. }));
    assert_eq!(playout.stop(Generation(1)), Stop::Fading);
    queue.push(2, 3, false);
    let Tick::Stopped { frame, .. } = playout.tick(&mut queue) else { panic!() };
    assert!(level(&frame) > 7_900);
    let Tick::Audio { frame, .. } = playout.tick(&mut queue) else { panic!("2 was lost") };
    assert_eq!(level(&frame), 3);
}

#[test]
fn a_stop_of_what_does_not_play_leaves_the_rest_alone() {
    let (mut playout, mut queue) = (Playout::new(RATE), Queue::default());
    assert_eq!(playout.stop(Generation(3)), Stop::NotPlaying);
    queue.push(3, 100, false);
    queue.push(5, 100, false);
    queue.push(5, 100, false);
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { generation: Generation(5), .. }));
    assert_eq!(playout.stop(Generation(4)), Stop::NotPlaying);
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { .. }));
}

#[test]
fn an_underrun_fades_and_the_rest_resumes() {
    let (mut playout, mut queue) = (Playout::new(RATE), Queue::default());
    queue.push(1, 8_000, false);
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { .. }));
    let Tick::Underrun { frame, .. } = playout.tick(&mut queue) else { panic!() };
    assert_eq!(*frame.samples().last().unwrap(), 0);
    assert!(matches!(playout.tick(&mut queue), Tick::Silence));
    queue.push(1, 8_000, true);
    let Tick::Audio { frame, .. } = playout.tick(&mut queue) else { panic!() };
    assert!(level(&frame) < 100, "it fades in");
    assert_eq!(playout.underruns(), 1);
}

#[test]
fn a_pause_fades_and_a_resume_loses_no_sample() {
    let (mut playout, mut queue) = (Playout::new(RATE), Queue::default());
    for level in [100, 8_000, 300] {
        queue.push(7, level, level == 300);
    }
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { .. }));
    playout.pause(Generation(6));
    playout.pause(Generation(7));
    let Tick::Underrun { generation: Generation(7), frame } = playout.tick(&mut queue) else {
        panic!()
    };
    assert!(level(&frame) > 7_900, "the next frame fades");
    assert!(frame.samples()[80..].iter().all(|sample| *sample == 0));
    for _ in 0..100 {
        assert!(matches!(playout.tick(&mut queue), Tick::Silence));
        assert!(playout.is_silent() && !playout.has_audio(&mut queue));
    }
    playout.resume(Generation(7));
    let Tick::Audio { frame, finished: false, .. } = playout.tick(&mut queue) else { panic!() };
    assert!(level(&frame) < 200, "it fades in");
    assert_eq!(frame.samples()[159], 8_000, "and is the frame that faded out, whole");
    let Tick::Audio { frame, finished: true, .. } = playout.tick(&mut queue) else { panic!() };
    assert_eq!(level(&frame), 300);
    assert_eq!(playout.underruns(), 0);
}

#[test]
fn a_pause_can_end_in_a_stop_and_a_resume_can_come_before_the_fade() {
    let (mut playout, mut queue) = (Playout::new(RATE), Queue::default());
    for _ in 0..4 {
        queue.push(7, 100, false);
    }
    playout.tick(&mut queue);
    playout.pause(Generation(7));
    playout.resume(Generation(7));
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { .. }));
    playout.pause(Generation(7));
    playout.tick(&mut queue);
    assert_eq!(playout.stop(Generation(7)), Stop::NotPlaying, "it faded already");
    assert!(matches!(playout.tick(&mut queue), Tick::Silence));
    playout.resume(Generation(7));
    assert!(matches!(playout.tick(&mut queue), Tick::Silence), "what was stopped stays stopped");
    queue.push(8, 100, true);
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { .. }));
}

#[test]
fn a_pause_during_an_underrun_holds_what_comes_late() {
    let (mut playout, mut queue) = (Playout::new(RATE), Queue::default());
    queue.push(7, 100, false);
    playout.tick(&mut queue);
    assert!(matches!(playout.tick(&mut queue), Tick::Underrun { .. }));
    playout.pause(Generation(7));
    queue.push(7, 200, true);
    assert!(matches!(playout.tick(&mut queue), Tick::Silence));
    playout.resume(Generation(7));
    assert!(matches!(playout.tick(&mut queue), Tick::Audio { finished: true, .. }));
}
