use std::net::IpAddr;

use super::ServerError;
use super::sockets::resolve_advertised;

#[tokio::test]
async fn the_address_for_sdp_is_looked_up_at_the_start() {
    let address = async |host: &str| resolve_advertised(host).await.unwrap();
    assert_eq!(address("").await, None);
    assert_eq!(address("203.0.113.7").await, Some(IpAddr::from([203, 0, 113, 7])));
    assert_eq!(address("2001:db8::7").await, "2001:db8::7".parse().ok());
    assert_eq!(address("localhost").await, Some(IpAddr::from([127, 0, 0, 1])));
    // RFC 6761 section 6.4: this name has no address anywhere.
    let error = resolve_advertised("trunkline.invalid").await.unwrap_err();
    let ServerError::Setup { key, message } = error else { panic!("{error:?}") };
    assert_eq!(key, "sip.advertised_address");
    assert!(message.contains("`trunkline.invalid`") && message.contains("hint"), "{message}");
}

/// An answering machine at the other end of a real call: what it says, then its beep.
mod machine {
    use std::f32::consts::TAU;
    use std::net::SocketAddr;
    use std::path::Path;
    use std::time::Duration;

    use tokio::net::UdpSocket;

    use super::super::{directory, start_with};
    use crate::audio::{g711, wav};
    use crate::config::{Config, Env, sections};
    use crate::schema::agent::{Voicemail, VoicemailAction};
    use crate::sip::Transport;
    use crate::store::Store;
    use crate::switchboard::DialRequest;
    use crate::types::{AnsweredBy, CallRecord, EndReason, Outcome, TrunkName, TurnRecord};

    const MESSAGE: &str = "This is the bicycle shop. Your bicycle is ready.";
    /// Samples of a packet.
    const FRAME: usize = 160;
    /// Far above any sound of a line, far below any of a voice.
    const LOUD: i16 = 500;
    /// Sentences of a greeting that no person would say in one breath.
    const LONG: &[&str] = &["hours", "address", "appointment", "number"];
    const LIMIT: Duration = Duration::from_secs(30);

    fn config(dir: &Path, action: VoicemailAction) -> Config {
        let mut config = Config::default();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        config.sip.listen_udp = vec![loopback];
        config.sip.listen_tcp = Vec::new();
        config.api.bind = loopback;
        config.media.rtp_ports = "any".to_owned();
        config.media.bind = loopback.ip();
        config.media.threads = 1;
        config.store.database = dir.join("trunkline.db");
        config.store.recordings = dir.join("recordings");
        config.local.model_dir = dir.join("no-model");
        let agent = config.agents.get_mut("demo").unwrap();
        agent.turn.greeting.text = "Hello, this is nobody's message.".to_owned();
        agent.voicemail = Voicemail { detect: true, action, message: Some(MESSAGE.to_owned()) };
        config.trunks.insert("out".to_owned(), sections::Trunk::default());
        config
    }

    /// Half a second of silence, words, and a beep.
    fn greeting(sentences: &[&str]) -> Vec<i16> {
        let mut samples = vec![0; 4_000];
        for name in sentences {
            let path = format!("{}/fixtures/wav/speech/{name}.wav", env!("CARGO_MANIFEST_DIR"));
            let words = wav::read_mono(Path::new(&path)).unwrap().samples;
            let voiced = |sample: &i16| sample.unsigned_abs() > 300;
            let (first, last) =
                (words.iter().position(voiced).unwrap(), words.iter().rposition(voiced).unwrap());
            samples.extend(&words[first..last]);
            samples.resize(samples.len() + 1_600, 0);
        }
        samples.resize(samples.len() + 2_400, 0);
        let beep = |n: u32| (8_000.0 * (TAU * 1_000.0 * n as f32 / 8_000.0).sin()) as i16;
        samples.extend((0..4_000).map(beep));
        samples
    }

    fn headers<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
        let is_named = |line: &&str| {
            line.split_once(':').is_some_and(|(own, _)| own.trim().eq_ignore_ascii_case(name))
        };
        message.lines().filter(is_named).collect()
    }

    fn answer(request: &str, own: SocketAddr, sdp: &str) -> String {
        let mut text = "SIP/2.0 200 OK\r\n".to_owned();
        for name in ["via", "record-route", "from", "call-id", "cseq"] {
            for line in headers(request, name) {
                text += &format!("{line}\r\n");
            }
        }
        let to = headers(request, "to")[0];
        let tag = if to.contains(";tag=") { "" } else { ";tag=machine" };
        text += &format!("{to}{tag}\r\nContact: <sip:machine@{own}>\r\n");
        if !sdp.is_empty() {
            text += "Content-Type: application/sdp\r\n";
        }
        text + &format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len())
    }

    /// What the machine heard: all samples, and how many had come when its beep was over.
    struct Taped {
        samples: Vec<i16>,
        beep_end: Option<usize>,
    }

    impl Taped {
        fn loud_ms(samples: &[i16]) -> usize {
            samples.iter().filter(|sample| sample.unsigned_abs() > LOUD.unsigned_abs()).count() / 8
        }
    }

    /// Answers the call, plays its greeting and tapes what it hears until the other side hangs up.
    async fn machine(sip: UdpSocket, greeting: Vec<i16>) -> Taped {
        let rtp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (own, media) = (sip.local_addr().unwrap(), rtp.local_addr().unwrap());
        let sdp = format!(
            "v=0\r\no=m 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {} RTP/AVP 0\r\na=sendrecv\r\n",
            media.port()
        );
        let mut sent = 0_usize;
        let mut to: Option<SocketAddr> = None;
        let mut taped = Taped { samples: Vec::new(), beep_end: None };
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let (mut message, mut packet) = (vec![0; 8_192], vec![0; 2_048]);
        loop {
            tokio::select! {
                got = sip.recv_from(&mut message) => {
                    let (length, from) = got.unwrap();
                    let text = String::from_utf8_lossy(&message[..length]).into_owned();
                    if text.starts_with("INVITE") {
                        let line = text.lines().find(|line| line.starts_with("m=audio ")).unwrap();
                        let port = line.split(' ').nth(1).unwrap().parse::<u16>().unwrap();
                        to = Some(SocketAddr::from(([127, 0, 0, 1], port)));
                        sip.send_to(answer(&text, own, &sdp).as_bytes(), from).await.unwrap();
                    } else if text.starts_with("BYE") {
                        sip.send_to(answer(&text, own, "").as_bytes(), from).await.unwrap();
                        return taped;
                    }
                }
                got = rtp.recv_from(&mut packet) => {
                    let (length, _) = got.unwrap();
                    if length > 12 && packet[1] & 0x7f == 0 {
                        let payload = packet[12..length].iter();
                        taped.samples.extend(payload.map(|octet| g711::decode_ulaw(*octet)));
                    }
                }
                _ = ticks.tick() => {
                    let Some(to) = to else { continue };
                    let at = sent * FRAME;
                    let mut octets = vec![0x80, 0];
                    octets.extend((sent as u16).to_be_bytes());
                    octets.extend((at as u32).to_be_bytes());
                    octets.extend(0x0102_0304_u32.to_be_bytes());
                    let sample = |n: usize| greeting.get(at + n).copied().unwrap_or(0);
                    octets.extend((0..FRAME).map(|n| g711::encode_ulaw(sample(n))));
                    rtp.send_to(&octets, to).await.unwrap();
                    sent += 1;
                    if at >= greeting.len() && taped.beep_end.is_none() {
                        taped.beep_end = Some(taped.samples.len());
                    }
                }
            }
        }
    }

    async fn called(
        action: VoicemailAction,
        greeting: Vec<i16>,
    ) -> (Taped, CallRecord, Vec<TurnRecord>) {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), action);
        let database = config.store.database.clone();
        let env = Env::new();
        let (agents, notes) = directory(&config, &env).unwrap();
        let running = start_with(config, &env, agents, notes).await.unwrap();
        assert!(!running.sip(Transport::Udp).is_empty());
        let store = Store::open(&database).await.unwrap();
        let sip = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let request = DialRequest {
            to: format!("sip:machine@{}", sip.local_addr().unwrap()),
            trunk: Some(TrunkName("out".to_owned())),
            ..DialRequest::default()
        };
        let id = running.switchboard().dial(request).await.unwrap().id;
        let taped = tokio::time::timeout(LIMIT, machine(sip, greeting)).await.expect("it hangs up");
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let ended = async {
            loop {
                looks.tick().await;
                let record = store.get(id).await.unwrap();
                if let Some(record) = record.filter(|record| record.status.is_terminal()) {
                    return record;
                }
            }
        };
        let record = tokio::time::timeout(LIMIT, ended).await.expect("its record is closed");
        (taped, record, store.turns(id).await.unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_message_is_left_after_the_beep() {
        let (taped, record, turns) = called(VoicemailAction::LeaveMessage, greeting(LONG)).await;
        assert_eq!(record.answered_by, Some(AnsweredBy::Voicemail));
        assert_eq!(record.end_reason, Some(EndReason::Voicemail));
        assert_eq!(record.outcome, Some(Outcome::Voicemail));
        let said: Vec<&str> = turns.iter().map(|turn| turn.content.reveal().as_str()).collect();
        assert_eq!(said, [MESSAGE]);
        let end = taped.beep_end.expect("the beep was played");
        let (before, after) = taped.samples.split_at(end);
        assert_eq!(Taped::loud_ms(before), 0, "nothing is said into the greeting");
        let first = after.iter().position(|sample| *sample > LOUD).expect("a message") / 8;
        println!(
            "the message began {first} ms after the beep, {} ms of sound",
            Taped::loud_ms(after)
        );
        assert!(Taped::loud_ms(after) > 500, "{} ms", Taped::loud_ms(after));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_greeting_that_paused_like_a_person_gets_the_message_too() {
        let mut greeting_with_pause = greeting(&["hours"]);
        let beep = greeting_with_pause.split_off(greeting_with_pause.len() - 4_000);
        greeting_with_pause.resize(greeting_with_pause.len() + 12_000, 0);
        greeting_with_pause.extend(beep);
        let (_, record, turns) = called(VoicemailAction::LeaveMessage, greeting_with_pause).await;
        assert_eq!(record.answered_by, Some(AnsweredBy::Voicemail));
        assert_eq!(record.end_reason, Some(EndReason::Voicemail));
        let said: Vec<&str> = turns.iter().map(|turn| turn.content.reveal().as_str()).collect();
        assert_eq!(said.last(), Some(&MESSAGE));
        assert_eq!(said.len(), 2, "the agent had begun to greet: {said:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_machine_is_hung_up_on_without_a_word() {
        let (taped, record, turns) = called(VoicemailAction::Hangup, greeting(LONG)).await;
        assert_eq!(record.answered_by, Some(AnsweredBy::Voicemail));
        assert_eq!(record.end_reason, Some(EndReason::Voicemail));
        assert!(turns.is_empty(), "{turns:?}");
        assert_eq!(Taped::loud_ms(&taped.samples), 0);
    }
}
