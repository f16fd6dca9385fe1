//! What the mock servers say, when, and how they fail.

use std::time::Duration;

/// The whole script.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The recognisers.
    pub stt: SttScript,
    /// The models.
    pub llm: LlmScript,
    /// The voices.
    pub tts: TtsScript,
}

/// How the mock recogniser finds its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognise {
    /// The next transcript of the list for each `Finalize` of a connection, from the start again after the last.
    Scripted(Vec<String>),
    /// One word a run of equal samples: samples of value 7 are the word `w7`, zero is silence. It
    /// proves which audio was heard.
    Levels,
}

/// What a recogniser does.
#[derive(Clone, Debug)]
pub struct SttScript {
    /// How it finds its words.
    pub recognise: Recognise,
    /// From `Finalize` (or the end of a segment) to the final transcript.
    pub final_delay: Duration,
    /// In [`Recognise::Levels`]: an endpointing final after so many words.
    pub words_per_final: usize,
    /// Whether `Finalize` is answered at all.
    pub answers_finalize: bool,
}

impl Default for SttScript {
    fn default() -> Self {
        Self {
            recognise: Recognise::Scripted(vec!["hello there".to_owned()]),
            final_delay: Duration::from_millis(50),
            words_per_final: 3,
            answers_finalize: true,
        }
    }
}

/// What a model does.
#[derive(Clone, Debug)]
pub struct LlmScript {
    /// Reply to the conversation's first, second, third user message; from the start again after the last.
    /// `{result}` stands for what the tools gave, joined by commas, `{said}` for the user's last words.
    pub replies: Vec<String>,
    /// Tools that are called before the first, second, third reply: names and arguments.
    pub calls: Vec<Vec<(String, String)>>,
    /// From the request to the first token.
    pub first_token: Duration,
    /// Between tokens; a token is a word.
    pub token_gap: Duration,
    /// Reply to a request for JSON by `response_format`, instead of the others; empty: it gets those.
    pub json: String,
    /// Tokens in and out that the last event of a reply counts; none: it does not.
    pub usage: Option<(u64, u64)>,
}

impl Default for LlmScript {
    fn default() -> Self {
        Self {
            replies: vec!["I can help with that. What is your name?".to_owned()],
            calls: Vec::new(),
            first_token: Duration::from_millis(80),
            token_gap: Duration::from_millis(10),
            json: String::new(),
            usage: None,
        }
    }
}

/// What a voice does: a sentence is a tone.
#[derive(Clone, Debug)]
pub struct TtsScript {
    /// From a sentence's text to its first audio.
    pub first_audio: Duration,
    /// Audio in one message.
    pub chunk: Duration,
    /// How much faster than real time the audio is sent; 0: all at once.
    pub pace: f32,
    /// Frequency of the first sentence's tone.
    pub tone_hz: f32,
    /// How much higher each next sentence of a connection is, so that a recording shows which is which.
    pub tone_step_hz: f32,
    /// Peak level of the tone, 0 to 1 of full scale.
    pub level: f32,
    /// Length of the audio for one character of text.
    pub per_char: Duration,
}

impl Default for TtsScript {
    fn default() -> Self {
        Self {
            first_audio: Duration::from_millis(60),
            chunk: Duration::from_millis(100),
            pace: 4.0,
            tone_hz: 440.0,
            tone_step_hz: 0.0,
            level: 0.3,
            per_char: Duration::from_millis(50),
        }
    }
}

/// How a server fails.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// Nothing listens on the port.
    Refused,
    /// The connection is accepted and nothing is ever said.
    Hang,
    /// Every request or handshake is answered with this HTTP status.
    Status(u16),
    /// The first octet of an answer comes so much later.
    SlowFirstByte(Duration),
    /// The connection is cut in the middle: of an answer, or after so many messages of audio.
    Cut {
        /// STT over WebSocket: audio messages until the cut. TTS over WebSocket: 0 is before the first
        /// audio of a sentence. Others: after the first piece.
        after: usize,
    },
    /// Nothing more comes from the middle on; the connection stays open.
    Stall,
    /// Text that is not JSON where JSON is due; for audio over HTTP: a JSON error with status 200.
    BadJson,
    /// Audio at twice the rate, said so in a WAV header over HTTP. A recogniser takes its audio for another rate: its
    /// times are off, and it finds no words. A model's tokens come one in three seconds.
    WrongRate,
    /// Answers without audio, text or transcript.
    Empty,
    /// This one, the next time only.
    Once(Box<Fault>),
}
