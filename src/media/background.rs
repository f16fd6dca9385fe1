//! Sound behind the agent: it goes on whether the agent speaks or not, over and over.

use std::sync::Arc;

use crate::audio::mix;
use crate::audio::noise::ComfortNoise;
use crate::audio::resample::{ResampleError, Resampler};
use crate::types::{Pcm, SampleRate};

/// The end goes over into the beginning for so long, milliseconds.
const SEAM_MS: u32 = 100;
/// Length of the noise that is made here, seconds.
const NOISE_S: usize = 10;
/// Level of that noise at full loudness: a quiet room.
const NOISE_DBFS: f32 = -40.0;

/// A sound that many calls share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Background {
    /// At the rate of the line, at its loudness.
    samples: Box<[i16]>,
}

impl Background {
    /// A recording, at `volume` of its loudness.
    ///
    /// # Errors
    /// When it cannot be brought to the line's rate.
    pub fn of(pcm: &Pcm, volume: f32) -> Result<Self, ResampleError> {
        let rate = SampleRate::HZ_8000;
        let mut samples = Vec::new();
        if pcm.rate == rate {
            samples.clone_from(&pcm.samples);
        } else {
            let mut resampler = Resampler::new(pcm.rate, rate)?;
            resampler.push(&pcm.samples, &mut samples);
            resampler.finish(&mut samples);
        }
        Ok(Self::looped(samples, volume))
    }

    /// The air of a quiet room.
    pub fn room(volume: f32) -> Self {
        let mut samples = vec![0; NOISE_S * 8_000];
        ComfortNoise::new(NOISE_DBFS + 8.0, 5).fill(&mut samples);
        // What a room lets through is dull.
        let mut low = 0.0;
        for sample in &mut samples {
            low += 0.25 * (f32::from(*sample) - low);
            *sample = low as i16;
        }
        Self::looped(samples, volume)
    }

    fn looped(mut samples: Vec<i16>, volume: f32) -> Self {
        let volume = volume.clamp(0.0, 1.0);
        samples.iter_mut().for_each(|sample| *sample = (f32::from(*sample) * volume) as i16);
        let seam = SampleRate::HZ_8000.samples_in_ms(SEAM_MS).min(samples.len() / 2);
        let head: Vec<i16> = samples.drain(..seam).collect();
        let tail = samples.len().saturating_sub(seam);
        mix::cross_fade(samples.get_mut(tail..).unwrap_or_default(), &head);
        Self { samples: samples.into() }
    }
}

/// Where one call is in it.
#[derive(Clone, Debug, Default)]
pub struct Playing {
    sound: Option<Arc<Background>>,
    at: usize,
}

impl Playing {
    /// From the beginning; `None`: nothing.
    pub fn new(sound: Option<Arc<Background>>) -> Self {
        Self { sound, at: 0 }
    }

    /// Adds the next stretch to a frame.
    pub fn add_to(&mut self, frame: &mut [i16], rate: SampleRate) {
        let Some(sound) = &self.sound else { return };
        // The sound is kept once, at the rate of most lines; a wideband one hears it with steps between.
        let steps = if rate == SampleRate::HZ_16000 { 2 } else { 1 };
        for chunk in frame.chunks_mut(steps) {
            let next = if self.at + 1 < sound.samples.len() { self.at + 1 } else { 0 };
            let (Some(under), Some(after)) = (sound.samples.get(self.at), sound.samples.get(next))
            else {
                return;
            };
            for (number, sample) in chunk.iter_mut().enumerate() {
                let between = i32::from(*after) - i32::from(*under);
                let shift = between * number as i32 / steps as i32;
                let under = i32::from(*under) + shift;
                *sample = sample.saturating_add(under as i16);
            }
            self.at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::level::rms_dbfs;

    #[test]
    fn it_goes_round_without_a_click() {
        let samples: Vec<i16> =
            (0..8_000).map(|n| (10_000.0 * (n as f32 * 0.011).sin()) as i16).collect();
        let pcm = Pcm { rate: SampleRate::HZ_8000, samples };
        let mut playing = Playing::new(Some(Arc::new(Background::of(&pcm, 0.5).unwrap())));
        let mut heard = vec![0; 24_000];
        heard.chunks_mut(160).for_each(|frame| playing.add_to(frame, SampleRate::HZ_8000));
        let loudest = heard.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!((4_900..=5_000).contains(&loudest), "{loudest}");
        let step = heard.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
        assert!(step < 120, "a click of {step}");
        assert_eq!(heard[..7_000], heard[7_200..14_200], "after 0.9 s it begins again");
    }

    #[test]
    fn a_room_is_quiet_and_nothing_is_nothing() {
        let mut playing = Playing::new(Some(Arc::new(Background::room(1.0))));
        let mut heard = vec![0; 16_000];
        heard.chunks_mut(160).for_each(|frame| playing.add_to(frame, SampleRate::HZ_8000));
        let level = rms_dbfs(&heard);
        assert!((-44.0..-38.0).contains(&level), "{level} dBFS");
        for sound in [None, Some(Arc::new(Background::default()))] {
            let mut frame = [3; 160];
            Playing::new(sound).add_to(&mut frame, SampleRate::HZ_8000);
            assert_eq!(frame, [3; 160]);
        }
        let short = Pcm { rate: SampleRate::HZ_16000, samples: vec![100; 3] };
        let mut frame = [0; 160];
        Playing::new(Some(Arc::new(Background::of(&short, 1.0).unwrap())))
            .add_to(&mut frame, SampleRate::HZ_8000);
    }
}
