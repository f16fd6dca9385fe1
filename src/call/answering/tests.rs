//! Generated answers through the real detectors and the judge, in virtual time.
//!
//! Voices come from espeak-ng; words from a scripted recogniser that is 400 ms late and knows every
//! word, or from none at all.

use std::f32::consts::TAU;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::audio::{Resampler, SpeechDetector, VadConfig, VadEvent, g711};
use crate::types::SampleRate;

/// A piece of what the called party sends.
#[derive(Clone, Copy)]
enum Part {
    /// Words.
    Say(&'static str),
    /// Line noise for so many ms.
    Wait(u32),
    /// Tones at once, for so many ms.
    Tone(&'static [f32], u32),
}
use Part::{Say, Tone, Wait};

struct Case {
    name: &'static str,
    voice: &'static str,
    parts: &'static [Part],
    /// What it is.
    is: Answerer,
    /// Whether that can be known without words.
    without_words: bool,
}

const fn case(
    name: &'static str,
    voice: &'static str,
    is: Answerer,
    parts: &'static [Part],
) -> Case {
    Case { name, voice, parts, is, without_words: true }
}

/// One that only its words tell from others.
const fn worded(
    name: &'static str,
    voice: &'static str,
    is: Answerer,
    parts: &'static [Part],
) -> Case {
    Case { name, voice, parts, is, without_words: false }
}

const BEEP: Part = Tone(&[1_000.0], 500);

use Answerer::{Carrier, Fax, Human, Ivr, MachineBeep, Screening, Unknown};

#[rustfmt::skip] // One answer a block.
static CASES: &[Case] = &[
    case("hello", "en-us", Human, &[Wait(600), Say("Hello?")]),
    case("hello, hello", "en-gb", Human, &[Wait(900), Say("Hello?"), Wait(500), Say("Hello, who is this?")]),
    case("a name", "de", Human, &[Wait(400), Say("Müller.")]),
    case("name and greeting", "de", Human, &[Wait(700), Say("Schmidt, guten Tag.")]),
    case("yes?", "en-us+f3", Human, &[Wait(1_200), Say("Yes?")]),
    case("a company", "en-gb+f2", Human, &[Wait(300), Say("Good morning, Miller's bakery, Anna speaking, how can I help you?")]),
    case("a german company", "de+f2", Human, &[Wait(500), Say("Autohaus Becker, Sie sprechen mit Frau Lang, was kann ich für Sie tun?")]),
    case("a late hello", "en-us", Human, &[Wait(3_200), Say("Hello?")]),
    case("thank you for calling", "en-us+f3", Human, &[Wait(400), Say("Thank you for calling Smith Dental, this is Kelly, how may I help you?")]),
    case("a private mailbox", "en-us", MachineBeep, &[Wait(500), Say("Hi, you have reached Bob. I can't come to the phone right now. Please leave a message after the beep and I will call you back."), Wait(800), BEEP]),
    case("a carrier's mailbox", "en-us+f3", MachineBeep, &[Wait(500), Say("Your call has been forwarded to an automated voice messaging system."), Wait(400), Say("Five five five, zero one two three, is not available. At the tone, please record your message. When you have finished recording, you may hang up, or press one for more options."), Wait(300), Tone(&[440.0], 400)]),
    case("a german mailbox", "de", MachineBeep, &[Wait(500), Say("Guten Tag, dies ist die Mailbox von Anna Schmidt. Bitte hinterlassen Sie eine Nachricht nach dem Signalton."), Wait(700), Tone(&[850.0], 700)]),
    case("a short mailbox", "en-gb", MachineBeep, &[Wait(700), Say("This is Tom. Leave a message."), Wait(400), Tone(&[1_400.0], 300)]),
    case("a mailbox that pauses", "en-us", MachineBeep, &[Wait(500), Say("Hello, you have reached the Johnsons."), Wait(700), Say("We are not here right now, but if you leave your name and number after the tone, we will get back to you."), Wait(1_500), Tone(&[620.0], 800)]),
    case("a mailbox without a beep", "en-us", MachineBeep, &[Wait(500), Say("You have reached the voicemail of Doctor Brown. Please leave a message."), Wait(4_500)]),
    case("only a beep", "en-us", MachineBeep, &[Wait(1_500), BEEP, Wait(2_000)]),
    worded("a number that does not exist", "en-us", Carrier, &[Tone(&[950.0], 330), Tone(&[1_400.0], 330), Tone(&[1_800.0], 330), Wait(300), Say("The number you have dialed is not in service. Please check the number and dial again.")]),
    worded("no such line, german", "de", Carrier, &[Wait(400), Say("Kein Anschluss unter dieser Nummer."), Wait(900), Say("Kein Anschluss unter dieser Nummer.")]),
    worded("not reachable", "en-gb", Carrier, &[Wait(400), Say("The person you are calling cannot be reached. The mobile you are calling is switched off. Please try again later.")]),
    worded("a menu", "en-us", Ivr, &[Wait(400), Say("Thank you for calling Acme. For sales, press one. For support, press two. To speak to an operator, press zero.")]),
    worded("a german menu", "de", Ivr, &[Wait(400), Say("Willkommen bei der Stadtbank. Für Fragen zu Ihrem Konto drücken Sie die Eins. Für Karten drücken Sie die Zwei.")]),
    worded("a menu with a notice", "en-us+f3", Ivr, &[Wait(300), Say("Please listen carefully as our menu options have changed. For billing, press one.")]),
    worded("a phone that asks", "en-us", Screening, &[Wait(600), Say("Hi. If you record your name and reason for calling, I will see if this person is available.")]),
    worded("an assistant that asks", "en-us+f3", Screening, &[Wait(600), Say("Hi, the person you are calling is using a screening service from Google, and will get a copy of this conversation. Go ahead and say your name, and why you are calling.")]),
    worded("a german assistant", "de", Screening, &[Wait(600), Say("Bitte nennen Sie Ihren Namen und den Grund Ihres Anrufs.")]),
    case("a fax that answers", "en-us", Fax, &[Wait(1_800), Tone(&[2_100.0], 3_000), Wait(1_000)]),
    case("a fax that calls", "en-us", Fax, &[Wait(1_000), Tone(&[1_100.0], 500), Wait(3_000), Tone(&[1_100.0], 500)]),
    case("silence", "en-us", Unknown, &[Wait(6_000)]),
    case("ringback that goes on", "en-us", Carrier, &[Tone(&[425.0], 500), Wait(500), Tone(&[425.0], 500), Wait(500), Tone(&[425.0], 500), Wait(500), Tone(&[425.0], 500), Wait(2_000)]),
];

/// Speech of a program at 8 kHz.
fn spoken(voice: &str, text: &str) -> Option<Vec<i16>> {
    let made = Command::new("espeak-ng")
        .args(["-v", voice, "-s", "160", "--stdout", text])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let pcm: Vec<i16> = made
        .stdout
        .get(44..)?
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let mut resampler = Resampler::new(SampleRate::new(22_050)?, SampleRate::HZ_8000).ok()?;
    let mut out = Vec::new();
    resampler.push(&pcm, &mut out);
    Some(out)
}

/// What is sent, and when each word of it has been said, in samples.
struct Sound {
    samples: Vec<i16>,
    /// Where a sentence ends, and every word of it with its end.
    words: Vec<(usize, String)>,
    beep_end: Option<usize>,
}

fn sound(case: &Case) -> Option<Sound> {
    let mut out = Sound { samples: Vec::new(), words: Vec::new(), beep_end: None };
    for part in case.parts {
        let from = out.samples.len();
        match part {
            Wait(ms) => out.samples.resize(from + *ms as usize * 8, 0),
            Tone(hz, ms) => {
                let each = 9_000.0 / hz.len() as f32;
                let at = |n: u32| n as f32 / 8_000.0;
                let sample =
                    |n: u32| hz.iter().map(|hz| (TAU * hz * at(n)).sin() * each).sum::<f32>();
                out.samples.extend((0..ms * 8).map(|n| sample(n) as i16));
                out.beep_end = Some(out.samples.len());
            }
            Say(text) => {
                out.samples.extend(spoken(case.voice, text)?);
                let length = out.samples.len() - from;
                let total = text.len();
                let mut said = 0;
                for word in text.split(' ') {
                    said += word.len() + 1;
                    let end = from + length * said.min(total) / total;
                    out.words.push((end, word.to_owned()));
                }
            }
        }
    }
    // The line goes on after it.
    out.samples.resize(out.samples.len() + 8 * 8_000, 0);
    let mut seed = 3_u32;
    for sample in &mut out.samples {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (seed >> 16) as u16 as i16 / 700;
        let noisy = (*sample / 2).saturating_add(noise);
        *sample = g711::decode_ulaw(g711::encode_ulaw(noisy));
    }
    Some(out)
}

/// How late the scripted recogniser is.
const RECOGNISER_LAG_SAMPLES: usize = 8 * 400;

/// All verdicts on a sound, with the sample at which each was given.
fn verdicts(sound: &Sound, language: &str, with_words: bool) -> Vec<(Verdict, usize)> {
    let zero = crate::net::clock::now();
    let config = AnsweringConfig { language: language.to_owned(), ..AnsweringConfig::default() };
    let mut judge = Answering::new(config);
    let mut vad = SpeechDetector::new(VadConfig::default(), SampleRate::HZ_8000).unwrap();
    let mut tones = CallToneDetector::new();
    let mut out = Vec::new();
    judge.handle(zero, AnsweringInput::Answered);
    let mut text = String::new();
    let mut words = sound.words.iter().peekable();
    for (n, frame) in sound.samples.chunks_exact(160).enumerate() {
        let position = (n + 1) * 160;
        let now: Instant = zero + Duration::from_millis(20 * (n as u64 + 1));
        let mut told = Vec::new();
        told.extend(match vad.push(now, frame) {
            Some(VadEvent::Started { onset }) => {
                judge.handle(now, AnsweringInput::SpeechStarted { onset })
            }
            Some(VadEvent::Ended { last_voiced }) => {
                judge.handle(now, AnsweringInput::SpeechEnded { last_voiced })
            }
            None => None,
        });
        if let Some(tone) = tones.push(frame) {
            told.extend(judge.handle(now, AnsweringInput::Tone(tone)));
        }
        let is_due =
            |word: &&(usize, String)| with_words && word.0 + RECOGNISER_LAG_SAMPLES <= position;
        while let Some((_, word)) = words.next_if(is_due) {
            text.push_str(word);
            text.push(' ');
            told.extend(judge.handle(now, AnsweringInput::Partial(&text)));
        }
        if judge.next_wake().is_some_and(|due| due <= now) {
            told.extend(judge.handle(now, AnsweringInput::Timeout));
        }
        out.extend(told.into_iter().map(|verdict| (verdict, position)));
    }
    out
}

#[test]
fn generated_answers_are_told_apart() {
    if spoken("en-us", "hello").is_none() {
        assert!(std::env::var_os("CI").is_none(), "espeak-ng is not installed");
        eprintln!("SKIPPED: espeak-ng is not installed");
        return;
    }
    let mut table = String::new();
    let (mut right, mut bare_right, mut bare_all) = (0, 0, 0);
    let mut late = Vec::new();
    for case in CASES {
        let language = case.voice.split(['-', '+']).next().unwrap();
        let sound = sound(case).unwrap();
        let told = verdicts(&sound, language, true);
        let bare = verdicts(&sound, language, false);
        let last = |told: &[(Verdict, usize)]| told.last().map(|(verdict, _)| verdict.answerer);
        let (is_right, bare_is) = (last(&told) == Some(case.is), last(&bare) == Some(case.is));
        right += usize::from(is_right);
        if case.without_words {
            bare_all += 1;
            bare_right += usize::from(bare_is);
        }
        let line: Vec<String> = told
            .iter()
            .map(|(verdict, _)| {
                let (who, why) = (verdict.answerer.label(), verdict.reason.label());
                format!("{who} ({why}) at {:.1} s", verdict.after.as_secs_f32())
            })
            .collect();
        let mark = |is: bool| if is { "ok" } else { "WRONG" };
        let bare_mark = if case.without_words { mark(bare_is) } else { "-" };
        let bare_line = last(&bare).map_or("none", Answerer::label);
        table += &format!(
            "{:28} {:12} {:5} | {bare_mark:5} {bare_line:12} | {}\n",
            case.name,
            case.is.label(),
            mark(is_right),
            line.join(", ")
        );
        if let (MachineBeep, Some(end), Some((verdict, at))) =
            (case.is, sound.beep_end, told.last())
            && case.name != "only a beep"
        {
            let after_ms = (*at as i64 - end as i64) / 8;
            if verdict.reason.label() != "tone" || !(0..=400).contains(&after_ms) {
                late.push((case.name, verdict.reason, after_ms));
            }
        }
    }
    let all = CASES.len();
    println!("{:28} {:12} words | no words           | verdicts with words", "answer", "is");
    println!("{table}with words {right} of {all}; without {bare_right} of {bare_all}");
    assert!(all >= 20);
    assert_eq!(right, all, "with words\n{table}");
    assert!(bare_right * 10 >= bare_all * 9, "without words\n{table}");
    assert_eq!(late, [], "messages begin within 400 ms after the beep\n{table}");
}
