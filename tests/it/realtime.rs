//! Calls to agents that one model speaks for: real SIP and RTP on one side, the model's protocol on the other.

use std::time::Duration;

use serde_json::Value;
use trunkline::config::{Config, sections};
use trunkline::providers::config::ProviderKind;
use trunkline::schema::agent::{FirstMessageMode, Pipeline};
use trunkline::schema::tool::{Tool, ToolType};
use trunkline::sim::providers::realtime::{MockRealtime, Seen, Turn, VOICE_HZ, Wrongly};
use trunkline::types::call::{TurnOrigin, TurnRole};
use trunkline::types::{
    Breakdown, CallEventKind, CallRecord, EndReason, TurnRecord, UsageKind, UsageUnit,
};

use crate::conversation::Talk;
use crate::support::server::{self, Server};
use crate::support::{fixture, sound, wait};

const OPENAI: ProviderKind = ProviderKind::OpenAiRealtime;

fn configure(config: &mut Config, model: &MockRealtime, kind: ProviderKind) {
    let provider =
        sections::Provider { kind, base_url: model.url.clone(), ..sections::Provider::default() };
    config.providers.insert("model".to_owned(), provider);
    let agent = server::agent(config);
    agent.pipeline = Pipeline::Realtime;
    agent.realtime.provider = "model".to_owned();
    agent.instructions = "Be brief.".to_owned();
    agent.turn.inactivity.prompt_after_ms = 60_000;
    agent.tools = vec![Tool { r#type: ToolType::SetVariable, ..Tool::default() }];
}

async fn start(kind: ProviderKind, change: impl FnOnce(&mut Config)) -> (MockRealtime, Server) {
    let model = MockRealtime::start().await.expect("a port");
    let server = Server::with(|config| {
        configure(config, &model, kind);
        change(config);
    })
    .await;
    (model, server)
}

/// What a caller says: more than a second of speech.
fn speech() -> Vec<i16> {
    let mut samples = sound::load(&fixture(&crate::conversation::utterances()[0].file));
    let over = sound::last_loud(&samples, samples.len()).expect("speech");
    samples.truncate(over);
    samples
}

async fn saw<T>(model: &MockRealtime, times: usize, wanted: impl Fn(&Seen) -> Option<T>) -> T {
    let seen = model.wait(times, wait::LIMIT, wanted).await;
    seen.unwrap_or_else(|| panic!("not seen: {:?}", model.seen()))
}

fn wrong(model: &MockRealtime) -> Vec<Seen> {
    model.seen().into_iter().filter(|seen| matches!(seen, Seen::Wrong(_))).collect()
}

fn items(model: &MockRealtime) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let item = |seen: Seen| match seen {
        Seen::Item(item) if item["type"] == "message" => {
            Some((text(&item["role"]), text(&item["content"][0]["text"])))
        }
        Seen::Item(item) => Some((text(&item["call_id"]), text(&item["output"]))),
        _ => None,
    };
    model.seen().into_iter().filter_map(item).collect()
}

fn words(turns: &[TurnRecord]) -> Vec<(TurnRole, String)> {
    turns.iter().map(|turn| (turn.role, turn.content.reveal().clone())).collect()
}

fn used(record: &CallRecord, unit: UsageUnit) -> f64 {
    let of = |usage: &&trunkline::types::Usage| {
        usage.kind == UsageKind::Llm && usage.unit == unit && usage.provider == "model"
    };
    record.usage.iter().filter(of).map(|usage| usage.quantity).sum()
}

fn figures(turn: &TurnRecord) -> &Breakdown {
    turn.latency.as_ref().expect("figures")
}

// covers: S4-52
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_heard_answered_recorded_measured_and_counted() {
    for kind in [OPENAI, ProviderKind::Xai] {
        let (model, server) = start(kind, |_| {}).await;
        model.transcript("when do you open");
        model.turn(Turn::says("We open at nine.", 900));
        let mut talk = Talk::begin(&server, "turn").await;
        let from = talk.line.count();
        talk.line.say(&speech());
        talk.agent_finishes().await;
        let heard = sound::tone_ms(&talk.line.audio(from), VOICE_HZ, sound::RATE);
        assert!(heard >= 800, "{heard} ms of the model's voice");
        let (record, turns) = talk.finish(&server).await;
        assert_eq!(
            words(&turns),
            [
                (TurnRole::Assistant, "Hello.".to_owned()),
                (TurnRole::User, "when do you open".to_owned()),
                (TurnRole::Assistant, "We open at nine.".to_owned()),
            ]
        );
        assert_eq!(turns[0].origin, TurnOrigin::Greeting);
        let reply = figures(&turns[2]);
        assert!(reply.vad_delay_ms.is_some() && reply.llm_startup_ms.is_some(), "{reply:?}");
        assert!(reply.send_overhead_ms.is_some(), "{reply:?}");
        // One model: no transcript is waited for, no sentence handed to a voice.
        assert_eq!(reply.stt_finalize_ms, None);
        assert_eq!((reply.llm_first_sentence_ms, reply.tts_synthesis_ms), (None, None));
        let path = reply.critical_path.as_ref().expect("a path");
        let sum = path.endpoint_ms
            + path.dispatch_ms
            + path.tools_ms
            + path.llm_first_token_ms
            + path.llm_sentence_ms
            + path.tts_ms
            + path.send_ms
            + path.leading_silence_ms;
        assert_eq!(Some(sum), reply.total_perceived_ms);
        let [caller, agent] = server.recording(&record);
        assert!(sound::loud_ms(&caller) >= 500, "the caller is on record");
        let rate = record.recording.as_ref().map_or(8_000, |info| info.sample_rate as usize);
        assert!(sound::tone_ms(&agent, VOICE_HZ, rate) >= 1_000, "and so is the model");
        let providers = record.providers.llm.as_ref().expect("a model");
        assert_eq!(providers.provider, "model");
        assert!(record.providers.stt.is_none() && record.providers.tts.is_none());
        // The greeting and the reply.
        assert_eq!(
            (used(&record, UsageUnit::TokenIn), used(&record, UsageUnit::TokenOut)),
            (80.0, 20.0)
        );
        let audio =
            (used(&record, UsageUnit::AudioTokenIn), used(&record, UsageUnit::AudioTokenOut));
        assert_eq!(audio, (120.0, 80.0));
        assert_eq!(wrong(&model), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_may_find_the_end_of_a_turn() {
    let (model, server) = start(OPENAI, |config| {
        server::agent(config).realtime.turn_detection =
            trunkline::schema::engine::RealtimeTurn::SemanticVad;
    })
    .await;
    model.transcript("when do you open");
    model.turn(Turn::says("We open at nine.", 400));
    let mut talk = Talk::begin(&server, "semantic").await;
    talk.line.say(&speech());
    talk.agent_says("We open at nine.").await;
    let (_, turns) = talk.finish(&server).await;
    let (heard, said) = (words(&turns), format!("{turns:?} {:?}", model.seen()));
    assert_eq!(heard[1], (TurnRole::User, "when do you open".to_owned()), "{said}");
    assert!(figures(&turns[2]).total_perceived_ms.is_some());
    assert_eq!(wrong(&model), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_interrupts_cuts_the_model_where_they_stopped_hearing_it() {
    for (kind, gap) in [(OPENAI, 0), (OPENAI, 60), (ProviderKind::Xai, 60)] {
        let (model, server) = start(kind, |config| {
            server::agent(config).first_message_mode = FirstMessageMode::None;
        })
        .await;
        let story = "Once upon a time there was a telephone that told very long stories to anybody who called.";
        model.transcript("tell me a story");
        model.turn(Turn { gap: Duration::from_millis(gap), ..Turn::says(story, 8_000) });
        model.transcript("stop it please");
        model.turn(Turn::says("As you like.", 400));
        let mut talk = Talk::dial(&server, "story").await;
        let from = talk.line.count();
        talk.line.say(&speech());
        talk.line.hears(from, 1_000).await;
        talk.line.say(&speech());
        talk.agent_finishes().await;
        let (item, ms) = saw(&model, 1, |seen| match seen {
            Seen::Truncate(item, ms) => Some((item.clone(), *ms)),
            _ => None,
        })
        .await;
        assert!(item.starts_with("item_"));
        // What the telephone received of it, in whole packets: the last one fades out.
        let received = sound::loud_ms(&talk.line.audio(from)) as u64;
        eprintln!("{kind:?}: cut at {ms} ms, {received} ms received");
        assert!(received.abs_diff(ms) <= 20, "{ms} ms cut, {received} ms received");
        talk.agent_says("As you like.").await;
        let (record, turns) = talk.finish(&server).await;
        assert_eq!(record.end_reason, Some(EndReason::UserHangup));
        let cut = turns.iter().find(|turn| turn.interrupted).expect("an interrupted turn");
        let spoken = cut.spoken_content.as_ref().expect("what was heard").reveal().clone();
        let content = cut.content.reveal();
        assert!(content.starts_with(&spoken) && spoken.len() < content.len() / 2, "{spoken}");
        assert!(!spoken.is_empty());
        assert!(figures(cut).barge_in_stop_ms.is_some());
        // Nothing of a response that was over is cancelled.
        let cancelled = model.seen().contains(&Seen::Cancel);
        assert_eq!(cancelled, gap > 0);
        assert_eq!(wrong(&model), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_runs_and_keys_are_told_to_the_model() {
    for kind in [OPENAI, ProviderKind::Xai] {
        let (model, server) = start(kind, |_| {}).await;
        let arguments = "{\"name\":\"party\",\"value\":\"4\"}";
        model.turn(Turn::calls("call_1", "set_variable", arguments));
        model.turn(Turn::says("Noted.", 400));
        let mut talk = Talk::begin(&server, "tool").await;
        talk.press('4').await;
        talk.agent_says("Noted.").await;
        let (record, turns) = talk.finish(&server).await;
        let party = record.variables_extracted.reveal().get("party").cloned();
        assert_eq!(party.as_deref(), Some("4"));
        let tool = turns.iter().find_map(|turn| turn.tool.as_ref()).expect("a tool");
        assert_eq!((tool.name.as_str(), tool.is_error), ("set_variable", false));
        let told = items(&model);
        assert_eq!(told[0], ("user".to_owned(), "pressed 4".to_owned()));
        assert_eq!(told[1], ("call_1".to_owned(), tool.result.reveal().clone()));
        let replies = |turn: &&TurnRecord| turn.role == TurnRole::Assistant;
        let reply = turns.iter().rfind(replies).expect("a reply");
        assert!(figures(reply).tool_ms.is_some());
        assert_eq!(wrong(&model), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_breaks_is_replaced_by_one_that_knows_the_conversation() {
    for kind in [OPENAI, ProviderKind::Xai] {
        let (model, server) = start(kind, |_| {}).await;
        model.transcript("when do you open");
        model.turn(Turn::says("We open at nine.", 400));
        let mut talk = Talk::begin(&server, "breaks").await;
        talk.line.say(&speech());
        talk.agent_says("We open at nine.").await;
        model.hang_up();
        // The second session is told what was said.
        saw(&model, 2, |seen| matches!(seen, Seen::Settings(_)).then_some(())).await;
        model.transcript("and when do you close");
        model.turn(Turn::says("Never sent.", 400).wrongly(Wrongly::Cut(0)));
        model.turn(Turn::says("At six.", 400));
        talk.line.say(&speech());
        // It breaks before a word: the third is asked again.
        talk.agent_says("At six.").await;
        let (record, turns) = talk.finish(&server).await;
        assert_eq!(record.end_reason, Some(EndReason::UserHangup));
        let said = items(&model);
        let of = |role: &str, text: &str| (role.to_owned(), text.to_owned());
        assert!(said.contains(&of("assistant", "Hello.")), "{said:?}");
        assert!(said.contains(&of("user", "when do you open")), "{said:?}");
        assert!(said.contains(&of("assistant", "We open at nine.")), "{said:?}");
        assert!(words(&turns).contains(&(TurnRole::User, "and when do you close".to_owned())));
        let journal = server.journal(record.id).await;
        let recovered =
            |kind: &&CallEventKind| matches!(kind, CallEventKind::ProviderRecovered { .. });
        assert_eq!(journal.iter().filter(recovered).count(), 2);
        assert_eq!(wrong(&model), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_gone_is_apologised_for_and_ends_the_call_in_words_of_the_voice() {
    let (model, server) = start(OPENAI, |config| {
        let agent = server::agent(config);
        agent.realtime.fixed_texts = Some(trunkline::schema::engine::FixedTexts::Tts);
        agent.turn.failures_max = 2;
    })
    .await;
    let mut talk = Talk::begin(&server, "gone").await;
    model.refuse(Some(503));
    model.hang_up();
    saw(&model, 1, |seen| matches!(seen, Seen::Closed).then_some(())).await;
    talk.press('1').await;
    talk.agent_finishes().await;
    talk.press('2').await;
    talk.caller.hung_up().await;
    let record = server.ended(talk.id).await;
    assert_eq!(record.end_reason, Some(EndReason::ProviderError));
    let error = record.error.as_ref().expect("an error");
    // The first thing that went wrong.
    assert_eq!(error.code, "realtime_cut");
    let turns = server.turns(record.id).await;
    let codes = turns.iter().filter_map(|turn| turn.error.as_ref());
    let codes: Vec<&str> = codes.map(|error| error.code.as_str()).collect();
    assert_eq!(codes, ["realtime_unavailable"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_refused_while_there_is_no_model() {
    let (model, server) = start(OPENAI, |_| {}).await;
    model.refuse(Some(401));
    let line = crate::support::line::Line::new().await;
    let mut caller =
        crate::support::peer::Caller::new(&server, trunkline::sip::Transport::Udp, "nobody").await;
    assert_eq!(caller.try_call(line.local).await.status(), 503);
}
