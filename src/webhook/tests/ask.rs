//! Questions to a server that answers well, badly, late and not at all.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, post};
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;

use crate::egress::{Client, Policy};
use crate::schema::webhook::{Envelope, SignatureStyle};
use crate::store::{Sealer, Store};
use crate::types::{Entropy, OrganizationId};
use crate::webhook::sign::{Message, headers};
use crate::webhook::{AskError, AskKind, Asker, Endpoints, Keyring, Question, Whom};

async fn asker() -> (Asker, Arc<Keyring>) {
    let store = Arc::new(Store::in_memory().await.unwrap());
    let sealer = Arc::new(Sealer::new(&[7; 32], Entropy::seeded(1)).unwrap());
    let keyring = Arc::new(Keyring::new(Arc::clone(&store), sealer, Entropy::seeded(2)));
    let endpoints = Endpoints::new(store, Arc::clone(&keyring), Policy::default());
    let client = Client::new(Policy::default()).unwrap();
    (Asker::new(client, Arc::clone(&keyring), Arc::new(endpoints)), keyring)
}

async fn serve(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn question(url: String) -> Question {
    Question {
        kind: AskKind::ToolCall,
        organization: OrganizationId::default(),
        whom: Whom::Url { url, agent: None },
        data: json!({"tool_call_list": []}),
        timeout: Duration::from_secs(10),
    }
}

#[tokio::test]
async fn a_question_is_signed_and_its_answer_is_json() {
    let (asker, keyring) = asker().await;
    let echo = |headers: HeaderMap, body: Bytes| async move {
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        axum::Json(json!({
            "id": text("webhook-id"), "timestamp": text("webhook-timestamp"),
            "signature": text("webhook-signature"), "event": text("x-webhook-event"),
            "body": String::from_utf8(body.to_vec()).unwrap(),
        }))
    };
    let base = serve(axum::Router::new().route("/", post(echo))).await;
    let answer = asker.ask(question(format!("{base}/"))).await.unwrap();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    let envelope: Envelope = serde_json::from_str(&text("body")).unwrap();
    assert_eq!((envelope.r#type.as_str(), &envelope.id), ("tool.call", &text("id")));
    assert_eq!(envelope.data, json!({"tool_call_list": []}));
    assert_eq!(text("event"), "tool.call");
    let secrets = keyring.of_organization(&OrganizationId::default()).await.unwrap();
    let (id, body) = (text("id"), text("body"));
    let message = Message {
        id: &id,
        kind: "tool.call",
        timestamp: text("timestamp").parse().unwrap(),
        body: body.as_bytes(),
    };
    let signed = headers(SignatureStyle::Standard, &[secrets.current().clone()], message);
    assert!(signed.contains(&("webhook-signature".to_owned(), text("signature"))));
}

#[tokio::test]
async fn what_is_no_answer_is_told_in_words() {
    let (asker, _) = asker().await;
    let router = axum::Router::new()
        .route("/empty", any(|| async { StatusCode::NO_CONTENT }))
        .route("/html", any(|| async { "<html>" }))
        .route("/large", any(|| async { vec![b' '; 70_000] }))
        .route("/error", any(|| async { StatusCode::BAD_GATEWAY }))
        .route(
            "/moved",
            any(|| async { axum::response::Redirect::temporary("/empty").into_response() }),
        )
        .route("/never", any(std::future::pending::<()>));
    let base = serve(router).await;
    let ask = |path: &str| {
        let mut question = question(format!("{base}{path}"));
        if path == "/never" {
            question.timeout = Duration::from_millis(100);
        }
        asker.ask(question)
    };
    assert_eq!(ask("/empty").await.unwrap(), json!({}));
    let error = |answer: Result<_, AskError>| answer.map(drop).unwrap_err().to_string();
    assert_eq!(error(ask("/html").await), "the server's answer is not JSON");
    assert_eq!(error(ask("/large").await), "the server's answer is larger than 65536 bytes");
    assert_eq!(error(ask("/error").await), "the server answered with HTTP status 502");
    assert_eq!(error(ask("/moved").await), "the server answered with HTTP status 307");
    assert_eq!(error(ask("/never").await), "the server did not answer within 100 ms");
    let metadata = asker.ask(question("http://169.254.169.254/".into())).await;
    assert!(matches!(metadata, Err(AskError::Refused(_))), "{metadata:?}");
}
