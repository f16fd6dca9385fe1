//! The vendors' sides of their protocols, written from what they document.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::ear::{Ear, Format, query};
use super::server::{Heard, Say, Vendor};
use crate::net::clock;

pub(super) fn text(value: Value) -> Say {
    Say::Text(value.to_string())
}

/// Deepgram `listen` v1.
#[derive(Default)]
pub(super) struct Deepgram {
    ear: Ear,
    accounted: f64,
}

impl Deepgram {
    fn result(&mut self, transcript: &str, is_final: bool, from_finalize: bool) -> Say {
        let (start, end) = (self.accounted, self.ear.seconds());
        if is_final {
            self.accounted = end;
        }
        text(json!({
            "type": "Results", "channel_index": [0, 1], "start": start, "duration": end - start,
            "is_final": is_final, "speech_final": is_final, "from_finalize": from_finalize,
            "channel": {"alternatives": [{"transcript": transcript, "confidence": 0.9, "words": []}]},
        }))
    }
}

impl Vendor for Deepgram {
    fn greet(&mut self, uri: &str) -> Vec<Say> {
        self.ear.set(query(uri, "encoding"), query(uri, "sample_rate"));
        match uri.starts_with("/v1/listen?model=nova-3&") {
            true => vec![],
            false => vec![Say::Violation("the path")],
        }
    }

    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        match heard {
            Heard::Binary(octets) => {
                self.ear.hear(octets);
                let is_over = self.ear.is_over();
                let words = if is_over { self.ear.take() } else { self.ear.text() };
                vec![self.result(&words, is_over, false)]
            }
            Heard::Text(r#"{"type":"Finalize"}"#) => {
                let words = self.ear.take();
                // None comes when nothing was buffered.
                if words.is_empty() { vec![] } else { vec![self.result(&words, true, true)] }
            }
            Heard::Text(r#"{"type":"KeepAlive"}"#) => vec![],
            Heard::Text(r#"{"type":"CloseStream"}"#) => vec![Say::Close(1000)],
            Heard::Text(_) => vec![Say::Violation("a message nobody documents")],
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}

/// Deepgram Flux, `listen` v2.
#[derive(Default)]
pub(super) struct Flux {
    ear: Ear,
    turn: u64,
    started: bool,
    eager: bool,
}

impl Flux {
    fn info(&self, event: &str, trigger: Option<&str>) -> Say {
        let words: Vec<Value> =
            self.ear.words.iter().map(|w| json!({"word": w.text, "confidence": 0.9})).collect();
        text(json!({
            "type": "TurnInfo", "event": event, "turn_index": self.turn,
            "audio_window_start": 0.0, "audio_window_end": self.ear.seconds(),
            "transcript": self.ear.text(), "words": words, "end_of_turn_confidence": 0.5,
            "trigger": trigger,
        }))
    }

    fn end(&mut self, trigger: &str) -> Say {
        let said = self.info("EndOfTurn", Some(trigger));
        self.ear.take();
        self.turn += 1;
        (self.started, self.eager) = (false, false);
        said
    }
}

impl Vendor for Flux {
    fn greet(&mut self, uri: &str) -> Vec<Say> {
        self.ear.set(query(uri, "encoding"), query(uri, "sample_rate"));
        let mut said =
            vec![text(json!({"type": "Connected", "request_id": "x", "sequence_id": 0}))];
        if !uri.starts_with("/v2/listen?model=flux-general-en&") {
            said.push(Say::Violation("the path"));
        }
        said
    }

    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        match heard {
            Heard::Binary(octets) => {
                self.ear.hear(octets);
                if self.ear.words.is_empty() {
                    return vec![self.info("Update", None)];
                }
                if !std::mem::replace(&mut self.started, true) {
                    return vec![self.info("StartOfTurn", None)];
                }
                if self.ear.is_over() {
                    return vec![self.end("model")];
                }
                if self.ear.pause() > 0.25 && !std::mem::replace(&mut self.eager, true) {
                    return vec![self.info("EagerEndOfTurn", None)];
                }
                if self.ear.pause() == 0.0 && std::mem::take(&mut self.eager) {
                    return vec![self.info("TurnResumed", None)];
                }
                vec![self.info("Update", None)]
            }
            // Without a turn it is ignored.
            Heard::Text(r#"{"type":"ForceEndTurn"}"#) if self.started => vec![self.end("manual")],
            Heard::Text(r#"{"type":"ForceEndTurn"}"#) => vec![],
            Heard::Text(r#"{"type":"CloseStream"}"#) => vec![Say::Close(1000)],
            Heard::Text(_) => vec![Say::Violation("a message nobody documents")],
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}

/// AssemblyAI Universal-Streaming v3.
pub(super) struct AssemblyAi {
    ear: Ear,
    turn: u64,
    opened: Instant,
}

impl Default for AssemblyAi {
    fn default() -> Self {
        Self { ear: Ear::default(), turn: 0, opened: clock::now() }
    }
}

impl AssemblyAi {
    fn turn(&self, is_over: bool, formatted: bool) -> Say {
        let count = self.ear.words.len();
        let words: Vec<Value> = (self.ear.words.iter().enumerate())
            .map(|(n, w)| {
                let is_final = is_over || n + 1 < count;
                json!({"text": w.text, "start": 0, "end": (w.end * 1_000.0) as u64,
                    "confidence": 0.9, "word_is_final": is_final})
            })
            .collect();
        let finals = if is_over { count } else { count.saturating_sub(1) };
        let spoken: Vec<&str> =
            self.ear.words.iter().take(finals).map(|w| w.text.as_str()).collect();
        text(json!({
            "type": "Turn", "turn_order": self.turn, "turn_is_formatted": formatted,
            "end_of_turn": is_over, "transcript": spoken.join(" "), "words": words,
            "end_of_turn_confidence": 0.5,
        }))
    }

    fn end(&mut self) -> Vec<Say> {
        // A formatted repetition follows where it was asked for; it must not be taken twice.
        let said = vec![self.turn(true, false), self.turn(true, true)];
        self.ear.take();
        self.turn += 1;
        said
    }
}

impl Vendor for AssemblyAi {
    fn greet(&mut self, uri: &str) -> Vec<Say> {
        self.ear.set(query(uri, "encoding"), query(uri, "sample_rate"));
        let mut said = vec![text(json!({"type": "Begin", "id": "x", "expires_at": 1}))];
        if !uri.starts_with("/v3/ws?") || query(uri, "format_turns") != "false" {
            said.push(Say::Violation("the path"));
        }
        said
    }

    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        match heard {
            Heard::Binary(octets) => {
                let before = self.ear.samples;
                self.ear.hear(octets);
                let length = (self.ear.samples - before) as f64 / self.ear.rate;
                let elapsed = (clock::now() - self.opened).as_secs_f64();
                if !(0.05..=1.0).contains(&length) {
                    return vec![Say::Violation("the length of a message"), Say::Close(3007)];
                }
                if self.ear.seconds() > elapsed * 1.25 + 1.0 {
                    return vec![Say::Violation("faster than real time"), Say::Close(3007)];
                }
                if self.ear.words.is_empty() {
                    return vec![];
                }
                if self.ear.is_over() { self.end() } else { vec![self.turn(false, false)] }
            }
            Heard::Text(r#"{"type":"ForceEndpoint"}"#) if self.ear.words.is_empty() => vec![],
            Heard::Text(r#"{"type":"ForceEndpoint"}"#) => self.end(),
            Heard::Text(r#"{"type":"Terminate"}"#) => vec![
                text(json!({"type": "Termination", "audio_duration_seconds": 1})),
                Say::Close(1000),
            ],
            Heard::Text(_) => vec![Say::Violation("a message nobody documents")],
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}

/// OpenAI Realtime, transcription session.
#[derive(Default)]
pub(super) struct OpenAiRealtime {
    ear: Ear,
    configured: bool,
    items: u64,
    committed: f64,
}

impl OpenAiRealtime {
    fn commit(&mut self) -> Vec<Say> {
        if self.ear.seconds() - self.committed < 0.1 {
            return vec![text(json!({"type": "error", "error": {
                "type": "invalid_request_error", "code": "input_audio_buffer_commit_empty",
            }}))];
        }
        self.committed = self.ear.seconds();
        self.items += 1;
        let id = format!("item_{}", self.items);
        let previous = (self.items > 1).then(|| format!("item_{}", self.items - 1));
        let words = self.ear.take();
        let base = "conversation.item.input_audio_transcription";
        let mut said = vec![text(json!({
            "type": "input_audio_buffer.committed", "item_id": id, "previous_item_id": previous,
        }))];
        for delta in words.split_inclusive(' ') {
            said.push(text(
                json!({"type": format!("{base}.delta"), "item_id": id, "delta": delta}),
            ));
        }
        said.push(text(json!({
            "type": format!("{base}.completed"), "item_id": id, "transcript": words,
        })));
        said
    }
}

impl Vendor for OpenAiRealtime {
    fn greet(&mut self, uri: &str) -> Vec<Say> {
        match uri {
            "/realtime?intent=transcription" => vec![text(json!({"type": "session.created"}))],
            _ => vec![Say::Violation("the path")],
        }
    }

    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        let Heard::Text(message) = heard else { return vec![Say::Violation("binary")] };
        let value: Value = serde_json::from_str(message).unwrap();
        match value["type"].as_str().unwrap() {
            "session.update" => {
                let input = &value["session"]["audio"]["input"];
                let is_pcm = input["format"] == json!({"type": "audio/pcm", "rate": 24000});
                let is_pcmu = input["format"] == json!({"type": "audio/pcmu"});
                self.ear.set(
                    if is_pcmu { "mulaw" } else { "pcm" },
                    if is_pcmu { "8000" } else { "24000" },
                );
                self.configured = (is_pcm || is_pcmu)
                    && value["session"]["type"] == "transcription"
                    && input["transcription"]["model"] == "gpt-4o-transcribe"
                    && input["turn_detection"].is_null();
                vec![text(json!({"type": "session.updated"}))]
            }
            _ if !self.configured => vec![Say::Violation("not configured")],
            "input_audio_buffer.append" => {
                self.ear.hear(&STANDARD.decode(value["audio"].as_str().unwrap()).unwrap());
                vec![]
            }
            "input_audio_buffer.commit" => self.commit(),
            _ => vec![Say::Violation("a message nobody documents")],
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}

/// Soniox.
#[derive(Default)]
pub(super) struct Soniox {
    ear: Ear,
    configured: bool,
}

impl Soniox {
    fn tokens(&self, is_final: bool, marker: Option<&str>) -> Say {
        let end_ms = (self.ear.seconds() * 1_000.0) as u64;
        let mut tokens = Vec::new();
        for (n, word) in self.ear.words.iter().enumerate() {
            // Tokens are pieces of words.
            let (head, tail) = word.text.split_at(1);
            let head = if n == 0 { head.to_owned() } else { format!(" {head}") };
            for piece in [head.as_str(), tail] {
                let end = (word.end * 1_000.0) as u64;
                tokens.push(
                    json!({"text": piece, "is_final": is_final, "confidence": 0.9, "end_ms": end}),
                );
            }
        }
        tokens.extend(marker.map(|marker| json!({"text": marker, "is_final": true})));
        text(
            json!({"tokens": tokens, "final_audio_proc_ms": end_ms, "total_audio_proc_ms": end_ms}),
        )
    }

    fn end(&mut self, marker: &str) -> Vec<Say> {
        let said = self.tokens(true, Some(marker));
        self.ear.take();
        vec![said]
    }
}

impl Vendor for Soniox {
    fn greet(&mut self, uri: &str) -> Vec<Say> {
        if uri == "/transcribe-websocket" { vec![] } else { vec![Say::Violation("the path")] }
    }

    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        match heard {
            Heard::Text(start) if !self.configured => {
                let value: Value = serde_json::from_str(start).unwrap();
                self.ear.set(
                    value["audio_format"].as_str().unwrap(),
                    &value["sample_rate"].to_string(),
                );
                self.configured = value["enable_endpoint_detection"] == true;
                // The key travels with the connection.
                match value["api_key"].is_null() && value["model"] == "stt-rt-v5" {
                    true => vec![],
                    false => vec![Say::Violation("the start")],
                }
            }
            Heard::Binary(_) if !self.configured => vec![Say::Violation("audio before the start")],
            Heard::Binary(octets) => {
                self.ear.hear(octets);
                if self.ear.is_over() { self.end("<end>") } else { vec![self.tokens(false, None)] }
            }
            Heard::Text(r#"{"type":"finalize"}"#) => self.end("<fin>"),
            Heard::Text(r#"{"type":"keepalive"}"#) => vec![],
            Heard::Text("") => {
                vec![text(json!({"tokens": [], "finished": true})), Say::Close(1000)]
            }
            Heard::Text(_) => vec![Say::Violation("a message nobody documents")],
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}

/// Speechmatics realtime.
#[derive(Default)]
pub(super) struct Speechmatics {
    ear: Ear,
    started: bool,
    messages: u64,
}

impl Speechmatics {
    fn transcript(&self, message: &str, forced: bool) -> Say {
        let results: Vec<Value> = (self.ear.words.iter())
            .map(|w| json!({"type": "word", "alternatives": [{"content": w.text, "confidence": 0.9}]}))
            .collect();
        let mut value = json!({
            "message": message, "format": "2.1", "results": results,
            "metadata": {"start_time": 0.0, "end_time": self.ear.seconds(),
                "transcript": format!("{} ", self.ear.text())},
        });
        if forced {
            value["forced"] = json!(true);
        }
        text(value)
    }

    fn end(&mut self, forced: bool) -> Vec<Say> {
        let end = self.ear.seconds();
        let mut over = json!({"message": "EndOfUtterance",
            "metadata": {"start_time": end, "end_time": end}});
        if forced {
            over["forced"] = json!(true);
        }
        let said = vec![self.transcript("AddTranscript", forced), text(over)];
        self.ear.take();
        said
    }
}

impl Vendor for Speechmatics {
    fn greet(&mut self, uri: &str) -> Vec<Say> {
        if uri == "/v2" { vec![] } else { vec![Say::Violation("the path")] }
    }

    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        match heard {
            Heard::Binary(_) if !self.started => vec![Say::Violation("audio before the start")],
            Heard::Binary(octets) => {
                self.ear.hear(octets);
                self.messages += 1;
                let mut said =
                    vec![text(json!({"message": "AudioAdded", "seq_no": self.messages}))];
                if self.ear.is_over() {
                    said.extend(self.end(false));
                } else if !self.ear.words.is_empty() {
                    said.push(self.transcript("AddPartialTranscript", false));
                }
                said
            }
            Heard::Text(message) => {
                let value: Value = serde_json::from_str(message).unwrap();
                match value["message"].as_str().unwrap() {
                    "StartRecognition" => {
                        let format = &value["audio_format"];
                        let rate = format["sample_rate"].to_string();
                        self.ear.set(format["encoding"].as_str().unwrap(), &rate);
                        self.started = format["type"] == "raw";
                        vec![text(json!({"message": "RecognitionStarted", "id": "x"}))]
                    }
                    // Duplicates for the same silence are never sent.
                    "ForceEndOfUtterance" if self.ear.words.is_empty() => vec![],
                    "ForceEndOfUtterance" => self.end(true),
                    "EndOfStream" => {
                        vec![text(json!({"message": "EndOfTranscript"})), Say::Close(1000)]
                    }
                    _ => vec![Say::Violation("a message nobody documents")],
                }
            }
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}

/// vosk-server.
#[derive(Default)]
pub(super) struct Vosk {
    ear: Ear,
}

impl Vosk {
    fn end(&mut self) -> Say {
        let result: Vec<Value> =
            self.ear.words.iter().map(|w| json!({"word": w.text, "conf": 0.9})).collect();
        let words = self.ear.take();
        text(json!({"text": words, "result": result}))
    }
}

impl Vendor for Vosk {
    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        match heard {
            Heard::Binary(octets) => {
                self.ear.hear(octets);
                match self.ear.is_over() {
                    true => vec![self.end()],
                    false => vec![text(json!({"partial": self.ear.text()}))],
                }
            }
            Heard::Text(r#"{"eof" : 1}"#) => vec![self.end(), Say::Close(1000)],
            Heard::Text(r#"{"reset" : 1}"#) => vec![self.end()],
            Heard::Text(message) => {
                let value: Value = serde_json::from_str(message).unwrap();
                match value["config"]["sample_rate"].as_f64() {
                    Some(rate) => self.ear.rate = rate,
                    None => return vec![Say::Violation("a message nobody documents")],
                }
                vec![]
            }
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }

    fn in_lock_step(&self) -> bool {
        self.ear.samples > 0
    }
}

/// sherpa-onnx streaming server.
pub(super) struct Sherpa {
    ear: Ear,
    /// Where the stream and its segment began, s.
    stream: f64,
    segment: f64,
    ending: bool,
}

impl Default for Sherpa {
    fn default() -> Self {
        let ear = Ear { rate: 16_000.0, format: Format::Float, ..Ear::default() };
        Self { ear, stream: 0.0, segment: 0.0, ending: false }
    }
}

impl Sherpa {
    fn result(&self, is_final: bool, is_eof: bool) -> Say {
        let times: Vec<f64> = self.ear.words.iter().map(|w| w.end - self.segment).collect();
        text(json!({
            "text": self.ear.text(), "tokens": [], "timestamps": times, "segment": 0,
            "start_time": self.segment - self.stream, "is_final": is_final, "is_eof": is_eof,
        }))
    }
}

impl Vendor for Sherpa {
    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        self.ending = false;
        match heard {
            Heard::Binary(octets) => {
                self.ear.hear(octets);
                let is_over = self.ear.is_over();
                let said = self.result(is_over, false);
                if is_over {
                    self.ear.take();
                    self.segment = self.ear.seconds();
                }
                vec![said]
            }
            Heard::Text("Done") => {
                let said = vec![self.result(true, true), Say::Text("Done!".to_owned())];
                self.ear.take();
                self.stream = self.ear.seconds();
                self.segment = self.stream;
                self.ending = true;
                said
            }
            Heard::Text(_) => vec![Say::Violation("a message nobody documents")],
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }

    /// Audio between `Done` and `Done!` stops the server.
    fn in_lock_step(&self) -> bool {
        self.ending
    }
}

/// `POST /audio/transcriptions`, and whisper.cpp's `/inference`.
pub(super) struct Transcriptions {
    ear: Ear,
}

impl Default for Transcriptions {
    fn default() -> Self {
        Self { ear: Ear { rate: 16_000.0, ..Ear::default() } }
    }
}

impl Vendor for Transcriptions {
    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        let Heard::Binary(body) = heard else { return vec![] };
        let at = body.windows(4).position(|window| window == b"RIFF").unwrap();
        let size = u32::from_le_bytes(body[at + 4..at + 8].try_into().unwrap()) as usize;
        self.ear.hear(&body[at + 44..at + 8 + size]);
        vec![text(json!({"text": self.ear.take()}))]
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}
