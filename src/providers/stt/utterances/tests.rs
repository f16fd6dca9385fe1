use std::time::Duration;

use super::*;

/// What a fake decoder tells: the utterance as it came. It goes on when it is told to.
struct Puppet {
    seen: std_mpsc::SyncSender<(usize, Vec<String>)>,
    go: Arc<Mutex<std_mpsc::Receiver<Result<Heard, String>>>>,
}

impl Decoder for Puppet {
    fn hear(&mut self, utterance: &Utterance) -> Result<Heard, String> {
        self.seen.send((utterance.samples.len(), utterance.params.keyterms.clone())).unwrap();
        self.go.lock().unwrap().recv().unwrap()
    }
}

struct Stage {
    pool: Pool,
    seen: std_mpsc::Receiver<(usize, Vec<String>)>,
    go: std_mpsc::SyncSender<Result<Heard, String>>,
}

fn stage() -> Stage {
    let (tell, seen) = std_mpsc::sync_channel(256);
    let (go, went) = std_mpsc::sync_channel(256);
    let went = Arc::new(Mutex::new(went));
    let make = move || Ok(Puppet { seen: tell.clone(), go: Arc::clone(&went) });
    Stage { pool: Pool::start("puppet", 1, 2, make).unwrap(), seen, go }
}

async fn speak(session: &SttSession, id: u32, frames: usize) {
    session.input.send(SttInput::SpeechStarted).await.unwrap();
    for _ in 0..frames {
        session.input.send(SttInput::Audio(vec![9; 320])).await.unwrap();
    }
    session.input.send(SttInput::Finalize { id }).await.unwrap();
}

/// Returns when the session has dealt with all its input.
async fn taken(session: &SttSession) {
    while session.input.capacity() < STT_INPUT_QUEUE {
        tokio::task::yield_now().await;
    }
}

async fn final_of(session: &mut SttSession) -> (Option<u32>, bool, String) {
    match session.events.recv().await {
        Some(SttEvent::Final { text, answers, understood, .. }) => {
            (answers, understood, text.reveal().clone())
        }
        other => panic!("no final: {other:?}"),
    }
}

fn wait<T>(from: &std_mpsc::Receiver<T>) -> T {
    from.recv_timeout(Duration::from_secs(10)).unwrap()
}

#[tokio::test]
async fn silence_and_blips_are_answered_without_a_decoder() {
    let stage = stage();
    let mut session = stage.pool.open("p".to_owned(), SttParams::default());
    session.input.send(SttInput::Finalize { id: 1 }).await.unwrap();
    speak(&session, 2, 1).await;
    assert_eq!(final_of(&mut session).await, (Some(1), true, String::new()));
    assert_eq!(final_of(&mut session).await, (Some(2), false, String::new()));
    assert!(stage.seen.try_recv().is_err());
}

#[tokio::test]
async fn answers_come_in_order_and_a_failure_is_no_words() {
    let stage = stage();
    let params = SttParams { keyterms: vec!["Acme".to_owned()], ..SttParams::default() };
    let mut session = stage.pool.open("p".to_owned(), params);
    speak(&session, 1, 50).await;
    speak(&session, 2, 10).await;
    // Answered at once, and yet last.
    session.input.send(SttInput::Finalize { id: 3 }).await.unwrap();
    stage.go.send(Ok(Heard::Words("one".to_owned()))).unwrap();
    stage.go.send(Err("a fault".to_owned())).unwrap();
    assert_eq!(final_of(&mut session).await, (Some(1), true, "one".to_owned()));
    assert_eq!(final_of(&mut session).await, (Some(2), false, String::new()));
    assert_eq!(final_of(&mut session).await, (Some(3), true, String::new()));
    assert_eq!(wait(&stage.seen), (50 * 320, vec!["Acme".to_owned()]));
    assert_eq!(wait(&stage.seen).0, 10 * 320);
}

#[tokio::test]
async fn a_call_has_few_utterances_under_way() {
    let stage = stage();
    let mut session = stage.pool.open("p".to_owned(), SttParams::default());
    for id in 0..=PENDING_MAX as u32 {
        speak(&session, id, 10).await;
    }
    taken(&session).await;
    for _ in 0..PENDING_MAX {
        stage.go.send(Ok(Heard::Words("yes".to_owned()))).unwrap();
    }
    for id in 0..=PENDING_MAX as u32 {
        let understood = id < PENDING_MAX as u32;
        let (answers, is_understood, _) = final_of(&mut session).await;
        assert_eq!((answers, is_understood), (Some(id), understood));
    }
}

#[tokio::test]
async fn an_utterance_whose_call_is_gone_is_not_decoded() {
    let stage = stage();
    let mut first = stage.pool.open("p".to_owned(), SttParams::default());
    speak(&first, 1, 10).await;
    taken(&first).await;
    assert_eq!(wait(&stage.seen).0, 10 * 320);
    // One that waits behind it and hangs up.
    let (input, inputs) = mpsc::channel(STT_INPUT_QUEUE);
    let (events, outputs) = mpsc::channel(STT_EVENT_QUEUE);
    let desk = Desk { jobs: stage.pool.jobs.clone(), params: Arc::default(), caller: Arc::new(()) };
    let task = tokio::spawn(session(desk, "p".to_owned(), Ear::new(2), inputs, events));
    let second = SttSession { input, events: outputs };
    speak(&second, 1, 20).await;
    taken(&second).await;
    drop(second);
    task.await.unwrap();
    let mut third = stage.pool.open("p".to_owned(), SttParams::default());
    speak(&third, 1, 30).await;
    for _ in 0..2 {
        stage.go.send(Ok(Heard::Unknown)).unwrap();
    }
    assert_eq!(final_of(&mut first).await.0, Some(1));
    assert_eq!(final_of(&mut third).await.0, Some(1));
    assert_eq!(wait(&stage.seen).0, 30 * 320);
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_dead_one_ends_the_session() {
    let (jobs, queue) = std_mpsc::sync_channel(1);
    let pool = Pool { jobs, utterance_seconds_max: 2 };
    let mut session = pool.open("p".to_owned(), SttParams::default());
    speak(&session, 1, 10).await;
    speak(&session, 2, 10).await;
    taken(&session).await;
    let job = queue.try_recv().unwrap();
    let caller = Weak::clone(&job.utterance.caller);
    assert!(caller.upgrade().is_some());
    job.answer.send(Heard::Words("first".to_owned())).unwrap();
    assert_eq!(final_of(&mut session).await, (Some(1), true, "first".to_owned()));
    assert_eq!(final_of(&mut session).await, (Some(2), false, String::new()));
    drop(queue);
    speak(&session, 3, 10).await;
    let Some(SttEvent::Failed(error)) = session.events.recv().await else { panic!("no failure") };
    assert_eq!(error.to_string(), "p stt: no decoder is left");
    assert!(session.events.recv().await.is_none());
    assert!(caller.upgrade().is_none(), "a decoder sees that nobody waits");
}

#[test]
fn audio_is_bounded_and_keeps_the_pre_roll() {
    let mut ear = Ear::new(20);
    for _ in 0..100 {
        ear.push(&[7; 320]);
    }
    ear.start();
    for _ in 0..5_000 {
        ear.push(&[9; 320]);
    }
    let utterance = ear.finish().unwrap();
    assert_eq!(utterance.len(), 20 * 16_000);
    assert_eq!(utterance.iter().filter(|s| **s == 7).count(), 4_800);
    assert!(ear.finish().is_none());
}

#[test]
fn a_decoder_that_cannot_be_made_is_said() {
    let made = Pool::start("puppet", 2, 2, || Err::<Puppet, _>("no weights".to_owned()));
    assert!(matches!(made.err(), Some(StartError::Decoder(detail)) if detail == "no weights"));
}
