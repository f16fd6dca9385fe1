//! What calls need for their tools: the way out, the signed questions, and the agents they hand calls to.

use std::sync::{Arc, OnceLock};

use super::ServerError;
use crate::call::AgentLookup;
use crate::config::Config;
use crate::switchboard::{Handle, WeakHandle};
use crate::tools::Runner;
use crate::webhook::Asker;

/// The runner of every call's tools.
pub(super) fn runner(config: &Config, asker: Asker) -> Result<Runner, ServerError> {
    Runner::new(config.tools.clone(), Some(asker))
        .map_err(|error| ServerError::Setup { key: "tools".to_owned(), message: error.to_string() })
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
