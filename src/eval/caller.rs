//! One caller on one call: does its steps, keeps notes, and records both sides as the caller hears them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::pattern::Pattern;
use super::steps::{Action, Step, WaitFor};
use super::voice::Clip;
use crate::engine::Recording;
use crate::net::clock;
use crate::score::{Meaning, Span, Utterance};
use crate::softphone::api::Api;
use crate::softphone::phone::{CallOptions, CallRequest, Phone};
use crate::softphone::tape;
use crate::softphone::{CallEnd, Keep, PhoneCall, PhoneError};
use crate::telemetry::chain::chain;

/// How long a call may ring.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Time between two looks at a transcript that grows.
const POLL: Duration = Duration::from_millis(150);
/// An utterance leaves within its own length and this.
const SAY_MARGIN: Duration = Duration::from_secs(5);

/// A call that is to be made.
pub struct Part<'a> {
    /// SIP URI.
    pub uri: String,
    /// Number or name it comes from.
    pub from: String,
    /// What the caller does.
    pub steps: &'a [Step],
    /// What it sounds like, one for each step.
    pub clips: Vec<Option<Arc<Clip>>>,
    /// Longest wait for a reply.
    pub limit: Duration,
    /// Silence that ends a reply.
    pub quiet: Duration,
    /// What is softer is not the agent's voice.
    pub audible_dbfs: f32,
    /// Where both sides are recorded.
    pub recording: PathBuf,
}

/// Something that the caller did.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// When it began, after the answer.
    pub at_ms: u64,
    /// What.
    pub step: String,
}

/// What came of a call, on this side.
#[derive(Clone, Debug, Default)]
pub struct Take {
    /// What the server knows the call by.
    pub identifier: String,
    /// What the caller did.
    pub done: Vec<Done>,
    /// What the caller let hear, without the noise behind it.
    pub said: Vec<Utterance>,
    /// Why the steps could not be done to their end.
    pub trouble: Option<String>,
    /// How the call ended, in words.
    pub end: String,
    /// Whether both sides were recorded.
    pub is_recorded: bool,
}

/// Makes the call.
pub async fn call(phone: &Phone, part: &Part<'_>, api: &mut Api) -> Take {
    let mut take = Take::default();
    let mut request = CallRequest::to(&part.uri);
    request.from.clone_from(&part.from);
    request.options = CallOptions {
        quiet: part.quiet,
        audible_dbfs: part.audible_dbfs,
        keep: Keep::Times,
        tape: Recording::On,
        ..CallOptions::default()
    };
    let call = match phone.call(request).await {
        Ok(call) => call,
        Err(error) => return Take { trouble: Some(chain(&error)), ..take },
    };
    call.identifier().clone_into(&mut take.identifier);
    let feed = call.take_tape();
    let answered = match call.answered(ANSWER_LIMIT).await {
        Ok(at) => at,
        Err(error) => return Take { trouble: Some(format!("no answer: {error}")), ..take },
    };
    let writing = feed.map(|feed| {
        let path = part.recording.clone();
        tokio::task::spawn_blocking(move || tape::write(path, feed, answered))
    });
    if let Err(error) = api.locate(call.identifier()).await {
        // Asked again at the end, and told there.
        tracing::debug!(error = %chain(&error), "the server does not list the call yet");
    }
    let mut act =
        Act { call: &call, api, part, answered, since: answered, owed: true, take: &mut take };
    let played = act.play().await;
    if let Err(trouble) = played {
        take.trouble = Some(trouble);
    }
    if call.end().is_none()
        && let Err(error) = call.hang_up().await
    {
        take.trouble.get_or_insert_with(|| format!("hang up: {error}"));
    }
    take.end = call.end().map_or_else(|| "it goes on".to_owned(), |end| end.to_string());
    drop(call);
    if let Some(writing) = writing {
        match writing.await {
            Ok(Ok(())) => take.is_recorded = true,
            Ok(Err(error)) => tracing::warn!(error = %chain(&error), "no recording"),
            Err(error) => tracing::warn!(%error, "no recording"),
        }
    }
    take
}

/// A call that is up.
struct Act<'a> {
    call: &'a PhoneCall,
    api: &'a mut Api,
    part: &'a Part<'a>,
    answered: Instant,
    /// End of what the caller said last: a reply begins after it.
    since: Instant,
    /// No reply was heard since.
    owed: bool,
    take: &'a mut Take,
}

impl Act<'_> {
    async fn play(&mut self) -> Result<(), String> {
        let part = self.part;
        for (index, (step, clip)) in part.steps.iter().zip(&part.clips).enumerate() {
            let trouble = |text: String| format!("step {} ({}): {text}", index + 1, step.label());
            let action = step.action().map_err(trouble)?;
            let limit = step.limit_ms.map_or(part.limit, |ms| Duration::from_millis(ms.into()));
            let is_end = matches!(action, Action::Wait(WaitFor::End));
            match self.act(step, action, clip.as_deref(), limit).await {
                Ok(()) if is_end => return Ok(()),
                Ok(()) => {}
                Err(error) => return Err(trouble(error)),
            }
            if self.call.end().is_some() && index + 1 == part.steps.len() {
                return Ok(());
            }
        }
        // Who has spoken last waits for the answer before it hangs up.
        match self.manners(part.limit).await {
            // The agent may hang up instead.
            Err(PhoneError::Over(CallEnd::ByRemote { .. })) | Ok(()) => Ok(()),
            Err(error) => Err(format!("after the last step: {error}")),
        }
    }

    async fn act(
        &mut self,
        step: &Step,
        action: Action,
        clip: Option<&Clip>,
        limit: Duration,
    ) -> Result<(), String> {
        let text = |error: PhoneError| error.to_string();
        if matches!(action, Action::Say(_) | Action::Play(_) | Action::Sound(_) | Action::Digits(_))
            || (matches!(action, Action::HangUp) && step.interrupt_after_ms.is_some())
        {
            match step.interrupt_after_ms {
                Some(ms) => self.interrupt(ms, limit).await.map_err(text)?,
                None if step.at_once => {}
                None => self.manners(limit).await.map_err(text)?,
            }
        }
        self.note(step);
        match action {
            Action::Say(_) | Action::Play(_) | Action::Sound(_) => {
                let clip = clip.ok_or("there is nothing to play")?;
                self.sound(clip, step.meaning()).await.map_err(text)
            }
            Action::Digits(digits) => {
                (self.since, self.owed) = (clock::now(), true);
                self.call.send_digits(&digits).await.map_err(text)
            }
            Action::Wait(WaitFor::AgentDone) => {
                self.owed = true;
                self.manners(limit).await.map_err(text)
            }
            Action::Wait(WaitFor::AgentSpeaking) => {
                self.call.remote_began(self.since, limit).await.map(drop).map_err(text)
            }
            Action::Wait(WaitFor::End) => {
                self.owed = false;
                self.call.ended(limit).await.map(drop).map_err(text)
            }
            Action::WaitForWords(pattern) => self.words(&pattern, limit).await,
            Action::Pause(ms) => {
                let until = clock::now() + Duration::from_millis(ms.into());
                self.wait_until(until).await.map_err(text)
            }
            Action::HangUp => {
                self.owed = false;
                self.call.hang_up().await.map(drop).map_err(text)
            }
        }
    }

    fn note(&mut self, step: &Step) {
        let at_ms = millis(clock::now().saturating_duration_since(self.answered));
        self.take.done.push(Done { at_ms, step: step.label() });
    }

    /// Waits for the reply that is owed, and until the agent is silent.
    async fn manners(&mut self, limit: Duration) -> Result<(), PhoneError> {
        if self.owed {
            let reply = self.call.reply_after(self.since, limit).await?;
            (self.since, self.owed) = (self.since.max(reply.ended_at), false);
        }
        self.call.quiet(limit).await
    }

    /// Waits until the agent has spoken for `ms`.
    async fn interrupt(&mut self, ms: u32, limit: Duration) -> Result<(), PhoneError> {
        let began = self.call.remote_began(self.since, limit).await?;
        self.wait_until(began + Duration::from_millis(ms.into())).await
    }

    /// Waits; the call may end meanwhile.
    async fn wait_until(&self, at: Instant) -> Result<(), PhoneError> {
        let lasting = at.saturating_duration_since(clock::now());
        match self.call.ended(lasting).await {
            Ok(end) => Err(PhoneError::Over(end)),
            Err(PhoneError::Timeout { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn sound(&mut self, clip: &Clip, meaning: Meaning) -> Result<(), PhoneError> {
        let id = self.call.play(&clip.pcm)?;
        let said = self.call.spoken(id, clip.pcm.duration() + SAY_MARGIN).await?;
        let Some(started) = said.started else { return Ok(()) };
        let from = millis(started.saturating_duration_since(self.answered));
        for span in &clip.spans {
            let span = Span::new(from + span.begin_ms, from + span.end_ms);
            self.take.said.push(Utterance { span, meaning });
        }
        if meaning == Meaning::Speech {
            let end_ms = clip.spans.last().map_or(0, |span| span.end_ms);
            (self.since, self.owed) = (started + Duration::from_millis(end_ms), true);
        }
        Ok(())
    }

    /// Waits until the server's transcript has these words of the agent.
    async fn words(&mut self, pattern: &Pattern, limit: Duration) -> Result<(), String> {
        let deadline = clock::now() + limit;
        loop {
            let transcript = self.api.transcript(self.call.identifier()).await;
            let turns = transcript.map_err(|error| chain(&error))?.turns;
            let is_said = turns
                .iter()
                .filter(|turn| turn.role == "assistant")
                .any(|turn| pattern.is_in(&turn.content));
            if is_said {
                (self.since, self.owed) = (clock::now(), false);
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(format!(
                    "the agent did not say `{}` within {limit:?}",
                    pattern.source()
                ));
            }
            if let Err(error) = self.wait_until(clock::now() + POLL).await {
                return Err(error.to_string());
            }
        }
    }
}

/// Where a caller's recording lies.
pub fn recording(dir: &Path, number: usize, name: &str) -> PathBuf {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
    dir.join(format!("{number:03}-{plain}.wav"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
