//! WAV files: the stereo recording of a call, prompts and test signals. `hound` is named only here.
//!
//! The writer flushes data and header once a second of audio, so that a killed process leaves a
//! playable file that lacks at most that second; [`repair`] restores even that from the file's length.
//! Calls block: use them from a thread that may.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::types::{Pcm, SampleRate};

/// Longest WAV read into memory: an hour at 48 kHz. Longer files are refused.
pub const READ_SAMPLES_MAX: u32 = 48_000 * 3_600;

/// Chunks looked at when a header is repaired: more than any writer puts before the data.
const REPAIR_CHUNKS_MAX: usize = 64;

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

/// What [`repair`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The sizes in the header were right.
    Intact,
    /// The sizes were set from the length of the file.
    Repaired {
        /// Octets of audio the header now covers.
        data_bytes: u32,
    },
}

/// Sets the RIFF and data sizes of a file whose writer was killed from the file's length; half a
/// sample at the end is cut off. Safe to call on a good file.
///
/// # Errors
/// When the file cannot be opened or written, or has no WAV header with a data chunk.
pub fn repair(path: &Path) -> Result<Repair, WavError> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let damaged = |text: &'static str| WavError::Format(hound::Error::FormatError(text));
    let mut head = [0_u8; 12];
    file.read_exact(&mut head).map_err(|_| damaged("no RIFF header"))?;
    let [r, i, f, f2, s0, s1, s2, s3, w, a, v, e] = head;
    if [r, i, f, f2] != *b"RIFF" || [w, a, v, e] != *b"WAVE" {
        return Err(damaged("no RIFF header"));
    }
    let mut at = 12_u64;
    let mut block = 1_u64;
    for _ in 0..REPAIR_CHUNKS_MAX {
        let mut chunk = [0_u8; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut chunk).map_err(|_| damaged("no data chunk"))?;
        let [c0, c1, c2, c3, l0, l1, l2, l3] = chunk;
        let size = u32::from_le_bytes([l0, l1, l2, l3]);
        match &[c0, c1, c2, c3] {
            b"data" => {
                let riff = u32::from_le_bytes([s0, s1, s2, s3]);
                return set_sizes(&mut file, len, (at, block), (riff, size));
            }
            b"fmt " => {
                let mut format = [0_u8; 14];
                file.read_exact(&mut format).map_err(|_| damaged("format cut short"))?;
                let [.., low, high] = format;
                block = u64::from(u16::from_le_bytes([low, high])).max(1);
            }
            _ => {}
        }
        // Chunks are padded to an even length.
        at += 8 + u64::from(size) + u64::from(size % 2);
    }
    Err(damaged("no data chunk"))
}

/// Writes both sizes if they are not what the file's length says.
fn set_sizes(
    file: &mut File,
    len: u64,
    (data_at, block): (u64, u64),
    (riff, data): (u32, u32),
) -> Result<Repair, WavError> {
    let audio = len.saturating_sub(data_at + 8).min(DATA_BYTES_MAX);
    let audio = audio - audio % block;
    let end = data_at + 8 + audio;
    let has_chunks_after = u64::from(data) < audio && u64::from(riff) + 8 == len && data > 0;
    if has_chunks_after || (u64::from(data) == audio && u64::from(riff) + 8 == end) {
        return Ok(Repair::Intact);
    }
    let data_bytes = u32::try_from(audio).map_err(|_| WavError::Full)?;
    let riff_bytes = u32::try_from(end - 8).map_err(|_| WavError::Full)?;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(4))?;
    file.write_all(&riff_bytes.to_le_bytes())?;
    file.seek(SeekFrom::Start(data_at + 4))?;
    file.write_all(&data_bytes.to_le_bytes())?;
    file.sync_data()?;
    Ok(Repair::Repaired { data_bytes })
}

#[cfg(test)]
mod tests;
