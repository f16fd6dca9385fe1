//! The scripted servers of voices with one request a sentence: over HTTP, and Wyoming over TCP.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::script::{Act, Saw, Script, chunk, gone, head, request, whole};
use super::tts_wire::{Piece, pieces};

/// A vendor's requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    OpenAi,
    Azure,
    Piper,
}

impl Vendor {
    /// The sentence of a request; `None` for one that asks for no speech.
    fn text(self, head: &str, body: &[u8]) -> Option<String> {
        if !head.starts_with("POST ") {
            return None;
        }
        let field = |key: &str| {
            let body: Value = serde_json::from_slice(body).unwrap();
            body.get(key).unwrap().as_str().unwrap().to_owned()
        };
        Some(match self {
            Self::OpenAi => field("input"),
            Self::Piper => field("text"),
            Self::Azure => {
                let ssml = String::from_utf8(body.to_vec()).unwrap();
                let begins = ssml.find("<voice").unwrap();
                let begins = begins + ssml[begins..].find('>').unwrap() + 1;
                ssml[begins..ssml.find("</voice>").unwrap()].replace("&apos;", "'")
            }
        })
    }

    /// How audio is said to be, and what stands before it.
    fn form(self, hz: Option<u32>) -> (&'static str, Vec<u8>) {
        match (self, hz) {
            // Piper's framework does not know better.
            (Self::Piper, hz) => ("text/html; charset=utf-8", wav(hz.unwrap_or(8_000))),
            (_, Some(hz)) => ("audio/wav", wav(hz)),
            (Self::OpenAi, None) => ("audio/pcm", Vec::new()),
            (Self::Azure, None) => ("audio/basic", Vec::new()),
        }
    }
}

fn wav(hz: u32) -> Vec<u8> {
    let rates = [hz.to_le_bytes(), (hz * 2).to_le_bytes()].concat();
    let head = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".as_slice();
    [head, &rates, b"\x02\0\x10\0data\xff\xff\xff\xff"].concat()
}

/// Serves one connection.
pub(super) async fn serve(
    mut stream: TcpStream,
    number: usize,
    script: Arc<Script>,
    vendor: Vendor,
) {
    while let Some((head, body)) = request(&mut stream).await {
        script.put(number, Saw::Raw(format!("{head}{}", String::from_utf8_lossy(&body))));
        let Some(text) = vendor.text(&head, &body) else {
            if stream.write_all(&whole(404, "text/plain", "x")).await.is_err() {
                return;
            }
            continue;
        };
        let act = script.next();
        script.put(number, Saw::Asked(text.clone()));
        let refused = script.status().or((act == Act::Error).then_some(503));
        if let Some(status) = refused {
            let body = "{\"error\":\"canary-of-the-provider\"}";
            if stream.write_all(&whole(status, "application/json", body)).await.is_err() {
                return;
            }
            continue;
        }
        if speech(&mut stream, &script, vendor, act, &text).await.is_none() {
            return;
        }
    }
}

async fn speech(
    stream: &mut TcpStream,
    script: &Script,
    vendor: Vendor,
    act: Act,
    text: &str,
) -> Option<()> {
    if act == Act::Garbage {
        let answer = whole(200, "application/json", "canary-of-the-provider");
        return stream.write_all(&answer).await.ok();
    }
    let mut released = script.release();
    if act == Act::Hold {
        wait(stream, &mut released).await?;
    }
    let (kind, before) = vendor.form((act == Act::Other).then_some(16_000));
    stream.write_all(&head(kind)).await.ok()?;
    if !before.is_empty() {
        stream.write_all(&chunk(&before)).await.ok()?;
    }
    for (n, piece) in pieces(text, script.mulaw.load(Ordering::Relaxed)).into_iter().enumerate() {
        if n == 1 && act == Act::Cut {
            return None;
        }
        if n == 1 && act == Act::HoldAfterFirst {
            wait(stream, &mut released).await?;
        }
        stream.write_all(&chunk(&piece.octets)).await.ok()?;
    }
    stream.write_all(&chunk(b"")).await.ok()
}

/// Until it is released; `None` if the other side goes meanwhile.
async fn wait(
    stream: &mut TcpStream,
    released: &mut tokio::sync::watch::Receiver<u64>,
) -> Option<()> {
    tokio::select! {
        released = released.changed() => released.ok(),
        () = gone(stream) => None,
    }
}

/// Serves one connection as a Wyoming program does.
pub(super) async fn wyoming(stream: TcpStream, number: usize, script: Arc<Script>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
        return;
    }
    let mut stream = stream.into_inner();
    script.put(number, Saw::Raw(line.clone()));
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["type"], "synthesize");
    let text = event["data"]["text"].as_str().unwrap().to_owned();
    let act = script.next();
    script.put(number, Saw::Asked(text.clone()));
    let _ = wyoming_speech(&mut stream, &script, act, &text).await;
}

async fn wyoming_speech(
    stream: &mut TcpStream,
    script: &Script,
    act: Act,
    text: &str,
) -> Option<()> {
    match act {
        Act::Garbage => return stream.write_all(b"canary-of-the-provider\n").await.ok(),
        Act::Error => {
            let data = json!({"text": "canary-of-the-provider", "code": "x"});
            return event(stream, "error", &data, b"").await;
        }
        _ => {}
    }
    let mut released = script.release();
    if act == Act::Hold {
        wait(stream, &mut released).await?;
    }
    let hz = if act == Act::Other { 16_000 } else { 8_000 };
    let form = json!({"rate": hz, "width": 2, "channels": 1});
    event(stream, "audio-start", &form, b"").await?;
    for (n, Piece { octets, .. }) in pieces(text, false).into_iter().enumerate() {
        if n == 1 && act == Act::Cut {
            return None;
        }
        if n == 1 && act == Act::HoldAfterFirst {
            wait(stream, &mut released).await?;
        }
        event(stream, "audio-chunk", &form, &octets).await?;
    }
    event(stream, "audio-stop", &json!({}), b"").await?;
    // Servers leave the connection open for another sentence.
    gone(stream).await;
    Some(())
}

/// An event as the reference library writes it: its data after the line.
async fn event(stream: &mut TcpStream, kind: &str, data: &Value, payload: &[u8]) -> Option<()> {
    let data = data.to_string();
    let head = json!({"type": kind, "version": "1.5.4", "data_length": data.len(),
        "payload_length": payload.len()});
    let all = [head.to_string().as_bytes(), b"\n", data.as_bytes(), payload].concat();
    stream.write_all(&all).await.ok()
}
