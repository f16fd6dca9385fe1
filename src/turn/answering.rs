//! Who or what answered an outbound call: a person, an answering machine, a phone menu, an assistant
//! that screens calls, a carrier's announcement or a fax.
//!
//! Judged by the first words, by tones and by cadence: people say something short and wait, machines
//! go on talking. Words decide at once; without words, length and pauses do. After a machine's
//! greeting the judge waits for its beep.

pub mod phrases;

use std::time::{Duration, Instant};

use super::completeness::tokens;
use crate::types::LineTone;
use phrases::{Phrases, phrases};

/// Waits and limits of the judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweringConfig {
    /// Silence after the answer after which nothing is expected any more.
    pub no_speech: Duration,
    /// Longest time from the answer to the verdict.
    pub decision: Duration,
    /// Longest wait for the beep, from the moment the machine was recognised.
    pub beep_wait: Duration,
    /// BCP 47 tag of the words to expect; those of English are always expected too.
    pub language: String,
}

impl Default for AnsweringConfig {
    fn default() -> Self {
        Self {
            no_speech: Duration::from_secs(5),
            decision: Duration::from_secs(15),
            beep_wait: Duration::from_secs(30),
            language: "en".to_owned(),
        }
    }
}

/// Pauses shorter than this are breaths within one utterance.
const PAUSE_MIN: Duration = Duration::from_millis(800);
/// Longest first utterance that is a person's whatever follows: "Miller's bakery, Anna speaking".
const SHORT_MAX: Duration = Duration::from_millis(2_600);
/// Pause after a longer first utterance after which its speaker waits for an answer.
const WAITING_MIN: Duration = Duration::from_millis(1_400);
/// First utterance, breaths included, from which no person goes on.
const LONG_MIN: Duration = Duration::from_millis(6_000);
/// The same when a hint at a machine was heard.
const LONG_HINTED_MIN: Duration = Duration::from_millis(4_500);
/// Utterance from which a single hint at a machine is enough when it pauses.
const HINTED_MIN: Duration = Duration::from_millis(2_000);
/// Wait after a tone before any word: a machine that only beeps says nothing now.
const BARE_BEEP_WAIT: Duration = Duration::from_millis(1_200);
/// Silence after a machine's greeting after which no beep comes any more.
const GREETING_END: Duration = Duration::from_millis(3_000);
/// Beats of busy or ringback tone after which nobody is there.
const BEATS_MIN: u32 = 3;
/// Characters of the transcript that are looked at: far more than any greeting's.
const TEXT_MAX: usize = 4_000;

/// Something happened on the answered call.
#[derive(Clone, Debug)]
pub enum AnsweringInput<'a> {
    /// The call is answered.
    Answered,
    /// VAD: the other side speaks.
    SpeechStarted {
        /// First voiced frame.
        onset: Instant,
    },
    /// VAD: the other side stopped.
    SpeechEnded {
        /// Last voiced frame.
        last_voiced: Instant,
    },
    /// The utterance so far, as recognised; may still change.
    Partial(&'a str),
    /// Recognised text that stands.
    Final(&'a str),
    /// A tone of a machine.
    Tone(LineTone),
    /// A key was pressed: machines press none.
    Digit,
    /// The time of [`Answering::next_wake`] has come.
    Timeout,
}

/// Who or what answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// A person.
    Human,
    /// An answering machine, still talking.
    MachineGreeting,
    /// An answering machine that listens: the message can be left now.
    MachineBeep,
    /// A phone menu.
    Ivr,
    /// An assistant that asks who calls before it lets the call through.
    Screening,
    /// A carrier's announcement, or tones: the called party is not there at all.
    Carrier,
    /// A fax machine or a modem.
    Fax,
    /// Nobody spoke, or it could not be told.
    Unknown,
}

impl Answerer {
    /// Word for logs and events.
    pub fn label(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::MachineGreeting => "machine_greeting",
            Self::MachineBeep => "machine_beep",
            Self::Ivr => "ivr",
            Self::Screening => "screening",
            Self::Carrier => "carrier",
            Self::Fax => "fax",
            Self::Unknown => "unknown",
        }
    }
}

/// What a verdict was based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Words that only such an answerer says.
    Words,
    /// A short utterance, then waiting.
    ShortUtterance,
    /// A longer utterance, then a long pause.
    LongPause,
    /// Nobody talks that long without a pause.
    LongUtterance,
    /// A tone.
    Tone,
    /// A key was pressed.
    Digit,
    /// The greeting ended and no beep came.
    GreetingEnded,
    /// The longest wait for the beep was over.
    BeepLimit,
    /// Nobody spoke.
    NoSpeech,
    /// The longest time for the decision was over.
    DecisionLimit,
}

impl Reason {
    /// Word for logs and events.
    pub fn label(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::ShortUtterance => "short_utterance",
            Self::LongPause => "long_pause",
            Self::LongUtterance => "long_utterance",
            Self::Tone => "tone",
            Self::Digit => "digit",
            Self::GreetingEnded => "greeting_ended",
            Self::BeepLimit => "beep_limit",
            Self::NoSpeech => "no_speech",
            Self::DecisionLimit => "decision_limit",
        }
    }
}

/// A judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who or what answered.
    pub answerer: Answerer,
    /// Based on what.
    pub reason: Reason,
    /// From the answer to the judgement.
    pub after: Duration,
}

/// The other side's speech since it last waited.
#[derive(Clone, Copy, Debug)]
struct Utterance {
    onset: Instant,
    /// None while it goes on.
    ended: Option<Instant>,
}

impl Utterance {
    fn length(&self, now: Instant) -> Duration {
        self.ended.unwrap_or(now).saturating_duration_since(self.onset)
    }
}

/// The judge of one call. [`Answering::handle`] gives a verdict whenever there is a new one: the first,
/// then [`Answerer::MachineBeep`] after a machine's greeting, or after what was taken for a person.
pub struct Answering {
    config: AnsweringConfig,
    languages: Vec<&'static Phrases>,
    answered: Option<Instant>,
    utterance: Option<Utterance>,
    text: String,
    partial: String,
    /// Words of a carrier were heard: they decide when it pauses, because a mailbox may follow.
    is_carrier: bool,
    beats: u32,
    /// A beep before any word.
    bare_beep: Option<Instant>,
    verdict: Option<Answerer>,
    machine_since: Option<Instant>,
}

impl Answering {
    /// A judge that waits for the answer.
    pub fn new(config: AnsweringConfig) -> Self {
        let languages = phrases(&config.language);
        Self {
            config,
            languages,
            answered: None,
            utterance: None,
            text: String::new(),
            partial: String::new(),
            is_carrier: false,
            beats: 0,
            bare_beep: None,
            verdict: None,
            machine_since: None,
        }
    }

    /// What it thinks so far.
    pub fn verdict(&self) -> Option<Answerer> {
        self.verdict
    }

    /// Whether nothing can change its mind any more. A beep can while [`AnsweringConfig::decision`]
    /// runs, when a greeting paused like a person.
    pub fn is_done(&self, now: Instant) -> bool {
        match self.verdict {
            None | Some(Answerer::MachineGreeting) => false,
            Some(Answerer::Human) => {
                self.answered.is_none_or(|answered| now >= answered + self.config.decision)
            }
            Some(_) => true,
        }
    }

    /// Whether only a beep matters any more.
    fn is_human(&self) -> bool {
        self.verdict == Some(Answerer::Human)
    }

    /// Takes an input. Without [`AnsweringInput::Answered`] nothing is judged.
    pub fn handle(&mut self, now: Instant, input: AnsweringInput<'_>) -> Option<Verdict> {
        if matches!(input, AnsweringInput::Answered) {
            self.answered.get_or_insert(now);
        }
        if self.answered.is_none() || self.is_done(now) {
            return None;
        }
        if self.is_human() {
            let is_beep = matches!(input, AnsweringInput::Tone(LineTone::Beep { .. }));
            return is_beep
                .then(|| self.decide(now, Answerer::MachineBeep, Reason::Tone))
                .flatten();
        }
        let judged = match input {
            AnsweringInput::Answered | AnsweringInput::Timeout => None,
            AnsweringInput::SpeechStarted { onset } => {
                self.speech_started(onset);
                None
            }
            AnsweringInput::SpeechEnded { last_voiced } => {
                if let Some(utterance) = &mut self.utterance {
                    utterance.ended = Some(last_voiced.max(utterance.onset));
                }
                None
            }
            AnsweringInput::Partial(text) => {
                keep(&mut self.partial, text);
                self.by_words()
            }
            AnsweringInput::Final(text) => {
                self.partial.clear();
                if !self.text.is_empty() {
                    self.text.push(' ');
                }
                let room = TEXT_MAX.saturating_sub(self.text.len());
                let mut final_text = String::new();
                keep(&mut final_text, text);
                if final_text.len() <= room {
                    self.text.push_str(&final_text);
                }
                self.by_words()
            }
            AnsweringInput::Tone(tone) => self.by_tone(now, tone),
            AnsweringInput::Digit if self.verdict.is_none() => {
                Some((Answerer::Human, Reason::Digit))
            }
            AnsweringInput::Digit => None,
        };
        let (answerer, reason) = judged.or_else(|| self.by_time(now))?;
        self.decide(now, answerer, reason)
    }

    /// When it wants [`AnsweringInput::Timeout`].
    pub fn next_wake(&self) -> Option<Instant> {
        let answered = self.answered?;
        if self.verdict.is_some_and(|verdict| verdict != Answerer::MachineGreeting) {
            return None;
        }
        let pause = |least: Duration| self.utterance?.ended.map(|ended| ended + least);
        if let Some(since) = self.machine_since {
            return [Some(since + self.config.beep_wait), pause(GREETING_END)]
                .into_iter()
                .flatten()
                .min();
        }
        let speech = match &self.utterance {
            None => {
                let silent = answered + self.config.no_speech;
                Some(self.bare_beep.map_or(silent, |beep| silent.min(beep + BARE_BEEP_WAIT)))
            }
            Some(Utterance { onset, ended: None }) => Some(*onset + self.long_min()),
            Some(_) => pause(self.pause_min()),
        };
        [speech, Some(answered + self.config.decision)].into_iter().flatten().min()
    }

    fn speech_started(&mut self, onset: Instant) {
        match &mut self.utterance {
            // A person who was judged by then has been; a machine breathes.
            Some(utterance) => utterance.ended = None,
            None => self.utterance = Some(Utterance { onset, ended: None }),
        }
    }

    /// The pause that ends the utterance there is.
    fn pause_min(&self) -> Duration {
        let Some(utterance) = &self.utterance else { return PAUSE_MIN };
        let length = utterance.ended.map_or(Duration::ZERO, |_| utterance.length(utterance.onset));
        let is_short = length <= SHORT_MAX || self.any(|phrases| phrases.human);
        // Whoever begins like a machine is given the time to go on like one.
        if is_short && self.hints() == 0 && !self.is_carrier { PAUSE_MIN } else { WAITING_MIN }
    }

    fn long_min(&self) -> Duration {
        if self.hints() > 0 { LONG_HINTED_MIN } else { LONG_MIN }
    }

    fn by_time(&self, now: Instant) -> Option<(Answerer, Reason)> {
        let since = |at: Instant| now.saturating_duration_since(at);
        if let Some(machine) = self.machine_since {
            let ended = self.utterance.and_then(|utterance| utterance.ended);
            if ended.is_some_and(|ended| since(ended) >= GREETING_END) {
                return Some((Answerer::MachineBeep, Reason::GreetingEnded));
            }
            let over = since(machine) >= self.config.beep_wait;
            return over.then_some((Answerer::MachineBeep, Reason::BeepLimit));
        }
        let answered = self.answered?;
        let Some(utterance) = &self.utterance else {
            if self.bare_beep.is_some_and(|beep| since(beep) >= BARE_BEEP_WAIT) {
                return Some((Answerer::MachineBeep, Reason::Tone));
            }
            let silent = since(answered) >= self.config.no_speech;
            return silent.then_some((Answerer::Unknown, Reason::NoSpeech));
        };
        let length = utterance.length(now);
        match utterance.ended {
            Some(ended) if since(ended) >= self.pause_min() => {
                return Some(if self.is_carrier {
                    (Answerer::Carrier, Reason::Words)
                } else if self.hints() > 0 && length >= HINTED_MIN && !self.any(|words| words.human)
                {
                    (Answerer::MachineGreeting, Reason::Words)
                } else if length <= SHORT_MAX {
                    (Answerer::Human, Reason::ShortUtterance)
                } else {
                    (Answerer::Human, Reason::LongPause)
                });
            }
            None if length >= self.long_min() && !self.is_carrier => {
                return Some((Answerer::MachineGreeting, Reason::LongUtterance));
            }
            Some(_) | None => {}
        }
        let over = since(answered) >= self.config.decision;
        let answerer = if self.is_carrier { Answerer::Carrier } else { Answerer::Unknown };
        over.then_some((answerer, Reason::DecisionLimit))
    }

    fn by_words(&mut self) -> Option<(Answerer, Reason)> {
        if self.verdict.is_some() {
            return None;
        }
        // What is said to a caller before it is put through may hold a mailbox's words.
        let answerer = if self.any(|phrases| phrases.screening) {
            Answerer::Screening
        } else if self.any(|phrases| phrases.machine) || self.hints() >= 2 {
            Answerer::MachineGreeting
        } else if self.any(|phrases| phrases.ivr) {
            Answerer::Ivr
        } else {
            self.is_carrier = self.is_carrier || self.any(|phrases| phrases.carrier);
            return None;
        };
        Some((answerer, Reason::Words))
    }

    fn by_tone(&mut self, now: Instant, tone: LineTone) -> Option<(Answerer, Reason)> {
        let is_machine = self.machine_since.is_some();
        let answerer = match tone {
            // After a greeting the calling tone's pitch is a beep's like any other.
            LineTone::FaxCalling if is_machine || self.utterance.is_some() => Answerer::MachineBeep,
            LineTone::FaxCalling | LineTone::FaxAnswer => Answerer::Fax,
            LineTone::Beep { .. } if !is_machine && self.utterance.is_none() => {
                self.bare_beep = Some(now);
                return None;
            }
            LineTone::Beep { .. } => Answerer::MachineBeep,
            LineTone::SpecialInformation => Answerer::Carrier,
            LineTone::Progress { .. } => {
                self.beats += 1;
                if self.beats < BEATS_MIN || is_machine {
                    return None;
                }
                Answerer::Carrier
            }
        };
        Some((answerer, Reason::Tone))
    }

    fn decide(&mut self, now: Instant, answerer: Answerer, reason: Reason) -> Option<Verdict> {
        if answerer == Answerer::MachineGreeting {
            self.machine_since = Some(now);
        }
        self.verdict = Some(answerer);
        let after = now.saturating_duration_since(self.answered?);
        Some(Verdict { answerer, reason, after })
    }

    fn any(&self, of: impl Fn(&Phrases) -> &'static [&'static str]) -> bool {
        self.count(of) > 0
    }

    fn hints(&self) -> usize {
        self.count(|phrases| phrases.hints)
    }

    fn count(&self, of: impl Fn(&Phrases) -> &'static [&'static str]) -> usize {
        let words = tokens(&format!("{} {}", self.text, self.partial));
        let found = |phrase: &&&str| {
            let phrase: Vec<&str> = phrase.split(' ').collect();
            words.windows(phrase.len()).any(|window| window == phrase)
        };
        let lists = self.languages.iter().map(|phrases| of(phrases));
        lists.map(|list| list.iter().filter(found).count()).sum()
    }
}

/// Replaces a text by another's beginning.
fn keep(text: &mut String, from: &str) {
    text.clear();
    text.extend(from.chars().take(TEXT_MAX));
}

#[cfg(test)]
mod tests;
