//! Tools of the model during a reply: which run, what they give, and how the reply goes on.
//!
//! A round is what one request of the model asks for. Its tools run side by side in tasks of their own, so
//! that neither the session nor its audio waits for a server. A caller who interrupts stops what only
//! reads; what writes is finished, and its result is noted for the next reply.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::session::{Later, Session};
use super::transfer;
use crate::net::clock;
use crate::providers::llm::ToolCall;
use crate::telemetry::metrics;
use crate::tools::{Action, Asked, Done, Facts, Job, Outcome, Plan, plan};
use crate::turn::Input;
use crate::types::call::TurnRole;
use crate::types::{AgentId, CallEventKind, Pii, ToolUse, TurnId};
use crate::usage::DialPath;

/// Tools that one round runs; the model is told that the others did not.
const ROUND_MAX: usize = 8;
/// Tools of one call that run at the same time, those of interrupted replies included.
const RUNNING_MAX: usize = 16;
/// Beyond a tool's own limit: its task has that long to say so.
const GRACE: Duration = Duration::from_secs(1);

/// A tool that runs.
struct Run {
    turn: TurnId,
    slot: usize,
    call: ToolCall,
    arguments: Value,
    begun: Instant,
    writes: bool,
    abort: AbortHandle,
}

/// What one request of the model asked for.
struct Round {
    turn: TurnId,
    /// The calls in order, with what the model is told once it is known.
    results: Vec<(String, Option<String>)>,
    finish: Option<Finish>,
}

/// The reply ends with this round: what follows is not the model's any more.
struct Finish {
    /// Last words of the reply.
    message: Option<String>,
    then: Then,
}

/// What follows a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The end of the call.
    EndCall,
    /// A REFER; the destination is checked.
    Transfer { destination: Pii<String> },
    /// Another agent.
    Handoff { agent: AgentId, message: Option<Pii<String>> },
    /// A hold.
    Hold { seconds: u64 },
}

/// Tools of one call.
#[derive(Default)]
pub(super) struct ToolRuns {
    tasks: JoinSet<Done>,
    runs: HashMap<Id, Run>,
    round: Option<Round>,
}

impl ToolRuns {
    /// The next tool that is done. Cancellation-safe.
    pub(super) async fn next(&mut self) -> (Id, Option<Done>) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, done))) => (id, Some(done)),
            Some(Err(failed)) => (failed.id(), None),
            None => pending().await,
        }
    }

    /// Takes what runs for `turn` (for every turn without one) and may be cut off; it is told to stop.
    fn cut(&mut self, turn: Option<TurnId>) -> Vec<Run> {
        if turn.is_none_or(|turn| self.round.as_ref().is_some_and(|round| round.turn == turn)) {
            self.round = None;
        }
        let of = |run: &Run| !run.writes && turn.is_none_or(|turn| run.turn == turn);
        let ids: Vec<Id> = self.runs.iter().filter(|(_, run)| of(run)).map(|(id, _)| *id).collect();
        let cut: Vec<Run> = ids.iter().filter_map(|id| self.runs.remove(id)).collect();
        cut.iter().for_each(|run| run.abort.abort());
        cut
    }
}

impl Session {
    /// The model waits for tools.
    pub(super) fn on_tool_calls(&mut self, turn: TurnId, calls: Vec<ToolCall>) {
        let results = calls.iter().map(|call| (call.id.clone(), None)).collect();
        self.tools.round = Some(Round { turn, results, finish: None });
        let plans: Vec<Plan> =
            calls.iter().enumerate().map(|(slot, call)| self.plan(slot, call)).collect();
        let jobs = plans.iter().filter_map(|plan| match plan {
            Plan::Ask(job) => Some(job),
            Plan::Act(_) | Plan::Refuse(_) => None,
        });
        let limit = jobs.clone().map(|job| self.context.tools.limit(job)).max();
        let speak = jobs.filter_map(|job| job.spec.tool.speak_during.clone()).next();
        let limit = limit.unwrap_or_default() + GRACE * 2;
        let speak = speak.filter(|words| !words.trim().is_empty()).map(Pii::new);
        self.tell(Input::ToolsStarted { turn, speak, limit });
        for (slot, (call, plan)) in calls.into_iter().zip(plans).enumerate() {
            let arguments = arguments_of(&call);
            self.journal.emit(CallEventKind::ToolStarted {
                tool_call_id: call.id.clone(),
                name: call.name.clone(),
                arguments: Pii::new(arguments.clone()),
            });
            match plan {
                Plan::Ask(job) => self.start_job(turn, slot, call, *job),
                Plan::Act(action) => {
                    let outcome = self.act(action);
                    self.ended(turn, (slot, call, arguments), clock::now(), outcome);
                }
                Plan::Refuse(outcome) => {
                    self.ended(turn, (slot, call, arguments), clock::now(), outcome);
                }
            }
        }
        self.conclude();
    }

    fn plan(&self, slot: usize, call: &ToolCall) -> Plan {
        if slot >= ROUND_MAX || self.tools.runs.len() + slot >= RUNNING_MAX {
            metrics::queue_full("call_tools");
            let why = format!("not run: at most {ROUND_MAX} tools at once; call it again");
            return Plan::Refuse(Outcome::failed(why));
        }
        let history = self.machine.history();
        let words = |at: usize| history.get(at).map(|(_, text)| text.reveal().as_str());
        let said = history.iter().rposition(|(role, _)| *role == TurnRole::User);
        let before = history.get(..said.unwrap_or(0)).unwrap_or_default();
        let asked = before.iter().rposition(|(role, _)| *role == TurnRole::Assistant);
        let asked = Asked {
            call_id: &call.id,
            name: &call.name,
            arguments: call.arguments.reveal(),
            language: &self.agent.language,
            question: asked.and_then(words),
            reply: said.and_then(words),
        };
        plan(&self.agent.tools, asked)
    }

    fn start_job(&mut self, turn: TurnId, slot: usize, call: ToolCall, job: Job) {
        let record = self.journal.record();
        let mut variables = record.variables.reveal().clone();
        variables.extend(record.variables_extracted.reveal().clone());
        let facts = Arc::new(Facts {
            record: record.clone(),
            variables,
            webhook_url: record.webhook_url.as_ref().map(|url| url.reveal().clone()),
        });
        let (arguments, writes) = (job.arguments.clone(), job.writes());
        let limit = self.context.tools.limit(&job) + GRACE;
        let runner = self.context.tools.clone();
        let abort = self.tools.tasks.spawn(async move {
            tokio::time::timeout(limit, runner.run(job, facts))
                .await
                .unwrap_or_else(|_| Outcome::failed("the tool took too long").into())
        });
        let id = abort.id();
        let begun = clock::now();
        let run = Run { turn, slot, call, arguments, begun, writes, abort };
        self.tools.runs.insert(id, run);
    }

    /// A task of a tool is over.
    pub(super) fn on_tool(&mut self, id: Id, done: Option<Done>) {
        // Cut off: that was noted when it was.
        let Some(run) = self.tools.runs.remove(&id) else { return };
        let done = done.unwrap_or_else(|| Outcome::failed("the tool failed").into());
        let current = self.tools.round.as_ref().is_some_and(|round| round.turn == run.turn);
        let outcome = match done.action {
            Some(action) if current => self.act(action),
            Some(_) => Outcome::failed("the caller went on talking; nothing was done"),
            None => done.outcome,
        };
        let Run { turn, slot, call, arguments, begun, .. } = run;
        self.ended(turn, (slot, call, arguments), begun, outcome);
        self.conclude();
    }

    /// Notes what a tool gave, for the record and for the model.
    fn ended(
        &mut self,
        turn: TurnId,
        (slot, call, arguments): (usize, ToolCall, Value),
        begun: Instant,
        outcome: Outcome,
    ) {
        if let Some(round) = self.tools.round.as_mut().filter(|round| round.turn == turn)
            && let Some((_, result)) = round.results.get_mut(slot)
        {
            *result = Some(outcome.text.clone());
        }
        let tool = self.note_tool(call, arguments, begun, outcome);
        self.tell(Input::ToolEnded { begun, tool: Box::new(tool) });
    }

    fn note_tool(
        &mut self,
        call: ToolCall,
        arguments: Value,
        begun: Instant,
        outcome: Outcome,
    ) -> ToolUse {
        let took = clock::now().saturating_duration_since(begun);
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let Outcome { text, is_error, status_code } = outcome;
        self.journal.emit(CallEventKind::ToolEnded {
            tool_call_id: call.id.clone(),
            name: call.name.clone(),
            result: Pii::new(text.clone()),
            is_error,
            status_code,
            duration_ms,
        });
        ToolUse {
            call_id: call.id,
            name: call.name,
            arguments: Pii::new(arguments),
            result: Pii::new(text),
            is_error,
            status_code,
            duration_ms,
        }
    }

    /// Goes on once every tool of the round is done: with the model, or with what ends its reply.
    fn conclude(&mut self) {
        let whole = |round: &Round| round.results.iter().all(|(_, result)| result.is_some());
        let Some(round) = self.tools.round.take_if(|round| whole(round)) else { return };
        let Round { turn, results, finish } = round;
        self.tell(Input::ToolsDone { turn });
        let Some(Finish { message, then }) = finish else {
            let told = results.into_iter().map(|(id, text)| (id, text.unwrap_or_default().into()));
            self.voice.resume(turn, told.collect());
            return;
        };
        let silent = message.is_none() && !self.voice.has_spoken(turn);
        self.voice.cancel(turn);
        if let Some(text) = message {
            self.tell(Input::LlmText { turn, text: format!("{text} "), at: clock::now() });
        }
        if then == Then::EndCall {
            self.tell(Input::LlmEndCall { turn });
        } else if silent {
            // Nothing to wait for: the reply has no words, and is owed none.
            self.tell(Input::Interrupt);
            self.follow(then);
            return;
        } else {
            self.after_turn = Some((turn, then));
        }
        self.tell(Input::LlmDone { turn });
    }

    /// Does what a built-in tool asks for, or prepares it for the end of the reply.
    fn act(&mut self, action: Action) -> Outcome {
        let (message, then, told) = match action {
            Action::SendDtmf { digits } => {
                self.send_digits(&Pii::new(digits), 100, 50);
                return Outcome::ok("the keys are being pressed");
            }
            Action::SetVariables(values) => {
                return match self.extract_variables(values) {
                    Ok(()) => Outcome::ok("noted"),
                    Err(error) => Outcome::failed(error.to_string()),
                };
            }
            Action::EndCall { message } => {
                (message, Then::EndCall, "the call ends after your last words")
            }
            Action::Transfer { destination, message } => {
                let Some(target) = transfer::target(&destination) else {
                    return Outcome::failed("the destination is neither a number nor a SIP URI");
                };
                if let Err(refused) = self.may_transfer(DialPath::Tool, None, &target) {
                    return Outcome::failed(refused.to_string());
                }
                if self.transfer.is_some() {
                    return Outcome::failed("a transfer is already under way");
                }
                let then = Then::Transfer { destination: Pii::new(target) };
                (message, then, "the caller is being transferred")
            }
            Action::Hold { seconds } => (None, Then::Hold { seconds }, "the caller is on hold"),
            Action::Handoff { agent, message } => {
                let agent = AgentId(agent);
                if (self.context.agents)(self.journal.record(), &agent).is_none() {
                    return Outcome::failed("there is no such agent");
                }
                let message = message.map(Pii::new);
                (None, Then::Handoff { agent, message }, "the other agent goes on with the call")
            }
        };
        if let Some(round) = &mut self.tools.round {
            round.finish = Some(Finish { message, then });
        }
        Outcome::ok(told)
    }

    /// What a reply led to, now that it is over.
    pub(super) fn follow(&mut self, then: Then) {
        match then {
            Then::EndCall => {}
            Then::Transfer { destination } => self.refer_now(destination),
            Then::Hold { seconds } => {
                let until = clock::now() + Duration::from_secs(seconds);
                self.hold(None, Some(until));
            }
            Then::Handoff { agent, message } => {
                // An agent that is gone since leaves the call with the one it has.
                let _ = self.hand_off(&agent, message, true);
            }
        }
    }

    /// The reply of `turn` is not wanted any more: what reads is cut off, what writes goes on.
    pub(super) fn cancel_tools(&mut self, turn: Option<TurnId>) {
        for run in self.tools.cut(turn) {
            let Run { call, arguments, begun, .. } = run;
            let outcome = Outcome::failed("canceled: the caller went on talking");
            let tool = Box::new(self.note_tool(call, arguments, begun, outcome));
            self.later.push_back(Later::Tell(Input::ToolEnded { begun, tool }));
        }
    }

    /// The call is over: what writes is finished by itself, its result is for nobody.
    pub(super) fn close_tools(&mut self) {
        self.tools.cut(None);
        self.tools.tasks.detach_all();
        let runs: Vec<Run> = self.tools.runs.drain().map(|(_, run)| run).collect();
        for run in runs {
            let Run { call, arguments, begun, .. } = run;
            let outcome = Outcome::failed("the call ended before the tool did");
            self.note_tool(call, arguments, begun, outcome);
        }
    }
}

/// Arguments for the record: JSON if they are.
fn arguments_of(call: &ToolCall) -> Value {
    let text = call.arguments.reveal();
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
}
