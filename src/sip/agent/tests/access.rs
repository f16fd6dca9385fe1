//! Whose an INVITE is: by source, by digest, by the Contact that we registered.

use super::super::super::config::Listener;
use super::super::super::digest::{Client, Protected};
use super::super::super::msg::{Message, Method};
use super::*;

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials { username: username.to_owned(), password: Secret::new(password) }
}

fn trunk(name: &str, networks: &[&str], digest: Option<Credentials>) -> TrunkAccess {
    let networks = networks.iter().map(|one| one.parse().unwrap()).collect();
    TrunkAccess { digest, ..TrunkAccess::by_address(TrunkName(name.to_owned()), networks) }
}

fn bench(trunks: Vec<TrunkAccess>) -> Bench {
    Bench::with(Config { trunks, ..config() })
}

fn digest_bench() -> Bench {
    bench(vec![trunk("roaming", &[], Some(credentials("alice", "secret")))])
}

fn invite(branch: &str, head: &str) -> String {
    request("INVITE", branch, 1, TO, head, OFFER).replace("call-1", &format!("call-{branch}"))
}

/// The Authorization line that answers a challenge, for one of the two hashes.
fn answer(challenged: &Sent, who: &Credentials, algorithm: &str) -> String {
    let line = format!("algorithm={algorithm}");
    let all = challenged.all("WWW-Authenticate");
    let one = all.iter().find(|value| value.contains(&line)).unwrap();
    let text = format!(
        "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nWWW-Authenticate: {one}\r\nContent-Length: 0\r\n\r\n"
    );
    let Ok(Message::Response(response)) = crate::sip::wire::parse(&Bytes::from(text)) else {
        panic!("a response")
    };
    let mut client = Client::new(who.clone());
    client.challenged(&response).unwrap();
    let protected =
        Protected { method: &Method::Invite, uri: "sip:1000@192.0.2.1", body: OFFER.as_bytes() };
    let (_, value) = client.authorize(protected, &mut Entropy::seeded(5)).unwrap();
    format!("Authorization: {value}\r\n")
}

/// Lets a stranger be challenged; gives the 401.
fn challenged(bench: &mut Bench, branch: &str) -> Sent {
    bench.receive(&invite(branch, ""));
    bench.last().clone()
}

#[test]
fn a_caller_with_the_password_is_let_in_by_either_hash() {
    let who = credentials("alice", "secret");
    for algorithm in ["SHA-256", "MD5"] {
        let mut bench = digest_bench();
        let asked = challenged(&mut bench, "a");
        assert_eq!(asked.start(), "401 Unauthorized");
        let all = asked.all("WWW-Authenticate");
        assert!(all[0].contains("SHA-256") && all[1].contains("MD5"), "{all:?}");
        assert!(asked.header("Server").is_none(), "strangers learn nothing");
        // The ACK of the refusal is expected and not counted.
        bench.receive(
            &request("ACK", "a", 1, &asked.header("To").unwrap(), "", "")
                .replace("call-1", "call-a"),
        );
        assert!(bench.counted.is_empty(), "{:?}", bench.counted);
        bench.receive(&invite("b", &answer(&asked, &who, algorithm)));
        let Some(Event::Incoming { facts, .. }) = bench.events.last() else { panic!("no call") };
        assert_eq!(facts.trunk, Some(TrunkName("roaming".to_owned())));
    }
}

#[test]
fn an_answer_that_came_before_is_stale() {
    let mut bench = digest_bench();
    let asked = challenged(&mut bench, "a");
    let line = answer(&asked, &credentials("alice", "secret"), "MD5");
    bench.receive(&invite("b", &line));
    assert_eq!(bench.names(), ["Incoming"]);
    bench.receive(&invite("c", &line));
    assert_eq!(bench.names(), ["Incoming"], "a replay makes no call");
    let again = bench.last().clone();
    assert!(again.all("WWW-Authenticate").iter().all(|value| value.contains("stale=true")));
    assert_eq!(bench.counted, ["digest_stale"]);
    // The nonce may serve again with a higher count.
    bench.receive(&invite("d", &answer(&again, &credentials("alice", "secret"), "MD5")));
    assert_eq!(bench.names(), ["Incoming", "Incoming"]);
}

#[test]
fn a_nonce_serves_for_a_minute_and_only_ours() {
    let mut bench = digest_bench();
    let who = credentials("alice", "secret");
    let asked = challenged(&mut bench, "a");
    bench.pass(Duration::from_secs(61));
    bench.receive(&invite("b", &answer(&asked, &who, "SHA-256")));
    assert!(bench.last().all("WWW-Authenticate")[0].contains("stale=true"));
    let mut forged = asked.clone();
    let nonce = asked.all("WWW-Authenticate")[0].split("nonce=\"").nth(1).unwrap()[..64].to_owned();
    forged.text = forged.text.replace(&nonce, &"0".repeat(64));
    bench.receive(&invite("c", &answer(&forged, &who, "SHA-256")));
    assert!(!bench.last().all("WWW-Authenticate")[0].contains("stale"));
    assert!(bench.names().is_empty());
}

#[test]
fn a_wrong_password_and_an_unknown_name_get_the_same() {
    let mut answers = Vec::new();
    for who in [credentials("alice", "wrong"), credentials("mallory", "secret")] {
        let mut bench = digest_bench();
        let asked = challenged(&mut bench, "a");
        bench.receive(&invite("b", &answer(&asked, &who, "SHA-256")));
        assert!(bench.names().is_empty());
        assert_eq!(bench.counted, ["digest_wrong"]);
        answers.push(bench.last().text.clone());
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn cancel_and_ack_are_never_challenged() {
    let mut bench = digest_bench();
    challenged(&mut bench, "a");
    bench.receive(&request("CANCEL", "a", 1, TO, "", ""));
    assert_eq!(bench.last().start(), "481 Call/Transaction Does Not Exist");
    let count = bench.sent.len();
    bench.receive(&request("ACK", "zz", 1, TO, "", ""));
    assert_eq!(bench.sent.len(), count);
}

#[test]
fn networks_and_passwords_combine() {
    let who = Some(credentials("alice", "secret"));
    // Both: the right address alone is challenged, another is unknown.
    let mut both = bench(vec![trunk("both", &["192.0.2.0/24"], who.clone())]);
    assert_eq!(challenged(&mut both, "a").start(), "401 Unauthorized");
    let mut elsewhere = bench(vec![trunk("both", &["198.51.100.0/24"], who.clone())]);
    assert_eq!(challenged(&mut elsewhere, "a").start(), "403 Forbidden");
    // An address that is enough for one trunk is not asked for the password of another.
    let mut first = bench(vec![trunk("asks", &[], who), trunk("known", &["192.0.2.0/24"], None)]);
    challenged(&mut first, "a");
    let Some(Event::Incoming { facts, .. }) = first.events.last() else { panic!("no call") };
    assert_eq!(facts.trunk, Some(TrunkName("known".to_owned())));
}

#[test]
fn a_call_to_the_registered_contact_is_its_trunks() {
    let registered =
        TrunkAccess { contact: Some("tl0123".to_owned()), ..trunk("registered", &[], None) };
    let mut bench = bench(vec![registered]);
    bench.receive(&invite("a", "").replace("INVITE sip:1000@", "INVITE sip:tl0123@"));
    let Some(Event::Incoming { facts, .. }) = bench.events.last() else { panic!("no call") };
    assert_eq!(facts.trunk, Some(TrunkName("registered".to_owned())));
    assert_eq!(facts.request_user.reveal(), "", "our own word is not whom the caller called");
    assert_eq!(facts.to_user.reveal(), "1000");
    bench.receive(&invite("b", "").replace("INVITE sip:1000@", "INVITE sip:tl9999@"));
    assert_eq!(bench.last().start(), "403 Forbidden");
}

#[test]
fn each_listener_has_its_own_address_for_others() {
    let listener = |local: &str, advertised: &str| Listener {
        transport: Transport::Udp,
        local: local.parse().unwrap(),
        advertised: (!advertised.is_empty()).then(|| advertised.to_owned()),
        internal: None,
    };
    let listeners = vec![
        listener("192.0.2.1:5060", "203.0.113.1:5060"),
        listener("192.0.2.9:5060", "203.0.113.9:5060"),
        listener("[2001:db8::1]:5060", ""),
    ];
    for (local, remote, contact) in [
        ("192.0.2.1:5060", "192.0.2.2:5060", "203.0.113.1:5060"),
        ("192.0.2.9:5060", "192.0.2.2:5060", "203.0.113.9:5060"),
        ("[2001:db8::1]:5060", "[2001:db8::2]:5060", "[2001:db8::1]:5060"),
        // A peer of our own network sees our own address.
        ("192.0.2.9:5060", "192.0.2.77:5060", "192.0.2.9:5060"),
    ] {
        let trunks = vec![trunk("all", &["192.0.2.0/24", "2001:db8::/32"], None)];
        let mut bench = Bench::with(Config {
            listeners: listeners.clone(),
            local_networks: vec!["192.0.2.77".parse().unwrap()],
            advertised_udp: None,
            trunks,
            ..config()
        });
        bench.flow = Flow::new(Transport::Udp, local.parse().unwrap(), remote.parse().unwrap());
        bench.receive(&request("OPTIONS", "o", 1, TO, "", ""));
        assert_eq!(bench.last().header("Contact").unwrap(), format!("<sip:{contact}>"));
    }
}
