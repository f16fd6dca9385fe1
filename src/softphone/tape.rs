//! The stereo recording of a phone's call: what we said left, what we heard right.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use crate::audio::wav::{Channels, WavError, WavWriter};
use crate::engine::TapReader;
use crate::media::TapChannel;

/// Audio kept in memory so that frames of the jitter buffer find their place, in milliseconds.
const WINDOW_MS: u32 = 1_000;
/// A frame further ahead than this is a broken clock, not audio.
const AHEAD_SECONDS_MAX: u64 = 60;

/// Writes a tape to a file until the call is over. Runs on a thread that may block.
///
/// # Errors
/// When the file can't be made or written.
pub fn write(path: PathBuf, mut tape: TapReader, from: Instant) -> Result<(), WavError> {
    let rate = tape.rate;
    let mut track = Track {
        writer: WavWriter::create(&path, rate, Channels::Stereo)?,
        origin: rate.samples_in(from.saturating_duration_since(tape.start)),
        written: 0,
        ahead_max: AHEAD_SECONDS_MAX * u64::from(rate.hz()),
        window: VecDeque::new(),
    };
    let keep = rate.samples_in_ms(WINDOW_MS);
    let runtime = tokio::runtime::Handle::current();
    while let Some(frame) = runtime.block_on(tape.recv()) {
        track.place(frame.channel, frame.position, frame.frame.samples());
        if track.window.len() > 2 * keep {
            track.write(keep)?;
        }
    }
    let rest = track.window.len();
    track.write(rest)?;
    track.writer.finish()
}

struct Track {
    writer: WavWriter,
    /// Position of the file's first sample: the answer.
    origin: u64,
    written: u64,
    ahead_max: u64,
    /// Said and heard, from `written` on.
    window: VecDeque<(i16, i16)>,
}

impl Track {
    fn place(&mut self, channel: TapChannel, position: u64, samples: &[i16]) {
        // The feed has the server's point of view: what came ends at its arrival, what goes begins when
        // it leaves. At this end it is the other way round: what was said ended when it left, and what
        // came is heard from its arrival on. So the gap in the file is the gap on the wire.
        let frame = samples.len() as u64;
        let position = match channel {
            TapChannel::Agent => position.checked_sub(frame),
            TapChannel::Caller => position.checked_add(frame),
        };
        // What lies before the answer is not part of the recording, what is late has no place.
        let begins = self.origin + self.written;
        let Some(offset) = position.and_then(|at| at.checked_sub(begins)) else { return };
        if offset > self.ahead_max {
            return;
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let needed = offset.saturating_add(samples.len());
        if self.window.len() < needed {
            self.window.resize(needed, (0, 0));
        }
        for ((said, heard), sample) in self.window.iter_mut().skip(offset).zip(samples) {
            match channel {
                TapChannel::Agent => *said = *sample,
                TapChannel::Caller => *heard = *sample,
            }
        }
    }

    fn write(&mut self, samples: usize) -> Result<(), WavError> {
        let (said, heard): (Vec<i16>, Vec<i16>) = self.window.drain(..samples).unzip();
        self.written += samples as u64;
        self.writer.write_stereo(&said, &heard)
    }
}
