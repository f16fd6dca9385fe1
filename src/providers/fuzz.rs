//! Body of the fuzz target for everything a provider can send.

use bytes::Bytes;

use super::socket::Incoming;
use super::{llm, realtime, stt, tts};

/// Events one message of a voice may become: audio, an end, a failure.
const EVENTS_MAX: usize = 4;

/// Feeds octets to every parser of provider messages, as text and as binary.
///
/// # Panics
/// When a parser gives more than it was given, or a reply's guard depends on how the reply was cut.
pub fn provider_message(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let incoming = Incoming::Binary(Bytes::copy_from_slice(data));
    assert_eq!(stt::ws::parse(&incoming), 0, "recognisers say nothing in binary");
    // A message of tokens may end a turn at each of them.
    assert!(stt::ws::parse(&Incoming::Text(text.clone())) <= 8 + data.len(), "many meanings");
    let _ = stt::openai::parse(data);
    let _ = llm::openai::parse(data);
    // An event of n octets has at most n / 2 parts, each of which is a delta and perhaps a call.
    for parse in [llm::anthropic::parse, llm::gemini::parse] {
        assert!(parse(data) <= 2 * data.len() + 2, "more deltas than octets");
    }
    assert!(tts::wyoming::parse(data) * 2 <= data.len(), "more audio than octets");
    assert!(tts::openai::parse(data) * 2 <= data.len(), "more audio than octets");
    let spoken = realtime::protocol::parse(Incoming::Text(text.clone()));
    assert!(spoken <= data.len(), "more sound than octets");
    let whole = llm::sse::guard(data, data.len().max(1));
    for size in [1, 7] {
        let pieces = llm::sse::guard(data, size);
        // A chunk with a bad line is refused whole: what stood before it may pass only in pieces.
        assert_eq!(pieces.is_none(), whole.is_none(), "refused only when cut by {size}");
        assert!(whole.is_none() || pieces == whole, "changed when cut by {size}");
    }
    for parse in [
        tts::deepgram::parse,
        tts::elevenlabs::parse,
        tts::cartesia::parse,
        tts::rime::parse,
        tts::xai::parse,
        tts::soniox::parse,
    ] {
        assert!(parse(Incoming::Text(text.clone())) <= EVENTS_MAX, "one text, many events");
        let binary = Incoming::Binary(Bytes::copy_from_slice(data));
        assert!(parse(binary) <= EVENTS_MAX, "one message, many events");
    }
}

#[cfg(test)]
mod tests;
