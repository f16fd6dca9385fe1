//! Barge-in: when caller speech stops the agent.
//!
//! Whether the agent's words may be interrupted at all is a fact of those words (a greeting or a
//! `say` may forbid it); this policy decides for those that may.

use std::time::{Duration, Instant};

/// The policy of one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Never: the caller's words are answered after the agent's last one.
    Off,
    /// Speech of this length, whatever was said.
    AnySpeech {
        /// From the onset.
        min_ms: u32,
    },
    /// That many recognised words, so that "mhm" does not stop the agent.
    MinWords {
        /// At least 1.
        n: u32,
    },
}

/// What the policy says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stop the agent.
    Interrupt,
    /// Ask again at this instant.
    At(Instant),
    /// Not on what is known so far.
    Keep,
}

impl Interruption {
    /// Judges speech that began at `onset` and goes on, of which `words` words are recognised.
    pub fn judge(self, now: Instant, onset: Instant, words: usize) -> Verdict {
        match self {
            Self::Off => Verdict::Keep,
            Self::AnySpeech { min_ms } => {
                let at = onset + Duration::from_millis(min_ms.into());
                if now >= at { Verdict::Interrupt } else { Verdict::At(at) }
            }
            Self::MinWords { n } => {
                if words >= n as usize {
                    Verdict::Interrupt
                } else {
                    Verdict::Keep
                }
            }
        }
    }
}

/// Words of a text: runs without white space that hold a letter or digit. Ideographs count one each.
pub fn words(text: &str) -> usize {
    text.split_whitespace()
        .map(|run| {
            let ideographs = run.chars().filter(|&c| super::sentence::is_ideograph(c)).count();
            if ideographs > 0 {
                ideographs
            } else {
                usize::from(run.chars().any(char::is_alphanumeric))
            }
        })
        .sum()
}
