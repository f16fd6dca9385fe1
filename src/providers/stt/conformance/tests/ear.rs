//! What a server hears: a run of samples around 3000 is the word `w3`, silence ends it.

use crate::audio::g711;

/// Between words so close no turn ends.
const TURN_SECONDS: f64 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Pcm,
    MuLaw,
    Float,
}

pub(super) struct Word {
    pub(super) text: String,
    /// Where it ends, s.
    pub(super) end: f64,
}

pub(super) struct Ear {
    pub(super) rate: f64,
    pub(super) format: Format,
    pub(super) samples: u64,
    /// Words of the turn.
    pub(super) words: Vec<Word>,
    /// All octets.
    pub(super) octets: Vec<u8>,
    pub(super) level: i32,
    pub(super) silence: u64,
}

impl Default for Ear {
    fn default() -> Self {
        Self {
            rate: 8_000.0,
            format: Format::Pcm,
            samples: 0,
            words: Vec::new(),
            octets: Vec::new(),
            level: 0,
            silence: 0,
        }
    }
}

impl Ear {
    /// A format that a query or a first message asks for.
    pub(super) fn set(&mut self, encoding: &str, rate: &str) {
        self.format = if encoding.contains("mulaw") { Format::MuLaw } else { Format::Pcm };
        self.rate = rate.parse().unwrap();
    }

    pub(super) fn hear(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
        let samples: Vec<i32> = match self.format {
            Format::Pcm => octets
                .as_chunks::<2>()
                .0
                .iter()
                .map(|pair| i16::from_le_bytes(*pair).into())
                .collect(),
            Format::MuLaw => octets.iter().map(|octet| g711::decode_ulaw(*octet).into()).collect(),
            Format::Float => octets
                .as_chunks::<4>()
                .0
                .iter()
                .map(|four| (f32::from_le_bytes(*four) * 32_768.0) as i32)
                .collect(),
        };
        for sample in samples {
            self.samples += 1;
            let level = (sample + 500).div_euclid(1_000);
            let end = self.seconds();
            if level != 0 && level != self.level {
                self.words.push(Word { text: format!("w{level}"), end });
            }
            self.silence = if level == 0 { self.silence + 1 } else { 0 };
            if let Some(word) = self.words.last_mut().filter(|_| level != 0) {
                word.end = end;
            }
            self.level = level;
        }
    }

    /// So much silence after words.
    pub(super) fn pause(&self) -> f64 {
        if self.words.is_empty() { 0.0 } else { self.silence as f64 / self.rate }
    }

    /// A pause after which a turn is over.
    pub(super) fn is_over(&self) -> bool {
        self.pause() >= TURN_SECONDS
    }

    pub(super) fn seconds(&self) -> f64 {
        self.samples as f64 / self.rate
    }

    pub(super) fn text(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        words.join(" ")
    }

    /// The text of a turn that ends.
    pub(super) fn take(&mut self) -> String {
        let text = self.text();
        self.words.clear();
        text
    }
}

/// A value of a query, as it stands.
pub(super) fn query<'a>(uri: &'a str, name: &str) -> &'a str {
    let query = uri.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
}
