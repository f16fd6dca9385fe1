//! The cheap step: is this frame loud enough, against the line's own noise, to be worth a look?

use crate::audio::level::{FLOOR_DBFS, power_dbfs};

/// Frames whose quietest makes one entry of the floor's memory: 200 ms.
const FRAMES_PER_SLOT: u8 = 10;
/// Entries remembered: 1.6 s, longer than talkers go without any dip.
const SLOTS: usize = 8;
/// Slots after which the floor is trusted: 1 s.
const SETTLED_SLOTS: usize = 5;
/// Before that the floor is not taken for higher than this: the caller may be talking already.
const FIRST_FLOOR_DBFS_MAX: f32 = -45.0;
/// Below the pitch of any voice, above mains hum's fundamental.
const HIGH_PASS_HZ: f32 = 120.0;

/// Far below one step of 16 bits, and far above what is no longer a normal `f32`.
const INAUDIBLE: f32 = 1e-9;

/// Second-order Butterworth high-pass against mains hum and DC.
#[derive(Clone, Debug)]
struct HighPass {
    b0: f32,
    a1: f32,
    a2: f32,
    x1: f32,
    x2: f32,
    y1: f32,
    y2: f32,
}

impl HighPass {
    fn new(rate_hz: f32) -> Self {
        let w = std::f32::consts::TAU * HIGH_PASS_HZ / rate_hz;
        let alpha = w.sin() * std::f32::consts::FRAC_1_SQRT_2;
        let a0 = 1.0 + alpha;
        Self {
            b0: (1.0 + w.cos()) / 2.0 / a0,
            a1: -2.0 * w.cos() / a0,
            a2: (1.0 - alpha) / a0,
            x1: 0.0,
            x2: 0.0,
            y1: 0.0,
            y2: 0.0,
        }
    }

    fn next(&mut self, x: f32) -> f32 {
        let y = self.b0 * (x - 2.0 * self.x1 + self.x2) - self.a1 * self.y1 - self.a2 * self.y2;
        (self.x2, self.x1) = (self.x1, x);
        (self.y2, self.y1) = (self.y1, y);
        y
    }

    /// To be called once a frame: on digital silence the filter rings on into numbers so small that the
    /// processor computes with them a hundred times slower.
    fn settle(&mut self) {
        if self.y1.abs().max(self.y2.abs()) < INAUDIBLE {
            (self.y1, self.y2) = (0.0, 0.0);
        }
    }
}

/// What the gate found in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loudness {
    /// RMS after the high-pass.
    pub dbfs: f32,
    /// The line's noise floor.
    pub floor_dbfs: f32,
    /// Whether the frame may be the beginning of speech.
    pub candidate: bool,
    /// Whether the frame may belong to speech that has begun: half the distance suffices.
    pub keeps: bool,
}

/// Level gate with an adaptive noise floor: the quietest frame of the last 1.6 s.
#[derive(Clone, Debug)]
pub struct Gate {
    high_pass: HighPass,
    level_min_dbfs: f32,
    above_noise_db: f32,
    slots: [f32; SLOTS],
    slot: usize,
    in_slot: u8,
    current: f32,
    /// Slots filled so far, up to [`SETTLED_SLOTS`].
    known: usize,
}

impl Gate {
    /// A gate for frames at `rate_hz` that lets pass what is louder than `level_min_dbfs` and than
    /// the floor plus `above_noise_db`.
    pub fn new(rate_hz: u32, level_min_dbfs: f32, above_noise_db: f32) -> Self {
        Self {
            high_pass: HighPass::new(rate_hz as f32),
            level_min_dbfs,
            above_noise_db,
            slots: [f32::MAX; SLOTS],
            slot: 0,
            in_slot: 0,
            current: f32::MAX,
            known: 0,
        }
    }

    /// Judges a frame and learns from it.
    pub fn push(&mut self, frame: &[i16]) -> Loudness {
        let mut sum = 0.0_f32;
        for sample in frame {
            let y = self.high_pass.next(f32::from(*sample));
            sum += y * y;
        }
        self.high_pass.settle();
        let dbfs = power_dbfs(sum / frame.len().max(1) as f32);
        self.current = self.current.min(dbfs);
        let floor_dbfs = self.floor_dbfs();
        self.in_slot += 1;
        if self.in_slot == FRAMES_PER_SLOT {
            if let Some(slot) = self.slots.get_mut(self.slot) {
                *slot = self.current;
            }
            self.slot = (self.slot + 1) % SLOTS;
            (self.in_slot, self.current) = (0, f32::MAX);
            self.known = (self.known + 1).min(SETTLED_SLOTS);
        }
        let above = |db: f32| dbfs > self.level_min_dbfs.max(floor_dbfs + db);
        Loudness {
            dbfs,
            floor_dbfs,
            candidate: above(self.above_noise_db),
            keeps: above(self.above_noise_db / 2.0),
        }
    }

    /// The line's noise floor.
    pub fn floor_dbfs(&self) -> f32 {
        let floor = self.slots.iter().copied().fold(self.current, f32::min);
        match floor {
            f32::MAX => FLOOR_DBFS,
            _ if self.known == SETTLED_SLOTS => floor,
            _ => floor.min(FIRST_FLOOR_DBFS_MAX),
        }
    }

    /// Forgets the line.
    pub fn reset(&mut self) {
        self.slots = [f32::MAX; SLOTS];
        (self.slot, self.in_slot, self.current, self.known) = (0, 0, f32::MAX, 0);
        let HighPass { x1, x2, y1, y2, .. } = &mut self.high_pass;
        (*x1, *x2, *y1, *y2) = (0.0, 0.0, 0.0, 0.0);
    }
}
