//! The protocol that OpenAI began and others speak: JSON events both ways, audio in base64.
//!
//! Every request carries an `event_id` that says what it was, so that a refusal finds its way back.
//! Source: OpenAI API reference, `realtime`, client and server events.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Outcome, RealtimeParams, RealtimeUsage};
use crate::audio::g711;
use crate::providers::FailureKind;
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::llm::{ARGUMENTS_BYTES_MAX, Role, TOOL_CALLS_MAX, ToolCall};
use crate::providers::socket::Incoming;
use crate::types::{Pcm, Pii, SampleRate, TurnSignal};

/// Least audio that a commit may hold; silence fills it up.
const COMMIT_MS_MIN: u32 = 100;
/// Committed speech whose text is still to come, and names of tools that were announced.
const ITEMS_MAX: usize = 32;
/// Characters kept of a transcript under way.
const PARTIAL_CHARS_MAX: usize = 10_000;
/// Words of a provider about an error that are kept: a code, not a text.
const CODE_CHARS_MAX: usize = 64;

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Signed 16 bits, little-endian.
    Pcm(SampleRate),
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl Format {
    /// What the settings say; a telephone line's own coding if they say nothing.
    pub(super) fn of(config: &ProviderConfig, rates: &'static str) -> Result<Self, ConfigError> {
        let g711 = match config.encoding.as_str() {
            "" | "mulaw" => Self::Pcmu,
            "alaw" => Self::Pcma,
            "pcm" => return config.rate(SampleRate::HZ_24000, rates).map(Self::Pcm),
            word => {
                let (word, allowed) = (word.to_owned(), "pcm, mulaw, alaw");
                return Err(ConfigError::Encoding { word, allowed });
            }
        };
        config.rate(SampleRate::HZ_8000, "8000").map(|_| g711)
    }

    pub(super) fn rate(self) -> SampleRate {
        match self {
            Self::Pcm(rate) => rate,
            Self::Pcmu | Self::Pcma => SampleRate::HZ_8000,
        }
    }

    pub(super) fn json(self) -> Value {
        match self {
            Self::Pcm(rate) => json!({"type": "audio/pcm", "rate": rate.hz()}),
            Self::Pcmu => json!({"type": "audio/pcmu"}),
            Self::Pcma => json!({"type": "audio/pcma"}),
        }
    }

    fn write(self, samples: &[i16]) -> Vec<u8> {
        match self {
            Self::Pcm(_) => samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            Self::Pcmu => samples.iter().map(|sample| g711::encode_ulaw(*sample)).collect(),
            Self::Pcma => samples.iter().map(|sample| g711::encode_alaw(*sample)).collect(),
        }
    }

    /// Reads octets after the one that was left over, which it replaces.
    fn read(self, octets: &[u8], odd: &mut Option<u8>) -> Vec<i16> {
        match self {
            Self::Pcm(_) => {
                let whole: Vec<u8> = odd.take().into_iter().chain(octets.iter().copied()).collect();
                let (pairs, rest) = whole.as_chunks::<2>();
                *odd = rest.first().copied();
                pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
            }
            Self::Pcmu => octets.iter().map(|octet| g711::decode_ulaw(*octet)).collect(),
            Self::Pcma => octets.iter().map(|octet| g711::decode_alaw(*octet)).collect(),
        }
    }
}

/// What a vendor says differently.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    /// How samples are written.
    pub(super) format: Format,
    /// Voice when a call names none.
    pub(super) voice: String,
    /// The `session` of `session.update`.
    pub(super) session: fn(&Dialect, &RealtimeParams) -> Value,
    /// Asks for exact words; the first is the `event_id`.
    pub(super) say: fn(&str, &str) -> Value,
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// A commit.
    Commit(u32),
    /// A response.
    Response(u32),
    /// A cancellation.
    Cancel,
    /// Something that the conversation can do without.
    Detail,
    /// No request of ours.
    Nothing,
}

/// What a message says.
#[derive(Debug)]
pub(super) enum Heard {
    Nothing,
    Garbage,
    Ready,
    Partial(Pii<String>),
    Transcript { text: Pii<String>, commit: Option<u32>, understood: bool },
    Turn(TurnSignal),
    Began { response: String },
    Text { response: String, item: String, delta: String },
    Audio { response: String, item: String, pcm: Pcm },
    ToolCalls { response: String, calls: Vec<ToolCall> },
    Done { response: String, outcome: Outcome, usage: RealtimeUsage, calls: Vec<ToolCall> },
    Refused { kind: FailureKind, code: String, known: Known },
}

/// A stretch of the caller's speech that the provider has a name for.
#[derive(Debug)]
struct Stretch {
    item: String,
    commit: Option<u32>,
    text: String,
}

/// The writer and reader of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    dialect: Dialect,
    /// Samples since the last commit.
    uncommitted: u64,
    /// Commits that have no name yet.
    commits: VecDeque<u32>,
    stretches: VecDeque<Stretch>,
    /// Item, call and name of tools that were announced.
    announced: VecDeque<(String, String, String)>,
    /// Calls that were given out.
    called: VecDeque<String>,
    /// Half a sample, and whose.
    odd: (String, Option<u8>),
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    item_id: String,
    #[serde(default)]
    response_id: String,
    #[serde(default)]
    delta: String,
    #[serde(default)]
    transcript: String,
    #[serde(default)]
    call_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
    item: Option<Item>,
    response: Option<Response>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    id: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    call_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    id: String,
    #[serde(default)]
    status: String,
    status_details: Option<Details>,
    #[serde(default)]
    output: Vec<Item>,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Details {
    error: Option<Refusal>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    event_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
    input_token_details: Kinds,
    output_token_details: Kinds,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Kinds {
    audio_tokens: u64,
}

impl From<Tokens> for RealtimeUsage {
    /// What is not said to be sound is text.
    fn from(tokens: Tokens) -> Self {
        let audio_in = tokens.input_token_details.audio_tokens.min(tokens.input_tokens);
        let audio_out = tokens.output_token_details.audio_tokens.min(tokens.output_tokens);
        Self {
            text_in: tokens.input_tokens - audio_in,
            audio_in,
            text_out: tokens.output_tokens - audio_out,
            audio_out,
        }
    }
}

impl Wire {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            uncommitted: 0,
            commits: VecDeque::new(),
            stretches: VecDeque::new(),
            announced: VecDeque::new(),
            called: VecDeque::new(),
            odd: (String::new(), None),
        }
    }

    pub(super) fn settings(&self, params: &RealtimeParams) -> String {
        let session = (self.dialect.session)(&self.dialect, params);
        json!({"type": "session.update", "session": session}).to_string()
    }

    pub(super) fn audio(&mut self, samples: &[i16]) -> String {
        self.uncommitted += samples.len() as u64;
        let audio = STANDARD.encode(self.dialect.format.write(samples));
        json!({"type": "input_audio_buffer.append", "audio": audio}).to_string()
    }

    pub(super) fn commit(&mut self, id: u32) -> Vec<String> {
        let least = self.dialect.format.rate().samples_in_ms(COMMIT_MS_MIN);
        let missing = least.saturating_sub(usize::try_from(self.uncommitted).unwrap_or(least));
        let silence = (missing > 0).then(|| self.audio(&vec![0; missing]));
        self.uncommitted = 0;
        push(&mut self.commits, id);
        let event_id = format!("commit_{id}");
        let commit = json!({"type": "input_audio_buffer.commit", "event_id": event_id});
        silence.into_iter().chain([commit.to_string()]).collect()
    }

    pub(super) fn respond(&self, id: u32, tools: bool) -> String {
        let mut message = json!({"type": "response.create", "event_id": format!("response_{id}")});
        if !tools && let Some(map) = message.as_object_mut() {
            map.insert("response".to_owned(), json!({"tool_choice": "none"}));
        }
        message.to_string()
    }

    pub(super) fn say(&self, id: u32, text: &Pii<String>) -> String {
        (self.dialect.say)(&format!("response_{id}"), text.reveal()).to_string()
    }

    pub(super) fn cancel(&self) -> String {
        json!({"type": "response.cancel", "event_id": "cancel"}).to_string()
    }

    pub(super) fn truncate(&self, item: &str, audio_end_ms: u32) -> String {
        json!({
            "type": "conversation.item.truncate",
            "event_id": "detail_truncate",
            "item_id": item,
            "content_index": 0,
            "audio_end_ms": audio_end_ms,
        })
        .to_string()
    }

    pub(super) fn tool_result(&self, call: &str, output: &Pii<String>) -> String {
        let item = json!({
            "type": "function_call_output", "call_id": call, "output": output.reveal(),
        });
        json!({"type": "conversation.item.create", "event_id": "detail_tool", "item": item})
            .to_string()
    }

    /// Words as an item of the conversation; no words are no item.
    pub(super) fn item(&self, role: Role, text: &Pii<String>) -> Option<String> {
        if text.reveal().trim().is_empty() {
            return None;
        }
        let (role, kind) = match role {
            Role::User => ("user", "input_text"),
            Role::Assistant => ("assistant", "output_text"),
            Role::System | Role::Tool => ("system", "input_text"),
        };
        let content = json!([{"type": kind, "text": text.reveal()}]);
        let item = json!({"type": "message", "role": role, "content": content});
        let message =
            json!({"type": "conversation.item.create", "event_id": "detail_item", "item": item});
        Some(message.to_string())
    }

    pub(super) fn understand(&mut self, incoming: Incoming) -> Heard {
        let Incoming::Text(text) = incoming else { return Heard::Garbage };
        let Ok(message) = serde_json::from_str::<Message>(&text) else { return Heard::Garbage };
        match message.kind.as_str() {
            "session.updated" => Heard::Ready,
            "error" => refusal(message.error.unwrap_or_default()),
            "response.created" => match message.response {
                Some(response) => Heard::Began { response: response.id },
                None => Heard::Nothing,
            },
            "response.output_audio.delta" | "response.audio.delta" => self.sound(message),
            "response.output_audio_transcript.delta"
            | "response.audio_transcript.delta"
            | "response.output_text.delta"
            | "response.text.delta" => {
                let Message { response_id, item_id, delta, .. } = message;
                Heard::Text { response: response_id, item: item_id, delta }
            }
            "response.output_item.added" => {
                if let Some(item) = message.item.filter(|item| item.kind == "function_call") {
                    push(&mut self.announced, (item.id, item.call_id, item.name));
                }
                Heard::Nothing
            }
            "response.function_call_arguments.done" => self.tool_call(message),
            "response.done" => match message.response {
                Some(response) => self.done(response),
                None => Heard::Nothing,
            },
            kind => self.caller(kind, &message),
        }
    }

    /// What is about the caller's side.
    fn caller(&mut self, kind: &str, message: &Message) -> Heard {
        match kind {
            "input_audio_buffer.speech_started" => Heard::Turn(TurnSignal::Started),
            "input_audio_buffer.speech_stopped" => Heard::Turn(TurnSignal::Over),
            "input_audio_buffer.committed" => {
                let commit = self.commits.pop_front();
                let (item, text) = (message.item_id.clone(), String::new());
                push(&mut self.stretches, Stretch { item, commit, text });
                Heard::Nothing
            }
            "conversation.item.input_audio_transcription.delta" => {
                let Some(stretch) = self.stretch(&message.item_id) else { return Heard::Nothing };
                let room = PARTIAL_CHARS_MAX.saturating_sub(stretch.text.chars().count());
                stretch.text.extend(message.delta.chars().take(room));
                Heard::Partial(Pii::new(stretch.text.clone()))
            }
            "conversation.item.input_audio_transcription.updated" => {
                Heard::Partial(Pii::new(message.transcript.clone()))
            }
            "conversation.item.input_audio_transcription.completed" => {
                let text = Pii::new(message.transcript.trim().to_owned());
                Heard::Transcript { text, commit: self.known(&message.item_id), understood: true }
            }
            "conversation.item.input_audio_transcription.failed" => {
                let (text, commit) = (Pii::new(String::new()), self.known(&message.item_id));
                Heard::Transcript { text, commit, understood: false }
            }
            _ => Heard::Nothing,
        }
    }

    fn stretch(&mut self, item: &str) -> Option<&mut Stretch> {
        self.stretches.iter_mut().find(|stretch| stretch.item == item)
    }

    /// The commit that an item was, which is heard of no more.
    fn known(&mut self, item: &str) -> Option<u32> {
        let at = self.stretches.iter().position(|stretch| stretch.item == item)?;
        self.stretches.remove(at)?.commit
    }

    fn sound(&mut self, message: Message) -> Heard {
        let Ok(octets) = STANDARD.decode(&message.delta) else { return Heard::Garbage };
        if self.odd.0 != message.item_id {
            self.odd = (message.item_id.clone(), None);
        }
        let format = self.dialect.format;
        let samples = format.read(&octets, &mut self.odd.1);
        if samples.is_empty() {
            return Heard::Nothing;
        }
        let pcm = Pcm { rate: format.rate(), samples };
        Heard::Audio { response: message.response_id, item: message.item_id, pcm }
    }

    fn tool_call(&mut self, message: Message) -> Heard {
        let Message { response_id: response, item_id, call_id, name, arguments, .. } = message;
        let announced = self.announced.iter().find(|(item, ..)| *item == item_id);
        let (call_id, name) = match announced {
            Some((_, call, known)) => (
                if call_id.is_empty() { call.clone() } else { call_id },
                if name.is_empty() { known.clone() } else { name },
            ),
            None => (call_id, name),
        };
        let calls = self.call(call_id, name, arguments).into_iter().collect();
        Heard::ToolCalls { response, calls }
    }

    /// A call, once.
    fn call(&mut self, id: String, name: String, mut arguments: String) -> Option<ToolCall> {
        if id.is_empty() || name.is_empty() || self.called.contains(&id) {
            return None;
        }
        push(&mut self.called, id.clone());
        if arguments.len() > ARGUMENTS_BYTES_MAX {
            arguments.truncate(arguments.floor_char_boundary(ARGUMENTS_BYTES_MAX));
        }
        Some(ToolCall { id, name, arguments: Pii::new(arguments) })
    }

    fn done(&mut self, response: Response) -> Heard {
        let outcome = match response.status.as_str() {
            "cancelled" => Outcome::Cancelled,
            "failed" => {
                let error = response.status_details.and_then(|details| details.error);
                Outcome::Failed(kind_of(&error.unwrap_or_default()))
            }
            _ => Outcome::Completed,
        };
        let output = response.output.into_iter().filter(|item| item.kind == "function_call");
        let calls = output
            .take(TOOL_CALLS_MAX)
            .filter_map(|item| self.call(item.call_id, item.name, item.arguments))
            .collect();
        let usage = response.usage.map(RealtimeUsage::from).unwrap_or_default();
        Heard::Done { response: response.id, outcome, usage, calls }
    }
}

/// Adds to a bounded list; the oldest gives way.
fn push<T>(list: &mut VecDeque<T>, value: T) {
    if list.len() >= ITEMS_MAX {
        list.pop_front();
    }
    list.push_back(value);
}

fn refusal(error: Refusal) -> Heard {
    let id = error.event_id.as_deref().unwrap_or_default();
    let known = match id.split_once('_') {
        Some(("commit", id)) => id.parse().map_or(Known::Nothing, Known::Commit),
        Some(("response", id)) => id.parse().map_or(Known::Nothing, Known::Response),
        Some(("detail", _)) => Known::Detail,
        None if id == "cancel" => Known::Cancel,
        Some(_) | None => Known::Nothing,
    };
    let known = match error.code.as_deref() {
        // Said without naming the request.
        Some("response_cancel_not_active") => Known::Cancel,
        _ => known,
    };
    let code = error.code.as_ref().or(error.kind.as_ref()).cloned().unwrap_or_default();
    let word = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let code = code.chars().filter(word).take(CODE_CHARS_MAX).collect();
    Heard::Refused { kind: kind_of(&error), code, known }
}

/// What kind of failure the vendor's code and type mean.
fn kind_of(error: &Refusal) -> FailureKind {
    let words = [error.code.as_deref(), error.kind.as_deref()];
    let says = |needle: &str| words.iter().flatten().any(|word| word.contains(needle));
    if says("api_key") || says("auth") || says("permission") {
        FailureKind::Auth
    } else if says("rate_limit") || says("quota") || says("insufficient") {
        FailureKind::RateLimited
    } else if says("expired") {
        FailureKind::Cut
    } else if says("server_error")
        || says("active_response")
        || says("overloaded")
        || words.iter().flatten().next().is_none()
    {
        FailureKind::Unavailable
    } else {
        FailureKind::BadRequest
    }
}

/// Sets a field of the object at a JSON pointer.
pub(super) fn set(value: &mut Value, pointer: &str, key: &str, field: Value) {
    if let Some(map) = value.pointer_mut(pointer).and_then(Value::as_object_mut) {
        map.insert(key.to_owned(), field);
    }
}

/// What the model may call, as both vendors want it.
pub(super) fn tools(params: &RealtimeParams) -> Value {
    let tool = |tool: &crate::providers::llm::ToolDef| {
        json!({
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        })
    };
    params.tools.iter().map(tool).collect()
}

/// Samples that a message holds, for the fuzzer.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::providers) fn parse(incoming: Incoming) -> usize {
    let dialect = Dialect {
        format: Format::Pcmu,
        voice: String::new(),
        session: |_, _| Value::Null,
        say: |_, _| Value::Null,
    };
    let mut wire = Wire::new(dialect);
    match wire.understand(incoming) {
        Heard::Audio { pcm, .. } => pcm.samples.len(),
        _ => 0,
    }
}
