//! The fixed sentences of agents, made before anybody waits for them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Key, Rendering, Take, Tier, TtsCache, lock};
use crate::call::agent::AgentSnapshot;
use crate::providers::tts::{TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::speech::Speech;
use crate::types::{Generation, Pii};

/// Agents that are made ready at once: one, so that calls keep the provider's connections and this machine's cores.
const WARMING_MAX: usize = 1;
/// Agents that are remembered as made ready, and that may wait for it.
const AGENTS_MAX: usize = 1_024;
/// Longest wait for a session, and for one sentence.
const STEP_MAX: Duration = Duration::from_secs(15);

/// Which agents were made ready, or are about to be.
pub(super) struct Warmth {
    begun: Mutex<HashSet<Key>>,
    turn: Arc<Semaphore>,
}

impl Default for Warmth {
    fn default() -> Self {
        Self { begun: Mutex::default(), turn: Arc::new(Semaphore::new(WARMING_MAX)) }
    }
}

/// Why an agent is made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Nobody waits.
    Start,
    /// A call begins: it will say the first words itself.
    Call,
}

impl TtsCache {
    /// Makes an agent's fixed sentences in the background, once. A failure is logged: calls make what is missing.
    pub fn warm(self: &Arc<Self>, agent: &Arc<AgentSnapshot>, occasion: Occasion) {
        if self.is_off() || !self.config.prewarm || agent.fixed.is_empty() {
            return;
        }
        let sentences = agent.fixed.sentences().iter().map(String::as_str);
        let own = Key::new(agent, &agent.voice, "");
        let own = own.0.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let key = Key::of(sentences.chain([own.as_str()]));
        {
            let mut begun = self.warmth.begun.lock().unwrap_or_else(PoisonError::into_inner);
            if begun.len() >= AGENTS_MAX || !begun.insert(key) {
                return;
            }
        }
        let (cache, agent) = (Arc::clone(self), Arc::clone(agent));
        tokio::spawn(async move {
            let Ok(_turn) = cache.warmth.turn.acquire().await else { return };
            match cache.make_ready(&agent, occasion).await {
                Ok(0) => {}
                Ok(made) => {
                    tracing::debug!(agent = %agent.id, made, "fixed sentences are synthesised")
                }
                Err(why) => {
                    tracing::info!(agent = %agent.id, why, "fixed sentences are not synthesised beforehand")
                }
            }
        });
    }

    pub(super) async fn make_ready(
        &self,
        agent: &AgentSnapshot,
        occasion: Occasion,
    ) -> Result<usize, String> {
        let speech = Speech::new(&agent.speech, &agent.language);
        let first_words = &agent.turn.greeting.text;
        let mut missing = Vec::new();
        for sentence in agent.fixed.sentences() {
            let spoken = speech.say(sentence);
            let key = Key::new(agent, &agent.voice, spoken.text());
            let own = occasion == Occasion::Call && first_words.contains(sentence.as_str());
            if spoken.is_silent() || self.peek(key).is_some() || self.load(key).await {
                continue;
            }
            if !own {
                missing.push((key, spoken.text().to_owned()));
            }
        }
        if missing.is_empty() {
            return Ok(0);
        }
        let params = TtsParams {
            language: agent.language.clone(),
            voice: agent.voice.clone(),
            speed: agent.speed,
        };
        let opened = tokio::time::timeout(STEP_MAX, agent.tts.open(params)).await;
        let mut session = opened
            .map_err(|_| "the session did not open".to_owned())?
            .map_err(|e| e.to_string())?;
        let count = missing.len();
        for (seq, (key, text)) in (0..).zip(missing) {
            let Some(take) = self.take(key, Tier::Fixed) else { continue };
            let made = tokio::time::timeout(STEP_MAX, make(&mut session, seq, text, take)).await;
            self.keep(made.map_err(|_| "a sentence took too long".to_owned())??);
        }
        Ok(count)
    }

    /// Brings a rendering from disk; whether there was one.
    async fn load(&self, key: Key) -> bool {
        let Some(disk) = self.disk.clone() else { return false };
        let read = tokio::task::spawn_blocking(move || lock(&disk).read(key)).await;
        let found: Option<Rendering> = read.ok().flatten();
        let is_there = found.is_some();
        if let Some(rendering) = found {
            self.insert(key, Arc::new(rendering));
        }
        is_there
    }
}

/// One sentence from its text to its last sample.
async fn make(
    session: &mut TtsSession,
    seq: u32,
    text: String,
    mut take: Take,
) -> Result<Take, String> {
    let generation = Generation(1);
    let say = TtsInput::Say { generation, seq, text: Pii::new(text) };
    session.input.send(say).await.map_err(|_| "the session ended".to_owned())?;
    loop {
        match session.events.recv().await {
            Some(TtsEvent::Audio { seq: of, pcm, .. }) if of == seq => take.audio(&pcm),
            Some(TtsEvent::Alignment { seq: of, marks, .. }) if of == seq => take.marks(&marks),
            Some(TtsEvent::Done { seq: of, .. }) if of == seq => return Ok(take),
            Some(TtsEvent::Failed { error, .. }) => return Err(error.to_string()),
            Some(_) => {}
            None => return Err("the session ended".to_owned()),
        }
    }
}
