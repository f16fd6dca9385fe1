//! Lists by cursor: every row once, whatever comes or goes meanwhile.

use serde_json::{Value, json};

use super::bench::{Bench, bench};

fn key(row: &Value) -> String {
    let names = ["phone_number", "id"];
    names.iter().find_map(|name| row[name].as_str()).expect("a row has a name").to_owned()
}

/// Rows of a page, and the path of the next.
async fn page(bench: &Bench, list: &str, path: &str) -> (Vec<String>, Option<String>) {
    let answer = bench.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.json());
    let page = answer.json();
    let rows = page["items"].as_array().unwrap().iter().map(key).collect();
    let next = page["next_cursor"].as_str().map(|cursor| {
        let sign = if list.contains('?') { '&' } else { '?' };
        format!("{list}{sign}page_size=2&cursor={cursor}")
    });
    (rows, next)
}

/// Makes five rows with `make`, and reads them in twos while a sixth arrives.
async fn walk(bench: &Bench, list: &str, newest_first: bool, make: impl AsyncFn(usize)) {
    for n in 0..5 {
        make(n).await;
    }
    let (whole, more) = page(bench, list, list).await;
    assert_eq!((whole.len(), more), (5, None), "{list}");
    let sign = if list.contains('?') { '&' } else { '?' };
    let (mut seen, mut next) = page(bench, list, &format!("{list}{sign}page_size=2")).await;
    make(5).await;
    while let Some(path) = next {
        let (rows, more) = page(bench, list, &path).await;
        seen.extend(rows);
        next = more;
    }
    if newest_first {
        assert_eq!(seen, whole, "{list}: what arrives is before the first page");
    } else {
        assert_eq!(seen.len(), 6, "{list}: what arrives is after the last page");
        assert_eq!(seen[..5], whole, "{list}");
    }
}

async fn made(bench: &Bench, path: &str, body: Value) -> Value {
    let answer = bench.post(path, body.to_string()).await;
    assert!(answer.status.is_success(), "{path}: {:?}", answer.json());
    answer.json()
}

#[tokio::test]
async fn orders_batches_campaigns_and_leads_go_on_by_cursor() {
    let bench = bench().await;
    let later = json!("2099-01-01T00:00:00Z");
    walk(&bench, "/v1/call-orders?status=scheduled", true, async |n| {
        let to = format!("+4930123450{n}");
        let body = json!({"to_number": to, "trunk_id": "local", "scheduled_at": later});
        made(&bench, "/v1/call-orders", body).await;
    })
    .await;
    walk(&bench, "/v1/batches", true, async |_| {
        let to = json!(["+49301234560"]);
        let body = json!({"to_numbers": to, "trunk_id": "local", "scheduled_at": later});
        made(&bench, "/v1/batches", body).await;
    })
    .await;
    walk(&bench, "/v1/campaigns", true, async |n| {
        made(&bench, "/v1/campaigns", json!({"name": format!("campaign {n}")})).await;
    })
    .await;
    let campaign = made(&bench, "/v1/campaigns", json!({"name": "leads"})).await;
    let leads = format!("/v1/campaigns/{}/leads", key(&campaign));
    walk(&bench, &leads, false, async |n| {
        let body = json!({"phone_number": format!("+4930123470{n}")});
        made(&bench, &leads, body).await;
    })
    .await;
    // A cursor of one list leads nowhere in another.
    let (_, next) = page(&bench, "/v1/batches", "/v1/batches?page_size=2").await;
    let cursor = next.unwrap().split_once("cursor=").unwrap().1.to_owned();
    for list in ["/v1/campaigns", "/v1/call-orders", "/v1/calls", &leads] {
        let answer = bench.get(&format!("{list}?cursor={cursor}")).await;
        assert_eq!(answer.error(), (400, "invalid_cursor".into(), Some("cursor".into())), "{list}");
    }
}

#[tokio::test]
async fn numbers_of_one_moment_go_on_by_cursor() {
    let bench = bench().await;
    let all: Vec<String> = (0..5).map(|n| format!("+4930123480{n}")).collect();
    let older = json!({"phone_numbers": ["+49301234899"]});
    made(&bench, "/v1/do-not-call", older).await;
    made(&bench, "/v1/do-not-call", json!({ "phone_numbers": all })).await;
    let list = "/v1/do-not-call";
    let (mut seen, mut next) = page(&bench, list, "/v1/do-not-call?page_size=2").await;
    // The row that the cursor stands on goes away.
    assert_eq!(bench.delete("/v1/do-not-call?phone_number=%2B49301234801").await.status, 204);
    while let Some(path) = next {
        let (rows, more) = page(&bench, list, &path).await;
        seen.extend(rows);
        next = more;
    }
    assert_eq!(seen.pop().as_deref(), Some("+49301234899"));
    assert_eq!(seen, all);
}

#[tokio::test]
async fn resources_go_on_by_cursor_also_when_a_row_is_gone() {
    let bench = bench().await;
    walk(&bench, "/v1/tool-templates", true, async |n| {
        let tool = json!({"type": "end_call", "name": format!("end_{n}")});
        made(&bench, "/v1/tool-templates", json!({"tool": tool})).await;
    })
    .await;
    let list = "/v1/tool-templates";
    let (rows, next) = page(&bench, list, "/v1/tool-templates?page_size=2").await;
    assert_eq!(bench.delete(&format!("{list}/{}", rows[1])).await.status, 204);
    let (after, _) = page(&bench, list, &next.unwrap()).await;
    let (left, _) = page(&bench, list, list).await;
    assert_eq!(after, left[1..3]);
    walk(&bench, "/v1/webhook-endpoints", true, async |n| {
        let url = format!("https://hooks.example/{n}");
        made(&bench, "/v1/webhook-endpoints", json!({"url": url})).await;
    })
    .await;
    let (voices, next) = page(&bench, "/v1/voices", "/v1/voices?page_size=1").await;
    if let Some(next) = next {
        assert_ne!(page(&bench, "/v1/voices", &next).await.0, voices);
    }
}

#[tokio::test]
async fn versions_of_an_agent_go_on_by_cursor() {
    let bench = bench().await;
    let body = json!({"name": "Desk", "llm": {"provider": "script"}});
    let agent = made(&bench, "/v1/agents", body).await;
    let path = format!("/v1/agents/{}", key(&agent));
    for n in 0..4 {
        let answer = bench.patch(&path, json!({"name": format!("Desk {n}")}).to_string()).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
    }
    let mut seen = Vec::new();
    let mut next = Some(format!("{path}/versions?page_size=2"));
    while let Some(at) = next {
        let page = bench.get(&at).await.json();
        let versions = page["items"].as_array().unwrap().iter();
        seen.extend(versions.map(|item| item["version"].as_u64().unwrap()));
        let cursor = page["next_cursor"].as_str();
        next = cursor.map(|cursor| format!("{path}/versions?page_size=2&cursor={cursor}"));
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
}
