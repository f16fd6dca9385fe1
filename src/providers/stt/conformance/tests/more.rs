//! Vendors whose text is settled by a command: Cartesia Ink and ElevenLabs Scribe.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::ear::{Ear, query};
use super::server::{Heard, Say, Vendor};
use super::vendors::text;

/// Cartesia Ink.
#[derive(Default)]
pub(super) struct Cartesia {
    ear: Ear,
    given: usize,
}

impl Cartesia {
    /// What is new, as a piece that is joined as it stands.
    fn piece(&mut self, is_final: bool) -> Option<Say> {
        let words = self.ear.words.get(self.given..)?;
        if words.is_empty() {
            return None;
        }
        let pieces: Vec<String> = words.iter().map(|word| format!(" {}", word.text)).collect();
        if is_final {
            self.given = self.ear.words.len();
        }
        let duration = self.ear.seconds();
        Some(text(json!({"type": "transcript", "request_id": "x", "text": pieces.concat(),
            "is_final": is_final, "duration": duration, "language": "en"})))
    }
}

impl Vendor for Cartesia {
    fn greet(&mut self, uri: &str) -> Vec<Say> {
        self.ear.set(query(uri, "encoding"), query(uri, "sample_rate"));
        let is_right = uri.starts_with("/stt/websocket?model=ink-whisper&language=en&")
            && query(uri, "cartesia_version") == "2026-03-01";
        if is_right { vec![] } else { vec![Say::Violation("the path")] }
    }

    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        match heard {
            Heard::Binary(octets) => {
                self.ear.hear(octets);
                let settled = self.ear.pause() > 0.05;
                self.piece(settled).into_iter().collect()
            }
            Heard::Text("finalize") => {
                let mut said: Vec<Say> = self.piece(true).into_iter().collect();
                self.ear.take();
                self.given = 0;
                said.push(text(json!({"type": "flush_done", "request_id": "x"})));
                said
            }
            Heard::Text("close") => {
                vec![text(json!({"type": "done", "request_id": "x"})), Say::Close(1000)]
            }
            Heard::Text(_) => vec![Say::Violation("a message nobody documents")],
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}

/// ElevenLabs Scribe.
#[derive(Default)]
pub(super) struct Scribe {
    ear: Ear,
    committed: f64,
}

impl Vendor for Scribe {
    fn greet(&mut self, uri: &str) -> Vec<Say> {
        let format = query(uri, "audio_format");
        let rate = format.rsplit('_').next().unwrap();
        self.ear.set(if format.starts_with("ulaw") { "mulaw" } else { "pcm" }, rate);
        let mut said = vec![text(json!({"message_type": "session_started", "session_id": "x"}))];
        if !uri.starts_with("/v1/speech-to-text/realtime?model_id=scribe_v2_realtime&")
            || query(uri, "commit_strategy") != "manual"
        {
            said.push(Say::Violation("the path"));
        }
        said
    }

    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say> {
        let Heard::Text(message) = heard else { return vec![Say::Violation("binary")] };
        let value: Value = serde_json::from_str(message).unwrap();
        if value["message_type"] != "input_audio_chunk" || value["sample_rate"] != self.ear.rate {
            return vec![Say::Violation("a message nobody documents")];
        }
        self.ear.hear(&STANDARD.decode(value["audio_base_64"].as_str().unwrap()).unwrap());
        if value["commit"] == true {
            if self.ear.seconds() - self.committed < 0.3 {
                return vec![text(json!({"message_type": "commit_throttled", "error": "canary"}))];
            }
            self.committed = self.ear.seconds();
            let words = self.ear.take();
            return vec![text(json!({"message_type": "committed_transcript", "text": words}))];
        }
        match self.ear.words.is_empty() {
            true => vec![],
            false => {
                vec![text(json!({"message_type": "partial_transcript", "text": self.ear.text()}))]
            }
        }
    }

    fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}
