//! Writes our requests and responses: which headers they carry is decided here only.

use std::net::SocketAddr;

use bytes::Bytes;

use super::agent::Agent;
use super::config::Config;
use super::dialog::Dialog;
use super::event::{Flow, Rejection, Transport};
use super::hop;
use super::key::{ClientKey, MAGIC_COOKIE};
use super::msg::{HeaderName, Headers, Method, Request, Response, StatusCode};
use super::option;
use super::policy::CallPolicy;
use super::uri::{Scheme, Uri};

/// Methods we act on; also what 405 and 501 answer with.
pub(super) const ALLOW: &str =
    "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, PRACK, INFO, NOTIFY, REFER";

/// Bodies we read.
pub(super) const ACCEPT: &str = "application/sdp";

/// Longest request sent by UDP when TCP is to be had (RFC 3261 section 18.1.1: 1300 where the path MTU is unknown).
const UDP_REQUEST_MAX_BYTES: usize = 1_300;

/// Octets of random in a branch: 96 bits, so that two never meet.
const BRANCH_BYTES: usize = 12;

/// A response being made.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    reason: String,
    to_tag: Option<String>,
    headers: Vec<(HeaderName, String)>,
    named: Vec<(&'static str, String)>,
    record_route: bool,
    unsigned: bool,
    sdp: Option<Bytes>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            reason: String::new(),
            to_tag: None,
            headers: Vec::new(),
            named: Vec::new(),
            record_route: false,
            unsigned: false,
            sdp: None,
        }
    }

    /// Without Server: for strangers, who may be scanners that look for software with known holes.
    pub(crate) fn unsigned(mut self) -> Self {
        self.unsigned = true;
        self
    }

    pub(crate) fn from_rejection(rejection: &Rejection) -> Self {
        let mut reply = Self::new(rejection.status);
        reply.reason.clone_from(&rejection.reason);
        if let Some(seconds) = rejection.retry_after_s {
            reply = reply.header(HeaderName::RetryAfter, seconds.to_string());
        }
        if let Some((code, text)) = &rejection.warning {
            let text = text.replace(['"', '\\'], "'");
            reply = reply.header(HeaderName::Warning, format!("{code} trunkline \"{text}\""));
        }
        reply
    }

    /// Tag of To, put in where the request had none.
    pub(crate) fn tagged(mut self, tag: &str) -> Self {
        self.to_tag = Some(tag.to_owned());
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A header we have no word for.
    pub(crate) fn named(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.named.push((name, value.into()));
        self
    }

    pub(crate) fn contact(self, contact: &str) -> Self {
        self.header(HeaderName::Contact, contact)
    }

    /// Copies the Record-Route of the request (section 12.1.1).
    pub(crate) fn record_route(mut self) -> Self {
        self.record_route = true;
        self
    }

    /// Allow and Supported.
    pub(crate) fn abilities(self, policy: &CallPolicy) -> Self {
        self.header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Supported, option::in_responses(policy))
    }

    /// Accept.
    pub(crate) fn accept(self) -> Self {
        self.header(HeaderName::Accept, ACCEPT)
    }

    pub(crate) fn sdp(mut self, sdp: Option<Bytes>) -> Self {
        self.sdp = sdp.filter(|body| !body.is_empty());
        self
    }

    /// The octets: what section 8.2.6.2 copies from the request, then ours.
    pub(crate) fn write(self, config: &Config, request: &Request) -> Bytes {
        let mut headers = Headers::new();
        headers.copy_all(HeaderName::Via, &request.headers);
        if self.record_route {
            headers.copy_all(HeaderName::RecordRoute, &request.headers);
        }
        headers.copy_all(HeaderName::From, &request.headers);
        match (&self.to_tag, request.headers.get(HeaderName::To)) {
            (Some(tag), Some(to)) if request.to_tag().is_none() => {
                headers.push(HeaderName::To, super::dialog::with_tag(to, tag));
            }
            _ => headers.copy_all(HeaderName::To, &request.headers),
        }
        headers.copy_all(HeaderName::CallId, &request.headers);
        headers.copy_all(HeaderName::CSeq, &request.headers);
        for (name, value) in self.headers {
            headers.push(name, value);
        }
        for (name, value) in self.named {
            // The names are constants of ours, all tokens.
            let _ = headers.push_named(name, value);
        }
        if !config.user_agent.is_empty() && !self.unsigned {
            headers.push(HeaderName::Server, config.user_agent.clone());
        }
        let body = self.sdp.unwrap_or_default();
        if !body.is_empty() {
            headers.push(HeaderName::ContentType, "application/sdp");
        }
        let status = StatusCode::new(self.status).unwrap_or(StatusCode::INTERNAL);
        let reason = if self.reason.is_empty() {
            Bytes::from_static(status.reason().as_bytes())
        } else {
            Bytes::from(self.reason.replace(['\r', '\n', '\0'], " "))
        };
        Response { status, reason, headers, body }.to_bytes()
    }
}

/// A request being made.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) flow: Flow,
    pub(crate) branch: String,
    sent_by: String,
    routes: Vec<Bytes>,
    from: Bytes,
    pub(crate) to: Bytes,
    call_id: String,
    pub(crate) cseq: u32,
    contact: Option<String>,
    user_agent: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<(String, Bytes)>,
    /// Where it would go, were it not for its length.
    by_udp: Option<Flow>,
}

impl Frame {
    /// The ACK for a non-2xx, or the CANCEL, of this INVITE: same branch, Request-URI and Route.
    pub(crate) fn companion(&self, method: Method) -> Self {
        Self { method, contact: None, headers: Vec::new(), body: None, ..self.clone() }
    }

    /// Whether it goes by TCP for its length alone.
    pub(crate) fn is_too_long_for_udp(&self) -> bool {
        self.by_udp.is_some()
    }

    pub(crate) fn key(&self) -> ClientKey {
        ClientKey { branch: self.branch.clone(), method: self.method.as_str().to_owned() }
    }

    /// The octets, in the order RFC 3261 section 7.3.1 recommends: what proxies need first.
    pub(crate) fn write(&self) -> Bytes {
        let mut headers = Headers::new();
        let transport = self.flow.transport.as_str().to_ascii_uppercase();
        let via = format!("SIP/2.0/{transport} {};branch={};rport", self.sent_by, self.branch);
        headers.push(HeaderName::Via, via);
        for route in &self.routes {
            headers.push(HeaderName::Route, route.clone());
        }
        headers.push(HeaderName::MaxForwards, "70");
        headers.push(HeaderName::From, self.from.clone());
        headers.push(HeaderName::To, self.to.clone());
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(HeaderName::CSeq, format!("{} {}", self.cseq, self.method));
        if let Some(contact) = &self.contact {
            headers.push(HeaderName::Contact, contact.clone());
        }
        if !self.user_agent.is_empty() {
            headers.push(HeaderName::UserAgent, self.user_agent.clone());
        }
        for (name, value) in &self.headers {
            // A name that is no token is left out: the caller checked, and nobody is served by a broken line.
            let _ = headers.push_named(name, value.clone());
        }
        let mut body = Bytes::new();
        if let Some((content_type, content)) = &self.body {
            headers.push(HeaderName::ContentType, content_type.clone());
            body = content.clone();
        }
        Request { method: self.method.clone(), uri: self.uri.clone(), headers, body }.to_bytes()
    }
}

/// Allow and Supported of requests that make or refresh a dialog.
pub(super) fn abilities(policy: &CallPolicy) -> Vec<(String, String)> {
    let supported = option::in_requests(policy);
    vec![("Allow".to_owned(), ALLOW.to_owned()), ("Supported".to_owned(), supported)]
}

impl Agent {
    /// A request of a dialog, without body and further headers, with a branch of its own.
    pub(super) fn frame(&mut self, dialog: &Dialog, method: Method, cseq: u32) -> Frame {
        let target = dialog.target();
        let flow = if dialog.remote_tag.is_empty() {
            dialog.flow
        } else {
            hop::next_flow(&target.next_hop, dialog.flow)
        };
        let contact = matches!(
            method,
            Method::Invite | Method::Update | Method::Refer | Method::Subscribe | Method::Notify
        )
        .then(|| self.contact_in(dialog, &flow));
        Frame {
            method,
            uri: target.uri,
            flow,
            branch: self.branch(),
            sent_by: self.sent_by(&flow),
            routes: target.routes,
            from: dialog.local.clone(),
            to: dialog.remote.clone(),
            call_id: dialog.call_id.clone(),
            cseq,
            contact,
            user_agent: self.config.user_agent.clone(),
            headers: Vec::new(),
            body: None,
            by_udp: None,
        }
    }

    /// A branch nobody used before.
    pub(super) fn branch(&mut self) -> String {
        format!("{MAGIC_COOKIE}{}", self.entropy.hex(BRANCH_BYTES))
    }

    /// Moves a request too long for a datagram to TCP (section 18.1.1), if there is TCP here and there.
    pub(super) fn fit(&self, dialog: &Dialog, mut frame: Frame) -> Frame {
        if frame.flow.transport == Transport::Udp
            && !dialog.is_udp_only
            && self.config.advertised_tcp.is_some()
            && frame.write().len() > UDP_REQUEST_MAX_BYTES
        {
            frame.by_udp = Some(frame.flow);
            frame.flow = hop::over_tcp(frame.flow);
            frame.sent_by = self.sent_by(&frame.flow);
            if frame.contact.is_some() {
                frame.contact = Some(self.contact(&frame.flow));
            }
        }
        frame
    }

    /// A request that was moved to TCP, by UDP after all; `None`: it was not moved.
    pub(super) fn unfit(&mut self, frame: &Frame) -> Option<Frame> {
        let flow = frame.by_udp?;
        let contact = frame.contact.as_ref().map(|_| self.contact(&flow));
        let (branch, sent_by) = (self.branch(), self.sent_by(&flow));
        Some(Frame { flow, by_udp: None, branch, sent_by, contact, ..frame.clone() })
    }

    fn sent_by(&self, flow: &Flow) -> String {
        match self.config.advertised(flow) {
            Some(address) => address.to_owned(),
            // No listener: answers come back on the connection, the port is only there to be read.
            None if flow.local.port() == 0 => {
                SocketAddr::new(flow.local.ip(), flow.transport.default_port()).to_string()
            }
            None => flow.local.to_string(),
        }
    }

    /// Our Contact on a flow.
    pub(super) fn contact(&self, flow: &Flow) -> String {
        let address = self.sent_by(flow);
        match flow.transport {
            Transport::Udp => format!("<sip:{address}>"),
            Transport::Tcp | Transport::Tls => {
                format!("<sip:{address};transport={}>", flow.transport.as_str())
            }
        }
    }

    /// Our Contact in a dialog: `sips` where the other side's is (RFC 3261 section 8.1.1.8).
    pub(super) fn contact_in(&self, dialog: &Dialog, flow: &Flow) -> String {
        let contact = self.contact(flow);
        match dialog.remote_target.scheme {
            Scheme::Sips => contact.replacen("<sip:", "<sips:", 1),
            _ => contact,
        }
    }
}
