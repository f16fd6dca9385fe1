//! Who answered a call that went out, on real calls: a mailbox that gets its message after the beep, a menu
//! whose keys are pressed.

use trunkline::call::CallCommand;
use trunkline::config::{Config, sections};
use trunkline::providers::config::ProviderKind;
use trunkline::schema::agent::VoicemailAction;
use trunkline::sim::providers::{MockProviders, Recognise, Script};
use trunkline::sip::Transport;
use trunkline::types::call::TurnRole;
use trunkline::types::{AnsweredBy, CallRecord, EndReason};

use crate::endpointing::speak;
use crate::support::line::Line;
use crate::support::peer::{Peer, sdp};
use crate::support::server::{self, Server};
use crate::support::{has_program, sound, wait};

/// From the end of the beep to the message.
const MESSAGE_AFTER_MS: usize = 400;

async fn models(words: &str, calls: Vec<Vec<(String, String)>>) -> MockProviders {
    let mut script = Script::default();
    script.stt.recognise = Recognise::Scripted(vec![words.to_owned()]);
    script.llm.calls = calls;
    script.llm.replies = vec!["Done.".to_owned()];
    MockProviders::start(script).await.expect("mock servers")
}

fn configure(config: &mut Config, models: &MockProviders) {
    let provider = |kind, base_url: &str, model: &str| sections::Provider {
        kind,
        base_url: base_url.to_owned(),
        model: model.to_owned(),
        ..sections::Provider::default()
    };
    let ear = provider(ProviderKind::Deepgram, &models.stt_url, "nova");
    let mind = provider(ProviderKind::OpenAi, &format!("{}/v1", models.llm_url), "gpt");
    config.providers.extend([("ear".to_owned(), ear), ("mind".to_owned(), mind)]);
    let agent = server::agent(config);
    agent.stt.provider = "ear".to_owned();
    agent.llm.provider = "mind".to_owned();
    agent.turn.inactivity.prompt_after_ms = 60_000;
    agent.voicemail.detect = true;
}

/// The server calls; whoever answers plays these samples.
async fn answered(server: &Server, played: &[i16]) -> (Peer, Line, CallRecord) {
    let mut peer = Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
    let record = server.dial(format!("sip:called@{}", peer.local), Transport::Udp).await;
    let invite = peer.request("INVITE").await;
    let line = Line::new().await;
    line.connect(invite.media());
    let contact = format!("Contact: <sip:called@{}>\r\n", peer.local);
    peer.answer(&invite, "200 OK", &contact, &sdp(line.local)).await;
    peer.request("ACK").await;
    line.say(played);
    (peer, line, record)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_gets_its_message_after_the_beep() {
    if !has_program("espeak-ng") {
        return;
    }
    let greeting = "You have reached the voicemail of Doctor Brown. Please leave a message.";
    let models = models(greeting, Vec::new()).await;
    let server = Server::with(|config| {
        configure(config, &models);
        let agent = server::agent(config);
        agent.voicemail.action = VoicemailAction::LeaveMessage;
        agent.voicemail.message = Some("Please call us back about your table.".to_owned());
    })
    .await;
    let mut played = vec![0; 4_000];
    played.extend(speak("en", greeting));
    played.resize(played.len() + 5_600, 0);
    played.extend(sound::tone(1_000.0, 500));
    let (mut peer, _line, record) = answered(&server, &played).await;
    let bye = peer.request("BYE").await;
    peer.answer(&bye, "200 OK", "", "").await;
    let record = server.ended(record.id).await;
    assert_eq!(record.answered_by, Some(AnsweredBy::Voicemail));
    assert_eq!(record.end_reason, Some(EndReason::Voicemail));
    let turns = server.turns(record.id).await;
    let said: Vec<&str> = turns
        .iter()
        .filter(|turn| turn.role == TurnRole::Assistant)
        .map(|turn| turn.content.reveal().as_str())
        .collect();
    assert_eq!(said, ["Please call us back about your table."], "no greeting, one message");
    let [left, right] = server.recording(&record);
    let beep_end = sound::last_loud(&left, left.len()).expect("the beep");
    let message = sound::next_loud(&right, 0).expect("the message");
    let after_ms = message as i64 / 8 - beep_end as i64 / 8;
    println!("the message begins {after_ms} ms after the beep");
    assert!((0..=MESSAGE_AFTER_MS as i64).contains(&after_ms), "{after_ms} ms after the beep");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_menu_is_answered_with_keys() {
    if !has_program("espeak-ng") {
        return;
    }
    let menu = "Thank you for calling Acme. For sales, press one. For support, press two.";
    let keys = ("send_dtmf".to_owned(), r#"{"digits": "2"}"#.to_owned());
    let models = models(menu, vec![vec![keys]]).await;
    let server = Server::with(|config| {
        configure(config, &models);
        server::agent(config).ivr.navigate = true;
    })
    .await;
    let mut played = vec![0; 4_000];
    played.extend(speak("en", menu));
    let (mut peer, line, record) = answered(&server, &played).await;
    let pressed = wait::until("a key", async || {
        line.heard().into_iter().find(|packet| packet.kind & 0x7f == 101)
    })
    .await;
    assert_eq!(pressed.payload[0], 2, "RFC 4733 event of the key");
    let id = record.id;
    let end = CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
    let done = server.running.switchboard().command(id, end).await;
    assert!(done.is_ok(), "{done:?}");
    let bye = peer.request("BYE").await;
    peer.answer(&bye, "200 OK", "", "").await;
    let record = server.ended(id).await;
    assert_eq!(record.answered_by, Some(AnsweredBy::Ivr));
    let turns = server.turns(id).await;
    let greeted = turns.iter().any(|turn| turn.content.reveal() == "Hello.");
    assert!(!greeted, "a menu is not greeted: {turns:?}");
}

/// Whoever is judged a person is greeted; what they said until then is known to the model, not answered twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_greeted() {
    if !has_program("espeak-ng") {
        return;
    }
    let models = models("Hello?", Vec::new()).await;
    let server = Server::with(|config| configure(config, &models)).await;
    let mut played = vec![0; 4_000];
    played.extend(speak("en", "Hello?"));
    let (mut peer, line, record) = answered(&server, &played).await;
    line.hears(0, 200).await;
    line.hears_silence(400).await;
    let end = CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
    assert!(server.running.switchboard().command(record.id, end).await.is_ok());
    let bye = peer.request("BYE").await;
    peer.answer(&bye, "200 OK", "", "").await;
    let record = server.ended(record.id).await;
    assert_eq!(record.answered_by, Some(AnsweredBy::Human));
    let turns = server.turns(record.id).await;
    let said = turns.iter().filter(|turn| turn.role == TurnRole::Assistant);
    let said: Vec<&str> = said.map(|turn| turn.content.reveal().as_str()).collect();
    assert_eq!(said, ["Hello."]);
}
