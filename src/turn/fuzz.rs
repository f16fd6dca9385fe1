//! Bodies of the fuzz targets `turn_events` and `sentence`: arbitrary bytes in, laws checked.
//!
//! The oracle of [`turn_events`] knows only inputs, outputs and time; it panics when a law is broken.

#![allow(clippy::expect_used, clippy::panic, reason = "an oracle reports by panicking")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::config::TurnConfig;
use super::event::{Delivery, Input, Output};
use super::machine::Machine;
use super::sentence::{SENTENCE_CHARS_MAX, Segmenter};
use super::transcript::HISTORY_MESSAGES_MAX;
use crate::types::call::{CallError, ErrorStage, TurnRole};
use crate::types::{EndReason, Generation, Pii, ToolUse, TurnId, TurnSignal};

/// An instant to count from. Only distances from it matter, so any will do.
#[expect(clippy::disallowed_methods, reason = "tests and fuzzing need one instant to count from")]
pub(super) fn start() -> Instant {
    Instant::now()
}

/// Drives a machine with arbitrary events, three bytes each.
///
/// # Panics
/// When a law of the machine is broken.
pub fn turn_events(data: &[u8]) {
    let (head, events) = data.split_at(data.len().min(2));
    let mut config = TurnConfig::default();
    config.greeting.text = "Hello there. How can I help?".to_owned();
    let flags = head.first().copied().unwrap_or(0);
    config.greeting.interruptible = flags & 1 == 0;
    config.barge_in.enabled = flags & 2 == 0;
    config.barge_in.min_words = u32::from(flags >> 2 & 3);
    config.barge_in.min_ms = u32::from(flags >> 4 & 3) * 150;
    config.late_transcripts = flags & 64 != 0;
    config.max_duration_ms = 120_000;
    let mut now = start();
    let mut oracle = Oracle::new(Machine::new(config, now));
    oracle.handle(now, Input::Answered);
    for event in events.chunks(3) {
        let [kind, a, b] = [0, 1, 2].map(|n| event.get(n).copied().unwrap_or(0));
        let step = Duration::from_millis(u64::from(b) * u64::from(b) / 16);
        now = oracle.advance(now, now + step);
        let input = oracle.input(now, kind, a);
        oracle.handle(now, input);
    }
    oracle.handle(now, Input::End { message: None, reason: EndReason::UserHangup });
    oracle.finish();
}

/// Cuts arbitrary text whole and in pieces.
///
/// # Panics
/// When text is lost or changed, or the cuts depend on the pieces.
pub fn sentence(data: &[u8]) {
    let (head, text) = data.split_at(data.len().min(2));
    let clause = u32::from(head.first().copied().unwrap_or(0) & 31);
    let size = usize::from(head.get(1).copied().unwrap_or(0) & 15) + 1;
    let text = String::from_utf8_lossy(text);
    let mut whole = Segmenter::new(clause);
    let mut expected = whole.push(&text);
    expected.extend(whole.flush());
    let mut pieces = Segmenter::new(clause);
    let mut found = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(size) {
        found.extend(pieces.push(&piece.iter().collect::<String>()));
    }
    found.extend(pieces.flush());
    assert_eq!(found, expected, "cuts depend on the pieces");
    assert_eq!(found.concat(), text, "text lost or changed");
    for sentence in &found {
        assert!(sentence.chars().count() <= SENTENCE_CHARS_MAX, "sentence too long");
    }
}

struct Oracle {
    machine: Machine,
    open: BTreeSet<TurnId>,
    assistant: Option<TurnId>,
    draft: Option<(TurnId, Generation)>,
    yielded: Option<Generation>,
    user: Option<TurnId>,
    turn: TurnId,
    generation: Generation,
    stopped: Option<Generation>,
    finalize: u32,
    over: bool,
}

impl Oracle {
    fn new(machine: Machine) -> Self {
        Self {
            machine,
            open: BTreeSet::new(),
            assistant: None,
            draft: None,
            yielded: None,
            user: None,
            turn: TurnId(0),
            generation: Generation(0),
            stopped: None,
            finalize: 0,
            over: false,
        }
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.machine.handle(now, input);
        while let Some(output) = self.machine.poll() {
            self.check(output);
        }
        assert!(self.machine.history().len() <= HISTORY_MESSAGES_MAX, "history grows");
    }

    /// Lets time pass, firing every timer on its way.
    fn advance(&mut self, from: Instant, to: Instant) -> Instant {
        let mut now = from;
        let mut same = 0;
        while let Some(at) = self.machine.next_wake().filter(|at| *at <= to) {
            same = if at <= now { same + 1 } else { 0 };
            assert!(same < 64, "timer in the past for ever");
            now = now.max(at);
            self.handle(now, Input::Timeout);
        }
        to
    }

    fn check(&mut self, output: Output) {
        assert!(!self.over, "output after the hangup: {output:?}");
        match output {
            Output::TurnStarted { turn, role, .. } => {
                assert!(self.open.insert(turn), "turn opened twice");
                match role {
                    TurnRole::Assistant => {
                        assert!(self.assistant.is_none(), "two agent turns at a time");
                        self.assistant = Some(turn);
                    }
                    TurnRole::User => self.user = Some(turn),
                    TurnRole::Tool | TurnRole::System => {}
                }
            }
            Output::TurnEnded(record) => {
                assert!(self.open.remove(&record.id), "turn closed that is not open");
                if self.assistant == Some(record.id) {
                    self.yielded = None;
                    self.assistant = None;
                }
                if let Some(spoken) = &record.spoken_content {
                    let spoken = spoken.reveal().chars().count();
                    let content = record.content.reveal().chars().count();
                    assert!(spoken <= content, "more heard than said");
                }
            }
            Output::StartReply { turn, generation, history, draft } => {
                if draft {
                    assert!(self.assistant.is_none(), "a draft beside an agent turn");
                    assert!(self.draft.is_none(), "two drafts at a time");
                    self.draft = Some((turn, generation));
                } else {
                    assert_eq!(self.assistant, Some(turn), "reply without a turn");
                }
                assert!(generation >= self.generation, "generation went back");
                assert!(history.len() <= HISTORY_MESSAGES_MAX, "history grows");
                self.turn = turn;
                self.generation = generation;
            }
            Output::CommitReply { turn, generation } => {
                assert_eq!(self.assistant, Some(turn), "a draft is heard without a turn");
                assert_eq!(self.draft.take(), Some((turn, generation)), "not the draft");
            }
            Output::YieldPlayback { generation, .. } => {
                assert!(self.assistant.is_some(), "nobody speaks who could yield");
                assert_eq!(self.yielded.replace(generation), None, "yields twice");
            }
            Output::ResumePlayback { generation } => {
                assert_eq!(self.yielded.take(), Some(generation), "resumes without a yield");
            }
            Output::CancelReply { turn } => {
                self.draft.take_if(|(draft, _)| *draft == turn);
            }
            Output::Speak { generation, .. } | Output::EndOfSpeech { generation, .. } => {
                let drafted = self.draft.is_some_and(|(_, of)| of == generation);
                let ends = matches!(output, Output::EndOfSpeech { .. });
                assert!(self.assistant.is_some() || (drafted && !ends), "words without a turn");
                assert!(self.stopped.is_none_or(|s| generation > s), "stale generation speaks");
                assert!(generation >= self.generation, "generation went back");
                self.generation = generation;
            }
            Output::StopPlayback { generation } => {
                self.yielded = None;
                self.stopped = Some(generation);
            }
            Output::FinalizeStt { id } => self.finalize = id,
            Output::Hangup(_) => {
                assert!(self.open.is_empty(), "hangup with open turns");
                self.over = true;
            }
            Output::SttSpeechStarted | Output::Partial(_) => {}
        }
    }

    fn finish(&self) {
        assert!(self.over, "no hangup");
        assert!(self.machine.next_wake().is_none(), "timer after the end");
    }

    fn input(&self, now: Instant, kind: u8, a: u8) -> Input {
        let stale = a & 0x70 == 0x70;
        let turn = if stale { TurnId(0) } else { self.turn };
        let generation = if stale { Generation(0) } else { self.generation };
        let error = || CallError {
            code: "fuzz".to_owned(),
            message: "arbitrary failure".to_owned(),
            stage: ErrorStage::Internal,
        };
        let seq = u32::from(a & 3);
        let text = || text(a);
        let ago = now.checked_sub(Duration::from_millis(u64::from(a))).unwrap_or(now);
        match kind % 30 {
            0 | 1 => Input::SpeechStarted { onset: ago },
            2 | 3 => Input::SpeechEnded { last_voiced: ago },
            4 => Input::Digit(char::from(a)),
            5 => Input::SttPartial(Pii::new(text())),
            6 | 7 => Input::SttFinal {
                text: Pii::new(text()),
                confidence: Some(f32::from(a) / 200.0),
                answers: (a & 8 == 0).then_some(self.finalize),
                understood: a & 16 == 0,
                at: now,
            },
            8 if a > 128 => Input::SttTurn {
                signal: match a % 4 {
                    0 => TurnSignal::Started,
                    1 => TurnSignal::LikelyOver,
                    2 => TurnSignal::Resumed,
                    _ => TurnSignal::Over,
                },
                at: now,
            },
            8 => Input::SttFailed(error()),
            9 => Input::LlmSent { turn, at: now },
            10 | 11 => Input::LlmText { turn, text: text(), at: now },
            12 => Input::LlmEndCall { turn },
            13 => Input::LlmDone { turn },
            14 => Input::LlmFailed { turn, error: error() },
            15 => Input::TtsAudio { generation, seq, samples: u64::from(a) * 40, at: now },
            16 if a > 180 => Input::TtsAligned {
                generation,
                seq,
                marks: vec![(u64::from(a) * 30, u32::from(a % 16)), (u64::from(a), 0)],
            },
            16 => Input::TtsDone { generation, seq },
            17 if a > 200 => Input::TtsFailed { generation, seq, error: error() },
            17 => Input::FirstAudible { generation, at: now },
            18 => Input::FirstPacket { generation, at: now },
            19 => Input::Played { generation, samples: u64::from(a) * 64, finished: a & 1 == 1 },
            20 => Input::Stopped { generation, samples: u64::from(a) * 64, at: now },
            21 => Input::Say {
                text: Pii::new(text()),
                interrupt: a & 8 == 0,
                interruptible: a & 16 == 0,
                end_after: a > 250,
                by: match a % 5 {
                    0 => Delivery::Clip,
                    1 => Delivery::Voice("other".to_owned()),
                    _ => Delivery::Agent,
                },
            },
            23..=28 => self.beside(now, kind % 30, a),
            22 if a > 250 => {
                Input::End { message: Some(Pii::new(text())), reason: EndReason::ApiHangup }
            }
            22 => {
                Input::Inject { role: TurnRole::User, text: Pii::new(text()), respond: a & 8 == 0 }
            }
            _ => Input::Interrupt,
        }
    }

    /// Tools, hand-offs, holds, and a model that speaks itself.
    fn beside(&self, now: Instant, kind: u8, a: u8) -> Input {
        let turn = self.turn;
        match kind {
            23 => Input::ToolsStarted {
                turn,
                speak: (a & 1 == 1).then(|| Pii::new(text(a))),
                limit: Duration::from_millis(u64::from(a) * 100),
            },
            24 => Input::ToolEnded {
                begun: now,
                tool: Box::new(ToolUse {
                    call_id: "c".to_owned(),
                    name: "t".to_owned(),
                    arguments: Pii::default(),
                    result: Pii::new(text(a)),
                    is_error: a & 1 == 1,
                    status_code: None,
                    duration_ms: 1,
                }),
            },
            25 => Input::ToolsDone { turn },
            26 => Input::Handoff {
                config: Box::default(),
                message: (a & 1 == 1).then(|| Pii::new(text(a))),
                keep_context: a & 2 == 2,
            },
            27 if a > 200 => {
                Input::SpokenDone { generation: self.generation, item: u32::from(a & 1) }
            }
            27 => Input::Spoken {
                generation: self.generation,
                item: u32::from(a & 1),
                text: text(a),
                samples: u64::from(a) * 40,
                at: now,
            },
            _ => Input::Held(a & 1 == 1),
        }
    }
}

/// Some text.
fn text(a: u8) -> String {
    match a & 7 {
        0 => String::new(),
        1 => "Yes. ".to_owned(),
        2 => "Well, as far as I know, that is it. ".to_owned(),
        3 => "It costs $3.50".to_owned(),
        4 => "\n".to_owned(),
        5 => "…".to_owned(),
        6 => "はい。そうです。".to_owned(),
        _ => "word ".repeat(usize::from(a)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn machine_keeps_its_laws(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            super::turn_events(&data);
        }

        #[test]
        fn sentences_keep_the_text(text in "[a-zA-Z0-9 .,!?…。！'\")\n-]{0,900}", size in 0u8..16) {
            let mut data = vec![12, size];
            data.extend_from_slice(text.as_bytes());
            super::sentence(&data);
        }

        #[test]
        fn sentences_keep_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..900)) {
            super::sentence(&data);
        }
    }
}
