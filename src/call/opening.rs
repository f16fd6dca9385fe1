//! Whether the first words of an agent's turn were kept from an earlier time.

use crate::turn::heard::Kind;
use crate::types::{Generation, TurnId, TurnRecord};

/// The first sentence of the turn that is being spoken.
#[derive(Debug, Default)]
pub(super) struct Opening {
    turn: Option<TurnId>,
    first: Option<(Generation, u32)>,
    is_kept: Option<bool>,
}

impl Opening {
    /// Of a turn that begins.
    pub(super) fn of(turn: TurnId) -> Self {
        Self { turn: Some(turn), ..Self::default() }
    }

    /// A sentence goes to the voice. Fillers and recordings are no words of the reply.
    pub(super) fn sentence(&mut self, generation: Generation, seq: u32, kind: Kind) {
        if kind == Kind::Words {
            self.first.get_or_insert((generation, seq));
        }
    }

    /// Audio came.
    pub(super) fn audio(&mut self, generation: Generation, seq: u32, is_kept: bool) {
        if self.first == Some((generation, seq)) {
            self.is_kept.get_or_insert(is_kept);
        }
    }

    /// Writes it into the turn's record. What was kept was not synthesised: it has no time of synthesis.
    pub(super) fn note(&self, record: &mut TurnRecord) {
        if self.turn != Some(record.id) {
            return;
        }
        if let Some(latency) = &mut record.latency {
            latency.cache_hit = self.is_kept;
            if self.is_kept == Some(true) {
                latency.tts_synthesis_ms = None;
            }
        }
    }
}
