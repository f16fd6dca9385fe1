//! Floor 0: the words every room shares. Plain data, no I/O, no clock, no vendor.

pub mod audio;
pub mod call;
pub mod codec;
pub mod end;
pub mod entropy;
pub mod event;
pub mod id;
pub mod latency;
pub mod phone;
pub mod pii;

pub use audio::{Pcm, SampleRate};
pub use call::{CallRecord, CallStatus, Direction, TurnRecord, TurnRole};
pub use codec::{CodecName, CodecSpec};
pub use end::{AnsweredBy, EndReason, EndedBy, Outcome};
pub use entropy::Entropy;
pub use event::{CallEvent, CallEventKind};
pub use id::{AgentId, CallId, Generation, TrunkName, TurnId};
pub use latency::{Breakdown, CallLatency, CriticalPath};
pub use phone::{NumberError, PhoneNumber};
pub use pii::{Pii, Secret};
