//! Which payload type number stands for what, from the first description of a session to its end.
//!
//! A number that was mapped to a codec may not be mapped to another in the same session (RFC 3264 section 8.3.2): late
//! packets, and peers that change over before their answer is here, would be played as noise. So an offer of ours
//! repeats the numbers that were agreed, and gives what is new a number that never stood for anything.
//!
//! Answers are another matter: they repeat the numbers of the offer, whatever those stood for before.

use super::formats::{codec_of, events_of};
use super::model::Media;
use crate::types::CodecName;

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Audio.
    Codec(CodecName),
    /// Telephone events at a clock rate.
    Events(u32),
}

impl Format {
    /// The number it has in an offer of ours, if nothing speaks against it.
    fn usual(self) -> u8 {
        match self {
            Self::Codec(name) => name.payload_type(),
            // The number nearly everyone else uses; one each for the clocks of other codecs (RFC 4733 section 2.1).
            Self::Events(8_000) => 101,
            Self::Events(16_000) => 114,
            Self::Events(_) => 110,
        }
    }

    fn of(media: &Media, number: u8) -> Option<Self> {
        let events = || events_of(media, number).map(Self::Events);
        codec_of(media, number).map(Self::Codec).or_else(events)
    }
}

/// The number of a format in a description.
pub(super) fn number_in(media: &Media, format: Format) -> Option<u8> {
    media.payload_types().find(|number| Format::of(media, *number) == Some(format))
}

/// The numbers of one session.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Of packets to us; each format and each number is here once at most.
    known: Vec<(Format, u8)>,
    /// A bit for each number that ever stood for something, in either direction.
    used: u128,
}

impl Numbers {
    /// The number of a format in an offer of ours.
    pub(super) fn offer(&mut self, format: Format) -> u8 {
        let known = self.known.iter().find(|(known, _)| *known == format);
        if let Some((_, number)) = known {
            return *number;
        }
        let number = self.fresh(format.usual());
        self.set(format, number);
        number
    }

    /// Their offer was taken: each number of it holds both ways, those that our answer names before others of the same
    /// format.
    pub(super) fn offered(&mut self, theirs: &Media, answered: &Media) {
        let numbers: Vec<u8> = theirs.payload_types().collect();
        for number in numbers.into_iter().rev().chain(answered.payload_types()) {
            match Format::of(theirs, number) {
                Some(format) => self.set(format, number),
                None => self.claim(number),
            }
        }
    }

    /// Their answer: its numbers are those of packets to them, and not for us to give to anything else.
    pub(super) fn answered(&mut self, theirs: &Media) {
        for number in theirs.payload_types() {
            self.used |= bit(number);
        }
    }

    fn set(&mut self, format: Format, number: u8) {
        self.claim(number);
        self.known.retain(|(known, _)| *known != format);
        self.known.push((format, number));
    }

    /// Whatever had the number has it no more.
    fn claim(&mut self, number: u8) {
        self.known.retain(|(_, known)| *known != number);
        self.used |= bit(number);
    }

    /// `usual`, or a dynamic number that never stood for anything: from 96 on, then those that RFC 5761 section 4
    /// leaves.
    fn fresh(&self, usual: u8) -> u8 {
        let dynamic = || (96..=127).chain(35..=63);
        let unused = |number: &u8| self.used & bit(*number) == 0;
        // A peer that has used them all up gets one that stands for nothing now.
        let vacant = |number: &u8| !self.known.iter().any(|(_, known)| known == number);
        let never = std::iter::once(usual).chain(dynamic()).find(unused);
        never.or_else(|| dynamic().find(vacant)).unwrap_or(usual)
    }
}

fn bit(number: u8) -> u128 {
    1_u128.checked_shl(u32::from(number)).unwrap_or(0)
}
