//! The conversation so far, as the model gets it: the assistant's words as the caller heard them.
//!
//! The system prompt is not here: the call puts it in front. Closed turn records leave the machine
//! as outputs and are not kept.

use std::collections::VecDeque;

use crate::types::{Pii, TurnRole};

/// Messages kept; the oldest go first. At one exchange in 10 s this is over 30 minutes, far more
/// than a small model's context. Twice as many would double what each request copies.
pub const HISTORY_MESSAGES_MAX: usize = 400;
/// Characters kept over all messages, for the same reason: about 16,000 tokens.
pub const HISTORY_CHARS_MAX: usize = 64_000;

/// History of one call, bounded by [`HISTORY_MESSAGES_MAX`] and [`HISTORY_CHARS_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    messages: VecDeque<(TurnRole, Pii<String>)>,
    chars: usize,
}

impl Transcript {
    /// Adds a message; an empty one is not added. One longer than the whole limit keeps its head.
    pub fn push(&mut self, role: TurnRole, text: &str) {
        let text: String = text.trim().chars().take(HISTORY_CHARS_MAX).collect();
        if text.is_empty() {
            return;
        }
        self.chars += text.chars().count();
        self.messages.push_back((role, Pii::new(text)));
        while self.messages.len() > HISTORY_MESSAGES_MAX || self.chars > HISTORY_CHARS_MAX {
            let Some((_, text)) = self.messages.pop_front() else { break };
            self.chars = self.chars.saturating_sub(text.reveal().chars().count());
        }
    }

    /// Takes back the last message if the caller said it and nobody spoke since. What tools did since
    /// is done, and stays.
    pub fn retract_user(&mut self) {
        let last = self.messages.iter().rposition(|(role, _)| *role != TurnRole::Tool);
        if let Some(at) = last
            && self.messages.get(at).is_some_and(|(role, _)| *role == TurnRole::User)
            && let Some((_, text)) = self.messages.remove(at)
        {
            self.chars = self.chars.saturating_sub(text.reveal().chars().count());
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What the assistant said last; empty if it said nothing.
    pub fn last_said(&self) -> &str {
        let mut latest = self.messages.iter().rev();
        let said = latest.find(|(role, _)| *role == TurnRole::Assistant);
        said.map_or("", |(_, text)| text.reveal())
    }

    /// A copy for a request.
    pub fn history(&self) -> Vec<(TurnRole, Pii<String>)> {
        self.messages.iter().cloned().collect()
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing was said yet.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests;
