//! Whether what came of a call is what must have come of it. Pure: evidence in, verdicts out.

use serde::Serialize;
use serde_json::Value;

use super::caller::Take;
use super::pattern::Pattern;
use super::scenario::{Expect, ExpectedTool, Timing};
use crate::score::Score;
use crate::softphone::api::{ServerCall, ServerTool};

/// The bound that an interruption without yielding breaks, whatever it says.
const YIELD: &str = "timing.yield_max_ms";

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at: the key of the scenario file.
    pub check: String,
    /// What must hold.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// Whether it holds.
    pub passed: bool,
}

/// What is known of a call.
pub struct Evidence<'a> {
    /// What the caller did.
    pub take: &'a Take,
    /// What the server recorded, or why there is none.
    pub record: Result<&'a ServerCall, &'a str>,
    /// How the conversation went by ear.
    pub score: Option<&'a Score>,
}

impl Expect {
    /// These expectations over the defaults: lists are joined, single values win. Bounds on time stay
    /// apart, as a bound of the caller's own says that there is something to measure.
    fn over(&self, defaults: &Self) -> Self {
        let lists = |own: &[String], other: &[String]| [other, own].concat();
        let mut both = self.clone();
        both.said = lists(&self.said, &defaults.said);
        both.not_said = lists(&self.not_said, &defaults.not_said);
        both.heard = lists(&self.heard, &defaults.heard);
        both.not_heard = lists(&self.not_heard, &defaults.not_heard);
        both.tools = self.tools.clone().or_else(|| defaults.tools.clone());
        for (name, value) in &defaults.variables {
            both.variables.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let or = |own: &mut Option<String>, other: &Option<String>| {
            *own = own.take().or_else(|| other.clone());
        };
        let (own, other) = (&mut both.outcome, &defaults.outcome);
        or(&mut own.status, &other.status);
        or(&mut own.end_reason, &other.end_reason);
        or(&mut own.ended_by, &other.ended_by);
        or(&mut own.answered_by, &other.answered_by);
        or(&mut own.outcome, &other.outcome);
        let (own, other) = (&mut both.interruptions, &defaults.interruptions);
        own.count = own.count.or(other.count);
        own.false_max = own.false_max.or(other.false_max);
        own.lost_max = own.lost_max.or(other.lost_max);
        own.cut_ins_max = own.cut_ins_max.or(other.cut_ins_max);
        both
    }
}

/// Every verdict, in the order of the file's reference. A bound of a caller's own fails where there was
/// nothing to measure; one of the defaults is then not looked at.
pub fn check(own: &Expect, defaults: &Expect, evidence: &Evidence<'_>) -> Vec<Check> {
    let expect = &own.over(defaults);
    let mut checks = vec![script(evidence.take)];
    match evidence.record {
        Ok(record) => of_record(expect, record, &mut checks),
        Err(why) => checks.push(Check {
            check: "record".to_owned(),
            expected: "the server's record of the call".to_owned(),
            found: why.to_owned(),
            passed: false,
        }),
    }
    of_score(expect, &defaults.timing, evidence.score, &mut checks);
    checks
}

fn script(take: &Take) -> Check {
    Check {
        check: "steps".to_owned(),
        expected: "done to the last".to_owned(),
        found: take.trouble.clone().unwrap_or_else(|| format!("{} done", take.done.len())),
        passed: take.trouble.is_none(),
    }
}

fn of_record(expect: &Expect, record: &ServerCall, checks: &mut Vec<Check>) {
    let turns = |role: &str| -> Vec<&str> {
        let of = record.transcript.iter().filter(|turn| turn.role == role);
        of.map(|turn| turn.spoken_content.as_deref().unwrap_or(&turn.content)).collect()
    };
    let (agent, caller) = (turns("assistant"), turns("user"));
    let mut phrases = |name: &str, wanted: &[String], turns: &[&str], must: bool| {
        for phrase in wanted {
            let Ok(parsed) = Pattern::parse(phrase) else { continue };
            let holds = turns.iter().any(|text| parsed.is_in(text));
            checks.push(Check {
                check: name.to_owned(),
                expected: if must { phrase.clone() } else { format!("never: {phrase}") },
                found: turns.join(" | "),
                passed: holds == must,
            });
        }
    };
    phrases("said", &expect.said, &agent, true);
    phrases("not_said", &expect.not_said, &agent, false);
    phrases("heard", &expect.heard, &caller, true);
    phrases("not_heard", &expect.not_heard, &caller, false);
    if let Some(wanted) = &expect.tools {
        let called: Vec<&ServerTool> =
            record.transcript.iter().filter_map(|turn| turn.tool.as_ref()).collect();
        tools(wanted, &called, checks);
    }
    for (name, value) in &expect.variables {
        let found = record.variables_extracted.get(name);
        checks.push(Check {
            check: format!("variables.{name}"),
            expected: value.clone(),
            found: found.cloned().unwrap_or_else(|| "nothing".to_owned()),
            passed: found == Some(value),
        });
    }
    let outcome = &expect.outcome;
    for (name, wanted, found) in [
        ("status", &outcome.status, &Some(record.status.clone())),
        ("end_reason", &outcome.end_reason, &record.end_reason),
        ("ended_by", &outcome.ended_by, &record.ended_by),
        ("answered_by", &outcome.answered_by, &record.answered_by),
        ("outcome", &outcome.outcome, &record.outcome),
    ] {
        if let Some(wanted) = wanted {
            checks.push(Check {
                check: format!("outcome.{name}"),
                expected: wanted.clone(),
                found: found.clone().unwrap_or_else(|| "nothing".to_owned()),
                passed: found.as_ref() == Some(wanted),
            });
        }
    }
    if let Some(count) = expect.interruptions.count {
        let found = record.transcript.iter().filter(|turn| turn.interrupted).count();
        checks.push(Check {
            check: "interruptions.count".to_owned(),
            expected: count.to_string(),
            found: found.to_string(),
            passed: found == count,
        });
    }
}

fn tools(wanted: &[ExpectedTool], called: &[&ServerTool], checks: &mut Vec<Check>) {
    let show = |tool: &&ServerTool| {
        let failed = if tool.is_error { " failed" } else { "" };
        format!("{}{}{failed}", tool.name, tool.arguments)
    };
    let found = called.iter().map(show).collect::<Vec<_>>().join(", ");
    let found = if found.is_empty() { "none".to_owned() } else { found };
    let mut from = 0;
    for tool in wanted {
        let arguments = serde_json::to_value(&tool.arguments).unwrap_or_default();
        let fits = |called: &&&ServerTool| {
            called.name == tool.name
                && tool.is_error.is_none_or(|is_error| is_error == called.is_error)
                && contains(&called.arguments, &arguments)
        };
        let next = called.iter().skip(from).position(|called| fits(&called));
        let count = called.iter().filter(fits).count();
        let passed = match tool.times {
            Some(0) => count == 0,
            times => next.is_some() && times.is_none_or(|times| count == times),
        };
        if let (Some(next), true) = (next, passed) {
            from += next + 1;
        }
        let times = tool.times.map_or_else(String::new, |times| format!(" {times} times"));
        let failed = match tool.is_error {
            Some(true) => " failed",
            Some(false) => " done",
            None => "",
        };
        let arguments =
            if tool.arguments.is_empty() { String::new() } else { arguments.to_string() };
        checks.push(Check {
            check: "tools".to_owned(),
            expected: format!("{}{arguments}{failed}{times}", tool.name),
            found: found.clone(),
            passed,
        });
    }
    if wanted.is_empty() {
        checks.push(Check {
            check: "tools".to_owned(),
            expected: "none".to_owned(),
            found,
            passed: called.is_empty(),
        });
    }
}

/// Whether `whole` has everything that `part` has.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, part)| whole.get(name).is_some_and(|whole| contains(whole, part))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        // 4 and 4.0 are the same number to whoever writes a scenario.
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        (whole, part) => whole == part,
    }
}

fn of_score(expect: &Expect, defaults: &Timing, score: Option<&Score>, checks: &mut Vec<Check>) {
    let interruptions = &expect.interruptions;
    type Bound = fn(&Timing) -> Option<u64>;
    type Found = fn(&Score) -> Option<u64>;
    let rows: [(&str, Bound, Found); 8] = [
        ("timing.response_p50_ms", |t| t.response_p50_ms, |score| score.response.p50_ms),
        ("timing.response_max_ms", |t| t.response_max_ms, |score| score.response.max_ms),
        (YIELD, |t| t.yield_max_ms, |score| score.yields.iter().map(|one| one.ms).max()),
        ("timing.greeting_max_ms", |t| t.greeting_max_ms, |score| score.greeting_ms),
        ("timing.silence_max_ms", |t| t.silence_max_ms, |score| Some(score.silence_max_ms)),
        ("timing.monologue_max_ms", |t| t.monologue_max_ms, |score| Some(score.monologue_max_ms)),
        ("timing.talk_over_max_ms", |t| t.talk_over_max_ms, |score| Some(score.talk_over_ms)),
        ("timing.duration_max_ms", |t| t.duration_max_ms, |score| Some(score.duration_ms)),
    ];
    for (name, bound, found) in rows {
        let own = bound(&expect.timing);
        let found = score.and_then(found);
        let Some(bound) = own.or(bound(defaults).filter(|_| found.is_some())) else { continue };
        let talked_on = name == YIELD && score.is_some_and(|score| score.not_yielded > 0);
        checks.push(Check {
            check: name.to_owned(),
            expected: format!("at most {bound} ms"),
            found: match found {
                Some(ms) if talked_on => format!("{ms} ms, it talked on"),
                Some(ms) => format!("{ms} ms"),
                None => "it never happened".to_owned(),
            },
            passed: !talked_on && found.is_some_and(|found| found <= bound),
        });
    }
    if let Some(bound) = expect.timing.duration_min_ms.or(defaults.duration_min_ms) {
        let found = score.map(|score| score.duration_ms);
        checks.push(Check {
            check: "timing.duration_min_ms".to_owned(),
            expected: format!("at least {bound} ms"),
            found: found.map_or("no recording".to_owned(), |ms| format!("{ms} ms")),
            passed: found.is_some_and(|found| found >= bound),
        });
    }
    let counts: [(&str, Option<usize>, Option<usize>); 3] = [
        (
            "interruptions.false_max",
            interruptions.false_max,
            score.map(|score| score.false_interruptions.len()),
        ),
        ("interruptions.lost_max", interruptions.lost_max, score.map(Score::lost)),
        ("interruptions.cut_ins_max", interruptions.cut_ins_max, score.map(|score| score.cut_ins)),
    ];
    for (name, bound, found) in counts {
        let Some(bound) = bound else { continue };
        checks.push(Check {
            check: name.to_owned(),
            expected: format!("at most {bound}"),
            found: found.map_or("no recording".to_owned(), |found| found.to_string()),
            passed: found.is_some_and(|found| found <= bound),
        });
    }
}

#[cfg(test)]
mod tests;
