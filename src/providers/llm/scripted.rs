//! The scripted dialogue: an agent in the language model's place that needs no model.
//!
//! A dialogue is a TOML file ([`Script`] has its shape): states with options, each a set of phrases
//! or a key, a reply, and where to go next. [`ScriptedDialogue`] keeps one small state per
//! conversation and answers the last user message of each request, whether a recogniser wrote it or
//! the keypad. Start reading at [`Script::advance`]; `script.rs` loads and checks the file.

mod action;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod script;

pub use script::{OPTIONS_MAX, PHRASES_MAX, SCRIPT_BYTES_MAX, Script, ScriptError};

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::Value;

use super::{Llm, LlmDelta, LlmRequest, Message, Role, ToolCall};
use crate::providers::phrase::words_of;
use crate::providers::stt::grammar::Vocabulary;
use crate::providers::{ProviderError, clock};

/// Conversations remembered at once; the one that was silent longest makes room. Far above the calls
/// that one machine carries.
pub const CONVERSATIONS_MAX: usize = 4_096;
/// A conversation that asked nothing for this long is over: longer than the longest call.
pub const CONVERSATION_IDLE_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// How the turn machine writes keys that were pressed: `pressed 12`.
const KEYS_PREFIX: &str = "pressed ";

/// Where a conversation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the state.
    pub state: String,
    /// Slot values so far.
    pub slots: BTreeMap<String, String>,
    /// Utterances in a row that no option took.
    pub misses: u32,
}

/// What the agent answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Text to speak.
    pub text: String,
    /// Whether the call ends after it.
    pub end: bool,
    /// Tools to call, with their arguments; what follows depends on their results.
    pub calls: Vec<(String, Value)>,
}

impl Answer {
    fn text(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

struct Memory {
    /// Fingerprint of everything before the last user message when it was answered.
    context: u64,
    before: Place,
    after: Place,
    used: Instant,
}

/// [`Script`] as a language model.
pub struct ScriptedDialogue {
    script: Arc<Script>,
    conversations: Mutex<BTreeMap<String, Memory>>,
}

impl ScriptedDialogue {
    /// Makes the agent of a script.
    pub fn new(script: Script) -> Self {
        Self { script: Arc::new(script), conversations: Mutex::new(BTreeMap::new()) }
    }

    /// What the recogniser should expect.
    pub fn vocabulary(&self) -> Vocabulary {
        self.script.vocabulary()
    }

    /// First words of the agent.
    pub fn greeting(&self) -> &str {
        self.script.greeting()
    }

    /// Answers the last user message. A request whose earlier messages are those of the last one
    /// (a retry, a speculative request, a caller who went on speaking) starts from the same place.
    pub fn answer(&self, request: &LlmRequest, now: Instant) -> Answer {
        let last = request.messages.iter().rposition(|message| message.role == Role::User);
        let (earlier, rest) = match last {
            Some(last) => request.messages.split_at(last),
            None => (request.messages.as_slice(), [].as_slice()),
        };
        let text = rest.first().map(|m| m.content.reveal().as_str()).unwrap_or_default();
        let results = results(rest);
        let context = fingerprint(earlier);
        let mut known = self.conversations.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match known.get(&request.conversation) {
            Some(memory) if memory.context == context => memory.before.clone(),
            Some(memory) if now.saturating_duration_since(memory.used) < CONVERSATION_IDLE_MAX => {
                memory.after.clone()
            }
            _ => self.script.start(),
        };
        // Keys arrive in words, so that a model that reads them knows what they are.
        let said = text.strip_prefix(KEYS_PREFIX).unwrap_or(text);
        let (after, answer) = match results.as_slice() {
            [] => self.script.advance(&before, &words_of(said)),
            results => self.script.outcome(&before, &words_of(said), results),
        };
        if !known.contains_key(&request.conversation) {
            make_room(&mut known, now);
        }
        let memory = Memory { context, before, after, used: now };
        known.insert(request.conversation.clone(), memory);
        answer
    }
}

/// Results of the calls that were asked for after the caller's words, in the order of the calls.
fn results(rest: &[Message]) -> Vec<Value> {
    let asked = rest.iter().flat_map(|message| &message.calls);
    let result_of = |call: &ToolCall| {
        let answer = rest.iter().find(|message| message.answers.as_ref() == Some(&call.id));
        answer.map_or(Value::Null, |answer| {
            let text = answer.content.reveal();
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        })
    };
    asked.map(result_of).collect()
}

/// Forgets what is over, and if that is not enough the conversation that was silent longest.
fn make_room(known: &mut BTreeMap<String, Memory>, now: Instant) {
    if known.len() < CONVERSATIONS_MAX {
        return;
    }
    known.retain(|_, m| now.saturating_duration_since(m.used) < CONVERSATION_IDLE_MAX);
    while known.len() >= CONVERSATIONS_MAX {
        let oldest = known.iter().min_by_key(|(_, m)| m.used).map(|(name, _)| name.clone());
        let Some(oldest) = oldest else { return };
        known.remove(&oldest);
    }
}

fn fingerprint(messages: &[Message]) -> u64 {
    let mut hasher = DefaultHasher::new();
    // Results of tools may come late: they do not tell one place from another.
    for message in
        messages.iter().filter(|message| matches!(message.role, Role::User | Role::Assistant))
    {
        (message.role == Role::User).hash(&mut hasher);
        message.content.reveal().hash(&mut hasher);
    }
    hasher.finish()
}

impl Llm for ScriptedDialogue {
    fn name(&self) -> &str {
        "scripted"
    }

    fn model(&self) -> Option<&str> {
        Some(self.script.name())
    }

    fn warm_up(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn is_metered(&self) -> bool {
        false
    }

    fn may_be_asked_twice(&self) -> bool {
        false
    }

    fn respond(&self, request: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        let Answer { text, end, calls } = self.answer(&request, clock::now());
        let round = request.messages.len();
        let mut deltas = vec![Ok(LlmDelta::Sent)];
        deltas.extend(text.split_inclusive(' ').map(|word| Ok(LlmDelta::Text(word.to_owned()))));
        for (at, (name, arguments)) in calls.into_iter().enumerate() {
            let id = format!("call_{round}_{at}");
            let arguments = arguments.to_string().into();
            deltas.push(Ok(LlmDelta::ToolCall(ToolCall { id, name, arguments })));
        }
        if end {
            deltas.push(Ok(LlmDelta::EndCall));
        }
        deltas.push(Ok(LlmDelta::Done));
        stream::iter(deltas).boxed()
    }
}

#[cfg(test)]
mod tests;
