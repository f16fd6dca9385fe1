//! Azure text to speech over REST: one request a sentence, SSML in, headerless audio out.
//!
//! Every resource belongs to a region, and the region is the host: `base_url` is
//! `https://<region>.tts.speech.microsoft.com`. The sentence is put into the SSML as text and nothing else:
//! markup in it is spoken, not obeyed. Word timings are for the vendor's own libraries only.
//! Source: learn.microsoft.com, `azure/ai-services/speech-service/rest-text-to-speech` and
//! `speech-synthesis-markup-structure`.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::decoder::Decoder;
use super::sentences::{self, Chunks, Speaker, WARM_UP, WARM_UP_BYTES_MAX};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, Encoding, ProviderConfig, or_default};
use crate::providers::vendors::Maker;
use crate::providers::{ProviderError, Stage, http};
use crate::types::{SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> =
    Maker { capabilities: &["streaming", "speed", "voice", "language"], models: &[], build };

/// Where the key goes.
pub(in crate::providers) const KEY_HEADER: &str = "ocp-apim-subscription-key";

/// The rates that have a headerless 16-bit format.
const RATES: &str = "8000, 16000, 22050, 24000, 44100, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    let encoding = config.encoding()?;
    let rates = if encoding == Encoding::Mulaw { "8000" } else { RATES };
    Ok(Arc::new(AzureTts {
        name: name.to_owned(),
        base_url: config.http_url("https://eastus.tts.speech.microsoft.com")?,
        api_key: key,
        voice: or_default(&config.voice, "en-US-AvaNeural"),
        sample_rate: config.rate(SampleRate::HZ_8000, rates)?,
        encoding,
    }))
}

/// Settings of one voice.
#[derive(Clone, Debug)]
pub struct AzureTts {
    /// Name in the configuration.
    pub name: String,
    /// The region's host, by default `https://eastus.tts.speech.microsoft.com`.
    pub base_url: String,
    /// Key of the speech resource.
    pub api_key: Secret,
    /// Voice when the agent names none, for example `en-US-AvaNeural`.
    pub voice: String,
    /// Rate to ask for.
    pub sample_rate: SampleRate,
    /// How samples are written on the wire.
    pub encoding: Encoding,
}

/// The vendor's name of a headerless format.
fn output_format(encoding: Encoding, rate: SampleRate) -> &'static str {
    match (encoding, rate.hz()) {
        (Encoding::Mulaw, _) => "raw-8khz-8bit-mono-mulaw",
        (_, 16_000) => "raw-16khz-16bit-mono-pcm",
        (_, 22_050) => "raw-22050hz-16bit-mono-pcm",
        (_, 24_000) => "raw-24khz-16bit-mono-pcm",
        (_, 44_100) => "raw-44100hz-16bit-mono-pcm",
        (_, 48_000) => "raw-48khz-16bit-mono-pcm",
        _ => "raw-8khz-16bit-mono-pcm",
    }
}

/// Text as it stands in XML: no markup, and no character that XML 1.0 has no place for.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
}

/// The language of a voice: its name begins with it.
fn language_of<'a>(voice: &'a str, asked: &'a str) -> &'a str {
    let mut dashes = voice.match_indices('-').map(|(at, _)| at);
    let (_, second) = (dashes.next(), dashes.next());
    second.and_then(|at| voice.get(..at)).unwrap_or(if asked.is_empty() { "en-US" } else { asked })
}

/// The document for one sentence.
fn ssml(text: &str, voice: &str, language: &str, speed: f32) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    out.push_str(r#"<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang=""#);
    escape(language_of(voice, language), &mut out);
    out.push_str(r#""><voice name=""#);
    escape(voice, &mut out);
    out.push_str(r#"">"#);
    let hurries = speed > 0.0 && (speed - 1.0).abs() > f32::EPSILON;
    if hurries {
        // The vendor takes half to twice the usual speed. Writing to a String cannot fail.
        let _ = write!(out, r#"<prosody rate="{:.2}">"#, speed.clamp(0.5, 2.0));
    }
    escape(text, &mut out);
    if hurries {
        out.push_str("</prosody>");
    }
    out.push_str("</voice></speak>");
    out
}

impl Tts for AzureTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.voice)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let this = self.clone();
        Box::pin(async move {
            let client = http::client()
                .map_err(|error| http::error(&this.name, Stage::Tts, "make a client", error))?;
            // The first sentence must not wait for a handshake; the key is not needed for that.
            let url = format!("{}/", this.base_url.trim_end_matches('/'));
            tokio::spawn(http::warm_up(url, Secret::default(), WARM_UP, WARM_UP_BYTES_MAX));
            Ok(sentences::open(Session { voice: this, client, params }))
        })
    }
}

struct Session {
    voice: AzureTts,
    client: reqwest::Client,
    params: TtsParams,
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
        let Self { voice, client, params } = self;
        let name = if params.voice.is_empty() { &voice.voice } else { &params.voice };
        let url = format!("{}/cognitiveservices/v1", voice.base_url.trim_end_matches('/'));
        let mut request = client
            .post(url)
            .header("content-type", "application/ssml+xml")
            .header("x-microsoft-outputformat", output_format(voice.encoding, voice.sample_rate))
            .body(ssml(text, name, &params.language, params.speed));
        if !voice.api_key.is_empty() {
            request = request.header(KEY_HEADER, voice.api_key.expose());
        }
        let decoder = Decoder::new(voice.sample_rate, voice.encoding);
        Box::pin(sentences::stream(&voice.name, request, decoder, out))
    }
}

#[cfg(test)]
mod tests {
    use super::{language_of, ssml};

    #[test]
    fn text_is_only_text() {
        let document = ssml("5 < 6 & \"so\"\u{0}\n</voice>", "en-US-AvaNeural", "", 1.0);
        let wanted = r#"<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="en-US"><voice name="en-US-AvaNeural">5 &lt; 6 &amp; &quot;so&quot; &lt;/voice&gt;</voice></speak>"#;
        assert_eq!(document, wanted);
        assert!(ssml("x", "v", "de", 3.0).contains(r#"xml:lang="de""#));
        assert!(ssml("x", "v", "de", 3.0).contains(r#"<prosody rate="2.00">x</prosody>"#));
        assert_eq!(language_of("zh-CN-XiaoxiaoNeural", "en"), "zh-CN");
    }
}
