//! What loss and jitter make of speech, in virtual time: the voice path without a socket, so that hundreds of
//! utterances over hundreds of networks take seconds.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use trunkline::audio::vad::NoiseSuppression;
use trunkline::audio::{Concealer, EchoGate, Resampler, Suppressor, VadConfig, g711};
use trunkline::media::{
    FrameSource, Inbound, MediaDirection, MediaEvent, PacketKind, PlayoutFrame, SourcePolicy,
    StreamFormat, StreamIo, TapFrame,
};
use trunkline::net::clock;
use trunkline::providers::FailureKind;
use trunkline::providers::llm::scripted::Script;
use trunkline::providers::phrase::words_of;
use trunkline::providers::stt::sphinx::{SphinxConfig, SphinxStt};
use trunkline::providers::stt::{Stt, SttEvent, SttInput, SttParams};
use trunkline::types::{CodecName, CodecSpec, SampleRate};

use crate::conversation::utterances;
use crate::support::impair::{Bursts, Link, Profile};
use crate::support::line::packet;
use crate::support::sound::{self, FRAME};
use crate::support::{fixture, skip_or_fail};

/// What is played as it comes may come so late at most: a telephone's jitter buffer for a line of 40 ms jitter.
const BUFFER: Duration = Duration::from_millis(100);
const PTIME: Duration = Duration::from_millis(20);
/// Silence of this length ends a turn.
const TURN_END: Duration = Duration::from_millis(600);

/// Networks of the acceptance: with random losses, and with bursts of any length.
pub(crate) fn bad_networks() -> [(&'static str, Profile); 2] {
    let jitter = Profile { jitter: Duration::from_millis(40), ..Profile::default() };
    let bursts = Bursts { loss: 0.03, length: 2.0, longest: 50 };
    [
        ("5 % random", Profile { loss: 0.05, ..jitter.clone() }),
        ("3 % bursts", Profile { bursts: Some(bursts), ..jitter }),
    ]
}

/// A packet on its way to a telephone: its samples, and how long it takes if it comes at all.
pub(crate) type Sent = (Vec<i16>, Option<Duration>);

/// Longest times in which somebody spoke and a telephone played nothing, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holes {
    pub(crate) longest_ms: usize,
    /// Of those that losses of [`SHORT_LOSS_MS`] at most left: a longer one may take a whole word with it, or so much
    /// of its beginning that neither side knows what was between them.
    pub(crate) of_short_losses_ms: usize,
}

pub(crate) const SHORT_LOSS_MS: usize = 120;

/// What a telephone makes of what comes. It plays a packet 100 ms after it was sent; what has not come by then it makes
/// up from what came before, and from what is in its buffer already.
pub(crate) fn holes(sent: &[Sent]) -> Holes {
    let loud = |samples: &[i16]| sound::loud_ms(samples) > 0;
    let comes = |delay: &Option<Duration>| delay.is_some_and(|delay| delay <= BUFFER);
    let mut concealer = Concealer::new(SampleRate::HZ_8000);
    let (mut run, mut holes, mut loss_end, mut loss_ms) = (0, Holes::default(), 0, 0);
    for (n, (original, delay)) in sent.iter().enumerate() {
        let is_there = |ahead: usize| {
            let (_, delay) = sent.get(n + ahead)?;
            let at = PTIME * ahead as u32 + (*delay)?;
            (at <= BUFFER).then_some(ahead)
        };
        let mut frame = original.clone();
        match (0..6).find_map(is_there) {
            Some(0) => concealer.received(&mut frame),
            Some(ahead) => {
                concealer.conceal_towards(&mut frame, &sent[n + ahead].0, (ahead - 1) * FRAME);
            }
            None => concealer.conceal(&mut frame),
        }
        if !comes(delay) && n >= loss_end {
            let rest = sent[n..].iter().position(|(_, delay)| comes(delay));
            loss_end = n + rest.unwrap_or(sent.len() - n);
            loss_ms = 20 * (loss_end - n);
        }
        run = if loud(original) && !loud(&frame) { run + 20 } else { 0 };
        holes.longest_ms = holes.longest_ms.max(run);
        if loss_ms <= SHORT_LOSS_MS {
            holes.of_short_losses_ms = holes.of_short_losses_ms.max(run);
        }
    }
    holes
}

/// What a recogniser is given, in order.
enum Heard {
    Frame(Vec<i16>),
    Began,
    Ended,
}

#[derive(Default)]
struct Io(Vec<MediaEvent>);

impl FrameSource for Io {
    fn next_frame(&mut self) -> Option<PlayoutFrame> {
        None
    }
}

impl StreamIo for Io {
    fn send(&mut self, _: PacketKind, _: SocketAddr, _: &[u8]) -> Instant {
        clock::now()
    }

    fn event(&mut self, event: MediaEvent) {
        self.0.push(event);
    }

    fn tap(&mut self, _: TapFrame) {}
}

fn format(peer: SocketAddr) -> StreamFormat {
    StreamFormat {
        remote_rtp: peer,
        remote_rtcp: peer,
        codec: CodecSpec::with_static_payload_type(CodecName::Pcmu),
        alternate: None,
        send_ptime_ms: 20,
        send_payload_type: 0,
        dtmf_receive_pt: None,
        dtmf_send_pt: None,
        dtmf_clock_rate: 8_000,
        direction: MediaDirection::SendRecv,
        source_policy: SourcePolicy::Strict,
        srtp: None,
        dtls: None,
        ice: None,
    }
}

/// Speech over a network, as the server hears it: up to the end of the caller's first turn.
fn hear(speech: &[i16], network: &Profile, seed: u64) -> Vec<Heard> {
    let start = clock::now();
    let peer = SocketAddr::from(([192, 0, 2, 1], 4_000));
    let mut inbound = Inbound::new(start, &VadConfig::default()).unwrap();
    inbound.configure(start, &format(peer), 1);
    let (mut echo, mut io) = (EchoGate::new(), Io::default());
    let mut link = Link::new(network.clone(), seed);
    let quiet = vec![0; 8_000 * 3 / 2];
    let said: Vec<i16> = [&quiet, speech, &quiet].into_iter().flatten().copied().collect();
    let mut arrivals = Vec::new();
    for (n, samples) in said.chunks_exact(FRAME).enumerate() {
        let octets: Vec<u8> = samples.iter().map(|sample| g711::encode_ulaw(*sample)).collect();
        let octets = packet(0, n as u16, (n * FRAME) as u32, 7, &octets);
        for out in link.judge(PTIME * n as u32, octets.len()) {
            arrivals.push((out, octets.clone()));
        }
    }
    arrivals.sort_by_key(|(out, _)| *out);
    let mut tick = start;
    for (out, octets) in arrivals {
        while tick <= start + out {
            inbound.handle_timeout(tick, &mut echo, &mut io);
            tick += PTIME;
        }
        inbound.handle(start + out, peer, &octets, (&mut echo, &mut io));
    }
    first_turn(&io.0)
}

fn first_turn(events: &[MediaEvent]) -> Vec<Heard> {
    let mut suppressor = Suppressor::new(NoiseSuppression::Auto, SampleRate::HZ_8000).unwrap();
    let mut heard = Vec::new();
    let mut pause: Option<Duration> = None;
    for event in events {
        match event {
            MediaEvent::Frame { frame, .. } => {
                pause = pause.map(|pause| pause + PTIME);
                heard.push(Heard::Frame(suppressor.clean(frame.samples()).to_vec()));
            }
            // A detector tells the beginning and the end about as late.
            MediaEvent::SpeechStarted { .. } if pause.is_some_and(|pause| pause > TURN_END) => {
                break;
            }
            MediaEvent::SpeechStarted { .. } => heard.push(Heard::Began),
            MediaEvent::SpeechEnded { .. } => {
                pause = Some(Duration::ZERO);
                heard.push(Heard::Ended);
            }
            _ => {}
        }
    }
    heard
}

/// The words of a turn.
async fn recognise(stt: &SphinxStt, heard: Vec<Heard>) -> Vec<String> {
    let mut session = stt.open(SttParams::default()).await.unwrap();
    let mut wide = Resampler::new(SampleRate::HZ_8000, stt.sample_rate()).unwrap();
    let (mut id, mut words) = (0, Vec::new());
    for heard in heard {
        let input = match heard {
            Heard::Frame(samples) => {
                let mut out = Vec::new();
                wide.push(&samples, &mut out);
                SttInput::Audio(out)
            }
            Heard::Began => SttInput::SpeechStarted,
            Heard::Ended => {
                id += 1;
                SttInput::Finalize { id }
            }
        };
        let ends = matches!(input, SttInput::Finalize { .. });
        session.input.send(input).await.unwrap();
        if ends {
            let Some(SttEvent::Final { text, .. }) = session.events.recv().await else {
                panic!("no words")
            };
            words.extend(words_of(text.reveal()));
        }
    }
    words
}

struct Asked {
    network: usize,
    seed: u64,
    file: String,
    answers: [String; 2],
    words: [String; 2],
}

/// The same utterances over the same networks with many seeds.
async fn ask(seeds: std::ops::Range<u64>) -> Option<Vec<Asked>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = Arc::new(Script::load(&root.join("config/agents/demo.toml")).unwrap());
    let stt = match SphinxStt::load(&SphinxConfig::default(), &script.vocabulary()) {
        Ok(stt) => Arc::new(stt),
        Err(error) if error.kind == FailureKind::Missing => return None,
        Err(error) => panic!("{error}"),
    };
    let places = Arc::new(Semaphore::new(2));
    let mut tasks = tokio::task::JoinSet::new();
    // Those that need no keys before and end nothing; four are words that the recogniser must refuse.
    let asked = utterances().into_iter().filter(|u| u.is_first() && u.words != "goodbye");
    for (n, utterance) in asked.enumerate() {
        let speech = sound::load(&fixture(&utterance.file));
        let (script, stt, places) = (Arc::clone(&script), Arc::clone(&stt), Arc::clone(&places));
        let seeds = seeds.clone();
        tasks.spawn(async move {
            let _place = places.acquire_owned().await.expect("open");
            let answer = async |network: &Profile, seed| {
                let words = recognise(&stt, hear(&speech, network, seed)).await;
                let (_, answer) = script.advance(&script.start(), &words);
                (answer.text, words.join(" "))
            };
            let (clean, understood) = answer(&Profile::default(), 0).await;
            let mut all = Vec::new();
            for seed in seeds {
                for (network, (_, profile)) in bad_networks().iter().enumerate() {
                    let (answer, words) = answer(profile, seed * 1_000 + n as u64).await;
                    let (answers, words) = ([clean.clone(), answer], [understood.clone(), words]);
                    let file = utterance.file.clone();
                    all.push(Asked { network, seed, file, answers, words });
                }
            }
            all
        });
    }
    Some(tasks.join_all().await.into_iter().flatten().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_packets_change_few_answers_whatever_the_seed() {
    let seeds: u64 = std::env::var("LOSS_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let Some(asked) = ask(0..seeds).await else {
        skip_or_fail("pocketsphinx", "the library or its model is not installed");
        return;
    };
    for (network, (name, _)) in bad_networks().iter().enumerate() {
        let here: Vec<&Asked> = asked.iter().filter(|asked| asked.network == network).collect();
        let is_same = |asked: &&&Asked| asked.answers[0] == asked.answers[1];
        for other in here.iter().filter(|asked| !is_same(asked)) {
            let [clean, words] = &other.words;
            eprintln!("{name} seed {} {}: {clean:?} became {words:?}", other.seed, other.file);
        }
        let same = here.iter().filter(is_same).count();
        let sets: Vec<usize> = (0..seeds)
            .map(|seed| here.iter().filter(|a| a.seed == seed).filter(is_same).count())
            .collect();
        eprintln!("{name}: the same answer in {same} of {}, by seed {sets:?}", here.len());
        assert!(same * 10 >= here.len() * 9, "{name}: {same} of {}", here.len());
    }
}

/// Longest holes in every utterance over 50 networks.
#[test]
fn losses_leave_no_long_holes() {
    for (name, network) in bad_networks() {
        let mut all = Vec::new();
        for (n, utterance) in utterances().iter().enumerate() {
            let speech = sound::load(&fixture(&utterance.file));
            for seed in 0..50 {
                let mut link = Link::new(network.clone(), 1_000 * n as u64 + seed);
                let frames = speech.chunks_exact(FRAME).enumerate().map(|(at, frame)| {
                    let now = PTIME * at as u32;
                    (frame.to_vec(), link.judge(now, 172).first().map(|out| *out - now))
                });
                all.push(holes(&frames.collect::<Vec<_>>()));
            }
        }
        let long = all.iter().filter(|holes| holes.longest_ms > 60).count();
        let longest = all.iter().map(|holes| holes.longest_ms).max().unwrap_or(0);
        let short = all.iter().map(|holes| holes.of_short_losses_ms).max().unwrap_or(0);
        eprintln!(
            "{name}: a hole longer than 60 ms in {long} of {} utterances, the longest {longest} ms; {short} ms where \
             no loss is longer than {SHORT_LOSS_MS} ms",
            all.len()
        );
        assert!(short <= 60, "{name}: {short} ms");
        assert!(long * 50 <= all.len(), "{name}: {long} of {}", all.len());
    }
}
