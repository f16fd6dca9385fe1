//! A call, whole and as a row of a list, and the request that makes one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{time, word};
use crate::types::call::{ProviderUse, RecordingInfo, RecordingStatus};
use crate::types::{CallLatency, CallRecord, Direction};

/// Recording of a call.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Recording {
    /// `recording`, `available`, `partial`, `failed` or `deleted`.
    pub status: String,
    /// Name inside the recordings directory.
    pub filename: String,
    /// Samples a second of each channel.
    pub sample_rate: u32,
    /// 2: caller left, agent right.
    pub channels: u16,
    /// Length, once finished.
    pub duration_ms: Option<u64>,
    /// Size of the file, once finished.
    pub bytes: Option<u64>,
    /// SHA-256 of the file in hexadecimal, once finished.
    pub sha256: Option<String>,
    /// A signed path that downloads it without a key until `expires_at`; null while there is nothing to download,
    /// and for keys without the scope `media`.
    pub url: Option<String>,
    /// From when `url` is refused: an hour after this answer.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
}

/// Provider and model of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Provider {
    /// Name.
    pub provider: String,
    /// Model or voice.
    pub model: Option<String>,
}

/// Engines that ran.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Providers {
    /// Speech recognition.
    pub stt: Option<Provider>,
    /// Language model.
    pub llm: Option<Provider>,
    /// Speech synthesis.
    pub tts: Option<Provider>,
}

/// One call, whole.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Call {
    /// Our identifier, a UUIDv7.
    pub id: String,
    /// `inbound` or `outbound`, relative to the agent.
    pub direction: String,
    /// Where in its life: `queued`, `initiated`, `ringing`, `in_progress`, `completed`, `busy`,
    /// `no_answer`, `canceled` or `failed`.
    pub status: String,
    /// Why it stopped; null while live.
    pub end_reason: Option<String>,
    /// `user`, `agent`, `api`, `system` or `carrier`; null while live.
    pub ended_by: Option<String>,
    /// Who picked up; null if nobody did.
    pub answered_by: Option<String>,
    /// One computed word for lists and filters; null while live.
    pub outcome: Option<String>,
    /// Calling party.
    pub from_number: String,
    /// Called party.
    pub to_number: String,
    /// The human's number, whatever the direction.
    pub remote_number: String,
    /// Our number, whatever the direction.
    pub local_number: String,
    /// Agent that handled it.
    pub agent_id: Option<String>,
    /// Its display name at call time.
    pub agent_name: Option<String>,
    /// Trunk it came in on or left by.
    pub trunk: Option<String>,
    /// BCP 47 tag.
    pub language: Option<String>,
    /// System prompt as rendered for this call.
    pub prompt: Option<String>,
    /// The caller's own object.
    pub metadata: serde_json::Value,
    /// SIP Call-ID.
    pub sip_call_id: Option<String>,
    /// The carrier's identifier, if it sent one.
    pub provider_call_id: Option<String>,
    /// Audio codec, for example `pcmu`.
    pub codec: Option<String>,
    /// Final status of a failed INVITE.
    pub sip_status: Option<u16>,
    /// Its reason phrase.
    pub sip_reason: Option<String>,
    /// Q.850 cause.
    pub q850_cause: Option<u8>,
    /// Token of that cause.
    pub hangup_cause: Option<String>,
    /// Machine code of the first serious error.
    pub error_code: Option<String>,
    /// The same for people.
    pub error_message: Option<String>,
    /// `sip`, `media`, `stt`, `llm`, `tts` or `internal`.
    pub error_stage: Option<String>,
    /// Engines that ran.
    pub providers: Providers,
    /// The recording; null if none was made.
    pub recording: Option<Recording>,
    /// Same as `recording.url`.
    pub recording_url: Option<String>,
    /// Statistics over the turns, by field: `n`, `min`, `p50`, `p90`, `p95`, `p99`, `max`, `mean`.
    #[schema(value_type = Object)]
    pub latency: CallLatency,
    /// Record made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// INVITE sent or received.
    #[schema(format = DateTime)]
    pub initiated_at: Option<String>,
    /// Ringing.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// Picked up.
    #[schema(format = DateTime)]
    pub answered_at: Option<String>,
    /// Over.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    /// Last change.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Started to ended.
    pub duration_ms: Option<u64>,
    /// The same in whole seconds, rounded down.
    pub duration_seconds: Option<u64>,
    /// Answered to ended.
    pub talk_duration_ms: Option<u64>,
    /// The same in seconds, rounded up; 0 if never answered, null while live.
    pub billed_duration_seconds: Option<u64>,
}

impl From<&CallRecord> for Call {
    fn from(record: &CallRecord) -> Self {
        let recording = record.recording.as_ref().map(recording);
        let (remote, local) = sides(record);
        let error = record.error.as_ref();
        let provider = |used: &Option<ProviderUse>| {
            used.clone().map(|used| Provider { provider: used.provider, model: used.model })
        };
        Self {
            id: record.id.to_string(),
            direction: word(record.direction),
            status: record.status.as_str().to_owned(),
            end_reason: record.end_reason.map(word),
            ended_by: record.ended_by.map(word),
            answered_by: record.answered_by.map(word),
            outcome: record.outcome.map(word),
            from_number: record.from_number.reveal().clone(),
            to_number: record.to_number.reveal().clone(),
            remote_number: remote,
            local_number: local,
            agent_id: record.agent_id.as_ref().map(ToString::to_string),
            agent_name: record.agent_name.clone(),
            trunk: record.trunk.as_ref().map(ToString::to_string),
            language: record.language.clone(),
            prompt: record.prompt.as_ref().map(|prompt| prompt.reveal().clone()),
            metadata: record.metadata.clone(),
            sip_call_id: record.sip_call_id.clone(),
            provider_call_id: record.provider_call_id.clone(),
            codec: record.codec.map(word),
            sip_status: record.sip.status,
            sip_reason: record.sip.reason.clone(),
            q850_cause: record.sip.q850_cause,
            hangup_cause: record.sip.hangup_cause.clone(),
            error_code: error.map(|error| error.code.clone()),
            error_message: error.map(|error| error.message.clone()),
            error_stage: error.map(|error| word(error.stage)),
            providers: Providers {
                stt: provider(&record.providers.stt),
                llm: provider(&record.providers.llm),
                tts: provider(&record.providers.tts),
            },
            recording_url: None,
            recording,
            latency: record.latency.clone(),
            created_at: time(record.created_at),
            initiated_at: record.initiated_at.map(time),
            started_at: record.started_at.map(time),
            answered_at: record.answered_at.map(time),
            ended_at: record.ended_at.map(time),
            updated_at: time(record.updated_at),
            duration_ms: record.duration_ms,
            duration_seconds: record.duration_ms.map(|ms| ms / 1_000),
            talk_duration_ms: record.talk_ms,
            billed_duration_seconds: billed_seconds(record),
        }
    }
}

fn recording(info: &RecordingInfo) -> Recording {
    Recording {
        status: word(info.status),
        filename: info.filename.clone(),
        sample_rate: info.sample_rate,
        channels: info.channels,
        duration_ms: info.duration_ms,
        bytes: info.bytes,
        sha256: info.sha256.clone(),
        url: None,
        expires_at: None,
    }
}

impl Call {
    /// Puts in the signed path of the recording, which only whoever can sign has.
    pub fn link_recording(&mut self, url: &str, expires_at: jiff::Timestamp) {
        let Some(recording) = &mut self.recording else { return };
        recording.url = Some(url.to_owned());
        recording.expires_at = Some(time(expires_at));
        self.recording_url = recording.url.clone();
    }
}

/// Whether a recording in this state can be downloaded.
pub fn is_playable(status: RecordingStatus) -> bool {
    matches!(status, RecordingStatus::Available | RecordingStatus::Partial)
}

/// The human's number and ours.
fn sides(record: &CallRecord) -> (String, String) {
    let (from, to) = (record.from_number.reveal().clone(), record.to_number.reveal().clone());
    match record.direction {
        Direction::Inbound => (from, to),
        Direction::Outbound => (to, from),
    }
}

fn billed_seconds(record: &CallRecord) -> Option<u64> {
    match record.talk_ms {
        Some(ms) => Some(ms.div_ceil(1_000)),
        None => record.status.is_terminal().then_some(0),
    }
}

/// A call as a row of a list: without prompt, transcript, metadata and the recording's address.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `Call`")]
pub struct CallSummary {
    pub id: String,
    pub direction: String,
    pub status: String,
    pub end_reason: Option<String>,
    pub ended_by: Option<String>,
    pub answered_by: Option<String>,
    pub outcome: Option<String>,
    pub from_number: String,
    pub to_number: String,
    pub agent_id: Option<String>,
    pub agent_name: Option<String>,
    pub trunk: Option<String>,
    pub language: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// State of the recording; null if none was made.
    pub recording_status: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    #[schema(format = DateTime)]
    pub answered_at: Option<String>,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    pub duration_ms: Option<u64>,
    pub duration_seconds: Option<u64>,
    pub talk_duration_ms: Option<u64>,
    pub billed_duration_seconds: Option<u64>,
}

impl From<&CallRecord> for CallSummary {
    fn from(record: &CallRecord) -> Self {
        let error = record.error.as_ref();
        Self {
            id: record.id.to_string(),
            direction: word(record.direction),
            status: record.status.as_str().to_owned(),
            end_reason: record.end_reason.map(word),
            ended_by: record.ended_by.map(word),
            answered_by: record.answered_by.map(word),
            outcome: record.outcome.map(word),
            from_number: record.from_number.reveal().clone(),
            to_number: record.to_number.reveal().clone(),
            agent_id: record.agent_id.as_ref().map(ToString::to_string),
            agent_name: record.agent_name.clone(),
            trunk: record.trunk.as_ref().map(ToString::to_string),
            language: record.language.clone(),
            error_code: error.map(|error| error.code.clone()),
            error_message: error.map(|error| error.message.clone()),
            recording_status: record.recording.as_ref().map(|info| word(info.status)),
            created_at: time(record.created_at),
            started_at: record.started_at.map(time),
            answered_at: record.answered_at.map(time),
            ended_at: record.ended_at.map(time),
            duration_ms: record.duration_ms,
            duration_seconds: record.duration_ms.map(|ms| ms / 1_000),
            talk_duration_ms: record.talk_ms,
            billed_duration_seconds: billed_seconds(record),
        }
    }
}

/// Body of `POST /v1/calls`. The API checks numbers and ranges and names the field that is wrong.
#[derive(Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCall {
    /// Whom to call: E.164 or a SIP URI.
    pub to_number: String,
    /// Number to show; else the trunk's default.
    #[serde(default)]
    pub from_number: Option<String>,
    /// Agent that talks; else the trunk's default.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Trunk to leave by; else the first that fits.
    #[serde(default)]
    pub trunk_id: Option<String>,
    /// Opening words instead of the agent's own.
    #[serde(default)]
    pub first_message: Option<String>,
    /// Kept with the call and given back.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// How long to let it ring.
    #[serde(default)]
    pub ring_timeout_seconds: Option<u32>,
    /// Longest duration after the answer.
    #[serde(default)]
    pub max_duration_seconds: Option<u32>,
    /// BCP 47 tag.
    #[serde(default)]
    pub language: Option<String>,
}
