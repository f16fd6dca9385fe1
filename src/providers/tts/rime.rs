//! Rime `ws3` over WebSocket, with the timing of its words.
//!
//! Text waits at the server until it is flushed (`segment=never`). Flushes that meet a running synthesis
//! are put together into one, with one `done`; and `clear` drops only text that was not flushed. So a
//! sentence is sent when the one before it is done, and behind a dropped one, whose audio goes on coming
//! and is told by its context, stands at most one other.
//! Source: docs.rime.ai, `api-reference/websockets-json` and `docs/segmentation`.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::contexts::Contexts;
use super::ws::{self, Cancel, Dialect, Meaning, SentenceId};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, Encoding, ProviderConfig, or_default};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{Generation, SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> = Maker {
    capabilities: &["streaming", "voice", "language"],
    models: &["coda", "arcana", "mistv3", "mistv2"],
    build,
};

const RATES: &str = "8000, 16000, 22050, 24000, 44100, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    let encoding = config.encoding()?;
    let rates = if encoding == Encoding::Mulaw { "8000" } else { RATES };
    Ok(Arc::new(RimeTts {
        name: name.to_owned(),
        base_url: config.url("wss://users-ws.rime.ai")?,
        api_key: key,
        model: or_default(&config.model, "coda"),
        voice: or_default(&config.voice, "astra"),
        sample_rate: config.rate(SampleRate::HZ_8000, rates)?,
        encoding,
    }))
}

/// Settings of one voice.
#[derive(Clone, Debug)]
pub struct RimeTts {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `wss://users-ws.rime.ai`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Model, for example `coda`.
    pub model: String,
    /// Speaker when the agent names none.
    pub voice: String,
    /// Rate to ask for.
    pub sample_rate: SampleRate,
    /// How samples are written on the wire.
    pub encoding: Encoding,
}

/// The vendor's word for a language.
fn language(tag: &str) -> &str {
    match tag.split('-').next().unwrap_or_default() {
        "en" => "eng",
        "es" => "spa",
        "de" => "ger",
        "fr" => "fra",
        other => other,
    }
}

impl Tts for RimeTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let voice = if params.voice.is_empty() { &self.voice } else { &params.voice };
        let format = if self.encoding == Encoding::Mulaw { "mulaw" } else { "pcm" };
        let mut url = format!("{}/ws3", ws_base(&self.base_url));
        push_query(&mut url, "speaker", voice);
        // The server's own default is another model, which may not know the speaker.
        push_query(&mut url, "modelId", &self.model);
        push_query(&mut url, "audioFormat", format);
        push_query(&mut url, "samplingRate", &self.sample_rate.hz().to_string());
        push_query(&mut url, "segment", "never");
        if !params.language.is_empty() {
            push_query(&mut url, "lang", language(&params.language));
        }
        let key = format!("Bearer {}", self.api_key.expose());
        let endpoint = Endpoint {
            provider: self.name.clone(),
            stage: Stage::Tts,
            url,
            auth: (!self.api_key.is_empty()).then(|| ("authorization", Secret::new(key))),
        };
        let contexts = Contexts::new(self.sample_rate, self.encoding);
        ws::open(endpoint.clone(), Rime::new(endpoint, contexts))
    }
}

struct Rime {
    endpoint: Endpoint,
    contexts: Contexts,
    /// Contexts the server has, in order: dropped ones are not in `contexts` any more.
    flushed: VecDeque<String>,
    /// What waits for its turn.
    waiting: VecDeque<(String, String)>,
}

#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    words: Vec<String>,
    #[serde(default)]
    end: Vec<f64>,
}

#[derive(Deserialize)]
struct ServerMessage {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "contextId")]
    context: Option<String>,
    data: Option<String>,
    word_timestamps: Option<Words>,
}

impl Rime {
    fn new(endpoint: Endpoint, contexts: Contexts) -> Self {
        Self { endpoint, contexts, flushed: VecDeque::new(), waiting: VecDeque::new() }
    }

    /// Whether the server would speak a sentence by itself.
    fn is_free(&mut self) -> bool {
        match self.flushed.len() {
            0 => true,
            1 => self.flushed.front().is_some_and(|id| self.contexts.get(id).is_none()),
            _ => false,
        }
    }

    /// Which sentence a message is about; those before it are over.
    fn context_of(&mut self, named: Option<String>) -> Option<String> {
        if let Some(at) = named.as_ref().and_then(|id| self.flushed.iter().position(|f| f == id)) {
            // Those before it were dropped: a wanted one has nothing behind it.
            self.flushed.drain(..at);
        }
        self.flushed.front().cloned()
    }

    fn on(&mut self, message: ServerMessage) -> Option<Meaning> {
        if message.kind == "error" {
            // The vendor's own words may quote the text: they are left out.
            let detail = "the provider reports an error";
            return Some(Meaning::Fatal(self.endpoint.error(FailureKind::Unavailable, detail)));
        }
        let id = self.context_of(message.context)?;
        match message.kind.as_str() {
            "chunk" => {
                let encoded = message.data.unwrap_or_default();
                self.contexts.audio(&id, &encoded).unwrap_or_else(|_| {
                    let detail = "audio that is not base64";
                    Some(Meaning::Fatal(self.endpoint.error(FailureKind::Protocol, detail)))
                })
            }
            "timestamps" => {
                let words = message.word_timestamps?;
                let context = self.contexts.get(&id)?;
                let marks = context.aligner.words(&words.words, &words.end);
                (!marks.is_empty()).then_some(Meaning::Marks(context.sentence, marks))
            }
            "done" => {
                self.flushed.pop_front();
                self.contexts.remove(&id).map(Meaning::Done)
            }
            _ => None,
        }
    }
}

impl Dialect for Rime {
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String> {
        let id = self.contexts.add(sentence, text);
        self.waiting.push_back((id, text.to_owned()));
        self.more()
    }

    fn more(&mut self) -> Vec<String> {
        if !self.is_free() {
            return Vec::new();
        }
        let Some((id, text)) = self.waiting.pop_front() else { return Vec::new() };
        self.flushed.push_back(id.clone());
        vec![
            json!({"text": text, "contextId": id}).to_string(),
            r#"{"operation":"flush"}"#.to_owned(),
        ]
    }

    fn cancel(&mut self, generation: Generation) -> Cancel {
        let gone = self.contexts.cancel(generation);
        self.waiting.retain(|(id, _)| !gone.contains(id));
        let begun = gone.iter().any(|id| self.flushed.contains(id));
        let messages = begun.then(|| r#"{"operation":"clear"}"#.to_owned());
        Cancel { messages: messages.into_iter().collect(), dropped_all: false }
    }

    fn understand(&mut self, incoming: Incoming, out: &mut VecDeque<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        match serde_json::from_str(&text) {
            Ok(message) => out.extend(self.on(message)),
            Err(_) => {
                let detail = "a message that is not the protocol's JSON";
                out.push_back(Meaning::Fatal(self.endpoint.error(FailureKind::Protocol, detail)));
            }
        }
    }

    fn restart(&mut self) {
        self.contexts.clear();
        self.flushed.clear();
        self.waiting.clear();
    }
}

/// Reads any message as a session does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(incoming: Incoming) -> usize {
    let contexts = Contexts::new(SampleRate::HZ_8000, Encoding::Mulaw);
    let mut rime = Rime::new(ws::nowhere(), contexts);
    rime.say(SentenceId { generation: Generation(0), seq: 0 }, "x, y 2");
    let mut out = VecDeque::new();
    rime.understand(incoming, &mut out);
    out.len()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{Contexts, Dialect, Encoding, Generation, Incoming, Meaning, Rime, SampleRate};
    use super::{SentenceId, ws};

    fn sentence(generation: u32) -> SentenceId {
        SentenceId { generation: Generation(generation), seq: 0 }
    }

    fn hear(rime: &mut Rime, text: &str) -> VecDeque<Meaning> {
        let mut out = VecDeque::new();
        rime.understand(Incoming::Text(text.to_owned()), &mut out);
        out
    }

    #[test]
    fn behind_two_dropped_sentences_the_next_one_waits() {
        let contexts = Contexts::new(SampleRate::HZ_8000, Encoding::Pcm);
        let mut rime = Rime::new(ws::nowhere(), contexts);
        assert_eq!(rime.say(sentence(1), "one").len(), 2);
        assert_eq!(rime.cancel(Generation(1)).messages, [r#"{"operation":"clear"}"#]);
        // One may stand behind a dropped one; a third would be put together with the second.
        assert_eq!(rime.say(sentence(2), "two").len(), 2);
        rime.cancel(Generation(2));
        assert_eq!(rime.say(sentence(3), "three").len(), 0);
        assert!(hear(&mut rime, r#"{"type":"chunk","data":"AAA=","contextId":"g1s0"}"#).is_empty());
        assert!(hear(&mut rime, r#"{"type":"done","contextId":"g1s0"}"#).is_empty());
        assert_eq!(rime.more().len(), 2);
        // A `done` that never came is made up for by the next one's audio.
        let told = hear(&mut rime, r#"{"type":"chunk","data":"AAAA","contextId":"g3s0"}"#);
        assert!(matches!(told.front(), Some(Meaning::Audio(of, _)) if *of == sentence(3)));
        let told = hear(&mut rime, r#"{"type":"done"}"#);
        assert!(matches!(told.front(), Some(Meaning::Done(of)) if *of == sentence(3)));
    }
}
