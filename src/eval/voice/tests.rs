//! How loud the noise is, and where the words are in it.

use super::*;

fn speech() -> Vec<i16> {
    let mut samples = vec![0; 8_000];
    ComfortNoise::new(SPEECH_DBFS, 5).fill(&mut samples[2_000..6_000]);
    samples
}

#[tokio::test]
async fn noise_stands_behind_the_words_as_far_as_asked() {
    for (kind, snr_db) in
        [(NoiseKind::White, 20.0), (NoiseKind::Pink, 10.0), (NoiseKind::Pink, 20.0)]
    {
        let clean = speech();
        let found = spans(&clean, RATE, &SpanRules::quiet());
        let noise = Noise { kind, snr_db, file: None };
        let clip = noisy(clean, &found, &noise).await.unwrap();
        let lead = RATE.samples_in_ms(NOISE_LEAD_MS);
        let behind = level::rms_dbfs(&clip.pcm.samples[..lead]);
        assert!((SPEECH_DBFS - behind - snr_db).abs() < 2.0, "{kind:?} {snr_db}: {behind}");
        assert_eq!(
            clip.spans,
            [Span::new(750, 1_250)],
            "words are where they were, and not the noise"
        );
        assert!(clip.pcm.duration() >= std::time::Duration::from_millis(3_000));
    }
}

#[test]
fn sounds_are_heard_and_the_same_in_every_run() {
    for (sound, length_ms) in [(Sound::Cough, 320), (Sound::Bang, 120), (Sound::Rumble, 1_500)] {
        let pcm = made(sound);
        assert_eq!(pcm.duration().as_millis(), length_ms, "{sound:?}");
        assert_eq!(pcm, made(sound));
        let found = spans(&pcm.samples, RATE, &SpanRules::quiet());
        assert!(!found.is_empty(), "{sound:?} is audible");
    }
}

#[test]
fn spoken_words_lose_their_silence_and_get_one_loudness() {
    let mut pcm = Pcm { rate: RATE, samples: speech() };
    mix::gain(&mut pcm.samples, 6.0);
    trim(&mut pcm);
    even(&mut pcm);
    assert_eq!(pcm.duration().as_millis(), 580, "40 ms are left at both ends");
    assert!((active_dbfs(&pcm.samples, RATE) - SPEECH_DBFS).abs() < 0.5);
}
