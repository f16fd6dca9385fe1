//! The stereo recording against the numbers of the record: one clock for both.

use trunkline::types::call::{RecordingStatus, TurnRole};

use crate::conversation::{Talk, utterances};
use crate::support::server::{self, Server};
use crate::support::{fixture, sound};

/// How far the perceived latency may be from the gap in the recording.
const TOLERANCE_MS: i64 = 20;

/// -50 dBFS, as an amplitude: what the ledger calls audible.
const AUDIBLE: u16 = 104;

fn is_audible(packet: &[i16]) -> bool {
    let power: f64 = packet.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (power / packet.len() as f64).sqrt() > f64::from(AUDIBLE)
}

/// Packets of silence that set a sentence apart from the one before it.
const QUIET_PACKETS: usize = 5;

/// Where the first of these packets that is in `samples` begins: as it came over the line, but for the
/// rounding of the codec, and where it fits best.
fn place(samples: &[i16], packets: &[&[i16]]) -> Option<usize> {
    let error = |at: usize, packet: &[i16]| {
        let here = samples.get(at..at + packet.len())?;
        let square = |value: f64| value * value;
        let energy: f64 = packet.iter().map(|sample| square(f64::from(*sample))).sum();
        let pairs = here.iter().zip(packet);
        let error: f64 = pairs.map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
        Some(error / energy)
    };
    (0..samples.len()).find_map(|at| {
        let alike = |packet: &&&[i16]| error(at, packet).is_some_and(|error| error < ALIKE);
        let packet = packets.iter().find(alike)?;
        let key = |at: &usize| error(*at, packet).map_or(u64::MAX, |error| (error * 1e9) as u64);
        (at..at + 160).min_by_key(key)
    })
}

/// Calls that are tried.
const ATTEMPTS: usize = 3;

/// Difference of two packets, of the energy of one, that are the same but for the codec's rounding: what
/// is loud has 0.0002, what is hardly audible 0.01. Others have about 1.
const ALIKE: f64 = 0.05;

/// The first sample that no noise and no codec makes: it is the same in a file and on the line.
fn clear_onset(samples: &[i16]) -> usize {
    samples.iter().position(|sample| sample.unsigned_abs() > 2_000).expect("clear speech")
}

/// A machine that stalls for a moment moves a packet in one call; a wrong definition shows in every one.
#[tokio::test(flavor = "multi_thread")]
async fn the_gap_in_the_recording_is_the_perceived_latency() {
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let rows = reported_and_recorded().await;
        eprintln!("total_perceived_ms and gap: {rows:?}");
        if rows.iter().all(|(total, gap)| (total - gap).abs() <= TOLERANCE_MS) {
            return;
        }
        seen.push(rows);
    }
    panic!("(reported, measured): {seen:?}");
}

/// One call: what the ledger says of each answer, and the gap in the recording, milliseconds.
async fn reported_and_recorded() -> Vec<(i64, i64)> {
    let server = Server::with(server::listening).await;
    let mut talk = Talk::begin(&server, "gap").await;
    let spoken: Vec<_> = utterances()
        .into_iter()
        .filter(|u| ["01", "09", "10"].iter().any(|n| u.file.contains(&format!("/{n}_"))))
        .collect();
    for utterance in &spoken {
        talk.line.hears_silence(400).await;
        let samples = sound::load(&fixture(&utterance.file));
        talk.line.say(&samples);
        talk.agent_finishes().await;
    }
    let heard = talk.line.audio(0);
    let (record, turns) = talk.finish(&server).await;
    let info = record.recording.as_ref().expect("a recording");
    assert_eq!(info.status, RecordingStatus::Available);
    let [left, right] = server.recording(&record);
    assert_eq!(left.len(), right.len(), "sample-aligned");
    let length_ms = left.len() as i64 / 8;
    let talk_ms = record.talk_ms.expect("a duration") as i64;
    assert!((length_ms - talk_ms).abs() <= 250, "{length_ms} of {talk_ms} ms are recorded");

    let answers: Vec<_> = turns
        .iter()
        .filter(|turn| turn.role == TurnRole::Assistant)
        .filter_map(|turn| turn.latency.as_ref()?.total_perceived_ms)
        .collect();
    assert_eq!(answers.len(), spoken.len(), "{turns:?}");
    let packets: Vec<Vec<i16>> = heard.chunks(160).map(<[i16]>::to_vec).collect();
    let starts: Vec<&[i16]> = (QUIET_PACKETS..packets.len())
        .filter(|at| is_audible(&packets[*at]))
        .filter(|at| !packets[at - QUIET_PACKETS..*at].iter().any(|packet| is_audible(packet)))
        .map(|at| packets[at].as_slice())
        .collect();
    let mut from = 0;
    let mut rows = Vec::new();
    for (total, utterance) in answers.into_iter().zip(&spoken) {
        // The ledger counts whole packets (call-model D2). The caller's are known: the recording shows
        // where the words begin, the file which packet is the last one that is loud. The agent's are
        // those that came over the line: the first loud one of its answer is found in the recording.
        let begin = sound::next_loud(&left, from).expect("the caller speaks");
        let said = sound::load(&fixture(&utterance.file));
        let start = begin + clear_onset(&left[begin..]) - clear_onset(&said);
        let last = said.chunks(160).rposition(is_audible).expect("words");
        let end = start + (last + 1) * 160;
        let first = place(&right[end..], &starts).expect("the agent answers");
        rows.push((i64::from(total), first as i64 / 8));
        from = right.len().min(end + first + 8_000);
    }
    rows
}
