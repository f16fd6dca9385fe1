//! Registrations of trunks: one task a trunk drives its machine ([`crate::sip::registration`]), and all follow the
//! catalog.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::{Handle, Trunk};
use crate::catalog::trunk::Account;
use crate::net::clock;
use crate::net::locate::Sought;
use crate::sip::registration::{Input, Output, Registration, Request, Status};
use crate::sip::{Command, DialogId, Flow, Register, Registered};
use crate::telemetry::metrics;
use crate::types::{Entropy, Secret, TrunkName};

/// Longest wait for an answer of one registrar; timer F alone would take 32 s, and there may be another.
const WAIT: Duration = Duration::from_secs(10);

/// How long registrations may take to be taken back at the end.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// Octets of a Call-ID.
const CALL_ID_BYTES: usize = 16;

/// How a trunk's registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationState {
    /// In a word.
    pub status: Status,
    /// Until when it holds.
    pub until: Option<jiff::Timestamp>,
    /// Why it does not.
    pub error: Option<String>,
    /// Routes of calls on the trunk (RFC 3608), in order.
    pub service_route: Vec<String>,
}

type Waiting = HashMap<DialogId, oneshot::Sender<Option<Registered>>>;

/// States, and requests under way.
pub(super) struct Registrations {
    waiting: Mutex<Waiting>,
    states: Mutex<HashMap<TrunkName, RegistrationState>>,
    /// Counts changes of the catalog; `None` when all are to end.
    changed: watch::Sender<Option<u64>>,
    /// Told when the last task has ended.
    over: watch::Sender<bool>,
}

impl Default for Registrations {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            states: Mutex::default(),
            changed: watch::Sender::new(Some(0)),
            over: watch::Sender::new(false),
        }
    }
}

impl Handle {
    fn registering<T>(&self, f: impl FnOnce(&mut Waiting) -> T) -> T {
        f(&mut self.inner.registrations.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn registration_states<T>(
        &self,
        f: impl FnOnce(&mut HashMap<TrunkName, RegistrationState>) -> T,
    ) -> T {
        f(&mut self.inner.registrations.states.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How a trunk's registration stands; `None`: it registers nowhere.
    pub fn registration(&self, trunk: &TrunkName) -> Option<RegistrationState> {
        self.registration_states(|states| states.get(trunk).cloned())
    }

    pub(super) fn registered(&self, dialog: DialogId, outcome: Option<Registered>) {
        if let Some(reply) = self.registering(|waiting| waiting.remove(&dialog)) {
            // Whoever asked may have given up.
            let _ = reply.send(outcome);
        }
    }

    /// Lets registrations follow the catalog.
    pub(super) fn follow_registrations(&self) {
        self.inner.registrations.changed.send_modify(|count| {
            *count = count.map(|count| count.wrapping_add(1));
        });
    }

    /// Takes every registration back, so that carriers send no more calls here.
    pub(super) async fn end_registrations(&self) {
        self.inner.registrations.changed.send_replace(None);
        let mut over = self.inner.registrations.over.subscribe();
        // A registrar that does not answer keeps nobody: its registration ends by itself.
        let _ = tokio::time::timeout(STOP_WAIT, over.wait_for(|over| *over)).await;
    }

    /// What a registrar said of the way that calls take (RFC 3608): Route headers, and what to look up.
    pub(super) fn service_route(&self, trunk: &Trunk) -> Option<(Vec<String>, Sought)> {
        let route = self.registration(&trunk.name)?.service_route;
        let first = crate::sip::header::NameAddr::parse(route.first()?.as_bytes())?.uri;
        let transport = first.transport().and_then(crate::sip::Transport::named);
        let sought = Sought {
            host: first.host.as_ref()?.to_string(),
            port: first.port,
            transport: transport.or(trunk.transport()),
        };
        Some((route, sought))
    }
}

/// What makes a registration another one.
#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    account: Account,
    expires_s: u32,
    username: String,
    password: String,
}

impl Wanted {
    fn of(trunk: &Trunk) -> Option<Self> {
        let credentials = trunk.credentials.as_ref();
        Some(Self {
            account: trunk.account()?,
            expires_s: trunk.config.register_interval_s,
            username: credentials.map(|one| one.username.clone()).unwrap_or_default(),
            password: credentials.map(|one| one.password.expose().to_owned()).unwrap_or_default(),
        })
    }
}

/// Runs for the life of the server.
pub(super) async fn run(switchboard: Handle) {
    let mut changed = switchboard.inner.registrations.changed.subscribe();
    let mut running: HashMap<TrunkName, (Wanted, oneshot::Sender<()>)> = HashMap::new();
    let mut tasks: JoinSet<()> = JoinSet::new();
    loop {
        let goes_on = changed.borrow_and_update().is_some();
        let trunks = if goes_on { switchboard.directory().trunks() } else { Vec::new() };
        let wanted: HashMap<TrunkName, Wanted> = trunks
            .iter()
            .filter_map(|trunk| Some((trunk.name.clone(), Wanted::of(trunk)?)))
            .collect();
        // Dropping its sender tells a task to take its registration back.
        running.retain(|name, (of, _)| wanted.get(name).is_some_and(|wanted| wanted == of));
        let names: HashSet<TrunkName> = wanted.keys().cloned().collect();
        for (name, wanted) in wanted {
            if running.contains_key(&name) {
                continue;
            }
            let (stop, stopped) = oneshot::channel();
            let one = One::new(&switchboard, name.clone(), wanted.clone());
            tasks.spawn(one.run(stopped));
            running.insert(name, (wanted, stop));
        }
        if goes_on {
            switchboard.registration_states(|states| states.retain(|name, _| names.contains(name)));
        } else {
            while tasks.join_next().await.is_some() {}
            switchboard.inner.registrations.over.send_replace(true);
            return;
        }
        tokio::select! {
            result = changed.changed() => if result.is_err() { return },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// One trunk's registration.
struct One {
    switchboard: Handle,
    name: TrunkName,
    wanted: Wanted,
    call_id: String,
    entropy: Entropy,
}

impl One {
    fn new(switchboard: &Handle, name: TrunkName, wanted: Wanted) -> Self {
        let mut entropy = switchboard.entropy(Entropy::fork);
        let call_id = entropy.hex(CALL_ID_BYTES);
        Self { switchboard: switchboard.clone(), name, wanted, call_id, entropy }
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let follows = self.follows().await;
        let entropy = self.entropy.fork();
        let mut machine = Registration::new(clock::now(), self.wanted.expires_s, follows, entropy);
        let mut is_stopping = false;
        self.show(&machine);
        while !machine.is_over() {
            let wake_at = machine.next_wake();
            let timer = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                _ = &mut stopped, if !is_stopping => {
                    is_stopping = true;
                    Input::Stop
                }
                () = timer => Input::Timeout,
            };
            let mut next = Some(input);
            while let Some(input) = next.take() {
                machine.handle(clock::now(), input);
                while let Some(output) = machine.poll() {
                    match output {
                        Output::Send(request) => {
                            next = Some(Input::Outcome(self.send(&request).await));
                        }
                        Output::Changed(status) => self.tell(&status, machine.last()),
                    }
                }
            }
            self.show(&machine);
        }
    }

    /// Whether our Contact may follow what the registrar sees: not where an operator said what it is.
    async fn follows(&self) -> bool {
        let net = &self.switchboard.inner.context.net;
        let Ok(ways) = net.locate(&self.wanted.account.sought).await else { return true };
        ways.first().is_none_or(|flow| {
            flow.transport == crate::sip::Transport::Udp && !net.is_advertised(flow)
        })
    }

    /// Sends a REGISTER to one target after the other, looked up anew each time, until one answers.
    async fn send(&self, request: &Request) -> Registered {
        let nothing = Registered { cseq: request.cseq, ..Registered::default() };
        let net = &self.switchboard.inner.context.net;
        let ways: Vec<Flow> = match net.locate(&self.wanted.account.sought).await {
            Ok(ways) => ways,
            Err(error) => {
                let error = crate::telemetry::chain::chain(&error);
                tracing::warn!(trunk = %self.name, %error, "failed to find the registrar");
                return Registered {
                    reason: "the registrar cannot be looked up".into(),
                    ..nothing
                };
            }
        };
        let mut outcome = nothing;
        for flow in ways {
            let request = Request { cseq: outcome.cseq.max(request.cseq), ..request.clone() };
            outcome = self.exchange(&request, flow).await;
            if super::health::is_alive(outcome.status) {
                net.worked(&flow);
                return outcome;
            }
            net.failed(&flow);
            outcome.cseq = outcome.cseq.saturating_add(1);
        }
        outcome
    }

    async fn exchange(&self, request: &Request, flow: Flow) -> Registered {
        let Wanted { account, username, password, .. } = &self.wanted;
        let id = self.switchboard.new_dialog();
        let register = Register {
            id,
            flow,
            registrar: account.registrar.clone(),
            aor: account.aor.clone(),
            call_id: self.call_id.clone(),
            cseq: request.cseq,
            contact_user: account.contact_user.clone(),
            contact_address: request.contact_address.clone(),
            drop_contact: request.drop_contact.clone(),
            expires_s: Some(request.expires_s),
            route: account.route.clone(),
            credentials: Some(crate::sip::Credentials {
                username: username.clone(),
                password: Secret::new(password.clone()),
            }),
        };
        let (reply, answer) = oneshot::channel();
        self.switchboard.registering(|waiting| waiting.insert(id, reply));
        let sent =
            self.switchboard.inner.context.net.command(Command::Register(Box::new(register)));
        let answer = match sent {
            Ok(()) => tokio::time::timeout(WAIT, answer).await,
            Err(_) => Ok(Ok(None)),
        };
        self.switchboard.registering(|waiting| waiting.remove(&id));
        match answer {
            Ok(Ok(Some(outcome))) => outcome,
            _ => Registered { cseq: request.cseq, ..Registered::default() },
        }
    }

    fn tell(&self, status: &Status, last: &Registered) {
        let name = &self.name;
        let word = status.as_str();
        match status {
            Status::Registered | Status::Stopped | Status::Trying => {
                tracing::info!(trunk = %name, status = word, "trunk.registration");
            }
            Status::Rejected | Status::Failed => {
                tracing::warn!(trunk = %name, status = word, sip_status = ?last.status, "trunk.registration");
            }
        }
    }

    fn show(&self, machine: &Registration) {
        let last = machine.last();
        let status = machine.status().clone();
        let error = match (&status, last.status) {
            (Status::Rejected | Status::Failed, Some(code)) => {
                Some(format!("the registrar answered {code} {}", last.reason).trim().to_owned())
            }
            (Status::Failed, None) if !last.reason.is_empty() => Some(last.reason.clone()),
            (Status::Failed, None) => Some("the registrar does not answer".to_owned()),
            _ => None,
        };
        let left = machine.until().map(|at| at.saturating_duration_since(clock::now()));
        let until = left.and_then(|left| clock::wall().checked_add(left).ok());
        metrics::trunk_registered(&self.name.0, status == Status::Registered);
        let held = status == Status::Registered;
        let service_route = if held { last.service_route.clone() } else { Vec::new() };
        let state = RegistrationState { status, until, error, service_route };
        self.switchboard.registration_states(|states| states.insert(self.name.clone(), state));
    }
}
