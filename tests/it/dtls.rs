//! Keys by DTLS at the sockets of a running server: a telephone made of the parts, and those who get in its way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};
use trunkline::audio::g711;
use trunkline::call::CallCommand;
use trunkline::net::clock;
use trunkline::rtp::Policy;
use trunkline::rtp::dtls::Identity;
use trunkline::rtp::keying::{Keying, KeyingEvent, Party};
use trunkline::rtp::srtp::{OVERHEAD_BYTES_MAX, Receiver, Sender};
use trunkline::schema::telephony::{TrunkSrtp, TrunkSrtpKeys};
use trunkline::sip::Transport;
use trunkline::types::{DtlsPlan, DtlsRole, EndReason, Entropy, Fingerprint, SrtpKeys};

use crate::support::line::packet;
use crate::support::peer::{Caller, Message, sdp_with};
use crate::support::phone::{GREETING, happens, say};
use crate::support::server::{Server, agent};
use crate::support::{sound, wait};

/// A server whose trunks encrypt.
async fn server() -> Server {
    Server::with(|config| {
        for trunk in config.trunks.values_mut() {
            (trunk.srtp, trunk.srtp_keys) = (TrunkSrtp::Required, TrunkSrtpKeys::Dtls);
        }
        GREETING.clone_into(&mut agent(config).turn.greeting.text);
    })
    .await
}

#[derive(Default)]
struct State {
    keys: Option<SrtpKeys>,
    handshakes: usize,
    /// DTLS datagrams of the server.
    flights: usize,
    /// Payloads that could be opened, and how many could not.
    heard: Vec<u8>,
    broken: usize,
    say: VecDeque<i16>,
}

/// A socket with keys of its own.
struct Telephone {
    at: SocketAddr,
    identity: Arc<Identity>,
    socket: Arc<UdpSocket>,
    state: Arc<Mutex<State>>,
    stop: Option<DropGuard>,
}

impl Telephone {
    async fn new() -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"));
        let at = socket.local_addr().expect("bound");
        let identity = Arc::new(Identity::generate().expect("an identity"));
        Self { at, identity, socket, state: Arc::default(), stop: None }
    }

    /// Its description, with another certificate if it lies.
    fn sdp(&self, setup: &str, direction: &str, fingerprint: Fingerprint) -> String {
        let attributes = format!(
            "a=rtpmap:101 telephone-event/8000\r\na={direction}\r\na=rtcp-mux\r\n\
             a=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n"
        );
        sdp_with(self.at, "0 101", &attributes).replace("RTP/AVP", "UDP/TLS/RTP/SAVP")
    }

    /// Begins as what the other side's description leaves to it.
    fn agree(&mut self, theirs: &Message) {
        let body = theirs.body();
        let role =
            if body.contains("a=setup:active") { DtlsRole::Server } else { DtlsRole::Client };
        let (_, text) = body.split_once("a=fingerprint:sha-256 ").expect("a certificate");
        let peer = Fingerprint::parse(text.lines().next().expect("a line")).expect("a fingerprint");
        let plan = DtlsPlan { association: 1, role, peer };
        let party = Party { plan, remote: theirs.media(), is_found: true, policy: Policy::Strict };
        let identity = Arc::clone(&self.identity);
        let keying = Keying::new(clock::now(), identity, party, &mut Entropy::seeded(9));
        let stop = CancellationToken::new();
        let run = run(Arc::clone(&self.socket), Arc::clone(&self.state), keying, theirs.media());
        tokio::spawn(stop.clone().run_until_cancelled_owned(run));
        self.stop = Some(stop.drop_guard());
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("a lock"))
    }

    /// Waits until it has heard so much that is loud, from a point in what it hears.
    async fn hears(&self, from: usize, ms: usize) {
        wait::until("the agent's words", async || {
            let heard: Vec<i16> =
                self.with(|s| s.heard[from..].iter().copied().map(g711::decode_ulaw).collect());
            (sound::loud_ms(&heard) >= ms).then_some(())
        })
        .await;
    }
}

async fn run(
    socket: Arc<UdpSocket>,
    state: Arc<Mutex<State>>,
    mut keying: Keying,
    media: SocketAddr,
) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let (mut srtp, mut sequence, mut octets) = (None, 0_u16, [0; 2_048]);
    loop {
        while let Some(event) = keying.poll() {
            match event {
                KeyingEvent::Send { to, datagram } => {
                    socket.send_to(&datagram, to).await.expect("loopback");
                }
                KeyingEvent::Keyed { keys, .. } => {
                    let sender = Sender::new(keys.send).expect("a key");
                    srtp = Some((sender, Receiver::new(keys.receive).expect("a key")));
                    let mut state = state.lock().expect("a lock");
                    (state.keys, state.handshakes) = (Some(keys), state.handshakes + 1);
                }
                KeyingEvent::Failed(_) => {}
            }
        }
        tokio::select! {
            got = socket.recv_from(&mut octets) => {
                let Ok((len, from)) = got else { continue };
                let datagram = &octets[..len];
                if matches!(datagram, [20..=63, ..]) {
                    state.lock().expect("a lock").flights += 1;
                    keying.handle(clock::now(), from, datagram);
                } else if !matches!(datagram, [_, 192..=223, ..]) {
                    let opened = srtp.as_mut().and_then(|(_, keys)| keys.open(datagram).ok());
                    let mut state = state.lock().expect("a lock");
                    match opened {
                        Some(packet) => state.heard.extend_from_slice(&packet[12..]),
                        None => state.broken += 1,
                    }
                }
            }
            _ = ticks.tick() => {
                keying.handle_timeout(clock::now());
                let Some((sender, _)) = &mut srtp else { continue };
                let payload: Vec<u8> = {
                    let mut state = state.lock().expect("a lock");
                    let count = state.say.len().min(160);
                    let mut samples: Vec<i16> = state.say.drain(..count).collect();
                    samples.resize(160, 0);
                    samples.into_iter().map(g711::encode_ulaw).collect()
                };
                sequence = sequence.wrapping_add(1);
                let mut octets = packet(0, sequence, u32::from(sequence) * 160, 7, &payload);
                let len = octets.len();
                octets.resize(len + OVERHEAD_BYTES_MAX, 0);
                let len = sender.protect(&mut octets, len).expect("a packet");
                socket.send_to(&octets[..len], media).await.expect("loopback");
            }
        }
    }
}

/// A telephone calls and gets its keys in the role that its offer leaves to it, with strangers in the way.
async fn calls(setup: &str, ours: &str) {
    let server = server().await;
    let mut phone = Telephone::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "keyed").await;
    let own = phone.identity.fingerprint();
    caller.invite(&phone.sdp(setup, "sendrecv", own)).await;
    let ok = caller.peer.final_to("INVITE").await;
    assert_eq!(ok.status(), 200, "{}", ok.text);
    assert!(ok.body().contains(&format!("a=setup:{ours}\r\n")), "{}", ok.text);
    assert!(ok.body().contains(" UDP/TLS/RTP/SAVP "), "{}", ok.text);
    caller.learn(&ok);
    caller.ack("").await;
    let record = server.call_to("keyed").await;
    // Before the keys: hellos of strangers, audio in the clear and anything else.
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let plan = DtlsPlan { association: 1, role: DtlsRole::Client, peer: own };
    let party = Party { plan, remote: ok.media(), is_found: true, policy: Policy::Strict };
    for seed in 0..20 {
        let identity = Arc::new(Identity::generate().expect("an identity"));
        let entropy = &mut Entropy::seeded(seed);
        let mut hello = Keying::new(clock::now(), identity, party, entropy);
        while let Some(KeyingEvent::Send { datagram, .. }) = hello.poll() {
            stranger.send_to(&datagram, ok.media()).await.expect("loopback");
        }
        let loud: Vec<u8> = sound::tone(1_000.0, 20).into_iter().map(g711::encode_ulaw).collect();
        let clear = packet(0, seed as u16, seed as u32 * 160, 7, &loud);
        phone.socket.send_to(&clear, ok.media()).await.expect("loopback");
        phone.socket.send_to(&[22; 100], ok.media()).await.expect("loopback");
    }
    phone.agree(&ok);
    phone.hears(0, 1_500).await;
    phone.with(|state| state.say.extend(sound::tone(440.0, 1_500)));
    wait::until("the tone", async || phone.with(|s| s.say.is_empty()).then_some(())).await;
    let (keys, flights) = phone.with(|state| (state.keys, state.flights));
    // A hold by either side and its end.
    for direction in ["sendonly", "sendrecv"] {
        let headers = "Content-Type: application/sdp\r\n";
        let offer = phone.sdp("actpass", direction, own);
        let answer = caller.ask("INVITE", headers, &offer).await;
        assert_eq!(answer.status(), 200, "{}", answer.text);
        assert!(answer.body().contains(&format!("a=setup:{ours}\r\n")), "{}", answer.text);
        caller.ack("").await;
    }
    let id = record.id;
    for hold in [CallCommand::Hold { music: None }, CallCommand::Resume] {
        let switchboard = server.running.switchboard();
        switchboard.command(id, hold).await.expect("it is live");
        let offer = caller.peer.request("INVITE").await;
        let role = format!("a=setup:{ours}\r\n");
        assert!(offer.body().contains(&role), "the role stays: {}", offer.text);
        let theirs = if ours == "active" { "passive" } else { "active" };
        let direction = if offer.body().contains("a=sendonly") { "recvonly" } else { "sendrecv" };
        let answer = phone.sdp(theirs, direction, own);
        let contact = format!("Contact: <sip:caller@{}>\r\n", caller.peer.local);
        caller.peer.answer(&offer, "200 OK", &contact, &answer).await;
        caller.peer.request("ACK").await;
    }
    let heard = phone.with(|state| state.heard.len());
    say(&server, id, "The call goes on, and each side hears the other.").await;
    phone.hears(heard, 800).await;
    phone.with(|state| {
        assert_eq!((state.handshakes, state.keys, state.flights), (1, keys, flights));
        assert_eq!(state.broken, 0, "nothing came that could not be opened");
    });
    caller.hang_up().await;
    let record = server.ended(id).await;
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    let [left, _] = server.recording(&record);
    assert!(sound::tone_ms(&left, 440.0, 8_000) >= 1_300, "the caller's tone is recorded");
    assert_eq!(sound::tone_ms(&left, 1_000.0, 8_000), 0, "and nothing that was not encrypted");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_by_dtls_where_we_begin() {
    calls("actpass", "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_by_dtls_where_they_begin() {
    calls("active", "passive").await;
}

/// The certificate is not the one of the description: the call ends and says so, and nothing was ever heard.
#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_ends_the_call() {
    for setup in ["passive", "active"] {
        let server = server().await;
        let mut phone = Telephone::new().await;
        let other = Identity::generate().expect("an identity").fingerprint();
        let mut caller = Caller::new(&server, Transport::Udp, "liar").await;
        caller.invite(&phone.sdp(setup, "sendrecv", other)).await;
        let ok = caller.peer.final_to("INVITE").await;
        assert_eq!(ok.status(), 200, "{}", ok.text);
        caller.learn(&ok);
        caller.ack("").await;
        phone.agree(&ok);
        caller.hung_up().await;
        let record = server.ended_to("liar").await;
        assert_eq!(record.end_reason, Some(EndReason::MediaNegotiationFailed));
        let error = record.error.expect("it says why");
        assert_eq!((error.code.as_str(), phone.with(|state| state.heard.len())), ("dtls", 0));
        assert!(error.message.contains("certificate"), "{}", error.message);
    }
}

/// An offer of ours: the answer's certificate and role count, and a handshake that is quicker than the answer waits.
#[tokio::test(flavor = "multi_thread")]
async fn our_offer_asks_for_dtls() {
    let server = server().await;
    let mut phone = Telephone::new().await;
    let mut peer =
        crate::support::peer::Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
    let record = server.dial(format!("sip:phone@{}", peer.local), Transport::Udp).await;
    let invite = peer.request("INVITE").await;
    assert!(invite.body().contains(" UDP/TLS/RTP/SAVP "), "{}", invite.text);
    assert!(invite.body().contains("a=setup:actpass\r\n"), "{}", invite.text);
    // We are the client, and begin before the answer is out.
    phone.agree(&invite);
    let answer = phone.sdp("active", "sendrecv", phone.identity.fingerprint());
    let contact = format!("Contact: <sip:phone@{}>\r\n", peer.local);
    peer.answer(&invite, "200 OK", &contact, &answer).await;
    peer.request("ACK").await;
    happens(&server, record.id, "the greeting", |kind| {
        matches!(kind, trunkline::types::CallEventKind::TurnEnded { .. })
    })
    .await;
    phone.hears(0, 1_500).await;
    let id = record.id;
    let reason = EndReason::ApiHangup;
    let end = CallCommand::End { message: None, reason, headers: Vec::new() };
    server.running.switchboard().command(id, end).await.expect("it is live");
    let bye = peer.request("BYE").await;
    peer.answer(&bye, "200 OK", "", "").await;
    let record = server.ended(id).await;
    assert_eq!(record.end_reason, Some(EndReason::ApiHangup));
}
