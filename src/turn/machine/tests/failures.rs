//! Late and failing providers: never silence without a word, never for ever.

use super::*;

#[test]
fn a_late_model_is_covered_by_fillers_and_then_given_up() {
    let mut b = Bench::new(config());
    b.asked("go").until(3_999).check(&["3800 close t0 [go]"]);
    b.until(4_000).check(&["4000 speak g1.0 One moment."]);
    b.audio(4_600, 1, 0, 8_000).audible(4_700, 1).played(5_700, 1, 8_000).skip();
    // The next one is due 2 s after the last sound.
    b.until(7_700).check(&["7700 speak g1.1 One moment."]);
    b.llm(7_800, 1, "Here it is. ").llm_done(7_900, 1);
    b.check(&["7900 speak g1.2 Here it is.", "7900 end-of-speech g1 3"]);
    b.audio(8_000, 1, 1, 8_000).audio(8_000, 1, 2, 8_000).finished(9_900, 1, 24_000);
    b.check(&["9900 close t1 [Here it is.] heard[Here it is.]"]);
    assert_eq!(b.history(), ["user:go", "agent:Here it is."]);
    let latency = b.record(1).latency.clone().unwrap();
    let path = latency.critical_path.unwrap();
    assert_eq!((latency.total_perceived_ms, path.llm_first_token_ms), (Some(2_700), 2_200));

    let mut c = config();
    c.texts.fillers.clear();
    let mut b = Bench::new(c);
    b.asked("go").until(12_500).check(&[
        "3800 close t0 [go]",
        "12500 cancel t1",
        "12500 speak g1.0 Something broke.",
        "12500 end-of-speech g1 1",
    ]);
}

#[test]
fn a_failing_model_is_spoken_about_and_then_ends_the_call() {
    let mut b = Bench::new(config());
    for n in 0..3_u32 {
        let base = 10_000 * u64::from(n);
        b.speech(base + 1_000, base + 2_000)
            .words(base + 2_300, n, "go")
            .until(base + 2_500)
            .skip();
        let turn = TurnId(n * 2 + 1);
        b.at(base + 2_600, Input::LlmFailed { turn, error: error(ErrorStage::Llm) });
        let said = if n < 2 { "Something broke." } else { "Broken, bye." };
        b.check(&[
            &format!("{} speak g{}.0 {said}", base + 2_600, n + 1),
            &format!("{} end-of-speech g{} 1", base + 2_600, n + 1),
        ]);
        b.audio(base + 2_700, n + 1, 0, 800).audible(base + 2_700, n + 1);
        b.finished(base + 2_800, n + 1, 800);
        assert_eq!(b.records.last().unwrap().error, Some(error(ErrorStage::Llm)));
    }
    assert_eq!(b.lines.last().unwrap(), "22800 hangup ProviderError");
}

#[test]
fn a_failing_recogniser_is_spoken_about_once_each_time() {
    let mut b = Bench::new(config());
    b.at(1_000, Input::SttFailed(error(ErrorStage::Stt))).check(&[
        "1000 open t0 agent Apology",
        "1000 speak g1.0 Cannot hear.",
        "1000 end-of-speech g1 1",
    ]);
    b.audio(1_100, 1, 0, 800).audible(1_100, 1).finished(1_200, 1, 800).skip();
    b.starts(2_000).at(2_500, Input::SttFailed(error(ErrorStage::Stt)));
    b.ends(2_700, 2_500).until(3_000).check(&[
        "2050 stt-start",
        "2700 finalize 0",
        "3000 open t1 agent Apology",
        "3000 speak g2.0 Cannot hear.",
        "3000 end-of-speech g2 1",
    ]);
    b.audio(3_100, 2, 0, 800).audible(3_100, 2).finished(3_200, 2, 800).skip();
    b.at(4_000, Input::SttFailed(error(ErrorStage::Stt))).skip();
    b.audio(4_100, 3, 0, 800).audible(4_100, 3).finished(4_200, 3, 800);
    b.check(&["4200 close t2 [Broken, bye.] heard[Broken, bye.]", "4200 hangup ProviderError"]);
}

#[test]
fn a_failing_voice_is_tried_again_and_then_ends_the_call() {
    let mut b = Bench::new(config());
    let fail =
        |g| Input::TtsFailed { generation: Generation(g), seq: 1, error: error(ErrorStage::Tts) };
    b.asked("go").llm(2_600, 1, "One two. Three four. ").llm_done(2_600, 1);
    b.audio(2_700, 1, 0, 4_000).audible(2_700, 1).played(3_300, 1, 4_000).skip();
    b.at(3_400, fail(1)).check(&[
        "3400 stop g1",
        "3400 speak g2.0 Three four.",
        "3400 end-of-speech g2 1",
    ]);
    b.audio(3_500, 2, 0, 4_000).finished(4_000, 2, 4_000);
    b.check(&["4000 close t1 [One two. Three four.] heard[One two. Three four.]"]);

    let mut b = Bench::new(config());
    b.asked("go").llm(2_600, 1, "One two. ").llm_done(2_600, 1).skip();
    b.until(20_000).check(&[
        "3800 close t0 [go]",
        "5600 stop g1",
        "5600 speak g2.0 Something broke.",
        "5600 speak g2.1 One two.",
        "5600 end-of-speech g2 2",
        "8600 stop g2",
        "8600 speak g3.0 Something broke.",
        "8600 speak g3.1 One two.",
        "8600 end-of-speech g3 2",
        "11600 stop g3",
        "11600 speak g4.0 Broken, bye.",
        "11600 end-of-speech g4 1",
        "14600 stop g4",
        "14600 close t1 [One two.] heard[] cut",
        "14600 hangup ProviderError",
    ]);
}

#[test]
fn words_to_a_silent_caller_that_cannot_be_said_end_the_call() {
    let fail =
        |g| Input::TtsFailed { generation: Generation(g), seq: 0, error: error(ErrorStage::Tts) };
    let mut b = Bench::new(config());
    b.until(10_000).at(10_100, fail(1)).at(10_200, fail(2)).skip().at(10_300, fail(3));
    b.check(&["10300 stop g3", "10300 speak g4.0 Broken, bye.", "10300 end-of-speech g4 1"]);
    // What needs no voice is heard to its end.
    b.audio(10_300, 4, 0, 800).audible(10_400, 4).finished(10_500, 4, 800);
    b.check(&["10500 close t0 [Hello?] heard[]", "10500 hangup ErrorInactivity"]);
}

#[test]
fn an_empty_reply_is_not_silence() {
    let mut b = Bench::new(config());
    b.asked("go").llm(2_600, 1, " \n").llm_done(2_700, 1);
    b.check(&["2700 speak g1.0 Again?", "2700 end-of-speech g1 1"]);
}
