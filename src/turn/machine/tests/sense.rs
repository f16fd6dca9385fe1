//! What an agent does that sets nothing: it listens to the words, prepares replies, and yields.

use super::*;
use crate::turn::machine::Counters;
use crate::types::TurnSignal;

fn bench() -> Bench {
    let mut bench = Bench::new(sense());
    bench.skip();
    bench
}

impl Bench {
    fn signal(&mut self, ms: u64, signal: TurnSignal) -> &mut Self {
        let at = self.t(ms);
        self.at(ms, Input::SttTurn { signal, at })
    }

    /// An agent in the middle of a long sentence: turn 1, generation of its own, audible at `ms`.
    fn talking(&mut self, from: u64) -> Generation {
        self.speech(from, from + 500);
        let id = self.finalized();
        self.words(from + 750, id, "Tell me all.");
        self.until(from + 1_000);
        let (turn, generation) = self.question();
        self.llm(from + 1_000, turn, "It is a long story, and nobody knows how it ends. ");
        self.at(from + 1_010, Input::LlmDone { turn: TurnId(turn) });
        let at = self.t(from + 1_100);
        self.at(from + 1_100, Input::TtsAudio { generation, seq: 0, samples: 40_000, at });
        self.at(from + 1_110, Input::TtsDone { generation, seq: 0 });
        self.at(from + 1_120, Input::FirstPacket { generation, at });
        self.at(from + 1_121, Input::FirstAudible { generation, at });
        self.skip();
        generation
    }

    /// The newest finalize request.
    fn finalized(&self) -> u32 {
        let found = self.lines.iter().rev().find_map(|line| line.split("finalize ").nth(1));
        found.map_or(0, |id| id.parse().unwrap())
    }

    /// The newest question to the model: turn and generation.
    fn question(&self) -> (u32, Generation) {
        let of = |line: &String| {
            let mut words = line.split(' ').skip(1);
            let kind = words.next()?;
            (kind == "ask" || kind == "draft").then_some(())?;
            let turn = words.next()?.trim_start_matches('t').parse().ok()?;
            let generation = words.next()?.trim_start_matches('g').parse().ok()?;
            Some((turn, Generation(generation)))
        };
        self.lines.iter().rev().find_map(of).expect("a question to the model")
    }

    fn counters(&self) -> Counters {
        self.machine.counters()
    }

    /// When a line with these words was given out.
    fn when(&self, words: &str) -> Option<u64> {
        let line = self.lines.iter().find(|line| line.contains(words))?;
        line.split(' ').next()?.parse().ok()
    }
}

#[test]
fn complete_words_are_answered_soon_and_unfinished_ones_late() {
    for (text, waits) in [
        ("Yes, on Friday at eight.", 250),
        ("on Friday at eight", 500),
        ("on Friday at eight and", 1_200),
        ("On Friday at eight and.", 1_200),
        ("um,", 1_200),
    ] {
        let mut bench = bench();
        bench.speech(1_000, 2_000).words(2_250, 0, text).until(4_000);
        let answered = bench.when("open t1 agent").expect("a reply");
        assert_eq!(answered - 2_000, waits, "{text}");
    }
}

#[test]
fn late_words_that_go_on_take_the_decision_back() {
    let mut bench = bench();
    bench.speech(1_000, 2_000).words(2_700, 0, "I would like a table for").until(4_000);
    assert_eq!(bench.when("open t1 agent"), Some(3_200));
}

#[test]
fn what_the_agent_asked_decides_what_is_complete() {
    let mut config = sense();
    config.greeting.text = "What is your ZIP code?".to_owned();
    let mut bench = Bench::new(config);
    let generation = Generation(1);
    let at = bench.t(50);
    bench.at(50, Input::TtsAudio { generation, seq: 0, samples: 8_000, at });
    bench.at(60, Input::TtsDone { generation, seq: 0 });
    bench.at(70, Input::FirstAudible { generation, at });
    bench.at(1_000, Input::Played { generation, samples: 8_000, finished: true }).skip();
    bench.speech(1_500, 2_000).words(2_250, 0, "4 7 1").until(3_000);
    assert_eq!(bench.when("agent"), None, "two digits are missing");
    bench.skip().speech(3_000, 3_400).words(3_650, 1, "1 2").until(5_000);
    assert_eq!(bench.when("open t2 agent"), Some(3_650), "all five are there");
}

#[test]
fn callers_who_pause_are_given_time() {
    let mut bench = bench();
    // Two pauses of 700 ms within sentences that say so.
    bench.speech(1_000, 2_000).words(2_250, 0, "I need a table for");
    bench.speech(2_700, 3_500).words(3_750, 1, "four people and");
    bench.speech(4_200, 5_000).words(5_250, 2, "one child").until(8_000);
    assert_eq!(bench.when("open t1 agent"), Some(5_000 + 875), "1.25 times the usual pause");
}

#[test]
fn the_recognisers_word_ends_a_turn() {
    let mut bench = bench();
    bench.speech(1_000, 2_000).words(2_220, 7, "on Friday").signal(2_260, TurnSignal::Over);
    bench.until(4_000);
    assert_eq!(bench.when("open t1 agent"), Some(2_260));
    let mut config = sense();
    config.endpointing.mode = EndpointingMode::Stt;
    let mut bench = Bench::new(config);
    bench.skip().speech(1_000, 2_000).words(2_220, 0, "On Friday.").until(3_900);
    assert_eq!(bench.when("open t1 agent"), None, "it has not said so");
    bench.signal(3_950, TurnSignal::Over).until(4_000);
    assert_eq!(bench.when("open t1 agent"), Some(3_950));
    // Without its word silence has the last one.
    bench.skip();
    let mut config = sense();
    config.endpointing.mode = EndpointingMode::Stt;
    let mut bench = Bench::new(config);
    bench.skip().speech(1_000, 2_000).words(2_220, 0, "On Friday.").until(6_000);
    assert_eq!(bench.when("open t1 agent"), Some(5_000));
}

#[test]
fn a_draft_that_was_right_is_heard_at_once() {
    let mut bench = bench();
    bench.speech(1_000, 2_000).words(2_250, 0, "on Friday at eight").check(&[
        "1050 stt-start",
        "2200 finalize 0",
        "2250 open t0 user User",
        "2250 draft t1 g1 user:on Friday at eight",
    ]);
    bench.llm(2_400, 1, "Certainly. I have noted it.").until(2_499).check(&[]);
    bench.until(2_500).check(&[
        "2500 open t1 agent Llm",
        "2500 commit t1 g1",
        "2500 speak g1.0 Certainly.",
    ]);
    bench.at(2_600, Input::LlmDone { turn: TurnId(1) });
    bench.check(&["2600 speak g1.1 I have noted it.", "2600 end-of-speech g1 2"]);
    assert_eq!((bench.counters().draft_hits, bench.counters().draft_misses), (1, 0));
    let latency = bench.machine.latency();
    assert_eq!((latency.speculative_hits, latency.speculative_misses), (1, 0));
}

#[test]
fn a_draft_for_other_words_is_dropped_unheard() {
    let mut bench = bench();
    bench.speech(1_000, 2_000).words(2_250, 0, "on Friday at eight").skip();
    bench.llm(2_300, 1, "For how many? ");
    bench.speech(2_350, 3_000).words(3_250, 1, "for five").until(3_400).check(&[
        "2400 stt-start",
        "3200 finalize 1",
        "3250 cancel t1",
        "3250 draft t1 g2 user:on Friday at eight for five",
    ]);
    bench.llm(3_300, 1, "Five on Friday. Good.").until(4_000);
    let spoken: Vec<_> = bench.lines.iter().filter(|line| line.contains("speak")).collect();
    assert_eq!(spoken, ["3500 speak g2.0 Five on Friday."]);
    assert_eq!((bench.counters().draft_hits, bench.counters().draft_misses), (1, 1));
}

#[test]
fn a_cough_does_not_cost_a_draft_and_its_failure_is_not_heard() {
    let mut bench = bench();
    bench.speech(1_000, 2_000).words(2_250, 0, "on Friday at eight").skip();
    // A cough: no words.
    bench.speech(2_300, 2_400).words(2_650, 1, "").until(2_650);
    assert!(bench.lines.iter().all(|line| !line.contains("cancel")), "{:?}", bench.lines);
    let failed = error(ErrorStage::Llm);
    bench.at(2_700, Input::LlmFailed { turn: TurnId(1), error: failed }).skip();
    bench.until(3_000).check(&["2900 open t1 agent Llm", "2900 ask t1 g2 user:on Friday at eight"]);
}

#[test]
fn a_draft_gives_way_to_whatever_takes_the_floor() {
    let mut bench = bench();
    bench.speech(1_000, 2_000).words(2_250, 0, "on Friday at eight").skip();
    bench.at(
        2_300,
        Input::Inject {
            role: TurnRole::System,
            text: Pii::new("Fridays are full.".to_owned()),
            respond: false,
        },
    );
    bench.until(2_600);
    assert_eq!(bench.when("cancel t1"), Some(2_300));
    assert_eq!(bench.when("ask t2"), Some(2_500), "{:?}", bench.lines);
    let mut config = sense();
    config.speculation.mode = SpeculationMode::Off;
    let mut bench = Bench::new(config);
    bench.skip().speech(1_000, 2_000).words(2_250, 0, "on Friday at eight").until(2_499);
    assert_eq!(bench.when("draft"), None);
}

#[test]
fn a_voice_may_prepare_too() {
    let mut config = sense();
    config.speculation.mode = SpeculationMode::LlmAndTts;
    let mut bench = Bench::new(config);
    bench.skip().speech(1_000, 2_000).words(2_250, 0, "on Friday at eight").skip();
    bench.llm(2_300, 1, "Certainly. I have noted it.").check(&["2300 speak g1.0 Certainly."]);
    let (generation, at) = (Generation(1), bench.t(2_400));
    bench.at(2_400, Input::TtsAudio { generation, seq: 0, samples: 800, at });
    bench.until(2_500).check(&["2500 open t1 agent Llm", "2500 commit t1 g1"]);
    // Other words: what was synthesised is dropped.
    let mut config = sense();
    config.speculation.mode = SpeculationMode::LlmAndTts;
    let mut bench = Bench::new(config);
    bench.skip().speech(1_000, 2_000).words(2_250, 0, "on Friday at eight").skip();
    bench.llm(2_300, 1, "Certainly. I have").skip();
    bench.speech(2_350, 3_000).words(3_250, 1, "no Saturday");
    assert_eq!(bench.when("stop g1"), Some(3_250), "{:?}", bench.lines);
}

#[test]
fn the_agent_yields_at_once_and_goes_on_after_a_small_word() {
    for text in ["", "mm-hm", "Okay, I see.", "it is a long story"] {
        let mut bench = bench();
        let generation = bench.talking(1_000);
        bench.starts(3_000);
        let yields = format!("yield g{} Pause", generation.0);
        assert_eq!(bench.when(&yields), Some(3_050), "{text}");
        bench.ends(3_400, 3_200);
        let id = bench.finalized();
        bench.words(3_500, id, text);
        assert_eq!(bench.when(&format!("resume g{}", generation.0)), Some(3_500), "{text}");
        bench.at(6_000, Input::Played { generation, samples: 40_000, finished: true });
        let record = bench.records.last().unwrap();
        assert!(!record.interrupted);
        assert_eq!(
            record.spoken_content.as_ref().unwrap().reveal(),
            "It is a long story, and nobody knows how it ends."
        );
        assert_eq!(bench.machine.latency().false_interruptions, 1);
    }
}

#[test]
fn words_and_long_speech_interrupt() {
    // A short word that means it.
    let mut bench = bench();
    let generation = bench.talking(1_000);
    bench.starts(3_000).at(3_200, Input::SttPartial(Pii::new("stop".to_owned())));
    assert_eq!(bench.when(&format!("stop g{}", generation.0)), Some(3_200));
    // Half a second of anything.
    let mut bench = self::bench();
    let generation = bench.talking(1_000);
    bench.starts(3_000).until(5_000);
    assert_eq!(bench.when(&format!("stop g{}", generation.0)), Some(4_500));
    // Short speech whose words come after the agent went on.
    let mut bench = self::bench();
    let generation = bench.talking(1_000);
    bench.starts(3_000).ends(3_400, 3_200).until(4_500);
    assert_eq!(bench.when(&format!("resume g{}", generation.0)), Some(4_000), "resume_ms");
    let id = bench.finalized();
    bench.words(4_600, id, "another day");
    assert_eq!(bench.when(&format!("stop g{}", generation.0)), Some(4_600));
}

#[test]
fn a_line_that_goes_on_making_sounds_does_not_make_the_agent_stutter() {
    let mut bench = bench();
    bench.talking(1_000);
    for n in 0..6 {
        let from = 3_000 + n * 700;
        bench.starts(from).ends(from + 300, from + 100);
        let id = bench.finalized();
        bench.words(from + 400, id, "");
    }
    assert_eq!((bench.counters().yields, bench.counters().resumes), (3, 3));
}

#[test]
fn noise_without_end_or_words_is_not_waited_for() {
    let mut config = sense();
    config.barge_in.min_words = 2;
    let mut bench = Bench::new(config);
    bench.skip();
    let generation = bench.talking(1_000);
    bench.starts(3_000).until(10_000);
    assert_eq!(bench.when(&format!("resume g{}", generation.0)), Some(6_050));
    assert_eq!(bench.counters().yields, 1, "the same sound does not hold it back again");
}

#[test]
fn keys_end_the_turn_they_follow() {
    let mut bench = bench();
    bench.speech(1_000, 2_000).words(2_250, 0, "my number is");
    for (at, key) in [(2_400, '4'), (2_600, '2'), (2_800, '#')] {
        bench.at(at, Input::Digit(key));
    }
    bench.until(4_000);
    let question = bench.lines.iter().find(|line| line.contains(" ask ")).expect("one question");
    assert_eq!(question, "2800 ask t2 g1 user:pressed 42");
    let said: Vec<_> = bench.machine.history().iter().map(|(_, t)| t.reveal().clone()).collect();
    assert_eq!(said, ["my number is", "pressed 42"]);
}
