//! What we ourselves add to a turn: a caller's packets in, scripted providers with known delays in
//! between, the agent's packets out, all in virtual time. Then the CPU time of such a turn.
//!
//! Virtual time takes no time for computing, so the table shows only what our design waits for; the
//! clock of the runtime counts whole milliseconds. The second part is what the design leaves out: how
//! long the machine computes for the frames, the machine and the providers' lines of a whole turn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench fails by panicking"
)]

#[path = "support/line.rs"]
#[expect(dead_code, reason = "not all surroundings are needed here")]
mod line;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use line::{CALLER, FRAME, Packets, format};
use tokio::runtime::{Builder, Runtime};
use trunkline::call::AgentSnapshot;
use trunkline::call::playback::Playback;
use trunkline::call::voice::{Voice, VoiceEvent, WatchdogConfig};
use trunkline::media::{
    FrameSource, MediaCommand, MediaEvent, PacketKind, PlayoutFrame, Stream, StreamIo, TapFrame,
};
use trunkline::net::clock;
use trunkline::providers::scripted::{Plan, ScriptedLlm, ScriptedStt, ScriptedTts, Step};
use trunkline::turn::config::{EndpointingMode, SpeculationMode};
use trunkline::turn::heard::Kind;
use trunkline::turn::{Input, Machine, Output, TurnConfig};
use trunkline::types::latency::Breakdown;
use trunkline::types::{AgentId, CodecName, Entropy, Generation, Pii, SampleRate};

const STT: Duration = Duration::from_millis(80);
const LLM: Duration = Duration::from_millis(300);
const LLM_GAP: Duration = Duration::from_millis(20);
const TTS: Duration = Duration::from_millis(150);
/// Pieces of the reply up to the end of its only sentence.
const PIECES: [&str; 4] = ["Your table", " is booked", " for tonight.", " "];
const TURNS: usize = 50;

/// The call's side of the stream: a short queue of audio and a list of events.
struct Surroundings {
    queue: VecDeque<PlayoutFrame>,
    events: VecDeque<MediaEvent>,
    sent: u64,
}

impl FrameSource for Surroundings {
    fn next_frame(&mut self) -> Option<PlayoutFrame> {
        self.queue.pop_front()
    }
}

impl StreamIo for Surroundings {
    fn send(&mut self, _kind: PacketKind, _to: SocketAddr, _datagram: &[u8]) -> Instant {
        self.sent += 1;
        clock::now()
    }

    fn event(&mut self, event: MediaEvent) {
        self.events.push_back(event);
    }

    fn tap(&mut self, _frame: TapFrame) {}
}

/// One call without SIP: stream, machine and providers' lines, put together as a call's task does.
struct Call {
    stream: Stream,
    io: Surroundings,
    packets: Packets,
    next_packet: Instant,
    machine: Machine,
    voice: Voice,
    playback: Playback,
    generation: Generation,
    done: u32,
    expected: Option<u32>,
    turns: Vec<Breakdown>,
}

impl Call {
    fn new() -> Self {
        let now = clock::now();
        let agent = Arc::new(agent());
        let media = trunkline::media::Config::default();
        let mut stream = Stream::new(&media, now, Duration::ZERO, &mut Entropy::seeded(1)).unwrap();
        let mut io = Surroundings { queue: VecDeque::new(), events: VecDeque::new(), sent: 0 };
        stream.handle_command(now, MediaCommand::Configure(format(CodecName::Pcmu)), &mut io);
        let mut voice = Voice::open(
            &agent,
            &WatchdogConfig::default(),
            "bench".to_owned(),
            &trunkline::call::TtsCache::off(),
            &Default::default(),
        );
        voice.set_line_rate(SampleRate::HZ_8000);
        let mut machine = Machine::new(agent.turn.clone(), now);
        machine.handle(now, Input::Answered);
        let mut script = line::noise();
        script.truncate(8_000);
        script.extend(line::speech());
        // The reply is heard, and the line learns to be quiet again.
        (0..2).for_each(|_| script.extend(line::noise()));
        Self {
            stream,
            io,
            packets: Packets::of(CodecName::Pcmu, &script),
            next_packet: now + FRAME,
            machine,
            voice,
            playback: Playback::new(SampleRate::HZ_8000),
            generation: Generation(0),
            done: 0,
            expected: None,
            turns: Vec::new(),
        }
    }

    /// Lets the call go on until the agent has answered `turns` times.
    async fn run(&mut self, turns: usize) {
        let limit = clock::now() + Duration::from_secs(20 * turns as u64);
        while self.turns.len() < turns {
            self.feed();
            let wakes = [self.machine.next_wake(), self.voice.next_wake()];
            let media = self.next_packet.min(self.stream.next_wake());
            let wake = wakes.into_iter().flatten().fold(media, Instant::min);
            tokio::select! {
                biased;
                event = self.voice.next() => self.heard(event),
                () = tokio::time::sleep_until(wake.into()) => self.timers(),
            }
            self.drain();
            assert!(clock::now() < limit, "{} turns in {turns} times 20 s", self.turns.len());
        }
    }

    fn timers(&mut self) {
        let now = clock::now();
        while self.next_packet <= now {
            let from = SocketAddr::from(CALLER);
            self.stream.handle_rtp(now, from, self.packets.next(), &mut self.io);
            self.next_packet += FRAME;
        }
        self.stream.handle_timeout(now, &mut self.io);
        self.voice.on_timeout(now);
        if self.machine.next_wake().is_some_and(|at| at <= now) {
            self.machine.handle(now, Input::Timeout);
        }
    }

    /// Moves audio into the line's queue, which holds 20 frames as the ring of a call does.
    fn feed(&mut self) {
        let silent = self.stream.is_silent();
        while self.playback.has_frame() && self.io.queue.len() < 20 {
            self.io.queue.extend(self.playback.next_frame());
        }
        if silent && !self.io.queue.is_empty() {
            self.stream.audio_waits(clock::now(), &mut self.io);
            self.drain();
        }
    }

    /// Events of the line to the machine, and what the machine wants done.
    fn drain(&mut self) {
        let now = clock::now();
        loop {
            if let Some(event) = self.io.events.pop_front() {
                if let MediaEvent::Frame { frame, .. } = &event {
                    self.voice.push(frame.samples());
                }
                if let Some(input) = of_media(event) {
                    self.machine.handle(now, input);
                }
            } else if let Some(output) = self.machine.poll() {
                self.apply(now, output);
            } else {
                return;
            }
        }
    }

    fn apply(&mut self, now: Instant, output: Output) {
        match output {
            Output::SttSpeechStarted => self.voice.speech_started(),
            Output::FinalizeStt { id } => self.voice.finalize(id),
            Output::StartReply { turn, generation, history, .. } => {
                self.voice.reply((turn, generation), history);
            }
            Output::CancelReply { turn } => self.voice.cancel(turn),
            Output::Speak { generation, seq, text, .. } => {
                self.reply(generation);
                self.voice.say((generation, seq), text, Kind::Words);
            }
            Output::EndOfSpeech { generation, sentences } => {
                self.reply(generation);
                self.expected = Some(sentences);
                self.close();
            }
            Output::StopPlayback { generation } => {
                self.voice.hush(generation);
                self.playback.stop(generation);
                let stop = MediaCommand::StopPlayback { generation };
                self.stream.handle_command(now, stop, &mut self.io);
            }
            Output::TurnEnded(turn) => self.turns.extend(turn.latency),
            Output::Hangup(reason) => panic!("the call ended: {reason:?}"),
            // Nothing is prepared and nobody talks over the agent here.
            Output::CommitReply { .. }
            | Output::YieldPlayback { .. }
            | Output::ResumePlayback { .. }
            | Output::TurnStarted { .. }
            | Output::Partial(_) => {}
        }
    }

    fn reply(&mut self, generation: Generation) {
        if self.generation != generation {
            (self.generation, self.done, self.expected) = (generation, 0, None);
        }
    }

    fn close(&mut self) {
        if self.expected.is_some_and(|expected| self.done >= expected) {
            self.playback.end(self.generation);
        }
    }

    fn heard(&mut self, event: VoiceEvent) {
        let now = clock::now();
        let input = match event {
            VoiceEvent::SttFinal { text, confidence, answers, understood, at } => {
                Input::SttFinal { text, confidence, answers, understood, at }
            }
            VoiceEvent::LlmSent(turn, at) => Input::LlmSent { turn, at },
            VoiceEvent::LlmText(turn, text, at) => Input::LlmText { turn, text, at },
            VoiceEvent::LlmDone(turn) => Input::LlmDone { turn },
            VoiceEvent::TtsAudio { generation, seq, pcm, at, .. } => {
                let samples = self.playback.push(generation, pcm).samples;
                Input::TtsAudio { generation, seq, samples, at }
            }
            VoiceEvent::TtsDone(generation, seq) => {
                self.machine.handle(now, Input::TtsDone { generation, seq });
                self.done += 1;
                return self.close();
            }
            VoiceEvent::Ready(_) => return,
            other => panic!("scripted providers do not fail: {other:?}"),
        };
        self.machine.handle(now, input);
    }
}

fn of_media(event: MediaEvent) -> Option<Input> {
    Some(match event {
        MediaEvent::SpeechStarted { onset } => Input::SpeechStarted { onset },
        MediaEvent::SpeechEnded { last_voiced } => Input::SpeechEnded { last_voiced },
        MediaEvent::FirstPacket { generation, at } => Input::FirstPacket { generation, at },
        MediaEvent::FirstAudible { generation, at } => Input::FirstAudible { generation, at },
        MediaEvent::Played { generation, samples, finished } => {
            Input::Played { generation, samples, finished }
        }
        MediaEvent::Stopped { generation, samples, at } => {
            Input::Stopped { generation, samples, at }
        }
        _ => return None,
    })
}

fn agent() -> AgentSnapshot {
    let step = |delay, gap, texts: &[&str]| Step {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        delay,
        gap,
        ..Step::default()
    };
    let mut turn = TurnConfig::default();
    // Silence alone decides, so that what is measured is not how long it waits.
    turn.endpointing.mode = EndpointingMode::Vad;
    turn.speculation.mode = SpeculationMode::Off;
    turn.greeting.text.clear();
    turn.max_duration_ms = 86_400_000;
    AgentSnapshot {
        id: AgentId("bench".to_owned()),
        name: "bench".to_owned(),
        prompt: Pii::new(String::new()),
        language: "en".to_owned(),
        turn,
        vad: trunkline::audio::VadConfig::default(),
        background: None,
        noise_suppression: None,
        speech: Default::default(),
        keyterms: Vec::new(),
        voice: String::new(),
        speed: 1.0,
        temperature: None,
        max_tokens: None,
        facts: Default::default(),
        tools: Vec::new(),
        recording: trunkline::call::RecordingPolicy::Off,
        stt: Arc::new(ScriptedStt(Plan::new(vec![step(STT, Duration::ZERO, &["book a table"])]))),
        llm: Arc::new(ScriptedLlm(Plan::new(vec![step(LLM, LLM_GAP, &PIECES)]))),
        tts: Arc::new(ScriptedTts {
            plan: Plan::new(vec![step(TTS, Duration::ZERO, &[])]),
            rate: SampleRate::HZ_24000,
            chunk_ms: 100,
            chunks: 8,
        }),
        tts_service: String::new(),
        realtime: None,
        fixed: Default::default(),
        fallbacks: Default::default(),
    }
}

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Runs turns in virtual time and prints what each stage took against what its provider was told to take.
fn report(turns: usize) {
    let turns = paused().block_on(async {
        let mut call = Call::new();
        call.run(turns).await;
        call.turns
    });
    println!("{} turns in virtual time, milliseconds:", turns.len());
    println!("| stage | told | p50 | max | ours, p50 | ours, max |");
    println!("|---|---|---|---|---|---|");
    let ms = |duration: Duration| duration.as_millis() as i64;
    let silence = i64::from(TurnConfig::default().silence_ms);
    let path = |turn: &Breakdown| turn.critical_path.clone().expect("an answered turn has one");
    type Stage = fn(&trunkline::types::latency::CriticalPath) -> u32;
    let stages: [(&str, i64, Stage); 7] = [
        ("end of turn: the wait is policy", silence, |path| path.endpoint_ms),
        ("final transcript to request", 0, |path| path.dispatch_ms),
        ("first token", ms(LLM), |path| path.llm_first_token_ms),
        ("first sentence", ms(LLM_GAP) * (PIECES.len() as i64 - 1), |path| path.llm_sentence_ms),
        ("synthesis", ms(TTS), |path| path.tts_ms),
        ("first audio to first packet", 0, |path| path.send_ms),
        ("silence at the start of the audio", 0, |path| path.leading_silence_ms),
    ];
    let mut ours_in_all = vec![0; turns.len()];
    for (name, told, stage) in stages {
        let taken: Vec<i64> = turns.iter().map(|turn| i64::from(stage(&path(turn)))).collect();
        let ours: Vec<i64> = taken.iter().map(|taken| taken - told).collect();
        ours_in_all.iter_mut().zip(&ours).for_each(|(sum, ours)| *sum += ours);
        let ((p50, max), (our_p50, our_max)) = (spread(&taken), spread(&ours));
        println!("| {name} | {told} | {p50} | {max} | {our_p50} | {our_max} |");
    }
    let (p50, max) = spread(&ours_in_all);
    println!("| all | | | | {p50} | {max} |\n");
    assert!(p50 <= 5 && max <= 25, "the budget of a turn is 5 ms at the median and 25 ms at most");
}

fn spread(values: &[i64]) -> (i64, i64) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    (sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    report(if test { 3 } else { TURNS });
    let mut criterion = Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    // The whole of a turn: about 6 s of a call, 300 frames each way.
    criterion.bench_function("turn/CPU time of one turn", |b| {
        let runtime = paused();
        let _guard = runtime.enter();
        let mut call = Call::new();
        let mut turns = 0;
        b.iter(|| {
            turns += 1;
            runtime.block_on(call.run(turns));
        });
    });
    criterion.final_summary();
}
