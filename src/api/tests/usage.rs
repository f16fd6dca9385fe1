//! Prices, reports, the budget, and making something of a call again.

use axum::body::Body;
use axum::http::header;
use serde_json::{Value, json};

use super::bench::{Answer, Bench, bench, call, ended, id, request, within};
use crate::store::Write;
use crate::types::call::TurnOrigin;
use crate::types::*;
use crate::usage::BudgetConfig;

impl Bench {
    async fn put_json(&self, path: &str, body: Value) -> Answer {
        let request = request("PUT", path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }
}

fn minute(price_micros: u64) -> Value {
    json!({"kind": "telephony", "provider": "*", "unit": "minute", "price_micros": price_micros, "per": 1})
}

#[tokio::test]
async fn a_price_table_is_put_shown_and_taken_away() {
    let bench = bench().await;
    let none = json!({"currency": null, "items": [], "managed_by": null});
    assert_eq!(bench.get("/v1/prices").await.json(), none);
    let table = json!({"currency": "EUR", "items": [minute(60_000)]});
    let shown = json!({"currency": "EUR", "items": [minute(60_000)], "managed_by": "api"});
    for _ in 0..2 {
        let answer = bench.put_json("/v1/prices", table.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, shown.clone()));
    }
    assert_eq!(bench.get("/v1/prices").await.json(), shown);
    let empty = bench.put_json("/v1/prices", json!({"currency": "EUR", "items": []})).await;
    assert_eq!(empty.json(), none);
    for (body, code, param) in [
        (json!({"items": []}), "missing_field", "currency"),
        (json!({"currency": "euro", "items": []}), "invalid_value", "currency"),
        (
            json!({"currency": "EUR", "items": [{"kind": "tts"}]}),
            "missing_field",
            "items[0].provider",
        ),
        (json!({"currency": "EUR", "items": [{"kind": "fax"}]}), "invalid_value", "items[0].kind"),
        (json!({"currency": "EUR", "surprise": 1, "items": []}), "unknown_field", "surprise"),
    ] {
        let answer = bench.put_json("/v1/prices", body.clone()).await;
        assert_eq!(answer.error().0, 422, "{body}");
        assert_eq!(answer.code(), code, "{body}");
        if code != "missing_field" || param == "currency" {
            assert_eq!(answer.error().2.as_deref(), Some(param), "{body}");
        }
    }
    let mut wrong = minute(1);
    wrong["unit"] = json!("second");
    let answer =
        bench.put_json("/v1/prices", json!({"currency": "EUR", "items": [minute(1), wrong]})).await;
    assert_eq!(answer.error().2.as_deref(), Some("items[1].unit"));
}

/// Puts a closed call with telephony into the store, priced as the end of a call prices it.
async fn closed(bench: &Bench, n: u64) -> CallRecord {
    let mut record = ended(n, EndReason::UserHangup);
    record.trunk = Some(TrunkName("local".into()));
    bench.accounts.close(&mut record);
    bench.store.apply(&[Write::Finish(Box::new(record.clone()))]).await.unwrap();
    record
}

/// Trap 1, as a client sees it: 38 s since the ringing, 34 s since the answer, and only these cost.
// covers: S0-22..S0-24 S1-26 E2-01 E2-15
#[tokio::test]
async fn a_call_shows_what_it_used_and_cost() {
    let bench = bench().await;
    bench.put_json("/v1/prices", json!({"currency": "USD", "items": [minute(60_000)]})).await;
    let record = closed(&bench, 1).await;
    let shown = bench.get(&format!("/v1/calls/{}", record.id)).await.json();
    assert_eq!(
        (&shown["duration_seconds"], &shown["billed_duration_seconds"]),
        (&json!(38), &json!(34))
    );
    let cost = json!({"status": "calculated", "currency": "USD", "total_micros": 34_000, "stt_micros": 0,
        "llm_micros": 0, "tts_micros": 0, "telephony_micros": 34_000});
    assert_eq!(shown["cost"], cost);
    assert_eq!(shown["reservation_status"], "none");
    assert!(shown.get("usage").is_none());
    let shown = bench.get(&format!("/v1/calls/{}?include=usage,analysis", record.id)).await.json();
    let usage = &shown["usage"][0];
    assert_eq!((&usage["kind"], &usage["unit"]), (&json!("telephony"), &json!("minute")));
    assert_eq!((&usage["provider"], &usage["amount_micros"]), (&json!("local"), &json!(34_000)));
    let row = bench.get("/v1/calls").await.json()["items"][0].clone();
    assert_eq!(row["cost"], cost);
    // Trap 15: the six fields that a list never shows, and the long texts.
    for heavy in [
        "transcript",
        "summary",
        "recording_url",
        "detected_gender",
        "variables",
        "variables_extracted",
        "persona",
        "instructions",
        "prompt",
        "context",
        "result",
        "analysis",
    ] {
        assert!(row.get(heavy).is_none(), "{heavy}");
        assert!(heavy == "transcript" || shown.get(heavy).is_some(), "{heavy}");
    }
}

// covers: S4-25 S4-59
#[tokio::test]
async fn reports_are_grouped_and_paged() {
    let bench = bench().await;
    bench.put_json("/v1/prices", json!({"currency": "USD", "items": [minute(60_000)]})).await;
    for n in 1..=3 {
        closed(&bench, n).await;
    }
    let days = "start_date=2027-01-15&end_date=2027-01-15";
    let report = bench.get(&format!("/v1/usage?{days}")).await.json();
    assert_eq!(report["summary"]["total_calls"], 3);
    assert_eq!(report["summary"]["total_cost_micros"], 102_000);
    assert_eq!(report["summary"]["total_minutes"], 1.7);
    assert_eq!(report["summary"]["currency"], "USD");
    assert_eq!(report["logs"][0]["key"], "2027-01-15");
    assert_eq!(report["logs"][0]["usage"][0]["unit"], "minute");
    assert_eq!(report["budget"], Value::Null);
    let report =
        bench.get(&format!("/v1/usage?{days}&group_by=number&limit=1&offset=1")).await.json();
    assert_eq!((&report["total"], report["logs"].as_array().unwrap().len()), (&json!(3), 1));
    let report = bench.get("/v1/usage?start_date=2027-01-16&end_date=2027-01-17").await.json();
    assert_eq!((&report["logs"], &report["summary"]["total_calls"]), (&json!([]), &json!(0)));
    for (query, status, param) in [
        ("group_by=hour", 400, "group_by"),
        ("start_date=yesterday", 400, "start_date"),
        ("start_date=2026-02-30", 400, "start_date"),
        ("end_date=2026-11-21T00:00:00Z", 400, "end_date"),
        ("start_date=2027-01-02&end_date=2027-01-01", 400, "start_date"),
        ("start_date=2020-01-01&end_date=2027-01-01", 400, "start_date"),
        ("end_date=9999-12-31", 400, "end_date"),
        ("limit=0", 400, "limit"),
        ("limit=101", 400, "limit"),
        ("offset=-1", 400, "offset"),
        ("page=1", 422, "page"),
    ] {
        let answer = bench.get(&format!("/v1/usage?{query}")).await;
        let (was, _, named) = answer.error();
        assert_eq!((was, named.as_deref()), (status, Some(param)), "{query}");
    }
}

#[tokio::test]
async fn what_the_budget_does_not_allow_is_not_dialled() {
    let (here, there) = (bench().await, bench().await);
    let ours = OrganizationId::default();
    let budget = BudgetConfig {
        monthly_limit_micros: 100,
        currency: "USD".to_owned(),
        per_call_hold_micros: 100,
    };
    here.accounts.set_budget(&ours, Some(budget.clone()));
    let dial = json!({"to_number": format!("sip:reception@127.0.0.1:{}", there.sip_port), "trunk_id": "local"});
    let answer = here.post("/v1/calls", dial.to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.json());
    let queued = answer.json();
    assert_eq!(
        (&queued["reservation_status"], &queued["call_id"]),
        (&json!("reserved"), &queued["id"])
    );
    let refused = here.post("/v1/calls", dial.to_string()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (402, "budget_exceeded".to_owned()));
    let report = here.get("/v1/usage").await.json();
    assert_eq!(report["budget"]["held_micros"], 100);
    let path = format!("/v1/calls/{}", queued["id"].as_str().unwrap());
    let over = within(async {
        loop {
            let shown = here.get(&path).await.json();
            match shown["status"].as_str().unwrap() {
                "in_progress" => {
                    here.post(&format!("{path}/end"), "{}").await;
                }
                "completed" => return shown,
                _ => {}
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(over["reservation_status"], "settled");
    let report = here.get("/v1/usage").await.json();
    assert_eq!(report["budget"]["held_micros"], 0);
    assert_eq!(here.post("/v1/calls", dial.to_string()).await.status, 202);
}

#[tokio::test]
async fn a_caller_is_refused_by_503_when_the_budget_is_used_up() {
    let (here, there) = (bench().await, bench().await);
    let budget = BudgetConfig {
        monthly_limit_micros: 100,
        currency: "USD".to_owned(),
        per_call_hold_micros: 101,
    };
    there.accounts.set_budget(&OrganizationId::default(), Some(budget));
    let to = format!("sip:reception@127.0.0.1:{}", there.sip_port);
    let dial = json!({"to_number": to, "trunk_id": "local"});
    let path = here.post("/v1/calls", dial.to_string()).await.header("location").to_owned();
    let (ours, theirs) = within(async {
        loop {
            let ours = here.get(&path).await.json();
            let theirs = there.get("/v1/calls").await.json();
            if ours["ended_at"].is_string() && theirs["items"][0]["ended_at"].is_string() {
                return (ours, theirs["items"][0].clone());
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ours["sip_status"], 503);
    assert_eq!(
        (&theirs["status"], &theirs["end_reason"]),
        (&json!("failed"), &json!("budget_exceeded"))
    );
    assert_eq!(theirs["reservation_status"], "none");
    assert_eq!(there.get("/v1/status").await.json()["active_calls"], 0);
}

fn said(n: u32) -> TurnRecord {
    TurnRecord {
        id: TurnId(n),
        role: TurnRole::User,
        origin: TurnOrigin::User,
        content: "Yes.".to_owned().into(),
        spoken_content: None,
        interrupted: false,
        offset_ms: 0,
        duration_ms: 1,
        confidence: None,
        latency: None,
        error: None,
        tool: None,
        failovers: Vec::new(),
    }
}

async fn analyze(bench: &Bench, n: u64, body: Value) -> Answer {
    bench.post(&format!("/v1/calls/{}/analyze", id(n)), body.to_string()).await
}

#[tokio::test]
async fn a_call_that_is_over_can_be_analysed_again() {
    let bench = bench().await;
    let mut record = ended(1, EndReason::UserHangup);
    record.result = Some(json!({"old": true}).into());
    record.result_status = Some(AfterStatus::Completed);
    bench.put(record.clone()).await;
    bench.store.apply(&[Write::Turn(record.id, Box::new(said(0)))]).await.unwrap();
    let made = json!({"name": "mood", "user_prompt": "How was it? {transcript}"});
    let ours = bench.post("/v1/analysis-templates", made.to_string()).await.json()["id"].clone();
    let (_, key) = bench.tenant().await;
    let path = "/v1/analysis-templates";
    let theirs = bench.with_key(&key, "POST", path, &made.to_string()).await.json()["id"].clone();
    assert!(ours.is_string() && theirs.is_string());
    let llm = json!({"provider": "mute"});
    for (body, param) in [
        (json!({}), "llm"),
        (json!({"llm": {"provider": "nobody"}, "summary": true}), "llm"),
        (json!({"llm": llm}), "returns"),
        (json!({"llm": llm, "returns": {"a": "bool"}}), "returns"),
        (json!({"llm": llm, "summary": "yes"}), "summary"),
        (json!({"llm": llm, "analysis_template_ids": [theirs]}), "analysis_template_ids[0]"),
        (json!({"llm": llm, "templates": [{"name": "", "user_prompt": "?"}]}), "templates[0].name"),
        (
            json!({"llm": llm, "templates": [{"name": "a", "user_prompt": "?", "schema": {"type": "x"}}]}),
            "templates[0].schema",
        ),
        (
            json!({"llm": llm, "analysis_template_ids": [ours], "templates": [{"name": "mood", "user_prompt": "?"}]}),
            "templates",
        ),
        (json!({"llm": llm, "analysis_template_ids": vec![&ours; 17]}), "templates"),
        (json!({"llm": llm, "surprise": 1}), "surprise"),
    ] {
        let (status, _, named) = analyze(&bench, 1, body.clone()).await.error();
        assert_eq!((status, named.as_deref()), (422, Some(param)), "{body}");
    }
    let body = json!({"llm": llm, "returns": {"ok": "boolean"}, "analysis_template_ids": [ours]});
    let answer = analyze(&bench, 1, body).await;
    assert_eq!(answer.status, 202, "{}", answer.json());
    assert_eq!(answer.header("location"), format!("/v1/calls/{}", id(1)));
    let begun = answer.json();
    assert_eq!(
        (&begun["result_status"], &begun["analysis_status"]),
        (&json!("pending"), &json!("pending"))
    );
    assert_eq!(
        (&begun["summary_status"], &begun["returns"]),
        (&json!("skipped"), &json!({"ok": "boolean"}))
    );
    let done = within(async {
        loop {
            let shown = bench.get(&format!("/v1/calls/{}", id(1))).await.json();
            if shown["result_status"] != "pending" {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The mute model says nothing, which is no JSON and no text: told, and what was there stays.
    assert_eq!(
        (&done["result_status"], &done["analysis_status"]),
        (&json!("failed"), &json!("failed"))
    );
    assert_eq!(done["result"], json!({"old": true}));
    assert!(done["result_error"].as_str().unwrap().contains("JSON"), "{}", done["result_error"]);
}

#[tokio::test]
async fn what_cannot_be_analysed_is_refused() {
    let bench = bench().await;
    bench.put(call(1)).await;
    bench.put(ended(2, EndReason::UserHangup)).await;
    let mut busy = ended(3, EndReason::UserHangup);
    busy.summary_status = Some(AfterStatus::Pending);
    bench.put(busy).await;
    let mut foreign = ended(4, EndReason::UserHangup);
    foreign.organization_id = OrganizationId::new("another".to_owned());
    bench.put(foreign).await;
    for (n, status, code) in [
        (1, 409, "call_not_over"),
        (2, 409, "no_conversation"),
        (3, 409, "analysis_pending"),
        (4, 404, "call_not_found"),
        (5, 404, "call_not_found"),
    ] {
        let answer = analyze(&bench, n, json!({"summary": true})).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code.to_owned()), "{n}");
    }
}
