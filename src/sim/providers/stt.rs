//! The mock recognisers: Deepgram `listen` v1 and OpenAI-compatible transcriptions.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::http::{self, Request};
use super::script::{Recognise, SttScript};
use super::{Fault, Peer, What, tts};
use crate::net::clock;

pub(super) async fn transcription(
    stream: &mut TcpStream,
    peer: &Peer,
    request: &Request,
    fault: &Fault,
) -> Option<()> {
    peer.put(What::SegmentReceived(request.body.len()));
    let script = peer.shared.script().stt;
    let late = if let Fault::SlowFirstByte(late) = fault { *late } else { Duration::ZERO };
    http::pause(stream, script.final_delay + late).await?;
    let text = match &script.recognise {
        Recognise::Scripted(texts) => texts.first().cloned().unwrap_or_default(),
        Recognise::Levels => String::new(),
    };
    match fault {
        Fault::Cut { .. } => {
            http::begin(stream, "application/json").await?;
            http::chunk(stream, b"{\"te").await?;
            return None;
        }
        Fault::Stall => {
            http::begin(stream, "application/json").await?;
            http::until_closed(stream).await;
            return None;
        }
        Fault::BadJson => return http::whole(stream, 200, "application/json", b"{\"te").await,
        _ => {}
    }
    let text = if *fault == Fault::Empty { String::new() } else { text };
    let body = json!({ "text": text }).to_string();
    http::whole(stream, 200, "application/json", body.as_bytes()).await?;
    peer.put(What::FinalSent(text));
    Some(())
}

/// What one connection heard.
struct Ear {
    script: SttScript,
    rate: f64,
    samples: u64,
    /// Where the last final result ended, samples.
    accounted: u64,
    level: i16,
    words: Vec<String>,
    utterances: usize,
    finals_due: Option<Instant>,
}

impl Ear {
    fn hear(&mut self, octets: &[u8]) {
        for sample in tts::pairs(octets) {
            self.samples += 1;
            if sample != self.level {
                self.level = sample;
                if sample != 0 {
                    self.words.push(format!("w{sample}"));
                }
            }
        }
    }

    /// A final result of everything that was heard.
    fn result(&mut self, from_finalize: bool) -> (String, String) {
        let text = match &self.script.recognise {
            Recognise::Levels => self.words.join(" "),
            Recognise::Scripted(texts) if from_finalize => {
                let at = self.utterances.checked_rem(texts.len()).unwrap_or(0);
                self.utterances += 1;
                texts.get(at).cloned().unwrap_or_default()
            }
            Recognise::Scripted(_) => String::new(),
        };
        self.words.clear();
        let message = self.message(&text, true, from_finalize);
        self.accounted = self.samples;
        (message, text)
    }

    fn message(&self, text: &str, is_final: bool, from_finalize: bool) -> String {
        json!({
            "type": "Results",
            "channel_index": [0, 1],
            "start": self.accounted as f64 / self.rate,
            "duration": (self.samples - self.accounted) as f64 / self.rate,
            "is_final": is_final,
            "speech_final": is_final,
            "from_finalize": from_finalize,
            "channel": {"alternatives": [{"transcript": text, "confidence": 0.98, "words": []}]},
            "metadata": {"request_id": "mock"}
        })
        .to_string()
    }
}

pub(super) async fn websocket(stream: TcpStream, peer: Peer) {
    let fault = peer.fault();
    let Some((mut socket, uri)) = tts::accept(stream, &fault).await else { return };
    let mut rate = tts::query(&uri, "sample_rate").and_then(|r| r.parse().ok()).unwrap_or(8_000.0);
    if fault == Fault::WrongRate {
        rate *= 2.0;
    }
    let mut ear = Ear {
        script: peer.shared.script().stt,
        rate,
        samples: 0,
        accounted: 0,
        level: 0,
        words: Vec::new(),
        utterances: 0,
        finals_due: None,
    };
    let mut audio_messages = 0usize;
    loop {
        let due = ear.finals_due;
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let message = tokio::select! {
            message = socket.next() => message,
            () = timer => {
                ear.finals_due = None;
                if answer(&mut socket, &mut ear, &peer, &fault).await.is_none() {
                    return;
                }
                continue;
            }
        };
        match message {
            Some(Ok(Message::Binary(octets))) => {
                audio_messages += 1;
                ear.hear(&octets);
                if matches!(fault, Fault::Cut { after } if audio_messages >= after) {
                    return;
                }
                if ear.script.recognise == Recognise::Levels && fault != Fault::Stall {
                    let word_is_over = ear.level == 0 && !ear.words.is_empty();
                    let text = if word_is_over && ear.words.len() >= ear.script.words_per_final {
                        ear.result(false).0
                    } else {
                        ear.message(&ear.words.join(" "), false, false)
                    };
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
            }
            Some(Ok(Message::Text(text))) if text.contains("Finalize") => {
                peer.put(What::FinalizeReceived);
                let late = if let Fault::SlowFirstByte(l) = &fault { *l } else { Duration::ZERO };
                if ear.script.answers_finalize {
                    ear.finals_due = Some(clock::now() + ear.script.final_delay + late);
                }
            }
            Some(Ok(Message::Text(text))) if text.contains("KeepAlive") => {
                peer.put(What::KeepAliveReceived);
            }
            Some(Ok(Message::Text(text))) if text.contains("CloseStream") => {
                let _ = socket.close(None).await;
                return;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

async fn answer(
    socket: &mut WebSocketStream<TcpStream>,
    ear: &mut Ear,
    peer: &Peer,
    fault: &Fault,
) -> Option<()> {
    // A fault that was switched on after the connection counts from the next answer.
    let live = if *fault == Fault::None { peer.fault() } else { fault.clone() };
    let fault = &live;
    match fault {
        Fault::Stall => return Some(()),
        Fault::Cut { .. } => return None,
        Fault::BadJson => {
            return socket.send(Message::text("{\"type\": canary-of-the-provider")).await.ok();
        }
        _ => {}
    }
    let (mut message, mut text) = ear.result(true);
    if matches!(fault, Fault::Empty | Fault::WrongRate) {
        text = String::new();
        message = ear.message("", true, true);
    }
    socket.send(Message::text(message)).await.ok()?;
    peer.put(What::FinalSent(text));
    Some(())
}
