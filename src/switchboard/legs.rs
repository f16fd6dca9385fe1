//! Second legs: which trunk they leave by, whether there is room, and when it is their turn.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::dialling::{CALL_ID_BYTES, Request};
use super::placing::{self, Placing};
use super::trunk::Trunk;
use super::{Handle, Inner, admission, redirects};
use crate::call::leg::{LegError, LegPlace, LegPlan, LegPlanner, LegRequest};
use crate::net::clock;
use crate::schema::Number;
use crate::sip::DialogId;
use crate::types::{CallId, Entropy, OrganizationId, Pii, TrunkName};
use crate::usage::{DialPath, Leaving};

/// How long a leg waits for its trunk's next slot: a caller listens to nothing meanwhile.
const SLOT_WAIT: Duration = Duration::from_secs(10);
/// What a leg counts for while it lasts: nobody knows how long two people talk.
const LEG_MAX: Duration = Duration::from_secs(3_600);

/// Plans the legs of the calls of this switchboard, as long as it lives.
pub(super) fn planner(inner: &Arc<Inner>) -> LegPlanner {
    let inner = Arc::downgrade(inner);
    Box::new(move |request| {
        let inner = Weak::upgrade(&inner);
        Box::pin(async move {
            let inner = inner.ok_or(LegError::NoTrunk)?;
            plan(Handle { inner }, request).await
        })
    })
}

async fn plan(switchboard: Handle, request: LegRequest) -> Result<LegPlan, LegError> {
    let trunk = choose(&switchboard, &request).ok_or(LegError::NoTrunk)?;
    let destination = request.destination.reveal();
    let destination = destination.strip_prefix("tel:").unwrap_or(destination);
    let mut target =
        trunk.target(destination).map_err(|error| LegError::Destination(error.to_string()))?;
    if let Some((route, sought)) = switchboard.service_route(&trunk) {
        (target.route, target.sought) = (route, sought);
    }
    let net = &switchboard.inner.context.net;
    let ways = net.locate(&target.sought).await.map_err(|_| LegError::Unreachable)?;
    let leaving =
        Leaving { organization: &request.organization_id, trunk: &trunk.name, to: destination };
    let path = if request.is_referred { DialPath::Refer } else { DialPath::Leg };
    let mut taken = Taken::count(&switchboard, path, leaving)?;
    taken.enter(trunk.config.calls_max)?;
    let (reply, slot) = oneshot::channel();
    let request_slot = Request::Slot { trunk: Arc::clone(&trunk), reply };
    let busy = || LegError::Full(format!("the trunk `{}` dials others first", trunk.name.0));
    switchboard.inner.dialer.send(request_slot).await.map_err(|_| busy())?;
    match tokio::time::timeout(SLOT_WAIT, slot).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Err(busy()),
    }
    let dialog = switchboard.new_dialog();
    let sip_call_id = switchboard.entropy(|entropy| entropy.hex(CALL_ID_BYTES));
    // Its messages are the call's.
    net.trace().begin(dialog, &sip_call_id, request.call);
    switchboard.inner.registry.add_leg(dialog, request.call);
    taken.dialog = Some(dialog);
    let place = LegPlace::new(trunk.name.clone(), taken.destination.clone(), move |talk| {
        taken.talk = talk;
        drop(taken);
    });
    let from = match trunk.config.from_number.as_str() {
        "" => request.from.reveal().as_str(),
        own => own,
    };
    let of_server = switchboard.inner.context.config.ring_timeout_seconds;
    let is_shown_credentials = !request.is_referred || placing::is_trunk(&trunk, &target);
    let placing = Placing {
        dialog,
        call_id: Some(sip_call_id),
        trunk: &trunk,
        target,
        ways,
        from,
        headers: request.headers,
        ring_timeout: request.ring_timeout.unwrap_or(Duration::from_secs(of_server.into())),
    };
    let mut invite = placing.invite().ok_or(LegError::Unreachable)?;
    invite.credentials.take_if(|_| !is_shown_credentials);
    Ok(LegPlan {
        media: super::media_on(&switchboard, &trunk, &invite.flow),
        invite: Box::new(invite),
        entropy: switchboard.entropy(Entropy::fork),
        place,
        redirector: redirects::redirector(&switchboard, &trunk, &request.organization_id),
    })
}

/// The trunk that is named, that of the number, the call's own, or the only one that dials.
fn choose(switchboard: &Handle, request: &LegRequest) -> Option<Arc<Trunk>> {
    let snapshot = switchboard.directory().snapshot();
    if request.is_referred {
        return request.fallback_trunk.as_ref().and_then(|name| snapshot.trunk(name));
    }
    let organization = &request.organization_id;
    // A URI has a host of its own.
    let is_number = !request.destination.reveal().starts_with("sip");
    let own = |name: &TrunkName| {
        snapshot.trunk(name).filter(|trunk| trunk.organization_id == *organization)
    };
    if let Some(name) = &request.trunk {
        return own(name);
    }
    let number = request.number.as_ref();
    let number = number.and_then(|id| snapshot.row::<Number>(organization, id));
    let of_number = number.and_then(|number| number.doc.transfer_trunk_id.clone()).map(TrunkName);
    of_number
        .as_ref()
        .and_then(own)
        .or_else(|| request.fallback_trunk.as_ref().and_then(own))
        .filter(|trunk| !is_number || !trunk.config.host.is_empty())
        .or_else(|| snapshot.only_dialling_trunk(organization))
}

/// What was taken for a leg. It is given back when this is dropped, together with what was talked.
struct Taken {
    switchboard: Handle,
    organization: OrganizationId,
    trunk: TrunkName,
    destination: Pii<String>,
    /// Its number in the dial limits.
    leg: CallId,
    talk: Duration,
    is_admitted: bool,
    dialog: Option<DialogId>,
}

impl Taken {
    /// Counts the leg against the dial limits.
    fn count(switchboard: &Handle, path: DialPath, leaving: Leaving<'_>) -> Result<Self, LegError> {
        let leg = switchboard.new_call_id();
        let guard = &switchboard.inner.context.dial;
        guard
            .begin(path, leg, leaving, LEG_MAX, clock::wall())
            .map_err(|refused| LegError::Refused(refused.to_string()))?;
        Ok(Self {
            switchboard: switchboard.clone(),
            organization: leaving.organization.clone(),
            trunk: leaving.trunk.clone(),
            destination: leaving.to.to_owned().into(),
            leg,
            talk: Duration::ZERO,
            is_admitted: false,
            dialog: None,
        })
    }

    /// Takes a place in the server and on the trunk.
    fn enter(&mut self, calls_max: u32) -> Result<(), LegError> {
        let name = &self.trunk;
        let admitted = self.switchboard.admission(|door| {
            door.admit(clock::now(), Some(name), calls_max, admission::Pace::Paced)
        });
        admitted.map_err(|refusal| {
            LegError::Full(format!("no room for a second leg: {}", refusal.as_str()))
        })?;
        self.is_admitted = true;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Self { switchboard, organization, trunk, destination, talk, .. } = self;
        if let Some(dialog) = self.dialog {
            switchboard.inner.registry.remove_leg(dialog);
        }
        if self.is_admitted {
            switchboard.admission(|door| door.release(Some(trunk)));
            switchboard.inner.ended.notify_waiters();
        }
        let context = &switchboard.inner.context;
        let micros = context.accounts.leg_micros(organization, trunk, destination, *talk);
        context.dial.end_leg(self.leg, *talk, micros);
    }
}
