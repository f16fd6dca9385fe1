//! A service that speaks the protocol, as an agent's model: what vendors differ in is their [`Dialect`].

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::protocol::Dialect;
use super::{Realtime, RealtimeParams, RealtimeSession, TurnDetection, session};
use crate::providers::socket::{Endpoint, push_query};
use crate::providers::{ProviderError, Stage};
use crate::types::{SampleRate, Secret};

/// One configured service.
pub(super) struct Service {
    pub(super) name: String,
    /// WebSocket address of its sessions, without a query.
    pub(super) url: String,
    pub(super) model: String,
    pub(super) key: Secret,
    pub(super) dialect: Dialect,
    /// Who may find the end of a turn.
    pub(super) turn_detections: &'static [TurnDetection],
}

impl Realtime for Service {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn sample_rate(&self) -> SampleRate {
        self.dialect.format.rate()
    }

    fn turn_detections(&self) -> &'static [TurnDetection] {
        self.turn_detections
    }

    fn open(
        &self,
        params: RealtimeParams,
    ) -> BoxFuture<'static, Result<RealtimeSession, ProviderError>> {
        let mut url = self.url.clone();
        push_query(&mut url, "model", &self.model);
        let auth = (!self.key.is_empty())
            .then(|| ("authorization", Secret::new(format!("Bearer {}", self.key.expose()))));
        let provider = self.name.clone();
        let endpoint = Endpoint { provider, stage: Stage::Realtime, url, auth };
        session::open(endpoint, self.dialect.clone(), params).boxed()
    }
}
