//! Templates tried without a call.

use axum::extract::Query;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::trap::Trap;

/// Calls of the API with the first key.
pub(crate) struct Desk {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Desk {
    pub(crate) fn of(server: &Server) -> Self {
        let base = format!("http://{}/v1", server.running.api());
        let key = server.running.first_key().expect("a first start").to_owned();
        Self { http: reqwest::Client::new(), base, key }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base));
        let answer = request.bearer_auth(&self.key).json(&body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// A template around a tool, and what came of trying it.
    async fn try_tool(&self, tool: Value, arguments: Value) -> (u16, Value) {
        let (status, made) = self.post("/tool-templates", json!({"name": "t", "tool": tool})).await;
        if status != 201 {
            return (status, made);
        }
        let path = format!("/tool-templates/{}/test", made["id"].as_str().expect("an id"));
        self.post(&path, json!({"arguments": arguments, "variables": {"shop": "Bonn"}})).await
    }
}

/// Somebody's server: says what it was asked.
async fn echo() -> String {
    let app = axum::Router::new()
        .route("/find", axum::routing::get(async |Query(asked): Query<Value>| axum::Json(asked)))
        .route("/fail", axum::routing::post(async || StatusCode::INTERNAL_SERVER_ERROR));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_template_is_tried_without_a_call() {
    let server = Server::with(|config| config.tools.allow_private_targets = true).await;
    let desk = Desk::of(&server);
    let base = echo().await;
    let schema =
        json!({"type": "object", "required": ["day"], "properties": {"day": {"type": "string"}}});
    let find = json!({"type": "http", "name": "find", "method": "GET", "parameters": schema,
        "url": format!("{base}/find?shop={{{{ shop }}}}"), "async": true, "policy": "confirm_first_write"});
    let (status, said) = desk.try_tool(find.clone(), json!({"day": "monday"})).await;
    assert_eq!(
        (status, &said["is_error"], &said["status_code"]),
        (200, &json!(false), &json!(200))
    );
    let answer: Value = serde_json::from_str(said["text"].as_str().expect("text")).expect("JSON");
    assert_eq!(answer, json!({"shop": "Bonn", "day": "monday"}));
    assert_eq!(said["action"], Value::Null);

    let (_, said) = desk.try_tool(find, json!({"day": 1})).await;
    assert_eq!(said["is_error"], true);
    assert!(said["text"].as_str().expect("text").contains("do not fit"), "{said}");

    let fail = json!({"type": "http", "name": "fail", "url": format!("{base}/fail")});
    let (_, said) = desk.try_tool(fail, json!({})).await;
    assert_eq!((&said["is_error"], &said["status_code"]), (&json!(true), &json!(500)));

    let (_, said) = desk.try_tool(json!({"type": "end_call"}), json!({})).await;
    assert_eq!((&said["is_error"], &said["action"]), (&json!(false), &json!("end_call")));

    let (status, _) = desk.post("/tool-templates/nothing/test", json!({})).await;
    assert_eq!(status, 404);
}

/// The same targets as webhooks have: none of them is ever connected to.
#[tokio::test(flavor = "multi_thread")]
async fn forged_targets_get_no_connection_from_tools() {
    let server = Server::with(|config| config.tools.allow_private_targets = false).await;
    let desk = Desk::of(&server);
    let trap = Trap::set().await;
    for url in trap.forged_targets() {
        let tool = json!({"type": "http", "name": "forged", "url": url});
        let (status, said) = desk.try_tool(tool, json!({})).await;
        match status {
            422 => assert_eq!(said["error"]["param"], "tool.url", "{url}: {said}"),
            _ => {
                assert_eq!((status, &said["is_error"]), (200, &json!(true)), "{url}: {said}");
                assert_eq!(said["status_code"], Value::Null, "{url}: {said}");
                assert!(said["text"].as_str().expect("text").contains("refuse"), "{url}: {said}");
            }
        }
    }
    assert_eq!(trap.caught(), 0);
}
