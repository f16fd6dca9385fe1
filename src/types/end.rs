//! Why a call ended: the closed set, and the one table that derives every other view of it.

use serde::{Deserialize, Serialize};

use super::CallStatus;
use super::call::ErrorStage;

/// Why a call stopped. Each value maps to a status, a blamed party and a metric label in [`EndReason::facts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each value is its own description; the table in `facts` says the rest"
)]
pub enum EndReason {
    UserHangup,
    AgentHangup,
    ApiHangup,
    Inactivity,
    ErrorInactivity,
    MaxDuration,
    Voicemail,
    Ivr,
    Transferred,
    TransferFailed,
    Busy,
    NoAnswer,
    Canceled,
    Rejected,
    Blocked,
    InvalidNumber,
    Unreachable,
    Congestion,
    Forbidden,
    AuthFailed,
    MediaNegotiationFailed,
    SipError,
    NetworkError,
    MediaTimeout,
    SessionExpired,
    ProviderError,
    AgentNotFound,
    BudgetExceeded,
    DoNotCall,
    DialRefused,
    Shutdown,
    InternalError,
}

/// The telephony truth of an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipEnd {
    /// Final status of the INVITE, if it failed.
    pub status: Option<u16>,
    /// Its reason phrase.
    pub reason: Option<String>,
    /// Q.850 cause, from a Reason header or derived.
    pub q850_cause: Option<u8>,
    /// Token of that cause, for example `normal_clearing`.
    pub hangup_cause: Option<String>,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The human side.
    User,
    /// The agent.
    Agent,
    /// A command of the HTTP API.
    Api,
    /// This server's own policy or failure.
    System,
    /// The trunk or the network behind it.
    Carrier,
}

/// Who picked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum AnsweredBy {
    Human,
    Voicemail,
    Ivr,
    Screening,
    Unknown,
}

/// One computed word for lists, retries and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum Outcome {
    Transferred,
    Voicemail,
    Ivr,
    Completed,
    Busy,
    NoAnswer,
    Rejected,
    InvalidNumber,
    Unreachable,
    Congestion,
    Canceled,
    Failed,
}

/// Who answers for an end, as a service level indicator counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Nobody: the call did what it was for.
    Success,
    /// The other side or the request.
    Client,
    /// The trunk or a provider.
    Upstream,
    /// This server.
    Server,
}

impl Blame {
    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Server => "server",
        }
    }
}

/// Everything that follows from an [`EndReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndFacts {
    /// Terminal status.
    pub status: CallStatus,
    /// Who ended the call.
    pub ended_by: EndedBy,
    /// The computed word.
    pub outcome: Outcome,
    /// Metric label, the same text as the public `end_reason`.
    pub label: &'static str,
    /// Class of blame.
    pub blame: Blame,
    /// One sentence a person can read.
    pub sentence: &'static str,
}

impl EndReason {
    /// Where a call that failed for this reason failed.
    pub fn stage(self) -> ErrorStage {
        match self {
            Self::MediaNegotiationFailed | Self::MediaTimeout => ErrorStage::Media,
            Self::InternalError
            | Self::AgentNotFound
            | Self::BudgetExceeded
            | Self::DoNotCall
            | Self::DialRefused
            | Self::ErrorInactivity
            | Self::ProviderError
            | Self::Shutdown => ErrorStage::Internal,
            _ => ErrorStage::Sip,
        }
    }

    /// The one table. `answered` says whether the call reached `in_progress`, which decides the ends
    /// that can happen on both sides of the answer.
    #[expect(clippy::too_many_lines, reason = "one exhaustive table reads better whole")]
    pub fn facts(self, answered: bool) -> EndFacts {
        use Blame::{Client, Server, Success, Upstream};
        use CallStatus as S;
        use EndedBy as B;
        use Outcome as O;
        let row = |status, ended_by, outcome, label, blame, sentence| EndFacts {
            status,
            ended_by,
            outcome,
            label,
            blame,
            sentence,
        };
        match self {
            Self::UserHangup => row(
                S::Completed,
                B::User,
                O::Completed,
                "user_hangup",
                Success,
                "the other side hung up",
            ),
            Self::AgentHangup => row(
                S::Completed,
                B::Agent,
                O::Completed,
                "agent_hangup",
                Success,
                "the agent ended the call",
            ),
            Self::ApiHangup => row(
                S::Completed,
                B::Api,
                O::Completed,
                "api_hangup",
                Success,
                "an API command ended the call",
            ),
            Self::Inactivity => row(
                S::Completed,
                B::System,
                O::Completed,
                "inactivity",
                Success,
                "nobody spoke after the inactivity prompts",
            ),
            Self::ErrorInactivity => row(
                S::Failed,
                B::System,
                O::Failed,
                "error_inactivity",
                Server,
                "the inactivity prompt itself failed",
            ),
            Self::MaxDuration => row(
                S::Completed,
                B::System,
                O::Completed,
                "max_duration",
                Success,
                "the maximum call duration was reached",
            ),
            Self::Voicemail => row(
                S::Completed,
                B::Agent,
                O::Voicemail,
                "voicemail",
                Success,
                "a voicemail system answered",
            ),
            Self::Ivr => {
                row(S::Completed, B::Agent, O::Ivr, "ivr", Success, "a phone menu answered")
            }
            Self::Transferred => row(
                S::Completed,
                B::Agent,
                O::Transferred,
                "transferred",
                Success,
                "the call was transferred",
            ),
            Self::TransferFailed => row(
                S::Completed,
                B::System,
                O::Completed,
                "transfer_failed",
                Upstream,
                "the transfer failed and the call ended with it",
            ),
            Self::Busy => {
                row(S::Busy, B::Carrier, O::Busy, "busy", Success, "the called party was busy")
            }
            Self::NoAnswer => {
                row(S::NoAnswer, B::Carrier, O::NoAnswer, "no_answer", Success, "nobody answered")
            }
            Self::Canceled => row(
                S::Canceled,
                B::User,
                O::Canceled,
                "canceled",
                Success,
                "the call was canceled before it was answered",
            ),
            Self::Rejected => row(
                S::Failed,
                B::User,
                O::Rejected,
                "rejected",
                Client,
                "the called party declined",
            ),
            Self::Blocked => row(
                S::Failed,
                B::Carrier,
                O::Failed,
                "blocked",
                Upstream,
                "the carrier's analytics blocked the call",
            ),
            Self::InvalidNumber => row(
                S::Failed,
                B::Carrier,
                O::InvalidNumber,
                "invalid_number",
                Client,
                "the number does not exist or is incomplete",
            ),
            Self::Unreachable => row(
                S::Failed,
                B::Carrier,
                O::Unreachable,
                "unreachable",
                Upstream,
                "the destination could not be reached",
            ),
            Self::Congestion => row(
                S::Failed,
                B::Carrier,
                O::Congestion,
                "congestion",
                Upstream,
                "the carrier had no capacity",
            ),
            Self::Forbidden => row(
                S::Failed,
                B::Carrier,
                O::Failed,
                "forbidden",
                Client,
                "the carrier did not allow the call",
            ),
            Self::AuthFailed => row(
                S::Failed,
                B::Carrier,
                O::Failed,
                "auth_failed",
                Client,
                "the trunk refused our credentials",
            ),
            Self::MediaNegotiationFailed => row(
                S::Failed,
                B::System,
                O::Failed,
                "media_negotiation_failed",
                Client,
                "the two sides share no audio codec",
            ),
            Self::SipError => row(
                S::Failed,
                B::Carrier,
                O::Failed,
                "sip_error",
                Upstream,
                "the trunk answered with a SIP error",
            ),
            Self::NetworkError => row(
                S::Failed,
                B::System,
                O::Failed,
                "network_error",
                Upstream,
                "the trunk did not answer, or its connection failed",
            ),
            Self::MediaTimeout => row(
                S::Failed,
                B::System,
                O::Failed,
                "media_timeout",
                Upstream,
                "no audio arrived for too long",
            ),
            Self::SessionExpired => row(
                S::Failed,
                B::System,
                O::Failed,
                "session_expired",
                Upstream,
                "the session was not refreshed in time",
            ),
            Self::ProviderError => row(
                S::Failed,
                B::System,
                O::Failed,
                "provider_error",
                Upstream,
                "a speech or language provider failed",
            ),
            Self::AgentNotFound => row(
                S::Failed,
                B::System,
                O::Failed,
                "agent_not_found",
                Client,
                "no agent answers this number",
            ),
            Self::BudgetExceeded => row(
                S::Failed,
                B::System,
                O::Failed,
                "budget_exceeded",
                Client,
                "the budget does not allow another call",
            ),
            Self::DoNotCall => row(
                S::Failed,
                B::System,
                O::Failed,
                "do_not_call",
                Client,
                "the number is on the do-not-call list",
            ),
            Self::DialRefused => row(
                S::Failed,
                B::System,
                O::Failed,
                "dial_refused",
                Client,
                "the dial limits do not allow the call",
            ),
            Self::Shutdown if answered => row(
                S::Completed,
                B::System,
                O::Completed,
                "shutdown",
                Server,
                "the server was stopped",
            ),
            Self::Shutdown => row(
                S::Canceled,
                B::System,
                O::Canceled,
                "shutdown",
                Server,
                "the server was stopped",
            ),
            Self::InternalError => row(
                S::Failed,
                B::System,
                O::Failed,
                "internal_error",
                Server,
                "an internal error ended the call",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::call::CallError;
    use crate::types::{CallId, CallRecord, Direction, Entropy};

    // covers: E2-05
    #[test]
    fn a_voicemail_is_an_answered_call() {
        let at = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let mut record =
            CallRecord::new(CallId::new(1, &mut Entropy::seeded(1)), Direction::Outbound, at);
        record.status = CallStatus::InProgress;
        record.answered_at = Some(at);
        record.answered_by = Some(AnsweredBy::Voicemail);
        record.finish(EndReason::Voicemail, at);
        assert_eq!(record.status, CallStatus::Completed);
        assert_eq!(record.answered_by, Some(AnsweredBy::Voicemail));
        assert_eq!(record.outcome, Some(Outcome::Voicemail));
        assert_eq!(record.ended_by, Some(EndedBy::Agent));
        assert_eq!(record.error, None, "it is no failure");
    }

    #[test]
    fn a_failed_call_says_why_and_keeps_what_it_knew() {
        let at = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let fresh =
            || CallRecord::new(CallId::new(1, &mut Entropy::seeded(1)), Direction::Outbound, at);
        for (reason, stage) in [
            (EndReason::InvalidNumber, Some(ErrorStage::Sip)),
            (EndReason::MediaTimeout, Some(ErrorStage::Media)),
            (EndReason::BudgetExceeded, Some(ErrorStage::Internal)),
            (EndReason::Busy, None),
            (EndReason::Canceled, None),
        ] {
            let mut record = fresh();
            record.finish(reason, at);
            let error = record.error.map(|error| (error.code, error.stage));
            assert_eq!(error, stage.map(|stage| (reason.facts(false).label.to_owned(), stage)));
        }
        let mut record = fresh();
        let message = "no audio for 3000 ms".to_owned();
        let known = CallError { code: "tts_timeout".into(), message, stage: ErrorStage::Tts };
        record.error = Some(known.clone());
        record.finish(EndReason::ProviderError, at);
        assert_eq!(record.error, Some(known));
    }
}
