//! Deepgram `listen` v1: streaming recognition over one WebSocket a call.
//!
//! Audio that the server has not accounted for is kept and sent again after a reconnect, so that an
//! utterance survives a cut connection. `Finalize` asks for the final transcript at once; the answer
//! is likely but not guaranteed, so a short wait stands in for it.
//! Source: developers.deepgram.com, `listen-streaming`, `finalize`, `audio-keep-alive`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{STT_EVENT_QUEUE, STT_INPUT_QUEUE, Stt, SttEvent, SttInput, SttParams, SttSession};
use crate::net::clock;
use crate::providers::socket::{Endpoint, Incoming, Socket, push_query, ws_base};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{SampleRate, Secret};

/// The server closes after 10 s without audio or keep-alive.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// Audio kept for a replay: no utterance waits longer for its words.
const REPLAY_SECONDS_MAX: usize = 10;

/// How long a `Finalize` may go unanswered: none comes when no audio was buffered.
const FINALIZE_GRACE: Duration = Duration::from_millis(700);

/// Pauses before the reconnects; after the last one the session gives up.
const RECONNECT_AFTER: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];

/// Settings of one Deepgram recogniser.
#[derive(Clone, Debug)]
pub struct DeepgramStt {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `wss://api.deepgram.com`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Model, by default `nova-3`.
    pub model: String,
    /// Rate of the audio we send.
    pub sample_rate: SampleRate,
}

impl DeepgramStt {
    fn endpoint(&self, params: &SttParams) -> Endpoint {
        let mut url = format!("{}/v1/listen", ws_base(&self.base_url));
        push_query(&mut url, "model", &self.model);
        push_query(&mut url, "encoding", "linear16");
        push_query(&mut url, "sample_rate", &self.sample_rate.hz().to_string());
        push_query(&mut url, "channels", "1");
        push_query(&mut url, "interim_results", "true");
        push_query(&mut url, "punctuate", "true");
        push_query(&mut url, "endpointing", "300");
        if !params.language.is_empty() {
            push_query(&mut url, "language", &params.language);
        }
        for term in params.keyterms.iter().take(100) {
            push_query(&mut url, "keyterm", term);
        }
        let key = format!("Token {}", self.api_key.expose());
        Endpoint {
            provider: self.name.clone(),
            stage: Stage::Stt,
            url,
            auth: (!self.api_key.is_empty()).then(|| ("authorization", Secret::new(key))),
        }
    }
}

impl Stt for DeepgramStt {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn sample_rate(&self) -> SampleRate {
        self.sample_rate
    }

    fn open(&self, params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        let endpoint = self.endpoint(&params);
        let rate = self.sample_rate;
        Box::pin(async move {
            let socket = Socket::connect(endpoint.clone()).await?;
            let (input, inbox) = mpsc::channel(STT_INPUT_QUEUE);
            let (outbox, events) = mpsc::channel(STT_EVENT_QUEUE);
            let line = Line {
                endpoint,
                events: outbox,
                replay: Replay::new(rate),
                utterance: String::new(),
                finalizing: None,
                last_sent: clock::now(),
            };
            tokio::spawn(line.run(socket, inbox));
            Ok(SttSession { input, events })
        })
    }
}

/// Audio sent but not accounted for by a result, and where it lies on the connection's time axis.
struct Replay {
    rate: SampleRate,
    chunks: VecDeque<Bytes>,
    samples: usize,
    /// Samples of this connection that are accounted for.
    acknowledged: u64,
}

impl Replay {
    fn new(rate: SampleRate) -> Self {
        Self { rate, chunks: VecDeque::new(), samples: 0, acknowledged: 0 }
    }

    fn push(&mut self, chunk: Bytes) {
        self.samples += chunk.len() / 2;
        self.chunks.push_back(chunk);
        let most = self.rate.hz() as usize * REPLAY_SECONDS_MAX;
        while self.samples > most {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            let samples = chunk.len() / 2;
            self.samples -= samples;
            self.acknowledged += samples as u64;
        }
    }

    /// A final result covers the connection's audio up to `seconds`.
    fn acknowledge(&mut self, seconds: f64) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        let upto = (seconds * f64::from(self.rate.hz())) as u64;
        while let Some(chunk) = self.chunks.front()
            && self.acknowledged + (chunk.len() / 2) as u64 <= upto
        {
            self.drop_front();
        }
    }

    /// A new connection counts from zero and gets everything again.
    fn restart(&mut self) -> Vec<Bytes> {
        self.acknowledged = 0;
        self.chunks.iter().cloned().collect()
    }
}

struct Finalizing {
    id: u32,
    by: Instant,
}

struct Line {
    endpoint: Endpoint,
    events: mpsc::Sender<SttEvent>,
    replay: Replay,
    /// Finals since the last answered `Finalize`.
    utterance: String,
    finalizing: Option<Finalizing>,
    last_sent: Instant,
}

/// Why the connection's loop ended.
enum End {
    Broken(ProviderError),
    /// The call has no more use for us.
    Done,
}

impl Line {
    async fn run(mut self, mut socket: Socket, mut inbox: mpsc::Receiver<SttInput>) {
        loop {
            match self.connection(&mut socket, &mut inbox).await {
                End::Done => {
                    let _ = socket.text(r#"{"type":"CloseStream"}"#).await;
                    socket.close().await;
                    return;
                }
                End::Broken(error) => match self.reconnect(error).await {
                    Ok(fresh) => socket = fresh,
                    Err(error) => {
                        let _ = self.events.send(SttEvent::Failed(error)).await;
                        return;
                    }
                },
            }
        }
    }

    async fn connection(
        &mut self,
        socket: &mut Socket,
        inbox: &mut mpsc::Receiver<SttInput>,
    ) -> End {
        loop {
            let due = match &self.finalizing {
                Some(finalizing) => finalizing.by.min(self.last_sent + KEEP_ALIVE),
                None => self.last_sent + KEEP_ALIVE,
            };
            let step = tokio::select! {
                biased;
                incoming = socket.next() => match incoming {
                    Ok(incoming) => self.on_incoming(incoming).await,
                    Err(error) => Err(End::Broken(error)),
                },
                input = inbox.recv() => match input {
                    Some(input) => self.on_input(socket, input).await,
                    None => Err(End::Done),
                },
                () = tokio::time::sleep_until(due.into()) => self.on_timeout(socket).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn on_input(&mut self, socket: &mut Socket, input: SttInput) -> Result<(), End> {
        self.last_sent = clock::now();
        let sent = match input {
            SttInput::Audio(samples) => {
                let chunk: Bytes = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
                self.replay.push(chunk.clone());
                socket.binary(chunk).await
            }
            SttInput::Finalize { id } => {
                self.finalizing = Some(Finalizing { id, by: self.last_sent + FINALIZE_GRACE });
                socket.text(r#"{"type":"Finalize"}"#).await
            }
            SttInput::SpeechStarted => Ok(()),
        };
        sent.map_err(End::Broken)
    }

    async fn on_timeout(&mut self, socket: &mut Socket) -> Result<(), End> {
        let now = clock::now();
        if self.finalizing.as_ref().is_some_and(|finalizing| finalizing.by <= now) {
            self.answer(String::new(), None).await?;
        }
        if now >= self.last_sent + KEEP_ALIVE {
            self.last_sent = now;
            socket.text(r#"{"type":"KeepAlive"}"#).await.map_err(End::Broken)?;
        }
        Ok(())
    }

    async fn on_incoming(&mut self, incoming: Incoming) -> Result<(), End> {
        let Incoming::Text(text) = incoming else { return Ok(()) };
        let results: Results = match serde_json::from_str(&text) {
            Ok(ServerMessage::Results(results)) => results,
            // Other messages are none of our business; new kinds come without notice.
            Ok(ServerMessage::Other) => return Ok(()),
            Err(_) => {
                let detail = "a message that is not the protocol's JSON";
                return Err(End::Broken(self.endpoint.error(FailureKind::Protocol, detail)));
            }
        };
        let best = results.channel.alternatives.into_iter().next().unwrap_or_default();
        if !results.is_final {
            let text = join(&self.utterance, &best.transcript);
            if !text.is_empty() {
                return self.tell(SttEvent::Partial { text: text.into() }).await;
            }
            return Ok(());
        }
        self.replay.acknowledge(results.start + results.duration);
        if results.from_finalize && self.finalizing.is_some() {
            return self.answer(best.transcript, best.confidence).await;
        }
        if best.transcript.is_empty() {
            return Ok(());
        }
        self.utterance = join(&self.utterance, &best.transcript);
        self.tell(SttEvent::Final {
            text: best.transcript.into(),
            confidence: best.confidence,
            answers: None,
            understood: true,
            at: clock::now(),
        })
        .await
    }

    async fn answer(&mut self, text: String, confidence: Option<f32>) -> Result<(), End> {
        let Some(finalizing) = self.finalizing.take() else { return Ok(()) };
        let understood = !text.is_empty() || !self.utterance.is_empty();
        self.utterance.clear();
        self.tell(SttEvent::Final {
            text: text.into(),
            confidence,
            answers: Some(finalizing.id),
            understood,
            at: clock::now(),
        })
        .await
    }

    async fn tell(&mut self, event: SttEvent) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::Done)
    }

    /// Connects again and sends what was not accounted for.
    async fn reconnect(&mut self, mut last: ProviderError) -> Result<Socket, ProviderError> {
        for pause in RECONNECT_AFTER {
            if !last.kind.is_retryable() || self.events.is_closed() {
                break;
            }
            tokio::time::sleep(pause).await;
            match self.resume().await {
                Ok(socket) => {
                    let _ = self.events.send(SttEvent::Reconnected).await;
                    return Ok(socket);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn resume(&mut self) -> Result<Socket, ProviderError> {
        let mut socket = Socket::connect(self.endpoint.clone()).await?;
        for chunk in self.replay.restart() {
            socket.binary(chunk).await?;
        }
        self.last_sent = clock::now();
        if let Some(finalizing) = &mut self.finalizing {
            finalizing.by = self.last_sent + FINALIZE_GRACE;
            socket.text(r#"{"type":"Finalize"}"#).await?;
        }
        Ok(socket)
    }
}

fn join(head: &str, tail: &str) -> String {
    match (head.is_empty(), tail.is_empty()) {
        (true, _) => tail.to_owned(),
        (false, true) => head.to_owned(),
        (false, false) => format!("{head} {tail}"),
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum ServerMessage {
    Results(Results),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    start: f64,
    #[serde(default)]
    duration: f64,
    #[serde(default)]
    is_final: bool,
    #[serde(default)]
    from_finalize: bool,
    channel: Channel,
}

#[derive(Deserialize)]
struct Channel {
    #[serde(default)]
    alternatives: Vec<Alternative>,
}

#[derive(Default, Deserialize)]
struct Alternative {
    #[serde(default)]
    transcript: String,
    confidence: Option<f32>,
}
