//! Tools beside the talk: clocks that stand still, words while waiting, what stays of a reply that is cut off.

use super::*;

fn tool(name: &str) -> Box<ToolUse> {
    Box::new(ToolUse {
        call_id: "call_1".to_owned(),
        name: name.to_owned(),
        arguments: Pii::new(serde_json::json!({"people": 4})),
        result: Pii::new("eight".to_owned()),
        is_error: false,
        status_code: Some(200),
        duration_ms: 900,
    })
}

fn started(turn: u32, speak: Option<&str>) -> Input {
    let speak = speak.map(|text| Pii::new(text.to_owned()));
    Input::ToolsStarted { turn: TurnId(turn), speak, limit: Duration::from_secs(30) }
}

impl Bench {
    fn text(&mut self, ms: u64, text: &str) -> &mut Self {
        let (turn, at) = (TurnId(1), self.t(ms));
        self.at(ms, Input::LlmText { turn, text: text.to_owned(), at })
    }
}

fn fillers(bench: &Bench) -> u64 {
    bench.machine.counters().fillers
}

#[test]
fn a_long_tool_neither_fails_the_reply_nor_hides_behind_fillers() {
    let mut bench = Bench::new(TurnConfig::default());
    bench.asked("book a table");
    bench.text(2_600, "Let me look");
    bench.at(2_650, started(1, Some("One moment.")));
    // What the model began to say is spoken, then the tool's own words.
    let spoken: Vec<&str> =
        bench.lines.iter().filter(|l| l.contains("speak")).map(String::as_str).collect();
    assert_eq!(spoken, ["2650 speak g1.0 Let me look", "2650 speak g1.1 One moment."]);
    let sent = bench.lines.len();
    for seq in 0..2 {
        let at = bench.t(2_700);
        bench.at(2_700, Input::TtsAudio { generation: Generation(1), seq, samples: 800, at });
        bench.at(2_701, Input::TtsDone { generation: Generation(1), seq });
    }
    // Far beyond the model's own limit.
    bench.until(2_650 + u64::from(TurnConfig::default().reply_timeout_ms) + 1_000);
    assert!(!bench.lines[sent..].iter().any(|line| line.contains("cancel")), "{:?}", bench.lines);
    let told = fillers(&bench);
    assert!(told <= 4, "{told} fillers although the caller was told");
}

#[test]
fn tools_that_never_come_back_end_in_an_apology() {
    let mut bench = Bench::new(TurnConfig::default());
    bench.asked("book a table");
    bench.at(2_600, started(1, None));
    bench.until(2_600 + 30_100);
    let canceled = bench.lines.iter().any(|line| line.ends_with("cancel t1"));
    assert!(canceled && fillers(&bench) > 0, "{:?}", bench.lines);
}

#[test]
fn time_of_tools_is_a_part_of_the_critical_path() {
    let mut bench = Bench::new(TurnConfig::default());
    bench.asked("book a table");
    let (turn, at) = (TurnId(1), bench.t(2_510));
    bench.at(2_510, Input::LlmSent { turn, at });
    bench.at(2_600, started(1, None));
    let at = bench.t(2_600);
    bench.at(3_500, Input::ToolEnded { begun: at, tool: tool("find") });
    bench.at(3_500, Input::ToolsDone { turn });
    bench.text(3_700, "Eight is free. ");
    bench.at(3_700, Input::LlmDone { turn });
    let generation = Generation(1);
    let at = bench.t(3_800);
    bench.at(3_800, Input::TtsAudio { generation, seq: 0, samples: 800, at });
    bench.at(3_800, Input::TtsDone { generation, seq: 0 });
    let at = bench.t(3_810);
    bench.at(3_810, Input::FirstPacket { generation, at });
    let at = bench.t(3_820);
    bench.at(3_820, Input::FirstAudible { generation, at });
    bench.at(3_920, Input::Played { generation, samples: 800, finished: true });
    let latency = bench.record(1).latency.clone().unwrap();
    assert_eq!(latency.tool_ms, Some(900));
    assert_eq!(latency.llm_startup_ms, Some(1_190), "L0 to L1, the tools included");
    let path = latency.critical_path.unwrap();
    assert_eq!((path.tools_ms, path.llm_first_token_ms), (900, 290));
    let sum = path.endpoint_ms
        + path.dispatch_ms
        + path.tools_ms
        + path.llm_first_token_ms
        + path.llm_sentence_ms
        + path.tts_ms
        + path.send_ms
        + path.leading_silence_ms;
    assert_eq!(Some(sum), latency.total_perceived_ms);
    let used = bench.record(2);
    assert_eq!((used.role, used.tool.as_ref()), (TurnRole::Tool, Some(&*tool("find"))));
    let history = bench.history();
    assert_eq!(history[1], "tool:find({\"people\":4}) gave: eight");
}

/// The model must know what was done in its name, or it does it twice.
#[test]
fn what_a_tool_did_stays_when_the_caller_goes_on_talking() {
    let mut bench = Bench::new(TurnConfig::default());
    bench.asked("book a table");
    bench.at(2_600, started(1, None));
    let at = bench.t(2_600);
    bench.at(2_700, Input::ToolEnded { begun: at, tool: tool("book") });
    let at = bench.t(2_900);
    bench.at(3_000, Input::SpeechStarted { onset: at });
    bench.until(3_600);
    assert!(bench.lines.iter().any(|line| line.ends_with("cancel t1")), "{:?}", bench.lines);
    assert_eq!(bench.history(), ["tool:book({\"people\":4}) gave: eight"]);
}

#[test]
fn another_agent_speaks_first_and_knows_what_was_said_if_it_shall() {
    for keep_context in [true, false] {
        let mut bench = Bench::new(TurnConfig::default());
        bench.asked("sales please");
        let mut config = Box::<TurnConfig>::default();
        config.greeting.text = "Sales speaking.".to_owned();
        bench.at(2_600, Input::Handoff { config, message: None, keep_context });
        assert!(
            bench.lines.iter().any(|line| line.ends_with("Sales speaking.")),
            "{:?}",
            bench.lines
        );
        assert!(bench.lines.iter().any(|line| line.ends_with("cancel t1")));
        assert_eq!(bench.history().len(), usize::from(keep_context));
    }
}

#[test]
fn nobody_is_asked_whether_they_are_there_while_they_are_on_hold() {
    let mut bench = Bench::new(TurnConfig::default());
    bench.at(1_000, Input::Held(true));
    let before = bench.lines.len();
    bench.until(200_000);
    assert_eq!(bench.lines.len(), before, "{:?}", bench.lines);
    bench.at(200_001, Input::Held(false));
    bench.until(300_000);
    assert!(bench.lines.len() > before, "the caller is back and silent");
}
