use serde_json::{Value, json};

use super::replay::Replay;
use super::{Dialect, Encoding, Meaning};
use crate::audio::g711;
use crate::providers::socket::Incoming;
use crate::providers::stt::{assemblyai, flux, openai_realtime, soniox, speechmatics};
use crate::types::SampleRate;

/// What a connection's messages mean, in short: text that may change in brackets.
fn check(mut dialect: Box<dyn Dialect>, messages: &[Value], wanted: &[&str]) {
    let mut out = Vec::new();
    for message in messages {
        dialect.understand(Incoming::Text(message.to_string()), &mut out);
    }
    let short = |meaning: &Meaning| match meaning {
        Meaning::Interim(text) => format!("({text})"),
        Meaning::Final(words) => words.text.clone(),
        Meaning::Turn(signal) => format!("{signal:?}"),
        Meaning::Quiet(_) => "quiet".to_owned(),
        Meaning::Fatal(kind, _) => kind.as_str().to_owned(),
    };
    assert_eq!(out.iter().map(short).collect::<Vec<_>>(), wanted);
}

#[test]
fn transcripts_that_are_completed_out_of_order_are_given_in_order() {
    let base = "conversation.item.input_audio_transcription";
    let committed = |id: &str, previous: Option<&str>| json!({"type": "input_audio_buffer.committed", "item_id": id, "previous_item_id": previous});
    let completed = |id: &str, text: &str| json!({"type": format!("{base}.completed"), "item_id": id, "transcript": text});
    let messages = [
        committed("item_3", Some("item_2")),
        // The one before it is told of later.
        committed("item_2", Some("item_1")),
        completed("item_3", "three"),
        json!({"type": format!("{base}.delta"), "item_id": "item_1", "delta": "on"}),
        completed("item_2", "two"),
        completed("item_1", "one"),
    ];
    check(openai_realtime::dialect(), &messages, &["(on three)", "one", "two", "three"]);
}

#[test]
fn punctuation_belongs_to_the_word_before_it() {
    let piece = |message: &str, text: &str, attaches: Option<&str>| {
        json!({"message": message, "metadata": {"end_time": 1.0, "transcript": text},
            "results": [{"type": "word", "attaches_to": attaches, "alternatives": [{"content": "x"}]}]})
    };
    let messages = [
        piece("AddPartialTranscript", "how ", None),
        piece("AddTranscript", "How are ", None),
        piece("AddTranscript", "you", None),
        piece("AddTranscript", "? ", Some("previous")),
        json!({"message": "EndOfUtterance", "metadata": {"end_time": 2.0}}),
    ];
    let wanted = [
        "Started",
        "(how)",
        "(How are)",
        "(How are you)",
        "(How are you?)",
        "How are you?",
        "Over",
    ];
    check(speechmatics::dialect(), &messages, &wanted);
}

#[test]
fn a_turn_that_goes_on_is_taken_back() {
    let info = |event: &str, text: &str, trigger: Value| {
        json!({"type": "TurnInfo", "event": event, "transcript": text, "audio_window_end": 1.0,
            "trigger": trigger})
    };
    let messages = [
        info("Update", "", Value::Null),
        info("StartOfTurn", "a", Value::Null),
        info("EagerEndOfTurn", "a b", Value::Null),
        info("TurnResumed", "a b", Value::Null),
        info("EndOfTurn", "a b c", json!("model")),
        info("StartOfTurn", "d", Value::Null),
        info("EndOfTurn", "d", json!("manual")),
        json!({"type": "ConfigureSuccess"}),
    ];
    let wanted = [
        "quiet",
        "Started",
        "(a)",
        "(a b)",
        "LikelyOver",
        "(a b)",
        "Resumed",
        "a b c",
        "Over",
        "Started",
        "(d)",
        "d",
    ];
    check(flux::dialect(), &messages, &wanted);
}

#[test]
fn a_formatted_turn_is_not_taken_twice() {
    let turn = |order: u64, over: bool, formatted: bool, text: &str| {
        json!({"type": "Turn", "turn_order": order, "end_of_turn": over, "turn_is_formatted": formatted,
            "transcript": text, "words": [{"text": "hi", "end": 480, "word_is_final": over}]})
    };
    let messages = [
        turn(0, false, false, ""),
        turn(0, true, false, "hi"),
        turn(0, true, true, "Hi."),
        turn(1, true, true, "Hi."),
    ];
    let wanted = ["Started", "(hi)", "hi", "Over", "Started", "Hi.", "Over"];
    check(assemblyai::dialect(), &messages, &wanted);
}

#[test]
fn tokens_are_joined_as_they_stand() {
    let token = |text: &str, is_final: bool| json!({"text": text, "is_final": is_final});
    let messages = [
        json!({"tokens": [token("Hel", true), token("lo", false)]}),
        json!({"tokens": [token("lo", true), token(" th", false)]}),
        json!({"tokens": [token(" there", true), token("<end>", true), token("N", false)]}),
        json!({"tokens": [], "finished": true}),
    ];
    let wanted = ["Started", "(Hello)", "(Hello th)", "Hello there", "Over", "Started", "(N)"];
    check(soniox::dialect(), &messages, &wanted);
}

#[test]
fn what_was_heard_before_speech_waits_and_gives_way() {
    let mut replay = Replay::new(SampleRate::HZ_8000, 1);
    for _ in 0..5 {
        replay.push_held(vec![0; 320].into(), 160);
        replay.keep_held(480);
    }
    assert_eq!((replay.len(), replay.position(), replay.has_audio()), (3, 0, false));
    assert!(replay.take_next().is_none());
    replay.free();
    replay.push(vec![0; 320].into(), 160);
    assert_eq!((replay.len(), replay.position()), (4, 640));
    while replay.take_next().is_some() {}
    replay.acknowledge_samples(320);
    assert_eq!((replay.len(), replay.position(), replay.position_sent()), (2, 640, 640));
    // A second is all that is kept; what never left does not count at the server.
    replay.restart();
    for _ in 0..60 {
        replay.push(vec![0; 320].into(), 160);
    }
    assert_eq!(replay.len(), 50);
    assert_eq!(replay.sent_for(), std::time::Duration::ZERO);
    assert!(replay.take_next().is_some());
    assert_eq!(replay.acknowledge(0.02), replay.acknowledged());
}

#[test]
fn mu_law_that_came_from_a_call_leaves_as_the_same_octets() {
    for octet in 0..=u8::MAX {
        let sample = g711::decode_ulaw(octet);
        let sent = Encoding::MuLaw.encode(&[sample]);
        // The law has two zeros; the negative one leaves as the positive one.
        let wanted = if octet == 0x7F { 0xFF } else { octet };
        assert_eq!(sent.as_ref(), &[wanted], "{octet:#04x} decoded to {sample}");
    }
}
