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
        let begin = now.to_zoned(jiff::tz::TimeZone::UTC).start_of_day();
        let begin = begin.map_or(now, |begin| begin.timestamp());
        store.dialled_since(begin, |record| guard.remember(&record, now)).await?;
    }
    Ok(Arc::new(guard))
}
