//! Bodies of the fuzz targets `wav` and `audio_frames`.

use std::io::Cursor;
use std::time::Duration;

use super::wav::{self, Channels, WavError, WavWriter};
use super::{
    Concealer, Decoder, DtmfDetector, DtmfEvent, Encoder, Resampler, SpeechDetector, VadConfig,
};
use super::{VadEvent, vad};
use crate::types::{CodecName, SampleRate};

/// Samples of one frame at 8 kHz.
const FRAME: usize = 160;
/// Frames of one run; more only makes it longer.
const FRAMES_MAX: usize = 24;

/// What is read from a WAV file is no more than the file held, and is read again as it was written.
///
/// # Panics
/// When it is not.
pub fn wav(data: &[u8]) {
    if let Ok(audio) = wav::read(data) {
        let frames = audio.channels.first().map_or(0, Vec::len);
        assert!(audio.channels.iter().all(|channel| channel.len() == frames), "uneven channels");
        assert!(frames * audio.channels.len() * 2 <= data.len(), "more audio than octets");
        assert_eq!(wav::read(written(&audio).as_slice()).ok().as_ref(), Some(&audio));
        assert_eq!(audio.into_mono().samples.len(), frames);
    }
}

fn written(audio: &wav::WavAudio) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let (left, right) = (audio.channels.first(), audio.channels.get(1));
    let channels = if right.is_some() { Channels::Stereo } else { Channels::Mono };
    let mut write = || -> Result<(), WavError> {
        let mut writer = WavWriter::new(&mut file, audio.rate, channels)?;
        let left = left.map_or(&[][..], Vec::as_slice);
        match right {
            Some(right) => writer.write_stereo(left, right)?,
            None => writer.write_mono(left)?,
        }
        writer.finish()
    };
    assert!(write().is_ok(), "memory takes every WAV file");
    file.into_inner()
}

/// Payloads and losses through decoder, concealment, detectors and resampler.
///
/// The first two octets choose codec, settings and rates; then each frame has an octet of length (or
/// loss) and its payload.
///
/// # Panics
/// When an edge comes twice, lies in the future or goes back, or when the resampler's output depends
/// on how its input was cut.
pub fn audio_frames(data: &[u8]) {
    let &[choice, rates, ref rest @ ..] = data else { return };
    let mut run = Run::new(choice);
    let mut heard: Vec<i16> = Vec::new();
    let mut rest = rest;
    for _ in 0..FRAMES_MAX {
        let Some((&head, after)) = rest.split_first() else { break };
        let len = usize::from(head).min(after.len()).min(FRAME);
        let (payload, after) = after.split_at(len);
        rest = after;
        run.frame(head, payload);
        heard.extend_from_slice(&run.pcm);
    }
    run.finish();
    resample(&heard, rates);
}

struct Run {
    decoder: Decoder,
    encoder: Encoder,
    silence: u8,
    concealer: Concealer,
    vad: SpeechDetector,
    tones: DtmfDetector,
    pcm: [i16; FRAME],
    now: std::time::Instant,
    speaking: bool,
    edge: Option<std::time::Instant>,
    key: Option<u8>,
}

impl Run {
    fn new(choice: u8) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant serves as the origin")]
        let now = std::time::Instant::now();
        let name = if choice & 1 == 0 { CodecName::Pcmu } else { CodecName::Pcma };
        let kind = if choice & 2 == 0 { vad::VadKind::Neural } else { vad::VadKind::Energy };
        let noise_suppression = match choice >> 2 & 3 {
            0 | 1 => vad::NoiseSuppression::Off,
            2 => vad::NoiseSuppression::Auto,
            _ => vad::NoiseSuppression::On,
        };
        let config = VadConfig { kind, noise_suppression, start_ms: 20, ..VadConfig::default() };
        let vad = SpeechDetector::new(config, SampleRate::HZ_8000);
        assert!(vad.is_ok(), "settings in their ranges");
        let Ok(vad) = vad else { unreachable!("asserted above") };
        let silence =
            if choice & 1 == 0 { super::g711::ULAW_SILENCE } else { super::g711::ALAW_SILENCE };
        let line = SampleRate::HZ_8000;
        let (Ok(decoder), Ok(encoder)) = (Decoder::new(name, line), Encoder::new(name, line))
        else {
            unreachable!("G.711 takes nothing")
        };
        Self {
            decoder,
            encoder,
            silence,
            concealer: Concealer::new(SampleRate::HZ_8000),
            vad,
            tones: DtmfDetector::new(SampleRate::HZ_8000),
            pcm: [0; FRAME],
            now,
            speaking: false,
            edge: None,
            key: None,
        }
    }

    fn frame(&mut self, head: u8, payload: &[u8]) {
        self.now += Duration::from_millis(20);
        if head == u8::MAX {
            self.concealer.conceal(&mut self.pcm);
            assert!(self.concealer.is_concealing());
        } else {
            self.decode(head, payload);
            self.concealer.received(&mut self.pcm);
            assert!(!self.concealer.is_concealing());
        }
        if let Some(event) = self.tones.push(&self.pcm) {
            self.tone(event);
        }
        self.vad.set_masked(self.tones.is_active());
        if let Some(event) = self.vad.push(self.now, &self.pcm) {
            self.speech(event);
        }
        assert_eq!(self.vad.is_speaking(), self.speaking, "an edge was not told");
        assert!(self.vad.noise_floor_dbfs().is_finite());
    }

    /// Fills the frame with the payload again and again, so that short inputs make loud frames.
    fn decode(&mut self, head: u8, payload: &[u8]) {
        let silence = [self.silence];
        let pattern = if payload.is_empty() { &silence[..] } else { payload };
        let mut octets = [head; FRAME];
        for (octet, from) in octets.iter_mut().zip(pattern.iter().cycle()) {
            *octet = *from;
        }
        assert_eq!(self.decoder.decode(&octets, &mut self.pcm), FRAME);
        let mut again = [0; FRAME];
        assert_eq!(self.encoder.encode(&self.pcm, &mut again), FRAME);
        let mut pcm = [0; FRAME];
        self.decoder.decode(&again, &mut pcm);
        assert_eq!(pcm, self.pcm, "G.711 is not idempotent");
    }

    fn tone(&mut self, event: DtmfEvent) {
        match event {
            DtmfEvent::Started { digit } => {
                assert!(b"0123456789*#ABCD".contains(&digit), "no key: {digit}");
                assert_eq!(self.key.replace(digit), None, "a key goes down twice");
            }
            DtmfEvent::Ended { digit, .. } => {
                assert_eq!(self.key.take(), Some(digit), "a key goes up that was not down");
            }
        }
    }

    fn speech(&mut self, event: VadEvent) {
        let (speaking, at) = match event {
            VadEvent::Started { onset } => (true, onset),
            VadEvent::Ended { last_voiced } => (false, last_voiced),
        };
        assert_ne!(self.speaking, speaking, "the same edge twice");
        assert!(at <= self.now, "an edge in the future");
        assert!(self.edge.is_none_or(|edge| edge <= at), "an edge before the last one");
        (self.speaking, self.edge) = (speaking, Some(at));
    }

    fn finish(&mut self) {
        assert_eq!(self.vad.finish().is_some(), self.speaking);
    }
}

fn resample(samples: &[i16], rates: u8) {
    const RATES: [SampleRate; 4] =
        [SampleRate::HZ_8000, SampleRate::HZ_16000, SampleRate::HZ_24000, SampleRate::HZ_48000];
    let rate = |bits: u8| RATES.get(usize::from(bits & 3)).copied().unwrap_or(SampleRate::HZ_8000);
    let (from, to) = (rate(rates), rate(rates >> 2));
    let size = usize::from(rates >> 4) * 23 + 1;
    let through = |size: usize| {
        let mut out = Vec::new();
        let resampler = Resampler::new(from, to);
        assert!(resampler.is_ok(), "the rates we use");
        let Ok(mut resampler) = resampler else { return (out, 0) };
        samples.chunks(size).for_each(|piece| resampler.push(piece, &mut out));
        let delay = resampler.delay();
        resampler.finish(&mut out);
        (out, delay)
    };
    let (whole, delay) = through(samples.len().max(1));
    assert_eq!(whole, through(size).0, "the output depends on the cuts");
    if !samples.is_empty() {
        let expected = samples.len() as u64 * u64::from(to.hz()) / u64::from(from.hz());
        let found = (whole.len() as u64).saturating_sub(delay as u64);
        assert!(found.abs_diff(expected) <= 1, "{found} samples instead of {expected}");
    }
}
