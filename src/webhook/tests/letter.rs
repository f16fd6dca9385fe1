//! What an event is as an e-mail, and what becomes of one that does not leave.

use serde_json::{Value, json};

use super::dispatch::{bench, fast, input, ours};
use crate::mail::{Config, Mailer, Security};
use crate::net::clock;
use crate::schema::webhook::Envelope;
use crate::store::{DeliveryStatus, Sealer, Store};
use crate::types::{Entropy, Secret};
use crate::webhook::letter::letter;
use crate::webhook::schedule::{Outcome, Round, verdict};
use crate::webhook::{EndpointError, Hooks, Post};

fn event(kind: &str, data: Value) -> Envelope {
    Envelope {
        id: "evt_1".into(),
        r#type: kind.into(),
        timestamp: "2027-01-15T08:00:00.000Z".into(),
        api_version: "v1".into(),
        data,
    }
}

#[test]
fn a_call_reads_as_a_text() {
    let call = json!({
        "id": "019", "direction": "inbound", "from_number": "+4930123456", "to_number": "+15550100",
        "agent_name": "Ada", "status": "completed", "end_reason": "user_hangup", "outcome": "completed",
        "answered_by": "human", "duration_seconds": 38, "error_message": null,
        "summary": "They want\na table.",
    });
    let report = event("call.report", json!({"call": call, "seq": 1}));
    let (subject, text) = letter(&report, true);
    assert_eq!(subject, "Call report: ********456 to ******100");
    let wanted = "Call report\n\n\
        Time:        2027-01-15T08:00:00.000Z\n\
        Call:        019\n\
        Direction:   inbound\n\
        From:        ********456\n\
        To:          ******100\n\
        Agent:       Ada\n\
        Status:      completed\n\
        Ended:       user_hangup\n\
        Outcome:     completed\n\
        Answered by: human\n\
        Duration:    38 s\n\
        Event:       evt_1\n\n\
        Summary:\nThey want\na table.\n";
    assert_eq!(text, wanted);
    let (subject, text) = letter(&report, false);
    assert_eq!(subject, "Call report: +4930123456 to +15550100");
    assert!(text.contains("+4930123456") && text.contains("+15550100"), "{text}");
}

#[test]
fn what_is_no_call_reads_too() {
    let (subject, text) = letter(
        &event("batch.completed", json!({"batch": {"id": "b", "status": "completed"}})),
        true,
    );
    assert_eq!(subject, "Batch completed");
    assert!(text.contains("Batch:") && text.contains("completed"), "{text}");
    let endpoint = json!({"id": "e", "status": "disabled", "disabled_reason": "gone"});
    let (subject, text) = letter(&event("endpoint.disabled", json!({"endpoint": endpoint})), true);
    assert_eq!(subject, "Endpoint disabled");
    assert!(text.contains("gone"), "{text}");
    let (subject, _) = letter(&event("order.completed", json!({"order": {}, "call": null})), true);
    assert_eq!(subject, "Order completed");
}

#[test]
fn a_no_for_good_has_no_second_try() {
    let at = clock::wall();
    let judge = |status: u16, is_final: bool| {
        let outcome = Outcome::of_mail(Some((Some(status), "words".into(), is_final)));
        verdict(&fast(), Round::Whole, 0, &outcome, at, &mut Entropy::seeded(1))
    };
    assert_eq!(judge(550, true).status, DeliveryStatus::Exhausted);
    assert_eq!(judge(550, true).response_status, Some(550));
    assert_eq!(judge(450, false).status, DeliveryStatus::Pending);
    let arrived =
        verdict(&fast(), Round::Whole, 0, &Outcome::of_mail(None), at, &mut Entropy::seeded(1));
    assert_eq!(arrived.status, DeliveryStatus::Delivered);
}

#[tokio::test]
async fn an_address_for_mail_is_checked() {
    crate::providers::http::install_crypto();
    let config = Config {
        host: "127.0.0.1".into(),
        port: Some(9),
        security: Security::None,
        username: String::new(),
        from: "calls@example.com".into(),
        timeout: std::time::Duration::from_secs(1),
    };
    let mailer = Mailer::new(&config, &Secret::default()).unwrap();
    let post = Some(std::sync::Arc::new(Post::new(mailer, true, false)));
    let store = std::sync::Arc::new(Store::in_memory().await.unwrap());
    let sealer = std::sync::Arc::new(Sealer::new(&[7; 32], Entropy::seeded(1)).unwrap());
    let (hooks, _) = Hooks::with_post(store, sealer, fast(), post, Entropy::seeded(2)).unwrap();
    let mut with_headers = input("mailto:ops@example.com", &["*"]);
    with_headers.headers.insert("x-team".into(), "desk".into());
    for (wrong, field) in [
        (input("mailto:", &["*"]), "url"),
        (input("mailto:ops", &["*"]), "url"),
        (input("mailto:ops@example.com?subject=x", &["*"]), "url"),
        (input("mailto:a@example.com,b@example.com", &["*"]), "url"),
        (input("mailto:ops@example.com", &["tool.call"]), "enabled_events"),
        (with_headers, "headers"),
    ] {
        let url = wrong.url.clone();
        match hooks.endpoints.create(&ours(), wrong).await {
            Err(EndpointError::Invalid { field: named, .. }) => assert_eq!(named, field, "{url}"),
            other => panic!("{url}: {:?}", other.map(|_| ())),
        }
    }
    hooks.endpoints.create(&ours(), input("mailto:ops@example.com", &["*"])).await.unwrap();
    let without = bench(fast()).await;
    let wanted = input("mailto:ops@example.com", &["*"]);
    let refused = without.hooks.endpoints.create(&ours(), wanted).await;
    let error = refused.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("notifications.smtp"), "{error}");
}
