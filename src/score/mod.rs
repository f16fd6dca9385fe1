//! Workshop: how a conversation went, from who spoke when. Pure: spans in, figures out.
//!
//! [`mod@spans`] finds speech in the samples of one channel; [`fn@score`] takes the spans of caller and agent
//! and says how long the caller waited for each reply, how fast the agent fell silent when the caller
//! spoke into its words, whether it fell silent for less than that ("mm-hm", a cough), and how much of
//! the time both talked. What the words were is not known here. `docs/eval.md` defines every figure.

pub mod spans;

use serde::Serialize;

pub use spans::{SpanRules, spans};

/// A stretch of time, from the beginning of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// First millisecond.
    pub begin_ms: u64,
    /// First millisecond after it.
    pub end_ms: u64,
}

impl Span {
    /// A span; one that ends before it begins is empty.
    pub fn new(begin_ms: u64, end_ms: u64) -> Self {
        Self { begin_ms, end_ms: end_ms.max(begin_ms) }
    }

    /// How long it lasts.
    pub fn length_ms(self) -> u64 {
        self.end_ms.saturating_sub(self.begin_ms)
    }

    /// Whether `at` lies inside, its first millisecond excluded: who begins together interrupts nobody.
    fn holds(self, at_ms: u64) -> bool {
        self.begin_ms < at_ms && at_ms < self.end_ms
    }
}

/// What a sound of the caller wants of the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// A turn: the agent is to fall silent and answer.
    #[default]
    Speech,
    /// "mm-hm": the agent is to go on.
    Listening,
    /// A cough, a door: nobody spoke.
    Sound,
}

/// Something that the caller let hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Utterance {
    /// When.
    pub span: Span,
    /// What it wants.
    pub meaning: Meaning,
}

/// Where the lines are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Silence that ends a turn of the agent, when the longest one is looked for: sentences of one reply
    /// follow each other sooner.
    pub pause_ms: u64,
    /// An agent that talks on for longer than this has not yielded.
    pub yield_limit_ms: u64,
    /// What is not speech must be followed within this time by the silence it is blamed for.
    pub react_ms: u64,
    /// Shortest such silence: pauses between two sentences are shorter.
    pub hole_ms: u64,
    /// Words that were lost come back within this time, or never.
    pub resume_limit_ms: u64,
    /// Without labels: speech into the agent's words that is shorter than this only says that the caller
    /// listens.
    pub listening_max_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            pause_ms: 700,
            yield_limit_ms: 2_000,
            react_ms: 1_000,
            hole_ms: 400,
            resume_limit_ms: 2_500,
            listening_max_ms: 500,
        }
    }
}

/// How some times are distributed; nulls where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many.
    pub n: usize,
    /// Median.
    pub p50_ms: Option<u64>,
    /// 95th percentile, by nearest rank.
    pub p95_ms: Option<u64>,
    /// Longest.
    pub max_ms: Option<u64>,
}

impl Spread {
    /// Of these times.
    pub fn of(times: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = times.into_iter().collect();
        sorted.sort_unstable();
        let rank = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied()
        };
        Self { n: sorted.len(), p50_ms: rank(50), p95_ms: rank(95), max_ms: sorted.last().copied() }
    }
}

/// One wait of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The caller's last sound.
    pub at_ms: u64,
    /// From there to the agent's first.
    pub ms: u64,
}

/// The caller spoke into the agent's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Yield {
    /// The caller's first sound.
    pub at_ms: u64,
    /// Whether the agent fell silent in time, and stayed so while the caller spoke.
    pub did_yield: bool,
    /// From the caller's first sound to the agent's last.
    pub ms: u64,
}

/// The agent fell silent for a sound that did not ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FalseInterruption {
    /// The sound.
    pub at_ms: u64,
    /// What it was.
    pub meaning: Meaning,
    /// From its beginning to the agent's silence.
    pub stopped_after_ms: u64,
    /// How long the agent was silent; null if it never came back to what it said.
    pub silent_ms: Option<u64>,
}

/// How a conversation went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// Length of the recording.
    pub duration_ms: u64,
    /// From the beginning to the agent's first sound, if the caller had said nothing before it.
    pub greeting_ms: Option<u64>,
    /// Waits for replies.
    pub response: Spread,
    /// Times in which the agent fell silent for the caller, of those interruptions it yielded to.
    pub time_to_yield: Spread,
    /// Interruptions the agent did not yield to.
    pub not_yielded: usize,
    /// Times the agent began while the caller still spoke.
    pub cut_ins: usize,
    /// Both talk.
    pub talk_over_ms: u64,
    /// The same as a share of the time in which anybody talks, 0 to 1.
    pub talk_over_share: f64,
    /// The caller talks.
    pub caller_ms: u64,
    /// The agent talks.
    pub agent_ms: u64,
    /// Nobody talks.
    pub silence_ms: u64,
    /// Longest time in which nobody talks.
    pub silence_max_ms: u64,
    /// Longest turn of the agent.
    pub monologue_max_ms: u64,
    /// Every wait.
    pub gaps: Vec<Gap>,
    /// Every interruption.
    pub yields: Vec<Yield>,
    /// Every silence for nothing.
    pub false_interruptions: Vec<FalseInterruption>,
}

impl Score {
    /// Sentences that never came back after a sound that was no turn.
    pub fn lost(&self) -> usize {
        self.false_interruptions.iter().filter(|one| one.silent_ms.is_none()).count()
    }
}

/// Scores a conversation. Spans are in order and do not overlap within one side.
pub fn score(caller: &[Utterance], agent: &[Span], duration_ms: u64, rules: &Rules) -> Score {
    let speaks: Vec<Span> =
        caller.iter().filter(|one| one.meaning != Meaning::Sound).map(|one| one.span).collect();
    let gaps = gaps(caller, agent, rules);
    let (yields, false_interruptions) = interruptions(caller, agent, rules);
    let sum = |spans: &[Span]| spans.iter().map(|span| span.length_ms()).sum::<u64>();
    let talk_over_ms = speaks.iter().map(|one| overlap_ms(*one, agent)).sum();
    let anybody = union(&speaks, agent);
    let talked = sum(&anybody);
    let first = agent.first().map(|span| span.begin_ms);
    let spoke = speaks.first().map_or(u64::MAX, |span| span.begin_ms);
    Score {
        duration_ms,
        greeting_ms: first.filter(|at| *at <= spoke),
        response: Spread::of(gaps.iter().map(|gap| gap.ms)),
        time_to_yield: Spread::of(yields.iter().filter(|one| one.did_yield).map(|one| one.ms)),
        not_yielded: yields.iter().filter(|one| !one.did_yield).count(),
        cut_ins: agent.iter().filter(|span| is_cut_in(**span, &speaks, agent)).count(),
        talk_over_ms,
        talk_over_share: if talked == 0 { 0.0 } else { talk_over_ms as f64 / talked as f64 },
        caller_ms: sum(&speaks),
        agent_ms: sum(agent),
        silence_ms: duration_ms.saturating_sub(talked),
        silence_max_ms: longest_silence(&anybody, duration_ms),
        monologue_max_ms: longest_turn(&speaks, agent, rules.pause_ms),
        gaps,
        yields,
        false_interruptions,
    }
}

/// Labels for speech of which nothing is known but when it was: what is short and falls into the
/// agent's words only says that the caller listens.
pub fn guess(caller: &[Span], agent: &[Span], rules: &Rules) -> Vec<Utterance> {
    let label = |span: &Span| {
        let inside = agent.iter().any(|agent| agent.holds(span.begin_ms));
        let short = span.length_ms() < rules.listening_max_ms;
        let meaning = if inside && short { Meaning::Listening } else { Meaning::Speech };
        Utterance { span: *span, meaning }
    };
    caller.iter().map(label).collect()
}

/// The agent began inside this caller's speech, during which it had been silent.
fn is_cut_in(span: Span, speaks: &[Span], agent: &[Span]) -> bool {
    let Some(into) = speaks.iter().find(|one| one.holds(span.begin_ms)) else { return false };
    !agent.iter().any(|other| other.begin_ms < span.begin_ms && other.end_ms > into.begin_ms)
}

fn gaps(caller: &[Utterance], agent: &[Span], rules: &Rules) -> Vec<Gap> {
    let under = |one: &Utterance| agent.iter().any(|span| span.holds(one.span.begin_ms));
    let asks = |one: &&Utterance| match one.meaning {
        Meaning::Speech => true,
        Meaning::Listening => !under(one),
        Meaning::Sound => false,
    };
    let asked: Vec<Span> = caller.iter().filter(asks).map(|one| one.span).collect();
    let mut gaps = Vec::new();
    for (index, reply) in agent.iter().enumerate() {
        let Some(last) = asked.iter().rfind(|one| one.begin_ms <= reply.begin_ms) else { continue };
        let Some(ms) = reply.begin_ms.checked_sub(last.end_ms) else { continue };
        let before = index.checked_sub(1).and_then(|index| agent.get(index));
        let is_first = before.is_none_or(|before| {
            // What was interrupted may end a moment after the caller did.
            before.begin_ms < last.end_ms
                && before.end_ms <= last.end_ms.max(last.begin_ms + rules.yield_limit_ms)
        });
        if is_first {
            gaps.push(Gap { at_ms: last.end_ms, ms });
        }
    }
    gaps
}

fn interruptions(
    caller: &[Utterance],
    agent: &[Span],
    rules: &Rules,
) -> (Vec<Yield>, Vec<FalseInterruption>) {
    let (mut yields, mut wrongs) = (Vec::new(), Vec::new());
    for one in caller {
        let at_ms = one.span.begin_ms;
        let Some(index) = agent.iter().position(|span| span.holds(at_ms)) else { continue };
        let rest = agent.get(index..).unwrap_or_default();
        let Some(spoken) = rest.first() else { continue };
        if one.meaning == Meaning::Speech {
            // What begins again while the caller speaks was no yielding.
            let last = rest.iter().take_while(|span| span.begin_ms < one.span.end_ms).last();
            let ms = last.unwrap_or(spoken).end_ms.saturating_sub(at_ms);
            yields.push(Yield { at_ms, did_yield: ms <= rules.yield_limit_ms, ms });
            continue;
        }
        let stopped_after_ms = spoken.end_ms.saturating_sub(at_ms);
        let silent = rest.get(1).map(|next| next.begin_ms.saturating_sub(spoken.end_ms));
        if stopped_after_ms <= rules.react_ms && silent.is_none_or(|ms| ms >= rules.hole_ms) {
            let silent_ms = silent.filter(|ms| *ms <= rules.resume_limit_ms);
            let meaning = one.meaning;
            wrongs.push(FalseInterruption { at_ms, meaning, stopped_after_ms, silent_ms });
        }
    }
    (yields, wrongs)
}

fn overlap_ms(one: Span, others: &[Span]) -> u64 {
    let shared = |other: &Span| {
        other.end_ms.min(one.end_ms).saturating_sub(other.begin_ms.max(one.begin_ms))
    };
    others.iter().map(shared).sum()
}

/// The time in which any of both sides talks, as spans in order.
fn union(one: &[Span], other: &[Span]) -> Vec<Span> {
    let mut all: Vec<Span> = one.iter().chain(other).copied().collect();
    all.sort_by_key(|span| (span.begin_ms, span.end_ms));
    join(all, 0)
}

/// Joins spans with at most `pause_ms` between them.
fn join(spans: Vec<Span>, pause_ms: u64) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.begin_ms <= last.end_ms.saturating_add(pause_ms) => {
                last.end_ms = last.end_ms.max(span.end_ms);
            }
            _ => joined.push(span),
        }
    }
    joined
}

fn longest_silence(talk: &[Span], duration_ms: u64) -> u64 {
    let mut longest = 0;
    let mut from = 0;
    for span in talk {
        longest = longest.max(span.begin_ms.saturating_sub(from));
        from = from.max(span.end_ms);
    }
    longest.max(duration_ms.saturating_sub(from))
}

fn longest_turn(speaks: &[Span], agent: &[Span], pause_ms: u64) -> u64 {
    let mut longest = 0;
    let mut turn: Option<Span> = None;
    for span in agent {
        let goes_on = turn.filter(|turn| {
            let pause = Span::new(turn.end_ms, span.begin_ms);
            pause.length_ms() < pause_ms && overlap_ms(pause, speaks) == 0
        });
        let now = Span::new(goes_on.map_or(span.begin_ms, |turn| turn.begin_ms), span.end_ms);
        longest = longest.max(now.length_ms());
        turn = Some(now);
    }
    longest
}

#[cfg(test)]
mod tests;
