//! Conversations whose truth is known, and laws that hold for any.

use proptest::prelude::*;

use super::*;
use crate::audio::noise::ComfortNoise;
use crate::types::SampleRate;

const RATE: SampleRate = SampleRate::HZ_8000;

fn speech(begin_ms: u64, end_ms: u64) -> Utterance {
    Utterance { span: Span::new(begin_ms, end_ms), meaning: Meaning::Speech }
}

fn as_said(meaning: Meaning, begin_ms: u64, end_ms: u64) -> Utterance {
    Utterance { span: Span::new(begin_ms, end_ms), meaning }
}

fn agent(spans: &[(u64, u64)]) -> Vec<Span> {
    spans.iter().map(|(begin, end)| Span::new(*begin, *end)).collect()
}

fn scored(caller: &[Utterance], spans: &[(u64, u64)], duration_ms: u64) -> Score {
    score(caller, &agent(spans), duration_ms, &Rules::default())
}

/// A channel that holds something as loud as speech in these spans, over a floor.
fn channel(spans: &[(u64, u64)], duration_ms: u64, floor_dbfs: f32) -> Vec<i16> {
    let samples = |ms: u64| ms as usize * 8;
    let mut out = vec![0; samples(duration_ms)];
    ComfortNoise::new(floor_dbfs, 3).fill(&mut out);
    for (begin, end) in spans {
        let mut voice = vec![0; samples(end - begin)];
        ComfortNoise::new(-20.0, 5).fill(&mut voice);
        out[samples(*begin)..samples(*end)].copy_from_slice(&voice);
    }
    out
}

#[test]
fn spans_are_found_within_10_ms_on_quiet_and_on_noisy_lines() {
    let truth = [(503, 1_517), (1_950, 2_303), (4_001, 4_960)];
    for floor in [-100.0, -60.0, -45.0, -38.0] {
        let found = spans(&channel(&truth, 6_000, floor), RATE, &SpanRules::default());
        assert_eq!(found.len(), truth.len(), "floor {floor}: {found:?}");
        for (span, (begin, end)) in found.iter().zip(truth) {
            assert!(span.begin_ms.abs_diff(begin) <= 10, "floor {floor}: {found:?}");
            assert!(span.end_ms.abs_diff(end) <= 10, "floor {floor}: {found:?}");
        }
    }
}

#[test]
fn clicks_and_silence_are_no_speech_and_short_stops_do_not_end_it() {
    let none = |spans_at: &[(u64, u64)], floor| {
        spans(&channel(spans_at, 3_000, floor), RATE, &SpanRules::default())
    };
    assert_eq!(none(&[], -100.0), []);
    assert_eq!(none(&[], -60.0), []);
    assert_eq!(none(&[(1_000, 1_020)], -100.0), []);
    assert_eq!(none(&[(500, 800), (980, 1_500)], -100.0), [Span::new(500, 1_500)]);
    assert_eq!(spans(&[], RATE, &SpanRules::default()), []);
}

#[test]
fn a_polite_conversation() {
    let caller = [speech(3_000, 4_000), speech(8_000, 9_000)];
    let score =
        scored(&caller, &[(400, 2_400), (4_650, 5_500), (5_800, 7_000), (9_450, 9_900)], 12_000);
    assert_eq!(score.greeting_ms, Some(400));
    assert_eq!(score.gaps, [Gap { at_ms: 4_000, ms: 650 }, Gap { at_ms: 9_000, ms: 450 }]);
    assert_eq!(
        score.response,
        Spread { n: 2, p50_ms: Some(450), p95_ms: Some(650), max_ms: Some(650) }
    );
    assert_eq!((score.talk_over_ms, score.cut_ins, score.not_yielded), (0, 0, 0));
    assert_eq!(score.monologue_max_ms, 2_350, "two sentences of one reply are one turn");
    assert_eq!(score.silence_max_ms, 2_100);
    assert_eq!(score.yields, []);
    assert_eq!(score.false_interruptions, []);
}

#[test]
fn the_time_to_yield_is_measured_from_the_callers_first_sound() {
    let score = scored(&[speech(2_000, 3_000)], &[(400, 2_180), (3_700, 4_500)], 5_000);
    assert_eq!(score.yields, [Yield { at_ms: 2_000, did_yield: true, ms: 180 }]);
    assert_eq!(score.gaps, [Gap { at_ms: 3_000, ms: 700 }]);
    assert_eq!(score.talk_over_ms, 180);
    // A short word may end before the agent has fallen silent; it is answered all the same.
    let score = scored(&[speech(2_000, 2_150)], &[(400, 2_180), (2_900, 4_500)], 5_000);
    assert_eq!(score.gaps, [Gap { at_ms: 2_150, ms: 750 }]);
}

#[test]
fn an_agent_that_talks_on_or_comes_back_does_not_yield() {
    let score = scored(&[speech(2_000, 5_000)], &[(400, 4_500)], 6_000);
    assert_eq!(score.yields, [Yield { at_ms: 2_000, did_yield: false, ms: 2_500 }]);
    assert_eq!((score.not_yielded, score.time_to_yield.n), (1, 0));
    let score = scored(&[speech(2_000, 5_000)], &[(400, 2_200), (2_700, 4_600)], 6_000);
    assert_eq!(score.yields, [Yield { at_ms: 2_000, did_yield: false, ms: 2_600 }]);
    assert_eq!(score.gaps, []);
}

#[test]
fn a_sound_that_asks_for_nothing_must_not_silence_the_agent() {
    for meaning in [Meaning::Listening, Meaning::Sound] {
        let sound = as_said(meaning, 2_000, 2_300);
        let spoken = scored(&[sound], &[(400, 5_000)], 6_000);
        assert_eq!(spoken.false_interruptions, []);
        // A pause between two sentences is none for this sound.
        assert_eq!(
            scored(&[sound], &[(400, 2_500), (2_750, 5_000)], 6_000).false_interruptions,
            []
        );
        let paused = scored(&[sound], &[(400, 2_100), (3_000, 5_000)], 6_000);
        let wrong = FalseInterruption {
            at_ms: 2_000,
            meaning,
            stopped_after_ms: 100,
            silent_ms: Some(900),
        };
        assert_eq!(paused.false_interruptions, [wrong]);
        assert_eq!((paused.lost(), paused.gaps.len(), paused.yields.len()), (0, 0, 0));
        let lost = scored(&[sound], &[(400, 2_100)], 9_000);
        assert_eq!(lost.false_interruptions, [FalseInterruption { silent_ms: None, ..wrong }]);
        assert_eq!(lost.lost(), 1);
    }
    // A cough is no speech: it is in no sum.
    assert_eq!(scored(&[as_said(Meaning::Sound, 2_000, 2_300)], &[], 3_000).caller_ms, 0);
}

#[test]
fn who_answers_into_the_callers_pause_cuts_in() {
    // "A table for … four people": the agent took the pause for the end.
    let score = scored(&[speech(1_000, 1_800), speech(2_500, 3_500)], &[(2_600, 3_000)], 6_000);
    assert_eq!(score.cut_ins, 1);
    assert_eq!(score.talk_over_ms, 400);
    assert_eq!(score.gaps, []);
    // One who waits does not, and the pause is no gap.
    let score = scored(&[speech(1_000, 1_800), speech(2_500, 3_500)], &[(4_100, 5_000)], 6_000);
    assert_eq!((score.cut_ins, score.gaps), (0, vec![Gap { at_ms: 3_500, ms: 600 }]));
}

#[test]
fn without_labels_short_speech_into_the_agents_words_is_listening() {
    let rules = Rules::default();
    let spans = [Span::new(1_000, 1_300), Span::new(3_000, 3_300), Span::new(5_000, 6_000)];
    let labels = guess(&spans, &agent(&[(500, 2_000), (4_500, 5_400)]), &rules);
    let meanings: Vec<Meaning> = labels.iter().map(|one| one.meaning).collect();
    assert_eq!(meanings, [Meaning::Listening, Meaning::Speech, Meaning::Speech]);
}

#[test]
fn audio_of_a_known_conversation_scores_within_20_ms() {
    let (caller, agent) =
        ([(3_003, 4_411), (6_217, 7_904)], [(407, 2_390), (5_026, 6_391), (8_613, 9_800)]);
    for floor in [-100.0, -55.0, -40.0] {
        let side = |truth: &[(u64, u64)]| {
            spans(&channel(truth, 11_000, floor), RATE, &SpanRules::default())
        };
        let (caller, agent) = (side(&caller), side(&agent));
        let rules = Rules::default();
        let score = score(&guess(&caller, &agent, &rules), &agent, 11_000, &rules);
        let near = |found: u64, truth: u64| assert!(found.abs_diff(truth) <= 20, "{found} {truth}");
        assert_eq!((score.gaps.len(), score.yields.len()), (2, 1), "{score:?}");
        near(score.greeting_ms.unwrap(), 407);
        near(score.gaps[0].ms, 615);
        near(score.gaps[1].ms, 709);
        near(score.yields[0].ms, 174);
        near(score.talk_over_ms, 174);
    }
}

/// Spans in order that do not touch.
fn some_spans() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::vec((1_u64..1_500, 1_u64..3_000), 0..12).prop_map(|lengths| {
        let mut at = 0;
        lengths
            .into_iter()
            .map(|(silence, lasts)| {
                let span = Span::new(at + silence, at + silence + lasts);
                at = span.end_ms;
                span
            })
            .collect()
    })
}

fn labelled(spans: &[Span]) -> Vec<Utterance> {
    spans.iter().map(|span| Utterance { span: *span, meaning: Meaning::Speech }).collect()
}

fn end_of(one: &[Span], other: &[Span]) -> u64 {
    one.iter().chain(other).map(|span| span.end_ms).max().unwrap_or(0) + 100
}

proptest! {
    #[test]
    fn the_parts_add_up_and_swapped_sides_swap_the_sums(one in some_spans(), other in some_spans()) {
        let duration = end_of(&one, &other);
        let rules = Rules::default();
        let score_of = |caller: &[Span], agent: &[Span]| score(&labelled(caller), agent, duration, &rules);
        let (straight, swapped) = (score_of(&one, &other), score_of(&other, &one));
        let anybody = straight.caller_ms + straight.agent_ms - straight.talk_over_ms;
        prop_assert_eq!(anybody + straight.silence_ms, duration);
        prop_assert_eq!(straight.talk_over_ms, swapped.talk_over_ms);
        prop_assert_eq!(straight.silence_ms, swapped.silence_ms);
        prop_assert_eq!(straight.silence_max_ms, swapped.silence_max_ms);
        prop_assert_eq!((straight.caller_ms, straight.agent_ms), (swapped.agent_ms, swapped.caller_ms));
        prop_assert!((0.0..=1.0).contains(&straight.talk_over_share));
        prop_assert!(straight.silence_max_ms <= straight.silence_ms);
    }

    #[test]
    fn every_figure_stays_within_the_call(one in some_spans(), other in some_spans()) {
        let duration = end_of(&one, &other);
        let found = score(&labelled(&one), &other, duration, &Rules::default());
        // A wait ends with a reply, and each reply ends one wait at most.
        prop_assert!(found.gaps.len() <= other.len());
        for gap in &found.gaps {
            prop_assert!(one.iter().any(|span| span.end_ms == gap.at_ms));
            prop_assert!(other.iter().any(|span| span.begin_ms == gap.at_ms + gap.ms));
            let nobody = Span::new(gap.at_ms, gap.at_ms + gap.ms);
            prop_assert_eq!(overlap_ms(nobody, &one), 0, "the caller is silent while it waits");
        }
        prop_assert!(found.yields.len() <= one.len());
        prop_assert!(found.cut_ins + found.yields.len() <= one.len() + other.len());
        prop_assert!(found.monologue_max_ms <= duration);
        let moved = |spans: &[Span]| -> Vec<Span> {
            spans.iter().map(|span| Span::new(span.begin_ms + 77, span.end_ms + 77)).collect()
        };
        let later = score(&labelled(&moved(&one)), &moved(&other), duration + 77, &Rules::default());
        prop_assert_eq!(later.response, found.response);
        prop_assert_eq!(later.time_to_yield, found.time_to_yield);
        prop_assert_eq!(later.talk_over_ms, found.talk_over_ms);
    }

    #[test]
    fn silence_scores_nothing(duration in 0_u64..100_000, other in some_spans()) {
        let nothing = score(&[], &[], duration, &Rules::default());
        prop_assert_eq!(nothing.silence_ms, duration);
        prop_assert_eq!(nothing.response.n + nothing.time_to_yield.n, 0);
        prop_assert_eq!(nothing.talk_over_ms, 0);
        let alone = score(&[], &other, end_of(&[], &other), &Rules::default());
        prop_assert_eq!((alone.response.n, alone.yields.len(), alone.cut_ins), (0, 0, 0));
    }
}
