//! The telephone: a SIP user agent, media threads, and the calls on them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::call::PhoneCall;
use super::ear::{Ear, QUIET};
use super::line::{COMMAND_QUEUE, Inbox, Line, Phase};
use super::mouth::Mouth;
use super::state::{CallState, Keep, PhoneError, Shared};
use crate::audio::VadConfig;
use crate::audio::vad::VadKind;
use crate::engine::{self, Recording, StreamSeed};
use crate::net::{self, clock, resolve};
use crate::sdp::{CodecOrder, Direction, Local, Session};
use crate::sip::config::{Network, TrunkAccess, UnknownSource};
use crate::sip::uri::Uri;
use crate::sip::{
    self, Command, Credentials, DialogId, Event, Flow, InviteFacts, OutgoingInvite, Rejection,
    Transport,
};
use crate::types::{CallId, CodecName, Entropy, SrtpKeying, SrtpPolicy, TrunkName};

/// SIP events that may wait for one call.
const SIP_EVENT_QUEUE: usize = 32;
/// Incoming calls that may wait to be looked at; the next are busy.
pub const INCOMING_QUEUE: usize = 64;

/// How a phone is set up. The default is for tests: loopback, UDP, any free ports.
#[derive(Clone, Debug)]
pub struct PhoneConfig {
    /// Local address of SIP and audio.
    pub bind: IpAddr,
    /// SIP port for both transports; 0: any.
    pub port: u16,
    /// Transport of calls whose URI names none.
    pub transport: Transport,
    /// RTP ports.
    pub rtp_ports: engine::Ports,
    /// Media threads.
    pub threads: NonZeroUsize,
    /// SCHED_FIFO priority of the media threads.
    pub sched_fifo: Option<u8>,
    /// Events a call may leave unread, 50 a second.
    pub event_ring: usize,
}

impl Default for PhoneConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            transport: Transport::Udp,
            rtp_ports: engine::Ports::Any,
            threads: NonZeroUsize::MIN,
            sched_fifo: None,
            event_ring: 256,
        }
    }
}

/// Why a phone can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket can't be opened.
    #[error("open the sockets of the phone")]
    Net(#[from] net::StartError),
    /// Media threads can't be started.
    #[error("start the audio of the phone")]
    Engine(#[from] engine::StartError),
    /// The system gives no random numbers.
    #[error("seed the phone's random numbers")]
    Entropy(#[from] rand::rngs::SysError),
}

/// What may differ between calls.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// Codecs, most wanted first.
    pub codecs: Vec<CodecName>,
    /// Whether audio is encrypted.
    pub srtp: SrtpPolicy,
    /// How offers hand keys over.
    pub keying: SrtpKeying,
    /// Silence that ends a reply of the remote.
    pub quiet: Duration,
    /// What is softer than this is not the remote's voice.
    pub audible_dbfs: f32,
    /// Whether what is heard is kept in memory.
    pub keep: Keep,
    /// Whether there is a feed for a recording of both directions.
    pub tape: Recording,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            codecs: CodecName::DEFAULT.to_vec(),
            srtp: SrtpPolicy::Disabled,
            keying: SrtpKeying::default(),
            quiet: QUIET,
            audible_dbfs: crate::media::outbound::AUDIBLE_DBFS,
            keep: Keep::Audio,
            tape: Recording::Off,
        }
    }
}

/// A call to place.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// Whom: a SIP URI.
    pub uri: String,
    /// User part of From: a number or a name.
    pub from: String,
    /// Answer to a challenge.
    pub credentials: Option<Credentials>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Give up after ringing for this long.
    pub ring_timeout: Duration,
    /// Everything else.
    pub options: CallOptions,
}

impl CallRequest {
    /// A call with nothing special.
    pub fn to(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            from: "softphone".to_owned(),
            credentials: None,
            headers: Vec::new(),
            ring_timeout: Duration::from_secs(60),
            options: CallOptions::default(),
        }
    }
}

/// Where the events of a dialog go.
type Dialogs = Arc<Mutex<HashMap<DialogId, mpsc::Sender<Event>>>>;

struct Core {
    net: net::Handle,
    engine: engine::Handle,
    dialogs: Dialogs,
    entropy: Mutex<Entropy>,
    next_dialog: AtomicU64,
    transport: Transport,
    bind: IpAddr,
}

/// A running phone. Calls outlive it until they are over.
pub struct Phone {
    core: Arc<Core>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<IncomingCall>>,
}

impl Phone {
    /// Opens the sockets and starts the threads.
    ///
    /// # Errors
    /// When the system does not give them.
    pub async fn start(config: PhoneConfig) -> Result<Self, StartError> {
        let mut entropy = Entropy::from_system()?;
        let address = SocketAddr::new(config.bind, config.port);
        let sockets =
            net::Config { udp: vec![address], tcp: vec![address], ..net::Config::default() };
        let (net, events) = net::start(&sockets, sip_config(), entropy.fork()).await?;
        let engine = engine::start(engine::Config {
            threads: Some(config.threads),
            bind_ip: config.bind,
            ports: config.rtp_ports,
            sched_fifo: config.sched_fifo,
            event_ring: config.event_ring,
            moderate_from: usize::MAX,
            ..engine::Config::default()
        })?;
        let core = Arc::new(Core {
            net,
            engine,
            dialogs: Dialogs::default(),
            entropy: Mutex::new(entropy),
            next_dialog: AtomicU64::new(1),
            transport: config.transport,
            bind: config.bind,
        });
        let (incoming_tx, incoming) = mpsc::channel(INCOMING_QUEUE);
        // The dispatcher must not keep the phone alive that it serves.
        tokio::spawn(dispatch(Arc::downgrade(&core), events, incoming_tx));
        Ok(Self { core, incoming: tokio::sync::Mutex::new(incoming) })
    }

    /// Where the phone takes calls.
    pub fn local_addr(&self, transport: Transport) -> Option<SocketAddr> {
        self.core.net.listeners(transport).first().copied()
    }

    /// A URI under which the phone takes calls on loopback or its own address.
    pub fn uri(&self, transport: Transport) -> Option<String> {
        let address = self.local_addr(transport)?;
        Some(match transport {
            Transport::Udp => format!("sip:phone@{address}"),
            Transport::Tcp | Transport::Tls => {
                format!("sip:phone@{address};transport={}", transport.as_str())
            }
        })
    }

    /// How late its own packets left: no measurement is better than that.
    pub fn lateness(&self) -> engine::LatenessSnapshot {
        self.core.engine.lateness()
    }

    /// Places a call. Returns once the INVITE is on its way; see [`PhoneCall::answered`].
    ///
    /// # Errors
    /// When the address cannot be called or there is no port for the audio.
    pub async fn call(&self, request: CallRequest) -> Result<PhoneCall, PhoneError> {
        let core = &self.core;
        let target = Target::of(&request.uri, core).await?;
        let dialog = DialogId::outbound(core.next_dialog.fetch_add(1, Ordering::Relaxed));
        let (identifier, placed_at) = (core.entropy(|entropy| entropy.hex(16)), clock::now());
        let mut seat = core.seat(target.flow.local.ip(), &request.options)?;
        let sdp = Bytes::from(seat.session.offer(Direction::SendRecv));
        if seat.session.offers_dtls() {
            seat.stream.await_handshakes();
        }
        let host = host_text(target.flow.local.ip());
        let mut headers = request.headers;
        headers.push(("X-Call-ID".to_owned(), identifier.clone()));
        let invite = OutgoingInvite {
            dialog,
            call_id: None,
            flow: target.flow,
            others: Vec::new(),
            request_uri: target.uri.clone(),
            from: format!("<{}>", Uri::sip(Some(&request.from), host, None)),
            to: format!("<{}>", target.uri),
            route: Vec::new(),
            sdp,
            credentials: request.credentials,
            headers,
            policy: sip::CallPolicy::default(),
            ring_timeout: request.ring_timeout,
        };
        let sip = core.enter(dialog);
        if core.net.command(Command::Invite(Box::new(invite))).is_err() {
            return Err(PhoneError::Busy);
        }
        Ok(core.begin(seat, sip, (dialog, identifier, placed_at), request.options))
    }

    /// Waits for a call to come in.
    ///
    /// # Errors
    /// When none came in time.
    pub async fn next_incoming(&self, limit: Duration) -> Result<IncomingCall, PhoneError> {
        let mut incoming = self.incoming.lock().await;
        match tokio::time::timeout(limit, incoming.recv()).await {
            Ok(Some(call)) => Ok(call),
            Ok(None) => Err(PhoneError::Over(super::state::CallEnd::Lost)),
            Err(_) => Err(PhoneError::Timeout { what: "a call", limit }),
        }
    }

    /// Waits for a call to come in, and answers it.
    ///
    /// # Errors
    /// When none came in time, or it could not be answered.
    pub async fn answer_next(&self, limit: Duration) -> Result<PhoneCall, PhoneError> {
        let call = self.next_incoming(limit).await?.accept(CallOptions::default())?;
        call.answered(limit).await?;
        Ok(call)
    }
}

/// A call that nobody has answered. Dropping it refuses it with 480.
pub struct IncomingCall {
    /// What its INVITE said.
    pub facts: Box<InviteFacts>,
    offer: Option<Bytes>,
    dialog: DialogId,
    core: Arc<Core>,
    sip: Option<mpsc::Receiver<Event>>,
}

impl IncomingCall {
    /// Lets it ring.
    pub fn ring(&self) {
        // A driver that is gone ends the call by itself.
        let _ = self.core.net.command(Command::Ring { dialog: self.dialog, sdp: None });
    }

    /// Refuses it.
    pub fn reject(mut self, status: u16) {
        self.refuse(status);
    }

    fn refuse(&mut self, status: u16) {
        if self.sip.take().is_some() {
            let rejection = Rejection::status(status);
            let _ = self.core.net.command(Command::Reject { dialog: self.dialog, rejection });
            self.core.leave(self.dialog);
        }
    }

    /// Answers it. [`PhoneCall::answered`] then waits for the caller's acknowledgement.
    ///
    /// # Errors
    /// When there is no port for the audio, or no codec in common: the call is refused then.
    pub fn accept(mut self, options: CallOptions) -> Result<PhoneCall, PhoneError> {
        let mut seat = match self.core.seat(self.facts.flow.local.ip(), &options) {
            Ok(seat) => seat,
            Err(error) => {
                self.refuse(503);
                return Err(error);
            }
        };
        let sdp = match self.offer.take() {
            None => seat.session.offer(Direction::SendRecv),
            Some(offer) => match seat.session.answer(&offer, Direction::SendRecv) {
                Ok(answer) => {
                    seat.agreed = Some(answer.negotiated);
                    answer.body
                }
                Err(_) => {
                    self.refuse(488);
                    return Err(PhoneError::Refused(488));
                }
            },
        };
        let Some(sip) = self.sip.take() else { return Err(PhoneError::Busy) };
        let accept = Command::Accept { dialog: self.dialog, sdp: Bytes::from(sdp) };
        if self.core.net.command(accept).is_err() {
            return Err(PhoneError::Busy);
        }
        let identity = (self.dialog, self.facts.sip_call_id.clone(), clock::now());
        Ok(self.core.begin(seat, sip, identity, options))
    }
}

impl Drop for IncomingCall {
    fn drop(&mut self) {
        self.refuse(480);
    }
}

/// The audio side of a call that is about to begin.
struct SeatOfCall {
    stream: engine::Stream,
    session: Session,
    agreed: Option<crate::sdp::Negotiated>,
}

impl Core {
    fn entropy<T>(&self, f: impl FnOnce(&mut Entropy) -> T) -> T {
        f(&mut self.entropy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn enter(&self, dialog: DialogId) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(SIP_EVENT_QUEUE);
        self.dialogs.lock().unwrap_or_else(PoisonError::into_inner).insert(dialog, sender);
        receiver
    }

    fn leave(&self, dialog: DialogId) {
        self.dialogs.lock().unwrap_or_else(PoisonError::into_inner).remove(&dialog);
    }

    fn seat(&self, signalled: IpAddr, options: &CallOptions) -> Result<SeatOfCall, PhoneError> {
        let (call, entropy, mut own) = self.entropy(|entropy| {
            (CallId::new(clock::unix_ms(), entropy), entropy.fork(), entropy.fork())
        });
        let seed = StreamSeed {
            call,
            // The ear listens by itself; the stream's own detector is kept as cheap as it can be.
            media: crate::media::Config {
                vad: VadConfig { kind: VadKind::Energy, ..VadConfig::default() },
                // Mouth, ear and tape have one rate, whatever is spoken on the line.
                rate: Some(super::call::LINE_RATE),
                ..crate::media::Config::default()
            },
            recording: options.tape,
            entropy,
        };
        let stream = self.engine.attach(seed)?;
        let encrypts = options.srtp != SrtpPolicy::Disabled;
        let mut local = stream.local_rtp;
        if local.ip().is_unspecified() {
            local.set_ip(signalled);
        }
        let local = Local {
            codecs: options.codecs.clone(),
            order: CodecOrder::Ours,
            srtp: options.srtp,
            keying: options.keying,
            fingerprint: encrypts.then(|| stream.fingerprint()).flatten(),
            ..Local::new(local)
        };
        let session = Session::new(local, &mut own);
        Ok(SeatOfCall { stream, session, agreed: None })
    }

    /// Starts a call's task.
    fn begin(
        self: &Arc<Self>,
        seat: SeatOfCall,
        sip: mpsc::Receiver<Event>,
        (dialog, identifier, placed_at): (DialogId, String, std::time::Instant),
        options: CallOptions,
    ) -> PhoneCall {
        let ear = Ear::new(options.quiet).above(options.audible_dbfs);
        let state = CallState::new(placed_at, ear, options.keep);
        let shared = Arc::new(Shared::new(state));
        let (commands_tx, commands) = mpsc::channel(COMMAND_QUEUE);
        let SeatOfCall { mut stream, session, agreed } = seat;
        let tape = stream.take_tap();
        let mut line = Line {
            shared: Arc::clone(&shared),
            net: self.net.clone(),
            dialog,
            stream,
            session,
            agreed: None,
            mouth: Mouth::default(),
            phase: Phase::SettingUp,
            ring_full: false,
            frames: 0,
            wanted: Direction::SendRecv,
        };
        if let Some(agreed) = agreed {
            line.apply(agreed);
        }
        let core = Arc::clone(self);
        tokio::spawn(async move {
            line.run(Inbox { sip, commands }).await;
            core.leave(dialog);
        });
        PhoneCall::new(shared, commands_tx, tape, (identifier, placed_at))
    }
}

/// Hands every event to its call.
async fn dispatch(
    core: std::sync::Weak<Core>,
    mut events: mpsc::Receiver<Event>,
    incoming: mpsc::Sender<IncomingCall>,
) {
    while let Some(event) = events.recv().await {
        let Some(core) = core.upgrade() else { return };
        match event {
            Event::Incoming { dialog, facts, offer } => {
                let sip = Some(core.enter(dialog));
                let call = IncomingCall { facts, offer, dialog, core, sip };
                if let Err(error) = incoming.try_send(call) {
                    match error {
                        mpsc::error::TrySendError::Full(call)
                        | mpsc::error::TrySendError::Closed(call) => call.reject(486),
                    }
                }
            }
            other => {
                let dialog = other.dialog();
                let dialogs = core.dialogs.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(call) = dialogs.get(&dialog) {
                    // A call that leaves so many events unread is stuck; its waits time out.
                    let _ = call.try_send(other);
                }
            }
        }
    }
}

/// A phone takes calls from anybody who reaches it.
fn sip_config() -> sip::Config {
    let anybody: Vec<Network> =
        ["0.0.0.0/0", "::/0"].iter().filter_map(|network| network.parse().ok()).collect();
    sip::Config {
        user_agent: concat!("trunkline-softphone/", env!("CARGO_PKG_VERSION")).to_owned(),
        trunks: vec![TrunkAccess::by_address(TrunkName("anybody".to_owned()), anybody)],
        unknown_source: UnknownSource::Forbid,
        ..sip::Config::default()
    }
}

/// Where an INVITE goes.
struct Target {
    uri: String,
    flow: Flow,
}

impl Target {
    async fn of(text: &str, core: &Core) -> Result<Self, PhoneError> {
        let refuse = |why: String| PhoneError::Address { uri: text.to_owned(), why };
        let uri = Uri::parse(text).map_err(|_| {
            refuse("it is no SIP URI such as `sip:agent@127.0.0.1:5060`".to_owned())
        })?;
        if uri.scheme != sip::uri::Scheme::Sip {
            return Err(refuse("only `sip:` is supported".to_owned()));
        }
        let transport = match uri.transport() {
            None => core.transport,
            Some(name) if name.eq_ignore_ascii_case("udp") => Transport::Udp,
            Some(name) if name.eq_ignore_ascii_case("tcp") => Transport::Tcp,
            Some(other) => return Err(refuse(format!("transport `{other}` is not supported"))),
        };
        let host = uri.host.as_ref().map(ToString::to_string).unwrap_or_default();
        let remote = match uri.socket_addr() {
            Some(remote) => remote,
            None => resolve::resolve(&host, uri.port_or_default())
                .await
                .map_err(|error| refuse(crate::telemetry::chain::chain(&error)))?,
        };
        if core.bind.is_loopback() && !remote.ip().is_loopback() {
            let why = format!("{remote} cannot be reached from {}", core.bind);
            return Err(refuse(why));
        }
        let local = core
            .net
            .local_addr(transport, remote.ip())
            .ok_or_else(|| refuse(format!("there is no route to {remote}")))?;
        Ok(Self { uri: text.to_owned(), flow: Flow::new(transport, local, remote) })
    }
}

fn host_text(ip: IpAddr) -> sip::uri::Host {
    sip::uri::Host::from(ip)
}
