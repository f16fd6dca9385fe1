//! Server-sent events: the journal, then live, without holes.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt;
use serde_json::Value;
use tower::ServiceExt;

use super::bench::{Bench, at, bench, call, ended, id, request, within};
use crate::call::journal::EVENT_BUS_DEPTH;
use crate::store::Write;
use crate::types::*;

/// One server-sent event.
#[derive(Debug, Default)]
struct Sent {
    id: String,
    event: String,
    data: Value,
}

/// A client of a stream.
struct Reader {
    body: BodyDataStream,
    text: String,
}

impl Reader {
    async fn open(bench: &Bench, path: &str, last_id: Option<&str>) -> Self {
        let mut request = request("GET", path);
        if let Some(last) = last_id {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = bench.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` when the stream has ended. Comments are skipped.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let mut sent = Sent::default();
                for line in block.lines() {
                    match line.split_once(": ").unwrap_or((line, "")) {
                        ("id", id) => sent.id = id.to_owned(),
                        ("event", event) => sent.event = event.to_owned(),
                        ("data", data) => sent.data = serde_json::from_str(data).unwrap(),
                        _ => {}
                    }
                }
                if !sent.event.is_empty() {
                    return Some(sent);
                }
            }
            let chunk = within(self.body.next()).await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(self.next().await.expect("the stream ended").id);
        }
        ids
    }
}

fn event(n: u64, seq: u64, kind: CallEventKind) -> CallEvent {
    CallEvent { seq, call_id: id(n), at: at(1), kind }
}

fn over(n: u64, seq: u64) -> CallEvent {
    let end_reason = Some(EndReason::UserHangup);
    event(n, seq, CallEventKind::StatusChanged { status: CallStatus::Completed, end_reason })
}

async fn journal(bench: &Bench, events: Vec<CallEvent>) {
    let writes: Vec<_> = events.into_iter().map(|event| Write::Event(Box::new(event))).collect();
    bench.store.apply(&writes).await.unwrap();
}

async fn live_with(events: u64) -> (Bench, String) {
    let bench = bench().await;
    bench.put(call(0)).await;
    let lost = (1..=events).map(|seq| event(0, seq, CallEventKind::MediaLost));
    journal(&bench, lost.collect()).await;
    (bench, format!("/v1/calls/{}/stream", id(0)))
}

#[tokio::test]
async fn the_journal_then_live_then_the_end() {
    let (bench, path) = live_with(2).await;
    let mut reader = Reader::open(&bench, &path, None).await;
    assert_eq!(reader.ids(2).await, ["1", "2"]);
    bench.bus.publish(Arc::new(event(1, 1, CallEventKind::MediaLost)));
    bench.bus.publish(Arc::new(event(0, 2, CallEventKind::MediaLost)));
    let partial = CallEventKind::TranscriptPartial { content: "what ti".to_owned().into() };
    bench.bus.publish(Arc::new(event(0, 3, partial)));
    bench.bus.publish(Arc::new(over(0, 4)));
    let third = reader.next().await.unwrap();
    assert_eq!((third.id.as_str(), third.event.as_str()), ("3", "transcript_partial"));
    assert_eq!(third.data["data"]["content"], "what ti");
    let last = reader.next().await.unwrap();
    assert_eq!((last.id.as_str(), last.event.as_str()), ("4", "status_changed"));
    assert_eq!(last.data["data"]["status"], "completed");
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn a_reader_resumes_where_it_was() {
    let (bench, path) = live_with(5).await;
    let mut reader = Reader::open(&bench, &path, Some("3")).await;
    assert_eq!(reader.ids(2).await, ["4", "5"]);
    let mut reader = Reader::open(&bench, &format!("{path}?after=4"), None).await;
    assert_eq!(reader.ids(1).await, ["5"]);
    let mut reader = Reader::open(&bench, &format!("{path}?after=1"), Some("4")).await;
    assert_eq!(reader.ids(1).await, ["5"]);
    let error = bench.get(&format!("{path}?after=x")).await.error();
    assert_eq!(error, (400, "invalid_parameter".into(), Some("after".into())));
}

#[tokio::test]
async fn a_hole_in_the_bus_is_filled_from_the_journal() {
    let (bench, path) = live_with(1).await;
    let mut reader = Reader::open(&bench, &path, None).await;
    assert_eq!(reader.ids(1).await, ["1"]);
    let lost = CallEventKind::MediaLost;
    journal(&bench, vec![event(0, 2, lost.clone()), event(0, 3, lost.clone())]).await;
    bench.bus.publish(Arc::new(event(0, 5, lost)));
    assert_eq!(reader.ids(3).await, ["2", "3", "5"]);
}

#[tokio::test]
async fn the_stream_of_a_call_that_is_over_ends_at_once() {
    let bench = bench().await;
    bench.put(ended(0, EndReason::UserHangup)).await;
    journal(&bench, vec![event(0, 1, CallEventKind::MediaLost), over(0, 2)]).await;
    let path = format!("/v1/calls/{}/stream", id(0));
    let mut reader = Reader::open(&bench, &path, None).await;
    assert_eq!(reader.ids(2).await, ["1", "2"]);
    assert!(reader.next().await.is_none());
    let mut reader = Reader::open(&bench, &path, Some("2")).await;
    assert!(reader.next().await.is_none());
    // A call that a crash cut off has no last entry.
    bench.put(ended(1, EndReason::InternalError)).await;
    let mut reader = Reader::open(&bench, &format!("/v1/calls/{}/stream", id(1)), None).await;
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn a_lagging_reader_is_told_and_goes_on() {
    let (bench, path) = live_with(1).await;
    let mut reader = Reader::open(&bench, &path, None).await;
    assert_eq!(reader.ids(1).await, ["1"]);
    // More than the bus, the stream's queue and its task together can hold.
    let last = u64::try_from(EVENT_BUS_DEPTH * 2).unwrap();
    for seq in 2..=last {
        bench.bus.publish(Arc::new(event(0, seq, CallEventKind::MediaLost)));
    }
    let lagged = reader.next().await.unwrap();
    assert_eq!(lagged.event, "lagged");
    assert!(lagged.data["missed"].as_u64().unwrap() > 0);
    assert_eq!(lagged.id, "", "it does not move the place to resume from");
    let next: u64 = reader.next().await.unwrap().id.parse().unwrap();
    assert!(next > 2);
}

#[tokio::test]
async fn all_calls_in_one_stream() {
    let bench = bench().await;
    for n in 0..2 {
        bench.put(call(n)).await;
    }
    let mut theirs = call(2);
    theirs.organization_id = OrganizationId::new("somebody-else".to_owned());
    bench.put(theirs).await;
    journal(&bench, vec![event(0, 1, CallEventKind::MediaLost)]).await;
    let mut all = Reader::open(&bench, "/v1/events", None).await;
    let mut some = Reader::open(&bench, "/v1/events?types=status_changed", None).await;
    let partial = || CallEventKind::TranscriptPartial { content: "what ti".to_owned().into() };
    bench.bus.publish(Arc::new(event(2, 1, partial())));
    bench.bus.publish(Arc::new(event(0, 2, partial())));
    let live = all.next().await.unwrap();
    assert_eq!((live.id.as_str(), live.event.as_str()), ("", "transcript_partial"));
    assert_eq!(live.data["call_id"], id(0).to_string(), "and none of somebody else's call");
    journal(&bench, vec![event(2, 2, CallEventKind::MediaLost), over(1, 9)]).await;
    journal(&bench, vec![event(0, 3, CallEventKind::MediaLost)]).await;
    let (first, second) = (all.next().await.unwrap(), all.next().await.unwrap());
    assert_eq!((&first.data["seq"], &second.data["seq"]), (&Value::from(9), &Value::from(3)));
    assert_eq!(some.next().await.unwrap().data["seq"], 9);
    // Again from the first of the two: the second and nothing else, then what comes.
    let mut resumed = Reader::open(&bench, "/v1/events", Some(&first.id)).await;
    assert_eq!(resumed.ids(1).await.first(), Some(&second.id));
    journal(&bench, vec![event(0, 4, CallEventKind::MediaLost)]).await;
    assert_eq!(resumed.next().await.unwrap().data["seq"], 4);
    // From the beginning, what was stored before the first reader came.
    let mut whole = Reader::open(&bench, "/v1/events?after=0", None).await;
    assert_eq!(whole.next().await.unwrap().data["seq"], 1);
    assert_eq!(all.next().await.unwrap().data["seq"], 4);
    let refused = bench.get("/v1/events?after=x").await.error();
    assert_eq!(refused, (400, "invalid_parameter".into(), Some("after".into())));
    bench.stop.cancel();
    assert!(all.next().await.is_none());
    assert!(some.next().await.is_none());
}

#[tokio::test]
async fn streams_are_counted_and_limited() {
    let (bench, path) = live_with(0).await;
    let mut open = Vec::new();
    for _ in 0..crate::api::stream::STREAMS_MAX {
        open.push(Reader::open(&bench, &path, None).await);
    }
    let refused = bench.get("/v1/events").await;
    assert_eq!(refused.error(), (503, "too_many_streams".into(), None));
    assert_eq!(refused.header("retry-after"), "5");
    let status = bench.get("/v1/status").await.json();
    assert_eq!(status["event_streams"], crate::api::stream::STREAMS_MAX);
    open.clear();
    // Their tasks see it as soon as they run.
    within(async {
        while bench.get("/v1/status").await.json()["event_streams"] != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
