//! What calls need for their tools: the way out, the signed questions, and the agents they hand calls to.

use std::sync::{Arc, OnceLock};

use super::ServerError;
use crate::call::AgentLookup;
use crate::config::Config;
use crate::egress::{Client, Policy};
use crate::store::{Sealer, Store};
use crate::switchboard::{Handle, WeakHandle};
use crate::tools::Runner;
use crate::types::Entropy;
use crate::webhook::{Asker, Keyring};

/// The runner of every call's tools.
pub(super) fn runner(
    config: &Config,
    store: Arc<Store>,
    entropy: &mut Entropy,
) -> Result<Runner, ServerError> {
    let refused = |message: String| ServerError::Setup { key: "tools".to_owned(), message };
    let key_file = Sealer::key_file(&config.store.database);
    let sealer = Sealer::from_master(None, &key_file, entropy);
    let sealer = sealer.map_err(|error| refused(error.to_string()))?;
    let keyring = Keyring::new(store, Arc::new(sealer), entropy.fork());
    let allow_private_targets = config.tools.allow_private_targets;
    let client = Client::new(Policy { allow_private_targets, ..Policy::default() });
    let client = client.map_err(|error| refused(error.to_string()))?;
    let asker = Asker::new(client, Arc::new(keyring));
    Runner::new(config.tools.clone(), Some(asker)).map_err(|error| refused(error.to_string()))
}

/// Finds agents in the directory of a switchboard that is started later. It keeps nothing alive: the
/// switchboard holds the calls' context, and the context holds this.
#[derive(Clone, Default)]
pub(super) struct Agents {
    switchboard: Arc<OnceLock<WeakHandle>>,
}

impl Agents {
    pub(super) fn lookup(&self) -> AgentLookup {
        let switchboard = Arc::clone(&self.switchboard);
        Arc::new(move |id| switchboard.get()?.upgrade()?.directory().agent(id))
    }

    pub(super) fn of(&self, switchboard: &Handle) {
        // There is one switchboard, and it is told once.
        let _ = self.switchboard.set(switchboard.downgrade());
    }
}
