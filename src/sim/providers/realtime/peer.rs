//! One connection of the mock: what it takes, and what it sends when.

#![expect(clippy::indexing_slicing, reason = "a field that a message lacks is null")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{CHUNK_MS, LOUD, QUIET_MS, Seen, Shared, Turn, VOICE_HZ, Wrongly, locked};
use crate::audio::g711;
use crate::net::clock;

/// What is sent at an instant.
enum Due {
    Say(Value),
    Raw(String),
    Cut,
    /// The response that is over.
    Over,
}

pub(super) struct Peer {
    socket: WebSocketStream<TcpStream>,
    shared: Arc<Shared>,
    format: String,
    rate: u32,
    is_flat: bool,
    /// Whether the caller speaks and for how many samples they were quiet, if it is asked to know.
    detects: Option<(bool, u64)>,
    /// Samples since the last commit.
    buffered: u64,
    active: Option<String>,
    due: VecDeque<(Instant, bool, Due)>,
    /// Items that may be cut, and their sound in milliseconds.
    items: Vec<(String, u64)>,
    calls: Vec<String>,
}

impl Peer {
    pub(super) fn new(socket: WebSocketStream<TcpStream>, shared: Arc<Shared>) -> Self {
        Self {
            socket,
            shared,
            format: String::new(),
            rate: 0,
            is_flat: false,
            detects: None,
            buffered: 0,
            active: None,
            due: VecDeque::new(),
            items: Vec::new(),
            calls: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) -> Option<()> {
        self.send(json!({"type": "session.created", "session": {"id": "sess_1"}})).await?;
        loop {
            let next = self.due.iter().map(|(at, ..)| *at).min();
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                message = self.socket.next() => message,
                () = timer => {
                    self.send_due().await?;
                    continue;
                }
            };
            match message? {
                Ok(Message::Text(text)) => match serde_json::from_str(&text) {
                    Ok(value) => self.take(value).await?,
                    Err(_) => self.wrong("a message that is no JSON").await?,
                },
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => self.wrong("a message that is not text").await?,
            }
        }
    }

    async fn send(&mut self, value: Value) -> Option<()> {
        self.socket.send(Message::text(value.to_string())).await.ok()
    }

    async fn send_due(&mut self) -> Option<()> {
        let now = clock::now();
        while let Some(at) = self.due.iter().position(|(at, ..)| *at <= now) {
            match self.due.remove(at)?.2 {
                Due::Say(value) => self.send(value).await?,
                Due::Raw(text) => self.socket.send(Message::text(text)).await.ok()?,
                Due::Cut => return None,
                Due::Over => self.active = None,
            }
        }
        Some(())
    }

    async fn wrong(&mut self, what: &str) -> Option<()> {
        self.shared.note(Seen::Wrong(what.to_owned()));
        self.refuse("invalid_value", &Value::Null).await
    }

    async fn refuse(&mut self, code: &str, event_id: &Value) -> Option<()> {
        let error = json!({
            "type": "invalid_request_error", "code": code, "message": "canary", "event_id": event_id,
        });
        self.send(json!({"type": "error", "error": error})).await
    }

    async fn take(&mut self, message: Value) -> Option<()> {
        let kind = message["type"].as_str().unwrap_or_default().to_owned();
        if self.format.is_empty() && kind != "session.update" {
            return self.wrong("a message before the session's settings").await;
        }
        match kind.as_str() {
            "session.update" => self.settings(&message["session"]).await,
            "input_audio_buffer.append" => self.audio(&message).await,
            "input_audio_buffer.commit" => self.commit(&message).await,
            "conversation.item.create" => self.item(message).await,
            "conversation.item.truncate" => self.truncate(&message).await,
            "response.create" => self.respond(message).await,
            "response.cancel" => self.cancel(&message).await,
            other => self.wrong(&format!("a message of type {other}")).await,
        }
    }

    async fn settings(&mut self, session: &Value) -> Option<()> {
        self.shared.note(Seen::Settings(session.clone()));
        self.is_flat = session["type"].is_null();
        let input = &session["audio"]["input"]["format"];
        let output = &session["audio"]["output"]["format"];
        let voice =
            if self.is_flat { &session["voice"] } else { &session["audio"]["output"]["voice"] };
        if input != output || !voice.is_string() || !session["instructions"].is_string() {
            return self.wrong("settings without format, voice or instructions").await;
        }
        let detection = &session["audio"]["input"]["turn_detection"];
        if detection["type"].is_string() {
            self.detects = Some((false, 0));
            if detection["create_response"] != false || detection["interrupt_response"] != false {
                return self.wrong("turn detection that answers by itself").await;
            }
        }
        self.format = input["type"].as_str().unwrap_or_default().to_owned();
        let rate = input["rate"].as_u64().unwrap_or(8_000);
        self.rate = u32::try_from(rate).unwrap_or(8_000);
        self.send(json!({"type": "session.updated", "session": session})).await
    }

    async fn audio(&mut self, message: &Value) -> Option<()> {
        let octets = STANDARD.decode(message["audio"].as_str().unwrap_or_default());
        let Ok(octets) = octets else { return self.wrong("audio that is no base64").await };
        let width = if self.format == "audio/pcm" { 2 } else { 1 };
        if octets.is_empty() || octets.len() % width != 0 {
            return self.wrong("audio with half a sample, or none").await;
        }
        self.buffered += (octets.len() / width) as u64;
        self.shared.note(Seen::Audio(octets.len() / width));
        self.detect(&octets, width).await
    }

    /// Tells when speech begins and ends, and commits it.
    async fn detect(&mut self, octets: &[u8], width: usize) -> Option<()> {
        let Some((speaks, quiet)) = self.detects else { return Some(()) };
        let level = |octets: &[u8]| match (self.format.as_str(), octets) {
            ("audio/pcma", [octet]) => g711::decode_alaw(*octet),
            (_, [octet]) => g711::decode_ulaw(*octet),
            (_, [low, high]) => i16::from_le_bytes([*low, *high]),
            _ => 0,
        };
        let is_loud = octets.chunks(width).any(|sample| level(sample).unsigned_abs() > LOUD);
        let quiet = if is_loud { 0 } else { quiet + (octets.len() / width) as u64 };
        let over = speaks && quiet * 1_000 >= QUIET_MS * u64::from(self.rate);
        self.detects = Some(((speaks || is_loud) && !over, quiet));
        if is_loud && !speaks {
            self.send(json!({"type": "input_audio_buffer.speech_started"})).await?;
        }
        if over {
            self.send(json!({"type": "input_audio_buffer.speech_stopped"})).await?;
            self.commit(&Value::Null).await?;
        }
        Some(())
    }

    async fn commit(&mut self, message: &Value) -> Option<()> {
        if self.detects.is_some() && !message.is_null() {
            return self.wrong("a commit where the server commits").await;
        }
        let ms = self.buffered * 1_000 / u64::from(self.rate.max(1));
        if ms < 100 {
            self.shared.note(Seen::Wrong("a commit of less than 100 ms".to_owned()));
            return self.refuse("input_audio_buffer_commit_empty", &message["event_id"]).await;
        }
        self.buffered = 0;
        self.shared.note(Seen::Commit(ms));
        let item = self.shared.name("item");
        self.send(json!({"type": "input_audio_buffer.committed", "item_id": item})).await?;
        let (text, delay) = {
            let mut script = locked(&self.shared.script);
            (script.transcripts.pop_front().unwrap_or_default(), script.transcript_delay)
        };
        let at = clock::now() + delay;
        let of = |kind: &str, key: &str, text: &str| {
            let kind = format!("conversation.item.input_audio_transcription.{kind}");
            Due::Say(json!({"type": kind, "item_id": item, key: text}))
        };
        let (head, _) = text.split_at(text.len() / 2);
        self.due.push_back(match self.is_flat {
            true => (at, false, of("updated", "transcript", head)),
            false => (at, false, of("delta", "delta", head)),
        });
        self.due.push_back((at, false, of("completed", "transcript", &text)));
        Some(())
    }

    async fn item(&mut self, message: Value) -> Option<()> {
        let item = message["item"].clone();
        let text = item["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        match item["type"].as_str() {
            Some("force_message") if self.is_flat => {
                self.shared.note(Seen::Say(text.clone()));
                self.begin(Turn::says(&text, 400), &message["event_id"]).await
            }
            Some("function_call_output") => {
                let call = item["call_id"].as_str().unwrap_or_default().to_owned();
                if !self.calls.contains(&call) {
                    return self.wrong("a result of a call that nobody asked for").await;
                }
                self.shared.note(Seen::Item(item));
                Some(())
            }
            Some("message") if !text.is_empty() => {
                self.shared.note(Seen::Item(item));
                Some(())
            }
            _ => self.wrong("an item of no known kind").await,
        }
    }

    async fn truncate(&mut self, message: &Value) -> Option<()> {
        let name = message["item_id"].as_str().unwrap_or_default().to_owned();
        let ms = message["audio_end_ms"].as_u64().unwrap_or(u64::MAX);
        self.shared.note(Seen::Truncate(name.clone(), ms));
        let longest = self.items.iter().find(|(item, _)| *item == name).map(|(_, ms)| *ms);
        if longest.is_none_or(|longest| ms > longest) || message["content_index"] != 0 {
            return self.wrong("an item cut where it has no sound").await;
        }
        let done = json!({
            "type": "conversation.item.truncated", "item_id": name, "audio_end_ms": ms,
        });
        self.send(done).await
    }

    async fn respond(&mut self, message: Value) -> Option<()> {
        let instructions = message["response"]["instructions"].as_str();
        let words = instructions.and_then(|text| text.split("<<<\n").nth(1)?.split("\n>>>").next());
        let turn = match words {
            Some(words) => {
                self.shared.note(Seen::Say(words.to_owned()));
                Turn::says(words, 400)
            }
            None => {
                self.shared.note(Seen::Respond(message.clone()));
                locked(&self.shared.script).turns.pop_front().unwrap_or_default()
            }
        };
        self.begin(turn, &message["event_id"]).await
    }

    async fn begin(&mut self, turn: Turn, event_id: &Value) -> Option<()> {
        if self.active.is_some() {
            self.shared.note(Seen::Wrong("a response while another is under way".to_owned()));
            return self.refuse("conversation_already_has_active_response", event_id).await;
        }
        if let Wrongly::Refused(code) = &turn.wrongly {
            return self.refuse(code, event_id).await;
        }
        let (response, item) = (self.shared.name("resp"), self.shared.name("item"));
        self.active = Some(response.clone());
        let at = clock::now() + turn.delay;
        self.items.push((item.clone(), u64::from(turn.sound_ms)));
        self.calls.extend(turn.tools.iter().map(|(call, ..)| call.clone()));
        let (mut at, gap) = (at, turn.gap);
        for due in self.messages(&turn, &response, &item) {
            let is_sound = matches!(&due, Due::Say(message) if message["type"] == "response.output_audio.delta");
            self.due.push_back((at, true, due));
            if is_sound {
                at += gap;
            }
        }
        self.send_due().await
    }

    fn messages(&self, turn: &Turn, response: &str, item: &str) -> Vec<Due> {
        let audio = |response: &str, from_ms: u32, ms: u32| {
            let delta = STANDARD.encode(sound(&self.format, self.rate, from_ms, ms));
            Due::Say(json!({
                "type": "response.output_audio.delta", "response_id": response, "item_id": item,
                "content_index": 0, "delta": delta,
            }))
        };
        let mut out = Vec::new();
        if turn.wrongly == Wrongly::OutOfOrder {
            out.push(Due::Say(done("resp_nobody", "completed", Value::Null)));
            out.push(Due::Say(json!({"type": "a.type.to.come", "item": {}})));
        }
        out.push(Due::Say(json!({"type": "response.created", "response": {"id": response}})));
        match &turn.wrongly {
            Wrongly::Silence => return out,
            Wrongly::Garbage => return vec![Due::Raw("{\"type\": canary".to_owned())],
            Wrongly::Oversize => {
                let delta = "A".repeat(2 << 20);
                out.push(Due::Say(json!({"type": "response.output_audio.delta", "delta": delta})));
                return out;
            }
            Wrongly::Failed(code) => {
                let details = json!({"type": "failed", "error": {"code": code}});
                out.push(Due::Say(done(response, "failed", details)));
                out.push(Due::Over);
                return out;
            }
            Wrongly::OutOfOrder => out.push(audio("resp_nobody", 0, CHUNK_MS)),
            Wrongly::Not | Wrongly::Cut(_) | Wrongly::Refused(_) => {}
        }
        let chunks = turn.sound_ms.div_ceil(CHUNK_MS);
        let words: Vec<&str> = turn.words.split_inclusive(' ').collect();
        for chunk in 0..chunks {
            if turn.wrongly == Wrongly::Cut(chunk as usize) {
                out.push(Due::Cut);
                return out;
            }
            let share = |n: u32| words.len() * n as usize / chunks.max(1) as usize;
            let delta: String =
                words.get(share(chunk)..share(chunk + 1)).unwrap_or_default().concat();
            out.push(Due::Say(json!({
                "type": "response.output_audio_transcript.delta", "response_id": response,
                "item_id": item, "content_index": 0, "delta": delta,
            })));
            let from_ms = chunk * CHUNK_MS;
            out.push(audio(response, from_ms, CHUNK_MS.min(turn.sound_ms - from_ms)));
        }
        if turn.wrongly == Wrongly::Cut(chunks as usize) {
            out.push(Due::Cut);
            return out;
        }
        for (call, name, arguments) in &turn.tools {
            let of = format!("item_{call}");
            out.push(Due::Say(json!({
                "type": "response.output_item.added", "response_id": response,
                "item": {"id": of, "type": "function_call", "call_id": call, "name": name},
            })));
            out.push(Due::Say(json!({
                "type": "response.function_call_arguments.done", "response_id": response,
                "item_id": of, "call_id": call, "arguments": arguments,
            })));
        }
        out.push(Due::Say(done(response, "completed", Value::Null)));
        out.push(Due::Over);
        out
    }

    async fn cancel(&mut self, message: &Value) -> Option<()> {
        self.shared.note(Seen::Cancel);
        let Some(response) = self.active.take() else {
            return self.refuse("response_cancel_not_active", &message["event_id"]).await;
        };
        self.due.retain(|(_, of_response, _)| !of_response);
        self.send(done(&response, "cancelled", Value::Null)).await
    }
}

fn done(response: &str, status: &str, details: Value) -> Value {
    json!({"type": "response.done", "response": {
        "id": response, "status": status, "status_details": details, "output": [],
        "usage": {
            "total_tokens": 150, "input_tokens": 100, "output_tokens": 50,
            "input_token_details": {"text_tokens": 40, "audio_tokens": 60},
            "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
        },
    }})
}

/// A tone of [`VOICE_HZ`].
fn sound(format: &str, rate: u32, from_ms: u32, ms: u32) -> Vec<u8> {
    let first = u64::from(rate) * u64::from(from_ms) / 1_000;
    let count = u64::from(rate) * u64::from(ms) / 1_000;
    let sample = |n: u64| {
        let turns = (first + n) as f64 * VOICE_HZ / f64::from(rate);
        ((turns * std::f64::consts::TAU).sin() * 8_000.0) as i16
    };
    let samples = (0..count).map(sample);
    match format {
        "audio/pcmu" => samples.map(g711::encode_ulaw).collect(),
        "audio/pcma" => samples.map(g711::encode_alaw).collect(),
        _ => samples.flat_map(i16::to_le_bytes).collect(),
    }
}
