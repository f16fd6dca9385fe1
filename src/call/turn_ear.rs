//! What the caller said in one turn, for the model that hears whether it is over.
//!
//! The model is asked when voice activity ends, beside the end-of-turn wait, and its answer counts as the recogniser's
//! "probably over": it shortens the wait, and nothing ever waits for it. Who speaks on takes the question back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::session::Session;
use super::{AgentSnapshot, CallContext};
use crate::net::clock;
use crate::providers::turn_model::{EndOfTurn, HEARD_MAX};
use crate::turn::Input;
use crate::turn::config::EndpointingMode;
use crate::types::{Pcm, SampleRate, TurnSignal};

/// What is heard from before the first voiced frame, as models were taught.
const PRE_SPEECH: Duration = Duration::from_millis(500);

/// Keeps the newest audio of the caller, and asks.
pub(super) struct TurnEar {
    model: Arc<EndOfTurn>,
    rate: SampleRate,
    /// Its memory is there from the beginning.
    audio: VecDeque<i16>,
    most: usize,
    /// Newest samples that belong to the turn.
    of_turn: usize,
    pending: Option<oneshot::Receiver<f32>>,
}

impl TurnEar {
    /// For an agent that asks the model, if there is one.
    pub(super) fn open(
        context: &CallContext,
        agent: &AgentSnapshot,
        rate: SampleRate,
    ) -> Option<Self> {
        let endpointing = agent.turn_config().endpointing;
        let asks = endpointing.model && endpointing.mode == EndpointingMode::Hybrid;
        let model = context.turn_model.as_ref().filter(|_| asks)?;
        Some(Self::new(Arc::clone(model), rate))
    }

    fn new(model: Arc<EndOfTurn>, rate: SampleRate) -> Self {
        let most = size(rate, HEARD_MAX);
        let audio = VecDeque::with_capacity(most);
        Self { model, rate, audio, most, of_turn: 0, pending: None }
    }

    /// The next frame.
    pub(super) fn push(&mut self, samples: &[i16]) {
        let surplus = (self.audio.len() + samples.len()).saturating_sub(self.most);
        self.audio.drain(..surplus.min(self.audio.len()));
        self.audio.extend(samples);
        self.of_turn = (self.of_turn + samples.len()).min(self.audio.len());
    }

    /// The caller speaks, and has for `spoken`. `begins`: this is not the rest of a turn.
    pub(super) fn speech_started(&mut self, spoken: Duration, begins: bool) {
        self.pending = None;
        if begins {
            self.of_turn = size(self.rate, spoken + PRE_SPEECH).min(self.audio.len());
        }
    }

    /// The caller stopped: is the turn over?
    pub(super) fn speech_ended(&mut self) {
        let before = self.audio.len() - self.of_turn.min(self.audio.len());
        let samples = self.audio.iter().skip(before).copied().collect();
        self.pending = self.model.ask(Pcm { rate: self.rate, samples });
    }
}

fn size(rate: SampleRate, time: Duration) -> usize {
    usize::try_from(rate.samples_in(time)).unwrap_or(0)
}

/// The answer to the last question, once. Never comes if there is none.
pub(super) async fn probability(ear: &mut Option<TurnEar>) -> f32 {
    if let Some(ear) = ear
        && let Some(pending) = &mut ear.pending
    {
        let answer = pending.await;
        ear.pending = None;
        if let Ok(probability) = answer {
            return probability;
        }
    }
    std::future::pending().await
}

impl Session {
    /// The model answered while the caller is still silent.
    pub(super) fn on_turn_judged(&mut self, probability: f32) {
        let Some(ear) = &self.turn_ear else { return };
        let over = ear.model.says_over(probability);
        let id = self.journal.record().id;
        tracing::debug!(call.id = %id, probability, over, "the end of a turn was judged");
        if over {
            let now = clock::now();
            self.machine.handle(now, Input::SttTurn { signal: TurnSignal::LikelyOver, at: now });
        }
    }
}

#[cfg(test)]
mod tests;
