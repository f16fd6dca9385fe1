#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream;

use super::super::tests::{Parrot, after_ms, agent};
use super::*;

/// One step of a model: after so many ms it gives this.
type Step = (u64, Result<LlmDelta, FailureKind>);

/// A model that does what a test says, in virtual time, and notes what it was asked.
struct Actor {
    name: &'static str,
    steps: Vec<Step>,
    asked: Arc<Mutex<Vec<LlmRequest>>>,
    dropped: Arc<Mutex<u32>>,
    twice: bool,
}

impl Actor {
    fn new(name: &'static str, steps: Vec<Step>) -> Self {
        let (asked, dropped) = (Arc::default(), Arc::default());
        Self { name, steps, asked, dropped, twice: true }
    }
}

struct Dropped(Arc<Mutex<u32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

impl Llm for Actor {
    fn name(&self) -> &str {
        self.name
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn warm_up(&self) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }

    fn may_be_asked_twice(&self) -> bool {
        self.twice
    }

    fn respond(&self, request: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        self.asked.lock().unwrap().push(request);
        let name = self.name.to_owned();
        let end = Dropped(Arc::clone(&self.dropped));
        let mut steps = self.steps.clone().into_iter();
        stream::unfold((), move |()| {
            let (step, name) = (steps.next(), name.clone());
            let _held = &end;
            async move {
                let Some((after, item)) = step else { return pending().await };
                after_ms(after).await;
                let failed = |kind| ProviderError {
                    provider: name,
                    stage: Stage::Llm,
                    kind,
                    detail: "as told".to_owned(),
                };
                Some((item.map_err(failed), ()))
            }
        })
        .boxed()
    }
}

fn text(after: u64, words: &str) -> Step {
    (after, Ok(LlmDelta::Text(words.to_owned())))
}

fn done() -> Step {
    (0, Ok(LlmDelta::Done))
}

/// A line of these models in order; `breakers` are shared with other calls.
fn line_with(models: Vec<Actor>, breakers: &Breakers) -> LlmLine {
    let mut own = agent(Parrot::default());
    let mut models = models.into_iter().map(|model| Arc::new(model) as Arc<dyn Llm>);
    own.llm = models.next().unwrap();
    own.fallbacks.llm = models.collect();
    LlmLine::open(Arc::new(own), WatchdogConfig::default(), "c".to_owned(), breakers)
}

fn line(models: Vec<Actor>) -> LlmLine {
    line_with(models, &Breakers::default())
}

/// What a reply told until its end, short, and how long it took.
async fn reply(line: &mut LlmLine, turn: u32) -> (Vec<String>, u128) {
    let begun = clock::now();
    line.start(TurnId(turn), Vec::new());
    let mut told = Vec::new();
    loop {
        let wake = line.next_wake();
        let timer = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            event = line.next() => event,
            () = timer => {
                line.on_timeout(clock::now());
                continue;
            }
        };
        told.push(match event {
            VoiceEvent::Ready(_) => continue,
            VoiceEvent::LlmText(_, words, _) => words,
            VoiceEvent::FailedOver { from, to, reason, .. } => format!("{from}>{to} {reason}"),
            VoiceEvent::Retrying(error) => format!("{} {}", error.provider, error.kind.as_str()),
            VoiceEvent::LlmAlive(_) => "alive".to_owned(),
            VoiceEvent::LlmTools(..) => "tools".to_owned(),
            VoiceEvent::LlmDone(_) => "done".to_owned(),
            VoiceEvent::LlmFailed(_, error) => error.code,
            other => format!("{other:?}"),
        });
        if told.last().is_some_and(|last| {
            ["done", "tools"].contains(&last.as_str()) || last.starts_with("llm_")
        }) {
            return (told, clock::now().saturating_duration_since(begun).as_millis());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_token_wins_and_the_loser_is_dropped() {
    let slow = Actor::new("slow", vec![text(5_000, "Late."), done()]);
    let dropped = Arc::clone(&slow.dropped);
    let mut line = line(vec![slow, Actor::new("quick", vec![text(100, "Quick."), done()])]);
    let (told, ms) = reply(&mut line, 1).await;
    assert_eq!(told, ["slow>quick slow", "Quick.", "done"]);
    assert_eq!(ms, 900, "the hedge at 800 ms, and what the other one takes");
    assert_eq!(*dropped.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_answers_in_time_keeps_the_reply_and_the_rival_is_dropped() {
    let rival = Actor::new("rival", vec![text(500, "Never heard.")]);
    let (asked, dropped) = (Arc::clone(&rival.asked), Arc::clone(&rival.dropped));
    let mut line = line(vec![Actor::new("own", vec![text(900, "Own."), done()]), rival]);
    let (told, _) = reply(&mut line, 1).await;
    assert_eq!(told, ["Own.", "done"]);
    assert_eq!((asked.lock().unwrap().len(), *dropped.lock().unwrap()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_tools_only_moves_nobody_and_is_not_asked_twice() {
    let call = ToolCall { id: "1".to_owned(), name: "book".to_owned(), ..ToolCall::default() };
    let rival = Actor::new("rival", Vec::new());
    let asked = Arc::clone(&rival.asked);
    let steps = vec![(700, Ok(LlmDelta::ToolCall(call))), (5_000, Ok(LlmDelta::Done))];
    let mut line = line(vec![Actor::new("own", steps), rival]);
    assert_eq!(reply(&mut line, 1).await.0, ["alive", "tools"]);
    assert_eq!(asked.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_that_moves_on_with_each_question_is_not_hedged() {
    let mut own = Actor::new("own", vec![text(2_000, "Own."), done()]);
    own.twice = false;
    let mut line = line(vec![own, Actor::new("rival", vec![text(0, "Rival.")])]);
    assert_eq!(reply(&mut line, 1).await.0, ["Own.", "done"]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_breaks_off_is_gone_on_with_and_nothing_is_said_twice() {
    let own = Actor::new("own", vec![text(10, "We open"), (0, Err(FailureKind::Cut))]);
    let other = Actor::new("other", vec![text(10, "at nine."), done()]);
    let asked = Arc::clone(&other.asked);
    let mut line = line(vec![own, other]);
    let (told, _) = reply(&mut line, 1).await;
    assert!(told.contains(&"own>other cut".to_owned()), "{told:?}");
    assert_eq!(
        told.iter().filter(|own| own.contains("at nine")).collect::<Vec<_>>(),
        [" at nine."]
    );
    let asked = asked.lock().unwrap();
    let last: Vec<_> = asked[0].messages.iter().rev().take(2).collect();
    assert_eq!((last[1].role, last[1].content.reveal().as_str()), (Role::Assistant, "We open"));
    assert_eq!(last[0].role, Role::System);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_stops_in_the_middle_is_gone_on_with_after_a_second() {
    let own = Actor::new("own", vec![text(10, "We open ")]);
    let mut line = line(vec![own, Actor::new("other", vec![text(10, "at nine."), done()])]);
    let (told, ms) = reply(&mut line, 1).await;
    assert!(
        told.contains(&"own>other stalled".to_owned()) && told.contains(&"at nine.".to_owned())
    );
    assert_eq!(ms, 1_020);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_sends_the_next_call_elsewhere_at_once_and_a_probe_brings_it_back() {
    let breakers = Breakers::default();
    let refused = || Actor::new("own", vec![(0, Err(FailureKind::Auth))]);
    let other = || Actor::new("other", vec![text(10, "Other."), done()]);
    let mut first = line_with(vec![refused(), other()], &breakers);
    let (told, _) = reply(&mut first, 1).await;
    assert!(told.contains(&"own>other auth".to_owned()), "{told:?}");
    let asked = refused();
    let requests = Arc::clone(&asked.asked);
    let mut second = line_with(vec![asked, other()], &breakers);
    assert_eq!(reply(&mut second, 1).await.0, ["own>other breaker_open", "Other.", "done"]);
    assert_eq!(requests.lock().unwrap().len(), 0);
    tokio::time::advance(Duration::from_secs(31)).await;
    let healed = Actor::new("own", vec![text(10, "Own."), done()]);
    let mut third = line_with(vec![healed, other()], &breakers);
    assert_eq!(reply(&mut third, 1).await.0, ["Own.", "done"]);
    assert_eq!(reply(&mut third, 2).await.0, ["Own.", "done"], "the breaker is closed again");
}

#[tokio::test(start_paused = true)]
async fn where_everybody_fails_the_reply_fails_and_every_breaker_lets_it_try_again() {
    let refused = |name| Actor::new(name, vec![(0, Err(FailureKind::Auth))]);
    let mut line = line(vec![refused("own"), refused("other")]);
    let (told, _) = reply(&mut line, 1).await;
    assert_eq!(told.last().unwrap(), "llm_auth");
    let (told, _) = reply(&mut line, 2).await;
    assert_eq!(told.last().unwrap(), "llm_auth", "a breaker alone refuses nobody");
}
