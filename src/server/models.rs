//! Language models by the name of their provider, for what is made of calls after they end.

use std::sync::Arc;

use crate::after::Models;
use crate::config::{Config, Env};
use crate::types::Secret;

/// Models of the configuration's providers. A key that cannot be read gives no model: agents that use the same
/// provider in a call have told of it at the start.
pub(super) fn by_name(config: &Config, env: &Env) -> Models {
    let keyed = config.providers.iter().map(|(name, provider)| {
        let key = match &provider.api_key {
            Some(reference) => reference.resolve(env).ok(),
            None => Some(Secret::default()),
        };
        (name.clone(), (provider.clone(), key))
    });
    let providers: std::collections::BTreeMap<_, _> = keyed.collect();
    Arc::new(move |name, model| {
        let (provider, key) = providers.get(name)?;
        let mut provider = provider.clone();
        if let Some(model) = model {
            model.clone_into(&mut provider.model);
        }
        provider.llm(name, key.clone()?).ok()
    })
}
