//! Kamailio in front, twice, and rtpengine in the media path: whole calls through what others wrote.

use std::net::SocketAddr;

use trunkline::config::{Config, sections};
use trunkline::schema::telephony::{TrunkSrtp, TrunkSrtpKeys};
use trunkline::sip::Transport;
use trunkline::switchboard::trunk::TransportName;
use trunkline::telemetry::metrics::Exporter;
use trunkline::types::{CallRecord, CodecName, TrunkName};

use crate::peers_transfer::{transfer, transferred};
use crate::support::baresip::Baresip;
use crate::support::kamailio::Proxies;
use crate::support::peer::Message;
use crate::support::phone::{
    GREETING, Phone, TONE_HZ, both_ways, command, greeted, it_hangs_up, keys_and_hold, we_hang_up,
};
use crate::support::server::{Server, agent};
use crate::support::{free_port, has_program, sound};

/// What relays the media: nobody, or rtpengine with these profiles towards the server and the telephones.
type Relay = Option<[&'static str; 2]>;

/// Trunk whose calls leave by the proxies.
const PROXIED: &str = "proxied";

/// A hold by the telephone and its end, a hold by the server and its end: method, and whether the telephone's.
const HOLDS: [(&str, bool); 8] = [
    ("INVITE", true),
    ("ACK", true),
    ("INVITE", true),
    ("ACK", true),
    ("INVITE", false),
    ("ACK", false),
    ("INVITE", false),
    ("ACK", false),
];

/// The server behind two proxies, and a telephone on their other side.
struct Scene {
    server: Server,
    proxies: Proxies,
    phone: Baresip,
}

impl Scene {
    async fn set(transport: Transport, relay: Relay) -> Self {
        let ours = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let proxies = match relay {
            None => Proxies::start(ours, transport).await,
            Some(profiles) => Proxies::with_media(ours, transport, profiles).await,
        };
        let secure = relay.map(|[towards_us, _]| towards_us).filter(|p| p.contains("/SAVP"));
        let inside = proxies.inside();
        let server = Server::with(|config| behind(config, ours, inside, transport, secure)).await;
        let phone = Baresip::start(TONE_HZ, Transport::Udp).await;
        Self { server, proxies, phone }
    }

    fn passed(&self, wanted: &[(&str, bool)]) {
        let [edge, core] = self.proxies.passed();
        let wanted: Vec<_> = wanted.iter().map(|(m, out)| ((*m).to_owned(), *out)).collect();
        assert_eq!(edge, wanted, "at the edge");
        assert_eq!(core, wanted, "at the core");
    }
}

fn behind(
    config: &mut Config,
    ours: SocketAddr,
    proxy: SocketAddr,
    transport: Transport,
    secure: Option<&str>,
) {
    GREETING.clone_into(&mut agent(config).turn.greeting.text);
    config.sip.listen_udp = vec![ours];
    config.sip.listen_tcp = vec![ours];
    let name = if transport == Transport::Tcp { TransportName::Tcp } else { TransportName::Udp };
    let proxied = sections::Trunk {
        outbound_proxy: proxy.to_string(),
        transport: name,
        ..sections::Trunk::default()
    };
    config.trunks.insert(PROXIED.to_owned(), proxied);
    for trunk in config.trunks.values_mut() {
        if let Some(profile) = secure {
            let dtls = profile.starts_with("UDP/TLS");
            trunk.srtp = TrunkSrtp::Required;
            trunk.srtp_keys = if dtls { TrunkSrtpKeys::Dtls } else { TrunkSrtpKeys::Sdes };
        }
        trunk.codecs = Some(vec![CodecName::Pcmu]);
    }
}

/// Values of a header that may hold several.
fn values(message: &Message, name: &str) -> Vec<String> {
    let joined = message.headers(name).join(",");
    joined.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// The first message of a kind in the signalling of a call.
async fn message(
    server: &Server,
    record: &CallRecord,
    sent: bool,
    first: &str,
    cseq: &str,
) -> Message {
    let ladder = server.ladder(record.id).await;
    let wanted = |(way, message): &&(bool, Message)| {
        *way == sent && message.first().starts_with(first) && message.header("cseq").ends_with(cseq)
    };
    let found = ladder.iter().find(wanted);
    found.unwrap_or_else(|| panic!("no {first} in {ladder:#?}")).1.clone()
}

/// Media of the other side of a call, as its description says.
fn relayed(scene: &Scene, description: &Message, profile: &str) {
    let ports = &scene.proxies.engine().ports;
    let port = description.media().port();
    assert!(ports.contains(&port), "{port} is none of {ports:?}");
    let line = description.body().lines().find(|l| l.starts_with("m=audio")).expect("audio");
    let profile = profile.split(' ').next().expect("a profile");
    assert!(line.contains(&format!(" {profile} ")), "{line}");
}

/// The telephone calls by the proxies, and everything of its call comes by them.
async fn phone_calls(transport: Transport, relay: Relay) {
    let mut scene = Scene::set(transport, relay).await;
    let Scene { server, proxies, phone } = &mut scene;
    phone.dial(&format!("sip:fromphone@{}", proxies.outside())).await;
    let record = server.call_to("fromphone").await;
    greeted(server, record.id).await;
    keys_and_hold(server, record.id, phone).await;
    let record = it_hangs_up(server, record.id, phone).await;
    both_ways(server, &record, phone).await;
    let begun = [("INVITE", true), ("ACK", true)];
    scene.passed(&[&begun[..], &HOLDS[..], &[("BYE", true)]].concat());
    let invite = message(&scene.server, &record, false, "INVITE", "INVITE").await;
    let ok = message(&scene.server, &record, true, "SIP/2.0 200", "INVITE").await;
    let hops = values(&invite, "record-route");
    assert_eq!(hops.len(), 4, "two proxies with two sockets each: {hops:?}");
    assert_eq!(values(&ok, "record-route"), hops);
    if let Some([profile, _]) = relay {
        relayed(&scene, &invite, profile);
    }
}

/// The server calls by the proxies; the telephone holds and resumes, and the server's BYE finds its way.
async fn phone_is_called(transport: Transport, relay: Relay) {
    let mut scene = Scene::set(transport, relay).await;
    let Scene { server, phone, .. } = &mut scene;
    let uri = format!("sip:phone@{}", phone.sip);
    let trunk = Some(TrunkName(PROXIED.to_owned()));
    let record = server.dial_with(uri, transport, |request| request.trunk = trunk).await;
    server.live(record.id).await;
    greeted(server, record.id).await;
    keys_and_hold(server, record.id, phone).await;
    let record = we_hang_up(server, record.id).await;
    both_ways(server, &record, phone).await;
    let begun = [("INVITE", false), ("ACK", false)];
    scene.passed(&[&begun[..], &HOLDS[..], &[("BYE", false)]].concat());
    let ok = message(&scene.server, &record, false, "SIP/2.0 200", "INVITE").await;
    let bye = message(&scene.server, &record, true, "BYE", "BYE").await;
    let mut hops = values(&ok, "record-route");
    assert_eq!(hops.len(), 4, "two proxies with two sockets each: {hops:?}");
    hops.reverse();
    assert_eq!(values(&bye, "route"), hops, "the nearest first");
    if let Some([profile, _]) = relay {
        relayed(&scene, &ok, profile);
    }
}

async fn both(transport: Transport, relay: Relay) {
    let mut wanted = vec!["baresip", "kamailio"];
    wanted.extend(relay.map(|_| "rtpengine"));
    if wanted.into_iter().all(has_program) {
        tokio::join!(phone_calls(transport, relay), phone_is_called(transport, relay));
    }
}

/// REFER and NOTIFY keep to the route set, and the call that follows comes by the same way with its own media.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_crosses_proxies_and_relay() {
    if !["baresip", "kamailio", "rtpengine"].into_iter().all(has_program) {
        return;
    }
    let mut scene = Scene::set(Transport::Udp, Some(["RTP/AVP", "RTP/AVP"])).await;
    let Scene { server, proxies, phone } = &mut scene;
    phone.dial(&format!("sip:first@{}", proxies.outside())).await;
    let id = server.call_to("first").await.id;
    greeted(server, id).await;
    command(server, id, transfer(format!("sip:second@{}", proxies.outside()))).await;
    transferred(server, id).await;
    let second = server.call_to("second").await.id;
    greeted(server, second).await;
    let second = it_hangs_up(server, second, phone).await;
    let [left, _] = server.recording(&second);
    assert!(sound::tone_ms(&left, f64::from(TONE_HZ), sound::RATE) >= 1_500);
    for (samples, _) in phone.recordings(2).await {
        assert!(sound::loud_ms(&samples) >= 1_500, "the agent greets in both calls");
    }
    for passed in scene.proxies.passed() {
        for step in [("REFER", false), ("NOTIFY", true), ("BYE", false), ("BYE", true)] {
            let found = passed.iter().any(|(m, out)| (m.as_str(), *out) == step);
            assert!(found, "no {step:?} in {passed:?}");
        }
    }
    let invite = message(&scene.server, &second, false, "INVITE", "INVITE").await;
    relayed(&scene, &invite, "RTP/AVP");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxies_name_both_of_their_sockets() {
    both(Transport::Udp, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxies_of_which_ours_takes_tcp() {
    both(Transport::Tcp, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rtpengine_relays_the_media() {
    both(Transport::Udp, Some(["RTP/AVP", "RTP/AVP"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rtpengine_speaks_srtp_with_us_and_rtp_with_the_telephone() {
    both(Transport::Udp, Some(["RTP/SAVP", "RTP/AVP"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rtpengine_gets_keys_by_dtls_from_us() {
    both(Transport::Udp, Some(["UDP/TLS/RTP/SAVP", "RTP/AVP"])).await;
}

/// The relay checks whether it reaches us before it sends anything, in the clear and with keys by DTLS.
#[tokio::test(flavor = "multi_thread")]
async fn rtpengine_checks_whether_it_reaches_us() {
    if !["baresip", "kamailio", "rtpengine"].into_iter().all(has_program) {
        return;
    }
    let keyed = "UDP/TLS/RTP/SAVP ICE=force rtcp-mux-offer";
    for towards_us in ["RTP/AVP ICE=force rtcp-mux-offer", keyed] {
        let before = nominations();
        let profiles = [towards_us, "RTP/AVP ICE=remove rtcp-mux-demux"];
        phone_calls(Transport::Udp, Some(profiles)).await;
        assert!(nominations() > before, "the relay never said where it is");
    }
}

/// Checks in this process by which media went elsewhere.
fn nominations() -> u64 {
    let page = Exporter::install().expect("metrics").render();
    let of = "trunkline_ice_checks_total{outcome=\"nominated\"} ";
    page.lines().find_map(|line| line.strip_prefix(of)?.parse().ok()).unwrap_or(0)
}
