use std::time::{Duration, Instant};

use super::Answerer::{Carrier, Fax, Human, Ivr, MachineBeep, MachineGreeting, Screening, Unknown};
use super::*;
use crate::turn::fuzz::start;

/// What happens, in ms after the answer.
enum Act {
    /// From, to.
    Speech(u64, u64),
    Partial(u64, &'static str),
    Final(u64, &'static str),
    Tone(u64, LineTone),
    Digit(u64),
}
use Act::{Digit, Final, Partial, Speech, Tone};

const BEEP: LineTone = LineTone::Beep { hz: 1_000, duration_ms: 400 };
const BEAT: LineTone = LineTone::Progress { duration_ms: 500 };
/// VAD's own delay at each edge.
const VAD_LAG_MS: u64 = 200;

/// Runs a script until nothing more can happen; what was judged, why and when.
fn judged(language: &str, acts: &[Act]) -> Vec<(Answerer, Reason, u64)> {
    let zero = start();
    let at = |ms: u64| zero + Duration::from_millis(ms);
    let mut due: Vec<(u64, AnsweringInput<'_>)> = Vec::new();
    for act in acts {
        match act {
            Speech(from, to) => {
                let onset = at(*from);
                due.push((from + 60, AnsweringInput::SpeechStarted { onset }));
                let last_voiced = at(*to);
                due.push((to + VAD_LAG_MS, AnsweringInput::SpeechEnded { last_voiced }));
            }
            Partial(ms, text) => due.push((*ms, AnsweringInput::Partial(text))),
            Final(ms, text) => due.push((*ms, AnsweringInput::Final(text))),
            Tone(ms, tone) => due.push((*ms, AnsweringInput::Tone(*tone))),
            Digit(ms) => due.push((*ms, AnsweringInput::Digit)),
        }
    }
    due.sort_by_key(|(ms, _)| *ms);
    let config = AnsweringConfig { language: language.to_owned(), ..AnsweringConfig::default() };
    let mut judge = Answering::new(config);
    let mut out = Vec::new();
    let mut note = |verdict: Option<Verdict>| {
        let ms = |verdict: Verdict| u64::try_from(verdict.after.as_millis()).unwrap();
        out.extend(verdict.map(|verdict| (verdict.answerer, verdict.reason, ms(verdict))));
    };
    note(judge.handle(zero, AnsweringInput::Answered));
    for (ms, input) in due {
        wake(&mut judge, Some(at(ms)), &mut note);
        note(judge.handle(at(ms), input));
    }
    wake(&mut judge, None, &mut note);
    out
}

fn wake(judge: &mut Answering, until: Option<Instant>, note: &mut impl FnMut(Option<Verdict>)) {
    for _ in 0..20 {
        let Some(due) = judge.next_wake() else { return };
        if until.is_some_and(|until| due > until) {
            return;
        }
        note(judge.handle(due, AnsweringInput::Timeout));
    }
    panic!("it wakes without end");
}

fn answerers(language: &str, acts: &[Act]) -> Vec<Answerer> {
    judged(language, acts).into_iter().map(|(answerer, ..)| answerer).collect()
}

#[test]
fn people_are_known_by_a_short_utterance_and_a_pause() {
    assert_eq!(
        judged("en", &[Speech(700, 1_200)]),
        [(Human, Reason::ShortUtterance, 2_000)],
        "hello, without a recogniser"
    );
    let company = "Miller's bakery, good morning, Anna speaking, how can I help you?";
    for acts in [
        &[Speech(400, 3_900), Final(4_000, company)][..],
        &[Speech(400, 900), Speech(1_400, 2_400), Final(2_500, "Hello? Who is this?")],
        &[Speech(400, 4_400)],
        &[
            Speech(400, 3_300),
            Partial(1_000, "Thank you for calling Miller's"),
            Final(3_400, "Thank you for calling Miller's, Anna speaking, how can I help?"),
        ],
        &[Digit(900)],
    ] {
        assert_eq!(answerers("en", acts), [Human]);
    }
    assert_eq!(answerers("de", &[Speech(300, 1_500), Final(1_600, "Müller, guten Tag.")]), [Human]);
}

#[test]
fn machines_are_known_by_their_words_before_they_have_finished() {
    let acts = [
        Speech(300, 6_000),
        Partial(1_500, "Hi you've reached"),
        Partial(3_000, "Hi you've reached Bob please leave a message"),
        Final(6_100, "Hi you've reached Bob please leave a message after the tone."),
        Tone(7_000, BEEP),
    ];
    assert_eq!(
        judged("en", &acts),
        [(MachineGreeting, Reason::Words, 3_000), (MachineBeep, Reason::Tone, 7_000)]
    );
    let german = [
        Speech(300, 5_000),
        Partial(4_000, "Guten Tag, bitte hinterlassen Sie eine Nachricht"),
        Tone(6_500, BEEP),
    ];
    assert_eq!(answerers("de-DE", &german), [MachineGreeting, MachineBeep]);
    let english_in_germany =
        [Speech(300, 4_000), Partial(3_000, "leave a message"), Tone(5_000, BEEP)];
    assert_eq!(answerers("de", &english_in_germany), [MachineGreeting, MachineBeep]);
}

#[test]
fn machines_are_known_by_their_length_and_by_their_beep() {
    assert_eq!(
        judged("en", &[Speech(300, 9_000), Tone(10_000, BEEP)]),
        [(MachineGreeting, Reason::LongUtterance, 6_300), (MachineBeep, Reason::Tone, 10_000)]
    );
    assert_eq!(
        judged("en", &[Speech(300, 2_400), Tone(2_900, BEEP)]),
        [(MachineBeep, Reason::Tone, 2_900)],
        "a short greeting"
    );
    assert_eq!(
        judged("en", &[Tone(1_500, BEEP)]),
        [(MachineBeep, Reason::Tone, 2_700)],
        "no greeting"
    );
    let notice = [Tone(300, BEEP), Speech(900, 1_500)];
    assert_eq!(answerers("en", &notice), [Human], "a beep before the first word is a notice");
}

#[test]
fn a_beep_soon_after_the_answer_tells_that_it_was_no_person() {
    let paused = |beep_ms: u64| [Speech(500, 2_400), Speech(4_000, 6_500), Tone(beep_ms, BEEP)];
    assert_eq!(
        judged("en", &paused(7_000)),
        [(Human, Reason::ShortUtterance, 3_200), (MachineBeep, Reason::Tone, 7_000)]
    );
    assert_eq!(answerers("en", &paused(15_500)), [Human], "by then it is a kitchen's");
}

#[test]
fn without_a_beep_the_message_comes_after_the_greeting_or_the_limit() {
    let text = "please leave a message";
    assert_eq!(
        judged("en", &[Speech(300, 5_000), Partial(2_000, text)]),
        [(MachineGreeting, Reason::Words, 2_000), (MachineBeep, Reason::GreetingEnded, 8_000)]
    );
    assert_eq!(
        judged("en", &[Speech(300, 60_000), Partial(2_000, text)]),
        [(MachineGreeting, Reason::Words, 2_000), (MachineBeep, Reason::BeepLimit, 32_000)]
    );
}

#[test]
fn menus_assistants_carriers_and_faxes_are_told_apart() {
    let said = |text: &'static str| [Speech(300, 4_000), Final(4_200, text)];
    for (language, text, answerer) in [
        ("en", "Thank you for calling. For sales, press one.", Ivr),
        ("de", "Für den Vertrieb drücken Sie die Eins.", Ivr),
        (
            "en",
            "If you record your name and reason for calling, I'll see if this person is available.",
            Screening,
        ),
        (
            "en",
            "Hi, the person you're calling is using a screening service from Google.",
            Screening,
        ),
        ("de", "Bitte nennen Sie Ihren Namen und den Grund Ihres Anrufs.", Screening),
        ("en", "The number you have dialed is not in service.", Carrier),
        ("de", "Kein Anschluss unter dieser Nummer.", Carrier),
        ("de", "Der Anschluss ist vorübergehend nicht erreichbar.", Carrier),
        ("es", "El número marcado no existe.", Carrier),
        ("fr", "Le numéro que vous avez composé n'est pas attribué.", Carrier),
    ] {
        assert_eq!(answerers(language, &said(text)), [answerer], "{text}");
    }
    let mailbox = [
        Speech(300, 6_000),
        Partial(2_000, "the person you are calling is not available"),
        Partial(
            4_000,
            "the person you are calling is not available leave a message after the tone",
        ),
        Tone(7_000, BEEP),
    ];
    assert_eq!(answerers("en", &mailbox), [MachineGreeting, MachineBeep], "a carrier's mailbox");
    assert_eq!(answerers("en", &[Tone(900, LineTone::FaxAnswer)]), [Fax]);
    assert_eq!(answerers("en", &[Tone(900, LineTone::FaxCalling)]), [Fax]);
    assert_eq!(answerers("en", &[Tone(900, LineTone::SpecialInformation)]), [Carrier]);
    assert_eq!(
        answerers("en", &[Tone(600, BEAT), Tone(1_600, BEAT), Tone(2_600, BEAT)]),
        [Carrier]
    );
}

#[test]
fn silence_and_endless_doubt_have_limits() {
    assert_eq!(judged("en", &[]), [(Unknown, Reason::NoSpeech, 5_000)]);
    let mumbling: Vec<Act> = (0..20).map(|n| Speech(4_000 + n * 900, 4_300 + n * 900)).collect();
    let verdicts = judged("en", &mumbling);
    assert!(verdicts.iter().all(|(.., after)| *after <= 45_000), "{verdicts:?}");
    assert!(!verdicts.is_empty());
}

#[test]
fn nothing_is_judged_before_the_answer_and_nothing_after_the_verdict() {
    let zero = start();
    let mut judge = Answering::new(AnsweringConfig::default());
    assert_eq!(judge.handle(zero, AnsweringInput::Tone(LineTone::FaxAnswer)), None);
    assert_eq!(judge.next_wake(), None);
    assert_eq!(judge.handle(zero, AnsweringInput::Answered), None);
    assert!(judge.handle(zero, AnsweringInput::Tone(LineTone::FaxAnswer)).is_some());
    assert!(judge.is_done(zero));
    assert_eq!(judge.handle(zero, AnsweringInput::Partial("leave a message")), None);
    assert_eq!(judge.next_wake(), None);
}

#[test]
fn the_tables_are_small_letters_without_punctuation() {
    for language in ["en", "de", "es", "fr"] {
        let tables = phrases(language);
        assert!(!tables.is_empty());
        for table in tables {
            let lists = [
                table.machine,
                table.hints,
                table.ivr,
                table.screening,
                table.carrier,
                table.human,
            ];
            for phrase in lists.into_iter().flatten() {
                assert_eq!(tokens(phrase).join(" "), *phrase, "{}", table.language);
            }
        }
    }
}
