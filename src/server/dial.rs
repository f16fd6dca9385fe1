//! The guard against toll fraud, with the limits of the configuration and of trunks, and what was used today.

use std::sync::Arc;

use super::ServerError;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::net::clock;
use crate::store::Store;
use crate::types::TrunkName;
use crate::usage::{DialGuard, TrunkRules};

/// The guard against toll fraud, with what was used today.
pub(super) async fn guard(
    config: &Config,
    catalog: &Catalog,
    store: &Store,
) -> Result<Arc<DialGuard>, ServerError> {
    let of_trunk = catalog.clone();
    let guard = DialGuard::new(config.dial_limits.clone(), move |name| {
        of_trunk.trunk(name).map_or_else(TrunkRules::default, |trunk| TrunkRules {
            limits: trunk.config.dial_limits.clone(),
            hosts: trunk.hosts(),
        })
    });
    let trunks: Vec<TrunkName> =
        catalog.trunks().into_iter().map(|trunk| trunk.name.clone()).collect();
    if guard.remembers(&trunks) {
        let now = clock::wall();
        // What ended today is used today, and may have begun the day before.
        let since = now.checked_sub(jiff::SignedDuration::from_hours(48)).unwrap_or_default();
        store.dialled_since(since, |record| guard.remember(&record, now)).await?;
    }
    Ok(Arc::new(guard))
}
