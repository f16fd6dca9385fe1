//! Floor 0: the words every room shares. Plain data, no I/O, no clock, no vendor.

pub mod after;
pub mod audio;
pub mod call;
pub mod codec;
pub mod dtls;
pub mod end;
pub mod entropy;
pub mod event;
pub mod failover;
pub mod header_list;
pub mod ice;
pub mod id;
pub mod identity;
pub mod ladder;
pub mod latency;
pub mod order;
pub mod outbox;
pub mod phone;
pub mod pii;
pub mod quality;
pub mod reception;
pub mod scope;
pub mod srtp;
pub mod tone;
pub mod tool;

pub use after::{
    AfterPlan, AfterStatus, AnalysisSpec, Cost, ReservationStatus, Usage, UsageKind, UsageUnit,
};
pub use audio::{Pcm, SampleRate};
pub use call::{CallRecord, CallStatus, Direction, TurnRecord, TurnRole, TurnSignal};
pub use codec::{CodecName, CodecSpec};
pub use dtls::{DtlsPlan, DtlsRole, Fingerprint, KeyingFailure, SrtpKeying};
pub use end::{AnsweredBy, EndReason, EndedBy, Outcome};
pub use entropy::Entropy;
pub use event::{CallEvent, CallEventKind};
pub use failover::{FAILOVERS_MAX, Failover};
pub use header_list::lets_through;
pub use ice::IceCredentials;
pub use id::{
    AgentId, BatchId, CallId, CampaignId, Generation, LeadId, OrderId, OrganizationId, TrunkName,
    TurnId,
};
pub use identity::SipIdentity;
pub use ladder::{SipLadder, SipMessage, SipWay};
pub use latency::{Breakdown, CallLatency, CriticalPath};
pub use outbox::{OutboxEvent, OutboxKind};
pub use phone::{NumberError, PhoneNumber};
pub use pii::{Pii, Secret};
pub use quality::CallQuality;
pub use reception::Reception;
pub use scope::Scope;
pub use srtp::{SrtpKey, SrtpKeys, SrtpPolicy, SrtpSuite};
pub use tone::LineTone;
pub use tool::ToolUse;
