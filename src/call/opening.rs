//! What the record of an agent's turn says of its making: whether its first words were kept from an earlier time, and
//! which providers failed.

use crate::providers::Stage;
use crate::turn::heard::Kind;
use crate::types::call::ErrorStage;
use crate::types::{FAILOVERS_MAX, Failover, Generation, TurnId, TurnRecord};

/// The first sentence of the turn that is being spoken.
#[derive(Debug, Default)]
pub(super) struct Opening {
    turn: Option<TurnId>,
    first: Option<(Generation, u32)>,
    is_kept: Option<bool>,
    /// Requests to the model that failed or lost.
    retries: u32,
    failovers: Vec<Failover>,
}

impl Opening {
    /// An agent's turn begins. Sentences that were synthesised before are its own: they were prepared for it.
    pub(super) fn begins(&mut self, turn: TurnId) {
        if self.turn.is_some() {
            // A recogniser that failed before failed for this turn.
            *self = Self { failovers: std::mem::take(&mut self.failovers), ..Self::default() };
        }
        self.turn = Some(turn);
    }

    /// A sentence goes to the voice. Fillers and recordings are no words of the reply.
    pub(super) fn sentence(&mut self, generation: Generation, seq: u32, kind: Kind) {
        let begun = self.first.is_some_and(|(of, _)| of >= generation);
        if kind == Kind::Words && !begun {
            self.first = Some((generation, seq));
            self.is_kept = None;
        }
    }

    /// Audio came.
    pub(super) fn audio(&mut self, generation: Generation, seq: u32, is_kept: bool) {
        if self.first == Some((generation, seq)) {
            self.is_kept.get_or_insert(is_kept);
        }
    }

    /// A request failed and another follows.
    pub(super) fn retried(&mut self, stage: Stage) {
        self.retries += u32::from(matches!(stage, Stage::Llm | Stage::Realtime));
    }

    /// Another provider goes on.
    pub(super) fn failed_over(&mut self, failover: Failover) {
        // A request that lost was not reported as failed.
        self.retries += u32::from(failover.stage == ErrorStage::Llm && failover.reason == "slow");
        if self.failovers.len() < FAILOVERS_MAX {
            self.failovers.push(failover);
        }
    }

    /// Writes it into the turn's record. What was kept was not synthesised: it has no time of synthesis.
    pub(super) fn note(&mut self, record: &mut TurnRecord) {
        if self.turn != Some(record.id) {
            return;
        }
        record.failovers = std::mem::take(&mut self.failovers);
        if let Some(latency) = &mut record.latency {
            latency.attempt = latency.attempt.saturating_add(self.retries);
            latency.cache_hit = self.is_kept;
            if self.is_kept == Some(true) {
                latency.tts_synthesis_ms = None;
            }
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_sentence_belongs_to_the_turn_it_was_prepared_for() {
        let mut opening = Opening::default();
        opening.sentence(Generation(1), 0, Kind::Words);
        opening.audio(Generation(1), 0, true);
        // That draft was dropped; another is taken.
        opening.sentence(Generation(2), 0, Kind::Words);
        opening.audio(Generation(2), 0, false);
        opening.begins(TurnId(3));
        opening.sentence(Generation(2), 1, Kind::Words);
        opening.audio(Generation(2), 1, true);
        assert_eq!((opening.turn, opening.is_kept), (Some(TurnId(3)), Some(false)));
        opening.begins(TurnId(4));
        opening.sentence(Generation(3), 0, Kind::Filler);
        opening.audio(Generation(3), 0, true);
        assert_eq!(opening.is_kept, None, "a filler is no word of the reply");
    }
}
