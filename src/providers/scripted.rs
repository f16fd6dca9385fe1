//! Deterministic providers for tests and benches: configured words, delays and failures, no keys.
//!
//! Each takes a plan, one entry per utterance, reply or sentence over the whole provider; the last
//! entry repeats. Delays use tokio's clock, so they are exact under paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use super::llm::{Llm, LlmDelta, LlmRequest};
use super::stt::{
    STT_EVENT_QUEUE, STT_INPUT_QUEUE, Stt, SttEvent, SttInput, SttParams, SttSession,
};
use super::tts::{
    TTS_EVENT_QUEUE, TTS_INPUT_QUEUE, Tts, TtsEvent, TtsInput, TtsParams, TtsSession,
};
use super::{FailureKind, ProviderError, Stage, clock};
use crate::types::{Generation, Pcm, Pii, SampleRate};

/// How one piece of work goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// It fails at once with this kind (refused, 401, 429, garbage).
    Fails(FailureKind),
    /// It begins and is cut in the middle.
    Cut,
    /// Nothing ever comes.
    Stalls,
}

/// One unit of work: an utterance, a reply or a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Transcript, or the pieces of a reply; unused by synthesis.
    pub texts: Vec<String>,
    /// Before the first piece.
    pub delay: Duration,
    /// Between pieces.
    pub gap: Duration,
    /// What goes wrong.
    pub fault: Fault,
}

/// Work in order; the last step repeats.
#[derive(Clone, Debug)]
pub struct Plan {
    steps: Arc<Vec<Step>>,
    next: Arc<AtomicUsize>,
}

impl Plan {
    /// Makes a plan. An empty one does everything at once and without a word.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps: Arc::new(steps), next: Arc::default() }
    }

    fn next(&self) -> Step {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.steps.get(index).or_else(|| self.steps.last()).cloned().unwrap_or_default()
    }
}

fn failure(stage: Stage, kind: FailureKind) -> ProviderError {
    ProviderError { provider: "scripted".to_owned(), stage, kind, detail: "as planned".to_owned() }
}

/// Gives planned transcripts.
#[derive(Clone, Debug)]
pub struct ScriptedStt(pub Plan);

impl Stt for ScriptedStt {
    fn name(&self) -> &str {
        "scripted"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_16000
    }

    fn open(&self, _params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        let plan = self.0.clone();
        Box::pin(async move {
            let (input, mut inputs) = mpsc::channel(STT_INPUT_QUEUE);
            let (events, outputs) = mpsc::channel(STT_EVENT_QUEUE);
            tokio::spawn(async move {
                while let Some(input) = inputs.recv().await {
                    let SttInput::Finalize { id } = input else { continue };
                    let step = plan.next();
                    tokio::time::sleep(step.delay).await;
                    let kind = match step.fault {
                        Fault::Stalls => continue,
                        Fault::Fails(kind) => Some(kind),
                        Fault::Cut => Some(FailureKind::Cut),
                        Fault::None => None,
                    };
                    let event = match kind {
                        Some(kind) => SttEvent::Failed(failure(Stage::Stt, kind)),
                        None => SttEvent::Final {
                            understood: !step.texts.is_empty(),
                            text: Pii::new(step.texts.join(" ")),
                            confidence: None,
                            answers: Some(id),
                            at: clock::now(),
                        },
                    };
                    if events.send(event).await.is_err() || kind.is_some() {
                        return;
                    }
                }
            });
            Ok(SttSession { input, events: outputs })
        })
    }
}

/// Streams planned replies.
#[derive(Clone, Debug)]
pub struct ScriptedLlm(pub Plan);

impl Llm for ScriptedLlm {
    fn name(&self) -> &str {
        "scripted"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn warm_up(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn respond(&self, _request: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        let step = self.0.next();
        let fail = |kind| (Duration::ZERO, Err(failure(Stage::Llm, kind)));
        let mut items = vec![(Duration::ZERO, Ok(LlmDelta::Sent))];
        let mut wait = step.delay;
        let count = if step.fault == Fault::Cut { step.texts.len() / 2 } else { step.texts.len() };
        match step.fault {
            Fault::Fails(kind) => items.push((step.delay, Err(failure(Stage::Llm, kind)))),
            Fault::Stalls => {
                return stream::iter([Ok(LlmDelta::Sent)]).chain(stream::pending()).boxed();
            }
            Fault::None | Fault::Cut => {
                for text in step.texts.into_iter().take(count) {
                    items.push((std::mem::replace(&mut wait, step.gap), Ok(LlmDelta::Text(text))));
                }
                items.push(match step.fault {
                    Fault::Cut => fail(FailureKind::Cut),
                    _ => (Duration::ZERO, Ok(LlmDelta::Done)),
                });
            }
        }
        stream::iter(items)
            .then(|(wait, item)| async move {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                item
            })
            .boxed()
    }
}

/// Speaks a square wave: `chunks` chunks of `chunk_ms` a sentence.
#[derive(Clone, Debug)]
pub struct ScriptedTts {
    /// Delays and failures by sentence.
    pub plan: Plan,
    /// Rate of the audio.
    pub rate: SampleRate,
    /// Length of a chunk.
    pub chunk_ms: u32,
    /// Chunks of one sentence.
    pub chunks: u32,
}

impl ScriptedTts {
    fn chunk(&self) -> Pcm {
        let half = (self.rate.hz() / 800).max(1) as usize;
        let samples = (0..self.rate.samples_in_ms(self.chunk_ms))
            .map(|i| if (i / half).is_multiple_of(2) { 8_000 } else { -8_000 })
            .collect();
        Pcm { rate: self.rate, samples }
    }

    async fn serve(self, mut inputs: mpsc::Receiver<TtsInput>, events: mpsc::Sender<TtsEvent>) {
        let mut cancelled = None;
        let mut waiting = std::collections::VecDeque::new();
        loop {
            let input = match waiting.pop_front() {
                Some(input) => Some(input),
                None => inputs.recv().await,
            };
            let (generation, seq) = match input {
                None => return,
                Some(TtsInput::Cancel { generation }) => {
                    cancelled = cancelled.max(Some(generation));
                    continue;
                }
                Some(TtsInput::Say { generation, .. }) if cancelled >= Some(generation) => continue,
                Some(TtsInput::Say { generation, seq, .. }) => (generation, seq),
            };
            let mut sentence =
                std::pin::pin!(self.sentence(self.plan.next(), (generation, seq), &events));
            loop {
                tokio::select! {
                    biased;
                    input = inputs.recv(), if waiting.len() < TTS_INPUT_QUEUE => match input {
                        None => return,
                        Some(TtsInput::Cancel { generation: of }) => {
                            cancelled = cancelled.max(Some(of));
                            if of >= generation { break }
                        }
                        Some(say) => waiting.push_back(say),
                    },
                    over = &mut sentence => if over { return } else { break },
                }
            }
        }
    }

    /// Gives one sentence; `true` if the session is over.
    async fn sentence(
        &self,
        step: Step,
        (generation, seq): (Generation, u32),
        events: &mpsc::Sender<TtsEvent>,
    ) -> bool {
        if step.fault == Fault::Stalls {
            return std::future::pending().await;
        }
        tokio::time::sleep(step.delay).await;
        let (chunks, kind) = match step.fault {
            Fault::Fails(kind) => (0, Some(kind)),
            Fault::Cut => (self.chunks / 2, Some(FailureKind::Cut)),
            Fault::None | Fault::Stalls => (self.chunks, None),
        };
        for _ in 0..chunks {
            let (pcm, at) = (self.chunk(), clock::now());
            if events.send(TtsEvent::Audio { generation, seq, pcm, at }).await.is_err() {
                return true;
            }
            if !step.gap.is_zero() {
                tokio::time::sleep(step.gap).await;
            }
        }
        let last = match kind {
            Some(kind) => {
                let error = failure(Stage::Tts, kind);
                TtsEvent::Failed { generation, seq, error, fatal: true }
            }
            None => TtsEvent::Done { generation, seq },
        };
        events.send(last).await.is_err() || kind.is_some()
    }
}

impl Tts for ScriptedTts {
    fn name(&self) -> &str {
        "scripted"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn open(&self, _params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let voice = self.clone();
        Box::pin(async move {
            let (input, inputs) = mpsc::channel(TTS_INPUT_QUEUE);
            let (events, outputs) = mpsc::channel(TTS_EVENT_QUEUE);
            tokio::spawn(voice.serve(inputs, events));
            Ok(TtsSession { input, events: outputs })
        })
    }
}

#[cfg(test)]
mod tests;
