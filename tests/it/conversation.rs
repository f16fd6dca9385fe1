//! The zero-key agent on the telephone: spoken utterances over real RTP, interruptions, ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast};
use trunkline::sip::Transport;
use trunkline::types::call::TurnRole;
use trunkline::types::{CallEvent, CallEventKind, CallRecord, EndReason, TurnRecord};

use crate::support::line::Line;
use crate::support::peer::Caller;
use crate::support::server::{self, Server};
use crate::support::{fixture, sound};

/// A call that is up; the agent's greeting is over.
pub(crate) struct Talk {
    pub(crate) caller: Caller,
    pub(crate) line: Line,
    events: broadcast::Receiver<Arc<CallEvent>>,
    pub(crate) id: trunkline::types::CallId,
}

impl Talk {
    pub(crate) async fn begin(server: &Server, user: &str) -> Self {
        let mut talk = Self::dial(server, user).await;
        talk.agent_finishes().await;
        talk
    }

    /// As `begin`, without waiting for the greeting.
    pub(crate) async fn dial(server: &Server, user: &str) -> Self {
        let events = server.events();
        let line = Line::new().await;
        let mut caller = Caller::new(server, Transport::Udp, user).await;
        let ok = caller.call(line.local).await;
        line.connect(ok.media());
        let id = server.call_to(user).await.id;
        Self { caller, line, events, id }
    }

    /// Waits for the next event of this call that is `wanted`.
    async fn event(&mut self, what: &str, wanted: impl Fn(&CallEventKind) -> bool) {
        let id = self.id;
        server::event(&mut self.events, what, |event| {
            (event.call_id == id && wanted(&event.kind)).then_some(())
        })
        .await;
    }

    /// Waits until the caller is heard to speak.
    pub(crate) async fn caller_speaks(&mut self) {
        self.event("the caller's voice", |kind| {
            matches!(kind, CallEventKind::SpeechStarted { role: TurnRole::User })
        })
        .await;
    }

    /// Waits until a turn of the agent is closed.
    pub(crate) async fn agent_finishes(&mut self) {
        self.event("the end of an agent's turn", |kind| {
            matches!(kind, CallEventKind::TurnEnded { role: TurnRole::Assistant, .. })
        })
        .await;
    }

    /// Waits until a turn of the agent with these words is closed.
    pub(crate) async fn agent_says(&mut self, words: &str) {
        self.event("words of an agent", |kind| {
            matches!(kind, CallEventKind::TurnEnded { role: TurnRole::Assistant, content, .. }
                if content.reveal() == words)
        })
        .await;
    }

    /// Presses a key.
    pub(crate) async fn press(&mut self, digit: char) {
        self.line.press(digit, true).await;
    }

    pub(crate) async fn finish(mut self, server: &Server) -> (CallRecord, Vec<TurnRecord>) {
        self.caller.hang_up().await;
        let record = server.ended(self.id).await;
        let turns = server.turns(record.id).await;
        (record, turns)
    }
}

#[derive(Clone)]
pub(crate) struct Utterance {
    pub(crate) file: String,
    pub(crate) words: String,
    state: String,
    pub(crate) reply: String,
}

impl Utterance {
    /// Whether it can be said right after the greeting.
    pub(crate) fn is_first(&self) -> bool {
        self.state == "main"
    }
}

/// The utterances of the demo with the replies they must get.
pub(crate) fn utterances() -> Vec<Utterance> {
    let table = std::fs::read_to_string(fixture("wav/demo/replies.tsv")).expect("the table");
    let rows = table.lines().map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, _voice, words, state, reply] = columns[..] else { panic!("a row: {line}") };
        Utterance {
            file: format!("wav/demo/{file}.wav"),
            words: words.to_owned(),
            state: state.to_owned(),
            reply: reply.to_owned(),
        }
    });
    rows.collect()
}

/// Keys that lead from the greeting to a state of the dialogue.
fn keys_to(state: &str) -> &'static str {
    match state {
        "main" => "",
        "party" => "2",
        "day" => "26",
        "time" => "265",
        "order" => "3",
        other => panic!("no way to {other}"),
    }
}

async fn ask(server: &Server, index: usize, utterance: &Utterance) -> (bool, String) {
    let mut talk = Talk::begin(server, &format!("ask{index}")).await;
    for key in keys_to(&utterance.state).chars() {
        talk.press(key).await;
        talk.agent_finishes().await;
    }
    talk.line.say(&sound::load(&fixture(&utterance.file)));
    talk.agent_finishes().await;
    let ends = utterance.words == "goodbye";
    let (record, turns) = if ends {
        talk.caller.hung_up().await;
        let record = server.ended(talk.id).await;
        (record.clone(), server.turns(record.id).await)
    } else {
        talk.finish(server).await
    };
    let expected = if ends { EndReason::AgentHangup } else { EndReason::UserHangup };
    assert_eq!(record.end_reason, Some(expected), "{}", utterance.words);
    let heard = turns.iter().rev().find(|turn| turn.role == TurnRole::User);
    let said = turns.iter().rev().find(|turn| turn.role == TurnRole::Assistant).expect("a turn");
    let heard = heard.map_or(String::new(), |turn| turn.content.reveal().clone());
    let said = said.content.reveal();
    // Words outside the grammar must be refused; they are counted apart.
    let kind = if utterance.file.contains("/o") { "OUT" } else { "IN " };
    let line = format!("{kind} {:50} {heard:40} -> {said}", utterance.words);
    (said.contains(&utterance.reply), line)
}

#[tokio::test(flavor = "multi_thread")]
async fn spoken_utterances_get_their_replies() {
    let server = Arc::new(
        Server::with(|config| {
            server::listening(config);
            // The reply is what is looked at: the pauses between two calls need not be long.
            server::agent(config).turn.silence_ms = 500;
        })
        .await,
    );
    // As many at once as two cores recognise without falling behind.
    let places = Arc::new(Semaphore::new(4));
    let mut tasks = tokio::task::JoinSet::new();
    for (index, utterance) in utterances().into_iter().enumerate() {
        let (server, places) = (Arc::clone(&server), Arc::clone(&places));
        tasks.spawn(async move {
            let _place = places.acquire_owned().await.expect("open");
            ask(&server, index, &utterance).await
        });
    }
    let answers = tasks.join_all().await;
    let right = answers.iter().filter(|(right, _)| *right).count();
    let table: Vec<String> =
        answers.iter().map(|(right, line)| format!("{} {line}", u8::from(*right))).collect();
    eprintln!("{right} of {} right\n{}", answers.len(), table.join("\n"));
    let phrases: Vec<bool> = answers
        .iter()
        .filter(|(_, line)| !line.starts_with("OUT"))
        .map(|(right, _)| *right)
        .collect();
    let understood = phrases.iter().filter(|right| **right).count();
    assert!(understood * 10 >= phrases.len() * 8, "of the phrases it knows:\n{}", table.join("\n"));
    assert!(right * 10 >= answers.len() * 8, "of all:\n{}", table.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_interrupts_is_heard_and_the_rest_is_never_said() {
    let server = Server::with(|config| {
        server::listening(config);
        server::agent(config).turn.greeting.text.clear();
    })
    .await;
    let mut talk = Talk::dial(&server, "interrupts").await;
    talk.line.hears(0, 1_000).await;
    talk.line.say(&sound::load(&fixture("wav/demo/01_hours.wav")));
    talk.agent_finishes().await;
    // The greeting is cut off; now the answer comes and is heard to its end.
    talk.agent_finishes().await;
    let (record, turns) = talk.finish(&server).await;
    let greeting = &turns[0];
    assert!(greeting.interrupted, "{turns:?}");
    let spoken = greeting.spoken_content.as_ref().expect("an agent's turn").reveal();
    assert!(!spoken.is_empty(), "something was heard");
    assert!(spoken.len() < greeting.content.reveal().len(), "{spoken}");
    let answer = turns.last().expect("an answer").content.reveal();
    assert!(answer.contains("open from Tuesday"), "{answer}");
    let stop = greeting.latency.as_ref().and_then(|latency| latency.barge_in_stop_ms);
    let stop = stop.expect("how long the agent took to stop");
    // In the recording: from the onset of the caller to the last sound of the greeting.
    let [left, right] = server.recording(&record);
    let onset = sound::next_loud(&left, 0).expect("the caller is recorded");
    let answer_at = sound::next_loud(&right, onset + sound::RATE).expect("the answer");
    let last = sound::last_loud(&right, answer_at).expect("the greeting");
    let silent_for = (answer_at - last) * 1_000 / sound::RATE;
    let stopped_after = last.saturating_sub(onset) * 1_000 / sound::RATE;
    assert!(stopped_after < 1_000, "the agent spoke on for {stopped_after} ms; it says {stop}");
    assert!(silent_for >= 500, "silent until the answer: {silent_for} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_hangs_up_after_its_last_word() {
    let server = Server::start().await;
    let mut talk = Talk::begin(&server, "bye").await;
    talk.press('9').await;
    talk.caller.hung_up().await;
    let record = server.ended_to("bye").await;
    assert_eq!(record.end_reason, Some(EndReason::AgentHangup));
    let turns = server.turns(record.id).await;
    let last = turns.last().expect("a turn");
    assert_eq!(last.spoken_content, Some(last.content.clone()), "all of it was heard");
    assert!(!last.interrupted);
    // Thirteen words take more than two seconds; all of them reached the caller's telephone.
    let heard = sound::loud_ms(&talk.line.audio(0));
    assert!(heard > 2_000, "{heard} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_says_anything_is_asked_and_then_hung_up_on() {
    let server = Server::with(|config| {
        let turn = &mut server::agent(config).turn;
        turn.inactivity.prompt_after_ms = 1_000;
        turn.inactivity.prompts = vec!["Hello?".to_owned()];
        turn.inactivity.max_prompts = 1;
        turn.inactivity.goodbye = "Bye.".to_owned();
    })
    .await;
    let mut talk = Talk::begin(&server, "silent").await;
    talk.caller.hung_up().await;
    let record = server.ended_to("silent").await;
    assert_eq!(record.end_reason, Some(EndReason::Inactivity));
    let turns = server.turns(record.id).await;
    let texts: Vec<&str> = turns.iter().map(|turn| turn.content.reveal().as_str()).collect();
    assert_eq!(texts, ["Hello.", "Hello?", "Bye."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_its_maximum_duration() {
    let server = Server::with(|config| {
        let turn = &mut server::agent(config).turn;
        turn.max_duration_ms = 10_000;
        turn.texts.max_duration_goodbye = "Time is up.".to_owned();
    })
    .await;
    let mut talk = Talk::begin(&server, "long").await;
    talk.caller.hung_up().await;
    let record = server.ended_to("long").await;
    assert_eq!(record.end_reason, Some(EndReason::MaxDuration));
    let ms = record.talk_ms.expect("a duration");
    assert!((9_900..14_000).contains(&ms), "{ms}");
    let heard = Duration::from_millis(sound::loud_ms(&talk.line.audio(0)) as u64);
    assert!(heard > Duration::from_millis(500), "a goodbye: {heard:?}");
}
