//! Renderings in files: one a key, whole or not there, the oldest removed first. Blocks.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::{Key, RENDERING_BYTES_MAX, Rendering};
use crate::providers::tts::AlignmentMark;
use crate::types::{Pcm, SampleRate};

/// First octets of a file: what it is, and in which form.
const MAGIC: &[u8; 4] = b"TLR1";
const DIGEST_BYTES: usize = 32;
const ENDING: &str = "rendering";
/// Largest file that is read, bytes: twice what is written.
const FILE_BYTES_MAX: u64 = 2 * RENDERING_BYTES_MAX as u64;

/// The directory.
pub(super) struct Disk {
    dir: PathBuf,
    bytes_max: u64,
    files: HashMap<Key, (u64, SystemTime)>,
    bytes: u64,
}

impl Disk {
    /// Makes the directory if it is missing, and looks at what it holds.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub(super) fn open(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut disk = Self { dir: dir.to_owned(), bytes_max, files: HashMap::new(), bytes: 0 };
        for entry in fs::read_dir(dir)?.flatten() {
            let path = entry.path();
            let Some(key) = key_of(&path) else { continue };
            let Ok(facts) = entry.metadata() else { continue };
            let made = facts.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            disk.bytes += facts.len();
            disk.files.insert(key, (facts.len(), made));
        }
        disk.make_room(0);
        Ok(disk)
    }

    fn path(&self, key: Key) -> PathBuf {
        let name: String = key.0.iter().map(|octet| format!("{octet:02x}")).collect();
        self.dir.join(name).with_extension(ENDING)
    }

    /// What a file holds. One that is damaged is removed.
    pub(super) fn read(&mut self, key: Key) -> Option<Rendering> {
        let (length, _) = *self.files.get(&key)?;
        let path = self.path(key);
        let octets = if length <= FILE_BYTES_MAX { fs::read(&path).ok() } else { None };
        let rendering = octets.and_then(|octets| decode(&octets));
        if rendering.is_none() {
            tracing::warn!("a rendering on disk is damaged and is made anew");
            self.remove(key);
        }
        rendering
    }

    /// Writes a file as a whole. What cannot be written is not kept.
    pub(super) fn write(&mut self, key: Key, rendering: &Rendering) {
        let octets = encode(rendering);
        let length = octets.len() as u64;
        if length > self.bytes_max || self.files.contains_key(&key) {
            return;
        }
        self.make_room(length);
        if let Err(error) = self.write_whole(key, &octets) {
            tracing::warn!(%error, "a rendering cannot be written (setting `tts_cache.dir`)");
            return;
        }
        let made = fs::metadata(self.path(key)).and_then(|facts| facts.modified());
        self.files.insert(key, (length, made.unwrap_or(SystemTime::UNIX_EPOCH)));
        self.bytes += length;
    }

    fn write_whole(&self, key: Key, octets: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let part = path.with_extension("part");
        let mut file = fs::File::create(&part)?;
        file.write_all(octets)?;
        file.sync_data()?;
        fs::rename(&part, &path)
    }

    fn make_room(&mut self, length: u64) {
        while self.bytes + length > self.bytes_max {
            let oldest = self.files.iter().min_by_key(|(_, (_, made))| *made).map(|(key, _)| *key);
            let Some(key) = oldest else { return };
            self.remove(key);
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some((length, _)) = self.files.remove(&key) {
            self.bytes = self.bytes.saturating_sub(length);
            // Whoever removed it before us did the same.
            let _ = fs::remove_file(self.path(key));
        }
    }
}

fn key_of(path: &Path) -> Option<Key> {
    if path.extension()? != ENDING {
        return None;
    }
    let name = path.file_stem()?.to_str()?;
    let mut key = [0; DIGEST_BYTES];
    if name.len() != 2 * DIGEST_BYTES || !name.is_ascii() {
        return None;
    }
    for (octet, at) in key.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(name.get(at..at + 2)?, 16).ok()?;
    }
    Some(Key(key))
}

fn encode(rendering: &Rendering) -> Vec<u8> {
    let mut body = Vec::with_capacity(rendering.bytes() + 8);
    body.extend_from_slice(&rendering.pcm.rate.hz().to_le_bytes());
    body.extend_from_slice(&u32::try_from(rendering.marks.len()).unwrap_or(0).to_le_bytes());
    for mark in &rendering.marks {
        body.extend_from_slice(&mark.offset_ms.to_le_bytes());
        body.extend_from_slice(&mark.chars.to_le_bytes());
    }
    for sample in &rendering.pcm.samples {
        body.extend_from_slice(&sample.to_le_bytes());
    }
    let mut octets = MAGIC.to_vec();
    octets.extend_from_slice(&Sha256::digest(&body));
    octets.extend_from_slice(&body);
    octets
}

fn decode(octets: &[u8]) -> Option<Rendering> {
    let rest = octets.strip_prefix(MAGIC)?;
    let (digest, body) = rest.split_at_checked(DIGEST_BYTES)?;
    if Sha256::digest(body).as_slice() != digest {
        return None;
    }
    let (rate, body) = number(body)?;
    let (count, mut body) = number(body)?;
    let mut marks = Vec::new();
    for _ in 0..count {
        let (offset_ms, rest) = number(body)?;
        let (chars, rest) = number(rest)?;
        marks.push(AlignmentMark { offset_ms, chars });
        body = rest;
    }
    let (pairs, odd) = body.as_chunks::<2>();
    let samples = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
    let pcm = Pcm { rate: SampleRate::new(rate)?, samples };
    odd.is_empty().then_some(Rendering { pcm, marks })
}

fn number(octets: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = octets.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*head), rest))
}
