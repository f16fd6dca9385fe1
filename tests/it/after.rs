//! What is made of a real call once it is over: result, summary, analysis, usage and cost.

use std::sync::Arc;

use serde_json::json;
use trunkline::call::AgentSnapshot;
use trunkline::config::sections;
use trunkline::providers::config::ProviderKind;
use trunkline::providers::llm::openai::OpenAiLlm;
use trunkline::schema::usage::Price;
use trunkline::sim::providers::{MockProviders, Script};
use trunkline::switchboard::Directory;
use trunkline::types::{
    AfterPlan, AfterStatus, AgentId, AnalysisSpec, CallStatus, EndReason, Pii, ReservationStatus,
    Secret, UsageKind, UsageUnit,
};

use crate::conversation::Talk;
use crate::support::server::Server;

/// Tokens of every request, as the model counts them.
const TOKENS: (u64, u64) = (200, 20);
const RESULT: &str = r#"{"confirmed": true, "mood": "good"}"#;
const WORDS: &str = "The table is yours.";

async fn models() -> MockProviders {
    let mut script = Script::default();
    script.llm.replies = vec![WORDS.to_owned()];
    script.llm.json = RESULT.to_owned();
    script.llm.usage = Some(TOKENS);
    MockProviders::start(script).await.expect("the mock model")
}

/// The demo agent with a model instead of its script, which wants everything made of its calls.
fn desk(directory: Directory, models: &MockProviders, plan: AfterPlan) -> Directory {
    let demo = AgentId("demo".to_owned());
    let agent = directory.agent(&demo).expect("the demo agent");
    let mut own: AgentSnapshot = (*agent).clone();
    own.id = AgentId("desk".to_owned());
    own.llm = Arc::new(OpenAiLlm {
        name: "mind".to_owned(),
        base_url: format!("{}/v1", models.llm_url),
        api_key: Secret::default(),
        model: "m-1".to_owned(),
    });
    own.facts.returns = Some(json!({
        "confirmed": "boolean", "mood": ["good", "bad"], "reschedule_to": "datetime",
    }));
    own.facts.after = plan;
    directory.with_made(Arc::new(own))
}

fn plan() -> AfterPlan {
    AfterPlan {
        llm: "mind".to_owned(),
        summary: true,
        templates: vec![AnalysisSpec {
            name: "review".to_owned(),
            system_prompt: "You review calls.".to_owned(),
            user_prompt: "{transcript}".to_owned(),
            schema: json!({"type": "object", "required": ["mood"]}),
            provider: None,
            model: None,
        }],
        ..AfterPlan::default()
    }
}

fn price(kind: UsageKind, unit: UsageUnit, price_micros: u64) -> Price {
    let provider = "*".to_owned();
    Price { kind, provider, model: None, unit, prefix: None, price_micros, per: 1 }
}

async fn server(models: &MockProviders, plan: AfterPlan) -> Server {
    let url = format!("{}/v1", models.llm_url);
    Server::with_agents(
        |config| {
            let mind = sections::Provider {
                kind: ProviderKind::OpenAi,
                base_url: url,
                model: "m-1".to_owned(),
                ..sections::Provider::default()
            };
            config.providers.insert("mind".to_owned(), mind);
            config.prices = vec![
                price(UsageKind::Telephony, UsageUnit::Minute, 60_000),
                price(UsageKind::Llm, UsageUnit::TokenIn, 3),
                price(UsageKind::Llm, UsageUnit::TokenOut, 5),
                price(UsageKind::Tts, UsageUnit::Character, 7),
            ];
            config.budget.monthly_limit_micros = 1_000_000_000;
            config.budget.per_call_hold_micros = 1_000;
        },
        |directory| desk(directory, models, plan),
    )
    .await
}

// covers: S0-15 S0-24 S1-25 S1-26 S4-08 S4-09
#[tokio::test(flavor = "multi_thread")]
async fn a_call_gets_its_result_and_its_cost() {
    let models = models().await;
    let server = server(&models, plan()).await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.press('2').await;
    talk.agent_finishes().await;
    let (ended, turns) = talk.finish(&server).await;
    let record = server.settled(ended.id).await;

    assert_eq!(
        (record.status, record.end_reason),
        (CallStatus::Completed, Some(EndReason::UserHangup))
    );
    let result = record.result.map(Pii::into_inner);
    assert_eq!(result, Some(json!({"confirmed": true, "mood": "good", "reschedule_to": null})));
    assert_eq!(record.result_status, Some(AfterStatus::Completed), "{:?}", record.result_error);
    assert_eq!(record.summary.unwrap().reveal(), WORDS);
    assert_eq!(record.summary_status, Some(AfterStatus::Completed));
    let analysis = record.analysis.unwrap().into_inner();
    assert_eq!(analysis["review"], json!({"confirmed": true, "mood": "good"}));

    let quantity = |kind, unit| -> f64 {
        let rows = record.usage.iter().filter(|row| row.kind == kind && row.unit == unit);
        rows.map(|row| row.quantity).sum()
    };
    // One reply during the call; result, summary and review after it.
    assert_eq!(quantity(UsageKind::Llm, UsageUnit::TokenIn), 4.0 * TOKENS.0 as f64);
    assert_eq!(quantity(UsageKind::Llm, UsageUnit::TokenOut), 4.0 * TOKENS.1 as f64);
    let said: usize = turns
        .iter()
        .filter(|turn| turn.role == trunkline::types::TurnRole::Assistant)
        .map(|turn| turn.content.reveal().chars().count())
        .sum();
    assert_eq!(quantity(UsageKind::Tts, UsageUnit::Character), said as f64);
    let heard = quantity(UsageKind::Stt, UsageUnit::Second);
    let talked = record.talk_ms.unwrap() as f64 / 1_000.0;
    assert!(heard > 0.0 && heard <= talked + 0.5, "{heard} s heard of {talked} s");
    let billed = record.talk_ms.unwrap().div_ceil(1_000);
    let minutes = quantity(UsageKind::Telephony, UsageUnit::Minute);
    assert!((minutes * 60.0 - billed as f64).abs() < 1e-6, "{minutes} min for {billed} s");

    let cost = record.cost.unwrap();
    assert_eq!(cost.status, AfterStatus::Completed);
    assert_eq!(cost.telephony_micros, billed * 1_000);
    assert_eq!(cost.llm_micros, 4 * (TOKENS.0 * 3 + TOKENS.1 * 5));
    assert_eq!(cost.tts_micros, said as u64 * 7);
    assert_eq!(cost.total_micros, cost.telephony_micros + cost.llm_micros + cost.tts_micros);
    assert_eq!(record.reservation, ReservationStatus::Settled);
}

// covers: S0-16
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_conversation_is_settled_at_once() {
    let models = models().await;
    let server = server(&models, plan()).await;
    let talk = Talk::begin(&server, "desk").await;
    let (record, _) = talk.finish(&server).await;
    assert!(!record.is_settling(), "the record of the end is the last word");
    for status in [record.result_status, record.summary_status, record.analysis_status] {
        assert_eq!(status, Some(AfterStatus::Skipped));
    }
    assert_eq!(record.result, None);
    assert_eq!(record.cost.unwrap().status, AfterStatus::Completed);
    let asked = models.log.count(|entry| entry.what == trunkline::sim::providers::What::LlmRequest);
    assert_eq!(asked, 0, "nobody was asked what a silence was about");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_there_keeps_no_end_back() {
    let models = models().await;
    let server = server(&models, AfterPlan { llm: "gone".to_owned(), ..plan() }).await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.press('2').await;
    talk.agent_finishes().await;
    let (ended, _) = talk.finish(&server).await;
    let record = server.settled(ended.id).await;
    assert_eq!(record.result_status, Some(AfterStatus::Failed));
    assert_eq!(record.result_error.as_deref(), Some("there is no language model `gone`"));
    assert_eq!(record.summary_status, Some(AfterStatus::Failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_template_is_tried_without_a_call() {
    let models = models().await;
    let server = server(&models, plan()).await;
    let desk = crate::trials::Desk::of(&server);
    let template = json!({"name": "mood", "system_prompt": "You review calls.", "provider": "mind",
        "schema": {"type": "object", "required": ["mood"], "properties": {"mood": {"type": "string"}}}});
    let (status, made) = desk.post("/analysis-templates", template).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/analysis-templates/{}/test", made["id"].as_str().unwrap());
    let body = json!({"agent_id": "desk", "transcript": "user: Thank you, that was quick!"});
    let (status, said) = desk.post(&path, body).await;
    assert_eq!((status, &said["output"]["mood"]), (200, &json!("good")), "{said}");
    assert_eq!(said["error"], serde_json::Value::Null);

    let unknown = json!({"name": "mood", "provider": "nobody"});
    let (status, refused) = desk.post("/analysis-templates", unknown).await;
    assert_eq!((status, &refused["error"]["param"]), (422, &json!("provider")), "{refused}");
}
