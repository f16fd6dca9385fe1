//! Deepgram `listen` v1: streaming recognition over one WebSocket a call.
//!
//! Audio that the server has not accounted for is kept and sent again after a reconnect, so that an
//! utterance survives a cut connection. `Finalize` asks for the final transcript at once; the answer
//! is likely but not guaranteed, so a short wait stands in for it.
//! Source: developers.deepgram.com, `listen-streaming`, `finalize`, `audio-keep-alive`.

mod message;
mod replay;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use self::replay::Replay;
use super::{STT_EVENT_QUEUE, STT_INPUT_QUEUE, Stt, SttEvent, SttInput, SttParams, SttSession};
use crate::net::clock;
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::socket::{Endpoint, Incoming, Socket, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{SampleRate, Secret};

/// The server closes after 10 s without audio or keep-alive.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// How long a `Finalize` may go unanswered: none comes when no audio was buffered.
const FINALIZE_GRACE: Duration = Duration::from_millis(700);

/// Pauses before the reconnects; after the last one the session gives up. A result makes them all new.
const RECONNECT_AFTER: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];

/// A `Finalize` unanswered by a server that said nothing for so long, although it got audio, means a
/// dead connection: the server sends a result about every second.
const SILENT_SERVER: Duration = Duration::from_secs(3);

/// Text kept of one utterance.
const UTTERANCE_BYTES_MAX: usize = 8 * 1024;

/// Key terms sent along: the provider takes no more.
const KEYTERMS_MAX: usize = 100;

/// How long saying goodbye may take when the call is over.
const GOODBYE: Duration = Duration::from_millis(50);

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> = Maker {
    capabilities: &["streaming", "language", "keyterms"],
    models: &["nova-3", "nova-2"],
    build,
};

const RATES: &str = "8000, 16000, 24000, 32000, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Stt>, ConfigError> {
    Ok(Arc::new(DeepgramStt {
        name: name.to_owned(),
        base_url: config.url("wss://api.deepgram.com")?,
        api_key: key,
        model: or_default(&config.model, "nova-3"),
        sample_rate: config.rate(SampleRate::HZ_8000, RATES)?,
    }))
}

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
        for term in params.keyterms.iter().take(KEYTERMS_MAX) {
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
            tokio::spawn(Line::new(endpoint, outbox, rate).run(socket, inbox));
            Ok(SttSession { input, events })
        })
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
    /// The newest `Finalize`; it replaces an older one, whose words come with its own.
    finalizing: Option<Finalizing>,
    /// Where on the connection's time axis, in samples, the last `Finalize` was given up: an answer that
    /// covers no more than this is that one's, late.
    given_up_at: u64,
    last_sent: Instant,
    last_heard: Instant,
    /// Connections since the last result.
    reconnects: usize,
}

/// Why the connection's loop ended.
enum End {
    Broken(ProviderError),
    /// The call has no more use for us.
    Done,
}

impl Line {
    fn new(endpoint: Endpoint, events: mpsc::Sender<SttEvent>, rate: SampleRate) -> Self {
        let now = clock::now();
        Self {
            endpoint,
            events,
            replay: Replay::new(rate),
            utterance: String::new(),
            finalizing: None,
            given_up_at: 0,
            last_sent: now,
            last_heard: now,
            reconnects: 0,
        }
    }

    async fn run(mut self, socket: Socket, mut inbox: mpsc::Receiver<SttInput>) {
        let mut socket = Some(socket);
        let gone = self.events.clone();
        tokio::select! {
            () = self.work(&mut socket, &mut inbox) => {}
            // Even a send that waits for the provider ends with the session.
            () = gone.closed() => {}
        }
        if let Some(mut socket) = socket {
            let goodbye = async {
                // The connection may be gone: then there is nobody to say goodbye to.
                let _ = socket.text(r#"{"type":"CloseStream"}"#).await;
                socket.close().await;
            };
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        }
    }

    async fn work(&mut self, slot: &mut Option<Socket>, inbox: &mut mpsc::Receiver<SttInput>) {
        loop {
            let Some(socket) = slot.as_mut() else { return };
            let End::Broken(error) = self.connection(socket, inbox).await else { return };
            *slot = None;
            match self.reconnect(error, inbox).await {
                Ok(fresh) => *slot = Some(fresh),
                Err(End::Broken(error)) => {
                    // The call may be over; then nobody minds.
                    let _ = self.events.send(SttEvent::Failed(error)).await;
                    return;
                }
                Err(End::Done) => return,
            }
        }
    }

    async fn connection(
        &mut self,
        socket: &mut Socket,
        inbox: &mut mpsc::Receiver<SttInput>,
    ) -> End {
        loop {
            let keep_alive = self.last_sent + KEEP_ALIVE;
            let due = self.finalizing.as_ref().map_or(keep_alive, |f| f.by.min(keep_alive));
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
        let sent = match self.note(input) {
            Some(Outgoing::Audio(chunk)) => socket.binary(chunk).await,
            Some(Outgoing::Finalize) => socket.text(FINALIZE).await,
            None => return Ok(()),
        };
        self.last_sent = clock::now();
        sent.map_err(End::Broken)
    }

    /// Takes an input into the books, whether or not there is a connection to send it on.
    fn note(&mut self, input: SttInput) -> Option<Outgoing> {
        match input {
            SttInput::Audio(samples) if samples.is_empty() => None,
            SttInput::Audio(samples) => {
                let mut octets = Vec::with_capacity(samples.len() * 2);
                octets.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
                let chunk = Bytes::from(octets);
                self.replay.push(chunk.clone());
                Some(Outgoing::Audio(chunk))
            }
            SttInput::Finalize { id } => {
                self.finalizing = Some(Finalizing { id, by: clock::now() + FINALIZE_GRACE });
                Some(Outgoing::Finalize)
            }
            SttInput::SpeechStarted => None,
        }
    }

    async fn on_timeout(&mut self, socket: &mut Socket) -> Result<(), End> {
        let now = clock::now();
        if self.finalizing.as_ref().is_some_and(|finalizing| finalizing.by <= now) {
            if now.saturating_duration_since(self.last_heard) > SILENT_SERVER
                && self.replay.has_audio()
            {
                let detail = "no result although the connection is open";
                return Err(End::Broken(self.endpoint.error(FailureKind::Stalled, detail)));
            }
            self.given_up_at = self.replay.position();
            self.answer(String::new(), None).await?;
        }
        if now >= self.last_sent + KEEP_ALIVE {
            self.last_sent = now;
            socket.text(r#"{"type":"KeepAlive"}"#).await.map_err(End::Broken)?;
        }
        Ok(())
    }

    async fn on_incoming(&mut self, incoming: Incoming) -> Result<(), End> {
        self.last_heard = clock::now();
        let Incoming::Text(text) = incoming else { return Ok(()) };
        let results = match message::parse(&text) {
            Ok(Some(results)) => results,
            // Other messages are none of our business; new kinds come without notice.
            Ok(None) => return Ok(()),
            Err(message::NotTheProtocol) => {
                let detail = "a message that is not the protocol's JSON";
                return Err(End::Broken(self.endpoint.error(FailureKind::Protocol, detail)));
            }
        };
        self.reconnects = 0;
        if !results.is_final {
            let text = join(&self.utterance, &results.transcript);
            if !text.is_empty() {
                return self.tell(SttEvent::Partial { text: text.into() }).await;
            }
            return Ok(());
        }
        let upto = self.replay.acknowledge(results.end_seconds);
        if results.from_finalize && self.finalizing.is_some() && upto > self.given_up_at {
            return self.answer(results.transcript, results.confidence).await;
        }
        if results.transcript.is_empty() {
            return Ok(());
        }
        if self.utterance.len() < UTTERANCE_BYTES_MAX {
            self.utterance = join(&self.utterance, &results.transcript);
        }
        self.tell(SttEvent::Final {
            text: results.transcript.into(),
            confidence: results.confidence,
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

    /// Connects again and sends what was not accounted for. Audio is taken meanwhile.
    async fn reconnect(
        &mut self,
        mut last: ProviderError,
        inbox: &mut mpsc::Receiver<SttInput>,
    ) -> Result<Socket, End> {
        while last.kind.is_retryable()
            && let Some(pause) = RECONNECT_AFTER.get(self.reconnects)
        {
            self.reconnects += 1;
            let endpoint = self.endpoint.clone();
            let connecting = async move {
                tokio::time::sleep(*pause).await;
                Socket::connect(endpoint).await
            };
            tokio::pin!(connecting);
            let connected = loop {
                tokio::select! {
                    biased;
                    connected = &mut connecting => break connected,
                    input = inbox.recv() => match input {
                        Some(input) => {
                            self.note(input);
                        }
                        None => return Err(End::Done),
                    },
                }
            };
            match connected {
                Ok(mut socket) => match self.resume(&mut socket).await {
                    Ok(()) => {
                        self.tell(SttEvent::Reconnected).await?;
                        return Ok(socket);
                    }
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        Err(End::Broken(last))
    }

    async fn resume(&mut self, socket: &mut Socket) -> Result<(), ProviderError> {
        self.given_up_at = 0;
        for chunk in self.replay.restart() {
            socket.binary(chunk).await?;
        }
        self.last_sent = clock::now();
        self.last_heard = self.last_sent;
        if let Some(finalizing) = &mut self.finalizing {
            finalizing.by = self.last_sent + FINALIZE_GRACE;
            socket.text(FINALIZE).await?;
        }
        Ok(())
    }
}

const FINALIZE: &str = r#"{"type":"Finalize"}"#;

enum Outgoing {
    Audio(Bytes),
    Finalize,
}

fn join(head: &str, tail: &str) -> String {
    match (head.is_empty(), tail.is_empty()) {
        (true, _) => tail.to_owned(),
        (false, true) => head.to_owned(),
        (false, false) => format!("{head} {tail}"),
    }
}

/// Reads any message as a session does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(text: &str) -> bool {
    matches!(message::parse(text), Ok(Some(_)))
}

#[cfg(test)]
mod tests;
