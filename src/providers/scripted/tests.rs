use super::*;

fn step(texts: &[&str], delay_ms: u64, fault: Fault) -> Step {
    let texts = texts.iter().map(|t| (*t).to_owned()).collect();
    Step { texts, delay: Duration::from_millis(delay_ms), fault, gap: Duration::from_millis(10) }
}

#[tokio::test(start_paused = true)]
async fn transcripts_come_after_exactly_their_delay_and_failures_end_the_session() {
    let plan = Plan::new(vec![step(&["hello"], 120, Fault::None), step(&[], 0, Fault::Cut)]);
    let mut session = ScriptedStt(plan).open(SttParams::default()).await.unwrap();
    let told = clock::now();
    session.input.send(SttInput::Finalize { id: 9 }).await.unwrap();
    let Some(SttEvent::Final { answers: Some(9), at, .. }) = session.events.recv().await else {
        panic!("no final")
    };
    assert_eq!(at.duration_since(told), Duration::from_millis(120));
    session.input.send(SttInput::Finalize { id: 10 }).await.unwrap();
    assert!(
        matches!(session.events.recv().await, Some(SttEvent::Failed(e)) if e.kind == FailureKind::Cut)
    );
    assert!(session.events.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_sentence_falls_silent_even_if_it_stalls() {
    let plan = Plan::new(vec![step(&[], 0, Fault::Stalls), step(&[], 50, Fault::None)]);
    let tts = ScriptedTts { plan, rate: SampleRate::HZ_24000, chunk_ms: 20, chunks: 3 };
    let mut session = tts.open(TtsParams::default()).await.unwrap();
    let say = |g| TtsInput::Say { generation: Generation(g), seq: 0, text: Pii::default() };
    session.input.send(say(1)).await.unwrap();
    session.input.send(TtsInput::Cancel { generation: Generation(1) }).await.unwrap();
    session.input.send(say(2)).await.unwrap();
    for _ in 0..3 {
        let event = session.events.recv().await;
        assert!(
            matches!(&event, Some(TtsEvent::Audio { generation: Generation(2), pcm, .. }) if pcm.samples.len() == 480),
            "{event:?}"
        );
    }
    assert!(matches!(session.events.recv().await, Some(TtsEvent::Done { .. })));
}
