//! What the callers sound like: spoken text, files, coughs, and noise behind them. All of it is made
//! before the first call, so that no call waits for a voice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scenario::{Caller, Noise, NoiseKind, Scenario};
use super::steps::{Action, Sound, Step};
use crate::audio::noise::ComfortNoise;
use crate::audio::{Resampler, level, mix, wav};
use crate::providers::ProviderError;
use crate::providers::tts::local::{LocalTts, LocalTtsConfig};
use crate::providers::tts::{Tts, TtsEvent, TtsInput, TtsParams};
use crate::score::{Span, SpanRules, spans};
use crate::types::{Generation, Pcm, SampleRate};

/// The rate of everything on the line.
const RATE: SampleRate = SampleRate::HZ_8000;
/// Noise before the first word, so that its beginning is none of the word's.
const NOISE_LEAD_MS: u32 = 500;
/// Noise after the last word: longer than the agent waits for the end of a turn.
const NOISE_TAIL_MS: u32 = 1_500;
/// What is left around the words: breath and the ends of sounds are softer than what is measured.
const MARGIN_MS: u64 = 40;
/// How loud the loudest part of a caller is; voices and files differ by more than 10 dB.
const SPEECH_DBFS: f32 = -20.0;

/// Something to be played, and where in it there is sound.
#[derive(Clone, Debug)]
pub struct Clip {
    /// What goes on the line.
    pub pcm: Pcm,
    /// The caller's own sounds in it, without the noise.
    pub spans: Vec<Span>,
}

/// Why a caller has no voice.
#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    /// No program speaks here, or it failed.
    #[error("speak \"{text}\": {error}")]
    Voice {
        /// What was to be said.
        text: String,
        /// Why not.
        error: ProviderError,
    },
    /// A file can't be read.
    #[error("read `{}`", path.display())]
    Wav {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: wav::WavError,
    },
    /// It holds nothing that can be heard.
    #[error("play {0}: nothing in it is audible")]
    Silent(String),
    /// It can't be brought to the rate of the line.
    #[error("convert {0} to the rate of the line")]
    Rate(String),
}

/// Makes clips, each only once.
#[derive(Default)]
pub struct Voices {
    made: BTreeMap<String, Pcm>,
    engine: Option<LocalTts>,
}

impl Voices {
    /// The clips of a caller, one for each step that is heard.
    ///
    /// # Errors
    /// When one can't be made.
    pub async fn clips(
        &mut self,
        scenario: &Scenario,
        caller: &Caller,
    ) -> Result<Vec<Option<Arc<Clip>>>, VoiceError> {
        let mut clips = Vec::with_capacity(caller.steps.len());
        for step in &caller.steps {
            clips.push(self.clip(scenario, caller, step).await?.map(Arc::new));
        }
        Ok(clips)
    }

    async fn clip(
        &mut self,
        scenario: &Scenario,
        caller: &Caller,
        step: &Step,
    ) -> Result<Option<Clip>, VoiceError> {
        let pcm = match step.action() {
            Ok(Action::Say(text)) => {
                let voice = scenario.voice(caller);
                self.spoken(voice, &scenario.defaults.language, &text).await?
            }
            Ok(Action::Play(path)) => read(&path).await?,
            Ok(Action::Sound(sound)) => made(sound),
            Ok(_) | Err(_) => return Ok(None),
        };
        let clean = on_line(pcm).ok_or_else(|| VoiceError::Rate(step.label()))?;
        let found = spans(&clean, RATE, &SpanRules::quiet());
        if found.is_empty() {
            return Err(VoiceError::Silent(step.label()));
        }
        Ok(Some(match &caller.noise {
            None => Clip { pcm: Pcm { rate: RATE, samples: clean }, spans: found },
            Some(noise) => noisy(clean, &found, noise).await?,
        }))
    }

    async fn spoken(&mut self, voice: &str, language: &str, text: &str) -> Result<Pcm, VoiceError> {
        let key = format!("{voice}\n{language}\n{text}");
        if let Some(pcm) = self.made.get(&key) {
            return Ok(pcm.clone());
        }
        let failed = |error| VoiceError::Voice { text: text.to_owned(), error };
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => LocalTts::detect(&LocalTtsConfig::default()).map_err(failed)?,
        };
        let made = speak(&engine, voice, language, text).await.map_err(failed);
        self.engine = Some(engine);
        let mut pcm = made?;
        trim(&mut pcm);
        even(&mut pcm);
        self.made.insert(key, pcm.clone());
        Ok(pcm)
    }
}

async fn speak(
    engine: &LocalTts,
    voice: &str,
    language: &str,
    text: &str,
) -> Result<Pcm, ProviderError> {
    let (language, voice) = (language.to_owned(), voice.to_owned());
    let mut session = engine.open(TtsParams { language, voice, speed: 1.0 }).await?;
    let generation = Generation::default();
    let say = TtsInput::Say { generation, seq: 0, text: text.to_owned().into() };
    let mut spoken = Pcm { rate: RATE, samples: Vec::new() };
    if session.input.send(say).await.is_ok() {
        // The program has a limit of its own.
        while let Some(event) = session.events.recv().await {
            match event {
                TtsEvent::Audio { pcm, .. } => {
                    spoken.rate = pcm.rate;
                    spoken.samples.extend(pcm.samples);
                }
                TtsEvent::Done { .. } => break,
                TtsEvent::Failed { error, .. } => return Err(error),
                TtsEvent::Alignment { .. } => {}
            }
        }
    }
    Ok(spoken)
}

async fn read(path: &Path) -> Result<Pcm, VoiceError> {
    let own = path.to_owned();
    let failed = |source| VoiceError::Wav { path: path.to_owned(), source };
    match tokio::task::spawn_blocking(move || wav::read_mono(&own)).await {
        Ok(read) => read.map_err(failed),
        Err(error) => Err(failed(wav::WavError::Io(std::io::Error::other(error)))),
    }
}

/// Takes the silence off both ends: a pause is as long as the scenario says, and an interruption as early.
fn trim(pcm: &mut Pcm) {
    let found = spans(&pcm.samples, pcm.rate, &SpanRules::quiet());
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return };
    let samples = |ms: u64| pcm.rate.samples_in(std::time::Duration::from_millis(ms)) as usize;
    let from = samples(first.begin_ms.saturating_sub(MARGIN_MS));
    let to = samples(last.end_ms + MARGIN_MS);
    pcm.samples.truncate(to);
    pcm.samples.drain(..from.min(pcm.samples.len()));
}

/// Brings every voice to one loudness.
fn even(pcm: &mut Pcm) {
    let loud = active_dbfs(&pcm.samples, pcm.rate);
    if loud > level::FLOOR_DBFS {
        mix::gain(&mut pcm.samples, SPEECH_DBFS - loud);
    }
}

/// Loudness of the part that is speech.
fn active_dbfs(samples: &[i16], rate: SampleRate) -> f32 {
    let frame = rate.samples_in_ms(20).max(1);
    let powers: Vec<f32> = samples
        .chunks(frame)
        .map(level::mean_square)
        .filter(|power| level::power_dbfs(*power) > SpanRules::default().level_min_dbfs)
        .collect();
    if powers.is_empty() {
        return level::FLOOR_DBFS;
    }
    level::power_dbfs(powers.iter().sum::<f32>() / powers.len() as f32)
}

fn on_line(pcm: Pcm) -> Option<Vec<i16>> {
    if pcm.rate == RATE {
        return Some(pcm.samples);
    }
    let mut resampler = Resampler::new(pcm.rate, RATE).ok()?;
    let delay = resampler.delay();
    let mut samples = Vec::new();
    resampler.push(&pcm.samples, &mut samples);
    resampler.finish(&mut samples);
    samples.drain(..delay.min(samples.len()));
    Some(samples)
}

/// A sound from a fixed sequence: every run hears the same.
fn made(sound: Sound) -> Pcm {
    // Bursts: begin, length, loudness.
    let bursts: &[(u32, u32, f32)] = match sound {
        Sound::Cough => &[(0, 140, -18.0), (190, 130, -22.0)],
        Sound::Bang => &[(0, 120, -14.0)],
        Sound::Rumble => &[(0, 1_500, -30.0)],
    };
    let length = bursts.iter().map(|(begin, lasts, _)| begin + lasts).max().unwrap_or(0);
    let mut samples = vec![0; RATE.samples_in_ms(length)];
    for (begin, lasts, dbfs) in bursts {
        let mut burst = vec![0; RATE.samples_in_ms(*lasts)];
        ComfortNoise::new(*dbfs, 11).fill(&mut burst);
        if sound == Sound::Rumble {
            burst = pink(burst);
        } else {
            mix::ramp(&mut burst, 1.0, 0.1);
        }
        for (to, from) in samples.iter_mut().skip(RATE.samples_in_ms(*begin)).zip(burst) {
            *to = from;
        }
    }
    Pcm { rate: RATE, samples }
}

/// White noise made louder below, at its own loudness: Kellet's filter of three poles.
fn pink(white: Vec<i16>) -> Vec<i16> {
    let wanted = level::rms_dbfs(&white);
    let (mut a, mut b, mut c) = (0.0_f32, 0.0_f32, 0.0_f32);
    let mut samples: Vec<i16> = white
        .into_iter()
        .map(|sample| {
            let sample = f32::from(sample);
            a = 0.997_65 * a + sample * 0.099_046;
            b = 0.963 * b + sample * 0.296_516_4;
            c = 0.57 * c + sample * 1.052_691_3;
            ((a + b + c + sample * 0.184_8) * 0.25) as i16
        })
        .collect();
    let got = level::rms_dbfs(&samples);
    mix::gain(&mut samples, wanted - got);
    samples
}

/// Puts noise behind a clip, from before its first word until after its last.
async fn noisy(clean: Vec<i16>, found: &[Span], noise: &Noise) -> Result<Clip, VoiceError> {
    let (lead, tail) = (RATE.samples_in_ms(NOISE_LEAD_MS), RATE.samples_in_ms(NOISE_TAIL_MS));
    let mut padded = vec![0; lead];
    padded.extend_from_slice(&clean);
    padded.resize(lead + clean.len() + tail, 0);
    let wanted = active_dbfs(&clean, RATE) - noise.snr_db;
    let mut behind = vec![0; padded.len()];
    ComfortNoise::new(wanted, 23).fill(&mut behind);
    match (noise.kind, &noise.file) {
        (NoiseKind::White, _) | (NoiseKind::File, None) => {}
        (NoiseKind::Pink, _) => behind = pink(behind),
        (NoiseKind::File, Some(path)) => {
            let rate = || VoiceError::Rate(path.display().to_string());
            let mut file = on_line(read(path).await?).ok_or_else(rate)?;
            let loud = level::rms_dbfs(&file);
            if loud <= level::FLOOR_DBFS {
                return Err(VoiceError::Silent(path.display().to_string()));
            }
            mix::gain(&mut file, wanted - loud);
            behind = file.into_iter().cycle().take(padded.len()).collect();
        }
    }
    let mut samples = padded;
    mix::mix(&mut samples, &behind);
    let later = u64::from(NOISE_LEAD_MS);
    let spans =
        found.iter().map(|span| Span::new(span.begin_ms + later, span.end_ms + later)).collect();
    Ok(Clip { pcm: Pcm { rate: RATE, samples }, spans })
}

#[cfg(test)]
mod tests;
