//! What sounds when no voice works: words that were kept, or three falling tones, understood in every language as a
//! line in trouble.

use std::f32::consts::TAU;

use super::TtsLine;
use crate::call::voice::cache::Key;
use crate::turn::sentence::Segmenter;
use crate::types::{Pcm, SampleRate};

/// Frequencies, Hz: those of the special information tone (ITU-T E.180), from high to low.
const TONES_HZ: [f32; 3] = [1_800.0, 1_400.0, 950.0];
/// Length of each, in samples: 330 ms.
const TONE_SAMPLES: u16 = 2_640;
/// Peak level of 32,767.
const PEAK: f32 = 6_000.0;

impl TtsLine {
    /// What sounds without a session: the text as the agent's own voice said it before, else three falling tones.
    pub fn last_resort(&self, text: &str) -> Pcm {
        let mut segmenter = Segmenter::new(0);
        let mut sentences = segmenter.push(text);
        sentences.extend(segmenter.flush());
        let mut whole: Option<Pcm> = None;
        for sentence in sentences {
            let spoken = self.speech.say(sentence.trim());
            let own = Key::new(&self.agent, &self.agent.voice, spoken.text());
            let kept = self.cache.find(own).or_else(|| self.cache.find(self.key(spoken.text())?));
            let Some(kept) = kept else { return falling() };
            match &mut whole {
                None => whole = Some(kept.pcm.clone()),
                Some(whole) if whole.rate == kept.pcm.rate => {
                    whole.samples.extend_from_slice(&kept.pcm.samples);
                }
                Some(_) => {}
            }
        }
        whole.unwrap_or_else(falling)
    }
}

/// Makes them.
pub(in crate::call::voice) fn falling() -> Pcm {
    let rate = SampleRate::HZ_8000;
    let tone = |hz: f32| {
        let step = TAU * hz / 8_000.0;
        (0..TONE_SAMPLES).map(move |n| (PEAK * (step * f32::from(n)).sin()) as i16)
    };
    Pcm { rate, samples: TONES_HZ.into_iter().flat_map(tone).collect() }
}
