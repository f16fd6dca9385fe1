//! Is it the caller, or our own voice coming back?
//!
//! Speakerphones, hybrids and bad headsets return what we send, softer and up to most of a second later.
//! [`EchoGate`] keeps what left the line and looks for it in what arrives: sound that is a delayed copy of
//! our own is no speech of the caller's. It compares waveforms, not levels, so a caller who talks over the
//! echo is heard as soon as their voice is most of the sound.
//!
//! Both directions are halved in rate and emphasised towards their treble: the hum of two different voices is
//! alike, their detail is not. The delay is counted in samples of the two streams, which keeps it still
//! while packets jitter; once found it is tried first, which costs next to nothing.

/// Samples of one frame at 8 kHz.
const FRAME: usize = 160;
/// The same at the rate that is compared.
const HALF: usize = FRAME / 2;
/// What is compared: 80 ms.
const WINDOW: usize = 4 * HALF;
/// How far back our own voice is looked for: 800 ms, the round trip of a mobile network and its jitter
/// buffers.
const REACH: usize = 40 * HALF;
/// Delays that are looked at closely.
const CANDIDATES: usize = 6;
/// How far around them, in samples.
const REFINE: usize = 3;
/// Share of the window's energy that one delayed copy explains, from which an unknown delay is held for
/// an echo. Two different talkers reach 0.3 at the best of all delays.
const SHARE_NEW: f32 = 0.6;
/// The same at a delay that is known.
const SHARE_KNOWN: f32 = 0.25;
/// How far a known delay may wander, in samples: 2 ms.
const WANDER: i64 = 8;
/// Energy of a window of ours below which it cannot be heard at the far end: about -60 dBFS.
const FAINT: i64 = WINDOW as i64 * 4;
/// Takes 16 bits down so far that the sums of a window fit 32.
const SCALE_BITS: u32 = 4;

/// Tells our own voice from the caller's in one stream at 8 kHz. Allocates nothing after construction.
pub struct EchoGate {
    sent: Side<REACH>,
    heard: Side<WINDOW>,
    /// Position in what was sent minus position in what was heard, of the echo that was found last.
    delay: Option<i64>,
}

/// One direction: the newest samples, oldest first, and how many there were in all.
struct Side<const N: usize> {
    samples: Box<[i16; N]>,
    total: i64,
    last: i32,
}

impl<const N: usize> Side<N> {
    fn new() -> Self {
        Self { samples: Box::new([0; N]), total: 0, last: 0 }
    }

    fn push(&mut self, frame: &[i16]) {
        self.samples.rotate_left(HALF.min(N));
        let newest = self.samples.len().saturating_sub(HALF);
        let room = self.samples.iter_mut().skip(newest);
        for (to, pair) in room.zip(frame.chunks(2)) {
            let sum: i32 = pair.iter().map(|sample| i32::from(*sample)).sum();
            let mean = sum / 2;
            let bright = (mean - self.last * 7 / 8) >> SCALE_BITS;
            self.last = mean;
            *to = bright.clamp(-2_047, 2_047) as i16;
        }
        self.total += HALF as i64;
    }
}

impl Default for EchoGate {
    fn default() -> Self {
        Self::new()
    }
}

impl EchoGate {
    /// A gate that has sent and heard nothing.
    pub fn new() -> Self {
        Self { sent: Side::new(), heard: Side::new(), delay: None }
    }

    /// Takes the next 20 ms as they left the line, silence included.
    pub fn sent(&mut self, frame: &[i16]) {
        self.sent.push(frame);
    }

    /// Takes the next 20 ms as they arrived.
    pub fn heard(&mut self, frame: &[i16]) {
        self.heard.push(frame);
    }

    /// Whether the last 80 ms are most likely our own voice. Looks at every delay, coarsely, and closely at
    /// the best of them: some 20 microseconds.
    pub fn is_echo(&mut self) -> bool {
        if self.is_known_echo() {
            return true;
        }
        let Some(energy) = self.energy() else { return false };
        let mut best = (0.0, 0);
        for coarse in self.candidates() {
            let from = (coarse * 2).saturating_sub(REFINE);
            for at in from..=coarse * 2 + REFINE {
                let Some(ours) = self.sent.samples.get(at..at + WINDOW) else { continue };
                let share = share(self.heard.samples.as_slice(), energy, ours);
                if share > best.0 {
                    best = (share, at);
                }
            }
        }
        let (share, at) = best;
        if share < SHARE_NEW {
            return false;
        }
        let end = self.sent.total - (REACH - WINDOW) as i64 + at as i64;
        self.delay = Some(end - self.heard.total);
        true
    }

    /// The places in what was sent that are most like what was heard, at half the rate.
    fn candidates(&self) -> [usize; CANDIDATES] {
        let mut ours = [0; REACH / 2];
        let mut theirs = [0; WINDOW / 2];
        halve(self.sent.samples.as_slice(), &mut ours);
        halve(self.heard.samples.as_slice(), &mut theirs);
        let mut best = [(0.0, 0); CANDIDATES];
        let heard = product(&theirs, &theirs);
        let mut energy =
            product(ours.get(..WINDOW / 2).unwrap_or(&[]), ours.get(..WINDOW / 2).unwrap_or(&[]));
        for (at, window) in ours.windows(WINDOW / 2).enumerate() {
            if energy >= FAINT {
                let common = product(window, &theirs).max(0) as f32;
                let share = (common / energy as f32) * (common / heard.max(1) as f32);
                insert(&mut best, (share, at));
            }
            let square = |sample: Option<&i16>| sample.map_or(0, |s| i64::from(*s) * i64::from(*s));
            energy += square(ours.get(at + WINDOW / 2)) - square(window.first());
        }
        best.map(|(_, at)| at)
    }

    /// Whether the last 80 ms are our own voice at the delay of an echo that was found before.
    pub fn is_known_echo(&self) -> bool {
        let (Some(delay), Some(energy)) = (self.delay, self.energy()) else { return false };
        let middle = self.heard.total + delay - self.sent.total + (REACH - WINDOW) as i64;
        (middle - WANDER..=middle + WANDER).any(|at| {
            let ours =
                usize::try_from(at).ok().and_then(|at| self.sent.samples.get(at..at + WINDOW));
            ours.is_some_and(|ours| {
                share(self.heard.samples.as_slice(), energy, ours) >= SHARE_KNOWN
            })
        })
    }

    /// Energy of the window that was heard, if there is any.
    fn energy(&self) -> Option<i64> {
        Some(product(self.heard.samples.as_slice(), self.heard.samples.as_slice()))
            .filter(|energy| *energy > 0)
    }
}

/// Share of the heard window's energy that a copy of `ours` explains, 0 to 1.
fn share(heard: &[i16], heard_energy: i64, ours: &[i16]) -> f32 {
    let common = product(heard, ours);
    if common <= 0 {
        return 0.0;
    }
    let energy = product(ours, ours);
    if energy < FAINT {
        return 0.0;
    }
    let common = common as f32;
    (common / energy as f32) * (common / heard_energy as f32)
}

/// Puts one more into the best, greatest first. Neighbours are one peak.
fn insert(best: &mut [(f32, usize); CANDIDATES], new: (f32, usize)) {
    if let Some(near) = best.iter_mut().find(|(_, at)| at.abs_diff(new.1) <= 1) {
        if near.0 < new.0 {
            *near = new;
        }
    } else if let Some(last) = best.last_mut().filter(|last| last.0 < new.0) {
        *last = new;
    } else {
        return;
    }
    best.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
}

/// Means of pairs.
fn halve(from: &[i16], to: &mut [i16]) {
    for (to, pair) in to.iter_mut().zip(from.chunks(2)) {
        let sum: i32 = pair.iter().map(|sample| i32::from(*sample)).sum();
        *to = (sum / 2) as i16;
    }
}

/// Sum of products; 320 of 22 bits fit.
fn product(a: &[i16], b: &[i16]) -> i64 {
    let sum: i32 = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    i64::from(sum)
}

#[cfg(test)]
mod tests;
