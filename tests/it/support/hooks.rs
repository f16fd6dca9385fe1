//! A receiver of webhooks: keeps what comes and answers as it is told.

use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use tokio::net::TcpListener;

use super::wait;

/// One request as it came, and what it got.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) answered: u16,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// What a receiver does with its nth request, from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    Status(u16),
    /// 429 with `Retry-After: 1`.
    Busy,
    Never,
}

/// A receiver.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    /// Listens, and answers by `plan`.
    pub(crate) async fn start(plan: fn(usize) -> Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let receiver = Self { url, got: Arc::default() };
        let got = Arc::clone(&receiver.got);
        let take = move |headers: HeaderMap, body: Bytes| {
            let got = Arc::clone(&got);
            async move {
                let answer = {
                    let mut got = got.lock().unwrap();
                    let answer = plan(got.len());
                    let answered = match answer {
                        Answer::Status(status) => status,
                        Answer::Busy => 429,
                        Answer::Never => 0,
                    };
                    got.push(Got { headers, body, answered });
                    answer
                };
                match answer {
                    Answer::Status(status) => {
                        (StatusCode::from_u16(status).unwrap(), HeaderMap::new())
                    }
                    Answer::Busy => {
                        let wait = HeaderMap::from_iter([(
                            axum::http::header::RETRY_AFTER,
                            axum::http::HeaderValue::from_static("1"),
                        )]);
                        (StatusCode::TOO_MANY_REQUESTS, wait)
                    }
                    Answer::Never => std::future::pending().await,
                }
            }
        };
        let router = axum::Router::new().route("/hook", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// What came so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// How many requests came so far.
    pub(crate) fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    /// Names of the events that came so far.
    pub(crate) fn types(&self) -> Vec<String> {
        self.got().iter().map(|got| got.header("x-webhook-event").to_owned()).collect()
    }

    /// Names of the events after the first so many, sorted: for events that come in any order.
    pub(crate) fn types_since(&self, count: usize) -> Vec<String> {
        let mut types = self.types().split_off(count);
        types.sort_unstable();
        types
    }

    /// Waits until so many have come.
    pub(crate) async fn reaches(&self, count: usize) -> Vec<Got> {
        wait::until(&format!("{count} webhooks"), async || {
            (self.count() >= count).then(|| self.got())
        })
        .await
    }
}
