//! Asks servers: a tool's own, or the signed `tool.call` and `transfer.request` webhooks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{bounded, of_server, of_webhook, redacted};
use super::plan::{Asked, Job, Plan, plan};
use super::spec::ToolSpec;
use super::{Action, Outcome, ToolsConfig};
use crate::dsl::template::{Place, Scope, escape};
use crate::egress::{self, Client, Overflow, Policy};
use crate::schema::call::Call;
use crate::schema::tool::{ToolPolicy, ToolType};
use crate::types::CallRecord;
use crate::webhook::{AskKind, Asker, Question, Whom};

/// Most of a server's answer that is read, bytes; [`super::answer`] cuts further.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;
/// What the model is told of a tool that answers later, unless the tool says otherwise.
const ASYNC_RESPONSE: &str = "The request was sent; its result does not come back here.";

/// Longest that a trial takes: whoever asked for it waits for the answer of a request.
const TRIAL_WAIT: Duration = Duration::from_secs(30);

/// The call that a tool is used in.
#[derive(Clone)]
pub struct Facts {
    /// Its record as it stands.
    pub record: CallRecord,
    /// Values for templates.
    pub variables: BTreeMap<String, String>,
    /// Where the agent's webhooks go.
    pub webhook_url: Option<String>,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What the model is told.
    pub outcome: Outcome,
    /// What the call does now: a transfer whose destination was asked for.
    pub action: Option<Action>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, action: None }
    }
}

/// Asks servers; cheap to clone.
#[derive(Clone)]
pub struct Runner {
    client: Client,
    asker: Option<Asker>,
    config: Arc<ToolsConfig>,
}

impl Runner {
    /// A runner; without `asker` there are no signed webhooks.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(config: ToolsConfig, asker: Option<Asker>) -> Result<Self, egress::EgressError> {
        let policy =
            Policy { allow_private_targets: config.allow_private_targets, ..Policy::default() };
        Ok(Self { client: Client::new(policy)?, asker, config: Arc::new(config) })
    }

    /// Longest time that a job can take: what comes later is an error.
    pub fn limit(&self, job: &Job) -> Duration {
        let ms = match job.spec.tool.r#type {
            ToolType::Transfer => self.config.transfer_request_ms,
            _ => job.spec.tool.timeout_ms,
        };
        Duration::from_millis(ms.into())
    }

    /// Runs a job to its end, or sends it off if the model does not wait for the answer.
    pub async fn run(&self, job: Job, facts: Arc<Facts>) -> Done {
        if job.spec.tool.r#type == ToolType::Transfer {
            return self.destination(&job, &facts).await;
        }
        if !job.spec.tool.r#async {
            return self.exchange(&job, &facts).await.into();
        }
        let said = job.spec.tool.async_response.clone();
        let this = self.clone();
        // Bounded by its timeout; the call may be over before it is.
        tokio::spawn(async move {
            let outcome = this.exchange(&job, &facts).await;
            if outcome.is_error {
                tracing::warn!(call.id = %facts.record.id, tool = %job.spec.name, status = ?outcome.status_code, "an async tool failed");
            }
        });
        Outcome::ok(said.unwrap_or_else(|| ASYNC_RESPONSE.to_owned())).into()
    }

    /// Runs a tool once outside a call, and waits also for one whose answer calls do not wait for. That the caller
    /// said yes is taken for granted. Says what a call would do itself, instead of doing it.
    pub async fn trial(&self, spec: &ToolSpec, arguments: &Value, facts: Facts) -> Done {
        let mut spec = spec.clone();
        spec.tool.policy = ToolPolicy::Read;
        spec.tool.r#async = false;
        let text = arguments.to_string();
        let asked = Asked {
            call_id: "trial",
            name: &spec.name,
            arguments: &text,
            language: "en",
            question: None,
            reply: None,
        };
        match plan(std::slice::from_ref(&spec), asked) {
            Plan::Ask(job) => {
                let limit = self.limit(&job).min(TRIAL_WAIT);
                let running = self.run(*job, Arc::new(facts));
                let done = tokio::time::timeout(limit, running).await;
                done.unwrap_or_else(|_| Outcome::failed("no answer in time").into())
            }
            Plan::Act(action) => {
                let outcome = Outcome::ok("a call does this itself");
                Done { outcome, action: Some(action) }
            }
            Plan::Refuse(outcome) => outcome.into(),
        }
    }

    async fn exchange(&self, job: &Job, facts: &Facts) -> Outcome {
        if job.spec.tool.url.is_empty() {
            return self.webhook(job, facts).await;
        }
        let request = match request(job, facts) {
            Ok(request) => request,
            Err(why) => return Outcome::failed(format!("the request could not be written: {why}")),
        };
        let timeout = self.limit(job);
        let headers = request.headers.clone();
        let request = egress::Request { timeout, ..request };
        let outcome = match self.client.send(request).await {
            Ok(response) => of_server(response.status, &response.body),
            Err(error) => Outcome::failed(error.to_string()),
        };
        let own = headers.into_iter().filter(|(name, _)| job.spec.tool.headers.contains_key(name));
        Outcome { text: redacted(outcome.text, &own.collect::<Vec<_>>()), ..outcome }
    }

    async fn webhook(&self, job: &Job, facts: &Facts) -> Outcome {
        let function = json!({"name": job.spec.name, "arguments": job.arguments});
        let call = json!({"id": job.call_id, "type": "function", "function": function});
        let data = json!({"call": Call::from(&facts.record), "tool_call_list": [call]});
        match self.ask(AskKind::ToolCall, data, facts, self.limit(job)).await {
            Ok(answer) => of_webhook(&job.call_id, &answer),
            Err(outcome) => outcome,
        }
    }

    /// Asks where a transfer goes.
    async fn destination(&self, job: &Job, facts: &Facts) -> Done {
        let tool_call =
            json!({"id": job.call_id, "name": job.spec.name, "arguments": job.arguments});
        let data = json!({"call": Call::from(&facts.record), "tool_call": tool_call});
        let answer = self.ask(AskKind::TransferRequest, data, facts, self.limit(job)).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(outcome) => return outcome.into(),
        };
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        if text("mode").is_some_and(|mode| mode != "blind") {
            return Outcome::failed("only blind transfers are possible").into();
        }
        let Some(destination) = text("destination").filter(|text| !text.is_empty()) else {
            let why = text("error").unwrap_or_else(|| "nobody can take the call now".to_owned());
            return Outcome::failed(bounded(why)).into();
        };
        let action = Action::Transfer { destination, message: text("message") };
        Done { outcome: Outcome::ok("transferring"), action: Some(action) }
    }

    async fn ask(
        &self,
        kind: AskKind,
        data: Value,
        facts: &Facts,
        timeout: Duration,
    ) -> Result<Value, Outcome> {
        let Some(asker) = &self.asker else {
            return Err(Outcome::failed("this tool has no URL, and there is no webhook to ask"));
        };
        let default = Some(&self.config.webhook_url).filter(|url| !url.is_empty());
        let agent = facts.record.webhook_agent.clone();
        let whom = match &facts.webhook_url {
            Some(url) => Whom::Url { url: url.clone(), agent },
            None => Whom::Organization { otherwise: default.cloned() },
        };
        let question = Question {
            kind,
            organization: facts.record.organization_id.clone(),
            whom,
            data,
            timeout,
        };
        asker.ask(question).await.map_err(|error| {
            let status_code = match &error {
                crate::webhook::AskError::Status(status) => Some(*status),
                _ => None,
            };
            Outcome { status_code, ..Outcome::failed(error.to_string()) }
        })
    }
}

/// The request to a tool's own server: arguments in the query of a GET or DELETE, else as JSON.
fn request(job: &Job, facts: &Facts) -> Result<egress::Request, String> {
    let tool = &job.spec.tool;
    let mut scope = Scope::default();
    for (name, value) in &facts.variables {
        scope.text(name, value);
    }
    let call = json!({
        "id": facts.record.id.to_string(),
        "from_number": facts.record.from_number.reveal(),
        "to_number": facts.record.to_number.reveal(),
    });
    scope.json("args", &job.arguments);
    scope.json("call", &call);
    let render = |text: &str, place| scope.render(text, place).map_err(|error| error.to_string());
    let method = tool.method.to_ascii_uppercase();
    let mut url = render(&tool.url, Place::Url)?;
    let in_query = matches!(method.as_str(), "GET" | "DELETE");
    if in_query {
        for (name, value) in job.arguments.as_object().into_iter().flatten() {
            // What stands in the path is not said twice.
            if tool.url.contains(&format!("args.{name}")) {
                continue;
            }
            url.push(if url.contains('?') { '&' } else { '?' });
            let value = super::answer::text_of(value);
            url.push_str(&format!("{}={}", escape(name), escape(&value)));
        }
    }
    let mut headers = Vec::with_capacity(tool.headers.len() + 3);
    for (name, value) in &tool.headers {
        headers.push((name.clone(), render(value, Place::Header)?));
    }
    let own = |name: &str| tool.headers.keys().any(|key| key.eq_ignore_ascii_case(name));
    let key = format!("{}-{}", facts.record.id, job.call_id);
    for (name, value) in [("accept", "application/json"), ("idempotency-key", &key)] {
        if !own(name) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let body = if in_query {
        Vec::new()
    } else {
        if !own("content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        job.arguments.to_string().into_bytes()
    };
    Ok(egress::Request {
        method,
        url,
        headers,
        body: body.into(),
        timeout: Duration::ZERO,
        answer_bytes_max: ANSWER_BYTES_MAX,
        overflow: Overflow::Cut,
    })
}
