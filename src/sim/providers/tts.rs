//! The mock voices: Deepgram `speak` v1, ElevenLabs `multi-stream-input` and `/audio/speech`. A sentence is a tone.

mod voice;

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{
    ErrorResponse, Request as Upgrade, Response,
};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::http::{self, Request};
use super::script::TtsScript;
use super::{Fault, Peer, What};

pub(super) use self::voice::websocket;

/// Longest sentence that is spoken: the length of a mock's answer is bounded.
const CHARS_MAX: u32 = 600;

/// Buffers of a mock's connection.
const BUFFER_BYTES: usize = 4 * 1024;

/// Little-endian samples of octets.
pub(super) fn pairs(octets: &[u8]) -> impl Iterator<Item = i16> + '_ {
    octets.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair))
}

/// The tone of one sentence, in octets.
pub(super) struct Tone {
    at: u64,
    end: u64,
    rate: f32,
    hz: f32,
    script: TtsScript,
}

impl Tone {
    /// The `number`th sentence of a connection, from 0.
    pub(super) fn new(script: &TtsScript, text: &str, rate: u32, number: u16) -> Self {
        let chars = u32::try_from(text.trim().chars().count()).unwrap_or(CHARS_MAX).min(CHARS_MAX);
        let length = script.per_char * chars;
        let end = (length.as_secs_f64() * f64::from(rate)) as u64;
        let hz = script.tone_hz + script.tone_step_hz * f32::from(number);
        Self { at: 0, end, rate: rate as f32, hz, script: script.clone() }
    }

    /// The next chunk; `None` when the sentence is over.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let chunk = (self.script.chunk.as_secs_f32() * self.rate) as u64;
        let upto = (self.at + chunk.max(1)).min(self.end);
        if self.at >= upto {
            return None;
        }
        let mut out = Vec::with_capacity((upto - self.at) as usize * 2);
        for index in self.at..upto {
            let phase = index as f32 / self.rate * self.hz;
            let value = (phase.fract() * std::f32::consts::TAU).sin() * self.script.level;
            out.extend_from_slice(&((value * 32_767.0) as i16).to_le_bytes());
        }
        self.at = upto;
        Some(out)
    }

    /// Pause between chunks.
    pub(super) fn gap(&self) -> Duration {
        if self.script.pace > 0.0 {
            self.script.chunk.div_f32(self.script.pace)
        } else {
            Duration::ZERO
        }
    }
}

/// A value of a URL's query, as it stands.
pub(super) fn query<'a>(uri: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = uri.split_once('?')?;
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|p| p.1)
}

/// Shakes hands, or fails as it is told. Gives the socket and the URI asked for.
pub(super) async fn accept(
    mut stream: TcpStream,
    fault: &Fault,
) -> Option<(WebSocketStream<TcpStream>, String)> {
    match fault {
        Fault::Hang => {
            http::until_closed(&mut stream).await;
            return None;
        }
        Fault::Status(status) => {
            http::whole(&mut stream, *status, "application/json", b"{}").await?;
            return None;
        }
        _ => {}
    }
    let mut uri = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let callback = |request: &Upgrade, response: Response| -> Result<Response, ErrorResponse> {
        uri = request.uri().to_string();
        Ok(response)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(1 << 20);
    let socket =
        tokio_tungstenite::accept_hdr_async_with_config(stream, callback, Some(config)).await;
    socket.ok().map(|socket| (socket, uri))
}

/// A mono 16-bit WAV header without a length, as streaming servers write it.
fn wav_header(rate: u32) -> Vec<u8> {
    let mut out = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    out.extend_from_slice(&rate.to_le_bytes());
    out.extend_from_slice(&(rate * 2).to_le_bytes());
    out.extend_from_slice(b"\x02\0\x10\0data\xff\xff\xff\xff");
    out
}

pub(super) async fn speech(
    stream: &mut TcpStream,
    peer: &Peer,
    request: &Request,
    fault: &Fault,
) -> Option<()> {
    let script = peer.shared.script().tts;
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let text = body.get("input").and_then(Value::as_str).unwrap_or_default().to_owned();
    peer.put(What::TtsText(text.clone()));
    let late = if let Fault::SlowFirstByte(late) = fault { *late } else { Duration::ZERO };
    http::pause(stream, script.first_audio + late).await?;
    if *fault == Fault::BadJson {
        return http::whole(stream, 200, "application/json", b"{\"error\":").await;
    }
    http::begin(stream, "audio/pcm").await?;
    if *fault == Fault::Empty {
        return http::chunk(stream, b"").await;
    }
    let rate = if *fault == Fault::WrongRate { 48_000 } else { 24_000 };
    if *fault == Fault::WrongRate {
        http::chunk(stream, &wav_header(rate)).await?;
    }
    let mut tone = Tone::new(&script, &text, rate, 0);
    let mut first = true;
    while let Some(octets) = tone.next() {
        if !first && http::pause(stream, tone.gap()).await.is_none() {
            peer.put(What::TtsCanceled);
            return None;
        }
        http::chunk(stream, &octets).await?;
        if std::mem::take(&mut first) {
            peer.put(What::TtsFirstAudio);
        }
        match fault {
            Fault::Cut { .. } => return None,
            Fault::Stall => {
                http::until_closed(stream).await;
                return None;
            }
            _ => {}
        }
    }
    peer.put(What::TtsAudioSent);
    http::chunk(stream, b"").await
}
