//! The facts of a call and of its turns, as the rooms pass them and the store keeps them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::end::SipEnd;
use super::{
    AfterPlan, AfterStatus, AgentId, AnsweredBy, BatchId, Breakdown, CallId, CallLatency,
    CampaignId, CodecName, Cost, EndReason, EndedBy, Failover, LeadId, OrderId, OrganizationId,
    OutboxKind, Outcome, Pii, ReservationStatus, TrunkName, TurnId, Usage,
};

/// Who placed the call, relative to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A human called us.
    Inbound,
    /// We called a human.
    Outbound,
}

/// Where a call is in its life. The last five are terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStatus {
    /// The record exists; the call waits for its turn.
    Queued,
    /// INVITE sent or received.
    Initiated,
    /// 180 or 183 sent or received.
    Ringing,
    /// Answered.
    InProgress,
    /// Answered, and ended by a participant or by policy.
    Completed,
    /// 486 or 600.
    Busy,
    /// 480, 408 or our ring timeout.
    NoAnswer,
    /// Canceled before the answer.
    Canceled,
    /// Every other end.
    Failed,
}

impl CallStatus {
    /// Whether no transition leaves this status.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Busy | Self::NoAnswer | Self::Canceled | Self::Failed
        )
    }

    /// Whether the life cycle allows `self` to become `next` (call-model B4).
    pub fn allows(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Initiated | Self::Canceled | Self::Failed),
            Self::Initiated => matches!(
                next,
                Self::Ringing
                    | Self::InProgress
                    | Self::Busy
                    | Self::NoAnswer
                    | Self::Canceled
                    | Self::Failed
            ),
            Self::Ringing => {
                matches!(
                    next,
                    Self::InProgress | Self::Busy | Self::NoAnswer | Self::Canceled | Self::Failed
                )
            }
            Self::InProgress => matches!(next, Self::Completed | Self::Failed),
            Self::Completed | Self::Busy | Self::NoAnswer | Self::Canceled | Self::Failed => false,
        }
    }

    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Initiated,
        Self::Ringing,
        Self::InProgress,
        Self::Completed,
        Self::Busy,
        Self::NoAnswer,
        Self::Canceled,
        Self::Failed,
    ];

    /// Reads the public word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// The public word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Canceled => "canceled",
            Self::Failed => "failed",
        }
    }
}

/// Which stage of the server or of the outside an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum ErrorStage {
    Sip,
    Media,
    Stt,
    Llm,
    Tts,
    Internal,
}

/// What went wrong, in the words of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    /// Machine code, for example `stt_auth`.
    pub code: String,
    /// One sentence without secrets or personal data.
    pub message: String,
    /// Where it happened.
    pub stage: ErrorStage,
}

/// Provider and model of one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderUse {
    /// Name of the provider, for example `deepgram`.
    pub provider: String,
    /// Model or voice, if it has one.
    pub model: Option<String>,
}

/// The three stages of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is its own description")]
pub struct ProvidersUsed {
    pub stt: Option<ProviderUse>,
    pub llm: Option<ProviderUse>,
    pub tts: Option<ProviderUse>,
}

/// State of a call's recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingStatus {
    /// Being written.
    Recording,
    /// Complete on disk.
    Available,
    /// Cut short: playable, but part of the call is missing.
    Partial,
    /// Nothing usable was written.
    Failed,
    /// Removed since.
    Deleted,
}

/// A call's recording: stereo 16-bit WAV, caller left, agent right as played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingInfo {
    /// State.
    pub status: RecordingStatus,
    /// File name inside the recordings directory.
    pub filename: String,
    /// Samples a second of each channel.
    pub sample_rate: u32,
    /// Always 2.
    pub channels: u16,
    /// Length, once finished.
    pub duration_ms: Option<u64>,
    /// File size, once finished.
    pub bytes: Option<u64>,
    /// SHA-256 of the file in lower-case hexadecimal, once finished.
    #[serde(default)]
    pub sha256: Option<String>,
}

impl RecordingInfo {
    /// Whether there is something to play.
    pub fn is_playable(&self) -> bool {
        matches!(self.status, RecordingStatus::Available | RecordingStatus::Partial)
    }
}

/// How a call reaches us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallType {
    /// By SIP.
    #[default]
    PhoneCall,
    /// From a browser or a test client.
    WebCall,
}

/// One call, as the store keeps it. Times are UTC wall times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Our identifier.
    pub id: CallId,
    /// Who placed it.
    pub direction: Direction,
    /// Where it is in its life.
    pub status: CallStatus,
    /// Why it stopped; set exactly when the status is terminal.
    pub end_reason: Option<EndReason>,
    /// Who ended it.
    pub ended_by: Option<EndedBy>,
    /// Who picked up.
    pub answered_by: Option<AnsweredBy>,
    /// The computed word; `None` while live.
    pub outcome: Option<Outcome>,
    /// Calling party as signalled: E.164 where the trunk says so, else the SIP user part.
    pub from_number: Pii<String>,
    /// Called party.
    pub to_number: Pii<String>,
    /// Trunk the call came in on or left by.
    pub trunk: Option<TrunkName>,
    /// Agent that handled it.
    pub agent_id: Option<AgentId>,
    /// Its display name at call time.
    pub agent_name: Option<String>,
    /// System prompt as rendered for this call.
    pub prompt: Option<Pii<String>>,
    /// BCP 47 tag.
    pub language: Option<String>,
    /// Caller's own JSON object.
    pub metadata: serde_json::Value,
    /// SIP Call-ID.
    pub sip_call_id: Option<String>,
    /// Carrier's own identifier, if a header carried one.
    pub provider_call_id: Option<String>,
    /// Codec of the audio.
    pub codec: Option<CodecName>,
    /// How well audio travelled, once over.
    #[serde(default)]
    pub quality: Option<super::CallQuality>,
    /// The telephony truth of the end.
    pub sip: SipEnd,
    /// First serious error.
    pub error: Option<CallError>,
    /// Engines that ran.
    pub providers: ProvidersUsed,
    /// The recording, if one was made.
    pub recording: Option<RecordingInfo>,
    /// Percentiles over the turns.
    pub latency: CallLatency,
    /// Row created.
    pub created_at: jiff::Timestamp,
    /// INVITE sent or received.
    pub initiated_at: Option<jiff::Timestamp>,
    /// Ringing.
    pub started_at: Option<jiff::Timestamp>,
    /// Picked up.
    pub answered_at: Option<jiff::Timestamp>,
    /// Over.
    pub ended_at: Option<jiff::Timestamp>,
    /// Last change.
    pub updated_at: jiff::Timestamp,
    /// Started to ended on the monotonic clock, which no clock step can bend.
    pub duration_ms: Option<u64>,
    /// Answered to ended on the monotonic clock.
    pub talk_ms: Option<u64>,
    /// The same to when somebody took the other side's place by REFER: what `trunk` carried.
    #[serde(default)]
    pub first_talk_ms: Option<u64>,
    /// Whose.
    #[serde(default)]
    pub organization_id: OrganizationId,
    /// How it reaches us.
    #[serde(default)]
    pub call_type: CallType,
    /// Whether it is left out of statistics.
    #[serde(default)]
    pub is_test: bool,
    /// How well its audio came in, once it is over.
    #[serde(default)]
    pub reception: Option<super::Reception>,
    /// Our number of the call, if it is a registered one.
    #[serde(default)]
    pub number_id: Option<String>,
    /// Version of the agent.
    #[serde(default)]
    pub agent_version: Option<u32>,
    /// Business the agent speaks for.
    #[serde(default)]
    pub business_name: Option<String>,
    /// Who the agent is, as used by this call.
    #[serde(default)]
    pub persona: Option<Pii<String>>,
    /// What it shall do, as used by this call.
    #[serde(default)]
    pub instructions: Option<Pii<String>>,
    /// JSON the agent may refer to.
    #[serde(default)]
    pub context: Option<Pii<serde_json::Value>>,
    /// Values of the template variables.
    #[serde(default)]
    pub variables: Pii<BTreeMap<String, String>>,
    /// Values that tools set during the call.
    #[serde(default)]
    pub variables_extracted: Pii<BTreeMap<String, String>>,
    /// Schema of the result.
    #[serde(default)]
    pub returns: Option<serde_json::Value>,
    /// What was extracted.
    #[serde(default)]
    pub result: Option<Pii<serde_json::Value>>,
    /// Where the extraction stands; `None` only in records of version 0.1.
    #[serde(default)]
    pub result_status: Option<AfterStatus>,
    /// Why it failed.
    #[serde(default)]
    pub result_error: Option<String>,
    /// What the call was about.
    #[serde(default)]
    pub summary: Option<Pii<String>>,
    /// Where the summary stands.
    #[serde(default)]
    pub summary_status: Option<AfterStatus>,
    /// Output of the analysis templates, by name.
    #[serde(default)]
    pub analysis: Option<Pii<serde_json::Value>>,
    /// Where the analysis stands.
    #[serde(default)]
    pub analysis_status: Option<AfterStatus>,
    /// What is to be made of the call.
    #[serde(default)]
    pub after: Option<AfterPlan>,
    /// Reported by a provider or template, never inferred here.
    #[serde(default)]
    pub detected_gender: Option<String>,
    /// Where its events go besides the endpoints that subscribe.
    #[serde(default)]
    pub webhook_url: Option<Pii<String>>,
    /// Agent whose own URL that is, and whose secret signs, if it has one.
    #[serde(default)]
    pub webhook_agent: Option<AgentId>,
    /// Which events go there; empty: the usual ones.
    #[serde(default)]
    pub webhook_events: Vec<String>,
    /// What it used.
    #[serde(default)]
    pub usage: Vec<Usage>,
    /// Providers that were gone on from; at most [`super::FAILOVERS_MAX`].
    #[serde(default)]
    pub failovers: Vec<Failover>,
    /// What it cost.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// Whether its worst-case cost is held.
    #[serde(default)]
    pub reservation: ReservationStatus,
    /// Order it is an attempt of.
    #[serde(default)]
    pub order_id: Option<OrderId>,
    /// 1 for the first.
    #[serde(default)]
    pub attempt_number: Option<u32>,
    /// Batch of its order.
    #[serde(default)]
    pub batch_id: Option<BatchId>,
    /// Campaign of its order.
    #[serde(default)]
    pub campaign_id: Option<CampaignId>,
    /// Lead of its order.
    #[serde(default)]
    pub lead_id: Option<LeadId>,
    /// Not before.
    #[serde(default)]
    pub scheduled_at: Option<jiff::Timestamp>,
    /// What the INVITE of an inbound call says of its caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_identity: Option<Box<super::SipIdentity>>,
}

impl CallRecord {
    /// A record at the moment it is made.
    pub fn new(id: CallId, direction: Direction, created_at: jiff::Timestamp) -> Self {
        Self {
            id,
            direction,
            status: match direction {
                Direction::Inbound => CallStatus::Initiated,
                Direction::Outbound => CallStatus::Queued,
            },
            end_reason: None,
            ended_by: None,
            answered_by: None,
            outcome: None,
            from_number: Pii::default(),
            to_number: Pii::default(),
            trunk: None,
            agent_id: None,
            agent_name: None,
            prompt: None,
            language: None,
            metadata: serde_json::Value::Object(serde_json::Map::new()),
            sip_call_id: None,
            provider_call_id: None,
            codec: None,
            quality: None,
            sip: SipEnd::default(),
            error: None,
            providers: ProvidersUsed::default(),
            recording: None,
            latency: CallLatency::default(),
            created_at,
            initiated_at: None,
            started_at: None,
            answered_at: None,
            ended_at: None,
            updated_at: created_at,
            duration_ms: None,
            talk_ms: None,
            first_talk_ms: None,
            organization_id: OrganizationId::default(),
            call_type: CallType::PhoneCall,
            is_test: false,
            reception: None,
            number_id: None,
            agent_version: None,
            business_name: None,
            persona: None,
            instructions: None,
            context: None,
            variables: Pii::default(),
            variables_extracted: Pii::default(),
            returns: None,
            result: None,
            result_status: None,
            result_error: None,
            summary: None,
            summary_status: None,
            analysis: None,
            analysis_status: None,
            after: None,
            detected_gender: None,
            webhook_url: None,
            webhook_agent: None,
            webhook_events: Vec::new(),
            usage: Vec::new(),
            failovers: Vec::new(),
            cost: None,
            reservation: ReservationStatus::None,
            order_id: None,
            attempt_number: None,
            batch_id: None,
            campaign_id: None,
            lead_id: None,
            scheduled_at: None,
            sip_identity: None,
        }
    }

    /// Whether the call is over and something is still to be made of it.
    pub fn is_settling(&self) -> bool {
        let pending = Some(AfterStatus::Pending);
        self.status.is_terminal()
            && [self.result_status, self.summary_status, self.analysis_status].contains(&pending)
    }

    /// There was no conversation: nothing can be made of the call.
    pub fn skip_after(&mut self) {
        let statuses =
            [&mut self.result_status, &mut self.summary_status, &mut self.analysis_status];
        for status in statuses {
            if *status == Some(AfterStatus::Pending) {
                *status = Some(AfterStatus::Skipped);
            }
        }
    }

    /// Whether its `webhook_url` gets a kind of event.
    pub fn tells_inline(&self, kind: OutboxKind) -> bool {
        match self.webhook_events.as_slice() {
            [] => kind.is_inline(),
            events => kind.is_of_call() && events.iter().any(|pattern| kind.matches(pattern)),
        }
    }

    /// Ends the record: the four orthogonal fields follow from `reason` by the one table.
    /// A record that is already terminal stays as it is.
    pub fn finish(&mut self, reason: EndReason, at: jiff::Timestamp) {
        if self.status.is_terminal() {
            return;
        }
        let answered = self.answered_at.is_some();
        let facts = reason.facts(answered);
        self.status = facts.status;
        self.end_reason = Some(reason);
        // Nobody but the API takes back a call that we place; one that we get is taken back by the caller.
        let taken_back = reason == EndReason::Canceled && self.direction == Direction::Outbound;
        self.ended_by = Some(if taken_back { EndedBy::Api } else { facts.ended_by });
        self.outcome = Some(facts.outcome);
        if self.status == CallStatus::Failed && self.error.is_none() {
            let (code, message) = (facts.label.to_owned(), facts.sentence.to_owned());
            self.error = Some(CallError { code, message, stage: reason.stage() });
        }
        if answered && self.answered_by.is_none() {
            self.answered_by = Some(AnsweredBy::Unknown);
        }
        self.ended_at = Some(at);
        self.updated_at = at;
    }
}

/// A recogniser's opinion of the caller's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnSignal {
    /// The caller began to speak.
    Started,
    /// The turn is probably over: a reply may be prepared from the last hypothesis.
    LikelyOver,
    /// It was not over after all.
    Resumed,
    /// The turn is over.
    Over,
}

/// Who a turn belongs to: the roles of a chat completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum TurnRole {
    User,
    Assistant,
    Tool,
    System,
}

/// What made a turn happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum TurnOrigin {
    User,
    Llm,
    Greeting,
    ApiSay,
    InactivityPrompt,
    /// Words about a failure of a provider.
    Apology,
    Goodbye,
    Dtmf,
    /// Text put in by `inject-context`.
    Injected,
    /// A tool that the model called.
    Tool,
}

/// One closed turn of the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// Position in the call, from 0.
    pub id: TurnId,
    /// Whose turn.
    pub role: TurnRole,
    /// What made it happen.
    pub origin: TurnOrigin,
    /// Whole text: recognised, generated or commanded.
    pub content: Pii<String>,
    /// What the caller really heard of it; `None` unless role is `assistant`.
    pub spoken_content: Option<Pii<String>>,
    /// Whether the caller cut it off.
    pub interrupted: bool,
    /// Start, milliseconds after the answer.
    pub offset_ms: u64,
    /// How long it lasted.
    pub duration_ms: u64,
    /// Confidence of the recogniser, 0 to 1.
    pub confidence: Option<f32>,
    /// Latency; `None` on roles other than `assistant`.
    pub latency: Option<Breakdown>,
    /// What failed while the turn was made, if anything.
    pub error: Option<CallError>,
    /// What a turn of role `tool` did.
    #[serde(default)]
    pub tool: Option<super::ToolUse>,
    /// Providers that were gone on from while the turn was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failovers: Vec<Failover>,
}
