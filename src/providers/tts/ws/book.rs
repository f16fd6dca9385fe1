//! The books of a voice: which sentences are waiting, asked for, spoken, and what is to be told of them.

use std::collections::VecDeque;
use std::time::Instant;

use super::SentenceId;
use crate::providers::socket::Endpoint;
use crate::providers::tts::{AlignmentMark, TTS_INPUT_QUEUE, TtsEvent};
use crate::providers::{FailureKind, ProviderError};
use crate::types::{Generation, Pcm, Pii};

/// Sentences asked for at once: the one that plays and the next. Vendors allow few, and a barge-in wastes them.
const ASKED_MAX: usize = 2;

/// Audio of the next sentence held back while the one before it is not complete: 10 s at 24 kHz.
const HELD_SAMPLES_MAX: usize = 240_000;

/// What came of a sentence before its turn.
enum Held {
    Audio(Pcm, Instant),
    Marks(Vec<AlignmentMark>),
}

struct Sentence {
    id: SentenceId,
    text: Pii<String>,
    asked: bool,
    /// Some of its audio was told or is held.
    spoken: bool,
    complete: bool,
    held: VecDeque<Held>,
    held_samples: usize,
}

/// The sentences of one session, in order.
#[derive(Default)]
pub(super) struct Book {
    sentences: VecDeque<Sentence>,
    events: VecDeque<TtsEvent>,
    fatal_told: bool,
}

impl Book {
    /// Writes a sentence down; one too many is refused.
    pub(super) fn add(&mut self, id: SentenceId, text: Pii<String>, endpoint: &Endpoint) {
        if text.reveal().trim().is_empty() {
            // Nothing to say is said, once those before it are.
            self.push(id, text, true);
            self.advance();
        } else if self.sentences.len() >= TTS_INPUT_QUEUE {
            let error = endpoint.error(FailureKind::BadRequest, "too many sentences wait");
            self.fail(id, error);
        } else {
            self.push(id, text, false);
        }
    }

    fn push(&mut self, id: SentenceId, text: Pii<String>, complete: bool) {
        self.sentences.push_back(Sentence {
            id,
            text,
            asked: complete,
            spoken: complete,
            complete,
            held: VecDeque::new(),
            held_samples: 0,
        });
    }

    fn fail(&mut self, id: SentenceId, error: ProviderError) {
        let SentenceId { generation, seq } = id;
        self.events.push_back(TtsEvent::Failed { generation, seq, error, fatal: false });
    }

    /// Forgets a generation and those before it, with everything that is not told yet.
    pub(super) fn cancel(&mut self, generation: Generation) {
        self.sentences.retain(|sentence| sentence.id.generation > generation);
        self.events.retain(|event| match event {
            TtsEvent::Audio { generation: of, .. }
            | TtsEvent::Alignment { generation: of, .. }
            | TtsEvent::Done { generation: of, .. } => *of > generation,
            TtsEvent::Failed { generation: of, fatal, .. } => *fatal || *of > generation,
        });
        self.advance();
    }

    /// The connection knows nothing any more: half-spoken sentences fail, the others are asked for again.
    pub(super) fn unsay(&mut self, error: &ProviderError) {
        let mut failed = Vec::new();
        self.sentences.retain_mut(|sentence| {
            if sentence.complete || !sentence.asked {
                return true;
            }
            if sentence.spoken && sentence.held.is_empty() {
                failed.push(sentence.id);
                return false;
            }
            // What was held back was never heard.
            sentence.asked = false;
            sentence.spoken = false;
            sentence.held.clear();
            sentence.held_samples = 0;
            true
        });
        for id in failed {
            self.fail(id, error.clone());
        }
        self.advance();
    }

    /// Everything that is left fails for good.
    pub(super) fn give_up(&mut self, error: ProviderError) {
        let id = self.sentences.front().map(|sentence| sentence.id);
        let id = id.unwrap_or(SentenceId { generation: Generation(0), seq: 0 });
        self.sentences.clear();
        if !std::mem::replace(&mut self.fatal_told, true) {
            let SentenceId { generation, seq } = id;
            self.events.push_back(TtsEvent::Failed { generation, seq, error, fatal: true });
        }
    }

    /// Whether a sentence may be asked for now.
    pub(super) fn may_say(&self) -> bool {
        let asked = self.sentences.iter().filter(|s| s.asked && !s.complete).count();
        asked < ASKED_MAX && self.sentences.iter().any(|sentence| !sentence.asked)
    }

    /// The next sentence to ask for; it counts as asked.
    pub(super) fn say_next(&mut self) -> Option<(SentenceId, Pii<String>)> {
        if !self.may_say() {
            return None;
        }
        let sentence = self.sentences.iter_mut().find(|sentence| !sentence.asked)?;
        sentence.asked = true;
        Some((sentence.id, sentence.text.clone()))
    }

    /// Audio came: told at once for the first sentence, held back for the next.
    pub(super) fn audio(&mut self, id: SentenceId, pcm: Pcm, at: Instant, endpoint: &Endpoint) {
        let Some(index) = self.sentences.iter().position(|sentence| sentence.id == id) else {
            return;
        };
        let Some(sentence) = self.sentences.get_mut(index) else { return };
        sentence.spoken = true;
        if index == 0 {
            let SentenceId { generation, seq } = id;
            self.events.push_back(TtsEvent::Audio { generation, seq, pcm, at });
            return;
        }
        sentence.held_samples += pcm.samples.len();
        if sentence.held_samples > HELD_SAMPLES_MAX {
            self.sentences.remove(index);
            self.fail(id, endpoint.error(FailureKind::Protocol, "more audio than a sentence has"));
            return;
        }
        sentence.held.push_back(Held::Audio(pcm, at));
    }

    /// Timing came: told with the audio it belongs to. A sentence has at most a mark a character.
    pub(super) fn marks(&mut self, id: SentenceId, marks: Vec<AlignmentMark>) {
        let Some(index) = self.sentences.iter().position(|sentence| sentence.id == id) else {
            return;
        };
        let SentenceId { generation, seq } = id;
        if index == 0 {
            self.events.push_back(TtsEvent::Alignment { generation, seq, marks });
        } else if let Some(sentence) = self.sentences.get_mut(index) {
            sentence.held.push_back(Held::Marks(marks));
        }
    }

    /// A sentence is lost, and the others are not.
    pub(super) fn failed(&mut self, id: SentenceId, error: ProviderError) {
        if let Some(index) = self.sentences.iter().position(|sentence| sentence.id == id) {
            self.sentences.remove(index);
            self.fail(id, error);
            self.advance();
        }
    }

    /// All audio of a sentence came.
    pub(super) fn done(&mut self, id: SentenceId, endpoint: &Endpoint) {
        let Some(index) = self.sentences.iter().position(|sentence| sentence.id == id) else {
            return;
        };
        if let Some(sentence) = self.sentences.get_mut(index) {
            sentence.complete = true;
            if !sentence.spoken {
                self.sentences.remove(index);
                self.fail(id, endpoint.error(FailureKind::Protocol, "a sentence without audio"));
            }
        }
        self.advance();
    }

    /// Tells what the sentences at the front have.
    fn advance(&mut self) {
        while let Some(front) = self.sentences.front_mut() {
            let SentenceId { generation, seq } = front.id;
            for held in front.held.drain(..) {
                self.events.push_back(match held {
                    Held::Audio(pcm, at) => TtsEvent::Audio { generation, seq, pcm, at },
                    Held::Marks(marks) => TtsEvent::Alignment { generation, seq, marks },
                });
            }
            front.held_samples = 0;
            if !front.complete {
                return;
            }
            self.sentences.pop_front();
            self.events.push_back(TtsEvent::Done { generation, seq });
        }
    }

    /// Whether the provider owes audio.
    pub(super) fn is_waiting_for_audio(&self) -> bool {
        self.sentences.iter().any(|sentence| sentence.asked && !sentence.complete)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sentences.is_empty()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn next_event(&mut self) -> Option<TtsEvent> {
        self.events.pop_front()
    }
}
