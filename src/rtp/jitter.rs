//! The adaptive jitter buffer: uneven arrivals to an even sequence, for recording and playing on.
//!
//! A packet is played at its de-jittered arrival ([`super::arrival`]) plus a target delay: the 97 %
//! quantile of how late packets are, 20 to 200 ms, 40 ms at first. Once a talkspurt plays, samples follow
//! each other; the distance to the target is corrected only where a quiet packet can be left out or a
//! quiet frame put in, which also absorbs drift between the two clocks. Slots are allocated once.

use std::time::{Duration, Instant};

use super::PAYLOAD_BYTES_MAX;
use super::arrival::ArrivalMap;
use super::express::Arrived;

/// Packets held at most: 320 ms at 10 ms each, more than the deepest delay.
pub const SLOTS: usize = 32;
/// Delay bounds, milliseconds.
pub const DELAY_MS_MIN: u32 = 20;
/// Above this a conversation suffers more from delay than from loss.
pub const DELAY_MS_MAX: u32 = 200;
/// Audio held at most, milliseconds: the deepest delay and the packet that is due.
pub const DEPTH_MS_MAX: u32 = DELAY_MS_MAX + 20;
/// Delay before anything is known.
const DELAY_MS_START: u32 = 40;
/// Packets until the quantile replaces the start value.
const SETTLED_PACKETS: u32 = 50;
/// Width of a lateness class, milliseconds.
const CLASS_MS: u32 = 5;
/// Classes: 0 to [`DELAY_MS_MAX`].
const CLASSES: usize = (DELAY_MS_MAX / CLASS_MS) as usize;
/// Share of packets that shall come in time.
const QUANTILE: f32 = 0.97;
/// Weight each class keeps per packet: half is forgotten after 7 s of 20 ms packets.
const KEEP: f32 = 0.998;
/// Playing this much later than the target is corrected, milliseconds: more than the 20 ms that the
/// phase of the ticks may add.
const LATE_TOLERANCE_MS: u64 = 25;
/// Playing this much sooner is corrected: less than the smallest delay, so that drift is seen before
/// packets miss their turn.
const EARLY_TOLERANCE_MS: u64 = 10;
/// Concealed frames in a row before an empty buffer counts as silence (60 ms, as PLC fades).
const LOST_RUN_MAX: u32 = 3;

/// What a tick plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The payload of one packet, of whatever duration the peer chose: decode it, and tick again only
    /// when less than one frame of samples is left.
    Payload {
        /// Extended RTP timestamp of its first sample.
        timestamp: u64,
        /// Its payload type.
        payload_type: u8,
        /// Octets of the codec.
        payload: &'a [u8],
    },
    /// This many samples are missing: conceal them.
    Lost {
        /// At most one frame.
        samples: u32,
    },
    /// One frame of silence: nothing was sent, nothing is due, or delay is being added.
    Silence,
}

/// What a buffer counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitterStats {
    /// Packets whose turn had passed.
    pub late: u64,
    /// Packets that were there already.
    pub duplicate: u64,
    /// Packets dropped because the buffer was at its bound or their timeline ended.
    pub overflow: u64,
    /// Quiet packets left out to shorten the delay.
    pub shortened: u64,
    /// Quiet frames put in to lengthen it.
    pub lengthened: u64,
    /// Frames reported as lost.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing to play.
    Idle,
    /// The first packet of a talkspurt waits for its time.
    Buffering { due: Instant },
    /// Samples from `timestamp` on are due.
    Playing { timestamp: u64, lost_run: u32 },
}

#[derive(Debug)]
struct Slot {
    sequence: Option<u64>,
    timestamp: u64,
    payload_type: u8,
    samples: u32,
    quiet: bool,
    len: usize,
    bytes: [u8; PAYLOAD_BYTES_MAX],
}

/// Whether a payload is so quiet that nobody misses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loudness {
    /// May be left out or repeated.
    Quiet,
    /// Must be played.
    Audible,
}

/// The buffer of one source.
#[derive(Debug)]
pub struct Jitter {
    clock_rate: u32,
    frame_samples: u32,
    state: State,
    slots: Box<[Slot]>,
    held: usize,
    classes: [f32; CLASSES],
    observed: u32,
    delay_ms: u32,
    /// End of what was played: nothing before it plays any more.
    floor: u64,
    stats: JitterStats,
}

impl Jitter {
    /// An empty buffer for ticks of `frame_samples`.
    pub fn new(clock_rate: u32, frame_samples: u32) -> Self {
        let slot = || Slot {
            sequence: None,
            timestamp: 0,
            payload_type: 0,
            samples: 0,
            quiet: false,
            len: 0,
            bytes: [0; PAYLOAD_BYTES_MAX],
        };
        Self {
            clock_rate: clock_rate.max(1),
            frame_samples,
            state: State::Idle,
            slots: (0..SLOTS).map(|_| slot()).collect(),
            held: 0,
            classes: [0.0; CLASSES],
            observed: 0,
            delay_ms: DELAY_MS_START,
            floor: 0,
            stats: JitterStats::default(),
        }
    }

    /// Begins a new timeline; what is held is dropped, what was learned about the network stays.
    pub fn restart(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.sequence = None);
        self.stats.overflow += self.held as u64;
        self.held = 0;
        self.floor = 0;
        self.state = State::Idle;
    }

    /// Another clock: begins a new timeline.
    pub fn retune(&mut self, clock_rate: u32, frame_samples: u32) {
        (self.clock_rate, self.frame_samples) = (clock_rate.max(1), frame_samples);
        self.restart();
    }

    /// The packet with this timestamp is so quiet that nobody misses it: for codecs whose octets do not tell.
    pub fn mark_quiet(&mut self, timestamp: u64) {
        let held = |slot: &&mut Slot| slot.sequence.is_some() && slot.timestamp == timestamp;
        if let Some(slot) = self.slots.iter_mut().find(held) {
            slot.quiet = true;
        }
    }

    /// Takes how late a packet was against the fastest and moves the target.
    pub fn observe(&mut self, late: Duration) {
        let class = usize::try_from(late.as_millis() / u128::from(CLASS_MS)).unwrap_or(CLASSES);
        for (index, weight) in self.classes.iter_mut().enumerate() {
            *weight *= KEEP;
            if index == class.min(CLASSES - 1) {
                *weight += 1.0;
            }
        }
        self.observed = self.observed.saturating_add(1);
        if self.observed < SETTLED_PACKETS {
            return;
        }
        let wanted = self.classes.iter().sum::<f32>() * QUANTILE;
        let mut sum = 0.0;
        let mut upper = 0;
        for weight in &self.classes {
            upper += CLASS_MS;
            sum += weight;
            if sum >= wanted {
                break;
            }
        }
        self.delay_ms = upper.clamp(DELAY_MS_MIN, DELAY_MS_MAX);
    }

    /// Takes a packet that [`ArrivalMap::observe`] has seen already.
    pub fn insert(
        &mut self,
        now: Instant,
        packet: Arrived<'_>,
        loudness: Loudness,
        arrivals: &ArrivalMap,
    ) {
        if packet.samples == 0 || packet.payload.len() > PAYLOAD_BYTES_MAX {
            return;
        }
        let due = match self.state {
            State::Playing { timestamp, .. } => timestamp,
            State::Idle | State::Buffering { .. } => self.floor,
        };
        if packet.timestamp < due {
            self.stats.late += 1;
            return;
        }
        if self.slots.iter().any(|slot| slot.sequence == Some(packet.sequence)) {
            self.stats.duplicate += 1;
            return;
        }
        if self.held == SLOTS {
            self.drop_oldest();
        }
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.sequence.is_none()) {
            slot.sequence = Some(packet.sequence);
            slot.timestamp = packet.timestamp;
            slot.payload_type = packet.payload_type;
            slot.samples = packet.samples;
            slot.quiet = loudness == Loudness::Quiet;
            slot.len = packet.payload.len();
            for (to, from) in slot.bytes.iter_mut().zip(packet.payload) {
                *to = *from;
            }
            self.held += 1;
        }
        if matches!(self.state, State::Idle) {
            let arrival = arrivals.arrival_of(packet.timestamp).unwrap_or(now);
            self.state = State::Buffering { due: arrival + self.delay() };
        }
        while self.depth_ms() > DEPTH_MS_MAX {
            self.drop_oldest();
        }
    }

    /// What to play now. To be called whenever the consumer has less than one frame of samples left.
    pub fn next(&mut self, now: Instant, arrivals: &ArrivalMap) -> Frame<'_> {
        if let State::Buffering { due } = self.state {
            let Some(head) = self.head().filter(|_| now >= due) else { return Frame::Silence };
            let timestamp = self.slots.get(head).map_or(0, |slot| slot.timestamp);
            self.state = State::Playing { timestamp, lost_run: 0 };
        }
        let State::Playing { timestamp, lost_run } = self.state else { return Frame::Silence };
        let Some(mut head) = self.head() else { return self.starve(timestamp, lost_run) };
        let behind = |at: u64| arrivals.arrival_of(at).map(|a| now.saturating_duration_since(a));
        let lag = behind(timestamp).unwrap_or_else(|| self.delay());
        if self.is_quiet(head) && lag + Duration::from_millis(EARLY_TOLERANCE_MS) < self.delay() {
            self.stats.lengthened += 1;
            return Frame::Silence;
        }
        if self.is_quiet(head)
            && self.held > 1
            && lag > self.delay() + Duration::from_millis(LATE_TOLERANCE_MS)
        {
            self.stats.shortened += 1;
            self.free(head);
            let Some(next) = self.head() else { return Frame::Silence };
            head = next;
            // The packet left out was due now: its successor takes its place.
            let due = self.slots.get(head).map_or(timestamp, |slot| slot.timestamp);
            return self.play(head, due);
        }
        let ahead = self.slots.get(head).map_or(0, |s| s.timestamp.saturating_sub(timestamp));
        if ahead == 0 {
            return self.play(head, timestamp);
        }
        let samples = self.frame_samples.min(u32::try_from(ahead).unwrap_or(u32::MAX));
        let lost_run = lost_run.saturating_add(1);
        self.state = State::Playing { timestamp: timestamp + u64::from(samples), lost_run };
        if lost_run <= LOST_RUN_MAX {
            self.stats.lost += 1;
            Frame::Lost { samples }
        } else {
            Frame::Silence
        }
    }

    /// The delay packets are held for, milliseconds.
    pub fn delay_ms(&self) -> u32 {
        self.delay_ms
    }

    /// Audio held, milliseconds.
    pub fn depth_ms(&self) -> u32 {
        let held = self.slots.iter().filter(|slot| slot.sequence.is_some());
        let samples: u64 = held.map(|slot| u64::from(slot.samples)).sum();
        u32::try_from(samples * 1_000 / u64::from(self.clock_rate)).unwrap_or(u32::MAX)
    }

    /// What was counted.
    pub fn stats(&self) -> JitterStats {
        self.stats
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(u64::from(self.delay_ms))
    }

    /// Nothing is there: conceal for a while, then wait for the next talkspurt.
    fn starve(&mut self, timestamp: u64, lost_run: u32) -> Frame<'_> {
        if lost_run >= LOST_RUN_MAX {
            self.state = State::Idle;
            return Frame::Silence;
        }
        let timestamp = timestamp + u64::from(self.frame_samples);
        self.state = State::Playing { timestamp, lost_run: lost_run + 1 };
        self.stats.lost += 1;
        Frame::Lost { samples: self.frame_samples }
    }

    fn play(&mut self, index: usize, timestamp: u64) -> Frame<'_> {
        self.free(index);
        let Some(slot) = self.slots.get(index) else { return Frame::Silence };
        let timestamp = timestamp + u64::from(slot.samples);
        self.floor = timestamp;
        self.state = State::Playing { timestamp, lost_run: 0 };
        Frame::Payload {
            timestamp: slot.timestamp,
            payload_type: slot.payload_type,
            payload: slot.bytes.get(..slot.len).unwrap_or(&[]),
        }
    }

    /// Slot of the earliest packet.
    fn head(&self) -> Option<usize> {
        let held = self.slots.iter().enumerate().filter(|(_, slot)| slot.sequence.is_some());
        held.min_by_key(|(_, slot)| slot.timestamp).map(|(index, _)| index)
    }

    fn is_quiet(&self, index: usize) -> bool {
        self.slots.get(index).is_some_and(|slot| slot.quiet)
    }

    fn free(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index)
            && slot.sequence.take().is_some()
        {
            self.held = self.held.saturating_sub(1);
        }
    }

    /// Makes room; playing goes on after what was dropped.
    fn drop_oldest(&mut self) {
        let Some(head) = self.head() else { return };
        self.free(head);
        self.stats.overflow += 1;
        let next = self.head().and_then(|index| self.slots.get(index)).map(|slot| slot.timestamp);
        if let (State::Playing { timestamp, .. }, Some(next)) = (&mut self.state, next) {
            *timestamp = (*timestamp).max(next);
        }
    }
}

#[cfg(test)]
mod tests;
