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

/// The first sample that no noise and no codec makes: it is the same in a file and on the line.
fn clear_onset(samples: &[i16]) -> usize {
    samples.iter().position(|sample| sample.unsigned_abs() > 2_000).expect("clear speech")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gap_in_the_recording_is_the_perceived_latency() {
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
    let mut from = 0;
    let mut rows = Vec::new();
    for (total, utterance) in answers.into_iter().zip(&spoken) {
        // The ledger counts whole packets (call-model D2). The caller's are known: the recording shows
        // where the words begin, the file which packet is the last one that is loud. The agent's are
        // not: its first loud sample stands for the packet, which began up to 20 ms before it, or is the
        // next one where a soft onset leaves a packet below the level as a whole.
        let begin = sound::next_loud(&left, from).expect("the caller speaks");
        let said = sound::load(&fixture(&utterance.file));
        let start = begin + clear_onset(&left[begin..]) - clear_onset(&said);
        let last = said.chunks(160).rposition(is_audible).expect("words");
        let end = start + (last + 1) * 160;
        let loud = sound::next_loud(&right, end).expect("the agent answers");
        let edge = right[loud..].iter().position(|sample| sample.unsigned_abs() > AUDIBLE);
        let first = loud + edge.expect("a loud sample");
        let gap = (first - end) as i64 / 8;
        rows.push((i64::from(total), gap));
        let agent_end = right.len().min(first + 8_000);
        from = agent_end;
    }
    eprintln!("total_perceived_ms and gap: {rows:?}");
    for (total, gap) in &rows {
        assert!((total - gap).abs() <= TOLERANCE_MS, "(reported, measured): {rows:?}");
    }
}
