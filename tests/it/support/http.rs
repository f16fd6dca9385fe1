//! The HTTP API as a client sees it, and a server that webhooks ask.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::server::Server;

/// A client of one server's API.
pub(crate) struct Client {
    base: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Self {
        Self {
            base: format!("http://{}", server.running.api()),
            key: server.running.first_key().expect("the first start makes a key").to_owned(),
            http: reqwest::Client::new(),
        }
    }

    /// A request with the key, to be sent as it is wanted.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    /// Status and body.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// A body that was made, and its id.
    pub(crate) async fn make(&self, path: &str, body: Value) -> (String, Value) {
        let (status, made) = self.send("POST", path, body).await;
        assert_eq!(status, 201, "{made}");
        (made["id"].as_str().expect("an id").to_owned(), made)
    }
}

/// What the server of webhooks answers next.
#[derive(Clone)]
pub(crate) enum Answer {
    Json(Value),
    Text(&'static str),
    Status(u16),
    Never,
}

/// Names of the headers, and the body.
type Question = (Vec<String>, Value);

/// A server that webhooks ask; it answers as it is told to, and keeps what it was asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl Asked {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let asked = Self {
            address: listener.local_addr().expect("bound"),
            answer: Arc::new(Mutex::new(Answer::Json(Value::Null))),
            questions: Arc::default(),
        };
        let handler = asked.clone();
        let router = axum::Router::new().fallback(
            move |headers: axum::http::HeaderMap, body: axum::body::Bytes| {
                let asked = handler.clone();
                async move { asked.on_question(&headers, &body).await }
            },
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        asked
    }

    async fn on_question(
        &self,
        headers: &axum::http::HeaderMap,
        body: &[u8],
    ) -> axum::response::Response {
        use axum::response::IntoResponse;
        let names = headers.keys().map(|name| name.as_str().to_owned()).collect();
        let question = serde_json::from_slice(body).expect("JSON");
        self.questions.lock().expect("a lock").push((names, question));
        let answer = self.answer.lock().expect("a lock").clone();
        match answer {
            Answer::Json(value) => axum::Json(value).into_response(),
            Answer::Text(text) => text.into_response(),
            Answer::Status(status) => {
                axum::http::StatusCode::from_u16(status).expect("a status").into_response()
            }
            Answer::Never => std::future::pending().await,
        }
    }

    pub(crate) fn will(&self, answer: Answer) {
        *self.answer.lock().expect("a lock") = answer;
    }

    /// Names of the headers and body of every question so far.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.questions.lock().expect("a lock").clone()
    }
}
