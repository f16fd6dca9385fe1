//! Keys as telephone events (RFC 4733), both ways.
//!
//! A key counts once, at the first packet of it that arrives: a lost or missing marker, lost start, lost
//! ends and retransmissions make no difference. Two presses differ by timestamp; a long press that wraps
//! its duration goes on in a new segment (section 2.5.1.3) and stays one press.
//!
//! Some gateways and relays write a new timestamp into every packet of a press, or into the copies of its end. Nobody
//! presses a key twice within [`PRESS_MIN`]: so a timestamp that close to the last one is still the same press, and so is
//! one that went on by exactly as much as the duration did. After the end only another end is: a beginning is new.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Octets of one event (RFC 4733 section 2.3).
pub const EVENT_BYTES: usize = 4;
/// A press without packets for this long has ended: three lost end packets and a margin.
pub const RELEASE_AFTER: Duration = Duration::from_millis(150);
/// Digits that may wait to be sent: longer than any card or conference number.
pub const DIGITS_MAX: usize = 64;
/// Copies of the last packet of an event (section 2.5.1.4).
const END_PACKETS: u8 = 3;
/// Power of the tones we describe, -dBm0.
const VOLUME: u8 = 10;
/// Keys in order of their event codes.
const KEYS: &[u8; 16] = b"0123456789*#ABCD";
/// From one press of a key to the next, in timestamp units: 40 ms of tone and 40 ms of pause (ITU-T Q.24) at 8,000 Hz,
/// the clock of the gateways that need it.
const PRESS_MIN: u32 = 640;
/// A new segment may begin this close to the place the last one reached, in timestamp units: the last
/// packets of a segment may be lost.
const SEGMENT_SLACK: u32 = 8_000;

/// A key, seen from the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// A press began.
    Pressed {
        /// 0-9, `*`, `#`, A-D.
        digit: u8,
    },
    /// The press ended.
    Released {
        /// 0-9, `*`, `#`, A-D.
        digit: u8,
        /// Length as far as it was seen, in timestamp units.
        duration: u32,
    },
}

/// The keys of one source.
#[derive(Debug, Default)]
pub struct DtmfReceiver {
    last: Option<Press>,
    /// Timestamp and code of the press before.
    former: Option<(u32, u8)>,
    ignored: u64,
}

#[derive(Debug)]
struct Press {
    /// Of the running segment.
    timestamp: u32,
    code: u8,
    /// Of segments before it.
    before: u32,
    duration: u16,
    heard: Instant,
    ended: bool,
}

impl Press {
    fn released(&mut self) -> KeyEvent {
        self.ended = true;
        let duration = self.before.saturating_add(u32::from(self.duration));
        KeyEvent::Released { digit: key(self.code), duration }
    }

    /// Whether a packet with a later timestamp is of this press all the same.
    fn is_restamped(&self, timestamp: u32, code: u8, duration: u16, end: bool) -> bool {
        let step = timestamp.wrapping_sub(self.timestamp);
        let grown = u32::from(duration.saturating_sub(self.duration));
        let close = step < PRESS_MIN;
        code == self.code && if self.ended { end && close } else { close || step == grown }
    }
}

fn key(code: u8) -> u8 {
    KEYS.get(usize::from(code)).copied().unwrap_or(b'?')
}

impl DtmfReceiver {
    /// Takes a payload; gives at most two events: the end of a press whose ends were lost, then the new
    /// one. A press whose only packet already bears the end bit is given as `Pressed`; its end shows by
    /// [`DtmfReceiver::is_pressed`].
    pub fn receive(
        &mut self,
        now: Instant,
        timestamp: u32,
        payload: &[u8],
    ) -> [Option<KeyEvent>; 2] {
        let Some(&[code, flags, high, low]) = payload.first_chunk::<EVENT_BYTES>() else {
            self.ignored += 1;
            return [None, None];
        };
        // Codes from 16 on are flash and tones of modems.
        if usize::from(code) >= KEYS.len() {
            self.ignored += 1;
            return [None, None];
        }
        let (end, duration) = (flags & 0x80 != 0, u16::from_be_bytes([high, low]));
        let Some(last) = &mut self.last else {
            return [None, Some(self.press(now, timestamp, code, duration, end))];
        };
        // Some carriers give the next key the timestamp of the one before it.
        if timestamp == last.timestamp
            && code != last.code
            && self.former == Some((timestamp, code))
        {
            return [None, None];
        }
        if timestamp == last.timestamp && code == last.code {
            if !last.ended {
                last.heard = now;
                last.duration = last.duration.max(duration);
                if end {
                    return [Some(last.released()), None];
                }
            }
            return [None, None];
        }
        // A packet of an earlier press, late.
        if (timestamp.wrapping_sub(last.timestamp) as i32) < 0 {
            return [None, None];
        }
        let segment_end = last.timestamp.wrapping_add(u32::from(u16::MAX));
        let continues = !last.ended
            && last.code == code
            && timestamp.wrapping_sub(segment_end) <= 1
            && u32::from(last.duration) + SEGMENT_SLACK >= u32::from(u16::MAX);
        if continues {
            last.before = last.before.saturating_add(u32::from(u16::MAX));
            (last.timestamp, last.duration, last.heard) = (timestamp, duration, now);
            return [end.then(|| last.released()), None];
        }
        if last.is_restamped(timestamp, code, duration, end) {
            last.timestamp = timestamp;
            if last.ended {
                return [None, None];
            }
            last.duration = last.duration.max(duration);
            last.heard = now;
            return [end.then(|| last.released()), None];
        }
        let released = (!last.ended).then(|| last.released());
        [released, Some(self.press(now, timestamp, code, duration, end))]
    }

    fn press(
        &mut self,
        now: Instant,
        timestamp: u32,
        code: u8,
        duration: u16,
        ended: bool,
    ) -> KeyEvent {
        self.former = self.last.as_ref().map(|last| (last.timestamp, last.code));
        self.last = Some(Press { timestamp, code, before: 0, duration, heard: now, ended });
        KeyEvent::Pressed { digit: key(code) }
    }

    /// Ends a press that has not been heard of for [`RELEASE_AFTER`].
    pub fn tick(&mut self, now: Instant) -> Option<KeyEvent> {
        let last = self.last.as_mut().filter(|press| !press.ended)?;
        (now.saturating_duration_since(last.heard) >= RELEASE_AFTER).then(|| last.released())
    }

    /// Whether a key is held down.
    pub fn is_pressed(&self) -> bool {
        self.last.as_ref().is_some_and(|press| !press.ended)
    }

    /// Events that are no keys and payloads that are no events.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }
}

/// A digit to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digit {
    code: u8,
    frames: u16,
    gap_frames: u16,
}

#[derive(Clone, Copy, Debug)]
enum Sending {
    Idle,
    Tone { digit: Digit, timestamp: u32, sent: u16, ends: u8 },
    Gap { frames_left: u16 },
}

/// One packet of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPacket {
    /// The event's four octets.
    pub payload: [u8; EVENT_BYTES],
    /// Timestamp of the event's begin, the same in all its packets up to the longest duration that can be written.
    pub timestamp: u32,
    /// Set on the first packet.
    pub marker: bool,
}

/// What a tick of the sender wants on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Nothing: audio goes out.
    Audio,
    /// Silence between two digits.
    Gap,
    /// This, in place of audio.
    Event(EventPacket),
}

/// The digits on their way out, one frame per tick.
#[derive(Debug)]
pub struct DtmfSender {
    frame_units: u16,
    frame_ms: u16,
    queue: VecDeque<Digit>,
    state: Sending,
}

impl DtmfSender {
    /// An idle sender for frames of `frame_units` of the events' clock lasting `frame_ms`.
    pub fn new(frame_units: u16, frame_ms: u16) -> Self {
        let queue = VecDeque::with_capacity(DIGITS_MAX);
        Self { frame_units, frame_ms: frame_ms.max(1), queue, state: Sending::Idle }
    }

    /// Sends a digit after those before it: `false` if it is no key or [`DIGITS_MAX`] wait already. The
    /// tone lasts 40 to 5,000 ms, rounded up to frames.
    #[must_use]
    pub fn push(&mut self, digit: u8, duration_ms: u16, gap_ms: u16) -> bool {
        let code = KEYS.iter().position(|k| *k == digit.to_ascii_uppercase());
        let Some(code) = code.and_then(|c| u8::try_from(c).ok()) else { return false };
        if self.queue.len() >= DIGITS_MAX {
            return false;
        }
        let frames = duration_ms.clamp(40, 5_000).div_ceil(self.frame_ms);
        let gap_frames = gap_ms.div_ceil(self.frame_ms);
        self.queue.push_back(Digit { code, frames, gap_frames });
        true
    }

    /// Forgets the digits that have not begun.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Whether nothing is being sent and nothing waits.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, Sending::Idle | Sending::Gap { frames_left: 0 })
            && self.queue.is_empty()
    }

    /// Goes on by one frame, whose first sample has `timestamp`.
    pub fn tick(&mut self, timestamp: u32) -> Tick {
        loop {
            match self.state {
                Sending::Idle => match self.queue.pop_front() {
                    None => return Tick::Audio,
                    Some(digit) => {
                        self.state = Sending::Tone { digit, timestamp, sent: 0, ends: 0 };
                    }
                },
                Sending::Gap { frames_left: 0 } => self.state = Sending::Idle,
                Sending::Gap { frames_left } => {
                    self.state = Sending::Gap { frames_left: frames_left - 1 };
                    return Tick::Gap;
                }
                Sending::Tone { digit, timestamp, sent, ends } => {
                    return Tick::Event(self.event(digit, timestamp, sent, ends));
                }
            }
        }
    }

    /// The next packet of the running event. The duration rises to its end, then stays. One that is too long to be
    /// written goes on in a new segment, after a packet that said the longest (section 2.5.1.3).
    fn event(&mut self, digit: Digit, timestamp: u32, sent: u16, ends: u8) -> EventPacket {
        let marker = sent == 0;
        let sent = (sent + 1).min(digit.frames);
        let end = sent == digit.frames;
        let ends = ends + u8::from(end);
        self.state = if ends == END_PACKETS {
            Sending::Gap { frames_left: digit.gap_frames }
        } else {
            Sending::Tone { digit, timestamp, sent, ends }
        };
        let units = u32::from(self.frame_units);
        let segment_max = u32::from(u16::MAX);
        let before = u32::from(sent.saturating_sub(1)) * units / segment_max * segment_max;
        let duration = (u32::from(sent) * units - before).min(segment_max) as u16;
        // Events at a slower clock than the stream's have 8,000 Hz, at which no key of ours is that long.
        let timestamp = timestamp.wrapping_add(before);
        let [high, low] = duration.to_be_bytes();
        let flags = if end { 0x80 | VOLUME } else { VOLUME };
        EventPacket { payload: [digit.code, flags, high, low], timestamp, marker }
    }
}

#[cfg(test)]
mod tests;
