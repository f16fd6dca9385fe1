//! A model that hears and speaks itself: nothing waits for transcripts, and words come with their sound.

use super::*;

fn hears() -> TurnConfig {
    TurnConfig { late_transcripts: true, ..config() }
}

impl Bench {
    fn part(&mut self, ms: u64, item: u32, text: &str, samples: u64) -> &mut Self {
        let (generation, at, text) = (Generation(1), self.t(ms), text.to_owned());
        self.at(ms, Input::Spoken { generation, item, text, samples, at })
    }

    fn part_done(&mut self, ms: u64, item: u32) -> &mut Self {
        self.at(ms, Input::SpokenDone { generation: Generation(1), item })
    }
}

#[test]
fn the_reply_waits_for_no_transcript_and_the_record_does() {
    let mut b = Bench::new(hears());
    b.speech(1_000, 2_000).until(2_500);
    b.check(&[
        "1050 stt-start",
        "2200 finalize 0",
        "2500 open t0 user User",
        "2500 open t1 agent Llm",
        "2500 ask t1 g1 ",
    ]);
    b.at(2_500, Input::LlmSent { turn: TurnId(1), at: b.t(2_500) });
    b.part(2_800, 0, "We open ", 0).part(2_810, 0, "", 8_000).part(2_820, 0, "at nine.", 8_000);
    b.audible(2_850, 1).check(&[]);
    b.words(3_000, 0, "when do you open").check(&["3000 close t0 [when do you open]"]);
    b.part_done(3_100, 0).llm_done(3_100, 1);
    b.check(&["3100 end-of-speech g1 1"]);
    b.finished(4_850, 1, 16_000);
    b.check(&["4850 close t1 [We open at nine.] heard[We open at nine.]"]);
    assert_eq!(b.history(), ["user:when do you open", "agent:We open at nine."]);
    let latency = b.record(1).latency.clone().unwrap();
    assert_eq!((latency.vad_delay_ms, latency.stt_finalize_ms), (Some(500), None));
    assert_eq!((latency.llm_startup_ms, latency.llm_first_sentence_ms), (Some(300), None));
    assert_eq!((latency.tts_synthesis_ms, latency.send_overhead_ms), (None, Some(40)));
    let path = latency.critical_path.unwrap();
    assert_eq!((path.endpoint_ms, path.llm_first_token_ms, path.tts_ms), (500, 300, 10));
    assert_eq!(latency.total_perceived_ms, Some(850));
}

#[test]
fn a_transcript_that_never_comes_leaves_an_empty_turn_behind() {
    let mut b = Bench::new(hears());
    b.speech(1_000, 2_000).until(2_500).skip();
    b.part(2_600, 0, "Yes.", 80_000).part_done(2_610, 0).llm_done(2_620, 1);
    b.audible(2_650, 1).played(5_000, 1, 18_000).skip();
    b.until(7_600).check(&["7500 close t0 []"]);
    // And one that comes after that is of no use.
    b.words(7_700, 0, "too late").check(&[]);
    assert_eq!(b.machine.counters().late_finals, 1);
}

#[test]
fn of_a_reply_that_is_cut_as_much_of_its_words_was_heard_as_of_its_sound() {
    let mut b = Bench::new(hears());
    b.speech(1_000, 2_000).words(2_300, 0, "a story").until(2_500).skip();
    b.part(2_600, 0, "One two three four five six seven eight nine ten", 0);
    b.part(2_600, 0, "", 80_000).part_done(2_610, 0).llm_done(2_610, 1);
    b.audible(2_650, 1).skip();
    b.starts(6_650).check(&["6700 stt-start", "6700 stop g1"]);
    b.stopped(6_720, 1, 32_000);
    b.check(&["6720 close t1 [One two three four five six seven eight nine ten] heard[One two three four] cut"]);
    assert_eq!(b.history().last().unwrap(), "agent:One two three four");
}

#[test]
fn parts_are_parts_of_one_text_and_only_a_model_at_work_speaks() {
    let mut b = Bench::new(hears());
    b.speech(1_000, 2_000).words(2_300, 0, "hello").until(2_500).skip();
    b.part(2_600, 4, "Let me see.", 800).part_done(2_610, 4);
    b.part(2_700, 5, "It is four.", 800).part_done(2_710, 5).part_done(2_710, 9);
    b.llm_done(2_720, 1).part(2_730, 6, "Never.", 800);
    b.audible(2_750, 1).check(&["2720 end-of-speech g1 2", "2750 close t0 [hello]"]);
    b.finished(3_000, 1, 1_600);
    b.check(&["3000 close t1 [Let me see. It is four.] heard[Let me see. It is four.]"]);
    assert_eq!(b.machine.counters().ignored, 2);
}

#[test]
fn noise_that_is_known_to_be_noise_is_not_answered() {
    let mut b = Bench::new(hears());
    b.speech(1_000, 1_200);
    let (text, at) = (Pii::new(String::new()), b.t(1_450));
    let (confidence, answers, understood) = (None, Some(0), true);
    b.at(1_450, Input::SttFinal { text, confidence, answers, understood, at });
    b.until(3_000).check(&["1050 stt-start", "1400 finalize 0"]);
}

#[test]
fn a_caller_who_goes_on_before_the_reply_is_heard_says_one_thing() {
    let mut b = Bench::new(hears());
    b.speech(1_000, 2_000).until(2_500).skip();
    b.starts(2_700).check(&[
        "2750 stt-start",
        "2750 stop g1",
        "2750 cancel t1",
        "2750 close t1 [] heard[] cut",
    ]);
    b.words(2_800, 0, "I would like").ends(4_200, 4_000).until(4_500);
    b.words(4_600, 1, "a table");
    b.part(4_700, 0, "Fine.", 8_000);
    let user: Vec<_> = b.history();
    assert_eq!(user, ["user:I would like a table"]);
}

#[test]
fn speech_under_words_that_go_on_is_answered_after_them() {
    let mut config = hears();
    config.barge_in.enabled = false;
    let mut b = Bench::new(config);
    b.say(1_000, "Hear me out.", [false, false]).audio(1_100, 1, 0, 24_000).audible(1_150, 1);
    b.speech(1_500, 2_000).until(3_000).skip();
    b.finished(4_150, 1, 24_000);
    let lines = std::mem::take(&mut b.lines);
    assert!(lines.iter().any(|line| line.contains("ask t2")), "{lines:?}");
}
