//! Workshop: samples. Codecs, resampling, concealment, levels, voice activity, tones, WAV.
