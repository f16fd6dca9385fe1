//! Keys, commands of the API, inactivity and the ends of a call.

use super::*;

#[test]
fn keys_are_collected_and_answered() {
    let mut b = Bench::new(config());
    b.at(1_000, Input::Digit('1')).at(1_500, Input::Digit('2')).until(2_999).check(&[]);
    b.until(3_000).check(&[
        "3000 open t0 user Dtmf",
        "3000 close t0 [pressed 12]",
        "3000 open t1 agent Llm",
        "3000 ask t1 g1 user:pressed 12",
    ]);
    // A key stops the agent as speech does, and `#` ends the entry.
    b.at(3_100, Input::Digit('7')).check(&[
        "3100 stop g1",
        "3100 cancel t1",
        "3100 close t1 [] heard[] cut",
    ]);
    b.at(3_200, Input::Digit('#')).check(&[
        "3200 open t2 user Dtmf",
        "3200 close t2 [pressed 7]",
        "3200 open t3 agent Llm",
        "3200 ask t3 g2 user:pressed 7",
    ]);
    b.at(3_300, Input::Digit('x'));
    assert_eq!(b.machine.counters().ignored, 1);
}

#[test]
fn say_waits_for_its_turn_or_cuts_in() {
    let mut b = Bench::new(config());
    b.say(1_000, "First.", [false, false]).say(1_100, "Second.", [false, false]).check(&[
        "1000 open t0 agent ApiSay",
        "1000 speak g1.0 First.",
        "1000 end-of-speech g1 1",
    ]);
    b.audio(1_200, 1, 0, 8_000).audible(1_210, 1).finished(2_200, 1, 8_000).check(&[
        "2200 close t0 [First.] heard[First.]",
        "2200 open t1 agent ApiSay",
        "2200 speak g2.0 Second.",
        "2200 end-of-speech g2 1",
    ]);
    b.say(2_300, "Now.", [true, true]).check(&[
        "2300 stop g2",
        "2300 close t1 [Second.] heard[] cut",
        "2300 open t2 agent ApiSay",
        "2300 speak g3.0 Now.",
        "2300 end-of-speech g3 1",
    ]);
    // The call ends after the last word, which cannot be interrupted.
    b.audio(2_400, 3, 0, 8_000).audible(2_400, 3).starts(2_500).check(&["2550 stt-start"]);
    b.finished(3_400, 3, 8_000)
        .check(&["3400 close t2 [Now.] heard[Now.]", "3400 hangup ApiHangup"]);
    assert!(b.machine.is_over() && b.machine.next_wake().is_none());
}

#[test]
fn injected_context_is_answered_on_demand() {
    let mut b = Bench::new(config());
    let text = || Pii::new("The order has shipped.".to_owned());
    b.at(1_000, Input::Inject { role: TurnRole::System, text: text(), respond: false });
    b.check(&["1000 open t0 system Injected", "1000 close t0 [The order has shipped.]"]);
    b.at(1_100, Input::Inject { role: TurnRole::User, text: text(), respond: true });
    b.check(&[
        "1100 open t1 user Injected",
        "1100 close t1 [The order has shipped.]",
        "1100 open t2 agent Llm",
        "1100 ask t2 g1 user:The order has shipped.",
    ]);
    b.at(1_200, Input::Interrupt);
    b.check(&["1200 stop g1", "1200 cancel t2", "1200 close t2 [] heard[] cut"]);
}

#[test]
fn the_model_hangs_up_after_its_last_word() {
    let mut b = Bench::new(config());
    b.asked("bye").llm(2_600, 1, "Goodbye.").at(2_610, Input::LlmEndCall { turn: TurnId(1) });
    b.llm_done(2_620, 1).audio(2_700, 1, 0, 8_000).audible(2_710, 1).played(3_600, 1, 7_900).skip();
    b.finished(3_710, 1, 8_000)
        .check(&["3710 close t1 [Goodbye.] heard[Goodbye.]", "3710 hangup AgentHangup"]);

    // A caller who goes on talking keeps the call.
    let mut b = Bench::new(config());
    b.asked("bye").llm(2_600, 1, "Goodbye.").at(2_610, Input::LlmEndCall { turn: TurnId(1) });
    b.llm_done(2_620, 1).audio(2_700, 1, 0, 8_000).audible(2_710, 1).starts(3_000);
    b.stopped(3_070, 1, 4_000).until(5_000);
    assert!(!b.machine.is_over());
}

#[test]
fn an_end_phrase_ends_the_call_and_lost_reports_cannot_keep_it() {
    let mut c = config();
    c.end_phrases = vec!["have a nice day".to_owned()];
    let mut b = Bench::new(c);
    b.asked("thanks").llm(2_600, 1, "Have a nice day!").llm_done(2_620, 1);
    b.audio(2_700, 1, 0, 8_000).audible(2_710, 1).skip().until(7_710);
    b.check(&[
        "7710 close t1 [Have a nice day!] heard[Have a nice day!]",
        "7710 hangup AgentHangup",
    ]);
    assert_eq!(b.machine.counters().stalls, 1);
}

#[test]
fn silence_is_prompted_twice_then_the_call_ends() {
    let mut b = Bench::new(config());
    b.until(10_000).check(&[
        "10000 open t0 agent InactivityPrompt",
        "10000 speak g1.0 Hello?",
        "10000 end-of-speech g1 1",
    ]);
    b.audio(10_100, 1, 0, 800).audible(10_100, 1).finished(10_200, 1, 800).skip();
    b.until(20_200).audio(20_300, 2, 0, 800).audible(20_300, 2).finished(20_400, 2, 800).skip();
    b.until(30_400).check(&[
        "30400 open t2 agent Goodbye",
        "30400 speak g3.0 Bye.",
        "30400 end-of-speech g3 1",
    ]);
    b.audio(30_500, 3, 0, 800).audible(30_500, 3).finished(30_600, 3, 800);
    b.check(&["30600 close t2 [Bye.] heard[Bye.]", "30600 hangup Inactivity"]);
}

#[test]
fn the_longest_call_ends_with_words() {
    let mut c = config();
    c.max_duration_ms = 10_000;
    c.texts.fillers.clear();
    let mut b = Bench::new(c);
    b.asked("go").llm(9_000, 1, "A long reply. ").until(10_000);
    b.skip().until(10_000).audio(10_100, 2, 0, 800).audible(10_100, 2).finished(10_200, 2, 800);
    b.check(&["10200 close t2 [Time is up.] heard[Time is up.]", "10200 hangup MaxDuration"]);
}

#[test]
fn an_end_closes_everything_at_once() {
    let mut b = Bench::new(config());
    b.asked("go").llm(2_600, 1, "One two. ").skip();
    b.at(2_700, hang_up(EndReason::UserHangup)).check(&[
        "2700 stop g1",
        "2700 cancel t1",
        "2700 close t0 [go]",
        "2700 close t1 [One two.] heard[] cut",
        "2700 hangup UserHangup",
    ]);
    b.llm(2_800, 1, "more").at(2_900, Input::Answered).check(&[]);

    let mut b = Bench::new(config());
    let message = Some(Pii::new("Closing now.".to_owned()));
    b.asked("go").at(2_600, Input::End { message, reason: EndReason::Shutdown }).skip();
    b.audio(2_700, 2, 0, 800).audible(2_700, 2).finished(2_800, 2, 800);
    b.check(&["2800 close t2 [Closing now.] heard[Closing now.]", "2800 hangup Shutdown"]);
}
