//! Whether what came of a call is what must have come of it. Pure: evidence in, verdicts out.

use serde::Serialize;
use serde_json::Value;

use super::caller::Take;
use super::pattern::Pattern;
use super::scenario::{Expect, ExpectedTool};
use crate::score::Score;
use crate::softphone::api::{ServerCall, ServerTool};

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
    /// These expectations over the defaults: lists are joined, single values win.
    pub fn over(&self, defaults: &Self) -> Self {
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
        let (own, other) = (&mut both.timing, &defaults.timing);
        own.response_p50_ms = own.response_p50_ms.or(other.response_p50_ms);
        own.response_max_ms = own.response_max_ms.or(other.response_max_ms);
        own.yield_max_ms = own.yield_max_ms.or(other.yield_max_ms);
        own.greeting_max_ms = own.greeting_max_ms.or(other.greeting_max_ms);
        own.silence_max_ms = own.silence_max_ms.or(other.silence_max_ms);
        own.monologue_max_ms = own.monologue_max_ms.or(other.monologue_max_ms);
        own.talk_over_max_ms = own.talk_over_max_ms.or(other.talk_over_max_ms);
        own.duration_min_ms = own.duration_min_ms.or(other.duration_min_ms);
        own.duration_max_ms = own.duration_max_ms.or(other.duration_max_ms);
        let (own, other) = (&mut both.interruptions, &defaults.interruptions);
        own.count = own.count.or(other.count);
        own.false_max = own.false_max.or(other.false_max);
        own.lost_max = own.lost_max.or(other.lost_max);
        own.cut_ins_max = own.cut_ins_max.or(other.cut_ins_max);
        both
    }
}

/// Every verdict, in the order of the file's reference.
pub fn check(expect: &Expect, evidence: &Evidence<'_>) -> Vec<Check> {
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
    of_score(expect, evidence.score, &mut checks);
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

fn of_score(expect: &Expect, score: Option<&Score>, checks: &mut Vec<Check>) {
    let (timing, interruptions) = (&expect.timing, &expect.interruptions);
    // A bound on what never happened proves nothing: it is not kept.
    let spread = |spread: fn(&Score) -> Option<u64>| score.and_then(spread);
    let yielded = |score: &Score| match score.not_yielded {
        0 => score.time_to_yield.max_ms,
        _ => score.yields.iter().map(|one| one.ms).max(),
    };
    let not_yielded = score.is_some_and(|score| score.not_yielded > 0);
    let rows: [(&str, Option<u64>, Option<u64>); 8] = [
        ("timing.response_p50_ms", timing.response_p50_ms, spread(|score| score.response.p50_ms)),
        ("timing.response_max_ms", timing.response_max_ms, spread(|score| score.response.max_ms)),
        ("timing.yield_max_ms", timing.yield_max_ms, spread(yielded)),
        ("timing.greeting_max_ms", timing.greeting_max_ms, spread(|score| score.greeting_ms)),
        ("timing.silence_max_ms", timing.silence_max_ms, spread(|s| Some(s.silence_max_ms))),
        ("timing.monologue_max_ms", timing.monologue_max_ms, spread(|s| Some(s.monologue_max_ms))),
        ("timing.talk_over_max_ms", timing.talk_over_max_ms, spread(|s| Some(s.talk_over_ms))),
        ("timing.duration_max_ms", timing.duration_max_ms, spread(|s| Some(s.duration_ms))),
    ];
    for (name, bound, found) in rows {
        let Some(bound) = bound else { continue };
        let failed = name == "timing.yield_max_ms" && not_yielded;
        checks.push(Check {
            check: name.to_owned(),
            expected: format!("at most {bound} ms"),
            found: match found {
                Some(ms) if failed => format!("{ms} ms, it talked on"),
                Some(ms) => format!("{ms} ms"),
                None => "it never happened".to_owned(),
            },
            passed: !failed && found.is_some_and(|found| found <= bound),
        });
    }
    if let Some(bound) = timing.duration_min_ms {
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
