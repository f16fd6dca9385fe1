//! Sentences of vendors that name each one on the wire: which are spoken, and what of them came.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::align::Aligner;
use super::decoder::Raw;
use super::ws::{Meaning, SentenceId};
use crate::providers::config::Encoding;
use crate::types::{Generation, Pcm, SampleRate};

/// One sentence on the wire.
pub(super) struct Context {
    pub(super) sentence: SentenceId,
    /// Its name on the wire.
    pub(super) id: String,
    pub(super) aligner: Aligner,
    raw: Raw,
    samples: u64,
}

/// The sentences a connection was asked for, in order.
pub(super) struct Contexts {
    rate: SampleRate,
    encoding: Encoding,
    speaking: VecDeque<Context>,
}

/// Audio that is not base64.
#[derive(Debug)]
pub(super) struct NotAudio;

impl Contexts {
    pub(super) fn new(rate: SampleRate, encoding: Encoding) -> Self {
        Self { rate, encoding, speaking: VecDeque::new() }
    }

    /// Writes a sentence down; its name on the wire.
    pub(super) fn add(&mut self, sentence: SentenceId, text: &str) -> String {
        let id = format!("g{}s{}", sentence.generation.0, sentence.seq);
        let (aligner, raw) = (Aligner::new(text), Raw::new(self.encoding));
        let context = Context { sentence, id: id.clone(), aligner, raw, samples: 0 };
        self.speaking.push_back(context);
        id
    }

    /// Forgets a generation and those before it; the names of what was forgotten.
    pub(super) fn cancel(&mut self, generation: Generation) -> Vec<String> {
        let mut gone = Vec::new();
        self.speaking.retain(|context| {
            let stays = context.sentence.generation > generation;
            if !stays {
                gone.push(context.id.clone());
            }
            stays
        });
        gone
    }

    /// One that is spoken. Audio of any other was dropped and is nobody's.
    pub(super) fn get(&mut self, id: &str) -> Option<&mut Context> {
        self.speaking.iter_mut().find(|context| context.id == id)
    }

    /// One that is over.
    pub(super) fn remove(&mut self, id: &str) -> Option<SentenceId> {
        let at = self.speaking.iter().position(|context| context.id == id)?;
        self.speaking.remove(at).map(|context| context.sentence)
    }

    /// The connection is a new one.
    pub(super) fn clear(&mut self) {
        self.speaking.clear();
    }

    /// Audio in base64, as samples.
    pub(super) fn audio(&mut self, id: &str, encoded: &str) -> Result<Option<Meaning>, NotAudio> {
        let rate = self.rate;
        let Some(context) = self.get(id) else { return Ok(None) };
        let octets = STANDARD.decode(encoded).map_err(|_| NotAudio)?;
        let samples = context.raw.samples(&octets);
        context.samples = context.samples.saturating_add(samples.len() as u64);
        let sentence = context.sentence;
        Ok((!samples.is_empty()).then_some(Meaning::Audio(sentence, Pcm { rate, samples })))
    }

    /// Length of what came of a sentence so far, in ms.
    pub(super) fn given_ms(&mut self, id: &str) -> f64 {
        let rate = self.rate;
        self.get(id).map_or(0.0, |context| rate.duration_of(context.samples).as_secs_f64() * 1e3)
    }
}
