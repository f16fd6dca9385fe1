//! What came of a run: a table for people, and the same as JSON for machines.

use std::fmt::Write;

use serde::Serialize;

use super::caller::Done;
use super::checks::Check;
use crate::score::{Score, Spread};
use crate::softphone::api::ServerCall;
use crate::softphone::waterfall::Color;

/// Name and version of the JSON's shape: new fields may come, none goes or changes without a new number.
pub const SCHEMA: &str = "trunkline.eval/1";
/// A gap of ours and a turn of the server that begin this close together are the same reply.
const SAME_REPLY_MS: u64 = 600;
/// Longest text of what was found, in the table.
const FOUND_CHARS_MAX: usize = 160;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Title of the scenario.
    pub name: String,
    /// Whether every check of every caller holds.
    pub passed: bool,
    /// Over all callers.
    pub totals: Totals,
    /// Every call, in the order of the file.
    pub callers: Vec<CallerReport>,
}

/// Over all callers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Calls.
    pub calls: usize,
    /// Calls whose checks all hold.
    pub calls_passed: usize,
    /// Checks.
    pub checks: usize,
    /// Checks that hold.
    pub checks_passed: usize,
    /// Waits for replies.
    pub response: Spread,
    /// Times to yield.
    pub time_to_yield: Spread,
    /// Interruptions the agent did not yield to.
    pub not_yielded: usize,
    /// Silences of the agent for a sound that was no turn.
    pub false_interruptions: usize,
    /// Those after which it did not come back to what it said.
    pub lost: usize,
    /// Times the agent began while the caller still spoke.
    pub cut_ins: usize,
    /// Both talk.
    pub talk_over_ms: u64,
    /// The same as a share of the time in which anybody talks.
    pub talk_over_share: f64,
    /// Our measurement against the server's.
    pub server: Comparison,
}

/// Our measurement against the server's `total_perceived_ms`, over the replies that both have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Replies that both have.
    pub n: usize,
    /// Median of ours minus the server's.
    pub difference_p50_ms: Option<i64>,
    /// The difference that is farthest from 0.
    pub difference_max_ms: Option<i64>,
    /// Every difference, in order.
    #[serde(skip)]
    pub differences: Vec<i64>,
}

/// One call.
#[derive(Clone, Debug, Serialize)]
pub struct CallerReport {
    /// Name of the caller.
    pub name: String,
    /// Which of its calls, from 1.
    pub run: u32,
    /// Whether every check holds.
    pub passed: bool,
    /// Identifier of the call at the server.
    pub call_id: Option<String>,
    /// How it ended, in words.
    pub end: String,
    /// What the caller did, and when.
    pub steps: Vec<Done>,
    /// Verdicts.
    pub checks: Vec<Check>,
    /// How the conversation went by ear; null if nothing was recorded.
    pub score: Option<Score>,
    /// Our measurement against the server's.
    pub server: Comparison,
    /// What was said, by the server's record.
    pub transcript: Vec<Line>,
    /// Both sides as the caller heard them, if the recordings are kept.
    pub recording: Option<String>,
}

/// One turn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// `user`, `assistant`, `tool` or `system`.
    pub role: String,
    /// After the answer.
    pub at_ms: u64,
    /// What was understood, or heard of it.
    pub text: String,
    /// Whether the caller cut it off.
    pub interrupted: bool,
    /// Name of the tool.
    pub tool: Option<String>,
    /// Its arguments.
    pub arguments: Option<serde_json::Value>,
}

/// The turns of a record.
pub fn lines(record: &ServerCall) -> Vec<Line> {
    let line = |turn: &crate::softphone::api::ServerTurn| Line {
        role: turn.role.clone(),
        at_ms: turn.offset_ms,
        text: turn.spoken_content.clone().unwrap_or_else(|| turn.content.clone()),
        interrupted: turn.interrupted,
        tool: turn.tool.as_ref().map(|tool| tool.name.clone()),
        arguments: turn.tool.as_ref().map(|tool| tool.arguments.clone()),
    };
    record.transcript.iter().map(line).collect()
}

impl Comparison {
    /// Pairs our gaps with the server's turns.
    pub fn of(score: &Score, record: &ServerCall) -> Self {
        let turns: Vec<(u64, u32)> = record
            .transcript
            .iter()
            .filter_map(|turn| Some((turn.offset_ms, turn.latency.as_ref()?.total_perceived_ms?)))
            .collect();
        let differences = score.gaps.iter().filter_map(|gap| {
            let began = gap.at_ms + gap.ms;
            let (at, total) = turns.iter().min_by_key(|(at, _)| at.abs_diff(began))?;
            (at.abs_diff(began) <= SAME_REPLY_MS)
                .then(|| i64::try_from(gap.ms).unwrap_or(i64::MAX) - i64::from(*total))
        });
        Self::from_differences(differences.collect())
    }

    fn from_differences(mut differences: Vec<i64>) -> Self {
        differences.sort_unstable();
        Self {
            n: differences.len(),
            difference_p50_ms: differences.get(differences.len() / 2).copied(),
            difference_max_ms: differences.iter().max_by_key(|ms| ms.unsigned_abs()).copied(),
            differences,
        }
    }
}

impl Report {
    /// Puts the calls together.
    pub fn new(name: String, callers: Vec<CallerReport>) -> Self {
        let scores = || callers.iter().filter_map(|caller| caller.score.as_ref());
        let checks = || callers.iter().flat_map(|caller| &caller.checks);
        let talk_over_ms: u64 = scores().map(|score| score.talk_over_ms).sum();
        let talked: u64 = scores()
            .map(|score| (score.caller_ms + score.agent_ms).saturating_sub(score.talk_over_ms))
            .sum();
        let differences = callers.iter().flat_map(|caller| caller.server.differences.clone());
        let totals = Totals {
            calls: callers.len(),
            calls_passed: callers.iter().filter(|caller| caller.passed).count(),
            checks: checks().count(),
            checks_passed: checks().filter(|check| check.passed).count(),
            response: Spread::of(scores().flat_map(|score| &score.gaps).map(|gap| gap.ms)),
            time_to_yield: Spread::of(
                scores()
                    .flat_map(|score| &score.yields)
                    .filter(|one| one.did_yield)
                    .map(|one| one.ms),
            ),
            not_yielded: scores().map(|score| score.not_yielded).sum(),
            false_interruptions: scores().map(|score| score.false_interruptions.len()).sum(),
            lost: scores().map(Score::lost).sum(),
            cut_ins: scores().map(|score| score.cut_ins).sum(),
            talk_over_ms,
            talk_over_share: if talked == 0 { 0.0 } else { talk_over_ms as f64 / talked as f64 },
            server: Comparison::from_differences(differences.collect()),
        };
        let passed = callers.iter().all(|caller| caller.passed);
        Self { schema: SCHEMA, name, passed, totals, callers }
    }

    /// For machines.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// For people.
    pub fn table(&self, color: Color) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, &Paint { color });
        out
    }

    fn write(&self, out: &mut String, paint: &Paint) -> std::fmt::Result {
        let titles = self.callers.iter().map(CallerReport::title);
        let width = titles.map(|title| title.chars().count()).max().unwrap_or(0).max(6);
        let name = if self.name.is_empty() { "eval" } else { &self.name };
        writeln!(out, "{}", paint.bold(name))?;
        let head = format!(
            "  {:width$}  checks  replies   p50 ms   max ms  yield ms  false  over s  call s",
            "caller"
        );
        writeln!(out, "{}", paint.dim(&head))?;
        for caller in &self.callers {
            caller.row(out, paint, width)?;
        }
        writeln!(out)?;
        self.sums(out, paint)
    }

    fn sums(&self, out: &mut String, paint: &Paint) -> std::fmt::Result {
        let totals = &self.totals;
        let verdict = format!(
            "{} of {} callers passed, {} of {} checks",
            totals.calls_passed, totals.calls, totals.checks_passed, totals.checks
        );
        writeln!(out, "{}", paint.verdict(self.passed, &verdict))?;
        let spread = |out: &mut String, name: &str, spread: &Spread, rest: String| match spread {
            Spread { n, p50_ms: Some(p50), p95_ms: Some(p95), max_ms: Some(max) } => {
                writeln!(out, "{name:<16} p50 {p50} ms, p95 {p95} ms, max {max} ms over {n}{rest}")
            }
            _ => writeln!(out, "{name:<16} none was measured{rest}"),
        };
        spread(out, "response", &totals.response, String::new())?;
        let rest = match totals.not_yielded {
            0 => String::new(),
            n => format!("; talked on {n} times"),
        };
        spread(out, "time to yield", &totals.time_to_yield, rest)?;
        writeln!(
            out,
            "{:<16} {}, {} of them with a lost sentence; cut in {} times",
            "false stops", totals.false_interruptions, totals.lost, totals.cut_ins
        )?;
        writeln!(
            out,
            "{:<16} {:.1} s, {:.1} % of the talk",
            "talk-over",
            totals.talk_over_ms as f64 / 1_000.0,
            totals.talk_over_share * 100.0
        )?;
        if let (Some(p50), Some(max)) =
            (totals.server.difference_p50_ms, totals.server.difference_max_ms)
        {
            writeln!(
                out,
                "{:<16} by ear {p50:+} ms (p50), {max:+} ms (farthest) against `total_perceived_ms`, over {}",
                "server's figures", totals.server.n
            )?;
        }
        Ok(())
    }
}

impl CallerReport {
    fn title(&self) -> String {
        if self.run > 1 { format!("{} #{}", self.name, self.run) } else { self.name.clone() }
    }

    fn row(&self, out: &mut String, paint: &Paint, width: usize) -> std::fmt::Result {
        let or_none = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let passed = self.checks.iter().filter(|check| check.passed).count();
        let score = self.score.clone().unwrap_or_default();
        let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1_000.0);
        let yields = match score.not_yielded {
            0 => or_none(score.time_to_yield.max_ms),
            _ => "never".to_owned(),
        };
        writeln!(
            out,
            "{} {:width$}  {:>6}  {:>7}  {:>7}  {:>7}  {:>8}  {:>5}  {:>6}  {:>6}",
            paint.mark(self.passed),
            plain(&self.title()),
            format!("{passed}/{}", self.checks.len()),
            score.response.n,
            or_none(score.response.p50_ms),
            or_none(score.response.max_ms),
            yields,
            score.false_interruptions.len(),
            seconds(score.talk_over_ms),
            seconds(score.duration_ms),
        )?;
        for check in self.checks.iter().filter(|check| !check.passed) {
            let name = paint.verdict(false, &check.check);
            writeln!(out, "      {name}: expected {}", plain(&check.expected))?;
            writeln!(
                out,
                "      {:indent$}  found {}",
                "",
                short(&check.found),
                indent = check.check.len()
            )?;
        }
        if let (false, Some(recording)) = (self.passed, &self.recording) {
            writeln!(out, "      recording: {recording}")?;
        }
        Ok(())
    }
}

/// Text of the network must not command the terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn short(text: &str) -> String {
    let text = plain(text);
    if text.chars().count() <= FOUND_CHARS_MAX {
        return text;
    }
    let kept: String = text.chars().take(FOUND_CHARS_MAX).collect();
    format!("{kept} …")
}

struct Paint {
    color: Color,
}

impl Paint {
    fn code(&self, code: &str, text: &str) -> String {
        match self.color {
            Color::On => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Color::Off => text.to_owned(),
        }
    }

    fn bold(&self, text: &str) -> String {
        self.code("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.code("2", text)
    }

    fn verdict(&self, passed: bool, text: &str) -> String {
        self.code(if passed { "32" } else { "31" }, text)
    }

    fn mark(&self, passed: bool) -> String {
        self.verdict(passed, if passed { "✓" } else { "✗" })
    }
}

#[cfg(test)]
mod tests;
