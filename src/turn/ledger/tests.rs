use super::*;
use proptest::prelude::*;

const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/latency.md");

fn ledger(micros: [Option<u64>; 9]) -> Ledger {
    let start = crate::turn::fuzz::start() + Duration::from_secs(1);
    let mut ledger = Ledger::default();
    for (mark, at) in Mark::ALL.into_iter().zip(micros) {
        if let Some(at) = at {
            ledger.mark(mark, start + Duration::from_micros(at));
        }
    }
    ledger
}

fn sum(path: &CriticalPath) -> u32 {
    path.endpoint_ms
        + path.dispatch_ms
        + path.llm_first_token_ms
        + path.llm_sentence_ms
        + path.tts_ms
        + path.send_ms
        + path.leading_silence_ms
}

// covers: S1-16..S1-23 E2-16
#[test]
fn golden_vector_1530() {
    let ms = [0, 500, 1_200, 1_200, 1_285, 1_380, 1_510, 1_530, 1_530];
    let found = ledger(ms.map(|ms| Some(ms * 1_000))).breakdown();
    assert_eq!(found.vad_delay_ms, Some(500));
    assert_eq!(found.stt_finalize_ms, Some(1_200));
    assert_eq!(found.llm_startup_ms, Some(85));
    assert_eq!(found.llm_first_sentence_ms, Some(95));
    assert_eq!(found.tts_synthesis_ms, Some(130));
    assert_eq!(found.send_overhead_ms, Some(20));
    assert_eq!(found.total_perceived_ms, Some(1_530));
    assert_eq!(found.stt_tail_ms, Some(700));
    assert_eq!(found.dispatch_ms, Some(0));
    let path = found.critical_path.unwrap();
    assert_eq!((sum(&path), path.endpoint_bound), (1_530, EndpointBound::Stt));
}

#[test]
fn rounds_half_up_after_the_subtraction() {
    let at = |l0, t| {
        let marks = [Some(0), Some(t), Some(t), Some(l0), None, None, None, None, None];
        ledger(marks).breakdown()
    };
    for (l0, expected) in [(10_500, 1), (10_499, 0), (9_500, 0), (9_499, -1), (8_500, -1)] {
        assert_eq!(at(l0, 10_000).dispatch_ms, Some(expected), "{l0}");
    }
    assert_eq!(at(0, 499_500).vad_delay_ms, Some(500));
    assert_eq!(at(0, 499_499).vad_delay_ms, Some(499));
}

#[test]
fn canceled_turns_have_no_total_and_do_not_count() {
    let marks = [Some(0), Some(500_000), None, Some(500_100), None, None, None, None, None];
    let mut canceled = ledger(marks);
    canceled.cut();
    let found = canceled.breakdown();
    assert!(found.canceled && found.total_perceived_ms.is_none() && found.critical_path.is_none());
    let mut figures = CallFigures::default();
    figures.add(&found);
    assert_eq!(figures.latency().vad_delay_ms, None);
}

#[test]
fn turns_without_speech_count_from_their_trigger() {
    let start = crate::turn::fuzz::start();
    let mut ledger = Ledger::triggered(start);
    ledger.mark(Mark::P1, start + Duration::from_millis(180));
    let found = ledger.breakdown();
    assert_eq!((found.trigger_to_audio_ms, found.total_perceived_ms), (Some(180), None));
}

#[test]
fn nearest_rank() {
    let found = percentiles((1..=10).rev().map(|n| n * 10).collect()).unwrap();
    assert_eq!((found.n, found.min, found.p50, found.p90), (10, 10, 50, 90));
    assert_eq!((found.p95, found.p99, found.max), (100, 100, 100));
    assert!((found.mean - 55.0).abs() < 1e-9);
    assert_eq!(percentiles(Vec::new()), None);
    assert_eq!(percentiles(vec![7]).unwrap().p50, 7);
}

#[test]
fn docs_are_generated_from_here() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        std::fs::write(DOC, reference()).unwrap();
    }
    let found = std::fs::read_to_string(DOC).unwrap();
    assert!(found == reference(), "docs/latency.md is old: run the test with UPDATE_GOLDEN=1");
}

proptest! {
    /// Any instants, missing or out of order.
    #[test]
    fn the_path_sums_to_the_total(marks in proptest::array::uniform9(proptest::option::of(0u64..5_000_000))) {
        let found = ledger(marks).breakdown();
        if let Some(path) = &found.critical_path {
            prop_assert_eq!(sum(path), found.total_perceived_ms.unwrap());
        }
    }

    /// Instants in their usual order: the laws of a finished turn.
    #[test]
    fn spans_lie_inside_the_total(gaps in proptest::array::uniform9(0u64..800_000), stt_first: bool) {
        let mut at = 0;
        let mut marks = gaps.map(|gap| { at += gap; Some(at) });
        if stt_first {
            marks.swap(1, 2);
        }
        let found = ledger(marks).breakdown();
        let total = found.total_perceived_ms.unwrap();
        let spans = [
            found.vad_delay_ms, found.stt_finalize_ms, found.llm_startup_ms,
            found.llm_first_sentence_ms, found.tts_synthesis_ms, found.send_overhead_ms,
            found.tts_leading_silence_ms,
        ];
        for span in spans {
            prop_assert!(span.unwrap() <= total + 1);
        }
        let all: u32 = spans.iter().flatten().sum();
        let dispatch = u32::try_from(found.dispatch_ms.unwrap()).unwrap();
        prop_assert!(total <= all + dispatch + 5);
        prop_assert!(found.critical_path.is_some());
    }
}
