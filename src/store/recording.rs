//! Where recordings lie, how they are named, read in pieces, and repaired after a crash.
//!
//! One directory a UTC day, one file a call: `2026-11-21/<call id>.wav`. The record keeps that
//! relative name. Writing samples is `call::recorder`'s; here a file is only bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::types::CallId;

/// Most bytes one read returns: the API streams in such pieces.
pub const READ_MAX: usize = 256 * 1_024;
/// Length of the fields of a `fmt ` chunk that every PCM file has.
const FORMAT_BYTES: usize = 16;
/// Bytes searched for the `data` chunk; our own header is 44 long.
const HEADER_MAX: usize = 4_096;

/// Why a recording cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The name is not one this directory gives out; nothing was opened.
    #[error("find a recording: not a recording's name")]
    Name,
    /// No such file.
    #[error("find a recording: no such file")]
    Missing,
    /// The file is not a RIFF WAVE file with a `data` chunk.
    #[error("repair a recording: not a WAV file")]
    NotWav,
    /// The file system says no.
    #[error("use a recording")]
    Io(#[source] io::Error),
}

impl From<io::Error> for RecordingError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Missing } else { Self::Io(error) }
    }
}

/// What a file turned out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WavFacts {
    /// Size of the file.
    pub bytes: u64,
    /// Bytes of samples in it.
    pub data_bytes: u64,
    /// Samples a second of each channel.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
    /// Whether its header had to be corrected.
    pub repaired: bool,
}

impl WavFacts {
    /// Length of the audio.
    pub fn duration_ms(&self) -> u64 {
        let bytes_a_second = u64::from(self.sample_rate) * u64::from(self.channels) * 2;
        (self.data_bytes * 1_000).checked_div(bytes_a_second).unwrap_or(0)
    }
}

/// The recordings directory.
#[derive(Clone, Debug)]
pub struct Recordings {
    root: PathBuf,
}

impl Recordings {
    /// Opens the directory and makes it if missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> Result<Self, RecordingError> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Name of a call's recording.
    pub fn filename(call: CallId, created_at: jiff::Timestamp) -> String {
        format!("{}/{call}.wav", created_at.strftime("%Y-%m-%d"))
    }

    /// Makes the file of a new recording. An existing one is never written over.
    ///
    /// # Errors
    /// When the name is not ours, the file exists, or the volume says no.
    pub fn create(&self, filename: &str) -> Result<File, RecordingError> {
        let path = self.path(filename)?;
        if let Some(day) = path.parent() {
            fs::create_dir_all(day)?;
        }
        Ok(OpenOptions::new().write(true).read(true).create_new(true).open(path)?)
    }

    /// Path of a recording. Only names of the form `YYYY-MM-DD/<call id>.wav` have one, so no name,
    /// wherever it comes from, leads out of the directory.
    ///
    /// # Errors
    /// For every other name.
    pub fn path(&self, filename: &str) -> Result<PathBuf, RecordingError> {
        let (day, file) = filename.split_once('/').ok_or(RecordingError::Name)?;
        let id = file.strip_suffix(".wav").ok_or(RecordingError::Name)?;
        let call: CallId = id.parse().map_err(|_| RecordingError::Name)?;
        let date = day.bytes().enumerate().all(|(at, octet)| match at {
            4 | 7 => octet == b'-',
            _ => octet.is_ascii_digit(),
        });
        // The parser of ids also takes other spellings of the same id.
        if day.len() != 10 || !date || call.to_string() != id {
            return Err(RecordingError::Name);
        }
        Ok(self.root.join(day).join(file))
    }

    /// Bytes that can still be written to the volume.
    ///
    /// # Errors
    /// When the directory cannot be looked at, or is read-only.
    pub fn free_bytes(&self) -> Result<u64, RecordingError> {
        let volume = rustix::fs::statvfs(&self.root).map_err(io::Error::from)?;
        if volume.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return Err(RecordingError::Io(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }

    /// Removes a recording.
    ///
    /// # Errors
    /// When the name is not ours, or there is no such file.
    pub fn remove(&self, filename: &str) -> Result<(), RecordingError> {
        Ok(fs::remove_file(self.path(filename)?)?)
    }

    /// Size of a recording.
    ///
    /// # Errors
    /// When the name is not ours or there is no such file.
    pub fn len(&self, filename: &str) -> Result<u64, RecordingError> {
        Ok(fs::metadata(self.path(filename)?)?.len())
    }

    /// Bytes from `offset`, at most `count` and [`READ_MAX`]; empty past the end.
    ///
    /// # Errors
    /// When the name is not ours or the file cannot be read.
    pub fn read(
        &self,
        filename: &str,
        offset: u64,
        count: usize,
    ) -> Result<Vec<u8>, RecordingError> {
        let mut file = File::open(self.path(filename)?)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(count.min(READ_MAX) as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Corrects the sizes in the header from the length of the file, and syncs it.
    ///
    /// # Errors
    /// When the name is not ours, or the file is missing, no WAV file, or cannot be written.
    pub fn repair(&self, filename: &str) -> Result<WavFacts, RecordingError> {
        let mut file = OpenOptions::new().read(true).write(true).open(self.path(filename)?)?;
        repair(&mut file)
    }

    /// Names of every recording on disk, oldest day first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn index(&self) -> Result<Vec<String>, RecordingError> {
        let mut names = Vec::new();
        for day in fs::read_dir(&self.root)? {
            let day = day?;
            if !day.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(day.path())? {
                let name = Path::new(&day.file_name()).join(file?.file_name());
                let Some(name) = name.to_str() else { continue };
                if self.path(name).is_ok() {
                    names.push(name.to_owned());
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Repairs one RIFF WAVE file of 16-bit PCM whose writer died: cuts half a sample frame off its
/// end, and sets the RIFF and `data` sizes from its length.
fn repair(file: &mut File) -> Result<WavFacts, RecordingError> {
    let length = file.metadata()?.len();
    let mut header = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(HEADER_MAX as u64).read_to_end(&mut header)?;
    if header.get(0..4) != Some(b"RIFF") || header.get(8..12) != Some(b"WAVE") {
        return Err(RecordingError::NotWav);
    }
    let (mut at, mut format) = (12usize, None);
    let data_at = loop {
        let size = word(&header, at + 4).ok_or(RecordingError::NotWav)? as usize;
        match header.get(at..at + 4) {
            Some(b"data") => break at,
            // Shorter ones would lend their fields from the chunk that follows.
            Some(b"fmt ") if size >= FORMAT_BYTES => {
                format = word(&header, at + 12).zip(word(&header, at + 8))
            }
            _ => {}
        }
        // Chunks are padded to even length.
        at = at.saturating_add(8).saturating_add(size).saturating_add(size & 1);
    };
    let (sample_rate, tag_channels) = format.ok_or(RecordingError::NotWav)?;
    let channels = (tag_channels >> 16) as u16;
    let start = data_at as u64 + 8;
    let frame = u64::from(channels.max(1)) * 2;
    let data_bytes = length.saturating_sub(start) / frame * frame;
    let bytes = start + data_bytes;
    // A file beyond the format's 4 GiB keeps the largest size it can state; players read to its end.
    let data_size = u32::try_from(data_bytes).unwrap_or(u32::MAX);
    let riff_size = u32::try_from(bytes - 8).unwrap_or(u32::MAX);
    let repaired = length != bytes
        || word(&header, 4) != Some(riff_size)
        || word(&header, data_at + 4) != Some(data_size);
    if repaired {
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(4))?;
        file.write_all(&riff_size.to_le_bytes())?;
        file.seek(SeekFrom::Start(data_at as u64 + 4))?;
        file.write_all(&data_size.to_le_bytes())?;
        file.sync_all()?;
    }
    Ok(WavFacts { bytes, data_bytes, sample_rate, channels, repaired })
}

/// The little-endian 32-bit number at `at`.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}
