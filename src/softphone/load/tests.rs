//! Load on another phone of ours that answers everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::sip::Transport;
use crate::softphone::PhoneConfig;
use crate::types::SampleRate;

fn tone(ms: u32) -> Pcm {
    let rate = SampleRate::HZ_8000;
    let samples =
        (0..rate.samples_in_ms(ms)).map(|n| if n % 16 < 8 { 6_000 } else { -6_000 }).collect();
    Pcm { rate, samples }
}

/// Answers calls and utterances until nobody calls any more.
async fn agent(phone: Arc<Phone>, calls: usize) {
    let limit = Duration::from_secs(20);
    let mut tasks = JoinSet::new();
    for _ in 0..calls {
        let call = phone.answer_next(limit).await.unwrap();
        tasks.spawn(async move {
            call.say(&tone(200)).await.unwrap();
            while call.hear_reply(limit).await.is_ok() {
                if call.say(&tone(200)).await.is_err() {
                    return;
                }
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn every_call_is_answered_and_every_reply_timed() {
    let server = Arc::new(Phone::start(PhoneConfig::default()).await.unwrap());
    let phone = Arc::new(Phone::start(PhoneConfig::default()).await.unwrap());
    let uri = server.uri(Transport::Udp).unwrap();
    let request = LoadRequest {
        ramp_per_second: 50.0,
        lasting: Duration::from_secs(6),
        ..LoadRequest::to(uri, 4, vec![Arc::new(tone(300)), Arc::new(tone(500))])
    };
    let (report, ()) = tokio::join!(run(phone, request), agent(server, 4));
    assert_eq!((report.calls, report.answered, report.dropped), (4, 4, 0), "{}", report.table());
    assert_eq!((report.missed, report.lost, report.unread), (0, 0, 0), "{}", report.table());
    assert!(report.response.n >= 4, "{}", report.table());
    // The other one waits for 700 ms of silence before it speaks.
    assert!(report.response.min >= 680.0 && report.response.max < 2_000.0, "{}", report.table());
    assert!(report.paced > 0 && report.failures.is_empty(), "{}", report.table());
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["setup"]["n"], 4);
}

#[tokio::test]
async fn nobody_home_is_a_report_as_well() {
    let phone = Arc::new(Phone::start(PhoneConfig::default()).await.unwrap());
    let nobody = "sip:nobody@127.0.0.1;transport=ws";
    let request = LoadRequest { lasting: Duration::ZERO, ..LoadRequest::to(nobody, 2, Vec::new()) };
    let report = run(phone, request).await;
    assert_eq!((report.calls, report.answered), (2, 0));
    assert_eq!(report.failures.len(), 2);
    assert!(report.table().contains("failure"), "{}", report.table());
}

#[test]
fn percentiles_by_rank() {
    assert_eq!(Times::of(Vec::new()), Times::default());
    let times = Times::of((1..=200).rev().map(Duration::from_millis).collect());
    assert_eq!((times.n, times.min, times.max), (200, 1.0, 200.0));
    assert_eq!((times.p50, times.p90, times.p99), (100.0, 180.0, 198.0));
}
