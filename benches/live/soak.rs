//! Long calls over a network that loses: the session timer refreshed by either side, a hold that is longer than
//! a line may be silent, and a recording that is as long as the call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::UdpSocket;
use trunkline::sim::providers::{MockProviders, Script};
use trunkline::softphone::{CallRequest, Phone, PhoneConfig};

use super::handover::utterance;
use super::impair::{Bursts, Dice, Profile, Relay};
use super::server::Server;

const LIMIT: Duration = Duration::from_secs(20);
/// Longer than the 30 s after which a line without audio ends.
const HOLD: Duration = Duration::from_secs(40);
/// The caller speaks this often.
const SPEAKS_EVERY: Duration = Duration::from_secs(10);
/// Of signalling messages either way, each by itself.
const SIP_LOSS: f64 = 0.1;
const EXPIRES: &str = "90";

/// What passed between a telephone and the server.
#[derive(Default)]
struct Passed {
    /// Refreshes of the session timer, by the telephone and by the server.
    refreshes: [AtomicU64; 2],
    /// BYE requests.
    byes: AtomicU64,
    lost: AtomicU64,
}

pub async fn run(lasting: Duration) {
    let mut script = Script::default();
    script.llm.replies = vec!["That is fine. I will note it down for you.".to_owned()];
    let mocks = MockProviders::start(script).await.unwrap();
    let server = Server::start(&mocks, "").await;
    println!(
        "\ncalls of {} s, Session-Expires {EXPIRES}, 3 % loss of audio in bursts with 40 ms jitter, {:.0} % of the \
         signalling, held once for {} s",
        lasting.as_secs(),
        SIP_LOSS * 100.0,
        HOLD.as_secs()
    );
    println!(
        "refresher  by them  by us  BYE before the end  call s  recording s  lost  concealed  messages lost"
    );
    let (them, us) = tokio::join!(call(&server, "uac", lasting), call(&server, "uas", lasting));
    for line in [them, us] {
        println!("{line}");
    }
}

/// One call to its end; what is to be printed of it.
async fn call(server: &Server, refresher: &'static str, lasting: Duration) -> String {
    let jitter = Profile { jitter: Duration::from_millis(40), ..Profile::default() };
    let bursts = Some(Bursts { loss: 0.03, length: 2.0, longest: 50 });
    let way = Profile { bursts, ..jitter };
    let audio = Arc::new(Relay::start(way.clone(), way, 7).await);
    let phone = Phone::start(PhoneConfig::default()).await.unwrap();
    let to = server.uri.split('@').nth(1).unwrap().parse().unwrap();
    let passed = Arc::<Passed>::default();
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("sip:bench@{}", near.local_addr().unwrap());
    let signalling = Signalling { to, refresher, audio, passed: Arc::clone(&passed) };
    let carrying = tokio::spawn(signalling.carry(near));
    let speech = utterance();
    let request = CallRequest { from: refresher.to_owned(), ..CallRequest::to(&uri) };
    let call = phone.call(request).await.unwrap();
    let answered = call.answered(LIMIT).await.unwrap();
    let (mut is_held, hold_at) = (false, lasting / 3);
    while answered.elapsed() < lasting && call.end().is_none() {
        tokio::time::sleep(SPEAKS_EVERY.min(lasting.saturating_sub(answered.elapsed()))).await;
        let holds = (hold_at..hold_at + HOLD).contains(&answered.elapsed());
        if holds != std::mem::replace(&mut is_held, holds) {
            let done = if holds { call.hold().await } else { call.resume().await };
            done.expect("hold and resume are agreed to");
        } else if !is_held {
            let _ = call.play(&speech);
        }
    }
    let byes = passed.byes.load(Ordering::Relaxed);
    let unsaid = passed.lost.load(Ordering::Relaxed);
    let ended = call.end();
    call.hang_up().await.unwrap();
    let record = record(server, refresher).await;
    carrying.abort();
    assert!(ended.is_none() && byes == 0, "{refresher}: the call ended by itself: {ended:?}");
    let recording = record["recording"]["duration_ms"].as_f64().unwrap() / 1_000.0;
    let [by_them, by_us] = &passed.refreshes;
    format!(
        "{refresher:9} {:8} {:6} {byes:19} {:7.2} {recording:12.2} {:5} {:8.1} % {unsaid:14}",
        by_them.load(Ordering::Relaxed),
        by_us.load(Ordering::Relaxed),
        record["talk_duration_ms"].as_f64().unwrap() / 1_000.0,
        record["reception"]["lost"],
        record["reception"]["concealed_share"].as_f64().unwrap() * 100.0,
    )
}

/// The record of the call of a telephone with this name, once it is over.
async fn record(server: &Server, from: &str) -> Value {
    let limit = Instant::now() + LIMIT;
    loop {
        let list = server.get("/v1/calls?page_size=10").await;
        let calls = list["items"].as_array().unwrap();
        let over = |call: &&Value| call["from_number"] == from && call["ended_at"].is_string();
        if let Some(call) = calls.iter().find(over) {
            return server.get(&format!("/v1/calls/{}", call["id"].as_str().unwrap())).await;
        }
        assert!(Instant::now() < limit, "the call never ended: {list}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The signalling's way between a telephone and the server: loses messages, asks for a short session timer, and has
/// audio take the way through the relay.
struct Signalling {
    to: SocketAddr,
    refresher: &'static str,
    audio: Arc<Relay>,
    passed: Arc<Passed>,
}

impl Signalling {
    /// Carries between whoever writes to `near` and the server, until it is aborted.
    async fn carry(self, near: UdpSocket) {
        let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let [near_at, far_at] = [&near, &far].map(|socket| socket.local_addr().unwrap());
        let (mut telephone, mut dice) = (None, Dice::new(11));
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                Ok((len, from)) = near.recv_from(&mut up) => {
                    telephone = Some(from);
                    let names = [(from, far_at), (near_at, self.to)];
                    if let Some(text) = self.pass(0, &up[..len], names, &mut dice) {
                        let _ = far.send_to(text.as_bytes(), self.to).await;
                    }
                }
                Ok((len, _)) = far.recv_from(&mut down) => {
                    let Some(telephone) = telephone else { continue };
                    let names = [(far_at, telephone), (self.to, near_at)];
                    if let Some(text) = self.pass(1, &down[..len], names, &mut dice) {
                        let _ = near.send_to(text.as_bytes(), telephone).await;
                    }
                }
            }
        }
    }

    /// What becomes of a message of one side; `names` are addresses and what they are on the other side.
    fn pass(
        &self,
        side: usize,
        octets: &[u8],
        names: [(SocketAddr, SocketAddr); 2],
        dice: &mut Dice,
    ) -> Option<String> {
        let text = std::str::from_utf8(octets).ok()?;
        if dice.share() < SIP_LOSS {
            self.passed.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let is_refresh = text.starts_with("UPDATE ");
        self.passed.refreshes[side].fetch_add(u64::from(is_refresh), Ordering::Relaxed);
        self.passed.byes.fetch_add(u64::from(text.starts_with("BYE ")), Ordering::Relaxed);
        let mut text = text.to_owned();
        for (here, there) in names {
            text = text.replace(&here.to_string(), &there.to_string());
        }
        let named = format!("Session-Expires: {EXPIRES};refresher={}\r\n", self.refresher);
        text = text.replace("Session-Expires: 1800\r\n", &named);
        Some(self.redirect(side, &text))
    }

    /// Audio goes through the relay.
    fn redirect(&self, side: usize, text: &str) -> String {
        let Some((head, body)) = text.split_once("\r\n\r\n").filter(|(_, body)| !body.is_empty())
        else {
            return text.to_owned();
        };
        let port = body.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next());
        let Some(Ok(port)) = port.map(str::parse::<u16>) else { return text.to_owned() };
        let (asked, relay) = (Some(SocketAddr::from(([127, 0, 0, 1], port))), &self.audio);
        let through = if side == 0 { relay.back } else { relay.front };
        if side == 0 {
            relay.connect(asked, None)
        } else {
            relay.connect(None, asked)
        }
        let body =
            body.replace(&format!("m=audio {port} "), &format!("m=audio {} ", through.port()));
        let lines = head.split("\r\n").map(|line| match line.split_once(": ") {
            Some(("Content-Length", _)) => format!("Content-Length: {}", body.len()),
            _ => line.to_owned(),
        });
        let head: Vec<String> = lines.collect();
        format!("{}\r\n\r\n{body}", head.join("\r\n"))
    }
}
