//! Tenants, keys, limits, idempotency, cursors, links and erasure, as clients meet them.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::bench::{Answer, Bench, bench, call, ended, id};
use crate::net::clock;
use crate::types::call::{RecordingInfo, RecordingStatus};
use crate::types::*;

impl Bench {
    /// A request with another key than the environment's.
    pub(super) async fn with_key(&self, key: &str, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-api-key", key)
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn call_method(&self, method: &str, path: &str, body: &str) -> Answer {
        self.with_key(super::bench::KEY, method, path, body).await
    }

    /// A key with these scopes.
    pub(super) async fn key(&self, scopes: &[&str]) -> String {
        let body = json!({"name": "test", "scopes": scopes}).to_string();
        self.post("/v1/api-keys", body).await.json()["key"].as_str().unwrap().to_owned()
    }

    /// Another organization: its id and its first key.
    pub(super) async fn tenant(&self) -> (String, String) {
        let made = self.post("/v1/organizations", json!({"name": "Second"}).to_string()).await;
        assert_eq!(made.status, 201);
        let made = made.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made["organization"]["id"]), text(&made["api_key"]["key"]))
    }
}

// covers: S4-35 S4-58
#[tokio::test]
async fn a_tenant_sees_its_own_and_nothing_else() {
    let bench = bench().await;
    let (tenant, key) = bench.tenant().await;
    bench.put(ended(0, EndReason::UserHangup)).await;
    let mut theirs = call(1);
    theirs.organization_id = OrganizationId::new(tenant.clone());
    bench.put(theirs).await;
    let ours = bench.get("/v1/calls").await.json();
    assert_eq!((&ours["total"], &ours["items"][0]["id"]), (&json!(1), &json!(id(0).to_string())));
    let list = bench.with_key(&key, "GET", "/v1/calls", "").await.json();
    assert_eq!((&list["total"], &list["items"][0]["id"]), (&json!(1), &json!(id(1).to_string())));
    let show = |n| format!("/v1/calls/{}", id(n));
    assert_eq!(bench.with_key(&key, "GET", &show(1), "").await.status, 200);
    assert_eq!(bench.with_key(&key, "GET", &show(0), "").await.code(), "call_not_found");
    assert_eq!(bench.get(&show(1)).await.code(), "call_not_found");
    let mine = bench.with_key(&key, "GET", "/v1/organization", "").await.json();
    assert_eq!((&mine["id"], &mine["name"]), (&json!(tenant), &json!("Second")));
    assert_eq!(mine["counters"]["active_calls"], 1);
    assert_eq!(bench.with_key(&key, "GET", "/v1/status", "").await.json()["active_calls"], 1);
    for method in ["GET", "POST"] {
        let body = json!({"name": "x"}).to_string();
        let refused = bench.with_key(&key, method, "/v1/organizations", &body).await;
        assert_eq!(refused.error(), (403, "not_operator".into(), None), "{method}");
    }
    let all = bench.get("/v1/organizations").await.json();
    assert_eq!(all["total"], 2);
    let keys = bench.with_key(&key, "GET", "/v1/api-keys", "").await.json();
    assert_eq!(keys["total"], 1, "and not the operator's");
}

#[tokio::test]
async fn an_organization_is_changed_by_a_merge_patch() {
    let bench = bench().await;
    let patch = json!({"name": "Ours", "metadata": {"a": 1, "b": 2}, "retention_days": 90,
        "budget": {"monthly_limit_micros": 5_000_000, "currency": "EUR"},
        "default_webhook_secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="});
    let changed = bench.call_method("PATCH", "/v1/organization", &patch.to_string()).await;
    assert_eq!(changed.status, 200);
    assert!(!String::from_utf8(changed.body.clone()).unwrap().contains("whsec_"));
    let patch = json!({"metadata": {"a": null}, "retention_days": null}).to_string();
    let changed = bench.call_method("PATCH", "/v1/organization", &patch).await.json();
    assert_eq!(changed["metadata"], json!({"b": 2}));
    assert_eq!((&changed["name"], &changed["retention_days"]), (&json!("Ours"), &Value::Null));
    assert_eq!(changed["budget"]["monthly_limit_micros"], 5_000_000);
    assert_eq!(changed["has_default_webhook_secret"], true);
    for (patch, param) in [
        (json!({"retention_days": 0}), "retention_days"),
        (json!({"budget": {"currency": "euro"}}), "budget.currency"),
        (json!({"default_webhook_secret": "secret"}), "default_webhook_secret"),
        (json!({"name": ""}), "name"),
        (json!({"owner": 1}), "owner"),
    ] {
        let refused = bench.call_method("PATCH", "/v1/organization", &patch.to_string()).await;
        assert_eq!(refused.error().2.as_deref(), Some(param));
        assert_eq!(refused.status, 422);
    }
}

#[tokio::test]
async fn a_key_has_its_scopes_its_end_and_its_limits() {
    let bench = bench().await;
    let body = json!({"name": "small", "scopes": ["calls:read", "admin"], "rate_limit_rpm": 5,
        "expires_at": "2999-01-01T00:00:00Z"});
    let made = bench.post("/v1/api-keys", body.to_string()).await.json();
    let (key, shown) = (made["key"].as_str().unwrap(), &made["api_key"]);
    assert_eq!(shown["scopes"], json!(["calls:read", "admin"]));
    assert_eq!((&shown["rate_limit_rpm"], &shown["rate_limit_rpd"]), (&json!(5), &Value::Null));
    let more = json!({"name": "more", "scopes": ["control"]}).to_string();
    let refused = bench.with_key(key, "POST", "/v1/api-keys", &more).await;
    assert_eq!(refused.error(), (403, "insufficient_scope".into(), Some("scopes".into())));
    let refused = bench.with_key(key, "POST", "/v1/admin/drain?x=1", "").await;
    assert_eq!(refused.status, 422, "it has that scope");
    let allowed = bench.with_key(key, "GET", "/v1/calls", "").await;
    assert_eq!((allowed.status.as_u16(), allowed.header("x-ratelimit-limit")), (200, "5"));
    assert_eq!(allowed.header("x-ratelimit-remaining"), "2");
    for _ in 0..2 {
        assert_eq!(bench.with_key(key, "GET", "/v1/calls", "").await.status, 200);
    }
    let limited = bench.with_key(key, "GET", "/v1/calls", "").await;
    assert_eq!(limited.error(), (429, "rate_limited".into(), None));
    assert!(limited.header("retry-after").parse::<u64>().unwrap() <= 12);
    assert_eq!(limited.header("x-ratelimit-remaining"), "0");
    assert_eq!(bench.get("/v1/calls").await.status, 200, "another key has its own");
    for (body, param) in [
        (json!({"name": "x", "scopes": ["all"]}), "scopes"),
        (json!({"name": "x", "scopes": []}), "scopes"),
        (json!({"name": "x", "expires_at": "2001-01-01T00:00:00Z"}), "expires_at"),
        (json!({"name": "x", "rate_limit_rpm": 0}), "rate_limit_rpm"),
    ] {
        let refused = bench.post("/v1/api-keys", body.to_string()).await;
        assert_eq!(refused.error(), (422, "invalid_value".into(), Some(param.into())));
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_and_its_streams_end_at_once() {
    use futures_util::StreamExt;
    use tower::ServiceExt;
    let bench = bench().await;
    bench.put(call(0)).await;
    let made = bench.post("/v1/api-keys", json!({"name": "gone"}).to_string()).await.json();
    let (key, key_id) = (made["key"].as_str().unwrap(), made["api_key"]["id"].as_str().unwrap());
    let mut open = Vec::new();
    for path in ["/v1/events".to_owned(), format!("/v1/calls/{}/stream", id(0))] {
        let request = Request::get(path).header("x-api-key", key).body(Body::empty()).unwrap();
        let response = bench.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        open.push(response.into_body().into_data_stream());
    }
    let (_, theirs) = bench.tenant().await;
    let path = format!("/v1/api-keys/{key_id}");
    let missing = bench.with_key(&theirs, "DELETE", &path, "").await;
    assert_eq!(missing.error(), (404, "api_key_not_found".into(), Some("id".into())));
    let revoked = bench.call_method("DELETE", &path, "").await;
    assert_eq!(revoked.status, 200);
    assert!(revoked.json()["revoked_at"].is_string());
    for mut stream in open {
        super::bench::within(async { while stream.next().await.is_some() {} }).await;
    }
    let refused = bench.with_key(key, "GET", "/v1/calls", "").await;
    assert_eq!(refused.error(), (401, "unauthorized".into(), None));
}

#[tokio::test]
async fn lists_go_on_by_cursor_and_refuse_a_forged_one() {
    let bench = bench().await;
    for n in 0..25 {
        bench.put(call(n)).await;
    }
    let first = bench.get("/v1/calls?page_size=10&direction=inbound").await.json();
    assert_eq!((&first["total"], &first["total_exact"]), (&json!(13), &json!(true)));
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = format!("/v1/calls?page_size=10&direction=inbound&cursor={cursor}");
    let second = bench.get(&next).await.json();
    assert_eq!(second["items"].as_array().unwrap().len(), 3);
    assert_eq!((&second["next_cursor"], &second["total"]), (&Value::Null, &json!(13)));
    let flipped: String = cursor
        .chars()
        .rev()
        .enumerate()
        .map(|(n, c)| if n == 3 { if c == 'A' { 'B' } else { 'A' } } else { c })
        .collect();
    let flipped: String = flipped.chars().rev().collect();
    let long = "A".repeat(500);
    for bad in [flipped.as_str(), "x", "", "%00", &long] {
        let path = format!("/v1/calls?page_size=10&direction=inbound&cursor={bad}");
        let answer = bench.get(&path).await;
        if bad.is_empty() {
            assert_eq!(answer.status, 200, "an empty parameter is none");
            continue;
        }
        assert_eq!(answer.error(), (400, "invalid_cursor".into(), Some("cursor".into())), "{bad}");
    }
    for other in ["", "&direction=outbound", "&direction=inbound&sort=started_at"] {
        let answer = bench.get(&format!("/v1/calls?cursor={cursor}{other}")).await;
        assert_eq!(answer.code(), "invalid_cursor", "{other}");
    }
    let (_, theirs) = bench.tenant().await;
    let answer = bench.with_key(&theirs, "GET", &next, "").await;
    assert_eq!(answer.code(), "invalid_cursor", "it is bound to the organization");
    for (query, param) in [
        (format!("page=2&cursor={cursor}&direction=inbound"), "cursor"),
        ("page=5002".to_owned(), "page"),
        ("sort=ended_at".to_owned(), "sort"),
        ("is_test=1".to_owned(), "is_test"),
        ("answered_by=cat".to_owned(), "answered_by"),
        ("batch_id=7".to_owned(), "batch_id"),
        ("min_duration_ms=-1".to_owned(), "min_duration_ms"),
    ] {
        let answer = bench.get(&format!("/v1/calls?{query}")).await;
        assert_eq!(
            answer.error(),
            (400, "invalid_parameter".into(), Some(param.into())),
            "{query}"
        );
    }
    let oldest = bench.get("/v1/calls?sort=started_at&page_size=1").await.json();
    assert_eq!(oldest["items"][0]["id"], id(0).to_string());
}

#[tokio::test]
async fn metadata_is_merged_and_filtered_by() {
    let bench = bench().await;
    bench.put(call(0)).await;
    bench.put(call(1)).await;
    let path = format!("/v1/calls/{}", id(0));
    let body = json!({"metadata": {"ticket": 42, "who": "Ada"}}).to_string();
    let changed = bench.call_method("PATCH", &path, &body).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["metadata"]["ticket"]), (200, &json!(42)));
    let list = bench.get("/v1/calls?metadata.ticket=42&metadata.who=Ada").await.json();
    assert_eq!((&list["total"], &list["items"][0]["id"]), (&json!(1), &json!(id(0).to_string())));
    assert_eq!(bench.get("/v1/calls?metadata.ticket=43").await.json()["total"], 0);
    let body = json!({"metadata": {"who": null}}).to_string();
    let changed = bench.call_method("PATCH", &path, &body).await.json();
    assert_eq!(changed["metadata"], json!({"ticket": 42}));
    let big = json!({"metadata": {"x": "y".repeat(17_000)}}).to_string();
    let refused = bench.call_method("PATCH", &path, &big).await;
    assert_eq!(refused.error(), (422, "invalid_value".into(), Some("metadata".into())));
    let refused = bench.call_method("PATCH", &path, &json!({"status": "busy"}).to_string()).await;
    assert_eq!(refused.error().1, "unknown_field");
}

#[tokio::test]
async fn the_same_request_dials_once() {
    let bench = bench().await;
    let body =
        json!({"to_number": "+15550100", "agent_id": "reception", "trunk_id": "local"}).to_string();
    let send = async |key: &str, body: &str| {
        let request = super::bench::request("POST", "/v1/calls")
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key);
        bench.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let (first, other) = tokio::join!(send("order-1", &body), send("order-1", &body));
    let (first, other) = if first.status == 202 { (first, other) } else { (other, first) };
    assert_eq!(first.status, 202);
    if other.status == 202 {
        assert_eq!(other.body, first.body);
    } else {
        assert_eq!(other.error(), (409, "idempotency_running".into(), None));
        assert_eq!(other.header("retry-after"), "1");
    }
    let again = send("order-1", &body).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, "true"));
    assert_eq!(
        (again.body.clone(), again.header("location")),
        (first.body.clone(), first.header("location"))
    );
    let changed = body.replace("0100", "0101");
    let refused = send("order-1", &changed).await;
    assert_eq!(
        refused.error(),
        (422, "idempotency_mismatch".into(), Some("Idempotency-Key".into()))
    );
    let wrong = json!({"to_number": "nobody"}).to_string();
    assert_eq!(send("order-2", &wrong).await.code(), "invalid_number");
    assert_eq!(send("order-2", &body).await.status, 202, "a refused request did not use it up");
    // The other end is this server too, so there are inbound calls besides.
    let list = bench.get("/v1/calls?direction=outbound").await.json();
    assert_eq!(list["total"], 2);
    let spaced = send("a b", &body).await;
    assert_eq!(spaced.error(), (400, "invalid_parameter".into(), Some("Idempotency-Key".into())));
}

async fn recorded(bench: &Bench) -> String {
    let mut record = ended(0, EndReason::UserHangup);
    let filename = crate::store::recording::Recordings::filename(record.id, record.created_at);
    std::io::Write::write_all(&mut bench.recordings.create(&filename).unwrap(), b"RIFF canary")
        .unwrap();
    record.recording = Some(RecordingInfo {
        status: RecordingStatus::Available,
        filename,
        sample_rate: 8_000,
        channels: 2,
        duration_ms: Some(1),
        bytes: Some(11),
        sha256: Some("ab".into()),
    });
    bench.put(record).await;
    format!("/v1/calls/{}", id(0))
}

// covers: S1-24 E2-06
#[tokio::test]
async fn a_signed_link_needs_no_key_and_ends() {
    let bench = bench().await;
    let path = recorded(&bench).await;
    let shown = bench.get(&path).await.json();
    let url = shown["recording_url"].as_str().unwrap();
    assert_eq!(shown["recording"]["url"], url);
    assert!(shown["recording"]["expires_at"].is_string() && shown["recording"]["sha256"] == "ab");
    let plain =
        async |path: &str| bench.send(Request::get(path).body(Body::empty()).unwrap()).await;
    let file = plain(url).await;
    assert_eq!((file.status.as_u16(), file.body.as_slice()), (200, b"RIFF canary".as_slice()));
    let short = bench.get(&format!("{path}/recording/url?ttl=60")).await.json();
    assert_eq!(plain(short["url"].as_str().unwrap()).await.status, 200);
    for ttl in ["0", "3601", "x"] {
        let refused = bench.get(&format!("{path}/recording/url?ttl={ttl}")).await;
        assert_eq!(refused.error(), (400, "invalid_parameter".into(), Some("ttl".into())));
    }
    let signer = bench.store.signer(|| [0; 32], clock::wall()).await.unwrap();
    let past = |seconds| clock::wall() - jiff::SignedDuration::from_secs(seconds);
    let old = signer.link(id(0), past(3_601), 3_600).unwrap().path;
    assert_eq!(plain(&old).await.error(), (403, "signature_expired".into(), None));
    let fresh = signer.link(id(0), past(3_590), 3_600).unwrap().path;
    assert_eq!(plain(&fresh).await.status, 200);
    for forged in
        [url.replace("exp=1", "exp=2"), url.replace("sig=", "sig=0"), url.replace(".wav", "")]
    {
        assert_eq!(plain(&forged).await.error().1, "signature_invalid", "{forged}");
    }
    let reader = bench.key(&["calls:read"]).await;
    let shown = bench.with_key(&reader, "GET", &path, "").await.json();
    assert_eq!(shown["recording_url"], Value::Null, "not without the scope `media`");
}

#[tokio::test]
async fn a_recording_and_a_call_are_erased() {
    let bench = bench().await;
    let path = recorded(&bench).await;
    let link = bench.get(&path).await.json()["recording_url"].as_str().unwrap().to_owned();
    let recording = format!("{path}/recording");
    assert_eq!(bench.call_method("DELETE", &recording, "").await.status, 204);
    assert_eq!(bench.get(&path).await.json()["recording"]["status"], "deleted");
    assert_eq!(bench.get(&recording).await.code(), "recording_not_found");
    assert_eq!(bench.call_method("DELETE", &recording, "").await.code(), "recording_not_found");
    assert_eq!(bench.get(&link).await.code(), "recording_not_found");
    assert_eq!(bench.recordings.index().unwrap(), Vec::<String>::new());
    assert_eq!(bench.call_method("DELETE", &path, "").await.status, 204);
    assert_eq!(bench.get(&path).await.code(), "call_not_found");
    assert_eq!(bench.call_method("DELETE", &path, "").await.code(), "call_not_found");
    bench.put(call(1)).await;
    let live = bench.call_method("DELETE", &format!("/v1/calls/{}", id(1)), "").await;
    assert_eq!(live.error(), (409, "call_active".into(), Some("id".into())));
}

#[tokio::test]
async fn only_what_is_not_answered_can_be_canceled() {
    let bench = bench().await;
    bench.put(call(0)).await;
    bench.put(ended(1, EndReason::UserHangup)).await;
    let cancel = async |n| bench.post(&format!("/v1/calls/{}/cancel", id(n)), "").await.code();
    assert_eq!(cancel(0).await, "call_answered");
    assert_eq!(cancel(1).await, "call_not_active");
    assert_eq!(cancel(2).await, "call_not_found");
}

#[tokio::test]
async fn latency_over_many_calls() {
    let bench = bench().await;
    for n in 0..3 {
        bench.put(ended(n, EndReason::UserHangup)).await;
        let turn = TurnRecord {
            id: TurnId(1),
            role: TurnRole::Assistant,
            origin: crate::types::call::TurnOrigin::Llm,
            content: "x".to_owned().into(),
            spoken_content: None,
            interrupted: false,
            offset_ms: 0,
            duration_ms: 1,
            confidence: None,
            latency: Some(Breakdown {
                total_perceived_ms: Some(500 + 100 * u32::try_from(n).unwrap()),
                canceled: n == 2,
                ..Breakdown::default()
            }),
            error: None,
            tool: None,
            failovers: Vec::new(),
        };
        bench.store.apply(&[crate::store::Write::Turn(id(n), Box::new(turn))]).await.unwrap();
    }
    let stats = bench.get("/v1/stats/latency?status=completed").await.json();
    assert_eq!(
        (&stats["calls"], &stats["complete"], &stats["turns"]),
        (&json!(3), &json!(true), &json!(2))
    );
    assert_eq!(stats["latency"]["total_perceived_ms"]["max"], 600);
    assert_eq!(bench.get("/v1/stats/latency?direction=outbound").await.json()["turns"], 1);
    assert_eq!(bench.get("/v1/stats/latency?page=1").await.error().1, "unknown_field");
}

#[tokio::test]
async fn what_is_past_its_retention_is_erased() {
    let api = super::bench::api().await;
    let put = async |record: CallRecord| {
        api.store.apply(&[crate::store::Write::Put(Box::new(record))]).await.unwrap();
    };
    for n in 0..450 {
        put(ended(n, EndReason::UserHangup)).await;
    }
    put(call(600)).await;
    let round = async |day: i64| {
        let now = super::bench::at(day * 86_400);
        crate::api::retention::round(&api, now).await.unwrap()
    };
    assert_eq!(round(400).await, (0, 0), "nothing was asked for");
    let doc = json!({"name": "x", "retention_days": 30, "recording_retention_days": 7});
    let organization = crate::store::Resource {
        kind: "organization",
        id: OrganizationId::DEFAULT.to_owned(),
        organization_id: OrganizationId::default(),
        unique_key: None,
        version: 1,
        archived: false,
        created_at: super::bench::at(0),
        updated_at: super::bench::at(0),
        doc,
        sealed: None,
    };
    api.store.insert_resource(&organization).await.unwrap();
    let mut heard = ended(1, EndReason::UserHangup);
    let filename = crate::store::recording::Recordings::filename(heard.id, heard.created_at);
    drop(api.recordings.create(&filename).unwrap());
    heard.recording = Some(RecordingInfo {
        status: RecordingStatus::Available,
        filename,
        sample_rate: 8_000,
        channels: 2,
        duration_ms: None,
        bytes: None,
        sha256: None,
    });
    put(heard).await;
    assert_eq!(round(6).await, (0, 0));
    assert_eq!(round(8).await, (0, 1), "the audio goes first");
    assert_eq!(round(8).await, (0, 0), "once");
    assert_eq!(round(31).await, (450, 0));
    assert!(api.store.get(id(600)).await.unwrap().is_some(), "a live call stays");
}
