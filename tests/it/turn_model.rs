//! A call whose turns are ended by a model that hears them. The model of the fixtures knows nothing: with a threshold
//! of 0 all turns are over.

use std::path::PathBuf;

use trunkline::types::call::TurnRole;

use crate::conversation::Talk;
use crate::support::server::{self, Server};
use crate::support::{fixture, sound};

/// Last voiced frame to the decision that the turn is over, in a call whose words say nothing.
async fn decision_ms(library: PathBuf, threshold: f32, model: bool) -> u32 {
    let server = Server::with(|config| {
        config.turn_model.path = fixture("turn_model/mean.onnx");
        config.turn_model.library = library;
        config.turn_model.threshold = threshold;
        let turn = &mut server::agent(config).turn;
        turn.silence_ms = 2_500;
        turn.endpointing.model = model;
    })
    .await;
    let mut talk = Talk::begin(&server, "ends").await;
    talk.line.say(&sound::load(&fixture("wav/speech/hours.wav")));
    talk.agent_finishes().await;
    let (_, turns) = talk.finish(&server).await;
    let answer = turns.iter().rev().find(|turn| turn.role == TurnRole::Assistant).expect("a turn");
    answer.latency.as_ref().and_then(|latency| latency.vad_delay_ms).expect("it was measured")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_ends_the_turn_before_silence_does() {
    let Some(library) = trunkline::sim::onnx_runtime() else {
        eprintln!(
            "SKIPPED: no ONNX runtime; `pip install onnxruntime`, or name it in ORT_DYLIB_PATH"
        );
        return;
    };
    let (over, unlikely, off) = tokio::join!(
        decision_ms(library.clone(), 0.0, true),
        decision_ms(library.clone(), 1.0, true),
        decision_ms(library, 0.0, false),
    );
    eprintln!("decided after {over} ms by the model, {unlikely} and {off} ms by silence");
    assert!(over < 1_500, "{over}");
    assert!(unlikely >= 2_500 && off >= 2_500, "{unlikely}, {off}");
}
