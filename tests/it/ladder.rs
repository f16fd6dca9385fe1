//! What is kept of a call's signalling: its ladder, as data, as a file that others read, and gone when it is erased.

use std::process::Stdio;

use serde_json::Value;
use trunkline::sip::Transport;
use trunkline::types::CallRecord;

use crate::support::child;
use crate::support::http::Client;
use crate::support::line::Line;
use crate::support::peer::{Caller, Peer, sdp};
use crate::support::server::Server;
use crate::support::{has_program, wait};

/// A call in, by a telephone that sends more than it should.
async fn call_in(server: &Server, transport: Transport, user: &str) -> CallRecord {
    let line = Line::new().await;
    let mut caller = Caller::new(server, transport, user).await;
    caller.extra = "Authorization: Digest username=\"caller\", response=\"c0ffee\"\r\n".to_owned();
    let keyed =
        format!("{}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0\r\n", sdp(line.local));
    caller.invite(&keyed).await;
    let ok = caller.peer.final_to("INVITE").await;
    caller.learn(&ok);
    caller.ack("").await;
    line.connect(ok.media());
    let info = "Content-Type: application/dtmf-relay\r\n";
    assert_eq!(caller.ask("INFO", info, "Signal=7\r\nDuration=160\r\n").await.status(), 200);
    caller.hang_up().await;
    server.ended_to(user).await
}

async fn ladder(client: &Client, id: &str) -> Value {
    let (status, body) = client.send("GET", &format!("/v1/calls/{id}/sip"), Value::Null).await;
    assert_eq!(status, 200, "{body}");
    body
}

fn steps(ladder: &Value) -> Vec<String> {
    let items = ladder["items"].as_array().expect("items");
    let step = |item: &Value| {
        let way = if item["direction"] == "sent" { ">" } else { "<" };
        let method = item["method"].as_str().expect("a method");
        match item["status"].as_u64() {
            Some(status) => format!("{way}{status} {method}"),
            None => format!("{way}{method}"),
        }
    };
    items.iter().map(step).collect()
}

/// The ladder once it is out of memory and in the store.
async fn stored(server: &Server, client: &Client, id: &str) -> Value {
    let database = server.dir.path().join("trunkline.db");
    let store = trunkline::store::Store::open(&database).await.expect("a reader");
    let call = id.parse().expect("an id");
    wait::until("the stored ladder", async || store.ladder(call).await.expect("the store")).await;
    ladder(client, id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_keeps_its_messages_without_its_secrets() {
    let server = Server::start().await;
    let client = Client::new(&server);
    for (transport, word) in [(Transport::Udp, "udp"), (Transport::Tcp, "tcp")] {
        let record = call_in(&server, transport, &format!("kept{word}")).await;
        let id = record.id.to_string();
        let found = stored(&server, &client, &id).await;
        let steps = steps(&found);
        let wanted = [
            "<INVITE",
            ">100 INVITE",
            ">180 INVITE",
            ">200 INVITE",
            "<ACK",
            "<INFO",
            ">200 INFO",
            "<BYE",
            ">200 BYE",
        ];
        let mut rest = steps.iter();
        for step in wanted {
            assert!(rest.any(|found| found == step), "{step} in its place in {steps:?}");
        }
        let text = found.to_string();
        assert!(!text.contains("c0ffee") && !text.contains("c2VjcmV0"), "{text}");
        assert!(!text.contains("15550123") && text.contains("sip:+xxxxx123@"), "{text}");
        assert!(text.contains("Signal=x") && !text.contains("Signal=7"), "{text}");
        let items = found["items"].as_array().expect("items");
        assert!(items.iter().all(|item| item["transport"] == word), "{text}");
        let offsets: Vec<u64> = items.iter().map(|i| i["offset_ms"].as_u64().unwrap()).collect();
        assert!(offsets.is_sorted() && offsets[0] == 0, "{offsets:?}");
        // Erased, it is gone from the store as well.
        let (status, _) = client.send("DELETE", &format!("/v1/calls/{id}"), Value::Null).await;
        assert_eq!(status, 204);
        let (status, _) = client.send("GET", &format!("/v1/calls/{id}/sip"), Value::Null).await;
        assert_eq!(status, 404);
        let database = server.dir.path().join("trunkline.db");
        let left = std::fs::read(&database).expect("the file");
        let needle = format!("{}-", record.to_number.reveal());
        assert!(!left.windows(needle.len()).any(|w| w == needle.as_bytes()), "octets are left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_out_and_a_refused_one_have_ladders_and_a_stranger_has_none() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let mut peer = Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
    let record = server.dial(format!("sip:bob@{}", peer.local), Transport::Udp).await;
    let invite = peer.request("INVITE").await;
    // While it rings it can be looked at.
    let live = ladder(&client, &record.id.to_string()).await;
    assert_eq!(steps(&live)[0], ">INVITE");
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=MD5\r\n";
    peer.answer(&invite, "401 Unauthorized", challenge, "").await;
    let again = peer.find(|m| !m.header("authorization").is_empty()).await;
    let proof = again.header("authorization").split_once("response=\"").expect("a proof").1;
    let proof = proof.split('"').next().expect("its end").to_owned();
    peer.answer(&again, "486 Busy Here", "", "").await;
    server.ended(record.id).await;
    let found = stored(&server, &client, &record.id.to_string()).await;
    let text = found.to_string();
    assert!(steps(&found).iter().any(|step| step == "<486 INVITE"), "{text}");
    assert!(text.contains("nonce=") && !text.contains(&proof), "{text}");
    // A scan leaves nothing: neither a call nor messages.
    peer.probe("nothing").await;
    assert_eq!(server.calls().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ladder_is_a_capture_file_and_a_picture() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let dir = tempfile::tempdir().expect("a directory");
    for transport in [Transport::Udp, Transport::Tcp] {
        let record = call_in(&server, transport, &format!("drawn{transport:?}")).await;
        let id = record.id.to_string();
        let asked = client.request("GET", &format!("/v1/calls/{id}/sip"));
        let answer = asked.header("accept", "application/vnd.tcpdump.pcap").send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/vnd.tcpdump.pcap");
        let path = dir.path().join(format!("{id}.pcap"));
        std::fs::write(&path, answer.bytes().await.unwrap()).expect("a file");
        let api = format!("http://{}", server.running.api());
        let key = server.running.first_key().expect("a key");
        let ran = child::run(&["calls", "show", &id, "--api", &api, "--api-key", key], &[]).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains("INVITE SDP") && ran.out.contains("200 OK (BYE)"), "{}", ran.out);
        if has_program("tshark") {
            let mut tshark = tokio::process::Command::new("tshark");
            tshark.arg("-r").arg(&path).args(["-o", "ip.check_checksum:TRUE"]);
            tshark.args(["-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"]);
            tshark.args(["-d", "udp.port==1-65535,sip", "-d", "tcp.port==1-65535,sip"]);
            tshark.args(["-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"]);
            tshark.args(["-e", "_ws.expert.message"]).stdin(Stdio::null());
            let output = wait::limit("tshark", tshark.output()).await.expect("tshark runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let first: Vec<&str> = text.lines().map(|l| l.trim_end()).collect();
            assert!(first[0].starts_with("INVITE"), "{text}");
            assert!(first.iter().any(|line| line.trim().starts_with("200")), "{text}");
            assert!(first.iter().any(|line| line.starts_with("BYE")), "{text}");
            assert!(!text.to_lowercase().contains("checksum"), "{text}");
        }
    }
    let (status, _) = client
        .send("GET", "/v1/calls/0198c9a2-7f4e-7b1c-9d3e-2f5a6b7c8d9e/sip?format=pcap", Value::Null)
        .await;
    assert_eq!(status, 404);
}
