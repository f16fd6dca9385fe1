//! What a caller does, one step after the other.

use std::path::PathBuf;

use serde::Deserialize;

use super::pattern::Pattern;
use crate::score::Meaning;

/// Longest pause and latest interruption, ms.
const PAUSE_MS_MAX: u32 = 120_000;

/// One step as the file has it: one of the first group, and what belongs to it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Speaks these words.
    pub say: Option<String>,
    /// Plays a WAV file; a path beside the scenario.
    pub play: Option<PathBuf>,
    /// Makes a sound that is no speech.
    pub sound: Option<Sound>,
    /// Presses keys.
    pub digits: Option<String>,
    /// Waits for something.
    pub wait_for: Option<WaitFor>,
    /// Waits until the agent has said this, from here on.
    pub wait_for_words: Option<String>,
    /// Is silent for so long.
    pub pause_ms: Option<u32>,
    /// Hangs up.
    pub hang_up: bool,

    /// Not before the agent has spoken for so long: into its words.
    pub interrupt_after_ms: Option<u32>,
    /// Without waiting for the reply to what came before.
    pub at_once: bool,
    /// What the sound wants of the agent.
    pub r#as: Option<Meaning>,
    /// Longest wait of this step.
    pub limit_ms: Option<u32>,
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// The agent has replied and is silent.
    AgentDone,
    /// The agent speaks.
    AgentSpeaking,
    /// The agent hangs up.
    End,
}

/// A sound that is no speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sound {
    /// A cough: two bursts of a third of a second together.
    Cough,
    /// A door: one burst of an eighth of a second.
    Bang,
    /// Wind or a lorry: noise of a second and a half.
    Rumble,
}

/// A step that was checked.
#[derive(Clone, Debug)]
pub enum Action {
    /// Speaks.
    Say(String),
    /// Plays a file.
    Play(PathBuf),
    /// Makes a sound.
    Sound(Sound),
    /// Presses keys.
    Digits(String),
    /// Waits.
    Wait(WaitFor),
    /// Waits for words of the agent.
    WaitForWords(Pattern),
    /// Is silent.
    Pause(u32),
    /// Hangs up.
    HangUp,
}

impl Step {
    /// What the step does.
    ///
    /// # Errors
    /// When it says nothing to do, more than one thing, or what does not belong together.
    pub fn action(&self) -> Result<Action, String> {
        let mut actions = Vec::new();
        if let Some(text) = &self.say {
            if text.trim().is_empty() {
                return Err("`say` is empty; hint: `pause_ms` is silence".to_owned());
            }
            actions.push(Action::Say(text.clone()));
        }
        actions.extend(self.play.clone().map(Action::Play));
        actions.extend(self.sound.map(Action::Sound));
        if let Some(digits) = &self.digits {
            let wrong = digits.chars().find(|c| !matches!(c, '0'..='9' | '*' | '#' | 'A'..='D'));
            if let Some(wrong) = wrong {
                return Err(format!("`digits`: no keypad has `{wrong}`; allowed: 0-9 * # A-D"));
            }
            if digits.is_empty() {
                return Err("`digits` is empty".to_owned());
            }
            actions.push(Action::Digits(digits.clone()));
        }
        actions.extend(self.wait_for.map(Action::Wait));
        if let Some(words) = &self.wait_for_words {
            actions.push(Action::WaitForWords(Pattern::parse(words)?));
        }
        actions.extend(self.pause_ms.map(Action::Pause));
        actions.extend(self.hang_up.then_some(Action::HangUp));
        let longest = self.pause_ms.max(self.interrupt_after_ms);
        if longest.is_some_and(|ms| ms > PAUSE_MS_MAX) {
            return Err(format!("a pause is at most {PAUSE_MS_MAX} ms long"));
        }
        let (Some(action), true) = (actions.pop(), actions.is_empty()) else {
            return Err("a step is one of `say`, `play`, `sound`, `digits`, `wait_for`, \
                        `wait_for_words`, `pause_ms` and `hang_up`"
                .to_owned());
        };
        self.check_with(&action)?;
        Ok(action)
    }

    fn check_with(&self, action: &Action) -> Result<(), String> {
        let is_heard = matches!(action, Action::Say(_) | Action::Play(_) | Action::Sound(_));
        let is_polite = is_heard || matches!(action, Action::Digits(_) | Action::HangUp);
        if self.r#as.is_some() && !is_heard {
            return Err("`as` belongs to `say`, `play` or `sound`".to_owned());
        }
        if !is_polite && (self.interrupt_after_ms.is_some() || self.at_once) {
            return Err(
                "`interrupt_after_ms` and `at_once` belong to what the caller does, not to \
                        waiting"
                    .to_owned(),
            );
        }
        if self.interrupt_after_ms.is_some() && self.at_once {
            return Err(
                "`at_once` does not wait, `interrupt_after_ms` does: one of them".to_owned()
            );
        }
        Ok(())
    }

    /// What its sound wants of the agent.
    pub fn meaning(&self) -> Meaning {
        self.r#as.unwrap_or(match self.sound {
            Some(_) => Meaning::Sound,
            None => Meaning::Speech,
        })
    }

    /// The step in a few words, for the report.
    pub fn label(&self) -> String {
        let text = |name: &str, value: &dyn std::fmt::Display| format!("{name} \"{value}\"");
        if let Some(words) = &self.say {
            text("say", words)
        } else if let Some(path) = &self.play {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            text("play", &name.unwrap_or_default())
        } else if let Some(sound) = self.sound {
            format!("sound {sound:?}").to_lowercase()
        } else if let Some(digits) = &self.digits {
            text("digits", digits)
        } else if let Some(what) = self.wait_for {
            match what {
                WaitFor::AgentDone => "wait for agent_done".to_owned(),
                WaitFor::AgentSpeaking => "wait for agent_speaking".to_owned(),
                WaitFor::End => "wait for end".to_owned(),
            }
        } else if let Some(words) = &self.wait_for_words {
            text("wait for words", words)
        } else if let Some(ms) = self.pause_ms {
            format!("pause {ms} ms")
        } else {
            "hang up".to_owned()
        }
    }
}
