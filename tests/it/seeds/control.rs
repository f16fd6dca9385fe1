//! Commands to a live call, each seen where it takes effect: on the wire, in the recording, or at an engine.

use serde_json::{Value, json};
use trunkline::audio::wav::{Channels, WavWriter};
use trunkline::sim::providers::What;
use trunkline::types::SampleRate;

use super::{Desk, Dialled, REPLY, text};
use crate::support::line::Line;
use crate::support::peer::sdp_with;
use crate::support::{sound, wait};

/// A live call over which the greeting was said.
async fn live(desk: &mut Desk) -> (Dialled, Line) {
    let mut events = desk.server.events();
    let body = desk.order(json!({}));
    let dialled = desk.dial(body).await;
    let line = desk.pick_up(&dialled).await;
    super::agent_finishes(&mut events, dialled.call_id()).await;
    (dialled, line)
}

async fn command(desk: &Desk, dialled: &Dialled, body: Value) -> Value {
    let (status, reply) = desk.api.send("POST", &format!("{}/control", dialled.path()), body).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["success"], true);
    assert!(!text(&reply, "message").is_empty() && !text(&reply, "command_id").is_empty());
    reply
}

// covers: S4-24 S4-50 S4-56
#[tokio::test(flavor = "multi_thread")]
async fn say_inject_transfer_and_end() {
    let mut desk = Desk::open().await;
    let mut script = super::script();
    script.llm.calls.clear();
    desk.models.script(script);
    let (dialled, _line) = live(&mut desk).await;
    let mut events = desk.server.events();
    let reply = command(&desk, &dialled, json!({"type": "say", "content": "One moment."})).await;
    super::agent_finishes(&mut events, dialled.call_id()).await;
    wait::until("its effect in the journal", async || {
        let journal = desk.get(&format!("{}/events", dialled.path())).await;
        let mut entries = journal["items"].as_array()?.iter();
        entries.any(|entry| entry["data"]["command_id"] == reply["command_id"]).then_some(())
    })
    .await;
    // Other words for a moment: the voice of the provider is another one.
    let (status, _) = desk
        .api
        .send(
            "POST",
            &format!("{}/say", dialled.path()),
            json!({"content": "This is Zeus.", "voice": "zeus-en"}),
        )
        .await;
    assert_eq!(status, 200);
    super::agent_finishes(&mut events, dialled.call_id()).await;
    let asked = desk.models.log.entries();
    let at = |wanted: &What| {
        asked.iter().find(|entry| entry.what == *wanted).map(|entry| entry.connection)
    };
    let zeus = at(&What::TtsVoice("zeus-en".to_owned())).expect("a session with that voice");
    assert_eq!(
        at(&What::TtsText("This is Zeus.".to_owned())),
        Some(zeus),
        "and it spoke the words"
    );
    assert_ne!(at(&What::TtsText("One moment.".to_owned())), Some(zeus));
    let inject = json!({"type": "inject-context", "content": "They are a gold member.", "trigger_response": true});
    command(&desk, &dialled, inject).await;
    super::agent_finishes(&mut events, dialled.call_id()).await;
    // What was said is told before it is stored.
    let transcript = wait::until("the answer in the transcript", async || {
        let transcript = desk.get(&format!("{}/transcript", dialled.path())).await;
        let answered = transcript["turns"].as_array()?.iter().any(|turn| turn["origin"] == "llm");
        answered.then_some(transcript)
    })
    .await;
    let turns: Vec<(&str, &str)> = transcript["turns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| (text(turn, "origin"), text(turn, "content")))
        .collect();
    assert_eq!(turns[1..3], [("api_say", "One moment."), ("api_say", "This is Zeus.")]);
    assert!(turns.contains(&("injected", "They are a gold member.")), "{turns:?}");
    assert_eq!(turns.last(), Some(&("llm", REPLY)));
    let transfer =
        json!({"type": "transfer", "destination": "+15550123", "message": "I connect you."});
    command(&desk, &dialled, transfer).await;
    let refer = desk.carrier.request("REFER").await;
    assert_eq!(refer.header("refer-to"), "<tel:+15550123>");
    desk.carrier.answer(&refer, "603 Decline", "", "").await;
    wait::until("the end of the transfer", async || {
        let call = desk.get(&dialled.path()).await;
        (call["live"]["transferring"] == false).then_some(())
    })
    .await;
    command(&desk, &dialled, json!({"type": "end-call", "message": "Goodbye."})).await;
    let bye = desk.carrier.request("BYE").await;
    desk.carrier.answer(&bye, "200 OK", "", "").await;
    let call = desk.reaches(&dialled, "completed").await;
    assert_eq!((text(&call, "end_reason"), text(&call, "ended_by")), ("api_hangup", "api"));
    let path = format!("{}/control", dialled.path());
    let (status, late) = desk.api.send("POST", &path, json!({"type": "say", "content": "x"})).await;
    assert_eq!((status, text(&late["error"], "code")), (409, "call_not_active"));
    let nobody = "/v1/calls/01890000-0000-7000-8000-000000000000/control";
    let (status, _) = desk.api.send("POST", nobody, json!({"type": "end-call"})).await;
    assert_eq!(status, 404);
}

/// Answers an offer of the server in the dialog.
async fn agree(desk: &mut Desk, line: &Line, theirs: &str, ours: &str) {
    let offer = desk.carrier.request("INVITE").await;
    assert!(offer.body().contains(&format!("a={theirs}")), "{}", offer.text);
    let attributes = format!("a=rtpmap:101 telephone-event/8000\r\na={ours}\r\n");
    let answer = sdp_with(line.local, "0 101", &attributes);
    let contact = format!("Contact: <sip:callee@{}>\r\n", desk.carrier.local);
    desk.carrier.answer(&offer, "200 OK", &contact, &answer).await;
    desk.carrier.request("ACK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_hold_hears_music_until_they_are_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut wav =
        WavWriter::create(&dir.path().join("hold.wav"), SampleRate::HZ_8000, Channels::Mono)
            .expect("a file");
    wav.write_mono(&sound::tone(880.0, 500)).expect("a file");
    wav.finish().expect("a file");
    let media = dir.path().to_owned();
    let mut desk = Desk::with(|config| config.call.media_dir = media, json!({})).await;
    let (dialled, line) = live(&mut desk).await;
    line.hears_silence(200).await;
    let from = line.count();
    command(&desk, &dialled, json!({"type": "hold", "music": "hold.wav"})).await;
    agree(&mut desk, &line, "sendonly", "recvonly").await;
    // Longer than the file: it begins again.
    wait::until("music", async || {
        (sound::tone_ms(&line.audio(from), 880.0, sound::RATE) >= 1_200).then_some(())
    })
    .await;
    assert_eq!(desk.get(&dialled.path()).await["live"]["on_hold"], true);
    command(&desk, &dialled, json!({"type": "resume"})).await;
    agree(&mut desk, &line, "sendrecv", "sendrecv").await;
    line.hears_silence(400).await;
    wait::until("the call is back", async || {
        (desk.get(&dialled.path()).await["live"]["on_hold"] == false).then_some(())
    })
    .await;
    let missing = json!({"type": "hold", "music": "nothing.wav"});
    let (status, refused) =
        desk.api.send("POST", &format!("{}/control", dialled.path()), missing).await;
    assert_eq!((status, &refused["error"]["param"]), (422, &json!("music")));
    desk.hang_up(&dialled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_into_a_recording_that_was_stopped() {
    let mut desk = Desk::open().await;
    let (dialled, line) = live(&mut desk).await;
    line.say(&sound::tone(440.0, 500));
    line.said().await;
    let path = format!("{}/recording", dialled.path());
    let stop = desk.api.send("POST", &path, json!({"action": "stop"})).await;
    assert_eq!(stop.0, 200, "{}", stop.1);
    line.say(&sound::tone(1_000.0, 500));
    line.said().await;
    let (status, refused) = desk.api.send("POST", &path, json!({"action": "resume"})).await;
    assert_eq!((status, text(&refused["error"], "code")), (409, "not_recorded"), "for good");
    desk.hang_up(&dialled).await;
    let record = desk.server.settled(dialled.call_id()).await;
    let [caller, _] = desk.server.recording(&record);
    assert!(sound::tone_ms(&caller, 440.0, sound::RATE) >= 300);
    assert_eq!(sound::tone_ms(&caller, 1_000.0, sound::RATE), 0, "what was said afterwards");
    let call = desk.get(&dialled.path()).await;
    assert_eq!(text(&call["recording"], "status"), "available");
    let length = call["recording"]["duration_ms"].as_u64().expect("a length");
    assert!(length < call["talk_duration_ms"].as_u64().expect("a duration"), "{call}");
}
