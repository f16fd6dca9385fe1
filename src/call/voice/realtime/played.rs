//! How much of each item of the model's was really played.

use std::time::Duration;

use crate::types::{Generation, SampleRate};

/// Parts of one reply that are told apart; a model gives one or two.
const SEGMENTS_MAX: usize = 256;

/// An item of the model's.
#[derive(Debug)]
struct Item {
    number: u32,
    /// The provider's name of it.
    name: String,
    received: Duration,
    /// Silence at its head that is not played.
    cut: Duration,
    done: bool,
}

/// One generation's way to the line, in the order it is played.
#[derive(Debug, Default)]
pub(super) struct Played {
    generation: Generation,
    /// Whose samples, and how many at the line's rate.
    segments: Vec<(Option<u32>, u64)>,
    items: Vec<Item>,
}

impl Played {
    /// Audio of an item came.
    pub(super) fn received(
        &mut self,
        generation: Generation,
        number: u32,
        name: &str,
        length: Duration,
    ) {
        self.admit(generation);
        if let Some(item) = self.items.iter_mut().find(|item| item.number == number) {
            item.received += length;
        } else if self.items.len() < SEGMENTS_MAX {
            let (name, cut) = (name.to_owned(), Duration::ZERO);
            self.items.push(Item { number, name, received: length, cut, done: false });
        }
    }

    /// All audio of an item came.
    pub(super) fn done(&mut self, number: u32) {
        if let Some(item) = self.items.iter_mut().find(|item| item.number == number) {
            item.done = true;
        }
    }

    /// Audio went on to the line: the model's, or another voice's.
    pub(super) fn placed(
        &mut self,
        generation: Generation,
        number: Option<u32>,
        samples: u64,
        cut: Duration,
    ) {
        self.admit(generation);
        if generation != self.generation {
            return;
        }
        if let Some(item) = self.items.iter_mut().find(|item| Some(item.number) == number) {
            item.cut += cut;
        }
        let room = self.segments.len() < SEGMENTS_MAX;
        match self.segments.last_mut() {
            Some(segment) if segment.0 == number => segment.1 += samples,
            _ if room => self.segments.push((number, samples)),
            _ => {}
        }
    }

    fn admit(&mut self, generation: Generation) {
        if generation > self.generation {
            *self = Self { generation, ..Self::default() };
        }
    }

    /// Playback of a generation stopped there: what was begun and not played to its end, and how much of
    /// it was played. Never more than came.
    pub(super) fn stopped(
        &mut self,
        generation: Generation,
        samples: u64,
        line: SampleRate,
    ) -> Vec<(String, u32)> {
        if generation != self.generation {
            return Vec::new();
        }
        let (segments, items) =
            (std::mem::take(&mut self.segments), std::mem::take(&mut self.items));
        let cut = |item: Item| {
            let (mut start, mut played, mut total) = (0u64, 0u64, 0u64);
            for (of, length) in &segments {
                if *of == Some(item.number) {
                    played += samples.saturating_sub(start).min(*length);
                    total += length;
                }
                start += length;
            }
            if item.done && played >= total && total > 0 {
                return None;
            }
            let heard =
                if played == 0 { Duration::ZERO } else { item.cut + line.duration_of(played) };
            let ms = heard.min(item.received).as_millis();
            Some((item.name, u32::try_from(ms).unwrap_or(u32::MAX)))
        };
        items.into_iter().filter_map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn of(played: &mut Played, number: u32, ms: u64, cut: u64) {
        let name = format!("item_{number}");
        played.received(Generation(3), number, &name, MS(ms));
        played.placed(Generation(3), Some(number), (ms - cut) * 8, MS(cut));
    }

    fn stop(played: &mut Played, ms: u64) -> Vec<(String, u32)> {
        played.stopped(Generation(3), ms * 8, SampleRate::HZ_8000)
    }

    #[test]
    fn an_item_is_cut_where_it_stopped_and_its_silent_head_counts() {
        let mut played = Played::default();
        // Another voice said something before.
        played.placed(Generation(3), None, 500 * 8, MS(0));
        of(&mut played, 1, 400, 60);
        of(&mut played, 1, 600, 0);
        played.done(1);
        of(&mut played, 2, 1_000, 0);
        assert_eq!(
            stop(&mut played, 1_240),
            [("item_1".to_owned(), 800), ("item_2".to_owned(), 0)]
        );
        assert_eq!(stop(&mut played, 1_240), [], "once");
    }

    #[test]
    fn what_was_played_whole_is_not_cut_and_none_is_longer_than_it_came() {
        let mut played = Played::default();
        of(&mut played, 1, 300, 0);
        played.done(1);
        of(&mut played, 2, 300, 0);
        assert_eq!(stop(&mut played, 9_000), [("item_2".to_owned(), 300)]);
        of(&mut played, 3, 300, 0);
        assert_eq!(played.stopped(Generation(2), 0, SampleRate::HZ_8000), [], "an older one");
    }
}
