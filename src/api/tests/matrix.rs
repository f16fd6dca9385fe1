//! Every private operation of the document against keys that may not use it: made from the document, so that a
//! route added anywhere is in it.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::bench::{Bench, bench, ended, id};
use crate::api::document;
use crate::types::*;

/// Paths that need no key: probes, scrapers, signed links.
const PUBLIC: &[&str] = &["/healthz", "/readyz", "/metrics", "/v1/recordings/{file}"];

/// Collections of which the bench makes none: their things come from elsewhere.
const WITHOUT_ONE: &[&str] = &[];

struct Operation {
    method: String,
    path: String,
    scope: String,
    body: Option<String>,
    query: String,
}

fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(document()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if !["get", "put", "post", "patch", "delete"].contains(&method.as_str()) {
                continue;
            }
            if PUBLIC.contains(&path.as_str()) {
                assert_eq!(operation["security"], json!([{}]), "{method} {path}");
                continue;
            }
            let security = operation["security"].as_array().expect("a scope").clone();
            let scopes = |scheme: &str| -> Vec<Value> {
                let needs = security.iter().filter_map(|needs| needs.get(scheme));
                needs.flat_map(|scopes| scopes.as_array().unwrap().clone()).collect()
            };
            assert_eq!(scopes("bearer"), scopes("api_key"), "{method} {path}");
            let [scope] = scopes("bearer").try_into().expect("exactly one scope a route");
            let content = &operation["requestBody"]["content"]["application/json"];
            let body = operation.get("requestBody").map(|_| match &content["example"] {
                Value::Null => "{}".to_owned(),
                example => example.to_string(),
            });
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let required = parameters.iter().filter(|parameter| {
                parameter["in"] == "query" && parameter["required"] == json!(true)
            });
            let query: Vec<String> = required
                .map(|parameter| format!("{}=x", parameter["name"].as_str().unwrap()))
                .collect();
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                scope: scope.as_str().unwrap().to_owned(),
                body,
                query: query.join("&"),
            });
        }
    }
    assert!(found.len() > 30, "{}", found.len());
    found
}

async fn send(
    bench: &Bench,
    operation: &Operation,
    path: &str,
    key: Option<&str>,
) -> super::bench::Answer {
    let uri = if operation.query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", operation.query)
    };
    let mut request = Request::builder().method(operation.method.as_str()).uri(uri);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    if operation.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = operation.body.clone().map_or(Body::empty(), Body::from);
    bench.send(request.body(body).unwrap()).await
}

/// A path with something in the place of its names.
fn fill(path: &str, value: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { value } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn no_route_is_open_to_a_key_without_its_scope() {
    let bench = bench().await;
    for operation in operations() {
        let path = fill(&operation.path, &id(0).to_string());
        let name = format!("{} {path}", operation.method);
        let answer = send(&bench, &operation, &path, None).await;
        assert_eq!(answer.error(), (401, "unauthorized".into(), None), "{name}");
        let others: Vec<&str> = Scope::ALL
            .iter()
            .map(|scope| scope.as_str())
            .filter(|s| **s != operation.scope)
            .collect();
        let key = bench.key(&others).await;
        let answer = send(&bench, &operation, &path, Some(&key)).await;
        assert_eq!(answer.error(), (403, "insufficient_scope".into(), None), "{name}");
        let uses: Vec<_> =
            bench.get("/v1/api-keys").await.json()["items"].as_array().unwrap().clone();
        let made = uses.iter().rev().find(|key| key["revoked_at"].is_null()).unwrap()["id"].clone();
        let gone = format!("/v1/api-keys/{}", made.as_str().unwrap());
        bench.with_key(super::bench::KEY, "DELETE", &gone, "").await;
    }
}

/// What makes one where the document's example names things that the bench has not got.
fn own_body(collection: &str) -> Option<Value> {
    Some(match collection {
        "/v1/agents" => json!({"name": "Ada"}),
        "/v1/numbers" => {
            static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(100);
            let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            json!({"number": format!("+15550{next}")})
        }
        "/v1/batches" => json!({"to_numbers": ["+4930123451"]}),
        _ => return None,
    })
}

/// Something of the operator's under the collection a path begins with, made from the document's own example.
async fn made(bench: &Bench, all: &[Operation], path: &str) -> Option<String> {
    let (collection, _) = path.split_once("/{")?;
    let answer = match own_body(collection) {
        Some(body) => bench.post(collection, body.to_string()).await,
        None if collection == "/v1/webhook-deliveries" => {
            let url = json!({"url": "https://hooks.example/"}).to_string();
            let endpoint = bench.post("/v1/webhook-endpoints", url).await.json()["id"].clone();
            let test = format!("/v1/webhook-endpoints/{}/test", endpoint.as_str()?);
            bench.post(&test, "").await
        }
        None => {
            let create = all.iter().find(|one| one.method == "POST" && one.path == collection)?;
            send(bench, create, collection, Some(super::bench::KEY)).await
        }
    };
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let id = [&body["id"], &body["batch_id"], &body["api_key"]["id"]]
        .into_iter()
        .find_map(Value::as_str);
    answer.status.is_success().then(|| id.map(str::to_owned)).flatten()
}

#[tokio::test]
async fn what_is_somebody_elses_does_not_exist() {
    let bench = bench().await;
    bench.put(ended(0, EndReason::UserHangup)).await;
    let (_, theirs) = bench.tenant().await;
    let all = operations();
    let mut absent = std::collections::BTreeSet::new();
    for operation in all.iter().filter(|operation| operation.path.contains('{')) {
        let name = format!("{} {}", operation.method, operation.path);
        let one = match operation.path.starts_with("/v1/calls/") {
            true => Some(id(0).to_string()),
            false => made(&bench, &all, &operation.path).await,
        };
        if one.is_none() {
            absent.insert(operation.path.split("/{").next().unwrap_or_default());
        }
        let unknown = "00000000-0000-7000-8000-0000000000aa".to_owned();
        let path = fill(&operation.path, &one.unwrap_or(unknown));
        let answer = send(&bench, operation, &path, Some(&theirs)).await;
        assert_eq!(answer.status, 404, "{name}: {}", String::from_utf8_lossy(&answer.body));
    }
    // Of everything else there was one, and it was the operator's.
    assert_eq!(absent.into_iter().collect::<Vec<_>>(), WITHOUT_ONE);
    assert_eq!(bench.get(&format!("/v1/calls/{}", id(0))).await.status, 200, "it is still there");
}
