//! The media half of a telephone: sends 50 packets a second and keeps what it hears.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};
use trunkline::audio::g711;
use trunkline::net::clock;

use super::sound::{self, FRAME};
use super::wait;

/// A received packet.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

#[derive(Default)]
struct State {
    to: Option<SocketAddr>,
    /// Samples that wait to be sent; silence when there are none.
    say: VecDeque<i16>,
    heard: Vec<Heard>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    silent: bool,
    echo: Option<Echo>,
}

/// A loudspeaker next to the microphone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo {
    /// Way there and back.
    pub(crate) delay_ms: usize,
    /// How much softer it comes back, as a negative number.
    pub(crate) db: f32,
}

/// The line of one call.
pub(crate) struct Line {
    pub(crate) local: SocketAddr,
    socket: Arc<UdpSocket>,
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

/// Twelve octets of RTP header and a payload.
pub(crate) fn packet(
    kind: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut octets = vec![0x80, kind];
    octets.extend(sequence.to_be_bytes());
    octets.extend(timestamp.to_be_bytes());
    octets.extend(ssrc.to_be_bytes());
    octets.extend(payload);
    octets
}

impl State {
    fn add_echo(&self, samples: &mut [i16]) {
        let Some(Echo { delay_ms, db }) = self.echo else { return };
        let Some(at) = self.heard.len().checked_sub(delay_ms / 20) else { return };
        let Some(heard) = self.heard.get(at).filter(|heard| heard.kind & 0x7f == 0) else { return };
        let gain = 10_f32.powf(db / 20.0);
        for (sample, octet) in samples.iter_mut().zip(&heard.payload) {
            let back = (f32::from(g711::decode_ulaw(*octet)) * gain) as i16;
            *sample = sample.saturating_add(back);
        }
    }
}

impl Line {
    /// Opens a socket; nothing is sent before [`Line::connect`].
    pub(crate) async fn new() -> Self {
        Self::at(IpAddr::from([127, 0, 0, 1])).await
    }

    /// Opens a socket at an address of one's own.
    pub(crate) async fn at(ip: IpAddr) -> Self {
        let socket = Arc::new(UdpSocket::bind((ip, 0)).await.expect("a socket"));
        let local = socket.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State { ssrc: 0x1122_3344, ..State::default() }));
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(hear(socket.clone(), state.clone())));
        tokio::spawn(stop.clone().run_until_cancelled_owned(talk(socket.clone(), state.clone())));
        Self { local, socket, state, _stop: stop.drop_guard() }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }

    /// From now on packets go to this address.
    pub(crate) fn connect(&self, to: SocketAddr) {
        self.with(|state| state.to = Some(to));
    }

    /// Where packets go.
    pub(crate) fn target(&self) -> SocketAddr {
        self.with(|state| state.to.expect("connected"))
    }

    /// What is heard comes back from now on.
    pub(crate) fn echo(&self, echo: Echo) {
        self.with(|state| state.echo = Some(echo));
    }

    /// Stops sending, as a telephone that lost its network, or goes on.
    pub(crate) fn mute(&self, silent: bool) {
        self.with(|state| state.silent = silent);
    }

    /// Changes the SSRC and begins a new random sequence, as a media server between two legs does.
    pub(crate) fn change_ssrc(&self, ssrc: u32) {
        self.with(|state| {
            state.ssrc = ssrc;
            state.sequence = 40_000;
            state.timestamp = 3_000_000_000;
        });
    }

    /// Queues samples.
    pub(crate) fn say(&self, samples: &[i16]) {
        self.with(|state| state.say.extend(samples));
    }

    /// Waits until everything queued has been sent.
    pub(crate) async fn said(&self) {
        wait::until("the caller's last word", async || {
            self.with(|state| state.say.is_empty()).then_some(())
        })
        .await;
    }

    /// Everything received.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.with(|state| state.heard.clone())
    }

    /// Number of packets received.
    pub(crate) fn count(&self) -> usize {
        self.with(|state| state.heard.len())
    }

    /// Audio received from packet number `from`, in order of arrival.
    pub(crate) fn audio(&self, from: usize) -> Vec<i16> {
        let heard = self.heard();
        let packets = heard.iter().skip(from).filter(|packet| packet.kind & 0x7f == 0);
        packets.flat_map(|p| p.payload.iter().map(|octet| g711::decode_ulaw(*octet))).collect()
    }

    /// Waits until `ms` of sound came after packet number `from`.
    pub(crate) async fn hears(&self, from: usize, ms: usize) {
        wait::until("sound of the agent", async || {
            (sound::loud_ms(&self.audio(from)) >= ms).then_some(())
        })
        .await;
    }

    /// Waits until the last `ms` received are silence.
    pub(crate) async fn hears_silence(&self, ms: usize) {
        wait::until("silence of the agent", async || {
            let audio = self.audio(self.count().saturating_sub(ms / 20));
            (audio.len() >= ms * 8 * 9 / 10 && sound::loud_ms(&audio) == 0).then_some(())
        })
        .await;
    }

    /// Sends octets as they are.
    pub(crate) async fn send_raw(&self, octets: &[u8], to: SocketAddr) {
        self.socket.send_to(octets, to).await.expect("loopback");
    }

    /// A digit by RFC 4733: three updates, three ends; `marker` on the first as the RFC wants it.
    pub(crate) async fn press(&self, digit: char, marker: bool) {
        let event = "0123456789*#ABCD".find(digit).expect("a digit") as u8;
        let (to, ssrc, timestamp) =
            self.with(|state| (state.to.expect("connected"), state.ssrc, state.timestamp));
        let steps: [(u16, u8); 6] =
            [(160, 0), (320, 0), (480, 0), (640, 128), (640, 128), (640, 128)];
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for (index, (duration, end)) in steps.into_iter().enumerate() {
            ticks.tick().await;
            let [high, low] = duration.to_be_bytes();
            let sequence = self.with(|state| {
                state.sequence = state.sequence.wrapping_add(1);
                state.sequence
            });
            let kind = if marker && index == 0 { 0x80 | 101 } else { 101 };
            let octets = packet(kind, sequence, timestamp, ssrc, &[event, end | 10, high, low]);
            self.send_raw(&octets, to).await;
        }
    }
}

async fn hear(socket: Arc<UdpSocket>, state: Arc<Mutex<State>>) {
    let mut octets = vec![0; 2_048];
    loop {
        let Ok((length, _)) = socket.recv_from(&mut octets).await else { continue };
        if length < 12 {
            continue;
        }
        let heard = Heard {
            at: clock::now(),
            sequence: u16::from_be_bytes([octets[2], octets[3]]),
            timestamp: u32::from_be_bytes([octets[4], octets[5], octets[6], octets[7]]),
            kind: octets[1],
            payload: octets[12..length].to_vec(),
        };
        state.lock().unwrap().heard.push(heard);
    }
}

async fn talk(socket: Arc<UdpSocket>, state: Arc<Mutex<State>>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        let next = {
            let mut state = state.lock().unwrap();
            state.timestamp = state.timestamp.wrapping_add(FRAME as u32);
            let Some(to) = state.to.filter(|_| !state.silent) else { continue };
            state.sequence = state.sequence.wrapping_add(1);
            let count = state.say.len().min(FRAME);
            let mut samples: Vec<i16> = state.say.drain(..count).collect();
            samples.resize(FRAME, 0);
            state.add_echo(&mut samples);
            let payload: Vec<u8> = samples.into_iter().map(g711::encode_ulaw).collect();
            (to, packet(0, state.sequence, state.timestamp, state.ssrc, &payload))
        };
        let _ = socket.send_to(&next.1, next.0).await;
    }
}
