//! The end of a turn on a corpus of spoken turns: how often the caller is cut off, and how long they wait,
//! beside a timer that knows only silence.
//!
//! The speech is espeak-ng's, the pauses are cut to length, the noise is a telephone's. Voice activity
//! and turn-taking are the server's own, in virtual time. The recogniser is a script: it knows the words
//! of every stretch of speech, gives them 100 ms after it is told to finalize, and puts a full stop where
//! the sentence ends, and in every third pause where it does not, as recognisers do that are told to
//! finish.

use std::collections::{BTreeMap, VecDeque};
use std::process::Command;
use std::time::{Duration, Instant};

use trunkline::audio::noise::ComfortNoise;
use trunkline::audio::resample::Resampler;
use trunkline::audio::vad::{SpeechDetector, VadConfig, VadEvent};
use trunkline::audio::{level, wav};
use trunkline::net::clock;
use trunkline::turn::config::EndpointingMode;
use trunkline::turn::{Input, Machine, Output, TurnConfig};
use trunkline::types::{Generation, Pii, SampleRate};

use crate::support::{fixture, has_program};

/// From the order to finalize to the words: what the fastest recognisers of the field take.
const FINAL_AFTER: Duration = Duration::from_millis(100);
const FRAME: usize = 160;
/// Level of the speech.
const SPEECH_DBFS: f32 = -20.0;

/// One caller's turn.
struct Turn {
    language: String,
    kind: String,
    question: String,
    /// What is said between the pauses, and how long each pause after it is.
    parts: Vec<(String, u64)>,
}

fn corpus() -> Vec<Turn> {
    let text = std::fs::read_to_string(fixture("endpointing/corpus.txt")).expect("the corpus");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let turn = |line: &str| {
        let fields: Vec<_> = line.split('|').map(str::trim).collect();
        let [language, kind, question, said] = fields.as_slice() else { panic!("{line}") };
        let mut parts = Vec::new();
        for piece in said.split('<') {
            let (pause, words) = match piece.split_once('>') {
                Some((pause, words)) => (pause.parse().expect("a pause"), words),
                None => (0, piece),
            };
            if let Some((_, after)) = parts.last_mut() {
                *after = pause;
            }
            parts.push((words.trim().to_owned(), 0));
        }
        Turn {
            language: (*language).to_owned(),
            kind: (*kind).to_owned(),
            question: (*question).to_owned(),
            parts,
        }
    };
    lines.map(turn).collect()
}

/// Words as they sound, 8 kHz, without silence at either end.
pub(crate) fn speak(language: &str, words: &str) -> Vec<i16> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut espeak = Command::new("espeak-ng");
    espeak.args(["-v", language, "-s", "165", "-w"]).arg(file.path()).arg(words);
    assert!(espeak.status().expect("espeak-ng runs").success());
    let pcm = wav::read_mono(file.path()).expect("a WAV");
    let mut samples = Vec::new();
    let mut resampler = Resampler::new(pcm.rate, SampleRate::HZ_8000).expect("a rate");
    resampler.push(&pcm.samples, &mut samples);
    resampler.finish(&mut samples);
    let loud = |sample: &i16| sample.unsigned_abs() > 300;
    let from = samples.iter().position(loud).unwrap_or(0);
    let to = samples.iter().rposition(loud).unwrap_or(0);
    let mut samples = samples[from..to].to_vec();
    let gain = 10_f32.powf((SPEECH_DBFS - level::rms_dbfs(&samples)) / 20.0);
    samples.iter_mut().for_each(|sample| *sample = (f32::from(*sample) * gain) as i16);
    samples
}

/// A turn as it comes over the line, and where each of its parts ends, in samples.
struct Spoken {
    samples: Vec<i16>,
    ends: Vec<usize>,
}

fn render(turn: &Turn, snr_db: f32, seed: u32) -> Spoken {
    let mut samples = vec![0; 8 * 1_000];
    let mut ends = Vec::new();
    for (words, pause) in &turn.parts {
        samples.extend(speak(&turn.language, words));
        ends.push(samples.len());
        samples.resize(samples.len() + 8 * *pause as usize, 0);
    }
    samples.resize(samples.len() + 8 * 4_000, 0);
    let mut noise = vec![0; samples.len()];
    ComfortNoise::new(SPEECH_DBFS - snr_db, seed).fill(&mut noise);
    // A telephone passes little below 300 Hz and above 3,400: neighbours are averaged, slow waves taken out.
    let (mut before, mut slow) = (0.0, 0.0);
    for (sample, noise) in samples.iter_mut().zip(noise) {
        let noise = f32::from(noise);
        let soft = 0.5 * (noise + before);
        before = noise;
        slow += 0.05 * (soft - slow);
        *sample = sample.saturating_add((1.4 * (soft - slow)) as i16);
    }
    Spoken { samples, ends }
}

/// What the recogniser makes of the first `parts` parts.
fn transcript(turn: &Turn, parts: std::ops::Range<usize>, seed: usize) -> String {
    let last = turn.parts.len() - 1;
    let word = |part: usize| {
        let words = &turn.parts[part].0;
        let bare = words.trim_end_matches(['.', ',', '?']);
        match part == last {
            true => words.clone(),
            false if (seed + part) % 3 == 2 => format!("{bare}."),
            false => bare.to_owned(),
        }
    };
    parts.map(word).collect::<Vec<_>>().join(" ")
}

/// The call of one turn: the agent asks, the caller speaks. When the reply was decided, in ms after the
/// caller's last sound; negative: they were cut off.
fn run(turn: &Turn, spoken: &Spoken, mode: EndpointingMode, seed: usize) -> i64 {
    let start = clock::now();
    let mut config = TurnConfig::default();
    config.greeting.text.clone_from(&turn.question);
    config.endpointing.mode = mode;
    config.inactivity.prompt_after_ms = 0;
    let mut config = config.for_language(&turn.language);
    config.texts.fillers.clear();
    let mut machine = Machine::new(config, start);
    let mut vad = SpeechDetector::new(VadConfig::default(), SampleRate::HZ_8000).expect("settings");
    let mut line = Line { machine: &mut machine, finals: VecDeque::new(), replied: None };
    line.handle(start, Input::Answered);
    let generation = Generation(1);
    line.handle(start, Input::TtsAudio { generation, seq: 0, samples: 800, at: start });
    line.handle(start, Input::TtsDone { generation, seq: 0 });
    line.handle(start, Input::FirstAudible { generation, at: start });
    line.handle(start, Input::Played { generation, samples: 800, finished: true });
    let (mut told, mut at) = (0, start);
    for (n, frame) in spoken.samples.chunks_exact(FRAME).enumerate() {
        at = start + Duration::from_millis(20 * (n as u64 + 1));
        line.until(at);
        let input = match vad.push(at, frame) {
            Some(VadEvent::Started { onset }) => Input::SpeechStarted { onset },
            Some(VadEvent::Ended { last_voiced }) => Input::SpeechEnded { last_voiced },
            None => continue,
        };
        line.handle(at, input);
        // What was said until now is what the recogniser has; a part that began but did not end is not.
        let said = spoken.ends.iter().filter(|end| **end <= n * FRAME).count();
        if line.finalize(at) {
            let words = transcript(turn, told..said.max(told), seed);
            told = said.max(told);
            line.finals.back_mut().expect("a finalize").2 = words;
        }
    }
    line.until(at);
    let end = spoken.ends.last().expect("an end") / 8;
    let replied = line.replied.expect("a reply").saturating_duration_since(start).as_millis();
    replied as i64 - end as i64
}

/// The machine with a recogniser's answers on their way.
struct Line<'a> {
    machine: &'a mut Machine,
    /// When, for which order, and what.
    finals: VecDeque<(Instant, u32, String)>,
    replied: Option<Instant>,
}

impl Line<'_> {
    fn handle(&mut self, now: Instant, input: Input) {
        self.machine.handle(now, input);
        while let Some(output) = self.machine.poll() {
            match output {
                Output::FinalizeStt { id } => {
                    self.finals.push_back((now + FINAL_AFTER, id, String::new()));
                }
                Output::StartReply { draft: false, .. } | Output::CommitReply { .. } => {
                    self.replied.get_or_insert(now);
                }
                _ => {}
            }
        }
    }

    /// Whether the recogniser was told to finalize at this moment.
    fn finalize(&self, now: Instant) -> bool {
        self.finals.back().is_some_and(|(due, ..)| *due == now + FINAL_AFTER)
    }

    /// Timers and answers up to a moment.
    fn until(&mut self, to: Instant) {
        loop {
            let answer = self.finals.front().map(|(due, ..)| *due);
            let timer = self.machine.next_wake();
            match [answer, timer].into_iter().flatten().min() {
                Some(due) if due <= to && Some(due) == answer => {
                    let Some((due, id, text)) = self.finals.pop_front() else { return };
                    let understood = !text.is_empty();
                    let (text, answers) = (Pii::new(text), Some(id));
                    let confidence = None;
                    let at = due;
                    self.handle(due, Input::SttFinal { text, confidence, answers, understood, at });
                }
                Some(due) if due <= to => self.handle(due, Input::Timeout),
                Some(_) | None => return,
            }
        }
    }
}

/// Cut-offs, and the delays of those who were not cut off.
#[derive(Default)]
struct Score {
    turns: usize,
    cut_off: usize,
    delays: Vec<i64>,
}

impl Score {
    fn add(&mut self, delay: i64) {
        self.turns += 1;
        // A reply that is decided before the caller's last sound cuts them off.
        if delay < 0 { self.cut_off += 1 } else { self.delays.push(delay) }
    }

    fn rate(&self) -> f64 {
        100.0 * self.cut_off as f64 / self.turns as f64
    }

    fn mean(&self) -> f64 {
        self.delays.iter().sum::<i64>() as f64 / self.delays.len().max(1) as f64
    }

    fn row(&mut self, name: &str) -> String {
        self.delays.sort_unstable();
        let at =
            |share: usize| self.delays.get(self.delays.len() * share / 100).copied().unwrap_or(0);
        let (rate, mean, p50, p90) = (self.rate(), self.mean(), at(50), at(90));
        let turns = self.turns;
        format!("{name:<28} {turns:>6} {rate:>10.1} % {mean:>9.0} {p50:>6} {p90:>6}")
    }
}

#[test]
fn fewer_callers_are_cut_off_and_they_wait_less_than_with_a_timer() {
    if !has_program("espeak-ng") {
        return;
    }
    let turns = corpus();
    assert!(turns.len() >= 60, "{}", turns.len());
    let mut scores: BTreeMap<(String, &str), Score> = BTreeMap::new();
    for (n, turn) in turns.iter().enumerate() {
        for snr_db in [20.0, 10.0] {
            let spoken = render(turn, snr_db, n as u32 + 7);
            for (mode, name) in
                [(EndpointingMode::Vad, "timer"), (EndpointingMode::Hybrid, "hybrid")]
            {
                let delay = run(turn, &spoken, mode, n);
                for group in [
                    "all".to_owned(),
                    turn.kind.clone(),
                    turn.language.clone(),
                    format!("{snr_db} dB"),
                ] {
                    scores.entry((group, name)).or_default().add(delay);
                }
            }
        }
    }
    eprintln!(
        "{:<28} {:>6} {:>12} {:>9} {:>6} {:>6}",
        "", "turns", "cut off", "delay ms", "p50", "p90"
    );
    for ((group, name), score) in &mut scores {
        eprintln!("{}", score.row(&format!("{group}, {name}")));
    }
    let of = |name| &scores[&("all".to_owned(), name)];
    let (timer, hybrid) = (of("timer"), of("hybrid"));
    assert!(hybrid.rate() < timer.rate(), "{} against {} %", hybrid.rate(), timer.rate());
    assert!(hybrid.mean() < timer.mean(), "{} against {} ms", hybrid.mean(), timer.mean());
}
