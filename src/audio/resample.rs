//! Changing the sample rate of a stream, with 2 ms of delay instead of the 10 ms of an FFT resampler.
//!
//! A windowed sinc of 32 input samples (times the decimation) passes 3.4 kHz with 0.2 dB of loss and
//! keeps aliases 78 dB down. Behind it stands a queue, so that what comes out in total is exactly
//! what went in times the ratio, whatever sizes the pieces had. `rubato` is named only here.

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use crate::types::SampleRate;

/// Taps at the lower of the two rates: 4 ms at 8 kHz, of which half is delay.
const SINC_TAPS: usize = 32;
/// Pass band as a part of the lower Nyquist frequency (the library scales it when going down).
const CUTOFF: f32 = 0.96;

/// The pair of rates is not one the resampler can be built for.
#[derive(Debug, thiserror::Error)]
#[error("build a resampler from {from:?} to {to:?}")]
pub struct ResampleError {
    from: SampleRate,
    to: SampleRate,
    #[source]
    source: rubato::ResamplerConstructionError,
}

/// Resamples one stream of mono PCM. Keeps the filter's memory between pushes.
pub struct Resampler {
    from: SampleRate,
    to: SampleRate,
    /// `None` when the rates are equal: samples are copied.
    sinc: Option<Box<Sinc>>,
}

struct Sinc {
    inner: Async<f32>,
    /// Input waiting for a whole chunk.
    pending: Vec<f32>,
    chunk: usize,
    /// One chunk's output.
    scratch: Vec<f32>,
    /// Output not yet handed over.
    ready: Vec<i16>,
    consumed: u64,
    emitted: u64,
    /// Zeros put before the first output so that the first block is full like all others.
    primed: Option<usize>,
}

impl Resampler {
    /// A resampler between two rates.
    ///
    /// # Errors
    /// When the ratio is outside what the filter supports; no ratio between two rates of
    /// [`SampleRate`] is.
    pub fn new(from: SampleRate, to: SampleRate) -> Result<Self, ResampleError> {
        let sinc = if from == to { None } else { Some(Box::new(Sinc::new(from, to)?)) };
        Ok(Self { from, to, sinc })
    }

    /// Rate of what is pushed.
    pub fn from(&self) -> SampleRate {
        self.from
    }

    /// Rate of what comes out.
    pub fn to(&self) -> SampleRate {
        self.to
    }

    /// Samples at the output rate by which a sound comes out later than it went in.
    pub fn delay(&self) -> usize {
        self.sinc.as_ref().map_or(0, |sinc| sinc.inner.output_delay() + sinc.primed.unwrap_or(0))
    }

    /// Takes any number of samples and appends what is ready to `out`. Allocates only if `out` or
    /// the queue must grow, which it does not once it has seen the longest piece.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        match &mut self.sinc {
            None => out.extend_from_slice(samples),
            Some(sinc) => sinc.push(self.from, self.to, samples, out),
        }
    }

    /// Ends the stream: appends what the filter still holds, so that the sound's last sample is out.
    /// In total there came out `in * to / from + delay` samples. The resampler is then as new.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let delay = self.delay() as u64;
        if let Some(sinc) = &mut self.sinc {
            let total_in = sinc.consumed + sinc.pending.len() as u64;
            if total_in > 0 {
                let target = scaled(total_in, self.from, self.to) + delay;
                while sinc.emitted < target {
                    let missing = sinc.chunk - sinc.pending.len();
                    sinc.pending.extend(std::iter::repeat_n(0.0, missing));
                    sinc.process(self.from, self.to);
                    sinc.emit(target, out);
                }
            }
            sinc.reset();
        }
    }

    /// Forgets the stream so far; the next push begins a new one.
    pub fn reset(&mut self) {
        if let Some(sinc) = &mut self.sinc {
            sinc.reset();
        }
    }
}

impl Sinc {
    fn new(from: SampleRate, to: SampleRate) -> Result<Self, ResampleError> {
        let down = (f64::from(from.hz()) / f64::from(to.hz())).max(1.0);
        // A multiple of eight suits the vectorised inner loop.
        let taps = (SINC_TAPS as f64 * down / 8.0).ceil() as usize * 8;
        let parameters = SincInterpolationParameters {
            sinc_len: taps,
            f_cutoff: Some(CUTOFF),
            oversampling_factor: 128,
            interpolation: SincInterpolationType::Linear,
            window: WindowFunction::Blackman,
        };
        // 10 ms where that is a whole number of samples, else 20 ms (22,050 Hz: 441).
        let chunk =
            if from.hz().is_multiple_of(100) { from.hz() / 100 } else { from.hz() / 50 } as usize;
        let ratio = f64::from(to.hz()) / f64::from(from.hz());
        let inner = Async::<f32>::new_sinc(ratio, 1.0, &parameters, chunk, 1, FixedAsync::Input)
            .map_err(|source| ResampleError { from, to, source })?;
        let scratch = vec![0.0; inner.output_frames_max()];
        Ok(Self {
            inner,
            pending: Vec::with_capacity(chunk),
            chunk,
            scratch,
            ready: Vec::with_capacity(to.samples_in_ms(60)),
            consumed: 0,
            emitted: 0,
            primed: None,
        })
    }

    fn push(&mut self, from: SampleRate, to: SampleRate, samples: &[i16], out: &mut Vec<i16>) {
        let mut rest = samples;
        while !rest.is_empty() {
            let take = rest.len().min(self.chunk - self.pending.len());
            let (now, later) = rest.split_at(take);
            self.pending.extend(now.iter().map(|sample| f32::from(*sample)));
            rest = later;
            if self.pending.len() == self.chunk {
                self.process(from, to);
                self.emit(scaled(self.consumed, from, to), out);
            }
        }
    }

    /// Runs the filter over one whole chunk.
    fn process(&mut self, from: SampleRate, to: SampleRate) {
        self.consumed += self.pending.len() as u64;
        let capacity = self.scratch.len();
        let written = match (
            SequentialSlice::new(&self.pending, 1, self.chunk),
            SequentialSlice::new_mut(&mut self.scratch, 1, capacity),
        ) {
            (Ok(input), Ok(mut output)) => self
                .inner
                .process_into_buffer(&input, &mut output, None)
                .map_or(0, |(_, written)| written),
            _ => 0,
        };
        self.pending.clear();
        if self.primed.is_none() {
            // One sample more than the first block lacks: later blocks may be one short.
            let expected = scaled(self.consumed, from, to) as usize;
            let missing = expected.saturating_sub(written) + 1;
            self.ready.extend(std::iter::repeat_n(0, missing));
            self.primed = Some(missing);
        }
        let rounded = self.scratch.iter().take(written).map(|value| value.round() as i16);
        self.ready.extend(rounded);
    }

    /// Hands over samples until `target` have been emitted in total.
    fn emit(&mut self, target: u64, out: &mut Vec<i16>) {
        let due = (target.saturating_sub(self.emitted) as usize).min(self.ready.len());
        out.extend(self.ready.drain(..due));
        self.emitted += due as u64;
    }

    fn reset(&mut self) {
        self.inner.reset();
        self.pending.clear();
        self.ready.clear();
        self.consumed = 0;
        self.emitted = 0;
        self.primed = None;
    }
}

/// Samples at `to` that correspond to `samples` at `from`, rounded down.
fn scaled(samples: u64, from: SampleRate, to: SampleRate) -> u64 {
    (u128::from(samples) * u128::from(to.hz()) / u128::from(from.hz())) as u64
}

#[cfg(test)]
mod tests;
