//! Front desk: the HTTP control plane under `/v1`.
//! (shim until the api branch is merged)
#![allow(missing_docs)]
use std::sync::Arc;
pub struct State;
impl State {
    pub fn new(
        _s: Arc<dyn crate::store::CallStore>,
        _r: Arc<crate::store::recording::Recordings>,
        _sw: crate::switchboard::Handle,
        _e: crate::telemetry::metrics::Exporter,
        _en: crate::types::Entropy,
    ) -> Self {
        Self
    }
}
pub async fn serve(_l: tokio::net::TcpListener, _s: State, shutdown: impl Future<Output = ()>) {
    shutdown.await;
}
pub mod auth {
    pub async fn ensure_first_key(
        _s: &super::State,
        _k: Option<crate::types::Secret>,
    ) -> Result<Option<String>, crate::store::StoreError> {
        Ok(None)
    }
}
