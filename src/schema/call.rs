//! A call, whole and as a row of a list, and the request that makes one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::usage::CallCost;
use super::{time, word};
use crate::types::call::{ProviderUse, RecordingInfo};
use crate::types::{AfterStatus, CallLatency, CallRecord, Direction, Pii};

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
    /// Agent that handled it; null for one that came with the call.
    pub agent_id: Option<String>,
    /// Its display name at call time.
    pub agent_name: Option<String>,
    /// Trunk it came in on or left by.
    pub trunk: Option<String>,
    /// Whose.
    pub organization_id: String,
    /// `phone_call` or `web_call`.
    pub call_type: String,
    /// Whether it is left out of statistics.
    pub is_test: bool,
    /// Our number of the call, if it is a registered one.
    pub number_id: Option<String>,
    /// Version of the agent.
    pub agent_version: Option<u32>,
    /// Business the agent speaks for.
    pub business_name: Option<String>,
    /// BCP 47 tag.
    pub language: Option<String>,
    /// Who the agent is, as used by this call.
    pub persona: Option<String>,
    /// What it shall do, as used by this call.
    pub instructions: Option<String>,
    /// System prompt as rendered for this call: persona, an empty line, instructions.
    pub prompt: Option<String>,
    /// JSON the agent may refer to.
    #[schema(value_type = Option<Object>)]
    pub context: Option<serde_json::Value>,
    /// Values of the template variables.
    pub variables: BTreeMap<String, String>,
    /// Values set during the call.
    pub variables_extracted: BTreeMap<String, String>,
    /// What is to be extracted: names and types, or JSON Schema.
    #[schema(value_type = Option<Object>)]
    pub returns: Option<serde_json::Value>,
    /// What was extracted after the call; what was not said is null.
    #[schema(value_type = Option<Object>)]
    pub result: Option<serde_json::Value>,
    /// `pending`, `completed`, `failed`, or `skipped` if nothing is to be extracted or there was no conversation.
    pub result_status: String,
    /// Why the extraction failed.
    pub result_error: Option<String>,
    /// What the call was about.
    pub summary: Option<String>,
    /// `pending`, `completed`, `failed` or `skipped`.
    pub summary_status: String,
    /// Output of the analysis templates, by their names.
    #[schema(value_type = Option<Object>)]
    pub analysis: Option<serde_json::Value>,
    /// `pending`, `completed`, `failed` or `skipped`.
    pub analysis_status: String,
    /// As a provider or an analysis template reports it; nothing infers it.
    pub detected_gender: Option<String>,
    /// Where its events go besides the endpoints that subscribe.
    pub webhook_url: Option<String>,
    /// How the call's last event fared at that address: `none` without one, `pending`, `delivered` or `failed`.
    pub webhook_status: String,
    /// What went wrong there last, unless it arrived after all.
    pub webhook_error: Option<String>,
    /// Providers that were gone on from.
    pub failovers: Vec<super::turn::Failover>,
    /// What it cost by the local price table; null without one.
    pub cost: Option<CallCost>,
    /// `none`, `reserved`, `settled` or `released`: whether its worst-case cost is held against the budget.
    pub reservation_status: String,
    /// Order it is an attempt of.
    pub order_id: Option<String>,
    /// 1 for the first.
    pub attempt_number: Option<u32>,
    /// Batch of its order.
    pub batch_id: Option<String>,
    /// Campaign of its order.
    pub campaign_id: Option<String>,
    /// Lead of its order.
    pub lead_id: Option<String>,
    /// Not to be dialled before.
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
    /// The caller's own object.
    pub metadata: serde_json::Value,
    /// SIP Call-ID.
    pub sip_call_id: Option<String>,
    /// The carrier's identifier, if it sent one.
    pub provider_call_id: Option<String>,
    /// What the INVITE of an inbound call says of its caller; null for outbound calls.
    pub sip_identity: Option<super::identity::SipIdentity>,
    /// Audio codec, for example `pcmu`.
    pub codec: Option<String>,
    /// How well audio travelled; null while live and without audio.
    pub quality: Option<super::quality::Quality>,
    /// How well the other side's audio came in; null while live, and if none came.
    pub reception: Option<Reception>,
    /// Final status of a failed INVITE.
    pub sip_status: Option<u16>,
    /// Its reason phrase.
    pub sip_reason: Option<String>,
    /// Q.850 cause.
    pub q850_cause: Option<u8>,
    /// Token of that cause.
    pub hangup_cause: Option<String>,
    /// Machine code of the first serious error; of a failed call without one, its `end_reason`.
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

/// How well the other side's audio came in.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Reception {
    /// RTP packets that were taken.
    pub packets: u64,
    /// Packets that did not come, or came too late.
    pub lost: u64,
    /// Share of the audio that was made up for what was lost, 0 to 1.
    pub concealed_share: f64,
    /// Interarrival jitter (RFC 3550), milliseconds.
    pub jitter_ms: f64,
}

impl From<&crate::types::Reception> for Reception {
    fn from(from: &crate::types::Reception) -> Self {
        let crate::types::Reception { packets, lost, concealed_share, jitter_ms } = *from;
        let rounded = |value: f64, digits: f64| (value * digits).round() / digits;
        let concealed_share = rounded(concealed_share, 10_000.0);
        Self { packets, lost, concealed_share, jitter_ms: rounded(jitter_ms, 100.0) }
    }
}

impl From<&CallRecord> for Call {
    #[expect(clippy::too_many_lines, reason = "one field after the other reads better whole")]
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
            organization_id: record.organization_id.to_string(),
            call_type: word(record.call_type),
            is_test: record.is_test,
            number_id: record.number_id.clone(),
            agent_version: record.agent_version,
            business_name: record.business_name.clone(),
            language: record.language.clone(),
            persona: shown(&record.persona),
            instructions: shown(&record.instructions),
            prompt: shown(&record.prompt),
            context: shown(&record.context),
            variables: record.variables.reveal().clone(),
            variables_extracted: record.variables_extracted.reveal().clone(),
            returns: record.returns.clone(),
            result: shown(&record.result),
            result_status: after(record.result_status),
            result_error: record.result_error.clone(),
            summary: shown(&record.summary),
            summary_status: after(record.summary_status),
            analysis: shown(&record.analysis),
            analysis_status: after(record.analysis_status),
            detected_gender: record.detected_gender.clone(),
            webhook_url: shown(&record.webhook_url),
            webhook_status: if record.webhook_url.is_some() { "pending" } else { "none" }
                .to_owned(),
            webhook_error: None,
            failovers: record.failovers.iter().map(Into::into).collect(),
            cost: record.cost.as_ref().map(CallCost::from),
            reservation_status: word(record.reservation),
            order_id: record.order_id.map(|id| id.to_string()),
            attempt_number: record.attempt_number,
            batch_id: record.batch_id.map(|id| id.to_string()),
            campaign_id: record.campaign_id.map(|id| id.to_string()),
            lead_id: record.lead_id.map(|id| id.to_string()),
            scheduled_at: record.scheduled_at.map(time),
            metadata: record.metadata.clone(),
            sip_call_id: record.sip_call_id.clone(),
            provider_call_id: record.provider_call_id.clone(),
            sip_identity: record.sip_identity.as_deref().map(Into::into),
            codec: record.codec.map(word),
            quality: record.quality.as_ref().map(Into::into),
            reception: record.reception.as_ref().map(Reception::from),
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

fn shown<T: Clone>(value: &Option<Pii<T>>) -> Option<T> {
    value.as_ref().map(|value| value.reveal().clone())
}

/// A record of version 0.1 wanted nothing.
fn after(status: Option<AfterStatus>) -> String {
    word(status.unwrap_or(AfterStatus::Skipped))
}

/// Answer to a request that makes a call: the call, and its identifier by the name other platforms have for it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AcceptedCall {
    /// The call.
    #[serde(flatten)]
    pub call: Call,
    /// Same as `id`.
    pub call_id: String,
}

impl From<&CallRecord> for AcceptedCall {
    fn from(record: &CallRecord) -> Self {
        Self { call: Call::from(record), call_id: record.id.to_string() }
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

/// A call as a row of a list: without what was said and made of it, its variables, prompts, metadata and the
/// recording's address.
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
    pub organization_id: String,
    pub call_type: String,
    pub is_test: bool,
    pub number_id: Option<String>,
    pub agent_version: Option<u32>,
    pub business_name: Option<String>,
    pub order_id: Option<String>,
    pub attempt_number: Option<u32>,
    pub batch_id: Option<String>,
    pub campaign_id: Option<String>,
    pub lead_id: Option<String>,
    pub result_status: String,
    pub summary_status: String,
    pub analysis_status: String,
    pub cost: Option<CallCost>,
    pub reservation_status: String,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// State of the recording; null if none was made.
    pub recording_status: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
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
            organization_id: record.organization_id.to_string(),
            call_type: word(record.call_type),
            is_test: record.is_test,
            number_id: record.number_id.clone(),
            agent_version: record.agent_version,
            business_name: record.business_name.clone(),
            order_id: record.order_id.map(|id| id.to_string()),
            attempt_number: record.attempt_number,
            batch_id: record.batch_id.map(|id| id.to_string()),
            campaign_id: record.campaign_id.map(|id| id.to_string()),
            lead_id: record.lead_id.map(|id| id.to_string()),
            result_status: after(record.result_status),
            summary_status: after(record.summary_status),
            analysis_status: after(record.analysis_status),
            cost: record.cost.as_ref().map(CallCost::from),
            reservation_status: word(record.reservation),
            error_code: error.map(|error| error.code.clone()),
            error_message: error.map(|error| error.message.clone()),
            recording_status: record.recording.as_ref().map(|info| word(info.status)),
            created_at: time(record.created_at),
            scheduled_at: record.scheduled_at.map(time),
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
    /// Not before; makes the call the first attempt of an order.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
    /// When to call again; makes the call the first attempt of an order.
    #[serde(default)]
    pub retry: Option<super::order::RetryInput>,
    /// Limit shared with other orders; makes the call the first attempt of an order.
    #[serde(default)]
    pub concurrency: Option<super::order::ConcurrencyLimit>,
    /// An agent for this call only, instead of `agent_id`.
    #[serde(default)]
    pub agent: Option<Box<super::Agent>>,
    /// Instructions instead of the agent's own; they replace, they do not add.
    #[serde(default)]
    pub instructions: Option<String>,
    /// JSON the agent may refer to, as `{{context.field}}` in its texts and in the conversation.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub context: Option<serde_json::Value>,
    /// Values of the agent's variables.
    #[serde(default)]
    pub variables: std::collections::BTreeMap<String, String>,
    /// Where this call's events go, instead of the agent's.
    #[serde(default)]
    pub webhook_url: Option<String>,
    /// Further headers of the INVITE: names that begin with `X-`, or `User-to-User`, which the trunk's
    /// `calls.headers_out` lets out. At most 16.
    #[serde(default)]
    pub sip_headers: std::collections::BTreeMap<String, String>,
}
