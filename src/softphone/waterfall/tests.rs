#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn golden() -> Breakdown {
    Breakdown {
        vad_delay_ms: Some(500),
        stt_finalize_ms: Some(1_200),
        llm_startup_ms: Some(85),
        llm_first_sentence_ms: Some(95),
        tts_synthesis_ms: Some(130),
        send_overhead_ms: Some(20),
        total_perceived_ms: Some(1_530),
        critical_path: Some(CriticalPath {
            tools_ms: 0,
            endpoint_ms: 1_200,
            endpoint_bound: EndpointBound::Stt,
            dispatch_ms: 0,
            llm_first_token_ms: 85,
            llm_sentence_ms: 95,
            tts_ms: 130,
            send_ms: 20,
            leading_silence_ms: 0,
        }),
        attempt: 1,
        ..Breakdown::default()
    }
}

fn turns() -> Vec<WaterfallTurn> {
    vec![
        WaterfallTurn {
            index: 0,
            agent: Some("Hello, this is the demo line.".to_owned()),
            latency: Breakdown { trigger_to_audio_ms: Some(41), ..Breakdown::default() },
            ..WaterfallTurn::default()
        },
        WaterfallTurn {
            index: 2,
            caller: Some("what time do you open".to_owned()),
            agent: Some("We open at nine.\u{1b}[2J\nAnd close at five.".to_owned()),
            latency: golden(),
            wire_gap_ms: Some(1_534),
        },
        WaterfallTurn {
            index: 4,
            caller: Some("stop".to_owned()),
            agent: Some("x".repeat(200)),
            latency: Breakdown {
                vad_delay_ms: Some(300),
                stt_finalize_ms: None,
                total_perceived_ms: Some(340),
                tts_synthesis_ms: Some(35),
                send_overhead_ms: Some(1),
                barge_in_stop_ms: Some(212),
                ..Breakdown::default()
            },
            wire_gap_ms: None,
        },
    ]
}

#[test]
fn a_call_in_blocks() {
    insta::assert_snapshot!(render(&turns(), Style::default()));
}

#[test]
fn a_call_in_letters_on_a_narrow_terminal() {
    let style = Style { width: 72, color: Color::Off, glyphs: Glyphs::Ascii };
    insta::assert_snapshot!(render(&turns(), style));
}

#[test]
fn colours_only_when_asked_for_and_nothing_of_the_network_s() {
    let plain = render(&turns(), Style::default());
    assert!(!plain.contains('\u{1b}'));
    let colored = render(&turns(), Style { color: Color::On, ..Style::default() });
    assert!(colored.contains("\u{1b}[32m") && !colored.contains("\u{1b}[2J"));
}

#[test]
fn no_line_is_wider_than_asked_for() {
    for width in [0, 72, 81, 100, 1_000] {
        let picture = render(&turns(), Style { width, ..Style::default() });
        let widest = picture.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width.clamp(WIDTH_MIN, WIDTH_MAX), "{width}: {widest}\n{picture}");
    }
}

#[test]
fn nothing_measured_is_no_picture() {
    assert_eq!(render(&[], Style::default()), "");
    let silent = WaterfallTurn { index: 1, ..WaterfallTurn::default() };
    let picture = render(&[silent], Style::default());
    assert!(
        picture.starts_with("turn 1 ") && picture.trim_end().ends_with("no figures"),
        "{picture}"
    );
}
