//! Redirected calls: each contact of a 3xx is checked like a destination that somebody dials.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::trunk::{DestinationError, Target, Trunk};
use super::{Handle, placing};
use crate::call::redirect::{Redirected, Redirector};
use crate::net::clock;
use crate::schema::calling::Redirects;
use crate::telemetry::chain;
use crate::types::OrganizationId;
use crate::usage::{DialPath, Leaving};

/// Where a call to `destination` goes on this trunk, if it may be called at all: the one gate of
/// everything that makes an INVITE, dialled or redirected.
pub(super) fn destination(trunk: &Trunk, destination: &str) -> Result<Target, DestinationError> {
    trunk.target(destination.strip_prefix("tel:").unwrap_or(destination))
}

/// What follows the redirects of a trunk's calls; `None`: they are not followed.
pub(super) fn redirector(
    switchboard: &Handle,
    trunk: &Arc<Trunk>,
    organization: &OrganizationId,
) -> Option<Redirector> {
    if trunk.config.calls.redirects != Redirects::Follow {
        return None;
    }
    let (switchboard, trunk) = (switchboard.clone(), Arc::clone(trunk));
    let organization = organization.clone();
    Some(Arc::new(move |uri: String| {
        let (answer, asked) = oneshot::channel();
        let (switchboard, trunk) = (switchboard.clone(), Arc::clone(&trunk));
        let organization = organization.clone();
        tokio::spawn(async move {
            let to = uri.strip_prefix("tel:").unwrap_or(&uri);
            let leaving = Leaving { organization: &organization, trunk: &trunk.name, to };
            let guard = &switchboard.inner.context.dial;
            let allowed = guard.check(DialPath::Redirect, leaving, clock::wall());
            if let Err(refused) = &allowed {
                tracing::info!(trunk = %trunk.name, %refused, "a redirect is not followed");
            }
            let target = match allowed {
                Ok(()) => locate(&switchboard, &trunk, to).await,
                Err(_) => None,
            };
            // A call that is over meanwhile does not ask any more.
            let _ = answer.send(target);
        });
        asked
    }))
}

async fn locate(switchboard: &Handle, trunk: &Trunk, uri: &str) -> Option<Redirected> {
    let target = match destination(trunk, uri) {
        Ok(target) => target,
        Err(error) => {
            tracing::info!(trunk = %trunk.name, %error, "a redirect leads nowhere");
            return None;
        }
    };
    let net = &switchboard.inner.context.net;
    let flow = match net.locate(&target.sought).await {
        Ok(ways) => ways.into_iter().next()?,
        Err(error) => {
            tracing::info!(trunk = %trunk.name, error = %chain::chain(&error), "failed to resolve a redirect");
            return None;
        }
    };
    let is_trunk = placing::is_trunk(trunk, &target);
    Some(Redirected { request_uri: target.uri, route: target.route, flow, is_trunk })
}
