//! The server's side of each voice's messages, from the vendors' documentation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::audio::g711;

/// Samples a character takes: 5 ms at 8 kHz.
pub(super) const PER_CHAR: usize = 40;

/// What a client's message asks for.
#[derive(Debug)]
pub(super) enum Heard {
    Say {
        id: String,
        text: String,
    },
    /// Nobody's name: everything.
    Cancel(Option<String>),
    KeepAlive,
}

/// A message of the server.
#[derive(Clone, Debug)]
pub(super) enum Out {
    Text(String),
    Binary(Vec<u8>),
}

/// A piece of a sentence's audio.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) octets: Vec<u8>,
    /// Where it begins and ends, in ms.
    pub(super) from_ms: f64,
    pub(super) to_ms: f64,
}

/// The samples a text is spoken with.
pub(super) fn samples(text: &str) -> Vec<i16> {
    let seed: i64 = text.bytes().map(i64::from).sum();
    let count = (text.chars().count() * PER_CHAR) as i64;
    (0..count).map(|n| ((seed * 7 + n * 37) % 4_001 - 2_000) as i16).collect()
}

/// The samples after a way through mu-law.
pub(super) fn as_mulaw(samples: &[i16]) -> Vec<i16> {
    samples.iter().map(|s| g711::decode_ulaw(g711::encode_ulaw(*s))).collect()
}

/// A sentence in three pieces, cut where no sample ends.
pub(super) fn pieces(text: &str, mulaw: bool) -> Vec<Piece> {
    let samples = samples(text);
    let octets: Vec<u8> = match mulaw {
        true => samples.iter().map(|s| g711::encode_ulaw(*s)).collect(),
        false => samples.iter().flat_map(|s| s.to_le_bytes()).collect(),
    };
    let third = (octets.len() / 3) | 1;
    let bounds = [0, third, third * 2, octets.len()];
    let per_ms = if mulaw { 8.0 } else { 16.0 };
    bounds
        .windows(2)
        .map(|bound| Piece {
            text: text.to_owned(),
            octets: octets[bound[0]..bound[1]].to_vec(),
            from_ms: bound[0] as f64 / per_ms,
            to_ms: bound[1] as f64 / per_ms,
        })
        .collect()
}

/// The words of a text, and how many characters each ends at.
pub(super) fn words(text: &str) -> Vec<(String, usize)> {
    let mut at = 0;
    let mut words = Vec::new();
    for word in text.split_inclusive(char::is_whitespace) {
        at += word.chars().count();
        let bare = word.trim_end();
        words.push((bare.to_owned(), at - (word.chars().count() - bare.chars().count())));
    }
    words
}

/// A voice's messages.
pub(super) trait Wire: Send + Sync {
    fn hear(&mut self, message: &Value) -> Vec<Heard>;
    fn audio(&self, id: &str, piece: &Piece) -> Out;
    /// Timing of a sentence's words, apart from its audio.
    fn marks(&self, _id: &str, _text: &str) -> Option<Out> {
        None
    }
    fn done(&self, id: &str) -> Vec<Out>;
    fn error(&self, id: &str) -> Out;
    /// The answer to a cancel.
    fn canceled(&self, _id: Option<&str>) -> Option<Out> {
        None
    }
    /// Whether a sentence that is begun goes on after its cancel.
    fn goes_on(&self) -> bool {
        false
    }
    /// Whether two sentences at once would become one.
    fn one_at_a_time(&self) -> bool {
        false
    }
}

fn text(value: Value) -> Out {
    Out::Text(value.to_string())
}

fn field(message: &Value, key: &str) -> String {
    message.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn word_lists(text: &str) -> Value {
    let (names, ends): (Vec<_>, Vec<_>) =
        words(text).into_iter().map(|(word, end)| (word, end as f64 * 0.005)).unzip();
    let starts = vec![0.0; ends.len()];
    json!({"words": names, "start": starts, "end": ends})
}

/// Deepgram `speak` v1.
#[derive(Default)]
pub(super) struct Aura {
    text: String,
    flushed: usize,
}

impl Wire for Aura {
    fn hear(&mut self, message: &Value) -> Vec<Heard> {
        match field(message, "type").as_str() {
            "Speak" => {
                self.text.push_str(&field(message, "text"));
                Vec::new()
            }
            "Flush" => {
                self.flushed += 1;
                let (id, text) = (self.flushed.to_string(), std::mem::take(&mut self.text));
                vec![Heard::Say { id, text }]
            }
            "Clear" => vec![Heard::Cancel(None)],
            other => panic!("{other}"),
        }
    }

    fn audio(&self, _: &str, piece: &Piece) -> Out {
        Out::Binary(piece.octets.clone())
    }

    fn done(&self, _: &str) -> Vec<Out> {
        let warned = json!({"type": "Warning", "description": "x", "code": "y"});
        vec![text(warned), text(json!({"type": "Flushed", "sequence_id": self.flushed}))]
    }

    fn error(&self, _: &str) -> Out {
        text(json!({"type": "Error", "description": "canary-of-the-provider", "code": "x"}))
    }

    fn canceled(&self, _: Option<&str>) -> Option<Out> {
        Some(text(json!({"type": "Cleared", "sequence_id": self.flushed})))
    }
}

/// ElevenLabs `multi-stream-input`.
#[derive(Default)]
pub(super) struct ElevenLabs {
    closed: Vec<String>,
}

impl Wire for ElevenLabs {
    fn hear(&mut self, message: &Value) -> Vec<Heard> {
        let (id, words) = (field(message, "context_id"), field(message, "text"));
        if message.get("close_context") == Some(&json!(true)) {
            if self.closed.contains(&id) {
                return vec![Heard::Cancel(Some(id))];
            }
            self.closed.push(id);
            return Vec::new();
        }
        if words.trim().is_empty() {
            return Vec::new();
        }
        assert_eq!(message.get("flush"), Some(&json!(true)));
        vec![Heard::Say { id, text: words.trim_end().to_owned() }]
    }

    fn audio(&self, id: &str, piece: &Piece) -> Out {
        let chars: Vec<(f64, char)> = piece
            .text
            .chars()
            .enumerate()
            .map(|(n, c)| (n as f64 * 5.0, c))
            .filter(|(at, _)| *at >= piece.from_ms - 1e-9 && *at < piece.to_ms - 1e-9)
            .collect();
        let starts: Vec<f64> = chars.iter().map(|(at, _)| at - piece.from_ms).collect();
        let alignment = json!({
            "chars": chars.iter().map(|(_, c)| c.to_string()).collect::<Vec<_>>(),
            "charStartTimesMs": starts,
            "charsDurationsMs": vec![5.0; starts.len()],
        });
        let audio = STANDARD.encode(&piece.octets);
        let is_final = Value::Null;
        text(json!({"audio": audio, "isFinal": is_final, "contextId": id, "alignment": alignment,
            "normalizedAlignment": null}))
    }

    fn done(&self, id: &str) -> Vec<Out> {
        vec![text(json!({"isFinal": true, "contextId": id}))]
    }

    fn error(&self, _: &str) -> Out {
        text(json!({"message": "canary-of-the-provider", "error": "quota_exceeded", "code": 1008}))
    }

    fn goes_on(&self) -> bool {
        true
    }
}

/// Cartesia `tts/websocket`.
pub(super) struct Cartesia;

impl Wire for Cartesia {
    fn hear(&mut self, message: &Value) -> Vec<Heard> {
        let id = field(message, "context_id");
        if message.get("cancel") == Some(&json!(true)) {
            return vec![Heard::Cancel(Some(id))];
        }
        assert_eq!(message.get("continue"), Some(&json!(false)));
        assert_eq!(message.pointer("/output_format/container"), Some(&json!("raw")));
        vec![Heard::Say { id, text: field(message, "transcript") }]
    }

    fn audio(&self, id: &str, piece: &Piece) -> Out {
        let data = STANDARD.encode(&piece.octets);
        text(json!({"type": "chunk", "data": data, "done": false, "status_code": 206,
            "step_time": 1.5, "context_id": id}))
    }

    fn marks(&self, id: &str, words: &str) -> Option<Out> {
        Some(text(json!({"type": "timestamps", "done": false, "status_code": 206,
            "context_id": id, "word_timestamps": word_lists(words)})))
    }

    fn done(&self, id: &str) -> Vec<Out> {
        let flushed = json!({"type": "flush_done", "done": false, "flush_done": true,
            "flush_id": 1, "status_code": 206, "context_id": id});
        let done = json!({"type": "done", "done": true, "status_code": 206, "context_id": id});
        vec![text(flushed), text(done)]
    }

    fn error(&self, id: &str) -> Out {
        text(json!({"type": "error", "done": true, "error": "canary-of-the-provider",
            "status_code": 400, "context_id": id}))
    }

    fn goes_on(&self) -> bool {
        true
    }
}

/// Rime `ws3` with `segment=never`.
#[derive(Default)]
pub(super) struct Rime {
    text: String,
    id: String,
}

impl Wire for Rime {
    fn hear(&mut self, message: &Value) -> Vec<Heard> {
        match field(message, "operation").as_str() {
            "" => {
                self.text.push_str(&field(message, "text"));
                self.id = field(message, "contextId");
                Vec::new()
            }
            "flush" => {
                let (id, text) = (self.id.clone(), std::mem::take(&mut self.text));
                vec![Heard::Say { id, text }]
            }
            "clear" => {
                self.text.clear();
                vec![Heard::Cancel(None)]
            }
            other => panic!("{other}"),
        }
    }

    fn audio(&self, id: &str, piece: &Piece) -> Out {
        let data = STANDARD.encode(&piece.octets);
        text(json!({"type": "chunk", "data": data, "contextId": id}))
    }

    fn marks(&self, id: &str, words: &str) -> Option<Out> {
        let lists = word_lists(words);
        Some(text(json!({"type": "timestamps", "word_timestamps": lists, "contextId": id})))
    }

    fn done(&self, id: &str) -> Vec<Out> {
        vec![text(json!({"type": "done", "contextId": id}))]
    }

    fn error(&self, _: &str) -> Out {
        text(json!({"type": "error", "message": "canary-of-the-provider"}))
    }

    fn goes_on(&self) -> bool {
        true
    }
    fn one_at_a_time(&self) -> bool {
        true
    }
}

/// xAI `tts`.
#[derive(Default)]
pub(super) struct Xai {
    text: String,
}

impl Wire for Xai {
    fn hear(&mut self, message: &Value) -> Vec<Heard> {
        match field(message, "type").as_str() {
            "text.delta" => {
                self.text.push_str(&field(message, "delta"));
                Vec::new()
            }
            "text.done" => {
                vec![Heard::Say { id: String::new(), text: std::mem::take(&mut self.text) }]
            }
            "text.clear" => vec![Heard::Cancel(None)],
            other => panic!("{other}"),
        }
    }

    fn audio(&self, _: &str, piece: &Piece) -> Out {
        text(json!({"type": "audio.delta", "delta": STANDARD.encode(&piece.octets)}))
    }

    fn done(&self, _: &str) -> Vec<Out> {
        vec![text(json!({"type": "audio.done", "trace_id": "x"}))]
    }

    fn error(&self, _: &str) -> Out {
        text(json!({"type": "error", "message": "canary-of-the-provider"}))
    }

    fn canceled(&self, _: Option<&str>) -> Option<Out> {
        Some(text(json!({"type": "audio.clear"})))
    }
    fn one_at_a_time(&self) -> bool {
        true
    }
}

/// Soniox `tts-websocket`.
#[derive(Default)]
pub(super) struct Soniox {
    open: Vec<String>,
}

impl Wire for Soniox {
    fn hear(&mut self, message: &Value) -> Vec<Heard> {
        let id = field(message, "stream_id");
        if message.get("keep_alive") == Some(&json!(true)) {
            return vec![Heard::KeepAlive];
        }
        if message.get("cancel") == Some(&json!(true)) {
            return vec![Heard::Cancel(Some(id))];
        }
        if message.get("api_key").is_some() {
            assert_eq!(message.get("audio_format"), Some(&json!("pcm_s16le")));
            self.open.push(id);
            return Vec::new();
        }
        assert!(self.open.contains(&id) && message.get("text_end") == Some(&json!(true)));
        vec![Heard::Say { id, text: field(message, "text") }]
    }

    fn audio(&self, id: &str, piece: &Piece) -> Out {
        let audio = STANDARD.encode(&piece.octets);
        text(json!({"audio": audio, "audio_end": false, "stream_id": id}))
    }

    fn done(&self, id: &str) -> Vec<Out> {
        let last = json!({"audio": "", "audio_end": true, "stream_id": id});
        vec![text(last), text(json!({"terminated": true, "stream_id": id}))]
    }

    fn error(&self, id: &str) -> Out {
        text(json!({"stream_id": id, "error_code": 400, "error_message": "canary-of-the-provider"}))
    }

    fn canceled(&self, id: Option<&str>) -> Option<Out> {
        Some(text(json!({"terminated": true, "stream_id": id})))
    }
}
