//! Voicy: the call model and its latency breakdown.

use serde_json::{Value, json};
use trunkline::sim::providers::{Fault, MockStage};

use super::{Desk, HEARD, OURS, REPLY, THEIRS, ms_between, text, time};
use crate::support::wait;

/// What only the whole call has.
const OMITTED: [&str; 6] = [
    "transcript",
    "summary",
    "recording_url",
    "detected_gender",
    "variables",
    "variables_extracted",
];

// covers: S1-01..S1-04 S1-06 S1-08..S1-14 S1-24..S1-29 E2-15
#[tokio::test(flavor = "multi_thread")]
async fn the_call_model_field_by_field() {
    let mut desk = Desk::open().await;
    let body = desk.order(json!({"variables": {"who": "Bob"}}));
    let (dialled, _) = desk.conversation(body).await;
    let listed = desk.get("/v1/calls?direction=outgoing&status=ended").await;
    let row = listed["items"][0].as_object().expect("a row");
    assert_eq!((&listed["total"], &row["id"]), (&json!(1), &json!(dialled.id)));
    for heavy in OMITTED.iter().chain(&["persona", "instructions", "prompt", "turns", "result"]) {
        assert!(!row.contains_key(*heavy), "{heavy}");
    }
    let call = desk.get(&format!("{}?include=transcript,usage", dialled.path())).await;
    for heavy in OMITTED {
        assert!(call.get(heavy).is_some_and(|value| !value.is_null()), "{heavy} of {call}");
    }
    assert_eq!(call["id"], dialled.id);
    assert_eq!((text(&call, "call_type"), text(&call, "direction")), ("phone_call", "outbound"));
    assert_eq!((text(&call, "status"), text(&call, "end_reason")), ("completed", "user_hangup"));
    assert_eq!((&call["agent_id"], text(&call, "agent_name")), (&json!(desk.agent), "Ada"));
    assert_eq!(call["agent_version"], 1);
    let organization = desk.get("/v1/organization").await;
    assert_eq!(call["organization_id"], organization["id"]);
    assert_eq!((text(&call, "from_number"), text(&call, "to_number")), (OURS, THEIRS));
    assert!(time(&call, "started_at") <= time(&call, "answered_at"));
    let ms = call["duration_ms"].as_i64().expect("a duration");
    assert!((ms - ms_between(&call, "started_at", "ended_at")).abs() <= 100);
    assert_eq!(call["variables"], json!({"day": "Friday", "who": "Bob"}));
    assert_eq!(call["variables_extracted"], json!({"party": "4"}), "set by the agent meanwhile");
    assert_eq!((text(&call, "summary"), text(&call, "summary_status")), (REPLY, "completed"));
    assert_eq!(text(&call, "detected_gender"), "female", "as the review reported it");
    turns(&call["transcript"]);
    costs(&call);
    link(&desk, &call).await;
}

/// Who said what, and when.
fn turns(transcript: &Value) {
    let mut turns = transcript.as_array().expect("turns").clone();
    // What a tool did is kept when it is done, whatever the agent says meanwhile.
    turns.sort_by_key(|turn| turn["offset_ms"].as_u64());
    let roles: Vec<&str> = turns.iter().map(|turn| text(turn, "role")).collect();
    assert_eq!(roles, ["assistant", "user", "tool", "assistant"], "{transcript}");
    assert_eq!(text(&turns[1], "content"), HEARD);
    assert_eq!(text(&turns[3], "content"), REPLY);
    assert_eq!(turns[3]["spoken_content"], REPLY, "all of it was heard");
    assert_eq!(turns[2]["tool"]["name"], "set_variable");
    assert_eq!(turns[2]["tool"]["arguments"], json!({"name": "party", "value": "4"}));
    let offset = |turn: &Value| turn["offset_ms"].as_u64().expect("an offset");
    let length = |turn: &Value| turn["duration_ms"].as_u64().expect("a duration");
    assert!(offset(&turns[1]) >= offset(&turns[0]) + length(&turns[0]), "{transcript}");
    assert!(offset(&turns[3]) >= offset(&turns[1]) + length(&turns[1]), "{transcript}");
    assert!(length(&turns[1]) > 500, "{transcript}");
}

/// The breakdown of the cost is what was used, at the prices of the table.
fn costs(call: &Value) {
    let usage = call["usage"].as_array().expect("usage");
    for kind in ["stt", "llm", "tts", "telephony"] {
        let rows = usage.iter().filter(|row| row["kind"] == kind);
        let sum: u64 = rows.filter_map(|row| row["amount_micros"].as_u64()).sum();
        assert_eq!(call["cost"][format!("{kind}_micros")], sum, "{kind} of {call}");
        assert!(usage.iter().any(|row| row["kind"] == kind), "{kind} of {call}");
    }
}

/// The signed link needs no key, lasts an hour, and gives the sound.
async fn link(desk: &Desk, call: &Value) {
    let url = text(call, "recording_url");
    assert_eq!(call["recording"]["url"], url);
    let left = time(&call["recording"], "expires_at").as_second()
        - trunkline::net::clock::wall().as_second();
    assert!((3_590..=3_600).contains(&left), "{left} s");
    let answer = reqwest::get(format!("http://{}{url}", desk.server.running.api()));
    let answer = answer.await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"audio/wav".parse().unwrap())
    );
}

// covers: S1-15..S1-23
#[tokio::test(flavor = "multi_thread")]
async fn the_latency_of_a_turn_field_by_field() {
    let mut desk = Desk::open().await;
    let mut script = super::script();
    script.llm.calls.clear();
    desk.models.script(script);
    let body = desk.order(json!({}));
    let (dialled, call) = desk.conversation(body).await;
    let transcript = desk.get(&format!("{}/transcript", dialled.path())).await;
    let turns = transcript["turns"].as_array().expect("turns");
    assert_eq!((text(&turns[1], "role"), &turns[1]["latency"]), ("user", &Value::Null));
    assert_eq!(turns[0]["latency"]["total_perceived_ms"], Value::Null, "a greeting answers nobody");
    assert!(turns[0]["latency"]["trigger_to_audio_ms"].is_u64());
    let latency = &turns[2]["latency"];
    let ms = |field: &str| latency[field].as_u64().unwrap_or_else(|| panic!("{field}: {latency}"));
    // What each engine takes is scripted; a machine that is busy only adds to it.
    for (field, least) in [
        ("vad_delay_ms", 400),
        ("stt_finalize_ms", 200),
        ("llm_startup_ms", 75),
        ("llm_first_sentence_ms", 1),
        ("tts_synthesis_ms", 55),
        ("send_overhead_ms", 0),
        ("total_perceived_ms", 540),
    ] {
        assert!((least..10_000).contains(&ms(field)), "{field}: {latency}");
    }
    let parts = [
        "vad_delay_ms",
        "stt_finalize_ms",
        "llm_startup_ms",
        "llm_first_sentence_ms",
        "tts_synthesis_ms",
        "send_overhead_ms",
    ];
    let sum: u64 = parts.into_iter().map(ms).sum();
    assert!(ms("total_perceived_ms") < sum, "recognition runs beside the wait: {latency}");
    assert!(parts.into_iter().all(|part| ms(part) <= ms("total_perceived_ms") + 1), "{latency}");
    let path = latency["critical_path"].as_object().expect("a path");
    let path: u64 = path
        .iter()
        .filter(|(name, _)| name.ends_with("_ms"))
        .filter_map(|(_, ms)| ms.as_u64())
        .sum();
    assert!(path.abs_diff(ms("total_perceived_ms")) <= 1, "{latency}");
    // The call's statistics are those of its one turn.
    let report = desk.get(&format!("{}/latency", dialled.path())).await;
    assert_eq!(report["summary"], call["latency"]);
    let total = &call["latency"]["total_perceived_ms"];
    assert_eq!((&total["n"], &total["max"]), (&json!(1), &json!(ms("total_perceived_ms"))));
    assert_eq!(report["turns"].as_array().unwrap().last().unwrap()["latency"], *latency);
}

// covers: S1-05 S1-07 S1-13 S2-14 S4-04 E2-03
#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_a_call_one_after_the_other() {
    let mut desk = Desk::open().await;
    let body = desk.order(json!({}));
    let dialled = desk.dial(body).await;
    desk.reaches(&dialled, "initiated").await;
    let connecting = desk.get("/v1/calls?status=connecting").await;
    assert_eq!(connecting["items"][0]["id"], dialled.id);
    desk.ring(&dialled).await;
    let ringing = desk.get(&dialled.path()).await;
    assert!(ringing["started_at"].is_string() && ringing["answered_at"].is_null(), "{ringing}");
    let _line = desk.pick_up(&dialled).await;
    let live = desk.reaches(&dialled, "in_progress").await;
    for null in [
        "duration_ms",
        "duration_seconds",
        "billed_duration_seconds",
        "ended_at",
        "end_reason",
        "outcome",
    ] {
        assert_eq!(live[null], Value::Null, "{null} of a live call");
    }
    for word in ["ongoing", "in-progress"] {
        let list = desk.get(&format!("/v1/calls?status={word}")).await;
        assert_eq!(list["items"][0]["status"], "in_progress", "{word}");
    }
    desk.hang_up(&dialled).await;
    desk.reaches(&dialled, "completed").await;
    for (answer, status, reason) in [
        ("600 Busy Everywhere", "busy", "busy"),
        ("480 Temporarily Unavailable", "no_answer", "no_answer"),
        ("488 Not Acceptable Here", "failed", "media_negotiation_failed"),
    ] {
        let call = desk.refused(answer, "").await;
        assert_eq!((text(&call, "status"), text(&call, "end_reason")), (status, reason));
    }
    // 487 is two things: nobody picked up in time, or the call was taken back.
    for (ring_s, status) in [(1, "no_answer"), (60, "canceled")] {
        let body = desk.order(json!({"ring_timeout_seconds": ring_s}));
        let dialled = desk.dial(body).await;
        desk.ring(&dialled).await;
        if status == "canceled" {
            let path = format!("{}/end", dialled.path());
            assert_eq!(desk.api.send("POST", &path, json!({})).await.0, 200);
        }
        let cancel = desk.carrier.request("CANCEL").await;
        desk.carrier.answer(&cancel, "200 OK", "", "").await;
        desk.carrier.answer(&dialled.invite, "487 Request Terminated", "", "").await;
        let call = desk.reaches(&dialled, status).await;
        assert_eq!(text(&call, "end_reason"), status);
        let causes = if status == "canceled" {
            (json!(null), json!("api"))
        } else {
            (json!(487), json!("carrier"))
        };
        assert_eq!((&call["sip_status"], &call["ended_by"]), (&causes.0, &causes.1));
    }
}

// covers: S1-06 S2-15
#[tokio::test(flavor = "multi_thread")]
async fn why_an_answered_call_stops() {
    let silent = json!({
        "inactivity": {"enabled": true, "prompt_after_ms": 1_000, "prompts": ["Hello?"], "max_prompts": 1},
        "tools": [{"type": "end_call"}], "summary": false, "returns": null,
    });
    let mut desk = Desk::with(|_| {}, silent).await;
    let mut script = super::script();
    script.llm.calls = vec![vec![("end_call".to_owned(), "{}".to_owned())]];
    desk.models.script(script);
    // Nobody speaks.
    let body = desk.order(json!({}));
    let dialled = desk.dial(body.clone()).await;
    let _line = desk.pick_up(&dialled).await;
    let call = hung_up(&mut desk, &dialled).await;
    assert_eq!((text(&call, "status"), text(&call, "end_reason")), ("completed", "inactivity"));
    assert_eq!((text(&call, "ended_by"), text(&call, "outcome")), ("system", "completed"));
    // Nobody speaks, and the question whether they are there cannot be said.
    let dialled = desk.dial(body.clone()).await;
    let mut events = desk.server.events();
    let _line = desk.pick_up(&dialled).await;
    super::agent_finishes(&mut events, dialled.call_id()).await;
    desk.models.fault(MockStage::Tts, Fault::Refused);
    desk.models.hang_up(MockStage::Tts);
    let call = hung_up(&mut desk, &dialled).await;
    assert_eq!((text(&call, "status"), text(&call, "end_reason")), ("failed", "error_inactivity"));
    assert_eq!((text(&call, "ended_by"), text(&call, "outcome")), ("system", "failed"));
    assert_eq!(text(&call, "error_stage"), "tts", "{call}");
    desk.models.fault(MockStage::Tts, Fault::None);
    // The agent says goodbye.
    let dialled = desk.dial(body).await;
    let mut events = desk.server.events();
    let line = desk.pick_up(&dialled).await;
    super::agent_finishes(&mut events, dialled.call_id()).await;
    line.say(&crate::support::sound::load(&crate::support::fixture("wav/demo/12_bye.wav")));
    let call = hung_up(&mut desk, &dialled).await;
    assert_eq!((text(&call, "status"), text(&call, "end_reason")), ("completed", "agent_hangup"));
    assert_eq!(text(&call, "ended_by"), "agent");
}

/// Our BYE, answered; the call as it is then.
async fn hung_up(desk: &mut Desk, dialled: &super::Dialled) -> Value {
    let bye = desk.carrier.request("BYE").await;
    desk.carrier.answer(&bye, "200 OK", "", "").await;
    wait::until("the end", async || {
        let call = desk.get(&dialled.path()).await;
        call["ended_at"].is_string().then_some(call)
    })
    .await
}
