//! The Wyoming protocol over TCP, as Home Assistant's voice programs speak it: Piper and others.
//!
//! A line of JSON, then as many octets of more JSON and of audio as it says. Each sentence has a connection
//! of its own: closing it is the only way to stop a sentence, and on a local network it costs nothing.
//! The server says the rate with its audio. It has no timing of words, no speed and no key.
//! Source: rhasspy/wyoming, the description of the protocol.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::sentences::{self, Chunks, STALL, Speaker};
use super::{Tts, TtsParams, TtsSession, ws};
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::http::CONNECT_TIMEOUT;
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError};
use crate::types::{Pcm, SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> =
    Maker { capabilities: &["streaming", "voice", "language"], models: &[], build };

/// Longest line, and longest JSON after it. Lists of voices are long, but they are not asked for.
const JSON_BYTES_MAX: usize = 64 * 1024;

/// Largest piece of audio: ten seconds of 48 kHz.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

fn build(name: &str, config: &ProviderConfig, _: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    config.pcm_only()?;
    let url = config.tcp_url("tcp://127.0.0.1:10200")?;
    Ok(Arc::new(WyomingTts { name: name.to_owned(), address: url, voice: config.voice.clone() }))
}

/// Settings of one server.
#[derive(Clone, Debug)]
pub struct WyomingTts {
    /// Name in the configuration.
    pub name: String,
    /// Host and port, for example `127.0.0.1:10200`.
    pub address: String,
    /// Voice when the agent names none; empty: the server's own.
    pub voice: String,
}

impl Tts for WyomingTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        (!self.voice.is_empty()).then_some(&self.voice)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let this = self.clone();
        Box::pin(async move { Ok(sentences::open(Session { voice: this, params })) })
    }
}

struct Session {
    voice: WyomingTts,
    params: TtsParams,
}

/// The line that asks for a sentence.
fn synthesize(text: &str, voice: &str, language: &str) -> Vec<u8> {
    let mut data = json!({"text": text});
    let wanted = [("name", voice), ("language", language)];
    let wanted: serde_json::Map<String, Value> = wanted
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    // A language alone would take the server's own voice away from it.
    if wanted.contains_key("name")
        && let Value::Object(fields) = &mut data
    {
        fields.insert("voice".to_owned(), Value::Object(wanted));
    }
    let mut line = json!({"type": "synthesize", "data": data}).to_string().into_bytes();
    line.push(b'\n');
    line
}

#[derive(Debug, Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    data_length: Option<u64>,
    #[serde(default)]
    payload_length: Option<u64>,
}

/// What an event means for a sentence.
#[derive(Debug, PartialEq)]
enum Meaning {
    Audio(Pcm),
    Over,
    Failed,
    Nothing,
}

/// Octets are not the protocol.
#[derive(Debug, PartialEq, Eq)]
struct NotWyoming;

/// Cuts octets into events.
#[derive(Debug, Default)]
struct Reader {
    rest: BytesMut,
    odd: Option<u8>,
}

fn length(value: Option<u64>, most: usize) -> Result<usize, NotWyoming> {
    let length = usize::try_from(value.unwrap_or(0)).map_err(|_| NotWyoming)?;
    if length > most { Err(NotWyoming) } else { Ok(length) }
}

impl Reader {
    /// The next whole event; `None` while octets are missing.
    fn next(&mut self) -> Result<Option<Meaning>, NotWyoming> {
        let Some(line) = self.rest.iter().position(|octet| *octet == b'\n') else {
            return if self.rest.len() > JSON_BYTES_MAX { Err(NotWyoming) } else { Ok(None) };
        };
        if line > JSON_BYTES_MAX {
            return Err(NotWyoming);
        }
        let octets = self.rest.get(..line).unwrap_or_default();
        let head: Head = serde_json::from_slice(octets).map_err(|_| NotWyoming)?;
        let more = length(head.data_length, JSON_BYTES_MAX)?;
        let payload = length(head.payload_length, PAYLOAD_BYTES_MAX)?;
        if self.rest.len() < line + 1 + more + payload {
            return Ok(None);
        }
        self.rest.advance(line + 1);
        let more = self.rest.split_to(more);
        let payload = self.rest.split_to(payload);
        let more = match more.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&more).map_err(|_| NotWyoming)?,
        };
        self.meaning(&head, &more, &payload).map(Some)
    }

    fn meaning(&mut self, head: &Head, more: &Value, audio: &[u8]) -> Result<Meaning, NotWyoming> {
        let number = |key: &str| {
            more.get(key).or_else(|| head.data.get(key)).and_then(Value::as_u64).ok_or(NotWyoming)
        };
        Ok(match head.kind.as_str() {
            "audio-chunk" => {
                if (number("width")?, number("channels")?) != (2, 1) {
                    return Err(NotWyoming);
                }
                let hz = u32::try_from(number("rate")?).map_err(|_| NotWyoming)?;
                let rate = SampleRate::new(hz).ok_or(NotWyoming)?;
                let samples = ws::samples(&mut self.odd, audio);
                if samples.is_empty() {
                    Meaning::Nothing
                } else {
                    Meaning::Audio(Pcm { rate, samples })
                }
            }
            "audio-stop" => Meaning::Over,
            "error" => Meaning::Failed,
            _ => Meaning::Nothing,
        })
    }
}

impl Session {
    fn error(&self, kind: FailureKind, detail: &str) -> ProviderError {
        sentences::error(&self.voice.name, kind, detail)
    }

    async fn connect(&self) -> Result<TcpStream, ProviderError> {
        let connecting = TcpStream::connect(&self.voice.address);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| self.error(FailureKind::Stalled, "connect: no answer within 3 s"))?
            .map_err(|_| self.error(FailureKind::Unavailable, "connect: nothing listens"))?;
        // Without it a sentence is only later.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn stream(&self, text: &str, out: &Chunks) -> Result<(), ProviderError> {
        let mut stream = self.connect().await?;
        let voice = match self.params.voice.as_str() {
            "" => &self.voice.voice,
            voice => voice,
        };
        let cut = |_| self.error(FailureKind::Cut, "the connection ended");
        let stalled = |_| self.error(FailureKind::Stalled, "read the speech: nothing within 4 s");
        let line = synthesize(text, voice, &self.params.language);
        tokio::time::timeout(STALL, stream.write_all(&line))
            .await
            .map_err(stalled)?
            .map_err(cut)?;
        let mut reader = Reader::default();
        let mut empty = true;
        loop {
            let read = stream.read_buf(&mut reader.rest);
            let length = tokio::time::timeout(STALL, read).await.map_err(stalled)?.map_err(cut)?;
            if length == 0 {
                return Err(self.error(FailureKind::Cut, "the connection ended"));
            }
            loop {
                let meaning = reader.next().map_err(|NotWyoming| {
                    self.error(FailureKind::Protocol, "not the protocol, or not mono 16-bit PCM")
                })?;
                match meaning {
                    None => break,
                    Some(Meaning::Nothing) => {}
                    Some(Meaning::Audio(pcm)) => {
                        empty = false;
                        if out.send(Ok(pcm)).await.is_err() {
                            return Ok(());
                        }
                    }
                    Some(Meaning::Over) if empty => {
                        let detail = "the answer holds no audio";
                        return Err(self.error(FailureKind::Protocol, detail));
                    }
                    Some(Meaning::Over) => return Ok(()),
                    // The server's own words may quote the text: they are left out.
                    Some(Meaning::Failed) => {
                        let detail = "the provider reports an error";
                        return Err(self.error(FailureKind::Unavailable, detail));
                    }
                }
            }
        }
    }
}

impl Speaker for Session {
    fn name(&self) -> &str {
        &self.voice.name
    }

    fn speak<'a>(
        &'a self,
        text: &'a str,
        out: &'a Chunks,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.stream(text, out))
    }
}

/// Reads any answer as a sentence does, in two pieces. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(data: &[u8]) -> usize {
    let mut reader = Reader::default();
    let mut samples = 0;
    let (head, tail) = data.split_at(data.len() / 3);
    for piece in [head, tail] {
        reader.rest.extend_from_slice(piece);
        while let Ok(Some(meaning)) = reader.next() {
            if let Meaning::Audio(pcm) = meaning {
                samples += pcm.samples.len();
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::{Meaning, NotWyoming, Reader, synthesize};

    fn read(octets: &[u8]) -> Result<Option<Meaning>, NotWyoming> {
        let mut reader = Reader::default();
        reader.rest.extend_from_slice(octets);
        reader.next()
    }

    #[test]
    fn data_stands_in_the_line_or_after_it() {
        let inline = b"{\"type\":\"audio-chunk\",\"data\":{\"rate\":16000,\"width\":2,\"channels\":1},\"payload_length\":2}\n\x01\0";
        let Ok(Some(Meaning::Audio(pcm))) = read(inline) else { panic!("no audio") };
        assert_eq!((pcm.rate.hz(), pcm.samples), (16_000, vec![1]));
        let data = br#"{"rate":22050,"width":2,"channels":1}"#;
        let head = format!(
            "{{\"type\":\"audio-chunk\",\"data_length\":{},\"payload_length\":4}}\n",
            data.len()
        );
        let after = [head.as_bytes(), data, b"\x01\0\x02\0"].concat();
        let Ok(Some(Meaning::Audio(pcm))) = read(&after) else { panic!("no audio") };
        assert_eq!((pcm.rate.hz(), pcm.samples), (22_050, vec![1, 2]));
        assert_eq!(read(&after[..after.len() - 1]), Ok(None));
        assert_eq!(read(b"{\"type\":\"audio-stop\"}\n"), Ok(Some(Meaning::Over)));
        assert_eq!(read(b"{\"type\":\"info\",\"data\":{}}\n"), Ok(Some(Meaning::Nothing)));
    }

    #[test]
    fn what_is_not_the_protocol_is_refused() {
        assert_eq!(read(b"HTTP/1.1 400 Bad Request\r\n"), Err(NotWyoming));
        assert_eq!(read(&[b'x'; 70_000]), Err(NotWyoming));
        let huge = b"{\"type\":\"audio-chunk\",\"payload_length\":99999999999999999999}\n";
        assert_eq!(read(huge), Err(NotWyoming));
        let stereo =
            b"{\"type\":\"audio-chunk\",\"data\":{\"rate\":16000,\"width\":2,\"channels\":2}}\n";
        assert_eq!(read(stereo), Err(NotWyoming));
    }

    #[test]
    fn a_language_goes_with_a_voice_only() {
        let bare = String::from_utf8(synthesize("a\nb", "", "de")).unwrap();
        assert_eq!(bare, "{\"data\":{\"text\":\"a\\nb\"},\"type\":\"synthesize\"}\n");
        let named = String::from_utf8(synthesize("a", "v", "de")).unwrap();
        assert!(named.contains(r#""voice":{"language":"de","name":"v"}"#), "{named}");
    }
}
