//! Where one channel of samples holds speech, by level.

use super::Span;
use crate::audio::level;
use crate::types::SampleRate;

/// The step in which levels are taken: the edge of a span is exact to this.
const STEP_MS: u32 = 10;

/// How speech is told from the floor of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanRules {
    /// Nothing below this level is heard; it is where the server calls a packet audible as well.
    pub level_min_dbfs: f32,
    /// How far speech stands above the noise of the line; `None`: the line is known to have none, and only
    /// the level counts.
    pub above_noise_db: Option<f32>,
    /// Silence that ends a span: stops inside words are shorter.
    pub hangover_ms: u64,
    /// Shorter sounds are clicks.
    pub shortest_ms: u64,
}

impl Default for SpanRules {
    fn default() -> Self {
        Self {
            level_min_dbfs: -50.0,
            above_noise_db: Some(12.0),
            hangover_ms: 200,
            shortest_ms: 40,
        }
    }
}

impl SpanRules {
    /// For audio without noise: a voice from a file, an agent as it arrives.
    pub fn quiet() -> Self {
        Self { above_noise_db: None, ..Self::default() }
    }
}

/// Finds speech.
pub fn spans(samples: &[i16], rate: SampleRate, rules: &SpanRules) -> Vec<Span> {
    let step = rate.samples_in_ms(STEP_MS).max(1);
    let levels: Vec<f32> = samples.chunks(step).map(level::rms_dbfs).collect();
    let threshold = threshold(&levels, rules);
    let ms = u64::from(STEP_MS);
    let mut found: Vec<Span> = Vec::new();
    for (index, level) in levels.iter().enumerate() {
        if *level <= threshold {
            continue;
        }
        let begin_ms = index as u64 * ms;
        match found.last_mut() {
            Some(last) if begin_ms.saturating_sub(last.end_ms) < rules.hangover_ms => {
                last.end_ms = begin_ms + ms;
            }
            _ => found.push(Span::new(begin_ms, begin_ms + ms)),
        }
    }
    found.retain(|span| span.length_ms() >= rules.shortest_ms);
    found
}

/// Between the noise and the speech of this channel, and never below what is audible.
fn threshold(levels: &[f32], rules: &SpanRules) -> f32 {
    let Some(above_db) = rules.above_noise_db else { return rules.level_min_dbfs };
    let mut sorted = levels.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = |percent: usize| {
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or(level::FLOOR_DBFS)
    };
    // Where somebody talks all the time the quietest tenth is speech as well: then the loud parts say
    // how high the line may be drawn.
    let (noise, loud) = (at(10), at(95));
    (noise + above_db).min(loud - above_db).max(rules.level_min_dbfs)
}
