//! Tones that machines send after they answered, as far as they tell who or what answered.

/// A tone or a sequence of tones on the line, told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineTone {
    /// One steady tone that has ended: an answering machine's beep, if it was one's turn to beep.
    Beep {
        /// Its frequency.
        hz: u16,
        /// How long it was heard, to 20 ms.
        duration_ms: u16,
    },
    /// A fax machine's calling tone, CNG (ITU-T T.30): 1,100 Hz for half a second.
    FaxCalling,
    /// A fax machine's or modem's answer tone, CED (ITU-T T.30, V.25): 2,100 Hz for more than a second.
    FaxAnswer,
    /// The three rising special information tones before a carrier's announcement (ITU-T E.180).
    SpecialInformation,
    /// Ringback, busy or congestion: one beat of it (ITU-T E.180).
    Progress {
        /// How long the beat was heard, to 20 ms.
        duration_ms: u16,
    },
}
