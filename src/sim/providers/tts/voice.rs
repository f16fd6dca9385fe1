//! The mock voices over WebSocket: one loop for both vendors, since they differ in words only.

use std::collections::VecDeque;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Tone, accept, query};
use crate::net::clock;
use crate::sim::providers::script::TtsScript;
use crate::sim::providers::{Fault, Peer, What};

/// Sentences that may wait.
const JOBS_MAX: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Vendor {
    Aura,
    ElevenLabs,
}

/// One sentence.
struct Job {
    context: String,
    tone: Tone,
    due: Instant,
    begun: bool,
    closed: bool,
}

struct Voice {
    vendor: Vendor,
    rate: u32,
    script: TtsScript,
    /// The connection's own fault, and the one in force for its current sentence.
    own_fault: Fault,
    fault: Fault,
    peer: Peer,
    /// Text since the last flush.
    text: String,
    jobs: VecDeque<Job>,
    sequence: u32,
    /// Sentences begun.
    begun: u16,
}

/// Whether the connection goes on.
type Goes = Option<()>;

pub(crate) async fn websocket(stream: TcpStream, peer: Peer) {
    let fault = peer.fault();
    let Some((mut socket, uri)) = accept(stream, &fault).await else { return };
    let (vendor, rate) = if uri.contains("/multi-stream-input") {
        (Vendor::ElevenLabs, query(&uri, "output_format").and_then(|f| f.strip_prefix("pcm_")))
    } else {
        (Vendor::Aura, query(&uri, "sample_rate"))
    };
    let mut rate = rate.and_then(|rate| rate.parse().ok()).unwrap_or(24_000);
    if fault == Fault::WrongRate {
        rate *= 2;
    }
    peer.put(What::TtsVoice(query(&uri, "model").unwrap_or_default().to_owned()));
    let script = peer.shared.script().tts;
    let (text, jobs) = (String::new(), VecDeque::new());
    let own_fault = fault.clone();
    let (sequence, begun) = (0, 0);
    let mut voice =
        Voice { vendor, rate, script, own_fault, fault, peer, text, jobs, sequence, begun };
    loop {
        let due = voice.jobs.front().map(|job| job.due);
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let goes = tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => voice.hear(&mut socket, &text).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => None,
                Some(Ok(_)) => Some(()),
            },
            () = timer => voice.speak(&mut socket).await,
        };
        if goes.is_none() {
            return;
        }
    }
}

impl Voice {
    async fn hear(&mut self, socket: &mut WebSocketStream<TcpStream>, text: &str) -> Goes {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let words = message.get("text").and_then(Value::as_str).unwrap_or_default();
        match self.vendor {
            Vendor::Aura => match message.get("type").and_then(Value::as_str) {
                Some("Speak") => self.text.push_str(words),
                Some("Flush") => self.begin(String::new()),
                Some("Clear") => {
                    self.peer.put(What::TtsCanceled);
                    self.text.clear();
                    self.jobs.clear();
                    let sequence = self.sequence;
                    let cleared = json!({"type": "Cleared", "sequence_id": sequence}).to_string();
                    socket.send(Message::text(cleared)).await.ok()?;
                }
                _ => {}
            },
            Vendor::ElevenLabs => {
                let context = message.get("context_id").and_then(Value::as_str).unwrap_or_default();
                if message.get("close_context") == Some(&json!(true)) {
                    self.close(context);
                } else if !words.trim().is_empty() {
                    self.text = words.to_owned();
                    self.begin(context.to_owned());
                }
            }
        }
        Some(())
    }

    /// The close that follows the text lets the sentence finish; a second one drops it.
    fn close(&mut self, context: &str) {
        let Some(at) = self.jobs.iter().position(|job| job.context == context) else { return };
        let Some(job) = self.jobs.get_mut(at) else { return };
        if std::mem::replace(&mut job.closed, true) {
            self.peer.put(What::TtsCanceled);
            self.jobs.remove(at);
        }
    }

    fn begin(&mut self, context: String) {
        let text = std::mem::take(&mut self.text);
        self.fault = match &self.own_fault {
            Fault::None => self.peer.fault(),
            own => own.clone(),
        };
        self.peer.put(What::TtsText(text.trim().to_owned()));
        if self.jobs.len() >= JOBS_MAX {
            return;
        }
        let late = if let Fault::SlowFirstByte(late) = &self.fault {
            *late
        } else {
            std::time::Duration::ZERO
        };
        let due = clock::now() + self.script.first_audio + late;
        let tone = Tone::new(&self.script, &text, self.rate, self.begun);
        self.begun = self.begun.saturating_add(1);
        self.jobs.push_back(Job { context, tone, due, begun: false, closed: false });
    }

    /// Sends the next chunk of the sentence in turn.
    async fn speak(&mut self, socket: &mut WebSocketStream<TcpStream>) -> Goes {
        if self.fault == Fault::BadJson {
            let garbage = "{\"audio\": canary-of-the-provider";
            return socket.send(Message::text(garbage)).await.ok();
        }
        if self.fault == (Fault::Cut { after: 0 }) {
            return None;
        }
        let job = self.jobs.front_mut()?;
        let first = !std::mem::replace(&mut job.begun, true);
        let octets = if self.fault == Fault::Empty { None } else { job.tone.next() };
        let Some(octets) = octets else {
            let context = std::mem::take(&mut job.context);
            self.jobs.pop_front();
            self.sequence += 1;
            self.peer.put(What::TtsAudioSent);
            let done = match self.vendor {
                Vendor::Aura => json!({"type": "Flushed", "sequence_id": self.sequence}),
                Vendor::ElevenLabs => json!({"isFinal": true, "contextId": context}),
            };
            return socket.send(Message::text(done.to_string())).await.ok();
        };
        job.due = clock::now() + job.tone.gap();
        let message = match self.vendor {
            Vendor::Aura => Message::binary(octets),
            Vendor::ElevenLabs => {
                let audio = STANDARD.encode(&octets);
                let said = json!({"audio": audio, "isFinal": null, "contextId": job.context});
                Message::text(said.to_string())
            }
        };
        socket.send(message).await.ok()?;
        if first {
            self.peer.put(What::TtsFirstAudio);
        }
        match self.fault {
            Fault::Cut { .. } => None,
            Fault::Stall => {
                // The next chunk never comes.
                job.due = clock::now() + std::time::Duration::from_secs(3_600);
                Some(())
            }
            _ => Some(()),
        }
    }
}
