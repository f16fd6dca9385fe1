//! Test a conversation: scripted and recorded callers call an agent over SIP and RTP, and what came of
//! each call is held against what must have come of it.
//!
//! Words, tool calls and the outcome are those of the server's record, asked over its API. Timing is
//! what the caller heard: [`mod@crate::score`] over a stereo recording made at the caller's end. Nothing
//! in the agent knows that it is tested. [`scenario`] is the file, [`steps`] what a caller may do,
//! [`caller`] does it, [`checks`] judges, [`report`] tells. Start reading at [`run`].

pub mod caller;
pub mod checks;
pub mod host;
pub mod pattern;
pub mod report;
pub mod scenario;
pub mod steps;
pub mod voice;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use crate::audio::wav::{self, WavAudio, WavError};
use crate::score::{Rules, Score, SpanRules, Utterance, guess, score, spans};
use crate::softphone::api::{Api, ApiAccess, ApiError, ServerCall};
use crate::softphone::phone::{Phone, PhoneConfig, StartError};
use crate::telemetry::chain::chain;

use caller::{Part, Take};
use checks::{Evidence, check};
use report::{CallerReport, Comparison, Report, lines};
use scenario::{Caller, Scenario};
use voice::{VoiceError, Voices};

/// A server closes its record within this time after the end of a call.
const RECORD_LIMIT: Duration = Duration::from_secs(5);

/// Where the agent is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Host and port of its SIP.
    pub sip: String,
    /// Its API.
    pub api: ApiAccess,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The callers have no telephone.
    #[error("start the callers' telephone")]
    Phone(#[from] StartError),
    /// A caller has no voice.
    #[error("make the voice of caller \"{caller}\"")]
    Voice {
        /// Whose.
        caller: String,
        /// Why not.
        #[source]
        source: VoiceError,
    },
    /// The API's client can't be made.
    #[error("prepare the API's client")]
    Api(#[from] ApiError),
    /// No caller has a name that was asked for.
    #[error("find a caller named like \"{0}\"; the file has: {1}")]
    Nobody(String, String),
}

/// Keeps the callers whose names hold one of these words; all, if there are none.
///
/// # Errors
/// When a word fits nobody.
pub fn only(scenario: &mut Scenario, words: &[String]) -> Result<(), EvalError> {
    let fits =
        |caller: &Caller, word: &String| caller.name.to_lowercase().contains(&word.to_lowercase());
    for word in words {
        if !scenario.caller.iter().any(|caller| fits(caller, word)) {
            let names = scenario.caller.iter().map(|caller| format!("\"{}\"", caller.name));
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(EvalError::Nobody(word.clone(), names));
        }
    }
    if !words.is_empty() {
        scenario.caller.retain(|caller| words.iter().any(|word| fits(caller, word)));
    }
    Ok(())
}

/// Makes every call of a scenario. `recordings` is where they lie; `told` hears of each call that is over.
///
/// # Errors
/// When no call can be made at all; a call that fails is part of the report.
pub async fn run(
    scenario: &Scenario,
    place: &Place,
    recordings: &Path,
    told: impl Fn(&CallerReport),
) -> Result<Report, EvalError> {
    let phone = Phone::start(phone_config(&place.sip)).await?;
    // An API that can't be asked at all is told before the first call.
    Api::new(place.api.clone())?;
    let mut voices = Voices::default();
    let mut parts = Vec::new();
    for caller in &scenario.caller {
        let failed = |source| EvalError::Voice { caller: caller.name.clone(), source };
        let clips = voices.clips(scenario, caller).await.map_err(failed)?;
        for run in 1..=scenario.repeat(caller) {
            let part = Part {
                uri: format!("sip:{}@{}", scenario.dial(caller), place.sip),
                from: caller.from.clone().unwrap_or_else(|| "eval".to_owned()),
                steps: &caller.steps,
                clips: clips.clone(),
                limit: scenario.limit(),
                quiet: Duration::from_millis(scenario.defaults.quiet_ms.into()),
                audible_dbfs: scenario.defaults.audible_dbfs,
                recording: caller::recording(recordings, parts.len() + 1, &caller.name),
            };
            parts.push((caller, run, part));
        }
    }
    let calls = parts.iter().map(|(caller, run, part)| {
        let (phone, told) = (&phone, &told);
        async move {
            let report = one(phone, place, scenario, caller, part, *run).await;
            told(&report);
            report
        }
    });
    let callers = stream::iter(calls).buffered(scenario.parallel.0).collect().await;
    Ok(Report::new(scenario.name.clone(), callers))
}

async fn one(
    phone: &Phone,
    place: &Place,
    scenario: &Scenario,
    caller: &Caller,
    part: &Part<'_>,
    run: u32,
) -> CallerReport {
    let (take, record) = match Api::new(place.api.clone()) {
        Ok(mut api) => {
            let take = caller::call(phone, part, &mut api).await;
            let record = api.final_record(&take.identifier, RECORD_LIMIT).await;
            (take, record.map_err(|error| chain(&error)))
        }
        Err(error) => (Take::default(), Err(chain(&error))),
    };
    let score = if take.is_recorded { heard(part, &take).await } else { None };
    let evidence = Evidence {
        take: &take,
        record: record.as_ref().map_err(String::as_str),
        score: score.as_ref(),
    };
    let checks = check(&caller.expect, &scenario.defaults.expect, &evidence);
    let none = ServerCall::default();
    let known = record.as_ref().unwrap_or(&none);
    CallerReport {
        name: caller.name.clone(),
        run,
        passed: checks.iter().all(|check| check.passed),
        call_id: record.as_ref().ok().map(|record| record.id.clone()),
        end: take.end,
        steps: take.done,
        checks,
        server: score.as_ref().map(|score| Comparison::of(score, known)).unwrap_or_default(),
        score,
        transcript: lines(known),
        recording: take.is_recorded.then(|| part.recording.display().to_string()),
    }
}

/// How the conversation went by ear. What the caller said is known and need not be looked for; the
/// agent is found in what arrived.
async fn heard(part: &Part<'_>, take: &Take) -> Option<Score> {
    let (path, said) = (part.recording.clone(), take.said.clone());
    let scored = tokio::task::spawn_blocking(move || {
        let audio = wav::read_file(&path)?;
        Ok::<_, WavError>(scored(&audio, Some(&said)))
    });
    match scored.await {
        Ok(Ok(score)) => score,
        Ok(Err(error)) => {
            tracing::warn!(error = %chain(&error), "a recording cannot be read");
            None
        }
        Err(_) => None,
    }
}

/// Scores a stereo recording, caller left, agent right; `None` if it has one channel. Without `said`
/// the caller's speech is looked for as well.
pub fn scored(audio: &WavAudio, said: Option<&[Utterance]>) -> Option<Score> {
    let [left, right] = audio.channels.as_slice() else { return None };
    let rules = Rules::default();
    // A line may have noise, and an agent a sound behind it.
    let [left_spans, agent] =
        [left, right].map(|side| spans(side, audio.rate, &SpanRules::default()));
    let caller = match said {
        Some(said) => said.to_vec(),
        None => guess(&left_spans, &agent, &rules),
    };
    let length = audio.rate.duration_of(left.len() as u64);
    let duration_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Some(score(&caller, &agent, duration_ms, &rules))
}

/// Loopback stays on loopback: nothing of it is open to others.
fn phone_config(sip: &str) -> PhoneConfig {
    let is_loopback = sip.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        || sip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || sip.split(':').next() == Some("localhost");
    if is_loopback {
        return PhoneConfig::default();
    }
    PhoneConfig { bind: Ipv4Addr::UNSPECIFIED.into(), ..PhoneConfig::default() }
}

#[cfg(test)]
mod tests;
