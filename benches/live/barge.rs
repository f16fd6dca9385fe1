//! Interruptions: onset of the caller's speech to the last audible packet of the agent, while its
//! language model still streams and after it is done.

use std::time::Duration;

use trunkline::sim::providers::{MockProviders, Script};
use trunkline::softphone::{CallRequest, Phone, PhoneConfig};

use super::handover::utterance;
use super::server::Server;
use super::summary;

const LIMIT: Duration = Duration::from_secs(20);

/// Long enough to be interrupted: about ten seconds of tone.
const LONG: &str = "Let me explain this at some length, because it matters. There are many reasons \
    for it and I will name them one after the other, slowly. Please stop me when you have heard enough.";

pub async fn run(tries: usize) {
    for (name, token_gap) in [("while the LLM streams", 300), ("while TTS plays, LLM done", 1)] {
        let mut script = Script::default();
        script.llm.replies = vec![LONG.to_owned()];
        script.llm.token_gap = Duration::from_millis(token_gap);
        let mocks = MockProviders::start(script).await.unwrap();
        let server = Server::start(&mocks, "").await;
        let phone = Phone::start(PhoneConfig::default()).await.unwrap();
        let speech = utterance();
        let mut times = Vec::new();
        for _ in 0..tries {
            let call = phone.call(CallRequest::to(&server.uri)).await.unwrap();
            call.answered(LIMIT).await.unwrap();
            call.say(&speech).await.unwrap();
            let barged = call.barge_in(&speech, LIMIT).await.unwrap();
            times.push(barged.stop_time().as_secs_f64() * 1_000.0);
            call.hang_up().await.unwrap();
        }
        let reported = reported(&server, tries).await;
        let (p50, _, max) = summary(times);
        let (told_p50, _, told_max) = summary(reported);
        println!(
            "\nbarge-in {name}, {tries} tries: onset to the agent's last audible packet, on the wire \
             p50 {p50:.0} ms, max {max:.0} ms; as the server reports it p50 {told_p50:.0} ms, max {told_max:.0} ms"
        );
    }
}

async fn reported(server: &Server, tries: usize) -> Vec<f64> {
    server.newest_call().await;
    let list = server.get(&format!("/v1/calls?page_size={tries}")).await;
    let mut out = Vec::new();
    for call in list["items"].as_array().unwrap() {
        let id = call["id"].as_str().unwrap();
        let latency = server.get(&format!("/v1/calls/{id}/latency")).await;
        out.extend(
            latency["turns"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|turn| turn["latency"]["barge_in_stop_ms"].as_f64())
                .take(1),
        );
    }
    out
}
