use super::*;

#[test]
fn a_fade_falls_without_a_step_and_ends_in_silence() {
    let mut frame = [20_000_i16; 160];
    assert_eq!(fade_out(&mut frame, SampleRate::HZ_8000), 80);
    assert!(frame[0] > 19_900);
    assert!(frame.windows(2).all(|pair| pair[0] >= pair[1] && pair[0] - pair[1] < 400));
    assert!(frame[80..].iter().all(|sample| *sample == 0));
    assert!(frame[79] < 20);
}

#[test]
fn a_fade_in_mirrors_the_fade_out() {
    let (mut up, mut down) = ([10_000_i16; 160], [10_000_i16; 160]);
    fade_in(&mut up, SampleRate::HZ_8000);
    fade_out(&mut down, SampleRate::HZ_8000);
    for at in 0..80 {
        assert!((up[at] + down[at] - 10_000).abs() <= 1, "{at}");
    }
    assert!(up[80..].iter().all(|sample| *sample == 10_000));
}

#[test]
fn a_cross_fade_of_equals_changes_nothing() {
    let mut frame = [1_234_i16; 40];
    cross_fade(&mut frame, &[1_234; 40]);
    assert!(frame.iter().all(|sample| (1_233..=1_234).contains(sample)));
}

#[test]
fn mixing_and_gain_saturate() {
    let mut frame = [30_000, -30_000, 5];
    mix(&mut frame, &[10_000, -10_000]);
    assert_eq!(frame, [i16::MAX, i16::MIN, 5]);
    gain(&mut frame, 20.0);
    assert_eq!(frame, [i16::MAX, i16::MIN, 50]);
    gain(&mut frame, -20.0);
    assert_eq!(frame, [3_276, -3_276, 5]);
}
