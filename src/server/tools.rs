//! What calls need for their tools (the way out, the signed questions, the agents they hand calls to), and what
//! webhooks need of other rooms.

use std::sync::Arc;

use super::ServerError;
use crate::call::AgentLookup;
use crate::catalog::{CallFacts, Catalog, prepare};
use crate::config::{Config, Env};
use crate::mail::Mailer;
use crate::schema::agent::Overrides;
use crate::tools::Runner;
use crate::types::{CallRecord, Direction};
use crate::webhook::{AgentSecrets, Asker, KeyringError, Post};

/// The runner of every call's tools.
pub(super) fn runner(config: &Config, asker: Asker) -> Result<Runner, ServerError> {
    Runner::new(config.tools.clone(), Some(asker))
        .map_err(|error| ServerError::Setup { key: "tools".to_owned(), message: error.to_string() })
}

/// What sends events as e-mail, if there is a relay.
pub(super) fn post(config: &Config, env: &Env) -> Result<Option<Post>, ServerError> {
    let section = &config.notifications;
    let Some(relay) = section.smtp.mailer() else { return Ok(None) };
    let wrong = |key: &str, error: &dyn std::error::Error| ServerError::Setup {
        key: format!("notifications.smtp.{key}"),
        message: error.to_string(),
    };
    let password = section.smtp.password.as_ref().map(|reference| reference.resolve(env));
    let password = password.transpose().map_err(|error| wrong("password", &error))?;
    let mailer = Mailer::new(&relay, &password.unwrap_or_default());
    let mailer = mailer.map_err(|error| wrong("host", &error))?;
    Ok(Some(Post::new(mailer, section.mask_numbers, section.attach_event)))
}

/// Finds the secrets that agents sign with instead of their organization.
pub(super) fn agent_secrets(catalog: &Catalog) -> AgentSecrets {
    let catalog = catalog.clone();
    Arc::new(move |organization, agent| {
        let catalog = catalog.clone();
        Box::pin(async move {
            let found = catalog.agent_webhook_secret(&organization, &agent).await;
            found.map_err(|error| KeyringError::Agent(error.into()))
        })
    })
}

/// Finds the agent that a call is handed to, among those of the call's organization, with its texts for this call.
pub(super) fn agents(catalog: &Catalog) -> AgentLookup {
    let catalog = catalog.clone();
    Arc::new(move |record, id| {
        let ready = catalog.ready(&record.organization_id, id).filter(|ready| ready.is_active)?;
        let made = prepare(&ready, &of_call(record), facts(record));
        made.inspect_err(|error| tracing::warn!(agent = %id, %error, "no agent to hand a call to"))
            .ok()
    })
}

/// What the call knows goes with it: its variables, with those that tools set, and its context.
fn of_call(record: &CallRecord) -> Overrides {
    let mut variables = record.variables.reveal().clone();
    variables.extend(record.variables_extracted.reveal().clone());
    Overrides {
        variables,
        context: record.context.as_ref().map(|context| context.reveal().clone()),
        ..Overrides::default()
    }
}

fn facts(record: &CallRecord) -> CallFacts<'_> {
    CallFacts {
        direction: match record.direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        },
        from: record.from_number.reveal(),
        to: record.to_number.reveal(),
        sip: record.sip_identity.as_deref(),
    }
}
