#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn exchange(said: &str, gap_ms: Option<f64>) -> Exchange {
    let heard = gap_ms.is_some() || said.is_empty();
    Exchange {
        said: said.to_owned(),
        gap_ms,
        began_ms: heard.then_some(1_000),
        duration_ms: heard.then_some(1_500),
    }
}

fn turn(index: u32, role: &str, total_ms: Option<u32>) -> ServerTurn {
    ServerTurn {
        index,
        role: role.to_owned(),
        content: format!("words of turn {index}"),
        spoken_content: None,
        interrupted: false,
        offset_ms: 0,
        tool: None,
        latency: (role == "assistant").then(|| Breakdown {
            vad_delay_ms: total_ms.map(|_| 300),
            stt_finalize_ms: total_ms.map(|_| 180),
            tts_synthesis_ms: total_ms.map(|total| total - 302),
            send_overhead_ms: total_ms.map(|_| 2),
            total_perceived_ms: total_ms,
            trigger_to_audio_ms: total_ms.is_none().then_some(35),
            ..Breakdown::default()
        }),
    }
}

fn report(turns: Vec<ServerTurn>, exchanges: Vec<Exchange>) -> CallReport {
    CallReport {
        uri: "sip:agent@127.0.0.1".to_owned(),
        identifier: "0123".to_owned(),
        setup_ms: Some(31.25),
        end: "we hung up".to_owned(),
        sip_status: None,
        audio: AudioReport {
            packets: 500,
            frames_lost: 0,
            packets_late: 0,
            jitter_ms: 0.125,
            pacing_p50_ms: 0.1,
            pacing_p99_ms: 0.85,
        },
        recording: Some("call.wav".to_owned()),
        server_call_id: (!turns.is_empty()).then(|| "0198".to_owned()),
        turns: with_gaps(turns, &exchanges),
        exchanges,
    }
}

fn exchanges() -> Vec<Exchange> {
    vec![exchange("", None), exchange("hours.wav", Some(402.4)), exchange("table.wav", Some(388.6))]
}

#[test]
fn with_the_server_s_figures() {
    let turns = vec![
        turn(0, "assistant", None),
        turn(1, "user", None),
        turn(2, "assistant", Some(400)),
        turn(3, "user", None),
        turn(4, "assistant", Some(390)),
    ];
    let report = report(turns, exchanges());
    assert!(report.succeeded());
    insta::assert_snapshot!(report.text(Style::default()));
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["turns"][2]["wire_gap_ms"], 402.4);
    assert_eq!(json["turns"][2]["latency"]["total_perceived_ms"], 400);
}

#[test]
fn without_the_server_s_figures() {
    insta::assert_snapshot!(report(Vec::new(), exchanges()).text(Style::default()));
}

#[test]
fn where_counts_differ_no_turn_claims_a_gap() {
    let turns = vec![turn(0, "assistant", Some(400))];
    let report = report(turns, exchanges());
    assert!(report.turns.iter().all(|turn| turn.wire_gap_ms.is_none()));
}

#[test]
fn an_utterance_without_reply_is_no_success() {
    let mut exchanges = exchanges();
    exchanges.push(exchange("stop.wav", None));
    assert!(!report(Vec::new(), exchanges).succeeded());
    let unanswered = CallReport { setup_ms: None, ..report(Vec::new(), Vec::new()) };
    assert!(!unanswered.succeeded());
    assert!(unanswered.text(Style::default()).contains("never answered"));
}
