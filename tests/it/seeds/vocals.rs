//! VOCALS: calls and batches.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use trunkline::config::SecretRef;

use super::{Desk, HEARD, OURS, REPLY, THEIRS, text, time};
use crate::support::wait;

/// Headers with which carriers name a call.
const SID: &str = "X-Twilio-CallSid: CA1234567890abcdef\r\n";

// covers: S2-02..S2-13 S2-15..S2-23 S4-50 E2-07 E2-08
#[tokio::test(flavor = "multi_thread")]
async fn the_list_and_a_call_field_by_field() {
    let mut desk = Desk::open().await;
    let (inbound, call) = desk.called(SID).await;
    let busy = desk.refused("486 Busy Here", "").await;
    let gone = desk.refused("404 Not Found", SID).await;
    list(&desk, [text(&gone, "id"), text(&busy, "id"), &inbound.to_string()]).await;
    // Fields of the call that came in.
    assert_eq!(call["id"], inbound.to_string());
    assert_eq!(text(&call, "provider_call_id"), "CA1234567890abcdef");
    assert!(text(&call, "sip_call_id").starts_with(OURS), "{call}");
    assert_eq!((text(&call, "direction"), text(&call, "to_number")), ("inbound", OURS));
    assert_eq!(text(&call, "from_number"), "+15550123");
    assert!(time(&call, "started_at") < time(&call, "ended_at"));
    assert!(call["duration_ms"].as_f64().expect("a duration") / 1_000.0 > 1.0);
    assert_eq!((text(&call, "status"), text(&call, "outcome")), ("completed", "completed"));
    assert_eq!(text(&call, "end_reason"), "user_hangup");
    assert_eq!(call["error_message"], Value::Null);
    assert!(time(&call, "created_at") <= time(&call, "started_at"));
    assert_eq!(text(&call, "agent_name"), "Ada");
    assert_eq!(
        (text(&gone, "outcome"), text(&gone, "error_code")),
        ("invalid_number", "invalid_number")
    );
    assert_eq!(text(&gone, "error_message"), "the number does not exist or is incomplete");
    detail(&desk, &format!("/v1/calls/{inbound}")).await;
    recording(&desk, &inbound.to_string(), text(&busy, "id")).await;
}

/// Pages, order and every filter.
async fn list(desk: &Desk, newest_first: [&str; 3]) {
    let ids = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|row| text(row, "id").to_owned())
            .collect()
    };
    let all = desk.get("/v1/calls").await;
    assert_eq!(ids(&all), newest_first, "by start, newest first");
    assert_eq!(
        (&all["total"], &all["page"], &all["page_size"]),
        (&json!(3), &json!(1), &json!(20))
    );
    let second = desk.get("/v1/calls?page=2&page_size=1").await;
    assert_eq!((ids(&second), &second["total"]), (vec![newest_first[1].to_owned()], &json!(3)));
    assert!(second["next_cursor"].is_string());
    for (wrong, param) in [("page_size=101", "page_size"), ("page=0", "page")] {
        let (status, refused) =
            desk.api.send("GET", &format!("/v1/calls?{wrong}"), Value::Null).await;
        assert_eq!((status, &refused["error"]["param"]), (400, &json!(param)), "not cut down");
    }
    let [gone, busy, inbound] = newest_first;
    for (query, wanted) in [
        ("direction=inbound", vec![inbound]),
        ("direction=outbound", vec![gone, busy]),
        ("status=completed", vec![inbound]),
        ("status=failed", vec![gone]),
        ("status=caller_hangup", vec![inbound]),
        ("status=invalid_number", vec![gone]),
        ("status=voicemail", vec![]),
        ("status=completed&status=busy", vec![busy, inbound]),
        ("search=%2B4930123456", vec![gone, busy]),
        ("search=4930123456", vec![gone, busy]),
        ("search=15550100", vec![gone, busy, inbound]),
        ("search=%2B15550100", vec![gone, busy, inbound]),
        ("search=5550123", vec![inbound]),
        ("search=999999", vec![]),
    ] {
        assert_eq!(ids(&desk.get(&format!("/v1/calls?{query}")).await), wanted, "{query}");
    }
}

/// The transcript and the engines.
async fn detail(desk: &Desk, path: &str) {
    let call = desk.get(&format!("{path}?include=transcript,usage")).await;
    let said: Vec<(&str, &str)> = call["transcript"]
        .as_array()
        .expect("turns")
        .iter()
        .filter(|turn| turn["role"] != "tool")
        .map(|turn| (text(turn, "role"), text(turn, "content")))
        .collect();
    assert_eq!(said, [("assistant", "Hello, this is Ada."), ("user", HEARD), ("assistant", REPLY)]);
    let engine = |stage: &str| {
        let engine = &call["providers"][stage];
        (text(engine, "provider").to_owned(), engine["model"].as_str().map(str::to_owned))
    };
    assert_eq!(engine("stt"), ("ears".to_owned(), Some("nova-2".to_owned())));
    assert_eq!(engine("llm"), ("mind".to_owned(), Some("gpt-4o".to_owned())));
    assert_eq!(engine("tts").0, "mouth");
    let used = |kind: &str, provider: &str| {
        let mut rows = call["usage"].as_array().expect("usage").iter();
        rows.any(|row| {
            row["kind"] == kind
                && row["provider"] == provider
                && row["quantity"].as_f64() > Some(0.0)
        })
    };
    assert!(used("stt", "ears") && used("llm", "mind") && used("tts", "mouth"), "{call}");
}

/// The file by the call, and 404 where there is none.
async fn recording(desk: &Desk, recorded: &str, silent: &str) {
    let call = desk.get(&format!("/v1/calls/{recorded}")).await;
    let name = text(&call["recording"], "filename");
    assert!(name.ends_with(".wav") && name.contains(recorded), "{name}");
    let path = format!("/v1/calls/{recorded}/recording");
    let answer = desk.api.request("GET", &path).send().await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"audio/wav".parse().unwrap())
    );
    let octets = answer.bytes().await.expect("the file");
    assert_eq!(octets.len() as u64, call["recording"]["bytes"].as_u64().expect("a size"));
    assert!(octets.starts_with(b"RIFF"));
    let part = desk
        .api
        .request("GET", &path)
        .header("range", "bytes=0-3")
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (part.status().as_u16(), part.bytes().await.expect("a part").as_ref()),
        (206, &b"RIFF"[..])
    );
    let none = desk.get(&format!("/v1/calls/{silent}")).await;
    assert_eq!((&none["recording"], &none["recording_url"]), (&Value::Null, &Value::Null));
    let (status, _) =
        desk.api.send("GET", &format!("/v1/calls/{silent}/recording"), Value::Null).await;
    assert_eq!(status, 404);
}

// covers: S2-10 S2-25 S2-27..S2-30
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_taken_at_once_and_named_by_the_carrier_later() {
    let mut desk = Desk::open().await;
    let body = desk.order(json!({}));
    let answer = desk.api.request("POST", "/v1/calls").json(&body).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 202);
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    let accepted: Value = answer.json().await.expect("JSON");
    assert_eq!(text(&accepted, "status"), "queued");
    assert_eq!(accepted["call_id"], accepted["id"]);
    assert_eq!(location, format!("/v1/calls/{}", text(&accepted, "id")));
    assert_eq!(
        (&accepted["provider_call_id"], &accepted["sip_call_id"]),
        (&Value::Null, &Value::Null)
    );
    let invite = desk.carrier.request("INVITE").await;
    let named = async |field: &str| {
        wait::until(field, async || {
            let call = desk.get(&location).await;
            call[field].as_str().map(str::to_owned)
        })
        .await
    };
    assert_eq!(named("sip_call_id").await, invite.header("call-id"));
    assert_eq!(desk.get(&location).await["provider_call_id"], Value::Null, "nobody named it yet");
    desk.carrier.answer(&invite, "180 Ringing", SID, "").await;
    let named = wait::until("the carrier's name", async || {
        desk.get(&location).await["provider_call_id"].as_str().map(str::to_owned)
    });
    assert_eq!(named.await, "CA1234567890abcdef");
    desk.carrier.answer(&invite, "486 Busy Here", "", "").await;
    for (body, code) in [
        (json!({"to_number": "12345"}), "invalid_number"),
        (json!({"to_number": "+4"}), "invalid_number"),
        (json!({}), "missing_field"),
    ] {
        let (status, refused) = desk.api.send("POST", "/v1/calls", body).await;
        assert_eq!((status, text(&refused["error"], "code")), (422, code));
        assert_eq!(refused["error"]["param"], "to_number");
    }
    who_calls(&mut desk).await;
}

/// The number that is shown, and the agent that talks, when the request names none.
async fn who_calls(desk: &mut Desk) {
    let (other, _) = desk.api.make("/v1/agents", super::agent(json!({"name": "Other"}))).await;
    let primary =
        json!({"number": "+15550101", "trunk_id": desk.trunk, "outbound_agent_ids": [other]});
    let (primary, _) = desk.api.make("/v1/numbers", primary).await;
    let path = format!("/v1/agents/{other}/primary-number");
    let (status, _) = desk.api.send("PUT", &path, json!({"number_id": primary})).await;
    assert_eq!(status, 200);
    let third = super::agent(json!({"name": "Third"}));
    let (third, _) = desk.api.make("/v1/agents", third).await;
    for (more, from, agent) in [
        (json!({"from_number": OURS, "agent_id": desk.agent}), OURS, desk.agent.clone()),
        (json!({"agent_id": other}), "+15550101", other.clone()),
        (json!({"agent_id": third}), "+15550199", third.clone()),
        (json!({"from_number": OURS}), OURS, desk.agent.clone()),
        (json!({"from_number": "+15550101"}), "+15550101", other.clone()),
    ] {
        let mut body =
            json!({"to_number": THEIRS, "trunk_id": desk.trunk, "context": {"day": "Friday"}});
        super::merge(&mut body, more.clone());
        let dialled = desk.dial(body).await;
        assert!(dialled.invite.header("from").contains(from), "{more}: {}", dialled.invite.text);
        assert_eq!(text(&dialled.accepted, "from_number"), from);
        assert_eq!(dialled.accepted["agent_id"], agent, "{more}");
        desk.carrier.answer(&dialled.invite, "486 Busy Here", "", "").await;
        desk.carrier.request("ACK").await;
    }
}

// covers: S2-01 S2-31..S2-35 E2-09
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_three_with_one_that_is_no_number() {
    let mut desk = Desk::with(|_| {}, json!({"instructions": ""})).await;
    let body = json!({"to_numbers": [THEIRS, "12345", "+4930123457"], "from_number": OURS,
        "agent_id": desk.agent, "trunk_id": desk.trunk, "max_concurrent": 1});
    let (status, accepted) = desk.api.send("POST", "/v1/calls/batch", body).await;
    assert_eq!((status, &accepted["total"], text(&accepted, "status")), (202, &json!(3), "queued"));
    let path = format!("/v1/calls/batch/{}", text(&accepted, "batch_id"));
    let invite = desk.carrier.request("INVITE").await;
    assert!(invite.header("from").contains(OURS));
    desk.carrier.answer(&invite, "180 Ringing", SID, "").await;
    // As their page shows it: one waits, one has left, one failed.
    let batch = wait::until("the batch as their page shows it", async || {
        let batch = desk.get(&path).await;
        (batch["calls"][0]["call_sid"].is_string()).then_some(batch)
    })
    .await;
    assert_eq!(batch["batch_id"], accepted["batch_id"]);
    let flat = ["total", "queued", "initiated", "failed"].map(|field| batch[field].clone());
    assert_eq!(flat, [3, 1, 1, 1].map(|count| json!(count)));
    let item = |at: usize| {
        let item = &batch["calls"][at];
        (
            text(item, "to_number"),
            text(item, "status"),
            item["call_sid"].as_str(),
            item["error"].as_str(),
        )
    };
    assert_eq!(item(0), (THEIRS, "ringing", Some("CA1234567890abcdef"), None));
    assert_eq!(item(1), ("12345", "failed", None, Some("Invalid number")));
    assert_eq!(item(2), ("+4930123457", "queued", None, None));
    desk.carrier.answer(&invite, "486 Busy Here", "", "").await;
    let second = desk.carrier.request("INVITE").await;
    desk.carrier.answer(&second, "404 Not Found", "", "").await;
    let over = wait::until("the end of the batch", async || {
        let batch = desk.get(&path).await;
        (batch["status"] == "completed").then_some(batch)
    })
    .await;
    assert_eq!((&over["counts"]["busy"], &over["counts"]["failed"]), (&json!(1), &json!(2)));
    let error = text(&over["calls"][2], "error");
    assert_eq!(error, "the number does not exist or is incomplete");
    // The same under its own name, with values for each recipient.
    let targets = json!({"targets": [{"to_number": THEIRS, "variables": {"who": "Bob"}, "metadata": {"n": 1}}],
        "from_number": OURS, "agent_id": desk.agent, "trunk_id": desk.trunk});
    let (status, accepted) = desk.api.send("POST", "/v1/batches", targets).await;
    assert_eq!((status, &accepted["total"]), (202, &json!(1)));
    let invite = desk.carrier.request("INVITE").await;
    desk.carrier.answer(&invite, "486 Busy Here", "", "").await;
    let list = format!("/v1/calls?batch_id={}", text(&accepted, "batch_id"));
    let row = wait::until("its call", async || {
        let list = desk.get(&list).await;
        (list["items"][0]["status"] == "busy").then(|| list["items"][0].clone())
    })
    .await;
    let call = desk.get(&format!("/v1/calls/{}", text(&row, "id"))).await;
    assert_eq!((&call["variables"]["who"], &call["metadata"]), (&json!("Bob"), &json!({"n": 1})));
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

// covers: S2-26
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_two_headers_or_a_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("secret");
    std::fs::write(&file, SECRET).expect("a file");
    let server = crate::support::server::Server::with(|config| {
        config.api.jwt_secret = Some(SecretRef::File(file));
    })
    .await;
    let url = format!("http://{}/v1/calls", server.running.api());
    let key = server.running.first_key().expect("the first key").to_owned();
    let token = |organization: &str, scope: &str, secret: &str| {
        let exp = trunkline::net::clock::wall().as_second() + 600;
        let claims = json!({"organization_id": organization, "scope": scope, "exp": exp});
        encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))
            .expect("a token")
    };
    let ours = trunkline::types::OrganizationId::DEFAULT;
    let bearer = |text: &str| ("authorization", format!("Bearer {text}"));
    for (header, status) in [
        (bearer(&key), 200),
        (("x-api-key", key.clone()), 200),
        (bearer(&token(ours, "calls:read", SECRET)), 200),
        (bearer(&token(ours, "media", SECRET)), 403),
        (bearer(&token(ours, "calls:read", &SECRET.replace('0', "1"))), 401),
        (bearer("nonsense"), 401),
        (("x-nothing", String::new()), 401),
    ] {
        let request = reqwest::Client::new().get(&url).header(header.0, &header.1);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{}", header.0);
    }
}
