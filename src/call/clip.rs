//! Recordings that are played to the caller: WAV files of one directory, and nothing outside it.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::audio::wav;
use crate::types::Pcm;

/// Longest file: what the line's backlog takes at once.
pub const CLIP_MAX: Duration = Duration::from_secs(110);
/// Largest file, bytes: [`CLIP_MAX`] in stereo at 48 kHz.
const FILE_BYTES_MAX: u64 = 24 << 20;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 200;

/// A recording in memory.
#[derive(Clone)]
pub struct Clip {
    /// Name below the directory.
    pub name: String,
    /// Its sound.
    pub pcm: Pcm,
}

impl std::fmt::Debug for Clip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clip").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Clip {
    /// What the transcript shows.
    pub fn label(&self) -> String {
        format!("[audio: {}]", self.name)
    }
}

/// Why a recording can't be played.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// The name leads elsewhere.
    #[error("the name is not that of a `.wav` file below the media directory")]
    Name,
    /// There is no such file.
    #[error("there is no such file in the media directory")]
    Missing,
    /// It can't be used.
    #[error("the file is no 16-bit PCM WAV of one or two channels")]
    Format(#[source] wav::WavError),
    /// It is too long.
    #[error("the file is longer than {} s", CLIP_MAX.as_secs())]
    TooLong,
}

/// Reads a file of the directory, on a thread that may block.
///
/// # Errors
/// When the name leads elsewhere or the file can't be used.
pub async fn load(dir: PathBuf, name: String) -> Result<Clip, ClipError> {
    tokio::task::spawn_blocking(move || read(&dir, name)).await.unwrap_or(Err(ClipError::Missing))
}

/// As [`load`], on the thread that asks.
///
/// # Errors
/// As of [`load`].
pub fn read(dir: &Path, name: String) -> Result<Clip, ClipError> {
    let relative = Path::new(&name);
    let below = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let is_wav = relative.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("wav"));
    if !below || !is_wav || name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Err(ClipError::Name);
    }
    // A link may lead out of the directory.
    let dir = dir.canonicalize().map_err(|_| ClipError::Missing)?;
    let path = dir.join(relative).canonicalize().map_err(|_| ClipError::Missing)?;
    if !path.starts_with(&dir) {
        return Err(ClipError::Name);
    }
    let size = std::fs::metadata(&path).map_err(|_| ClipError::Missing)?;
    if !size.is_file() {
        return Err(ClipError::Missing);
    }
    if size.len() > FILE_BYTES_MAX {
        return Err(ClipError::TooLong);
    }
    let pcm = wav::read_mono(&path).map_err(ClipError::Format)?;
    if pcm.duration() > CLIP_MAX {
        return Err(ClipError::TooLong);
    }
    Ok(Clip { name, pcm })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::wav::{Channels, WavWriter};
    use crate::types::SampleRate;

    #[test]
    fn only_files_of_the_directory_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let media = dir.path().join("media");
        std::fs::create_dir_all(media.join("music")).unwrap();
        let write = |path: PathBuf, seconds: usize| {
            let mut wav = WavWriter::create(&path, SampleRate::HZ_8000, Channels::Mono).unwrap();
            wav.write_mono(&vec![7; 8_000 * seconds]).unwrap();
            wav.finish().unwrap();
        };
        write(media.join("music/hold.wav"), 1);
        write(media.join("long.wav"), 111);
        write(dir.path().join("secret.wav"), 1);
        std::fs::write(media.join("text.wav"), "no sound").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret.wav"), media.join("link.wav")).unwrap();
        let read = |name: &str| read(&media, name.to_owned());
        assert_eq!(read("music/hold.wav").unwrap().pcm.samples.len(), 8_000);
        for name in ["../secret.wav", "/etc/passwd", "link.wav", "music", "hold", "./x.wav"] {
            assert!(matches!(read(name), Err(ClipError::Name)), "{name}");
        }
        assert!(matches!(read("none.wav"), Err(ClipError::Missing)));
        assert!(matches!(read("text.wav"), Err(ClipError::Format(_))));
        assert!(matches!(read("long.wav"), Err(ClipError::TooLong)));
    }
}
