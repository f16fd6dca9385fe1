//! The trunks, as our own user agent meets them: whether they answer OPTIONS, from where they see us come, and whether
//! their registrar takes the account. It listens on ports of its own, so that a server may run beside it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Check;
use crate::catalog::Trunk;
use crate::config::{Config, Env};
use crate::net::{self, Handle, clock};
use crate::sip::{Command, DialogId, Event, Flow, Ping, Register, Registered};
use crate::types::{Entropy, TrunkName};

/// How long a trunk may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(4);
/// Octets of a Call-ID.
const CALL_ID_BYTES: usize = 16;

/// Every trunk, and the addresses they see us at.
pub(super) async fn look(config: &Config, env: &Env) -> (Vec<Check>, BTreeSet<IpAddr>) {
    let (mut checks, mut seen) = (Vec::new(), BTreeSet::new());
    if config.trunks.is_empty() {
        return (checks, seen);
    }
    let mut asking = match Asking::new(config).await {
        Ok(asking) => asking,
        Err(why) => {
            let hint = "mend this first: no trunk can be asked before";
            return (vec![Check::fail("trunks", why, hint)], seen);
        }
    };
    for (name, trunk) in &config.trunks {
        let label = format!("trunks.{name}");
        let credentials = match crate::server::trunk_credentials(name, trunk, env) {
            Ok(credentials) => credentials,
            Err(error) => {
                let why = crate::telemetry::chain::chain(&error).to_string();
                checks.push(Check::fail(&label, why, "the server does not start without it"));
                None
            }
        };
        let name = TrunkName(name.clone());
        let trunk = Trunk::new(name, trunk.to_switchboard(), credentials, None);
        checks.extend(asking.trunk(label, &trunk, &mut seen).await);
    }
    (checks, seen)
}

/// A user agent that asks, one thing at a time.
struct Asking {
    net: Handle,
    events: mpsc::Receiver<Event>,
    entropy: Entropy,
    last: u64,
}

impl Asking {
    async fn new(config: &Config) -> Result<Self, String> {
        let mut entropy = Entropy::from_system().map_err(|error| error.to_string())?;
        // A machine may do without one of the families.
        let any = [SocketAddr::from(([0; 4], 0)), SocketAddr::from(([0u16; 8], 0))];
        let any = any.into_iter().filter(|any| std::net::UdpSocket::bind(any).is_ok());
        let any: Vec<SocketAddr> = any.collect();
        let tls = if config.sip.listen_tls.is_empty() { Vec::new() } else { any.clone() };
        let sockets = net::Config {
            udp: any.clone(),
            tcp: any,
            tls,
            certificates: crate::server::certificates(config),
            dscp: config.sip.dscp,
            name_servers: config.sip.name_servers.clone(),
            ..net::Config::default()
        };
        let started = net::start(&sockets, crate::sip::Config::default(), entropy.fork()).await;
        let (net, events) =
            started.map_err(|error| crate::telemetry::chain::chain(&error).to_string())?;
        Ok(Self { net, events, entropy, last: 0 })
    }

    fn next(&mut self) -> DialogId {
        self.last += 1;
        DialogId::outbound(self.last)
    }

    /// What `read` finds among the events within [`ANSWER_WAIT`].
    async fn ask<T>(&mut self, command: Command, read: impl Fn(Event) -> Option<T>) -> Option<T> {
        self.net.command(command).ok()?;
        let answer = async {
            loop {
                if let Some(found) = read(self.events.recv().await?) {
                    return Some(found);
                }
            }
        };
        tokio::time::timeout(ANSWER_WAIT, answer).await.ok().flatten()
    }

    async fn trunk(
        &mut self,
        name: String,
        trunk: &Trunk,
        seen: &mut BTreeSet<IpAddr>,
    ) -> Vec<Check> {
        let mut checks = Vec::new();
        if trunk.config.allowed_networks.is_empty() && !trunk.config.inbound_digest {
            checks.push(Check::warn(
                name.clone(),
                "has no `allowed_networks`: it cannot call in, but to a Contact that is registered",
                "list the networks of its signalling, unless it shall only be called by us",
            ));
        }
        let Some(target) = trunk.options_target() else {
            checks.push(Check::ok(name, "has no `host`: it only receives calls"));
            return checks;
        };
        let flow = match self.net.locate(&target.sought).await {
            Ok(flows) => flows.into_iter().next(),
            Err(error) => {
                let why = crate::telemetry::chain::chain(&error).to_string();
                checks.push(Check::fail(name, why, "mend `host`, or the resolver of this machine"));
                return checks;
            }
        };
        let Some(flow) = flow else { return checks };
        checks.push(self.options(name.clone(), trunk, flow, seen).await);
        if let Some(check) = self.registration(format!("{name}.register"), trunk).await {
            checks.push(check);
        }
        checks
    }

    async fn options(
        &mut self,
        name: String,
        trunk: &Trunk,
        flow: Flow,
        known: &mut BTreeSet<IpAddr>,
    ) -> Check {
        let way = format!("{} over {}", flow.remote, flow.transport.as_str());
        let Some(target) = trunk.options_target() else {
            return Check::ok(name, "has no `host`: it only receives calls");
        };
        let id = self.next();
        let from = trunk.from_value("", &flow.local.ip().to_string());
        let ping = Ping { id, flow, uri: target.uri, from, route: target.route };
        let begun = clock::now();
        let answer = self.ask(Command::Ping(Box::new(ping)), |event| match event {
            Event::Pinged { dialog, status, seen } if dialog == id => Some((status, seen)),
            _ => None,
        });
        match answer.await {
            Some((Some(status), seen)) => {
                let ms = clock::now().saturating_duration_since(begun).as_millis();
                known.extend(seen.map(|seen| seen.ip()));
                let from =
                    seen.map_or(String::new(), |seen| format!(", sees us come from {}", seen.ip()));
                answered(name, status, &format!("{way} in {ms} ms{from}"))
            }
            Some((None, _)) => Check::fail(
                name,
                format!("{way} cannot be reached"),
                "open the firewall to it, or mend `port`, `transport` or the certificates of `sip.tls`",
            ),
            None => Check::fail(
                name,
                format!("{way} does not answer OPTIONS"),
                "is this address allowed at the trunk? Else the firewall, `port` or `transport`; some trunks never answer",
            ),
        }
    }

    /// What the registrar has of the account, if the trunk registers.
    async fn registration(&mut self, name: String, trunk: &Trunk) -> Option<Check> {
        let account = trunk.account()?;
        let flow = self.net.locate(&account.sought).await.ok()?.into_iter().next()?;
        let id = self.next();
        let register = Register {
            id,
            flow,
            registrar: account.registrar,
            aor: account.aor.clone(),
            call_id: self.entropy.hex(CALL_ID_BYTES),
            cseq: 1,
            contact_user: account.contact_user,
            contact_address: None,
            drop_contact: None,
            expires_s: None,
            route: account.route,
            credentials: trunk.credentials.clone(),
        };
        let answer = self.ask(Command::Register(Box::new(register)), |event| match event {
            Event::Registered { dialog, outcome } if dialog == id => Some(*outcome),
            _ => None,
        });
        let outcome = answer.await.unwrap_or_default();
        Some(registered(name, &account.aor, &outcome))
    }
}

fn answered(name: String, status: u16, what: &str) -> Check {
    let found = format!("answers {status}, {what}");
    match status {
        200..=299 | 405 | 501 => Check::ok(name, found),
        401 | 403 | 407 => Check::warn(
            name,
            found,
            "it is there; whether it takes calls of this address or user, a call shows",
        ),
        _ => {
            Check::warn(name, found, "it is there, but not well: ask the trunk, or look at `host`")
        }
    }
}

fn registered(name: String, aor: &str, outcome: &Registered) -> Check {
    match (outcome.status, outcome.granted_s) {
        (Some(200..=299), Some(left)) => {
            Check::ok(name, format!("{aor} is registered with us for {left} s more"))
        }
        (Some(200..=299), None) => Check::ok(
            name,
            format!("the registrar takes the account {aor}; a server that runs registers it"),
        ),
        (Some(401 | 403 | 407), _) => Check::fail(
            name,
            format!("the registrar refuses {aor} with {}", said(outcome)),
            "mend `username`, `password` or `from_domain`",
        ),
        (Some(404 | 604), _) => Check::fail(
            name,
            format!("the registrar does not know {aor}: {}", said(outcome)),
            "mend `username` or `from_domain`",
        ),
        // Not every registrar answers a question without Contact (RFC 3261 section 10.3).
        (Some(_), _) => Check::warn(
            name,
            format!("the registrar answers {} when asked of {aor}", said(outcome)),
            "`GET /v1/trunks` of a server that runs says whether it is registered",
        ),
        (None, _) => Check::fail(
            name,
            format!("the registrar of {aor} does not answer"),
            "open the firewall to it, or mend `host`, `port` or `transport`",
        ),
    }
}

fn said(outcome: &Registered) -> String {
    let status = outcome.status.unwrap_or_default();
    format!("{status} {}", outcome.reason).trim().to_owned()
}
