use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::*;
use crate::media::{FrameSource, MediaEvent, PacketKind, PlayoutFrame, TapFrame};

/// A line on which only the first source speaks.
#[derive(Default)]
struct Line(VecDeque<Frame>);

impl FrameSource for Line {
    fn next_frame(&mut self) -> Option<PlayoutFrame> {
        None
    }
}

impl StreamIo for Line {
    fn send(&mut self, _: PacketKind, _: SocketAddr, _: &[u8]) -> Instant {
        unreachable!("a source sends nothing")
    }
    fn event(&mut self, _: MediaEvent) {}
    fn tap(&mut self, _: TapFrame) {}
    fn asides(&self, place: usize) -> usize {
        if place == 0 { self.0.len() } else { 0 }
    }
    fn next_aside(&mut self, place: usize) -> Option<Frame> {
        if place == 0 { self.0.pop_front() } else { None }
    }
}

fn frame(value: i16) -> Frame {
    Frame::new(&[value; 160])
}

/// What the next interval adds to silence: its first sample, if there was anything.
fn tick(aside: &mut Aside, line: &mut Line) -> Option<[i16; 160]> {
    let mut samples = [0; 160];
    aside.add_to(&mut samples, line).then_some(samples)
}

#[test]
fn it_begins_with_a_little_in_hand_and_goes_on_frame_by_frame() {
    let (mut aside, mut line) = (Aside::new(0), Line::default());
    assert!(tick(&mut aside, &mut line).is_none());
    line.0.push_back(frame(1));
    assert!(tick(&mut aside, &mut line).is_none(), "one frame is no reserve");
    line.0.push_back(frame(2));
    for n in 1..=100 {
        assert_eq!(tick(&mut aside, &mut line), Some([n; 160]));
        line.0.push_back(frame(n + 2));
    }
    assert!(tick(&mut Aside::new(1), &mut line).is_none(), "another source is silent");
}

#[test]
fn what_is_said_already_stays() {
    let (mut aside, mut line) = (Aside::new(0), Line(VecDeque::from([frame(5), frame(5)])));
    let mut samples = [100; 160];
    assert!(aside.add_to(&mut samples, &mut line));
    assert_eq!(samples, [105; 160]);
}

#[test]
fn jitter_that_empties_it_makes_it_wait_for_more() {
    let (mut aside, mut line) = (Aside::new(0), Line(VecDeque::from([frame(1), frame(1)])));
    assert!(tick(&mut aside, &mut line).is_some() && tick(&mut aside, &mut line).is_some());
    assert!(tick(&mut aside, &mut line).is_none());
    line.0.extend([frame(1), frame(1)]);
    assert!(tick(&mut aside, &mut line).is_none(), "twice the reserve was too little once");
    line.0.push_back(frame(1));
    assert!(tick(&mut aside, &mut line).is_some());
}

#[test]
fn a_faster_clock_costs_one_blended_frame_a_second_at_most() {
    let (mut aside, mut line) = (Aside::new(0), Line::default());
    line.0.extend([frame(1_000); 5]);
    let mut blended = 0;
    for n in 0..1_000 {
        let before = line.0.len();
        assert!(tick(&mut aside, &mut line).is_some());
        blended += usize::from(before - line.0.len() == 2);
        // One frame too many every 2.5 s is 8,000 ppm: more than any pair of phones.
        line.0.push_back(frame(1_000));
        if n % 125 == 0 {
            line.0.push_back(frame(1_000));
        }
    }
    assert!((6..=9).contains(&blended), "{blended}");
    assert!(line.0.len() <= 6, "{}", line.0.len());
}

#[test]
fn two_blended_frames_join_their_neighbours() {
    let (mut aside, mut line) = (Aside::new(0), Line::default());
    line.0.extend([frame(1_000); 5]);
    let mut frames = Vec::new();
    for n in 0..SURPLUS_TICKS as i16 {
        line.0.push_back(frame(if n < 45 { 1_000 } else { -1_000 }));
        frames.push(tick(&mut aside, &mut line).unwrap());
    }
    let last = frames.last().unwrap();
    // The cosine's first step is less than one in a thousand.
    assert!(last[0].abs_diff(frames[frames.len() - 2][159]) <= 1, "{}", last[0]);
}

#[test]
fn what_waited_for_a_closed_line_is_old_news() {
    let (mut aside, mut line) = (Aside::new(0), Line::default());
    line.0.extend((1..=20).map(frame));
    assert_eq!(tick(&mut aside, &mut line), Some([19; 160]));
    assert_eq!(line.0.len(), 1);
}
