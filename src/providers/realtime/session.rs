//! A session's task: inputs become messages, messages become events; one response at a time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;

use super::protocol::{Dialect, Heard, Known, Wire};
use super::{
    Outcome, REALTIME_EVENT_QUEUE, REALTIME_INPUT_QUEUE, RealtimeEvent, RealtimeInput,
    RealtimeParams, RealtimeSession, RealtimeUsage,
};
use crate::net::clock;
use crate::providers::socket::{Endpoint, Incoming, Socket};
use crate::providers::{FailureKind, ProviderError};
use crate::types::Pii;

/// How long the end of a cancelled response is waited for before the next is asked for.
const CANCEL_WAIT: Duration = Duration::from_millis(1_500);

/// Requests for responses that may wait for the one under way.
const WANTED_MAX: usize = 16;

/// What is asked for.
#[derive(Clone, Debug)]
enum Wanted {
    Reply { id: u32, tools: bool },
    Words { id: u32, text: Pii<String> },
}

impl Wanted {
    fn id(&self) -> u32 {
        match self {
            Self::Reply { id, .. } | Self::Words { id, .. } => *id,
        }
    }
}

/// The response under way.
#[derive(Debug)]
struct Active {
    id: u32,
    name: Option<String>,
    /// When it was told to stop.
    cancelled: Option<std::time::Instant>,
}

struct Task {
    wire: Wire,
    socket: Socket,
    endpoint: Endpoint,
    events: mpsc::Sender<RealtimeEvent>,
    active: Option<Active>,
    wanted: VecDeque<Wanted>,
}

/// Connects, sends the settings and what was said before, and waits until the provider has taken them.
pub(super) async fn open(
    endpoint: Endpoint,
    dialect: Dialect,
    params: RealtimeParams,
) -> Result<RealtimeSession, ProviderError> {
    let mut wire = Wire::new(dialect);
    let mut socket = Socket::connect(endpoint.clone()).await?;
    socket.text(wire.settings(&params)).await?;
    loop {
        match wire.understand(socket.next().await?) {
            Heard::Ready => break,
            Heard::Refused { kind, code, .. } => {
                return Err(endpoint.error(kind, format!("open: the provider says `{code}`")));
            }
            Heard::Garbage => return Err(not_the_protocol(&endpoint)),
            _ => {}
        }
    }
    for (role, text) in &params.history {
        if let Some(item) = wire.item(*role, text) {
            socket.text(item).await?;
        }
    }
    let (input, inputs) = mpsc::channel(REALTIME_INPUT_QUEUE);
    let (events, output) = mpsc::channel(REALTIME_EVENT_QUEUE);
    let task = Task { wire, socket, endpoint, events, active: None, wanted: VecDeque::new() };
    tokio::spawn(task.run(inputs));
    Ok(RealtimeSession { input, events: output })
}

fn not_the_protocol(endpoint: &Endpoint) -> ProviderError {
    endpoint.error(FailureKind::Protocol, "receive: a message that is not of the protocol")
}

impl Task {
    async fn run(mut self, mut inputs: mpsc::Receiver<RealtimeInput>) {
        let ended = self.talk(&mut inputs).await;
        if let Err(error) = ended {
            // Whoever dropped the session does not want to know.
            let _ = self.events.send(RealtimeEvent::Failed(error)).await;
        }
        self.socket.close().await;
    }

    /// Until the call drops the session, or the connection fails.
    async fn talk(
        &mut self,
        inputs: &mut mpsc::Receiver<RealtimeInput>,
    ) -> Result<(), ProviderError> {
        loop {
            let overdue = self.active.as_ref().and_then(|active| active.cancelled);
            let overdue = overdue.filter(|_| !self.wanted.is_empty()).map(|at| at + CANCEL_WAIT);
            let late = async {
                match overdue {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                input = inputs.recv() => match input {
                    Some(input) => self.take(input).await?,
                    None => return Ok(()),
                },
                incoming = self.socket.next() => {
                    if !self.hear(incoming?).await? {
                        return Ok(());
                    }
                }
                () = late => self.ended(Outcome::Cancelled, RealtimeUsage::default()).await?,
            }
        }
    }

    async fn take(&mut self, input: RealtimeInput) -> Result<(), ProviderError> {
        match input {
            RealtimeInput::Audio(samples) => {
                let message = self.wire.audio(&samples);
                self.socket.text(message).await
            }
            RealtimeInput::Commit { id } => {
                for message in self.wire.commit(id) {
                    self.socket.text(message).await?;
                }
                Ok(())
            }
            RealtimeInput::Respond { id, tools } => self.want(Wanted::Reply { id, tools }).await,
            RealtimeInput::Say { id, text } => self.want(Wanted::Words { id, text }).await,
            RealtimeInput::Cancel => self.cancel().await,
            RealtimeInput::Truncate { item, audio_end_ms } => {
                let message = self.wire.truncate(&item, audio_end_ms);
                self.socket.text(message).await
            }
            RealtimeInput::ToolResult { call, output } => {
                let message = self.wire.tool_result(&call, &output);
                self.socket.text(message).await
            }
            RealtimeInput::Insert { role, text } => match self.wire.item(role, &text) {
                Some(message) => self.socket.text(message).await,
                None => Ok(()),
            },
        }
    }

    async fn want(&mut self, wanted: Wanted) -> Result<(), ProviderError> {
        if self.active.is_none() && self.wanted.is_empty() {
            return self.ask(wanted).await;
        }
        if self.wanted.len() >= WANTED_MAX {
            let outcome = Outcome::Failed(FailureKind::Stalled);
            let (response, usage) = (wanted.id(), RealtimeUsage::default());
            return self.tell(RealtimeEvent::Done { response, outcome, usage }).await.map(|_| ());
        }
        self.wanted.push_back(wanted);
        Ok(())
    }

    async fn ask(&mut self, wanted: Wanted) -> Result<(), ProviderError> {
        let id = wanted.id();
        let message = match &wanted {
            Wanted::Reply { id, tools } => self.wire.respond(*id, *tools),
            Wanted::Words { id, text } => self.wire.say(*id, text),
        };
        self.active = Some(Active { id, name: None, cancelled: None });
        self.socket.text(message).await?;
        self.tell(RealtimeEvent::Sent { response: id, at: clock::now() }).await.map(|_| ())
    }

    /// What waits is dropped with what is under way: the caller has the floor.
    async fn cancel(&mut self) -> Result<(), ProviderError> {
        let dropped: Vec<u32> = self.wanted.drain(..).map(|wanted| wanted.id()).collect();
        for response in dropped {
            let (outcome, usage) = (Outcome::Cancelled, RealtimeUsage::default());
            self.tell(RealtimeEvent::Done { response, outcome, usage }).await?;
        }
        match &mut self.active {
            Some(active) if active.cancelled.is_none() => {
                active.cancelled = Some(clock::now());
                let message = self.wire.cancel();
                self.socket.text(message).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether somebody listens still.
    async fn tell(&mut self, event: RealtimeEvent) -> Result<bool, ProviderError> {
        Ok(self.events.send(event).await.is_ok())
    }

    async fn ended(&mut self, outcome: Outcome, usage: RealtimeUsage) -> Result<(), ProviderError> {
        if let Some(Active { id, cancelled, .. }) = self.active.take() {
            let outcome = if cancelled.is_some() { Outcome::Cancelled } else { outcome };
            self.tell(RealtimeEvent::Done { response: id, outcome, usage }).await?;
        }
        match self.wanted.pop_front() {
            Some(next) => self.ask(next).await,
            None => Ok(()),
        }
    }

    /// The number of the response that a message is about, if its words are still wanted.
    fn about(&mut self, name: &str) -> Option<u32> {
        let active = self.active.as_mut()?;
        if active.cancelled.is_some() {
            return None;
        }
        let own = active.name.get_or_insert_with(|| name.to_owned());
        (own == name).then_some(active.id)
    }

    /// Whether the session goes on.
    async fn hear(&mut self, incoming: Incoming) -> Result<bool, ProviderError> {
        let at = clock::now();
        let event = match self.wire.understand(incoming) {
            Heard::Nothing | Heard::Ready => return Ok(true),
            Heard::Garbage => return Err(not_the_protocol(&self.endpoint)),
            Heard::Partial(text) => RealtimeEvent::Partial { text },
            Heard::Transcript { text, commit, understood } => {
                RealtimeEvent::Transcript { text, commit, understood, at }
            }
            Heard::Turn(signal) => RealtimeEvent::Turn { signal, at },
            Heard::Began { response } => {
                if let Some(active) = &mut self.active {
                    active.name = Some(response);
                }
                return Ok(true);
            }
            Heard::Text { response, item, delta } => match self.about(&response) {
                Some(response) => RealtimeEvent::Text { response, item, delta, at },
                None => return Ok(true),
            },
            Heard::Audio { response, item, pcm } => match self.about(&response) {
                Some(response) => RealtimeEvent::Audio { response, item, pcm, at },
                None => return Ok(true),
            },
            Heard::ToolCalls { response, calls } => {
                let Some(response) = self.about(&response) else { return Ok(true) };
                for call in calls {
                    self.tell(RealtimeEvent::ToolCall { response, call }).await?;
                }
                return Ok(true);
            }
            Heard::Done { response, outcome, usage, calls } => {
                let of = |active: &Active| active.name.as_ref() == Some(&response);
                if !self.active.as_ref().is_some_and(of) {
                    return Ok(true);
                }
                if let Some(response) = self.about(&response) {
                    for call in calls {
                        self.tell(RealtimeEvent::ToolCall { response, call }).await?;
                    }
                }
                self.ended(outcome, usage).await?;
                return Ok(true);
            }
            Heard::Refused { kind, code, known } => return self.refused(kind, &code, known).await,
        };
        self.tell(event).await
    }

    async fn refused(
        &mut self,
        kind: FailureKind,
        code: &str,
        known: Known,
    ) -> Result<bool, ProviderError> {
        match known {
            Known::Commit(id) => {
                let (text, at) = (Pii::new(String::new()), clock::now());
                let event =
                    RealtimeEvent::Transcript { text, commit: Some(id), understood: true, at };
                self.tell(event).await
            }
            Known::Response(id) if self.active.as_ref().is_some_and(|active| active.id == id) => {
                self.ended(Outcome::Failed(kind), RealtimeUsage::default()).await?;
                Ok(true)
            }
            // There is nothing to cancel any more: its end is here or on its way.
            Known::Cancel | Known::Response(_) => Ok(true),
            // A detail that this server does not take, such as to cut an item that it forgot.
            Known::Detail => {
                tracing::debug!(provider = %self.endpoint.provider, code, "the provider refused a detail");
                Ok(true)
            }
            Known::Nothing if kind == FailureKind::BadRequest => {
                tracing::warn!(provider = %self.endpoint.provider, code, "the provider complains");
                Ok(true)
            }
            Known::Nothing => {
                Err(self.endpoint.error(kind, format!("receive: the provider says `{code}`")))
            }
        }
    }
}
