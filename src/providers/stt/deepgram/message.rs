//! What the server says, read with suspicion.

use serde::Deserialize;

use crate::providers::stt::ws::confidence;

/// A message that is not the protocol's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotTheProtocol;

/// One result.
#[derive(Debug, PartialEq)]
pub(super) struct Results {
    /// Where its audio ends on the connection's time axis.
    pub(super) end_seconds: f64,
    pub(super) is_final: bool,
    pub(super) from_finalize: bool,
    pub(super) transcript: String,
    pub(super) confidence: Option<f32>,
}

/// Reads a message; `None` is a kind that is none of our business.
pub(super) fn parse(text: &str) -> Result<Option<Results>, NotTheProtocol> {
    let kind: Kind = serde_json::from_str(text).map_err(|_| NotTheProtocol)?;
    if kind.kind != "Results" {
        return Ok(None);
    }
    let wire: Wire = serde_json::from_str(text).map_err(|_| NotTheProtocol)?;
    let best = wire.channel.alternatives.into_iter().next().unwrap_or_default();
    Ok(Some(Results {
        end_seconds: wire.start + wire.duration,
        is_final: wire.is_final,
        from_finalize: wire.from_finalize,
        transcript: best.transcript,
        confidence: confidence(best.confidence),
    }))
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    start: f64,
    #[serde(default)]
    duration: f64,
    #[serde(default)]
    is_final: bool,
    #[serde(default)]
    from_finalize: bool,
    channel: Channel,
}

#[derive(Deserialize)]
struct Channel {
    #[serde(default)]
    alternatives: Vec<Alternative>,
}

#[derive(Default, Deserialize)]
struct Alternative {
    #[serde(default)]
    transcript: String,
    confidence: Option<f32>,
}
