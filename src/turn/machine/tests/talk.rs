//! Turn-taking: endpointing, replies, barge-in, false endpoints, what was heard.

use super::*;

#[test]
fn a_whole_turn_in_order() {
    let mut b = Bench::new(config());
    b.speech(1_000, 2_000).check(&["1050 stt-start", "2200 finalize 0"]);
    b.words(2_300, 0, "what time is it").until(2_499).check(&["2300 open t0 user User"]);
    b.until(2_500).check(&["2500 open t1 agent Llm", "2500 ask t1 g1 user:what time is it"]);
    b.at(2_501, Input::LlmSent { turn: TurnId(1), at: b.t(2_501) });
    b.llm(2_600, 1, "It is").llm(2_700, 1, " noon. See").check(&["2700 speak g1.0 It is noon."]);
    b.llm(2_750, 1, " you.").llm_done(2_760, 1);
    b.check(&["2760 speak g1.1 See you.", "2760 end-of-speech g1 2"]);
    b.audio(2_850, 1, 0, 8_000).audible(2_880, 1).audio(2_900, 1, 1, 4_000);
    b.check(&["2880 close t0 [what time is it]"]);
    b.played(3_900, 1, 8_000).finished(4_400, 1, 12_000);
    b.check(&["4400 close t1 [It is noon. See you.] heard[It is noon. See you.]"]);
    assert_eq!(b.history(), ["user:what time is it", "agent:It is noon. See you."]);
    let user = b.record(0);
    assert_eq!((user.offset_ms, user.duration_ms, user.confidence), (1_000, 1_000, Some(0.5)));
    let latency = b.record(1).latency.clone().unwrap();
    assert_eq!(latency.vad_delay_ms, Some(500));
    assert_eq!(latency.stt_finalize_ms, Some(300));
    assert_eq!(latency.llm_startup_ms, Some(99));
    assert_eq!(latency.llm_first_sentence_ms, Some(100));
    assert_eq!(latency.tts_synthesis_ms, Some(150));
    assert_eq!(latency.total_perceived_ms, Some(880));
    assert_eq!(b.machine.latency().total_perceived_ms.unwrap().n, 1);
}

#[test]
fn the_transcript_may_bind_the_end_of_the_turn() {
    let mut b = Bench::new(config());
    b.speech(1_000, 2_000).until(2_900).words(2_950, 0, "hello").skip();
    assert_eq!(b.history(), ["user:hello"]);
    b.llm(3_000, 1, "Hi there. ").llm_done(3_000, 1).audio(3_010, 1, 0, 800).audible(3_020, 1);
    b.finished(3_200, 1, 800);
    let latency = b.record(1).latency.clone().unwrap();
    assert_eq!(latency.vad_delay_ms, Some(500));
    assert_eq!(latency.stt_tail_ms, Some(450));
}

#[test]
fn a_pause_shorter_than_the_wait_does_not_end_the_turn() {
    let mut b = Bench::new(config());
    b.speech(1_000, 2_000).words(2_250, 0, "I want").starts(2_400).until(3_500).skip();
    b.ends(3_600, 3_400).words(3_700, 1, "a pizza");
    b.until(3_899).check(&["3600 finalize 1"]);
    b.until(3_900).check(&["3900 open t1 agent Llm", "3900 ask t1 g1 user:I want a pizza"]);
    assert_eq!(b.machine.counters().false_endpoints, 0);
}

#[test]
fn a_false_endpoint_is_merged_while_nothing_was_heard() {
    let mut b = Bench::new(config());
    b.asked("I want").llm(2_600, 1, "You want what exactly? ").skip();
    b.starts(3_000).check(&[
        "3050 stt-start",
        "3050 stop g1",
        "3050 cancel t1",
        "3050 close t1 [You want what exactly?] heard[] cut",
    ]);
    assert!(b.record(1).latency.as_ref().unwrap().canceled);
    b.ends(4_200, 4_000).words(4_300, 1, "a pizza");
    b.until(4_500).check(&[
        "4200 finalize 1",
        "4500 open t2 agent Llm",
        "4500 ask t2 g2 user:I want a pizza",
    ]);
    assert_eq!(b.history(), ["user:I want a pizza"]);
    assert_eq!(b.machine.counters().false_endpoints, 1);
    b.at(4_600, hang_up(EndReason::UserHangup));
    assert_eq!(b.record(0).content.reveal(), "I want a pizza");
}

#[test]
fn after_a_second_the_caller_begins_a_new_turn() {
    let mut b = Bench::new(config());
    b.asked("first").until(3_900).check(&["3800 close t0 [first]"]);
    b.starts(3_900).ends(4_500, 4_300);
    b.words(4_600, 1, "second").until(4_800);
    assert_eq!(b.history(), ["user:first", "user:second"]);
    assert_eq!(b.machine.counters().false_endpoints, 0);
}

#[test]
fn barge_in_keeps_what_was_heard() {
    let mut b = Bench::new(config());
    b.asked("tell me").llm(2_600, 1, "One two three four. ").llm(
        2_600,
        1,
        "Five six seven eight. ",
    );
    b.llm(2_600, 1, "Nine").audio(2_700, 1, 0, 4_000).audio(2_700, 1, 1, 4_000).audible(2_720, 1);
    b.played(3_400, 1, 5_600).skip();
    b.starts(3_500).check(&["3550 stt-start", "3550 stop g1", "3550 cancel t1"]);
    b.stopped(3_570, 1, 6_400);
    b.check(&["3570 close t1 [One two three four. Five six seven eight. Nine] \
         heard[One two three four. Five six] cut"]);
    assert_eq!(b.history(), ["user:tell me", "agent:One two three four. Five six"]);
    let latency = b.record(1).latency.clone().unwrap();
    assert_eq!(latency.barge_in_stop_ms, Some(70));
    assert!(!latency.canceled);
    // Nothing of the old reply has any further effect.
    let stale = b.machine.counters().stale;
    b.llm(3_600, 1, "old words. And more. ").audio(3_600, 1, 2, 100).played(3_600, 1, 9_000);
    b.check(&[]);
    assert_eq!(b.machine.counters().stale, stale + 4);
}

#[test]
fn a_lost_stop_report_closes_the_turn_anyway() {
    let mut b = Bench::new(config());
    b.asked("go").llm(2_600, 1, "One two three four.").llm_done(2_600, 1);
    b.audio(2_700, 1, 0, 4_000)
        .audible(2_720, 1)
        .played(3_000, 1, 2_000)
        .starts(3_100)
        .skip()
        .until(3_349)
        .check(&[]);
    b.until(3_350).check(&["3350 close t1 [One two three four.] heard[One two] cut"]);
}

#[test]
fn short_noise_under_min_ms_and_short_words_under_min_words_pass() {
    let mut c = config();
    c.barge_in.min_ms = 600;
    let mut b = Bench::new(c);
    b.asked("go").llm(2_600, 1, "A long reply. ").audio(2_700, 1, 0, 80_000).audible(2_720, 1);
    b.played(3_900, 1, 9_000).speech(4_000, 4_200).words(4_450, 1, "mhm").until(4_800);
    assert_eq!(b.machine.counters().backchannels, 1);
    assert_eq!(b.machine.counters().barge_ins, 0);
    b.skip().starts(5_000).until(5_599).check(&["5050 stt-start"]);
    b.until(5_600).check(&["5600 stop g1", "5600 cancel t1"]);

    let mut c = config();
    c.barge_in.min_words = 2;
    let mut b = Bench::new(c);
    b.asked("go").llm(2_600, 1, "A long reply. ").audio(2_700, 1, 0, 80_000).audible(2_720, 1);
    b.skip().starts(4_000).at(4_300, Input::SttPartial(Pii::new("no".to_owned())));
    b.check(&["4050 stt-start", "4300 partial no", "4300 open t2 user User"]);
    b.at(4_500, Input::SttPartial(Pii::new("no stop".to_owned())));
    b.check(&["4500 partial no stop", "4500 stop g1", "4500 cancel t1"]);
}

#[test]
fn words_over_an_uninterruptible_greeting_are_answered_after_it() {
    let mut c = config();
    c.greeting.text = "Welcome to us.".to_owned();
    c.greeting.interruptible = false;
    let mut b = Bench::new(c);
    b.check(&["0 open t0 agent Greeting", "0 speak g1.0 Welcome to us.", "0 end-of-speech g1 1"]);
    b.audio(100, 1, 0, 24_000).audible(110, 1).speech(500, 900).words(1_200, 0, "hello");
    b.played(2_000, 1, 16_000).skip().finished(3_100, 1, 24_000);
    b.check(&[
        "3100 close t0 [Welcome to us.] heard[Welcome to us.]",
        "3100 open t2 agent Llm",
        "3100 ask t2 g2 user:hello",
        "3100 close t1 [hello]",
    ]);
    assert_eq!(b.history(), ["agent:Welcome to us.", "user:hello"]);
    assert_eq!(b.record(0).latency.as_ref().unwrap().trigger_to_audio_ms, Some(110));
}

#[test]
fn speech_without_words_is_asked_again_but_not_for_ever() {
    let mut c = config();
    c.repeat_max = 1;
    let mut b = Bench::new(c);
    b.speech(1_000, 1_500).words(1_800, 0, "").until(2_000).check(&[
        "1050 stt-start",
        "1700 finalize 0",
        "2000 open t0 agent Apology",
        "2000 speak g1.0 Again?",
        "2000 end-of-speech g1 1",
    ]);
    b.audio(2_100, 1, 0, 800).audible(2_100, 1).finished(2_300, 1, 800).skip();
    b.speech(3_000, 3_500).words(3_800, 1, "").until(4_100);
    b.check(&["3050 stt-start", "3700 finalize 1"]);
}

#[test]
fn a_transcript_that_never_comes_leaves_the_partial() {
    let mut b = Bench::new(config());
    b.starts(1_000).at(1_800, Input::SttPartial(Pii::new("call me back".to_owned())));
    b.ends(2_200, 2_000).skip();
    b.until(4_999).check(&["4000 open t1 agent Llm", "4000 speak g1.0 One moment."]);
    b.until(5_000).check(&["5000 ask t1 g1 user:call me back", "5000 close t0 [call me back]"]);
    b.words(5_100, 0, "call me back").check(&[]);
    assert_eq!(b.machine.counters().late_finals, 1);
    assert_eq!(b.history(), ["user:call me back"]);
}
