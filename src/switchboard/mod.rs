//! Many calls: what becomes of each SIP event, who gets in, who answers, who is dialled, how the server stops.
//!
//! Nothing here knows audio. The list of live calls is [`registry::Registry`]; the door is
//! [`admission::Admission`]; numbers and agents are [`directory::Directory`].

pub mod admission;
pub mod dialer;
mod dialling;
mod dispatch;
pub mod health;
mod inbound;
mod ladder;
mod legs;
pub mod pace;
mod ping;
mod placing;
mod redirects;
mod registrations;
pub mod registry;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

pub use crate::catalog::{Catalog, Directory, Trunk, TrunkConfig, directory, trunk};
pub use admission::{AdmissionConfig, Refusal};
pub use dialer::{DialError, DialOrigin, DialRequest, Prepared};
pub use registrations::RegistrationState;

use crate::call::{CallCommand, CallContext, CallHandle, CallSeed, CommandError, Place};
use crate::net::clock;
use crate::sip::{self, DialogId};
use crate::store::StoreError;
use crate::telemetry::metrics;
use crate::types::{CallId, CallRecord, Entropy, SipLadder, TrunkName};
use crate::webhook::Asker;

/// Calls waiting to be dialled that the switchboard takes before it says 503.
pub const DIAL_QUEUE: usize = 1_000;

/// How long calls that were told to end may take for it.
const LAST_RECORDS_MAX: Duration = Duration::from_secs(10);

struct Inner {
    directory: Catalog,
    registry: registry::Registry,
    admission: Mutex<admission::Admission>,
    context: Arc<CallContext>,
    entropy: Mutex<Entropy>,
    dialer: mpsc::Sender<dialling::Request>,
    waiting: dialling::Waiting,
    next_dialog: AtomicU64,
    /// Told whenever a call ends, for whoever waits until the last one has.
    ended: Notify,
    /// Asks the webhooks of numbers.
    asker: OnceLock<Asker>,
    /// Inbound calls whose agent is being asked for, and where their events go meanwhile.
    pending: Mutex<HashMap<DialogId, mpsc::Sender<sip::Event>>>,
    pings: ping::Pings,
    registrations: registrations::Registrations,
}

/// The switchboard, as the API and the server see it.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

/// Starts dispatching SIP events and dialling.
pub fn start(
    directory: impl Into<Catalog>,
    admission: AdmissionConfig,
    context: Arc<CallContext>,
    events: mpsc::Receiver<sip::Event>,
    entropy: Entropy,
) -> Handle {
    let (dialer, requests) = mpsc::channel(DIAL_QUEUE);
    let inner = Arc::new(Inner {
        directory: directory.into(),
        registry: registry::Registry::default(),
        admission: Mutex::new(admission::Admission::new(admission)),
        context,
        entropy: Mutex::new(entropy),
        dialer,
        waiting: dialling::Waiting::default(),
        next_dialog: AtomicU64::new(1),
        ended: Notify::new(),
        asker: OnceLock::new(),
        pending: Mutex::default(),
        pings: ping::Pings::default(),
        registrations: registrations::Registrations::default(),
    });
    let handle = Handle { inner };
    handle.inner.context.legs.plan_with(legs::planner(&handle.inner));
    tokio::spawn(dispatch::run(handle.clone(), events));
    tokio::spawn(dialling::run(handle.clone(), requests));
    tokio::spawn(ping::run(handle.clone()));
    tokio::spawn(registrations::run(handle.clone()));
    tokio::spawn(ladder::run(handle.inner.context.clone()));
    handle
}

/// Codecs and the address that our SDP names on a flow: that of the listener, if it has one of its own.
fn media_on(switchboard: &Handle, trunk: &Trunk, flow: &sip::Flow) -> crate::call::MediaPolicy {
    let mut media = trunk.media.clone();
    let is_ipv4 = flow.remote.ip().to_canonical().is_ipv4();
    let net = &switchboard.inner.context.net;
    let is_local = net.is_local(flow.remote.ip());
    let of_trunk = media.advertised.filter(|ip| ip.is_ipv4() == is_ipv4 && !is_local);
    media.advertised = net.media_address(flow).or(of_trunk);
    media
}

impl Handle {
    /// What a live call is doing right now.
    pub fn live_state(&self, call: CallId) -> Option<crate::call::Live> {
        self.inner.registry.get(call).map(|handle| handle.live())
    }

    /// Directory of the recordings that can be played.
    pub fn media_dir(&self) -> &std::path::Path {
        &self.inner.context.config.media_dir
    }

    /// Returns when everything is on disk that calls have told until now: writes gather for some milliseconds.
    pub async fn flush(&self) {
        self.inner.context.store.flush().await;
    }

    /// What asks the servers of tools.
    pub fn tools(&self) -> &crate::tools::Runner {
        &self.inner.context.tools
    }

    /// Agents, trunks and numbers.
    pub fn directory(&self) -> &Catalog {
        &self.inner.directory
    }

    /// From now on the webhooks of numbers are asked. The first one counts.
    pub fn ask_with(&self, asker: Asker) {
        let _ = self.inner.asker.set(asker);
    }

    /// Tells the SIP user agent whom it may listen to, after trunks changed.
    pub fn sync_trunks(&self) {
        self.follow_registrations();
        let trunks = self.inner.directory.access();
        if self.inner.context.net.command(sip::Command::SetTrunks(trunks)).is_err() {
            tracing::error!("the SIP driver takes no commands: trunks stay as they were");
        }
    }

    /// Calls on a trunk now.
    pub fn live_on(&self, trunk: &TrunkName) -> u32 {
        self.admission(|door| door.live_on(trunk))
    }

    /// Live events of every call.
    pub fn bus(&self) -> &crate::call::EventBus {
        &self.inner.context.bus
    }

    /// Calls that are live now.
    pub fn live(&self) -> usize {
        self.inner.registry.len()
    }

    /// Calls that may be live at once.
    pub fn calls_max(&self) -> u32 {
        self.admission(|door| door.calls_max())
    }

    /// Hears a live call from now on; `None` if nothing of it is recorded, or too many listen.
    pub async fn listen(&self, call: CallId) -> Option<crate::call::Listener> {
        self.inner.context.recorder.listen(call).await
    }

    /// How many listen to a call.
    pub fn listeners(&self, call: CallId) -> u32 {
        self.inner.context.recorder.listeners(call)
    }

    /// The dialog of a live call, as the SIP user agent numbers it.
    pub fn dialog_of(&self, call: CallId) -> Option<DialogId> {
        self.inner.registry.get(call).map(|handle| handle.dialog())
    }

    /// Whether the server takes no more calls.
    pub fn is_draining(&self) -> bool {
        self.admission(|door| door.is_draining())
    }

    /// Queues an outbound call. Returns its record, which is stored.
    ///
    /// # Errors
    /// When the request can't be dialled as it stands or stored, the queue is full or the server drains.
    pub async fn dial(&self, request: DialRequest) -> Result<CallRecord, DialError> {
        dialer::queue(self, request).await
    }

    /// Checks a request without promising anything.
    ///
    /// # Errors
    /// When the request can't be dialled as it stands.
    pub async fn prepare(&self, request: DialRequest) -> Result<Prepared, DialError> {
        dialer::prepare(self, request).await
    }

    /// Checks everything of a request but its destination: a sample of those to come.
    ///
    /// # Errors
    /// When no such request can be dialled.
    pub async fn check_sample(&self, request: DialRequest) -> Result<(), DialError> {
        dialer::draft(self, request).await.map(drop)
    }

    /// Dials a call that is promised on disk, as soon as its trunk can.
    pub async fn enqueue(&self, prepared: Prepared) {
        dialer::enqueue(self, prepared).await;
    }

    /// Dials a call that a former process promised, or ends it if that cannot be done any more.
    pub async fn redial(&self, record: CallRecord, request: serde_json::Value) {
        dialer::redial(self, record, request).await;
    }

    /// Ends a call that was promised and that nobody dials.
    pub fn give_up(&self, record: CallRecord, reason: crate::types::EndReason) {
        dialling::end_unplaced(self, record, reason);
    }

    /// Calls that wait for a trunk's turn.
    pub fn waiting(&self, trunk: &TrunkName) -> usize {
        self.inner.waiting.on(trunk)
    }

    /// Whether the server would take another call now.
    pub fn has_room(&self) -> bool {
        self.admission(|door| !door.is_full() && !door.is_draining())
    }

    /// Gives a live call a command; returns the identifier its effects carry.
    ///
    /// # Errors
    /// When the call is not live or does not take the command.
    pub async fn command(
        &self,
        call: CallId,
        command: CallCommand,
    ) -> Result<String, CommandError> {
        let command_id = format!("cmd_{}", self.entropy(|entropy| entropy.hex(8)));
        if let Some(handle) = self.inner.registry.get(call) {
            handle.command(command_id.clone(), command).await?;
            return Ok(command_id);
        }
        if matches!(command, CallCommand::End { .. }) && dialer::cancel(self, call).await {
            return Ok(command_id);
        }
        Err(CommandError::NotActive)
    }

    /// Takes no more calls, waits for the live ones, and ends those that are left at `deadline`.
    pub async fn drain(&self, deadline: Duration) {
        self.admission(admission::Admission::drain);
        self.end_registrations().await;
        let _ = self.inner.context.net.command(sip::Command::Drain);
        if tokio::time::timeout(deadline, self.all_over()).await.is_err() {
            for call in self.inner.registry.all() {
                call.shut_down();
            }
            // BYE and the records need a moment; a call that hangs must not keep the server.
            let _ = tokio::time::timeout(LAST_RECORDS_MAX, self.all_over()).await;
        }
        ladder::settle(&self.inner.context.net).await;
    }

    /// Returns when no call is live.
    async fn all_over(&self) {
        loop {
            let ended = self.inner.ended.notified();
            if self.inner.registry.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// The SIP messages of a call so far; `None`: none are known.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ladder(&self, call: CallId) -> Result<Option<SipLadder>, StoreError> {
        match self.inner.context.net.trace().of(call) {
            Some(ladder) => Ok(Some(ladder)),
            None => self.inner.context.store.store().ladder(call).await,
        }
    }

    /// Lets go of what is held of a call that is about to be erased.
    pub fn forget_ladder(&self, call: CallId) {
        self.inner.context.net.trace().forget(call);
    }

    fn admission<T>(&self, f: impl FnOnce(&mut admission::Admission) -> T) -> T {
        let mut door = self.inner.admission.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut door);
        metrics::admission(match (door.is_draining(), door.is_full()) {
            (true, _) => metrics::Admission::Draining,
            (false, true) => metrics::Admission::Refusing,
            (false, false) => metrics::Admission::Open,
        });
        result
    }

    fn entropy<T>(&self, f: impl FnOnce(&mut Entropy) -> T) -> T {
        f(&mut self.inner.entropy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn new_call_id(&self) -> CallId {
        self.entropy(|entropy| CallId::new(clock::unix_ms(), entropy))
    }

    fn new_dialog(&self) -> DialogId {
        DialogId::outbound(self.inner.next_dialog.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts a call that was admitted, and forgets it when it is over.
    fn run_call(&self, seed: CallSeed) {
        let trunk: Option<TrunkName> = seed.record.trunk.clone();
        ladder::claim(&self.inner.context.net, &seed);
        let door = self.clone();
        let place = Arc::new(Place::new(move || {
            door.admission(|admission| admission.release(trunk.as_ref()));
            door.inner.ended.notify_waiters();
        }));
        let context = Arc::clone(&self.inner.context);
        let (handle, call) = crate::call::prepare(seed, Arc::clone(&place), context);
        let id = handle.id;
        self.inner.registry.insert(handle);
        let this = self.clone();
        // Spawned here: the task below would hold the call's own 47 kB for as long as it waits.
        let call = tokio::spawn(call);
        tokio::spawn(async move {
            match call.await {
                Ok(record) => this.inner.context.dial.end(&record),
                Err(_) => {
                    tracing::error!(call.id = %id, "a call's task panicked while it ended");
                    this.inner.context.accounts.release(id);
                    this.inner.context.dial.release(id);
                }
            }
            this.inner.registry.remove(id);
            this.inner.context.net.trace().call_over(id);
            place.give_back();
            this.inner.ended.notify_waiters();
        });
    }

    fn pending<T>(
        &self,
        f: impl FnOnce(&mut HashMap<DialogId, mpsc::Sender<sip::Event>>) -> T,
    ) -> T {
        f(&mut self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives an event to its call, or to whoever waits to begin it.
    fn pass_on(&self, event: sip::Event) {
        let dialog = event.dialog();
        self.pending(|pending| {
            if let Some(call) = self.call_of(dialog) {
                call.sip_event(event);
            } else if let Some(waiting) = pending.get(&dialog) {
                // Nobody waits for more than the first.
                let _ = waiting.try_send(event);
            }
        });
    }

    fn call_of(&self, dialog: DialogId) -> Option<CallHandle> {
        self.inner.registry.of_dialog(dialog)
    }
}
