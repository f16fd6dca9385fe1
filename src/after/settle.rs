//! One call: what is pending of it is made, all at once, and written down with the events that tell of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};

use super::Models;
use super::ask::Asker;
use super::prompt;
use super::worker::PAUSE;
use crate::dsl::shape::Shape;
use crate::net::clock;
use crate::providers::llm::Llm;
use crate::store::{Store, StoreError, Write};
use crate::types::{
    AfterStatus, AnalysisSpec, CallId, CallRecord, OutboxEvent, OutboxKind, Pii, TurnRecord, Usage,
};
use crate::usage::Accounts;

/// Times a finished piece of work is written before it is left to the next start: a disk that is full or locked may
/// come back, and the models need not be asked again for that.
const WRITES_MAX: u32 = 5;

/// What the work needs.
pub(super) struct Tools {
    pub(super) store: Arc<Store>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) models: Models,
    /// Pause before a provider or a disk that failed is asked again; it grows.
    pub(super) pause: Duration,
}

/// One thing that was made, or why it was not.
enum Piece {
    Result(Result<Value, String>),
    Summary(Result<String, String>),
    Analysis(String, Result<Value, String>),
    /// Nothing can make a result, and nobody is to blame.
    NoResult,
}

/// Everything that was made of a call in time.
#[derive(Default)]
struct Made {
    pieces: Vec<Piece>,
    usage: Vec<Usage>,
}

/// Settles a call, or does nothing if there is nothing to do. What is not made at `deadline` has failed.
///
/// # Errors
/// When the store cannot be read or written.
pub(super) async fn settle(tools: &Tools, id: CallId, deadline: Instant) -> Result<(), StoreError> {
    let Some(record) = tools.store.get(id).await?.filter(CallRecord::is_settling) else {
        return Ok(());
    };
    let turns = tools.store.turns(id).await?;
    let made = make(tools, &record, &turns, deadline).await;
    for tries in 1.. {
        match write(tools, id, &made).await {
            Err(error) if tries < WRITES_MAX => {
                tracing::warn!(call.id = %id, error = &error as &dyn std::error::Error, "after.write_failed");
                tokio::time::sleep(tools.pause * tries).await;
            }
            other => return other,
        }
    }
    Ok(())
}

/// The record is read again: somebody may have changed or erased it in the meantime.
async fn write(tools: &Tools, id: CallId, made: &Made) -> Result<(), StoreError> {
    let Some(mut record) = tools.store.get(id).await?.filter(CallRecord::is_settling) else {
        return Ok(());
    };
    let told = made.note(&mut record);
    let spending = tools.accounts.work_out(&mut record);
    record.updated_at = clock::wall();
    let mut writes = Vec::with_capacity(2);
    if told {
        let event = OutboxEvent::of_call(OutboxKind::AnalysisReady, &record);
        writes.push(Write::Emit(Box::new(event)));
    }
    writes.push(Write::Settle(Box::new(record)));
    tools.store.apply(&writes).await?;
    tools.accounts.spend(spending);
    Ok(())
}

impl Made {
    /// Writes what was made into the record, and what was not as failed. Says whether anything was made.
    fn note(&self, record: &mut CallRecord) -> bool {
        let pending = |status: Option<AfterStatus>| status == Some(AfterStatus::Pending);
        let mut made_any = false;
        let mut outputs = Map::new();
        let mut complaint = None;
        for piece in &self.pieces {
            match piece {
                Piece::Result(Ok(value)) => {
                    record.result = Some(value.clone().into());
                    record.result_status = Some(AfterStatus::Completed);
                    record.result_error = None;
                    made_any = true;
                }
                Piece::Result(Err(error)) => complaint = Some(error.clone()),
                Piece::NoResult => record.result_status = Some(AfterStatus::Skipped),
                Piece::Summary(Ok(text)) => {
                    record.summary = Some(text.clone().into());
                    record.summary_status = Some(AfterStatus::Completed);
                    made_any = true;
                }
                Piece::Analysis(name, Ok(value)) => {
                    outputs.insert(name.clone(), value.clone());
                    made_any = true;
                }
                Piece::Summary(Err(_)) | Piece::Analysis(_, Err(_)) => {}
            }
        }
        if pending(record.analysis_status) {
            let wanted = record.after.as_ref().map_or(0, |plan| plan.templates.len());
            let complete = wanted > 0 && outputs.len() == wanted;
            record.analysis_status =
                Some(if complete { AfterStatus::Completed } else { AfterStatus::Failed });
        }
        if !outputs.is_empty() {
            note_gender(record, &outputs);
            let before = record.analysis.take().map(Pii::into_inner);
            let mut all = before.and_then(|v| v.as_object().cloned()).unwrap_or_default();
            all.extend(outputs);
            record.analysis = Some(Value::Object(all).into());
        }
        if pending(record.result_status) {
            record.result_status = Some(AfterStatus::Failed);
            record.result_error = Some(
                complaint.unwrap_or_else(|| "not made within the time it may take".to_owned()),
            );
        }
        if pending(record.summary_status) {
            record.summary_status = Some(AfterStatus::Failed);
        }
        for row in &self.usage {
            let service = crate::usage::meter::Service {
                kind: row.kind,
                provider: &row.provider,
                model: row.model.as_deref(),
            };
            crate::usage::meter::add(&mut record.usage, service, row.unit, row.quantity);
        }
        made_any
    }
}

/// A template may say what the caller sounds like; nothing here infers it.
fn note_gender(record: &mut CallRecord, outputs: &Map<String, Value>) {
    let said = outputs.values().find_map(|output| output.get("detected_gender")?.as_str());
    if let Some(said) = said {
        record.detected_gender = Some(said.chars().take(64).collect());
    }
}

type Making = Pin<Box<dyn Future<Output = Piece> + Send>>;

async fn make(tools: &Tools, record: &CallRecord, turns: &[TurnRecord], deadline: Instant) -> Made {
    let mut made = Made::default();
    if deadline <= clock::now() {
        return made;
    }
    let plan = record.after.clone().unwrap_or_default();
    if plan.llm.is_empty() {
        made.pieces.extend(from_texts(record));
        return made;
    }
    let Some(llm) = (tools.models)(&record.organization_id, &plan.llm, plan.model.as_deref())
    else {
        tracing::warn!(call.id = %record.id, llm = plan.llm, "after.no_model");
        let error = format!("there is no language model `{}`", plan.llm);
        made.pieces.push(Piece::Result(Err(error)));
        return made;
    };
    let meters = Meters::default();
    let mut making = begin(tools, record, turns, &llm, &meters);
    while let Ok(Some(piece)) = tokio::time::timeout_at(deadline.into(), making.next()).await {
        log(record.id, &piece);
        made.pieces.push(piece);
    }
    if !making.is_empty() {
        tracing::warn!(call.id = %record.id, unfinished = making.len(), "after.timed_out");
    }
    drop(making);
    meters.add_to(&mut made.usage);
    made
}

/// Everything that is pending, begun.
fn begin(
    tools: &Tools,
    record: &CallRecord,
    turns: &[TurnRecord],
    llm: &Arc<dyn Llm>,
    meters: &Meters,
) -> FuturesUnordered<Making> {
    let pending = Some(AfterStatus::Pending);
    let said = Arc::new(prompt::transcript(turns));
    let record = Arc::new(record.clone());
    let asker_with = |llm: &Arc<dyn Llm>| Asker {
        llm: Arc::clone(llm),
        pause: tools.pause,
        conversation: format!("{}:after", record.id),
        tokens: meters.one_more(llm),
    };
    let asker = || asker_with(llm);
    let making = FuturesUnordered::<Making>::new();
    if record.result_status == pending {
        making.push(Box::pin(result(asker(), Arc::clone(&record), Arc::clone(&said))));
    }
    if record.summary_status == pending {
        let (mut asker, record, said) = (asker(), Arc::clone(&record), Arc::clone(&said));
        making.push(Box::pin(async move {
            let text = asker.text(prompt::summary(&record, &said)).await;
            Piece::Summary(text.map_err(|error| error.to_string()))
        }));
    }
    if record.analysis_status == pending {
        let plan = record.after.clone().unwrap_or_default();
        for template in &plan.templates {
            let (provider, model) = plan.model_of(template);
            let Some(llm) = (tools.models)(&record.organization_id, provider, model) else {
                let error = format!("there is no language model `{provider}`");
                let missing = Piece::Analysis(template.name.clone(), Err(error));
                making.push(Box::pin(std::future::ready(missing)));
                continue;
            };
            let (record, said) = (Arc::clone(&record), Arc::clone(&said));
            making.push(Box::pin(analysis(asker_with(&llm), template.clone(), record, said)));
        }
    }
    making
}

async fn result(mut asker: Asker, record: Arc<CallRecord>, said: Arc<Pii<String>>) -> Piece {
    let shape = match Shape::read(record.returns.as_ref().unwrap_or(&Value::Null)) {
        Ok(shape) => shape,
        Err(error) => return Piece::Result(Err(error.to_string())),
    };
    let messages = prompt::extraction(&record, &shape, &said);
    let answer = asker.json(messages, "result", &shape).await;
    Piece::Result(answer.map_err(|error| error.to_string()))
}

async fn analysis(
    mut asker: Asker,
    template: AnalysisSpec,
    record: Arc<CallRecord>,
    said: Arc<Pii<String>>,
) -> Piece {
    let name = template.name.clone();
    if template.schema.is_null() {
        let text = asker.text(prompt::analysis(&record, &template, None, &said)).await;
        let text = text.map(Value::String).map_err(|error| error.to_string());
        return Piece::Analysis(name, text);
    }
    let shape = match Shape::of_schema(&template.schema) {
        Ok(shape) => shape,
        Err(error) => return Piece::Analysis(name, Err(error.to_string())),
    };
    let messages = prompt::analysis(&record, &template, Some(&shape), &said);
    let answer = asker.json(messages, &name, &shape).await;
    Piece::Analysis(name, answer.map_err(|error| error.to_string()))
}

/// Without a model, the result is what the call itself set under the names that are asked for.
fn from_texts(record: &CallRecord) -> Option<Piece> {
    let shape = match Shape::read(record.returns.as_ref()?) {
        Ok(shape) => shape,
        Err(error) => return Some(Piece::Result(Err(error.to_string()))),
    };
    Some(match shape.accept_texts(record.variables_extracted.reveal()) {
        Some(value) => Piece::Result(value.map_err(|error| error.to_string())),
        None => Piece::NoResult,
    })
}

fn log(id: CallId, piece: &Piece) {
    let (what, error) = match piece {
        Piece::Result(Err(error)) => ("result", error),
        Piece::Summary(Err(error)) => ("summary", error),
        Piece::Analysis(_, Err(error)) => ("analysis", error),
        _ => return,
    };
    tracing::warn!(call.id = %id, what, error, "after.failed");
}

/// Asks a template's question about a conversation that was no call of ours; `record` says when and in which
/// language it was held.
///
/// # Errors
/// What kept the model from an answer that fits.
pub async fn trial(
    llm: Arc<dyn Llm>,
    template: AnalysisSpec,
    record: CallRecord,
    transcript: String,
) -> Result<Value, String> {
    let conversation = format!("{}:trial", record.id);
    let asker = Asker { llm, pause: PAUSE, conversation, tokens: super::ask::Meter::default() };
    match analysis(asker, template, Arc::new(record), Arc::new(transcript.into())).await {
        Piece::Analysis(_, answer) => answer,
        _ => Err("there is no answer".to_owned()),
    }
}

/// Tokens of every question, also of those the deadline cut off, by the model they were asked of.
#[derive(Default)]
struct Meters {
    all: std::sync::Mutex<Vec<(Arc<dyn Llm>, super::ask::Meter)>>,
}

impl Meters {
    fn one_more(&self, llm: &Arc<dyn Llm>) -> super::ask::Meter {
        let meter = super::ask::Meter::default();
        let mut all = self.all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.push((Arc::clone(llm), meter.clone()));
        meter
    }

    fn add_to(&self, usage: &mut Vec<Usage>) {
        let all = self.all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (llm, meter) in all.iter().filter(|(llm, _)| llm.is_metered()) {
            meter.total().add_to(usage, llm.name(), llm.model());
        }
    }
}
