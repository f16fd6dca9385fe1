//! A call between two servers on loopback, placed, steered and ended over HTTP.

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::bench::{Bench, bench, request, within};

/// Entries of a call's stream, as they come.
struct Watch {
    body: BodyDataStream,
    text: String,
}

impl Watch {
    async fn of(bench: &Bench, path: &str) -> Self {
        let request = request("GET", path).body(Body::empty()).unwrap();
        let response = bench.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let data = block.lines().find_map(|line| line.strip_prefix("data: "));
                let data = data.map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                if data.is_some() {
                    return data;
                }
                continue;
            }
            let chunk = within(self.body.next()).await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        while let Some(entry) = self.next().await {
            if wanted(&entry) {
                return entry;
            }
            seen.push(entry);
        }
        panic!("the stream ended after {seen:#?}");
    }

    async fn status(&mut self, status: &str) {
        self.until(|entry| entry["type"] == "status_changed" && entry["data"]["status"] == status)
            .await;
    }
}

async fn dial(bench: &Bench, to: &str) -> (String, Value) {
    let body = json!({"to_number": to, "trunk_id": "local", "metadata": {"order": 42}});
    let answer = bench.post("/v1/calls", body.to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.json());
    let call = answer.json();
    assert_eq!(answer.header("location"), format!("/v1/calls/{}", call["id"].as_str().unwrap()));
    (answer.header("location").to_owned(), call)
}

/// The first call of a list, once there is one: the store is a moment behind the events.
async fn listed(bench: &Bench, query: &str) -> Value {
    within(async {
        loop {
            let page = bench.get(&format!("/v1/calls?{query}")).await.json();
            if page["total"] != 0 {
                return page["items"][0].clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn command(bench: &Bench, path: &str, body: Value) -> String {
    let answer = bench.post(path, body.to_string()).await;
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.json());
    let reply = answer.json();
    assert_eq!(reply["success"], true);
    reply["command_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_from_the_request_to_the_recording() {
    let (here, there) = (bench().await, bench().await);
    let (path, queued) = dial(&here, &format!("sip:reception@127.0.0.1:{}", there.sip_port)).await;
    assert_eq!((&queued["status"], &queued["direction"]), (&json!("queued"), &json!("outbound")));
    // No 404 in the moment before the record reaches the store.
    assert_eq!(here.get(&path).await.json()["metadata"], json!({"order": 42}));
    let mut watch = Watch::of(&here, &format!("{path}/stream")).await;
    watch.status("in_progress").await;

    let live = listed(&here, "status=ongoing").await;
    assert_eq!(live["id"], queued["id"]);
    assert_eq!(here.get(&path).await.json()["status"], "in_progress");
    assert_eq!(here.get("/v1/status").await.json()["active_calls"], 1);
    let inbound = listed(&there, "direction=inbound").await;
    let other = format!("/v1/calls/{}", inbound["id"].as_str().unwrap());
    let mut heard = Watch::of(&there, &format!("{other}/stream")).await;

    for (kind, body) in [
        ("say", json!({"content": "Hello there."})),
        ("inject-context", json!({"content": "The caller is a gold member."})),
        ("interrupt", json!({})),
        ("mute", json!({"target": "agent"})),
        ("unmute", json!({"target": "agent"})),
        ("dtmf", json!({"digits": "4#"})),
        ("set-variables", json!({"variables": {"plan": "gold", "seats": 4}})),
        ("recording", json!({"action": "pause"})),
        ("recording", json!({"action": "resume"})),
        // Faster than the offers of the first can be answered.
        ("hold", json!({})),
        ("resume", json!({})),
    ] {
        let own = command(&here, &format!("{path}/{kind}"), body.clone()).await;
        let mut typed = body;
        typed["type"] = json!(kind);
        let common = command(&here, &format!("{path}/control"), typed).await;
        for id in [own, common] {
            let applied = watch.until(|entry| entry["data"]["command_id"] == *id).await;
            assert_eq!(applied["data"]["command"], kind);
        }
    }
    let digits: Vec<_> = {
        let mut digits = Vec::new();
        while digits.len() < 4 {
            let entry = heard.until(|entry| entry["type"] == "dtmf_received").await;
            digits.push(entry["data"]["digit"].as_str().unwrap().to_owned());
        }
        digits
    };
    assert_eq!(digits, ["4", "#", "4", "#"]);
    // The digits went out after the recording began, and its name is in the store by now.
    let recording = here.get(&format!("{path}/recording")).await;
    assert_eq!(recording.error(), (409, "recording_in_progress".into(), None));

    let transfer = json!({"destination": "+15550123", "message": "One moment."});
    command(&here, &format!("{path}/transfer"), transfer.clone()).await;
    let again = here.post(&format!("{path}/transfer"), transfer.to_string()).await;
    assert_eq!(again.error(), (409, "transfer_pending".into(), None));

    command(&here, &format!("{path}/end"), json!({})).await;
    watch.status("completed").await;
    assert!(watch.next().await.is_none());
    heard.status("completed").await;

    let over = here.get(&format!("{path}?include=transcript,events")).await.json();
    assert_eq!(
        (&over["status"], &over["end_reason"], &over["outcome"]),
        (&json!("completed"), &json!("api_hangup"), &json!("completed"))
    );
    assert!(over["recording_url"].as_str().unwrap().starts_with("/v1/recordings/"));
    let wav = here.get(&format!("{path}/recording")).await;
    assert_eq!((wav.status.as_u16(), &wav.body[..4]), (200, b"RIFF".as_slice()));
    let late = here.post(&format!("{path}/say"), json!({"content": "a"}).to_string()).await;
    assert_eq!(late.error(), (409, "call_not_active".into(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_nobody_answers_can_only_be_ended() {
    let here = bench().await;
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let (path, _) = dial(&here, &format!("sip:nobody@127.0.0.1:{port}")).await;
    let mut watch = Watch::of(&here, &format!("{path}/stream")).await;
    watch.status("initiated").await;
    let say = here.post(&format!("{path}/say"), json!({"content": "a"}).to_string()).await;
    assert_eq!(say.error(), (409, "call_not_active".into(), None));
    command(&here, &format!("{path}/end-call"), json!({})).await;
    watch.status("canceled").await;
    assert!(watch.next().await.is_none());
    let over = here.get(&path).await.json();
    assert_eq!(
        (&over["end_reason"], &over["billed_duration_seconds"]),
        (&json!("canceled"), &json!(0))
    );
}
