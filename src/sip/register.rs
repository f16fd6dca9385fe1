//! REGISTER of ours: one request with its digest, and what its answer says (RFC 3261 section 10.2, RFC 3608,
//! RFC 3327). When to send the next is [`super::registration`]'s business.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::agent::Agent;
use super::auth::Auth;
use super::craft::Frame;
use super::dialog::{Dialog, Side, with_tag};
use super::event::{Credentials, DialogId, Event, Flow};
use super::header::retry_after_s;
use super::invite_uac::CHALLENGES_MAX;
use super::invite_uas::TAG_BYTES;
use super::leg::Owner;
use super::msg::{HeaderName, Method, Response};
use super::uri::Uri;

/// Registrations under way at once: one a trunk.
const UNDERWAY_MAX: usize = 1_024;

/// Service-Route and Path values kept.
const ROUTES_MAX: usize = 8;

/// A REGISTER to send.
#[derive(Clone, Debug)]
pub struct Register {
    /// Our number for it, as for an outbound dialog.
    pub id: DialogId,
    /// Where it goes.
    pub flow: Flow,
    /// Request-URI: the registrar.
    pub registrar: String,
    /// Whom we register: the URI of To and From.
    pub aor: String,
    /// One for all registrations of a trunk, a word nobody can guess.
    pub call_id: String,
    /// Above that of the one before.
    pub cseq: u32,
    /// User part of our Contact.
    pub contact_user: String,
    /// `host:port` of our Contact as the registrar sees us; `None`: what we advertise.
    pub contact_address: Option<String>,
    /// A Contact of ours that is not to stay.
    pub drop_contact: Option<String>,
    /// Seconds asked for; 0 takes the registration back. `None`: nothing is changed, the registrar only says what it
    /// has (section 10.2.3).
    pub expires_s: Option<u32>,
    /// Route header values to put in.
    pub route: Vec<String>,
    /// Answer to 401 and 407.
    pub credentials: Option<Credentials>,
}

/// What came of a REGISTER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Final status; `None` if none came.
    pub status: Option<u16>,
    /// Reason phrase.
    pub reason: String,
    /// Seconds granted to our own Contact; of a question, `None` where it is not there.
    pub granted_s: Option<u32>,
    /// Seconds that the registrar wants at least (423).
    pub min_expires_s: Option<u32>,
    /// Seconds to wait, if it said.
    pub retry_after_s: Option<u32>,
    /// Routes of our calls (RFC 3608), in order.
    pub service_route: Vec<String>,
    /// Proxies between the registrar and us (RFC 3327), in order.
    pub path: Vec<String>,
    /// Where the registrar saw us (RFC 3581).
    pub seen: Option<SocketAddr>,
    /// The Contact that was sent, without brackets.
    pub contact: String,
    /// CSeq of the last request.
    pub cseq: u32,
}

/// A REGISTER under way.
#[derive(Debug)]
pub(crate) struct Underway {
    register: Register,
    dialog: Dialog,
    sent: Frame,
    auth: Option<Auth>,
    challenges: u8,
    contact: String,
}

impl Agent {
    /// [`super::Command::Register`].
    pub(super) fn register(&mut self, now: Instant, register: Register) {
        let id = register.id;
        let full = self.txns.is_full() || self.registers.len() >= UNDERWAY_MAX;
        let Some(remote_target) = Uri::parse(&register.registrar).ok().filter(|_| !full) else {
            if full {
                self.count("transaction_limit");
            }
            self.refused(id, "register");
            return;
        };
        let local_tag = self.entropy.hex(TAG_BYTES);
        let aor = format!("<{}>", register.aor);
        // A dialog of one request, which nobody keeps.
        let dialog = Dialog {
            call_id: register.call_id.clone(),
            remote_tag: String::new(),
            local: with_tag(aor.as_bytes(), &local_tag),
            local_tag,
            remote: Bytes::from(aor),
            local_seq: register.cseq,
            remote_seq: None,
            remote_target,
            route_set: register.route.iter().map(|route| Bytes::from(route.clone())).collect(),
            flow: register.flow,
            is_udp_only: false,
            side: Side::Caller,
        };
        let contact = self.registered_contact(&register);
        let sent = self.send_register(now, &register, &dialog, &contact, Vec::new());
        let auth = register.credentials.as_ref().map(Auth::new);
        let underway = Underway { register, dialog, sent, auth, challenges: 0, contact };
        self.registers.insert(id, Box::new(underway));
    }

    /// Our Contact in a REGISTER, without brackets.
    fn registered_contact(&self, register: &Register) -> String {
        let plain = self.contact(&register.flow);
        let plain = plain.trim_start_matches('<').trim_end_matches('>');
        let rest = plain.strip_prefix("sip:").unwrap_or(plain);
        let rest = match (&register.contact_address, rest.split_once(';')) {
            (Some(address), Some((_, params))) => format!("{address};{params}"),
            (Some(address), None) => address.clone(),
            (None, _) => rest.to_owned(),
        };
        format!("sip:{}@{rest}", register.contact_user)
    }

    fn send_register(
        &mut self,
        now: Instant,
        register: &Register,
        dialog: &Dialog,
        contact: &str,
        authorization: Vec<(String, String)>,
    ) -> Frame {
        let mut frame = self.frame(dialog, Method::Register, dialog.local_seq);
        let mut header = |name: &str, value: String| frame.headers.push((name.to_owned(), value));
        if let Some(expires_s) = register.expires_s {
            header("Contact", format!("<{contact}>;expires={expires_s}"));
            if let Some(former) = &register.drop_contact {
                header("Contact", format!("<{former}>;expires=0"));
            }
            header("Expires", expires_s.to_string());
        }
        header("Supported", "path".to_owned());
        frame.headers.extend(authorization);
        self.request(now, &frame, Owner::Register(register.id));
        frame
    }

    /// A response to a REGISTER, or `None`: timer F or the transport.
    pub(super) fn register_answered(
        &mut self,
        now: Instant,
        id: DialogId,
        response: Option<&Response>,
    ) {
        if response.is_some_and(|response| response.status.code() < 200) {
            return;
        }
        let Some(mut underway) = self.registers.remove(&id) else { return };
        if let Some(response) = response
            && matches!(response.status.code(), 401 | 407)
            && underway.challenges < CHALLENGES_MAX
        {
            let Underway { auth, sent, .. } = &mut *underway;
            let answer =
                auth.as_mut().and_then(|auth| auth.answer(&mut self.entropy, sent, response));
            if let Some(answer) = answer {
                underway.challenges += 1;
                underway.dialog.local_seq = underway.dialog.local_seq.saturating_add(1);
                let Underway { register, dialog, contact, .. } = &*underway;
                underway.sent = self.send_register(now, register, dialog, contact, answer);
                self.registers.insert(id, underway);
                return;
            }
        }
        let outcome = Box::new(outcome(&underway, response));
        self.event(Event::Registered { dialog: id, outcome });
    }
}

fn outcome(underway: &Underway, response: Option<&Response>) -> Registered {
    let mut outcome = Registered {
        contact: underway.contact.clone(),
        cseq: underway.dialog.local_seq,
        ..Registered::default()
    };
    let Some(response) = response else { return outcome };
    let headers = &response.headers;
    let routes = |name: &str| -> Vec<String> {
        let named =
            headers.iter().filter(|one| one.written().eq_ignore_ascii_case(name.as_bytes()));
        let values = named.flat_map(|one| super::header::split_commas(one.value()));
        let text = values.map(|value| String::from_utf8_lossy(value).trim().to_owned());
        text.filter(|value| super::hop::route_uri(value.as_bytes()).is_some())
            .take(ROUTES_MAX)
            .collect()
    };
    outcome.status = Some(response.status.code());
    outcome.reason = response.reason_text();
    outcome.granted_s = granted_s(underway, response);
    outcome.min_expires_s = headers.number(HeaderName::MinExpires).ok().flatten();
    outcome.retry_after_s = retry_after_s(headers);
    outcome.service_route = routes("Service-Route");
    outcome.path = routes("Path");
    outcome.seen = super::hop::seen_from(response);
    outcome
}

/// Seconds granted to our own Contact: registrars list those of every device of the account (section 10.2.4).
fn granted_s(underway: &Underway, response: &Response) -> Option<u32> {
    if !response.status.is_success() {
        return None;
    }
    let contacts = response.contacts().unwrap_or_default();
    let own = Uri::parse(&underway.contact).ok();
    let same = |uri: &Uri| own.as_ref().is_some_and(|own| own.same(uri));
    let ours = contacts
        .iter()
        .find(|one| same(&one.uri))
        // Some rewrite the address to that which they saw; the user part is nobody else's.
        .or_else(|| {
            contacts.iter().find(|one| one.uri.user_text() == underway.register.contact_user)
        });
    let general = response.headers.number(HeaderName::Expires).ok().flatten();
    let said = ours.and_then(|one| one.expires_s()).or(general);
    match underway.register.expires_s {
        Some(wanted) => Some(said.unwrap_or(wanted)),
        None => ours.and(said),
    }
}
