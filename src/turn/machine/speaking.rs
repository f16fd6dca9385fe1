//! A model that hears and speaks itself: its words and sound come together, and what the caller said is
//! written down when it becomes known.

use std::time::Instant;

use super::listening::Final;
use super::{Agent, Machine, REPLY_CHARS_MAX, Source};
use crate::turn::endpointing::Pause;
use crate::turn::heard::Kind;
use crate::turn::ledger::Mark;
use crate::types::call::TurnRole;
use crate::types::{Generation, Pii};

/// Words and sound of a part of the model's own speech, as the input carries them.
pub(super) struct Part<'a> {
    pub(super) item: u32,
    pub(super) text: &'a str,
    pub(super) samples: u64,
    pub(super) at: Instant,
}

impl Machine {
    /// A part is one sentence to [`crate::turn::heard`]: of one that is cut, as much of its words was
    /// heard as of its sound.
    pub(super) fn spoken(&mut self, now: Instant, generation: Generation, part: Part<'_>) {
        let Some(reply) = self.reply_of_generation(generation) else { return };
        let Source::Model { alive } = &mut reply.source else {
            self.counters.ignored += 1;
            return;
        };
        *alive = now;
        let seq = match reply.spoken {
            Some((item, seq)) if item == part.item => seq,
            Some(_) | None => {
                if !reply.content.is_empty() && !reply.content.ends_with(char::is_whitespace) {
                    reply.content.push(' ');
                    reply.heard.append_silent(" ");
                }
                let Some(seq) = reply.heard.add("", Kind::Words) else {
                    self.counters.ignored += 1;
                    return;
                };
                reply.spoken = Some((part.item, seq));
                reply.tts_since = now;
                seq
            }
        };
        // Whichever comes first is the first sign of the reply.
        reply.ledger.mark(Mark::L1, part.at);
        let room = REPLY_CHARS_MAX.saturating_sub(reply.content.chars().count());
        let text: String = part.text.chars().take(room).collect();
        reply.content.push_str(&text);
        reply.heard.append(seq, &text);
        if part.samples > 0 {
            reply.heard.audio(seq, part.samples);
            reply.tts_since = now;
            reply.ledger.mark(Mark::A1, part.at);
        }
    }

    pub(super) fn spoken_done(&mut self, now: Instant, generation: Generation, item: u32) {
        let Some(reply) = self.reply_of_generation(generation) else { return };
        match reply.spoken {
            Some((of, seq)) if of == item => self.tts_done(now, generation, seq),
            Some(_) | None => self.counters.ignored += 1,
        }
    }

    /// Whether what the caller said is known, or waited for.
    pub(super) fn knows_words(&self, pause: &Pause) -> bool {
        !self.config.late_transcripts || pause.answered.is_some()
    }

    /// Writes down what was answered already; whether it was that.
    pub(super) fn late_final(&mut self, now: Instant, heard: &Final) -> bool {
        let Some(committed) = self.committed.as_mut().filter(|committed| !committed.written) else {
            return false;
        };
        let about = committed.utterance.finalize_from..=committed.finalize;
        if heard.answers.is_some_and(|id| !about.contains(&id)) {
            return false;
        }
        let known = !committed.utterance.text().is_empty();
        committed.utterance.push_final(heard.text.reveal(), heard.confidence, heard.understood);
        committed.written = heard.answers.is_none_or(|id| id == committed.finalize);
        let text = committed.utterance.text();
        committed.record.content = Pii::new(text.clone());
        committed.record.confidence = committed.utterance.confidence();
        if known {
            self.transcript.retract_user();
        }
        self.transcript.push(TurnRole::User, &text);
        if matches!(&self.agent, Agent::Replying(reply) if reply.audible) {
            self.settle_committed(now);
        }
        true
    }

    /// The caller's turn is over for good; its record waits for its words a little longer.
    pub(super) fn settle_committed(&mut self, now: Instant) {
        match &mut self.committed {
            Some(committed) if !committed.written && now < committed.latest => {
                committed.until = committed.latest;
            }
            Some(_) | None => self.close_committed(),
        }
    }
}
