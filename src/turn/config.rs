//! What an operator can set about the conversation, with the range of every number.

use serde::{Deserialize, Serialize};

use super::interruption::Interruption;

/// Conversation settings of one agent. [`TurnConfig::validate`] checks the ranges named below.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnConfig {
    /// Silence after the last voiced frame that ends the caller's turn if nothing else is known.
    /// 100 to 3,000 ms.
    pub silence_ms: u32,
    /// What else decides that the caller's turn is over.
    pub endpointing: Endpointing,
    /// Replies that are prepared before it is sure that the caller is done.
    pub speculation: Speculation,
    /// Longest wait for the final transcript after that decision. 0 to 10,000 ms.
    pub stt_wait_max_ms: u32,
    /// Longest time from the last voiced frame to the reply's start, whatever is missing.
    /// 500 to 20,000 ms; the end-of-turn wait always runs its course.
    pub max_wait_ms: u32,
    /// Longest utterance; what was recognised until then is answered. 5,000 to 600,000 ms.
    pub utterance_max_ms: u32,
    /// When caller speech stops the agent.
    pub barge_in: BargeIn,
    /// First words.
    pub greeting: Greeting,
    /// What happens when nobody speaks.
    pub inactivity: Inactivity,
    /// Longest call, from the answer. 10,000 to 86,400,000 ms.
    pub max_duration_ms: u64,
    /// Fixed sentences for failures, waiting and ends.
    pub texts: Texts,
    /// Silence after the last sound of either side before a filler is spoken. 500 to 2,400 ms: the limit for silence
    /// without a word is 2.5 s, and the filler's own synthesis needs the rest.
    pub filler_after_ms: u32,
    /// Longest wait for the model's next text before the reply is given up. 1,000 to 60,000 ms.
    pub reply_timeout_ms: u32,
    /// Longest wait for synthesis while nothing plays. 500 to 30,000 ms.
    pub tts_timeout_ms: u32,
    /// Provider failures in a row that end the call. 1 to 20.
    pub failures_max: u32,
    /// Requests in a row to say it again; after them only the inactivity prompts remain. 0 to 20.
    pub repeat_max: u32,
    /// Wait for a further key after a digit; `#` ends the wait. 100 to 10,000 ms.
    pub dtmf_wait_ms: u32,
    /// Length from which the first clause of a reply is spoken before its sentence is complete.
    /// 0 turns it off; else 4 to 200 characters.
    pub first_clause_min_chars: u32,
    /// If the model's reply holds one of these (any case), the call ends after its last word.
    /// At most 32.
    pub end_phrases: Vec<String>,
    /// Last words when the model ends the call without words. The agent's own setting.
    #[serde(skip)]
    pub(crate) end_message: String,
    /// BCP 47 tag of what the caller speaks. The agent's own setting.
    #[serde(skip)]
    pub(crate) language: String,
    /// Whether replies wait for no transcript, because the model hears the caller itself. Set by the pipeline.
    #[serde(skip)]
    pub(crate) late_transcripts: bool,
}

/// What decides that the caller's turn is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointingMode {
    /// Silence alone.
    Vad,
    /// The recogniser's word; silence of `max_wait_ms` if it never comes.
    Stt,
    /// Silence whose length follows from the words, from what was asked, from how this caller pauses,
    /// and from the recogniser's word.
    #[default]
    Hybrid,
}

/// How the end of the caller's turn is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Endpointing {
    /// `vad`: `silence_ms` of silence; `stt`: the recogniser's word, for those that give one;
    /// `hybrid`: silence whose length follows from the words.
    pub mode: EndpointingMode,
    /// `hybrid`: silence after words that are complete: a full stop, "yes" to a question that asks for
    /// it, all digits that were asked for. 100 to 3,000 ms. It cannot act before voice activity
    /// detection's `stop_ms` and the final transcript.
    pub complete_ms: u32,
    /// `hybrid`: silence after words that go on: "and", "um", a number that is being dictated.
    /// 100 to 5,000 ms.
    pub incomplete_ms: u32,
    /// `hybrid`: waits longer for callers who pause within their sentences, as far as `incomplete_ms`.
    pub learn_pauses: bool,
    /// `hybrid`: asks the server's model that hears whether a turn is over, if `turn_model.path` names one.
    pub model: bool,
}

/// How far a reply is prepared before the caller's turn is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeculationMode {
    /// Not at all.
    Off,
    /// The language model writes.
    #[default]
    Llm,
    /// The language model writes and the voice speaks; nothing is heard.
    LlmAndTts,
}

/// Replies that are prepared before it is sure that the caller is done. One that turns out wrong is
/// never heard; what it took of the provider is paid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Speculation {
    /// `off`, `llm`, or `llm_and_tts`.
    pub mode: SpeculationMode,
    /// Replies prepared for one turn of the caller. 1 to 10.
    pub attempts_max: u32,
}

/// What happens to the agent's voice while it is not sure that the caller wants the floor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Yield {
    /// Nothing: it goes on until the interruption is sure.
    Off,
    /// It goes on 12 dB softer.
    Duck,
    /// It pauses, and goes on from the same sample.
    #[default]
    Pause,
}

/// When caller speech stops the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BargeIn {
    /// `false`: never; what the caller says meanwhile is answered afterwards.
    pub enabled: bool,
    /// What the agent's voice does from the first sign of speech until it is decided: `off`, `duck` or
    /// `pause`.
    pub tentative: Yield,
    /// Speech that interrupts whatever was said, from its onset. 0 to 2,000 ms. Voice activity
    /// detection itself needs about 48 ms to be sure, so smaller values act as 0. Shorter speech
    /// interrupts with its words, unless they only say that the caller listens ("mm-hm").
    pub min_ms: u32,
    /// Recognised words needed; above 0 it replaces `min_ms`. 0 to 10.
    pub min_words: u32,
    /// Longest wait, after the last voiced frame of short speech, for the words that decide; then the
    /// agent goes on. 100 to 3,000 ms.
    pub resume_ms: u32,
}

/// First words of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Greeting {
    /// Text; empty: the caller speaks first.
    pub text: String,
    /// Whether the caller may interrupt it.
    pub interruptible: bool,
    /// Pause between the answer and the first word. The agent's own setting.
    #[serde(skip)]
    pub(crate) delay_ms: u32,
    /// Whether the model makes the first words. The agent's own setting.
    #[serde(skip)]
    pub(crate) generated: bool,
    /// Whether the call ends after them.
    #[serde(skip)]
    pub(crate) ends: bool,
}

/// What happens when nobody speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inactivity {
    /// Silence of both sides before a prompt. 0 turns prompts and the end off; else 1,000 to 600,000 ms.
    pub prompt_after_ms: u32,
    /// Prompts, spoken in turn. At most 16.
    pub prompts: Vec<String>,
    /// Prompts before the goodbye. 0 to 20.
    pub max_prompts: u32,
    /// Last words; empty: hang up at once.
    pub goodbye: String,
}

/// Fixed sentences. An empty one is not spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Texts {
    /// Speech without recognisable words.
    pub repeat: String,
    /// Recognition failed.
    pub stt_apology: String,
    /// The model failed or is too late.
    pub llm_apology: String,
    /// Said while the reply is late, in turn. At most 16.
    pub fillers: Vec<String>,
    /// Last words after too many failures.
    pub failure_goodbye: String,
    /// Last words when the call reaches its maximum duration.
    pub max_duration_goodbye: String,
}

/// A setting outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is out of range: {value}; allowed: {allowed}")]
pub struct TurnConfigError {
    /// Key below the agent's conversation settings, for example `barge_in.min_ms`.
    pub key: &'static str,
    /// What was given.
    pub value: u64,
    /// The range.
    pub allowed: &'static str,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            silence_ms: 500,
            endpointing: Endpointing::default(),
            speculation: Speculation::default(),
            stt_wait_max_ms: 2_500,
            max_wait_ms: 3_000,
            utterance_max_ms: 60_000,
            barge_in: BargeIn::default(),
            greeting: Greeting::default(),
            inactivity: Inactivity::default(),
            max_duration_ms: 3_600_000,
            texts: Texts::default(),
            filler_after_ms: 2_000,
            reply_timeout_ms: 10_000,
            tts_timeout_ms: 3_000,
            failures_max: 3,
            repeat_max: 3,
            dtmf_wait_ms: 1_500,
            first_clause_min_chars: 12,
            end_phrases: Vec::new(),
            end_message: String::new(),
            language: String::new(),
            late_transcripts: false,
        }
    }
}

impl Default for Endpointing {
    fn default() -> Self {
        Self {
            mode: EndpointingMode::Hybrid,
            complete_ms: 200,
            incomplete_ms: 1_200,
            learn_pauses: true,
            model: true,
        }
    }
}

impl Default for Speculation {
    fn default() -> Self {
        Self { mode: SpeculationMode::Llm, attempts_max: 3 }
    }
}

impl Default for BargeIn {
    fn default() -> Self {
        Self { enabled: true, tentative: Yield::Pause, min_ms: 500, min_words: 0, resume_ms: 800 }
    }
}

impl Default for Greeting {
    fn default() -> Self {
        Self {
            text: String::new(),
            interruptible: true,
            delay_ms: 0,
            generated: false,
            ends: false,
        }
    }
}

impl Default for Inactivity {
    fn default() -> Self {
        Self {
            prompt_after_ms: 10_000,
            prompts: vec!["Are you still there?".to_owned()],
            max_prompts: 2,
            goodbye: "I cannot hear you, so I will hang up now. Goodbye.".to_owned(),
        }
    }
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            repeat: "Sorry, I did not catch that. Could you say it again?".to_owned(),
            stt_apology: "Sorry, I have trouble hearing you. Could you say it again?".to_owned(),
            llm_apology: "Sorry, something went wrong. Could you say that again?".to_owned(),
            fillers: vec!["One moment, please.".to_owned(), "I am still working on it.".to_owned()],
            failure_goodbye: "Sorry, I have technical problems. Please call again later. Goodbye."
                .to_owned(),
            max_duration_goodbye: "We have reached the time limit of this call. Goodbye."
                .to_owned(),
        }
    }
}

impl Greeting {
    /// Makes of the first words the last ones.
    pub(crate) fn refuse(&mut self, words: String) {
        (self.text, self.generated, self.ends) = (words, false, true);
    }
}

impl BargeIn {
    /// The policy these settings mean.
    pub fn policy(&self) -> Interruption {
        match (self.enabled, self.min_words) {
            (false, _) => Interruption::Off,
            (true, 0) => Interruption::AnySpeech { min_ms: self.min_ms },
            (true, n) => Interruption::MinWords { n },
        }
    }
}

impl TurnConfig {
    /// The same for callers who speak this language, a BCP 47 tag.
    #[must_use]
    pub fn for_language(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.language);
        self
    }

    /// Checks every number against its range.
    ///
    /// # Errors
    /// Names the first key out of range, its value and the range.
    pub fn validate(&self) -> Result<(), TurnConfigError> {
        let len = |list: &[String]| list.len() as u64;
        let rows: [(&'static str, u64, u64, u64, &'static str); 22] = [
            ("silence_ms", self.silence_ms.into(), 100, 3_000, "100 to 3000"),
            (
                "endpointing.complete_ms",
                self.endpointing.complete_ms.into(),
                100,
                3_000,
                "100 to 3000",
            ),
            (
                "endpointing.incomplete_ms",
                self.endpointing.incomplete_ms.into(),
                100,
                5_000,
                "100 to 5000",
            ),
            ("speculation.attempts_max", self.speculation.attempts_max.into(), 1, 10, "1 to 10"),
            ("barge_in.resume_ms", self.barge_in.resume_ms.into(), 100, 3_000, "100 to 3000"),
            ("stt_wait_max_ms", self.stt_wait_max_ms.into(), 0, 10_000, "0 to 10000"),
            ("max_wait_ms", self.max_wait_ms.into(), 500, 20_000, "500 to 20000"),
            ("utterance_max_ms", self.utterance_max_ms.into(), 5_000, 600_000, "5000 to 600000"),
            ("barge_in.min_ms", self.barge_in.min_ms.into(), 0, 2_000, "0 to 2000"),
            ("barge_in.min_words", self.barge_in.min_words.into(), 0, 10, "0 to 10"),
            (
                "inactivity.prompt_after_ms",
                match self.inactivity.prompt_after_ms {
                    0 => 1_000,
                    ms => ms.into(),
                },
                1_000,
                600_000,
                "0 (off), or 1000 to 600000",
            ),
            ("inactivity.prompts", len(&self.inactivity.prompts), 0, 16, "at most 16 texts"),
            ("inactivity.max_prompts", self.inactivity.max_prompts.into(), 0, 20, "0 to 20"),
            ("max_duration_ms", self.max_duration_ms, 10_000, 86_400_000, "10000 to 86400000"),
            ("texts.fillers", len(&self.texts.fillers), 0, 16, "at most 16 texts"),
            ("filler_after_ms", self.filler_after_ms.into(), 500, 2_400, "500 to 2400"),
            ("reply_timeout_ms", self.reply_timeout_ms.into(), 1_000, 60_000, "1000 to 60000"),
            ("tts_timeout_ms", self.tts_timeout_ms.into(), 500, 30_000, "500 to 30000"),
            ("failures_max", self.failures_max.into(), 1, 20, "1 to 20"),
            ("repeat_max", self.repeat_max.into(), 0, 20, "0 to 20"),
            ("dtmf_wait_ms", self.dtmf_wait_ms.into(), 100, 10_000, "100 to 10000"),
            ("end_phrases", len(&self.end_phrases), 0, 32, "at most 32 texts"),
        ];
        for (key, value, min, max, allowed) in rows {
            if !(min..=max).contains(&value) {
                return Err(TurnConfigError { key, value, allowed });
            }
        }
        match self.first_clause_min_chars {
            0 | 4..=200 => Ok(()),
            value => Err(TurnConfigError {
                key: "first_clause_min_chars",
                value: value.into(),
                allowed: "0 (off), or 4 to 200",
            }),
        }
    }
}

#[cfg(test)]
mod tests;
