use axum::body::Body;
use axum::http::StatusCode;
use serde_json::json;

use super::bench::{Bench, bench, request, within};
use crate::types::order::OrderStatus;

async fn send(
    bench: &Bench,
    method: &str,
    path: &str,
    body: serde_json::Value,
) -> super::bench::Answer {
    let request = request(method, path).header("content-type", "application/json");
    bench.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn csv(bench: &Bench, path: &str, body: &str) -> super::bench::Answer {
    let request = request("POST", path).header("content-type", "text/csv; charset=utf-8");
    bench.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// A time of day that is not now, wherever the number is: the order waits.
fn later() -> serde_json::Value {
    json!({"windows": [{"days": [tomorrow()]}], "timezone": "UTC"})
}

fn tomorrow() -> String {
    let now = crate::net::clock::wall().to_zoned(jiff::tz::TimeZone::UTC);
    let day = now.tomorrow().unwrap().tomorrow().unwrap().weekday();
    format!("{day:?}").to_ascii_lowercase()
}

#[tokio::test]
async fn an_order_waits_and_can_be_taken_back() {
    let bench = bench().await;
    let body = json!({
        "phone_number": "+4930123456", "trunk_id": "local", "agent_id": "reception",
        "prompt_variables": {"name": "Ada"}, "context": {"case": 7}, "metadata": {"x": 1},
        "call_retry_config": later(), "concurrency": {"key": "desk", "max": 2},
    });
    let made = send(&bench, "POST", "/v1/call-orders", body).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{:?}", made.json());
    let order = made.json();
    let path = made.header("location").to_owned();
    assert_eq!(path, format!("/v1/call-orders/{}", order["id"].as_str().unwrap()));
    assert_eq!(order["status"], "scheduled");
    assert_eq!((&order["direction"], &order["attempts_count"]), (&json!("outbound"), &json!(0)));
    assert_eq!(order["retry"]["windows"][0]["start_time"], "10:00");
    assert_eq!(order["variables"]["name"], "Ada");
    assert!(order["next_attempt_at"].is_string());
    let shown = bench.get(&path).await.json();
    assert_eq!(shown["attempts"], json!([]));
    for (filter, total) in
        [("", 1), ("?status=scheduled&status=queued", 1), ("?status=cancelled", 0)]
    {
        let list = bench.get(&format!("/v1/call-orders{filter}")).await.json();
        assert_eq!(list["total"], total, "{filter}");
    }
    assert_eq!(bench.get("/v1/call-orders?status=what").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(bench.get("/v1/call-orders?page_size=101").await.status, StatusCode::BAD_REQUEST);
    let canceled = send(&bench, "POST", &format!("{path}/cancel"), json!({})).await.json();
    assert_eq!((&canceled["status"], &canceled["is_canceled"]), (&json!("canceled"), &json!(true)));
    let again = send(&bench, "POST", &format!("{path}/cancel"), json!({})).await;
    assert_eq!(again.error(), (409, "wrong_state".to_owned(), None));
    let list = bench.get("/v1/call-orders?status=cancelled").await.json();
    assert_eq!(list["total"], 1);
}

#[tokio::test]
async fn what_an_order_cannot_be() {
    let bench = bench().await;
    for (body, code, param) in [
        (json!({}), "missing_field", "to_number"),
        (json!({"to_number": "12345"}), "invalid_number", "to_number"),
        (json!({"to_number": "+4930123456", "agent_id": "nobody"}), "unknown_agent", "agent_id"),
        (json!({"to_number": "+4930123456", "trunk_id": "none"}), "unknown_trunk", "trunk_id"),
        (
            json!({"to_number": "+4930123456", "scheduled_at": "soon"}),
            "invalid_value",
            "scheduled_at",
        ),
        (
            json!({"to_number": "+4930123456", "retry": {"max_retry_attempts": 99}}),
            "invalid_value",
            "retry.max_retry_attempts",
        ),
        (
            json!({"to_number": "+4930123456", "retry": {"retry_on": ["rejected"]}}),
            "invalid_value",
            "retry.retry_on",
        ),
        (
            json!({"to_number": "+15550100", "retry": {"windows": [{"start_time": "10:00", "end_time": "11:00"}]}}),
            "invalid_value",
            "retry",
        ),
        (
            json!({"to_number": "+4930123456", "concurrency": {"key": "", "max": 1}}),
            "invalid_value",
            "concurrency.key",
        ),
        (
            json!({"to_number": "+4930123456", "instructions": "Remind {{name"}),
            "invalid_value",
            "instructions",
        ),
        (
            json!({"to_number": "+4930123456", "webhook_url": "ftp://x"}),
            "invalid_value",
            "webhook_url",
        ),
    ] {
        let answer = send(&bench, "POST", "/v1/call-orders", body.clone()).await;
        assert_eq!(answer.error(), (422, code.to_owned(), Some(param.to_owned())), "{body}");
    }
}

#[tokio::test]
async fn a_call_with_retries_is_the_first_attempt_of_an_order() {
    let bench = bench().await;
    let body = json!({"to_number": "+4930123456", "retry": later(), "scheduled_at": "2020-01-01T00:00:00Z"});
    let made = send(&bench, "POST", "/v1/calls", body).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{:?}", made.json());
    let call = made.json();
    assert_eq!(call["status"], "queued");
    let orders = bench.get("/v1/call-orders").await.json();
    assert_eq!(orders["total"], 1);
    let order = orders["items"][0]["id"].as_str().unwrap();
    let detail = bench.get(&format!("/v1/call-orders/{order}")).await.json();
    assert_eq!(detail["last_attempt"]["id"], call["id"]);
    assert_eq!(detail["attempts_count"], 0, "promised, not dialled");
    let canceled =
        send(&bench, "POST", &format!("/v1/call-orders/{order}/cancel"), json!({})).await;
    assert_eq!(canceled.status, StatusCode::OK);
    let id = call["id"].as_str().unwrap().to_owned();
    within(async {
        while bench.get(&format!("/v1/calls/{id}")).await.json()["status"] != "canceled" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

// covers: S2-31..S2-35
#[tokio::test]
async fn a_batch_as_json_and_as_a_table() {
    let bench = bench().await;
    let body = json!({"targets": [
        {"to_number": "+4930123451", "variables": {"name": "Ada"}}, {"to_number": "nobody"},
    ], "retry": later(), "name": "two"});
    let made = send(&bench, "POST", "/v1/batches", body).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{:?}", made.json());
    assert_eq!((&made.json()["total"], &made.json()["status"]), (&json!(2), &json!("queued")));
    let batch = bench.get(made.header("location")).await.json();
    assert_eq!(
        (&batch["queued"], &batch["failed"], &batch["initiated"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(batch["calls"][1]["error"], "Invalid number");
    assert_eq!(batch["calls"][0]["call_sid"], json!(null));
    let cancel = format!("{}/cancel", made.header("location"));
    let canceled = send(&bench, "POST", &cancel, json!({})).await.json();
    assert_eq!(
        (&canceled["status"], &canceled["counts"]["canceled"]),
        (&json!("canceled"), &json!(1))
    );
    assert_eq!(send(&bench, "POST", &cancel, json!({})).await.status, StatusCode::CONFLICT);

    let table = "phone,name\n+4930123451,Ada\nnobody,Bob\n";
    let later = "scheduled_at=2099-01-01T00:00:00Z";
    let made = csv(&bench, &format!("/v1/batches?agent_id=reception&cps=2&{later}"), table).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{:?}", made.json());
    let batch = bench.get(made.header("location")).await.json();
    assert_eq!((&batch["cps"], &batch["counts"]["failed"]), (&json!(2.0), &json!(1)));
    assert_eq!(bench.get("/v1/batches").await.json()["total"], 2);
    let refused = csv(&bench, "/v1/batches", "name\nAda\n").await;
    assert_eq!(refused.error(), (422, "missing_field".to_owned(), Some("to_number".to_owned())));
    let none = send(&bench, "POST", "/v1/batches", json!({"to_numbers": []})).await;
    assert_eq!(none.error(), (422, "invalid_value".to_owned(), Some("targets".to_owned())));
}

// covers: S4-36 S4-37 S4-68
#[tokio::test]
async fn a_campaign_from_draft_to_its_end() {
    let bench = bench().await;
    let body = json!({
        "name": "Reminders", "agent_id": "reception", "system_message_template": "Remind {{name}}",
        "schedule_start_time": "09:00:00", "schedule_end_time": "17:00:00", "timezone": "Europe/Amsterdam",
    });
    let made = send(&bench, "POST", "/v1/campaigns", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.json());
    let path = made.header("location").to_owned();
    let campaign = made.json();
    assert_eq!((&campaign["status"], &campaign["total_leads"]), (&json!("draft"), &json!(0)));
    assert_eq!(campaign["schedule"]["timezone"], "Europe/Amsterdam");
    let leads = format!("{path}/leads");
    let two =
        json!([{"phone_number": "+31201234567", "name": "Ada"}, {"phone_number": "+31201234568"}]);
    let added = send(&bench, "POST", &leads, two).await;
    assert_eq!(
        (added.status, &added.json()["added"]),
        (StatusCode::CREATED, &json!(2)),
        "{:?}",
        added.json()
    );
    let twice = send(&bench, "POST", &leads, json!({"phone_number": "+31201234567"})).await;
    assert_eq!(
        twice.error(),
        (409, "duplicate_lead".to_owned(), Some("[0].phone_number".to_owned()))
    );
    let copy = send(
        &bench,
        "POST",
        &format!("{leads}?allow_duplicates=true"),
        json!({"phone_number": "+31201234567"}),
    )
    .await;
    assert_eq!(copy.status, StatusCode::CREATED);
    let table = csv(&bench, &leads, "phone_number,city\n+31201234569,Delft\n").await;
    assert_eq!(table.json()["items"][0]["variables"]["city"], "Delft");
    let list = bench.get(&format!("{leads}?status=pending")).await.json();
    assert_eq!(
        (&list["total"], &list["items"][0]["variables"]["name"]),
        (&json!(4), &json!("Ada"))
    );
    let lead = list["items"][1]["id"].as_str().unwrap();
    let removed = send(&bench, "DELETE", &format!("{leads}/{lead}"), json!({})).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.get(&leads).await.json()["total"], 3);

    let paused =
        send(&bench, "PATCH", &path, json!({"status": "paused", "max_concurrent": 3})).await;
    assert_eq!(
        (&paused.json()["status"], &paused.json()["max_concurrent"]),
        (&json!("paused"), &json!(3))
    );
    let moved = json!({"schedule": {"days": [tomorrow()]}, "max_concurrent": null});
    let patched = send(&bench, "PATCH", &path, moved).await.json();
    assert_eq!((&patched["status"], &patched["max_concurrent"]), (&json!("paused"), &json!(null)));
    assert_eq!(patched["schedule"]["days"], json!([tomorrow()]));
    assert_eq!(
        send(&bench, "POST", &format!("{path}/pause"), json!({})).await.status,
        StatusCode::CONFLICT
    );
    let resumed = send(&bench, "POST", &format!("{path}/resume"), json!({})).await.json();
    assert_eq!(resumed["status"], "running");
    assert_eq!(bench.get(&format!("{leads}?status=queued")).await.json()["total"], 3);
    let stats = bench.get(&format!("{path}/stats")).await.json();
    assert_eq!((&stats["calls"], &stats["answer_rate"]), (&json!(0), &json!(null)));
    let stopped = send(&bench, "POST", &format!("{path}/stop"), json!({})).await.json();
    assert_eq!((&stopped["status"], &stopped["completed_leads"]), (&json!("canceled"), &json!(3)));
    assert_eq!(
        send(&bench, "POST", &format!("{path}/start"), json!({})).await.status,
        StatusCode::CONFLICT
    );
    assert_eq!(bench.get("/v1/campaigns?status=cancelled").await.json()["total"], 1);
    assert_eq!(send(&bench, "DELETE", &path, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        bench.get(&path).await.error(),
        (404, "campaign_not_found".to_owned(), Some("id".to_owned()))
    );
}

#[tokio::test]
async fn the_list_of_numbers_nobody_calls() {
    let bench = bench().await;
    let body = json!({"numbers": ["+4930123456", "+4930123457"], "reason": "asked"});
    let added = send(&bench, "POST", "/v1/do-not-call", body).await;
    assert_eq!((added.status, &added.json()["added"]), (StatusCode::CREATED, &json!(2)));
    let again =
        send(&bench, "POST", "/v1/do-not-call", json!({"number": "+4930123456"})).await.json();
    assert_eq!((&again["added"], &again["items"][0]["reason"]), (&json!(0), &json!("asked")));
    assert_eq!(bench.get("/v1/do-not-call").await.json()["total"], 2);
    for spelling in ["%2B4930123456", "+4930123456", "4930123456"] {
        let found = bench.get(&format!("/v1/do-not-call?phone_number={spelling}")).await.json();
        assert_eq!(found["total"], 1, "{spelling}");
    }
    let gone = send(&bench, "DELETE", "/v1/do-not-call?phone_number=4930123456", json!({})).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let gone = send(&bench, "DELETE", "/v1/do-not-call?phone_number=4930123456", json!({})).await;
    assert_eq!(gone.error().1, "number_not_listed");
}

#[tokio::test]
async fn what_belongs_to_others_does_not_exist() {
    let bench = bench().await;
    let other =
        crate::types::OrganizationId::new("11111111-0000-7000-8000-000000000000".to_owned());
    let id = crate::types::OrderId::new(1_800_000_000_000, &mut crate::types::Entropy::seeded(9));
    let mut order = crate::types::order::OrderRecord::new(
        id,
        other,
        "+4930123456".to_owned(),
        super::bench::at(0),
    );
    order.status = OrderStatus::Canceled;
    order.next_attempt_at = None;
    bench.store.insert_order(&order, None).await.unwrap();
    assert_eq!(bench.get("/v1/call-orders").await.json()["total"], 0);
    for path in [format!("/v1/call-orders/{id}"), "/v1/call-orders/nonsense".to_owned()] {
        assert_eq!(bench.get(&path).await.error().0, 404);
    }
    for path in [
        format!("/v1/batches/{id}"),
        format!("/v1/campaigns/{id}"),
        format!("/v1/campaigns/{id}/leads"),
        format!("/v1/campaigns/{id}/stats"),
    ] {
        assert_eq!(bench.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["cancel", "retry-now"] {
        let answer = send(&bench, "POST", &format!("/v1/call-orders/{id}/{path}"), json!({})).await;
        assert_eq!(answer.error(), (404, "order_not_found".to_owned(), Some("id".to_owned())));
    }
}
