//! The room's tests by subject, and the receiver that they share.

mod agents;
mod ask;
mod dispatch;
mod payload;
mod schedule;
mod sign;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::Config;

#[test]
fn every_event_is_in_the_guide() {
    let guide = include_str!("../../docs/webhooks.md");
    for kind in crate::types::OutboxKind::ALL {
        let inline =
            guide.lines().find(|line| line.starts_with(&format!("| `{}` |", kind.as_str())));
        let row = inline.unwrap_or_else(|| panic!("no row of {}", kind.as_str()));
        assert_eq!(row.ends_with("| yes |"), kind.is_inline(), "{row}");
    }
    let delays = Config::default().retry_delays_seconds;
    assert_eq!(delays, [60.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 86_400.0]);
}

/// One request as it came.
#[derive(Clone)]
pub(super) struct Got {
    pub(super) headers: HeaderMap,
    pub(super) body: serde_json::Value,
    pub(super) octets: Bytes,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> String {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap().to_owned()
    }
}

/// A receiver of webhooks that answers as it is told, and else with 200.
#[derive(Clone, Default)]
pub(super) struct Receiver {
    pub(super) url: String,
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    news: Arc<Notify>,
}

impl Receiver {
    pub(super) async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = answers.iter().map(|status| StatusCode::from_u16(*status).unwrap());
        let receiver = Self {
            url: format!("http://{}/hook", listener.local_addr().unwrap()),
            answers: Arc::new(Mutex::new(answers.collect())),
            ..Self::default()
        };
        let me = receiver.clone();
        let take = move |headers: HeaderMap, octets: Bytes| {
            let me = me.clone();
            async move {
                let body = serde_json::from_slice(&octets).unwrap();
                me.got.lock().unwrap().push(Got { headers, body, octets });
                me.news.notify_one();
                let status = me.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK);
                (status, [("retry-after", "0"), ("location", "http://127.0.0.1:1/")], "words")
                    .into_response()
            }
        };
        let router = axum::Router::new().route("/hook", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// What came so far.
    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Waits until so many have come.
    pub(super) async fn reaches(&self, count: usize) -> Vec<Got> {
        let wait = async {
            loop {
                let got = self.got();
                if got.len() >= count {
                    return got;
                }
                self.news.notified().await;
            }
        };
        let limit = std::time::Duration::from_secs(20);
        let waited = tokio::time::timeout(limit, wait).await;
        waited.unwrap_or_else(|_| panic!("{} of {count} came", self.got().len()))
    }
}
