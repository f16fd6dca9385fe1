//! Body of the fuzz target for everything a provider can send.

use bytes::Bytes;

use super::socket::Incoming;
use super::{llm, stt, tts};

/// Feeds octets to every parser of provider messages, as text and as binary. Must return.
pub fn provider_message(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let _ = stt::deepgram::parse(&text);
    let _ = stt::openai::parse(data);
    let _ = llm::openai::parse(data);
    let _ = tts::openai::parse(data);
    for parse in [tts::deepgram::parse, tts::elevenlabs::parse] {
        let _ = parse(Incoming::Text(text.clone()));
        let _ = parse(Incoming::Binary(Bytes::copy_from_slice(data)));
    }
}

#[cfg(test)]
mod tests;
