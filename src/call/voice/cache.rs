//! Renderings that are kept to be played again: bounded in memory, and on disk for an agent's own fixed texts.
//!
//! A key is a digest of everything that shapes the sound; no text is kept. What the language model says may hold data of
//! the caller: it never reaches the disk, and memory only where the operator wants it.

mod disk;
mod warm;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::call::agent::AgentSnapshot;
use crate::providers::tts::{AlignmentMark, Tts};
use crate::telemetry::metrics;
use crate::types::Pcm;

pub use warm::Occasion;

use disk::Disk;

/// The `[tts_cache]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TtsCacheConfig {
    /// Memory for what voices said, bytes; beyond, what was not used for longest goes. 0: nothing is kept.
    pub memory_bytes_max: usize,
    /// Whether the fixed sentences of agents (first words, prompts, fillers, apologies, last words) are synthesised in
    /// the background when the server starts or an agent is first used. Voices that cost money cost it then.
    pub prewarm: bool,
    /// Whether short sentences of language models without digits are kept as well, once they were said twice: in memory
    /// only.
    pub replies: bool,
    /// Directory that keeps the fixed sentences of agents over a restart; empty: none. A sentence that has variables is
    /// never written.
    pub dir: PathBuf,
    /// Largest size of that directory, bytes; beyond, the oldest go.
    pub disk_bytes_max: u64,
}

impl Default for TtsCacheConfig {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            prewarm: true,
            replies: false,
            dir: PathBuf::new(),
            disk_bytes_max: 256 << 20,
        }
    }
}

/// Largest rendering that is kept, bytes: 40 s at 48 kHz. A sentence has 400 characters at most, about 25 s.
const RENDERING_BYTES_MAX: usize = 4 << 20;
/// Longest sentence of a model that is kept, characters: courtesies and acknowledgements are shorter.
const REPLY_CHARS_MAX: usize = 60;
/// Sentences of models that are remembered as said once: 4,096 digests are 128 KiB.
const SEEN_MAX: usize = 4_096;

/// Which sound it is: a digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Of what `agent` says with `voice`.
    pub(super) fn new(agent: &AgentSnapshot, voice: &str, spoken: &str) -> Self {
        Self::said_by(agent, (agent.tts.as_ref(), &agent.tts_service, voice), spoken)
    }

    /// Of what `agent` says with the voice of an engine and service that need not be its own.
    pub(super) fn said_by(
        agent: &AgentSnapshot,
        (tts, service, voice): (&dyn Tts, &str, &str),
        spoken: &str,
    ) -> Self {
        let speed = format!("{:.4}", agent.speed);
        Self::of([
            agent.facts.organization_id.as_str(),
            tts.name(),
            tts.model().unwrap_or_default(),
            service,
            voice,
            &speed,
            &agent.language,
            spoken,
        ])
    }

    fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        Self(digest.finalize().into())
    }
}

/// How long a sentence may be kept, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// A fixed text of the agent: memory and disk.
    Fixed,
    /// A sentence of the model: memory.
    Reply,
}

/// What a sentence sounds like in one voice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rendering {
    pub(super) pcm: Pcm,
    /// Of the spoken form.
    pub(super) marks: Vec<AlignmentMark>,
}

impl Rendering {
    fn bytes(&self) -> usize {
        self.pcm.samples.len() * 2 + size_of_val(self.marks.as_slice())
    }
}

/// A rendering that is being made.
pub(super) struct Take {
    key: Key,
    tier: Tier,
    rendering: Option<Rendering>,
}

impl Take {
    /// More of its sound. Too much of it, or a change of rate, and it is not kept.
    pub(super) fn audio(&mut self, pcm: &Pcm) {
        let Some(rendering) = &mut self.rendering else { return };
        if rendering.pcm.samples.is_empty() {
            rendering.pcm.rate = pcm.rate;
        }
        let fits = rendering.bytes() + pcm.samples.len() * 2 <= RENDERING_BYTES_MAX;
        if fits && rendering.pcm.rate == pcm.rate {
            rendering.pcm.samples.extend_from_slice(&pcm.samples);
        } else {
            self.rendering = None;
        }
    }

    /// More of its alignment.
    pub(super) fn marks(&mut self, marks: &[AlignmentMark]) {
        if let Some(rendering) = &mut self.rendering {
            rendering.marks.extend_from_slice(marks);
        }
    }
}

struct Kept {
    rendering: Arc<Rendering>,
    used: u64,
}

#[derive(Default)]
struct Memory {
    kept: HashMap<Key, Kept>,
    bytes: usize,
    /// Counts uses, for which was used last.
    uses: u64,
    seen: HashSet<Key>,
    seen_order: VecDeque<Key>,
}

/// Renderings of all calls.
pub struct TtsCache {
    config: TtsCacheConfig,
    memory: Mutex<Memory>,
    disk: Option<Arc<Mutex<Disk>>>,
    warmth: warm::Warmth,
}

impl TtsCache {
    /// An empty cache; what the directory holds is found by and by.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(config: TtsCacheConfig) -> std::io::Result<Arc<Self>> {
        let has_disk = config.memory_bytes_max > 0 && !config.dir.as_os_str().is_empty();
        let disk =
            if has_disk { Some(Disk::open(&config.dir, config.disk_bytes_max)?) } else { None };
        let disk = disk.map(|disk| Arc::new(Mutex::new(disk)));
        Ok(Arc::new(Self {
            config,
            memory: Mutex::default(),
            disk,
            warmth: warm::Warmth::default(),
        }))
    }

    /// One that keeps nothing.
    pub fn off() -> Arc<Self> {
        let config = TtsCacheConfig { memory_bytes_max: 0, ..TtsCacheConfig::default() };
        let (memory, warmth) = (Mutex::default(), warm::Warmth::default());
        Arc::new(Self { config, memory, disk: None, warmth })
    }

    fn is_off(&self) -> bool {
        self.config.memory_bytes_max == 0
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether and how a sentence may be kept.
    pub(super) fn tier(&self, agent: &AgentSnapshot, sentence: &str) -> Option<Tier> {
        if self.is_off() {
            return None;
        }
        if agent.fixed.contains(sentence) {
            return Some(Tier::Fixed);
        }
        // Figures are appointments, amounts and numbers of somebody.
        let short = sentence.chars().count() <= REPLY_CHARS_MAX;
        let plain = short && !sentence.chars().any(char::is_numeric) && !sentence.contains('@');
        (self.config.replies && plain).then_some(Tier::Reply)
    }

    /// What is kept for a key; counted.
    pub(super) fn find(&self, key: Key) -> Option<Arc<Rendering>> {
        let found = self.peek(key);
        metrics::tts_cache_lookup(found.is_some());
        found
    }

    fn peek(&self, key: Key) -> Option<Arc<Rendering>> {
        let mut memory = self.memory();
        memory.uses += 1;
        let now = memory.uses;
        let kept = memory.kept.get_mut(&key)?;
        kept.used = now;
        Some(Arc::clone(&kept.rendering))
    }

    /// Begins to keep what a voice will say, unless it is a model's and said for the first time.
    pub(super) fn take(&self, key: Key, tier: Tier) -> Option<Take> {
        if tier == Tier::Reply && self.is_first(key) {
            return None;
        }
        let rendering = Rendering {
            pcm: Pcm { rate: crate::types::SampleRate::HZ_8000, samples: Vec::new() },
            marks: Vec::new(),
        };
        Some(Take { key, tier, rendering: Some(rendering) })
    }

    fn is_first(&self, key: Key) -> bool {
        let mut memory = self.memory();
        if !memory.seen.insert(key) {
            return false;
        }
        memory.seen_order.push_back(key);
        if memory.seen_order.len() > SEEN_MAX
            && let Some(oldest) = memory.seen_order.pop_front()
        {
            memory.seen.remove(&oldest);
        }
        true
    }

    /// The sentence was said to its end: keeps it.
    pub(super) fn keep(&self, take: Take) {
        let Some(rendering) = take.rendering.filter(|own| !own.pcm.samples.is_empty()) else {
            return;
        };
        let rendering = Arc::new(rendering);
        self.insert(take.key, Arc::clone(&rendering));
        if take.tier == Tier::Fixed
            && let Some(disk) = &self.disk
        {
            let disk = Arc::clone(disk);
            tokio::task::spawn_blocking(move || lock(&disk).write(take.key, &rendering));
        }
    }

    fn insert(&self, key: Key, rendering: Arc<Rendering>) {
        let mut memory = self.memory();
        memory.uses += 1;
        let used = memory.uses;
        memory.bytes += rendering.bytes();
        if let Some(old) = memory.kept.insert(key, Kept { rendering, used }) {
            memory.bytes -= old.rendering.bytes();
        }
        while memory.bytes > self.config.memory_bytes_max {
            let oldest = memory.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key);
            let Some(gone) = oldest.and_then(|key| memory.kept.remove(&key)) else { break };
            memory.bytes -= gone.rendering.bytes();
        }
        metrics::tts_cache_bytes(memory.bytes as u64);
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
