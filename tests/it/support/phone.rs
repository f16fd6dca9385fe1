//! Telephones that others wrote: what is asked of each of them, and what a call with one must prove.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use trunkline::audio::wav::{Channels, WavWriter};
use trunkline::call::CallCommand;
use trunkline::types::{CallEventKind, CallId, CallRecord, CallStatus, EndReason, Pii, SampleRate};

use super::server::Server;
use super::{sound, wait};

/// What a telephone plays to the agent.
pub(crate) const TONE_HZ: u32 = 440;
/// What the agent says first: long enough to be found.
pub(crate) const GREETING: &str = "Hello. This is a sentence that takes a little while to say.";
/// What it says once it was put on hold and taken back.
const AFTER_HOLD: &str = "The call goes on, and each side hears the other.";
/// The end of a recording, which holds nothing of the time before a hold.
const END_MS: usize = 2_000;

/// A telephone with two files for a sound card.
pub(crate) trait Phone {
    /// Words in which it tells that the other side put it on hold.
    const HELD: &[&str];
    /// Words in which it tells that the other side took it back.
    const TAKEN_BACK: &[&str];
    /// What it tells.
    fn said(&self) -> &Said;
    /// Calls a SIP URI.
    async fn dial(&mut self, uri: &str);
    /// Presses a key.
    async fn press(&mut self, digit: char);
    /// Puts the call on hold.
    async fn hold(&mut self);
    /// Takes it back.
    async fn resume(&mut self);
    /// Hangs up.
    async fn hang_up(&mut self);
    /// Waits until it is sent a key.
    async fn gets_key(&mut self, digit: char);
    /// What it heard in its only call, which is over: samples of one channel, and how many a second.
    async fn heard(&mut self) -> (Vec<i16>, usize);
}

/// What a program says, line by line.
#[derive(Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    /// Everything that comes from a pipe, until it is closed.
    pub(crate) fn of(pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (said, mut lines) = (Self::default(), BufReader::new(pipe).lines());
        let writer = said.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                writer.add(line);
            }
        });
        said
    }

    pub(crate) fn add(&self, line: String) {
        self.0.lock().expect("a lock").push(line);
    }

    /// How much was said so far.
    pub(crate) fn mark(&self) -> usize {
        self.0.lock().expect("a lock").len()
    }

    /// Waits for a line with all of these words, said after a mark.
    pub(crate) async fn after(&self, mark: usize, words: &[&str]) -> String {
        let search = async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
            loop {
                ticks.tick().await;
                let said = self.0.lock().expect("a lock");
                let found = said.iter().skip(mark).find(|l| words.iter().all(|w| l.contains(w)));
                if let Some(line) = found {
                    return line.clone();
                }
            }
        };
        match tokio::time::timeout(wait::LIMIT, search).await {
            Ok(line) => line,
            Err(_) => panic!("never said {words:?}: {:#?}", self.0.lock().expect("a lock")),
        }
    }
}

/// Half a minute of a tone: longer than any call here.
pub(crate) fn write_tone(path: &Path, hz: u32, rate: u32) {
    let line = SampleRate::new(rate).expect("a rate");
    let mut wav = WavWriter::create(path, line, Channels::Mono).expect("a file");
    let step = std::f64::consts::TAU * f64::from(hz) / f64::from(rate);
    let sample = |n: u32| (8_000.0 * (step * f64::from(n)).sin()) as i16;
    let samples: Vec<i16> = (0..30 * rate).map(sample).collect();
    wav.write_mono(&samples).expect("a file");
    wav.finish().expect("a file");
}

/// Waits until the agent ended its greeting.
pub(crate) async fn greeted(server: &Server, id: CallId) {
    wait::until("the greeting", async || (!server.turns(id).await.is_empty()).then_some(())).await;
}

/// Waits until something stands in the journal of a call.
pub(crate) async fn happens(
    server: &Server,
    id: CallId,
    what: &str,
    wanted: impl Fn(&CallEventKind) -> bool,
) {
    wait::until(what, async || server.journal(id).await.iter().any(&wanted).then_some(())).await;
}

/// A command that is taken.
pub(crate) async fn command(server: &Server, id: CallId, command: CallCommand) {
    server.running.switchboard().command(id, command).await.expect("it is live");
}

/// The agent hangs up; gives the record.
pub(crate) async fn we_hang_up(server: &Server, id: CallId) -> CallRecord {
    let reason = EndReason::ApiHangup;
    command(server, id, CallCommand::End { message: None, reason, headers: Vec::new() }).await;
    let record = server.ended(id).await;
    assert_eq!(record.end_reason, Some(EndReason::ApiHangup));
    record
}

/// The telephone hangs up; gives the record.
pub(crate) async fn it_hangs_up(server: &Server, id: CallId, phone: &mut impl Phone) -> CallRecord {
    phone.hang_up().await;
    let record = server.ended(id).await;
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    record
}

/// The agent says something; waits until it has.
pub(crate) async fn say(server: &Server, id: CallId, words: &str) {
    let say = CallCommand::Say {
        content: words.to_owned().into(),
        interrupt: true,
        interruptible: false,
        end_after: false,
        voice: None,
    };
    command(server, id, say).await;
    happens(server, id, words, |kind| {
        matches!(kind, CallEventKind::TurnEnded { content, .. } if content.reveal() == words)
    })
    .await;
}

/// A key each way, a hold by each side and its end, and words after it.
pub(crate) async fn keys_and_hold<P: Phone>(server: &Server, id: CallId, phone: &mut P) {
    phone.press('5').await;
    happens(
        server,
        id,
        "the telephone's key",
        |kind| matches!(kind, CallEventKind::DtmfReceived { digit } if *digit.reveal() == '5'),
    )
    .await;
    let digits = Pii::new("7".to_owned());
    command(server, id, CallCommand::Dtmf { digits, duration_ms: 120, gap_ms: 60 }).await;
    phone.gets_key('7').await;
    phone.hold().await;
    let held = CallEventKind::Held { by_remote: true };
    happens(server, id, "the hold", |kind| *kind == held).await;
    phone.resume().await;
    let resumed = CallEventKind::Resumed { by_remote: true };
    happens(server, id, "the end of the hold", |kind| *kind == resumed).await;
    let mark = phone.said().mark();
    command(server, id, CallCommand::Hold { music: None }).await;
    phone.said().after(mark, P::HELD).await;
    let mark = phone.said().mark();
    command(server, id, CallCommand::Resume).await;
    phone.said().after(mark, P::TAKEN_BACK).await;
    say(server, id, AFTER_HOLD).await;
}

/// The tone came in, speech went out, both up to the end: each side's sound is in the other side's file.
pub(crate) async fn both_ways(server: &Server, record: &CallRecord, phone: &mut impl Phone) {
    assert_eq!(record.status, CallStatus::Completed, "{record:?}");
    let [left, right] = server.recording(record);
    let rate = record.codec.expect("a codec").sample_rate().hz() as usize;
    let info = record.recording.as_ref().expect("a recording");
    assert_eq!(info.sample_rate as usize, rate, "the file has the line's rate");
    let tone_ms = |samples: &[i16], rate| sound::tone_ms(samples, f64::from(TONE_HZ), rate);
    let (tone, late) = (tone_ms(&left, rate), tone_ms(end(&left, rate), rate));
    assert!(tone >= 1_500 && late >= 1_000, "{tone} and {late} ms of the tone in our recording");
    let spoken = loud_ms(&right, rate);
    assert!(spoken >= 1_500, "{spoken} ms of the agent in our recording");
    assert_eq!(tone_ms(&right, rate), 0, "no echo");
    let (heard, rate) = phone.heard().await;
    let (loud, late) = (loud_ms(&heard, rate), loud_ms(end(&heard, rate), rate));
    assert!(loud >= 1_500 && late >= 800, "{loud} and {late} ms of the agent in the telephone's");
    assert_eq!(tone_ms(&heard, rate), 0, "no echo");
}

fn end(samples: &[i16], rate: usize) -> &[i16] {
    &samples[samples.len().saturating_sub(END_MS * rate / 1_000)..]
}

/// Milliseconds of sound at any rate.
fn loud_ms(samples: &[i16], rate: usize) -> usize {
    let loud = |block: &&[i16]| sound::rms(block) > sound::LOUD;
    20 * samples.chunks(rate / 50).filter(loud).count()
}
