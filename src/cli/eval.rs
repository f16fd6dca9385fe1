//! `trunkline eval` and `trunkline score`: conversations held against what was expected of them.

use std::io::IsTerminal;
use std::path::Path;

use super::args::{EvalArgs, ReportFormat, ScoreArgs};
use super::{Failure, data, say};
use crate::audio::wav;
use crate::config::{Config, Env};
use crate::eval::host::{Host, HostError, Scratch};
use crate::eval::report::{CallerReport, Report};
use crate::eval::scenario::Scenario;
use crate::eval::{self, Place};
use crate::score::Score;
use crate::softphone::api::ApiAccess;
use crate::softphone::waterfall::Color;
use crate::telemetry::chain::chain;

/// Runs a scenario. Checks that fail are exit code 1, a run that could not be made is 2.
pub(super) async fn run(args: &EvalArgs, env: &Env) -> Result<(), Failure> {
    let mut scenario = Scenario::load(&args.file)
        .map_err(|error| Failure::Usage(format!("the scenario is wrong\n{}", chain(&error))))?;
    if let Some(parallel) = args.parallel {
        scenario.parallel.0 = parallel;
    }
    eval::only(&mut scenario, &args.only).map_err(could_not)?;
    let scratch = Scratch::new().map_err(|error| could_not(HostError::Directory(error)))?;
    let recordings = args.recordings.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(recordings).map_err(|error| unwritable(recordings, &error))?;
    let mut signals = super::Signals::listen()?;
    let calling = made(&scenario, env, &scratch, recordings);
    let mut report = tokio::select! {
        report = calling => report?,
        () = signals.next() => return Err(Failure::Usage("stopped before the end".to_owned())),
    };
    if args.recordings.is_none() {
        report.callers.iter_mut().for_each(|caller| caller.recording = None);
    }
    let shown = match args.report {
        ReportFormat::Table => report.table(color(env, args.output.is_some())),
        ReportFormat::Json => report.json() + "\n",
    };
    match &args.output {
        Some(path) => std::fs::write(path, &shown).map_err(|error| unwritable(path, &error))?,
        None => data(&shown),
    }
    if report.passed {
        return Ok(());
    }
    let failed = report.totals.calls - report.totals.calls_passed;
    Err(Failure::Run(format!("{failed} of {} callers failed", report.totals.calls)))
}

/// Makes the calls, with a server of our own unless one runs already.
async fn made(
    scenario: &Scenario,
    env: &Env,
    scratch: &Scratch,
    recordings: &Path,
) -> Result<Report, Failure> {
    let told = |caller: &CallerReport| {
        say(&format!("{} {}", if caller.passed { "passed" } else { "FAILED" }, caller.name));
    };
    if let Some(target) = &scenario.target {
        let key = target.api_key.resolve(env);
        let key = key.map_err(|error| Failure::Usage(format!("target.api_key: {error}")))?;
        let api = ApiAccess { url: target.api.clone(), key };
        let place = Place { sip: target.sip.clone(), api };
        return eval::run(scenario, &place, recordings, told).await.map_err(could_not);
    }
    let mut config: Config = super::load(scenario.server.as_deref(), env)?;
    if scenario.server.is_none() {
        "warn".clone_into(&mut config.telemetry.log_filter);
    }
    super::init_log(&config, env)?;
    let host = Host::start(config, env, scratch.path()).await.map_err(could_not)?;
    for note in host.notes() {
        say(&format!("note: {note}"));
    }
    let place = Place { sip: host.sip.clone(), api: host.api.clone() };
    let report = eval::run(scenario, &place, recordings, told).await;
    host.stop().await;
    report.map_err(could_not)
}

/// Scores a recording.
pub(super) fn score(args: &ScoreArgs) -> Result<(), Failure> {
    let name = args.file.display();
    let audio = wav::read_file(&args.file)
        .map_err(|error| Failure::Usage(format!("`{name}`: failed to {}", chain(&error))))?;
    let Some(score) = eval::scored(&audio, None) else {
        return Err(Failure::Usage(format!(
            "`{name}`: one channel, expected two: the caller left, the agent right\n  \
             hint: who spoke cannot be told from a mixed recording"
        )));
    };
    match args.report {
        ReportFormat::Table => data(&table(&score)),
        ReportFormat::Json => {
            let text = serde_json::to_string_pretty(&score).unwrap_or_default();
            data(&(text + "\n"));
        }
    }
    Ok(())
}

fn table(score: &Score) -> String {
    let or_none = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
    let spread = |spread: &crate::score::Spread| {
        let of = [spread.p50_ms, spread.p95_ms, spread.max_ms].map(or_none);
        let [p50, p95, max] = of;
        format!("{} times, p50 {p50}, p95 {p95}, max {max}", spread.n)
    };
    let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1_000.0);
    let share = score.talk_over_share * 100.0;
    let rows = [
        ("duration", seconds(score.duration_ms)),
        ("greeting", or_none(score.greeting_ms)),
        ("response", spread(&score.response)),
        ("time to yield", spread(&score.time_to_yield)),
        ("talked on", format!("{} times", score.not_yielded)),
        (
            "false stops",
            format!("{}, {} with a lost sentence", score.false_interruptions.len(), score.lost()),
        ),
        ("cut in", format!("{} times", score.cut_ins)),
        ("talk-over", format!("{}, {share:.1} % of the talk", seconds(score.talk_over_ms))),
        ("caller talks", seconds(score.caller_ms)),
        ("agent talks", seconds(score.agent_ms)),
        ("longest turn", seconds(score.monologue_max_ms)),
        (
            "silence",
            format!("{}, longest {}", seconds(score.silence_ms), seconds(score.silence_max_ms)),
        ),
    ];
    rows.map(|(name, value)| format!("{name:<14} {value}\n")).concat()
}

fn color(env: &Env, is_file: bool) -> Color {
    let plain = env.get("NO_COLOR").is_some_and(|value| !value.is_empty());
    if !is_file && std::io::stdout().is_terminal() && !plain { Color::On } else { Color::Off }
}

fn could_not(error: impl std::error::Error + 'static) -> Failure {
    Failure::Usage(format!("failed to {}", chain(&error)))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("failed to write `{}`: {error}", path.display()))
}
