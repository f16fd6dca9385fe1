//! Agents with a receiver of their own: which events, whose secret, whom their tools ask.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::dispatch::{Bench, bench, call, fast, input, live, ours, types};
use super::{Got, Receiver};
use crate::schema::webhook::SignatureStyle;
use crate::store::DeliveryStatus;
use crate::types::{AgentId, CallEvent, CallEventKind, CallRecord, Secret};
use crate::webhook::endpoint::EndpointError;
use crate::webhook::sign::{Message, SigningSecret, headers};
use crate::webhook::{AskError, AskKind, Question, Whom};

/// Secret of the agent `ada`.
const ADA: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn ada() -> AgentId {
    AgentId("ada".to_owned())
}

/// A bench that knows two agents with secrets: `ada` with a good one, `bob` with none that signs.
async fn with_agents() -> Bench {
    let bench = bench(fast()).await;
    bench.hooks.keyring.look_up_agents(Arc::new(|_, agent| {
        Box::pin(async move {
            Ok(match agent.0.as_str() {
                "ada" => Some(Secret::new(ADA)),
                "bob" => Some(Secret::new("hunter2")),
                _ => None,
            })
        })
    }));
    bench
}

fn is_signed(got: &Got, secret: &SigningSecret) -> bool {
    let (id, kind) = (got.header("webhook-id"), got.header("x-webhook-event"));
    let timestamp = got.header("webhook-timestamp").parse().unwrap();
    let message = Message { id: &id, kind: &kind, timestamp, body: &got.octets };
    let wanted = headers(SignatureStyle::Standard, std::slice::from_ref(secret), message);
    wanted.contains(&("webhook-signature".to_owned(), got.header("webhook-signature")))
}

fn of_agent(seed: u64, receiver: &Receiver, agent: Option<&str>, events: &[&str]) -> CallRecord {
    let mut record = call(seed);
    record.webhook_url = Some(receiver.url.clone().into());
    record.webhook_agent = agent.map(|name| AgentId(name.to_owned()));
    record.webhook_events = events.iter().map(|name| name.to_string()).collect();
    record
}

#[tokio::test]
async fn an_agents_receiver_gets_its_events_signed_with_its_secret() {
    let bench = with_agents().await;
    let receiver = Receiver::start(&[]).await;
    let wanted = ["call.answered", "call.completed", "call.dtmf"];
    let mut record = of_agent(1, &receiver, Some("ada"), &wanted);
    bench.put(&record).await;
    let kind = CallEventKind::DtmfReceived { digit: '5'.into() };
    let entry = CallEvent { seq: 1, call_id: record.id, at: record.created_at, kind };
    bench.store.apply(&[crate::store::Write::Event(Box::new(entry))]).await.unwrap();
    live(&bench, &mut record).await;
    let got = receiver.reaches(3).await;
    bench.settled(3).await;
    assert_eq!(types(&receiver), ["call.dtmf", "call.answered", "call.completed"]);
    let own = SigningSecret::parse(ADA).unwrap();
    assert!(got.iter().all(|got| is_signed(got, &own)));
}

#[tokio::test]
async fn without_a_choice_or_a_secret_it_is_the_usual_events_and_the_organizations() {
    let bench = with_agents().await;
    let receiver = Receiver::start(&[]).await;
    live(&bench, &mut of_agent(1, &receiver, Some("nobody"), &[])).await;
    let got = receiver.reaches(5).await;
    let secret = bench.hooks.keyring.of_organization(&ours()).await.unwrap().current().clone();
    assert!(got.iter().all(|got| is_signed(got, &secret)));
    let usual = ["call.queued", "call.ringing", "call.answered", "call.completed", "call.report"];
    assert_eq!(types(&receiver), usual);
}

#[tokio::test]
async fn what_signs_nothing_sends_nothing() {
    let bench = with_agents().await;
    let receiver = Receiver::start(&[]).await;
    live(&bench, &mut of_agent(1, &receiver, Some("bob"), &["call.completed"])).await;
    let delivery = bench.settled(1).await.remove(0);
    assert_eq!(delivery.status, DeliveryStatus::Canceled);
    let error = delivery.last_error.unwrap();
    assert!(error.contains("webhook_secret") && !error.contains("hunter2"), "{error}");
    assert!(receiver.got().is_empty());
}

fn question(kind: AskKind, whom: Whom) -> Question {
    let timeout = Duration::from_secs(10);
    Question { kind, organization: ours(), whom, data: json!({}), timeout }
}

#[tokio::test]
async fn a_tool_asks_its_agent_then_the_organizations_endpoint_then_the_servers_default() {
    let bench = with_agents().await;
    let [agents, endpoints, others, default] = [(); 4].map(|()| Receiver::start(&[]));
    let (agents, endpoint) = (agents.await, endpoints.await);
    let (others, default) = (others.await, default.await);
    let ask = async |kind, whom| bench.hooks.asker.ask(question(kind, whom)).await;
    let otherwise = || Whom::Organization { otherwise: Some(default.url.clone()) };
    let nobody = ask(AskKind::ToolCall, Whom::Organization { otherwise: None }).await;
    assert!(matches!(nobody, Err(AskError::Nobody)), "{nobody:?}");
    let _ = ask(AskKind::ToolCall, otherwise()).await;
    assert_eq!(types(&default), ["tool.call"]);
    // Who wants to hear everything does not answer.
    bench.endpoint(&others.url, &["*"]).await;
    let mut wanted = input(&endpoint.url, &["tool.call", "call.completed"]);
    wanted.headers.insert("x-team".to_owned(), "desk".to_owned());
    let (_, secret) = bench.hooks.endpoints.create(&ours(), wanted).await.unwrap();
    // Nor does one that came later.
    bench.endpoint(&others.url, &["tool.call"]).await;
    let _ = ask(AskKind::ToolCall, otherwise()).await;
    let _ = ask(AskKind::TransferRequest, otherwise()).await;
    let url = agents.url.clone();
    let _ = ask(AskKind::ToolCall, Whom::Url { url, agent: Some(ada()) }).await;
    assert_eq!(types(&endpoint), ["tool.call"]);
    assert!(is_signed(&endpoint.got()[0], &secret));
    assert_eq!(endpoint.got()[0].header("x-team"), "desk");
    assert_eq!(types(&default), ["tool.call", "transfer.request"]);
    assert!(is_signed(&agents.got()[0], &SigningSecret::parse(ADA).unwrap()));
    assert!(others.got().is_empty());
    let prefix = bench.hooks.endpoints.create(&ours(), input(&endpoint.url, &["tool.*"])).await;
    assert!(matches!(prefix, Err(EndpointError::Invalid { field: "enabled_events", .. })));
}
