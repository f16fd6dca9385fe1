//! What is heard where packets are missing.

use super::*;

#[test]
fn a_lost_beginning_is_made_up_from_what_follows() {
    let mut pair = Pair::new();
    pair.fate = |n| if (30..33).contains(&n) { Fate::Lost } else { Fate::Passes };
    while pair.count < 30 {
        pair.run(1);
    }
    pair.alice.say(1, 50, 440.0, true);
    pair.run(1_500);
    let heard = pair.bob.heard();
    let loud = heard.chunks(160).filter(|frame| rms_dbfs(frame) > -25.0).count();
    assert!((49..=52).contains(&loud), "{loud} frames of the 50, three of which were lost");
    let from = heard.chunks(160).position(|frame| rms_dbfs(frame) > -25.0).unwrap();
    assert!((29..=31).contains(&from), "the tone begins with frame {from}");
}

#[test]
fn a_stall_fades_and_time_goes_on() {
    let mut pair = Pair::new();
    pair.fate = |n| if (40..60).contains(&n) { Fate::Lost } else { Fate::Passes };
    while pair.count < 20 {
        pair.run(1);
    }
    pair.alice.say(1, 80, 440.0, true);
    pair.run(2_500);
    let heard = pair.bob.heard();
    let levels: Vec<f32> = heard.chunks(160).map(rms_dbfs).collect();
    let first = levels.iter().position(|level| *level > -25.0).unwrap();
    // 20 frames came, then nothing for 400 ms.
    let gap = &levels[first + 21..first + 38];
    assert!(gap[0] > -25.0 && gap[4] < gap[1], "{gap:?}");
    assert!(gap[9..13].iter().all(|level| *level < -60.0), "{gap:?}");
    let sent = pair.count - 20;
    assert!(levels.len() + 5 > sent, "time goes on: {} frames of {sent}", levels.len());
}
