//! WAV files: the stereo recording of a call, prompts and test signals. `hound` is named only here.
//!
//! The writer flushes data and header once a second of audio, so that a killed process leaves a
//! playable file that lacks at most that second; `store::recording` restores even that from the file's length.
//! Calls block: use them from a thread that may.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use crate::types::{Pcm, SampleRate};

/// Longest WAV read into memory: an hour at 48 kHz. Longer files are refused.
pub const READ_SAMPLES_MAX: u32 = 48_000 * 3_600;

/// Why a WAV file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The file system failed.
    #[error("read or write the file")]
    Io(#[from] std::io::Error),
    /// The file is not a WAV file, or its header is damaged.
    #[error("parse the WAV header")]
    Format(#[source] hound::Error),
    /// The samples are not 16-bit PCM, or the rate or number of channels is none we handle.
    #[error("use {bits}-bit samples of {channels} channels at {rate_hz} Hz")]
    Unsupported {
        /// Bits a sample.
        bits: u16,
        /// Channels.
        channels: u16,
        /// Rate.
        rate_hz: u32,
    },
    /// More than [`READ_SAMPLES_MAX`] samples a channel.
    #[error("hold {samples} samples in memory")]
    TooLong {
        /// Samples a channel.
        samples: u32,
    },
    /// 4 GiB are full: the format counts octets in 32 bits.
    #[error("fit more audio into one file")]
    Full,
}

impl From<hound::Error> for WavError {
    fn from(error: hound::Error) -> Self {
        match error {
            hound::Error::IoError(error) => Self::Io(error),
            other => Self::Format(other),
        }
    }
}

/// Number of channels of a file we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One.
    Mono,
    /// Two: the caller left, the agent right.
    Stereo,
}

impl Channels {
    fn count(self) -> u16 {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
        }
    }
}

/// Largest data chunk: leaves room for the header in 32 bits.
const DATA_BYTES_MAX: u64 = u32::MAX as u64 - 1_024;

/// Writes PCM16 that stays playable at every moment.
pub struct WavWriter<W: Write + Seek = BufWriter<File>> {
    inner: hound::WavWriter<W>,
    channels: Channels,
    rate: SampleRate,
    frames: u64,
    unflushed: u64,
}

impl WavWriter {
    /// Creates or truncates a file and writes its header.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn create(path: &Path, rate: SampleRate, channels: Channels) -> Result<Self, WavError> {
        Self::new(BufWriter::new(File::create(path)?), rate, channels)
    }
}

impl<W: Write + Seek> WavWriter<W> {
    /// Writes the header of a new WAV into `sink`, which is at its start.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn new(sink: W, rate: SampleRate, channels: Channels) -> Result<Self, WavError> {
        let spec = hound::WavSpec {
            channels: channels.count(),
            sample_rate: rate.hz(),
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut inner = hound::WavWriter::new(sink, spec)?;
        inner.flush()?;
        Ok(Self { inner, channels, rate, frames: 0, unflushed: 0 })
    }

    /// Samples a channel written so far.
    pub fn samples(&self) -> u64 {
        self.frames
    }

    /// Appends one channel of samples; in a stereo file both channels get them.
    ///
    /// # Errors
    /// When the sink fails or the file is full.
    pub fn write_mono(&mut self, samples: &[i16]) -> Result<(), WavError> {
        self.room_for(samples.len())?;
        for sample in samples {
            for _ in 0..self.channels.count() {
                self.inner.write_sample(*sample)?;
            }
        }
        self.wrote(samples.len())
    }

    /// Appends two channels; the shorter one is filled with silence. In a mono file they are mixed.
    ///
    /// # Errors
    /// When the sink fails or the file is full.
    pub fn write_stereo(&mut self, left: &[i16], right: &[i16]) -> Result<(), WavError> {
        let len = left.len().max(right.len());
        self.room_for(len)?;
        for at in 0..len {
            let left = left.get(at).copied().unwrap_or(0);
            let right = right.get(at).copied().unwrap_or(0);
            match self.channels {
                Channels::Stereo => {
                    self.inner.write_sample(left)?;
                    self.inner.write_sample(right)?;
                }
                Channels::Mono => self.inner.write_sample(left.saturating_add(right))?,
            }
        }
        self.wrote(len)
    }

    /// Brings data and header to the operating system.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn flush(&mut self) -> Result<(), WavError> {
        self.unflushed = 0;
        Ok(self.inner.flush()?)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(self) -> Result<(), WavError> {
        Ok(self.inner.finalize()?)
    }

    fn room_for(&self, samples: usize) -> Result<(), WavError> {
        let bytes = (self.frames + samples as u64) * 2 * u64::from(self.channels.count());
        if bytes > DATA_BYTES_MAX { Err(WavError::Full) } else { Ok(()) }
    }

    fn wrote(&mut self, samples: usize) -> Result<(), WavError> {
        self.frames += samples as u64;
        self.unflushed += samples as u64;
        if self.unflushed >= u64::from(self.rate.hz()) { self.flush() } else { Ok(()) }
    }
}

/// The channels of a PCM16 WAV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WavAudio {
    /// Samples a second.
    pub rate: SampleRate,
    /// One vector a channel, all of one length.
    pub channels: Vec<Vec<i16>>,
}

impl WavAudio {
    /// All channels mixed into one by their mean.
    pub fn into_mono(mut self) -> Pcm {
        let count = self.channels.len().max(1) as i32;
        let samples = if count == 1 {
            self.channels.pop().unwrap_or_default()
        } else {
            let len = self.channels.first().map_or(0, Vec::len);
            let sum = |at: usize| -> i32 {
                self.channels.iter().filter_map(|one| one.get(at)).map(|s| i32::from(*s)).sum()
            };
            (0..len).map(|at| (sum(at) / count) as i16).collect()
        };
        Pcm { rate: self.rate, samples }
    }
}

/// Reads a PCM16 WAV file of one or two channels, each on its own.
///
/// # Errors
/// When the file cannot be read, is not a WAV file of that kind, or is longer than
/// [`READ_SAMPLES_MAX`].
pub fn read_file(path: &Path) -> Result<WavAudio, WavError> {
    read(BufReader::new(File::open(path)?))
}

/// As [`read_file`], from any source.
///
/// # Errors
/// As [`read_file`].
pub fn read<R: Read>(source: R) -> Result<WavAudio, WavError> {
    let mut reader = hound::WavReader::new(source)?;
    let spec = reader.spec();
    let unsupported = || WavError::Unsupported {
        bits: spec.bits_per_sample,
        channels: spec.channels,
        rate_hz: spec.sample_rate,
    };
    let rate = SampleRate::new(spec.sample_rate).ok_or_else(unsupported)?;
    let whole = spec.sample_format == hound::SampleFormat::Int && spec.bits_per_sample == 16;
    if !whole || !(1..=2).contains(&spec.channels) {
        return Err(unsupported());
    }
    if reader.duration() > READ_SAMPLES_MAX {
        return Err(WavError::TooLong { samples: reader.duration() });
    }
    let mut channels = vec![Vec::new(); usize::from(spec.channels)];
    let mut samples = reader.samples::<i16>();
    'file: loop {
        for channel in &mut channels {
            match samples.next() {
                Some(sample) => channel.push(sample?),
                None => break 'file,
            }
        }
    }
    let shortest = channels.iter().map(Vec::len).min().unwrap_or(0);
    channels.iter_mut().for_each(|channel| channel.truncate(shortest));
    Ok(WavAudio { rate, channels })
}

/// Reads a PCM16 WAV file as one channel.
///
/// # Errors
/// As [`read_file`].
pub fn read_mono(path: &Path) -> Result<Pcm, WavError> {
    read_file(path).map(WavAudio::into_mono)
}

#[cfg(test)]
mod tests;
