//! A timer wheel of 1 ms slots: which streams of a thread are due next.
//!
//! Each stream has at most one deadline, at most [`SLOTS`] ms ahead (streams tick every 20 ms; a
//! deadline further away is looked at again on the way). Lists run through arrays by index, so that
//! nothing is allocated or shifted once the wheel has grown to its number of streams.

use std::time::{Duration, Instant};

/// Slots of 1 ms. A stream ticks every 20 ms, so its deadline is always inside one turn of 64; a
/// longer wheel would only be scanned longer when it is empty.
pub const SLOTS: usize = 64;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    deadline: Instant,
    next: u32,
    previous: u32,
    slot: u32,
}

/// Deadlines of the streams of one thread, by index.
pub struct Wheel {
    epoch: Instant,
    heads: [u32; SLOTS],
    entries: Vec<Entry>,
    scheduled: usize,
    /// First millisecond since `epoch` that may hold something due.
    cursor_ms: u64,
}

impl Wheel {
    /// An empty wheel that counts milliseconds from `epoch`.
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, heads: [NONE; SLOTS], entries: Vec::new(), scheduled: 0, cursor_ms: 0 }
    }

    /// Sets the one deadline of stream `index`, in place of an earlier one.
    pub fn schedule(&mut self, index: u32, deadline: Instant) {
        self.cancel(index);
        while self.entries.len() <= index as usize {
            let blank = Entry { deadline, next: NONE, previous: NONE, slot: NONE };
            self.entries.push(blank);
        }
        let ms = self.ms_of(deadline).clamp(self.cursor_ms, self.cursor_ms + SLOTS as u64 - 1);
        let slot = (ms % SLOTS as u64) as u32;
        let next = self.heads.get(slot as usize).copied().unwrap_or(NONE);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            *entry = Entry { deadline, next, previous: NONE, slot };
        }
        if let Some(after) = self.entries.get_mut(next as usize) {
            after.previous = index;
        }
        if let Some(head) = self.heads.get_mut(slot as usize) {
            *head = index;
        }
        self.scheduled += 1;
    }

    /// Forgets the deadline of stream `index`.
    pub fn cancel(&mut self, index: u32) {
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        if entry.slot == NONE {
            return;
        }
        let Entry { next, previous, slot, .. } = *entry;
        entry.slot = NONE;
        self.scheduled -= 1;
        if let Some(after) = self.entries.get_mut(next as usize) {
            after.previous = previous;
        }
        if let Some(before) = self.entries.get_mut(previous as usize) {
            before.next = next;
        } else if let Some(head) = self.heads.get_mut(slot as usize) {
            *head = next;
        }
    }

    /// Takes out one stream whose deadline is not after `now`, with that deadline.
    pub fn pop_due(&mut self, now: Instant) -> Option<(u32, Instant)> {
        let now_ms = self.ms_of(now);
        if self.scheduled == 0 {
            self.cursor_ms = self.cursor_ms.max(now_ms);
            return None;
        }
        // After a long stall every slot is looked at once, not once per millisecond missed.
        let first = self.cursor_ms;
        for step in 0..SLOTS as u64 {
            let ms = first + step;
            if ms > now_ms {
                return None;
            }
            let due = self.indices((ms % SLOTS as u64) as usize).find(|(_, at)| *at <= now);
            if let Some((index, deadline)) = due {
                self.cancel(index);
                return Some((index, deadline));
            }
            // The slot of the current millisecond may still get, or hold, something due within it.
            if ms < now_ms {
                self.cursor_ms = ms + 1;
            }
        }
        self.cursor_ms = self.cursor_ms.max(now_ms);
        None
    }

    /// The earliest deadline; exact, because the first slot that holds anything is looked through.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.scheduled == 0 {
            return None;
        }
        (0..SLOTS as u64).find_map(|step| {
            let slot = ((self.cursor_ms + step) % SLOTS as u64) as usize;
            self.indices(slot).map(|(_, deadline)| deadline).min()
        })
    }

    fn indices(&self, slot: usize) -> impl Iterator<Item = (u32, Instant)> + '_ {
        let mut at = self.heads.get(slot).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let entry = self.entries.get(at as usize)?;
            let item = (at, entry.deadline);
            at = entry.next;
            Some(item)
        })
    }

    fn ms_of(&self, at: Instant) -> u64 {
        let since: Duration = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests;
