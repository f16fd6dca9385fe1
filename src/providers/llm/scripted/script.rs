//! The script of a dialogue: loaded from TOML, checked once, then a pure function from a place and
//! the caller's words to the next place and an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::action::{Action, Branch, CallFile, ThenFile};
use super::{Answer, Place};
use crate::providers::phrase::{DIGITS_MAX, Found, Phrase, SlotKind, Slots, words_of};
use crate::providers::stt::grammar::Vocabulary;

/// Largest script in bytes: a day's work of a person.
pub const SCRIPT_BYTES_MAX: usize = 256 * 1024;
/// Most options of one state.
pub const OPTIONS_MAX: usize = 64;
/// Most phrases of a whole script: the recogniser's memory grows with them.
pub const PHRASES_MAX: usize = 500;

/// A script cannot be used. Displays as one sentence with line and hint where they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError(String);

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScriptError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    greeting: String,
    start: String,
    not_understood: Vec<String>,
    #[serde(default)]
    slots: BTreeMap<String, SlotFile>,
    #[serde(default)]
    pronunciations: BTreeMap<String, String>,
    #[serde(default)]
    everywhere: Vec<OptionFile>,
    states: BTreeMap<String, StateFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotFile {
    kind: KindFile,
    min: Option<u32>,
    max: Option<u32>,
    length: Option<usize>,
    values: Option<Vec<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindFile {
    Digits,
    Number,
    Weekday,
    Time,
    YesNo,
    Choice,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    prompt: Option<String>,
    not_understood: Option<Vec<String>>,
    #[serde(default)]
    options: Vec<OptionFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionFile {
    #[serde(default)]
    say: Vec<String>,
    keys: Option<String>,
    reply: Option<String>,
    goto: Option<String>,
    #[serde(default)]
    end: bool,
    #[serde(default)]
    call: Vec<CallFile>,
    #[serde(default)]
    then: Vec<ThenFile>,
}

struct State {
    prompt: Option<String>,
    not_understood: Vec<String>,
    options: Vec<Choice>,
}

struct Choice {
    phrases: Vec<Phrase>,
    keys: Option<Keys>,
    reply: String,
    goto: Option<String>,
    end: bool,
    action: Option<Action>,
}

/// What the keypad must send to take an option.
enum Keys {
    /// Exactly these.
    Literal(String),
    /// The value of a slot.
    Slot(String),
}

/// A checked dialogue.
pub struct Script {
    name: String,
    greeting: String,
    start: String,
    not_understood: Vec<String>,
    slots: Slots,
    pronunciations: BTreeMap<String, String>,
    everywhere: Vec<Choice>,
    states: BTreeMap<String, State>,
}

impl Script {
    /// Reads and checks a script file.
    ///
    /// # Errors
    /// With the file's name in front of what [`Script::parse`] says.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let say = |e: &dyn fmt::Display| ScriptError(format!("{}: {e}", path.display()));
        let size = std::fs::metadata(path).map_err(|e| say(&e))?.len();
        if size > SCRIPT_BYTES_MAX as u64 {
            return Err(say(&format!("a script has at most {SCRIPT_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| say(&e))?;
        Self::parse(&text).map_err(|e| say(&e))
    }

    /// Checks a script: keys, phrases, slots, targets of `goto`, names in templates.
    ///
    /// # Errors
    /// One sentence; for syntax and unknown keys with the line and the nearest key.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(ScriptError(format!("a script has at most {SCRIPT_BYTES_MAX} bytes")));
        }
        let file: File = toml::from_str(text).map_err(|e| explain(text, &e))?;
        let mut slots = Slots::new();
        for (name, slot) in file.slots {
            let kind = slot.check().map_err(|e| ScriptError(format!("slots.{name}: {e}")))?;
            slots.insert(name, kind);
        }
        let options = file.states.values().flat_map(|state| &state.options);
        let calls = options.chain(&file.everywhere).flat_map(|option| &option.call);
        let kept = calls.flat_map(|call| call.keep.keys().cloned()).collect();
        let states = file.states.keys().cloned().collect();
        let checker = Checker { slots: &slots, kept, states };
        let everywhere = checker.options("everywhere", file.everywhere)?;
        checker.texts("greeting", std::slice::from_ref(&file.greeting))?;
        checker.texts("not_understood", &file.not_understood)?;
        if file.not_understood.is_empty() {
            return Err(ScriptError("not_understood needs at least one text".to_owned()));
        }
        checker.target("start", &file.start)?;
        let mut states = BTreeMap::new();
        for (name, state) in file.states {
            let at = format!("states.{name}");
            let not_understood = state.not_understood.unwrap_or_default();
            checker.texts(&at, &not_understood)?;
            checker.texts(&at, state.prompt.as_slice())?;
            let options = checker.options(&at, state.options)?;
            states.insert(name, State { prompt: state.prompt, not_understood, options });
        }
        let script = Self {
            name: file.name,
            greeting: file.greeting,
            start: file.start,
            not_understood: file.not_understood,
            slots,
            pronunciations: file.pronunciations,
            everywhere,
            states,
        };
        for goto in script.all_options().flat_map(Choice::silent_targets) {
            if script.states.get(goto).is_none_or(|state| state.prompt.is_none()) {
                return Err(ScriptError(format!(
                    "states.{goto}: needs a prompt, since an option without reply leads there"
                )));
            }
        }
        if script.all_options().map(|option| option.phrases.len()).sum::<usize>() > PHRASES_MAX {
            return Err(ScriptError(format!("a script has at most {PHRASES_MAX} phrases")));
        }
        Ok(script)
    }

    /// Name of the agent.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is said when nothing was understood, in turn.
    pub fn not_understood(&self) -> &[String] {
        &self.not_understood
    }

    /// First words of the agent.
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Where every conversation begins.
    pub fn start(&self) -> Place {
        Place { state: self.start.clone(), slots: BTreeMap::new(), misses: 0 }
    }

    /// What the recogniser should expect.
    pub fn vocabulary(&self) -> Vocabulary {
        let phrases = self.all_options().flat_map(|option| option.phrases.clone()).collect();
        let pronunciations = self.pronunciations.clone();
        Vocabulary { phrases, slots: self.slots.clone(), pronunciations }
    }

    fn all_options(&self) -> impl Iterator<Item = &Choice> {
        self.states.values().flat_map(|state| &state.options).chain(&self.everywhere)
    }

    /// Takes the caller's words at a place. The option that explains most words wins; the state's
    /// own options go before those of `everywhere`.
    pub fn advance(&self, place: &Place, words: &[String]) -> (Place, Answer) {
        let Some(state) = self.states.get(&place.state) else {
            return (self.start(), Answer::text(self.greeting.clone()));
        };
        let Some((option, found)) = self.choose(state, words) else {
            return self.miss(place, state);
        };
        let mut next = Place { misses: 0, ..place.clone() };
        next.slots.extend(found.slots);
        let text = self.words(&mut next, &option.reply, option.goto.as_ref());
        let calls = option.action.as_ref().map(|action| action.calls(&next.slots, &self.slots));
        (next, Answer { text, end: option.end, calls: calls.unwrap_or_default() })
    }

    /// What follows the calls that [`Script::advance`] asked for at the same place, by their results
    /// in order.
    pub fn outcome(&self, place: &Place, words: &[String], results: &[Value]) -> (Place, Answer) {
        let (mut next, _) = self.advance(place, words);
        let action = self
            .states
            .get(&place.state)
            .and_then(|state| self.choose(state, words)?.0.action.as_ref());
        let Some(action) = action else { return (next, Answer::default()) };
        action.keep(results, &mut next.slots);
        let Some(branch) = action.branch(results) else { return (next, Answer::default()) };
        let text = self.words(&mut next, &branch.reply, branch.goto.as_ref());
        (next, Answer { text, end: branch.end, calls: Vec::new() })
    }

    fn choose<'a>(&'a self, state: &'a State, words: &[String]) -> Option<(&'a Choice, Found)> {
        let mut best: Option<(&Choice, Found)> = None;
        for option in state.options.iter().chain(&self.everywhere) {
            if let Some(found) = option.take(words, &self.slots)
                && best.as_ref().is_none_or(|(_, best)| found.words > best.words)
            {
                best = Some((option, found));
            }
        }
        best
    }

    /// A reply and the prompt of the state it leads to.
    fn words(&self, next: &mut Place, reply: &str, goto: Option<&String>) -> String {
        let mut text = fill(reply, &next.slots);
        if let Some(goto) = goto {
            next.state.clone_from(goto);
            if let Some(prompt) = self.states.get(goto).and_then(|state| state.prompt.as_ref()) {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&fill(prompt, &next.slots));
            }
        }
        text
    }

    fn miss(&self, place: &Place, state: &State) -> (Place, Answer) {
        let texts = if state.not_understood.is_empty() {
            &self.not_understood
        } else {
            &state.not_understood
        };
        // The last text is the most helpful one: it stays.
        let index = (place.misses as usize).min(texts.len().saturating_sub(1));
        let text = texts.get(index).map(|text| fill(text, &place.slots)).unwrap_or_default();
        let next = Place { misses: place.misses.saturating_add(1), ..place.clone() };
        (next, Answer::text(text))
    }
}

impl Choice {
    /// Where it leads without a word of its own.
    fn silent_targets(&self) -> impl Iterator<Item = &String> {
        let own = (self.reply.is_empty() && self.action.is_none()).then_some(&self.goto);
        let branches = self.action.iter().flat_map(|action| &action.branches);
        let branches = branches.filter(|branch| branch.reply.is_empty()).map(|branch| &branch.goto);
        own.into_iter().chain(branches).filter_map(Option::as_ref)
    }

    fn take(&self, words: &[String], slots: &Slots) -> Option<Found> {
        if let Some(keys) = self.keys.as_ref().and_then(|keys| keys.take(words, slots)) {
            return Some(keys);
        }
        self.phrases
            .iter()
            .filter_map(|phrase| phrase.find_in(words, slots))
            .max_by_key(|found| found.words)
    }
}

impl Keys {
    fn take(&self, words: &[String], slots: &Slots) -> Option<Found> {
        let [word] = words else { return None };
        match self {
            Self::Literal(keys) => {
                (keys == word).then(|| Found { words: 1, slots: BTreeMap::new() })
            }
            Self::Slot(name) => {
                if !word.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                let (_, value) = slots.get(name)?.read(words, 0).into_iter().next()?;
                Some(Found { words: 1, slots: BTreeMap::from([(name.clone(), value)]) })
            }
        }
    }
}

impl SlotFile {
    fn check(self) -> Result<SlotKind, String> {
        match self.kind {
            KindFile::Digits => {
                let (min, max) = match self.length {
                    Some(length) => (length, length),
                    None => (self.min.unwrap_or(1) as usize, self.max.unwrap_or(4) as usize),
                };
                if min == 0 || min > max || max > DIGITS_MAX {
                    return Err(format!("digits need 1 <= min <= max <= {DIGITS_MAX}"));
                }
                Ok(SlotKind::Digits { min, max })
            }
            KindFile::Number => {
                let (min, max) = (self.min.unwrap_or(0), self.max.unwrap_or(99));
                if min > max || max > 99 {
                    return Err("numbers need 0 <= min <= max <= 99".to_owned());
                }
                Ok(SlotKind::Number { min, max })
            }
            KindFile::Weekday => Ok(SlotKind::Weekday),
            KindFile::Time => Ok(SlotKind::Time),
            KindFile::YesNo => Ok(SlotKind::YesNo),
            KindFile::Choice => {
                let values: Vec<String> =
                    self.values.unwrap_or_default().iter().map(|v| words_of(v).join(" ")).collect();
                if values.is_empty() || values.iter().any(String::is_empty) {
                    return Err("a choice needs values, each at least one word".to_owned());
                }
                Ok(SlotKind::Choice(values))
            }
        }
    }
}

struct Checker<'a> {
    slots: &'a Slots,
    /// Names that values of results are kept under.
    kept: BTreeSet<String>,
    states: Vec<String>,
}

impl Checker<'_> {
    fn options(&self, at: &str, files: Vec<OptionFile>) -> Result<Vec<Choice>, ScriptError> {
        if files.len() > OPTIONS_MAX {
            return Err(ScriptError(format!("{at}: at most {OPTIONS_MAX} options")));
        }
        files
            .into_iter()
            .enumerate()
            .map(|(i, file)| self.option(&format!("{at}, option {}", i + 1), file))
            .collect()
    }

    fn option(&self, at: &str, file: OptionFile) -> Result<Choice, ScriptError> {
        let mut phrases = Vec::new();
        for source in &file.say {
            let phrase = Phrase::parse(source)
                .map_err(|e| ScriptError(format!("{at}: phrase \"{source}\": {e}")))?;
            let mut unknown = None;
            phrase.each_slot(&mut |name| {
                if !self.slots.contains_key(name) {
                    unknown = Some(name.to_owned());
                }
            });
            if let Some(name) = unknown {
                return Err(self.unknown_slot(at, &name));
            }
            phrases.push(phrase);
        }
        let keys = match file.keys {
            None => None,
            Some(keys) => Some(self.keys(at, &keys)?),
        };
        if phrases.is_empty() && keys.is_none() {
            return Err(ScriptError(format!("{at}: needs say or keys, or nobody can take it")));
        }
        if let Some(goto) = &file.goto {
            self.target(at, goto)?;
        }
        let reply = file.reply.unwrap_or_default();
        let action = self.action(at, file.call, file.then)?;
        if action.is_some() && (file.goto.is_some() || file.end) {
            let message = format!("{at}: where a call leads is written in `then`");
            return Err(ScriptError(message));
        }
        if reply.is_empty() && file.goto.is_none() && action.is_none() {
            return Err(ScriptError(format!(
                "{at}: needs a reply or goto, or the agent stays silent"
            )));
        }
        self.texts(at, std::slice::from_ref(&reply))?;
        Ok(Choice { phrases, keys, reply, goto: file.goto, end: file.end, action })
    }

    fn action(
        &self,
        at: &str,
        calls: Vec<CallFile>,
        then: Vec<ThenFile>,
    ) -> Result<Option<Action>, ScriptError> {
        let refused = |message: String| ScriptError(format!("{at}: {message}"));
        let action = Action::check(calls, then).map_err(refused)?;
        let Some(action) = action else { return Ok(None) };
        self.texts(at, &action.templates())?;
        for Branch { reply, goto, .. } in &action.branches {
            self.texts(at, std::slice::from_ref(reply))?;
            if let Some(goto) = goto {
                self.target(at, goto)?;
            }
        }
        Ok(Some(action))
    }

    fn keys(&self, at: &str, keys: &str) -> Result<Keys, ScriptError> {
        if let Some(name) = keys.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            return match self.slots.get(name) {
                None => Err(self.unknown_slot(at, name)),
                Some(kind) if !kind.takes_keys() => {
                    Err(ScriptError(format!("{at}: {{{name}}} cannot be typed on a keypad")))
                }
                Some(_) => Ok(Keys::Slot(name.to_owned())),
            };
        }
        let valid = !keys.is_empty()
            && keys.len() <= DIGITS_MAX
            && keys.bytes().all(|b| b.is_ascii_digit());
        if !valid {
            return Err(ScriptError(format!("{at}: keys must be digits or one {{slot}}")));
        }
        Ok(Keys::Literal(keys.to_owned()))
    }

    fn target(&self, at: &str, goto: &str) -> Result<(), ScriptError> {
        if self.states.iter().any(|state| state == goto) {
            return Ok(());
        }
        let hint = nearest(goto, self.states.iter().map(String::as_str));
        Err(ScriptError(format!("{at}: there is no state \"{goto}\"{hint}")))
    }

    /// Checks that templates name slots only.
    fn texts(&self, at: &str, texts: &[String]) -> Result<(), ScriptError> {
        let unopened = || ScriptError(format!("{at}: a \"}}\" is never opened in a text"));
        for text in texts {
            let mut parts = text.split('{');
            if parts.next().is_some_and(|head| head.contains('}')) {
                return Err(unopened());
            }
            for part in parts {
                let Some((name, rest)) = part.split_once('}') else {
                    return Err(ScriptError(format!("{at}: a \"{{\" is never closed in a text")));
                };
                if !self.slots.contains_key(name) && !self.kept.contains(name) {
                    return Err(self.unknown_slot(at, name));
                }
                if rest.contains('}') {
                    return Err(unopened());
                }
            }
        }
        Ok(())
    }

    fn unknown_slot(&self, at: &str, name: &str) -> ScriptError {
        let hint = nearest(name, self.slots.keys().map(String::as_str));
        ScriptError(format!("{at}: there is no slot \"{name}\"{hint}"))
    }
}

/// Puts slot values into a template; a value that nobody gave yet reads "any".
pub(super) fn fill(template: &str, slots: &BTreeMap<String, String>) -> String {
    let mut parts = template.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or(("", part));
        text.push_str(slots.get(name).map_or("any", String::as_str));
        text.push_str(rest);
    }
    text
}

fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("; hint: did you mean \"{name}\"?"))
        .unwrap_or_default()
}

/// A TOML error with its line, and for an unknown key the nearest known one.
fn explain(text: &str, error: &toml::de::Error) -> ScriptError {
    let at = error.span().map(|span| {
        text.bytes().take(span.start).filter(|byte| *byte == b'\n').count().saturating_add(1)
    });
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let hint = match (message.starts_with("unknown"), quoted.next()) {
        (true, Some(wrong)) => nearest(wrong, quoted),
        _ => String::new(),
    };
    let line = at.map(|line| format!("line {line}: ")).unwrap_or_default();
    ScriptError(format!("{line}{message}{hint}"))
}
