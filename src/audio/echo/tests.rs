use std::path::Path;

use super::*;
use crate::audio::level::rms_dbfs;
use crate::audio::noise::ComfortNoise;
use crate::audio::{g711, wav};

fn voices(folder: &str) -> Vec<Vec<i16>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wav").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "wav"));
    files.sort();
    files.iter().map(|file| wav::read_mono(file).unwrap().samples).collect()
}

fn gain(samples: &[i16], db: f32) -> Vec<i16> {
    let gain = 10_f32.powf(db / 20.0);
    samples.iter().map(|sample| (f32::from(*sample) * gain) as i16).collect()
}

/// Through a room: the direct sound, two reflections and a low-pass, then over a mu-law line.
fn returned(samples: &[i16], delay: usize, db: f32) -> Vec<i16> {
    let mut low = 0.0;
    let at = |n: usize, back: usize| {
        n.checked_sub(delay + back).and_then(|n| samples.get(n)).map_or(0.0, |s| f32::from(*s))
    };
    let room = |n: usize| at(n, 0) + 0.4 * at(n, 37) - 0.25 * at(n, 91);
    let room: Vec<i16> = (0..samples.len())
        .map(|n| {
            low += 0.7 * (room(n) - low);
            low as i16
        })
        .collect();
    gain(&room, db).iter().map(|s| g711::decode_ulaw(g711::encode_ulaw(*s))).collect()
}

fn with_noise(samples: &mut [i16], dbfs: f32) {
    let mut noise = vec![0; samples.len()];
    ComfortNoise::new(dbfs, 7).fill(&mut noise);
    samples.iter_mut().zip(noise).for_each(|(s, n)| *s = s.saturating_add(n));
}

/// Beginnings in `theirs` that the gate was asked about, and those it held for an echo of `ours`.
fn echoes(ours: &[i16], theirs: &[i16]) -> (usize, usize) {
    let mut gate = EchoGate::new();
    let (mut asked, mut echo) = (0, 0);
    for (n, (sent, heard)) in ours.chunks_exact(FRAME).zip(theirs.chunks_exact(FRAME)).enumerate() {
        gate.heard(heard);
        if n % 3 == 0 && rms_dbfs(heard) > -48.0 {
            asked += 1;
            echo += usize::from(gate.is_echo());
        }
        gate.sent(sent);
    }
    (echo, asked)
}

#[test]
fn our_own_voice_is_known_again() {
    for (db, delay, noise) in
        [(-6.0, 160, -65.0), (-20.0, 400, -65.0), (-20.0, 1_600, -60.0), (-24.0, 4_800, -70.0)]
    {
        let (mut echo, mut asked) = (0, 0);
        for ours in voices("speech").iter().step_by(2) {
            let mut theirs = returned(ours, delay, db);
            with_noise(&mut theirs, noise);
            let (e, a) = echoes(ours, &theirs);
            (echo, asked) = (echo + e, asked + a);
        }
        println!("echo of {db} dB after {} ms: {echo} of {asked}", delay / 8);
        assert!(asked > 60 && echo * 100 >= asked * 98, "{echo} of {asked}");
    }
}

/// The worst case: the caller has the agent's own voice, and says something else.
#[test]
fn another_talker_is_not_our_own_voice() {
    let all = voices("speech");
    let (mut echo, mut asked) = (0, 0);
    for (ours, theirs) in all.iter().zip(all.iter().skip(1).chain(&all[..1])) {
        let (e, a) = echoes(ours, theirs);
        (echo, asked) = (echo + e, asked + a);
    }
    println!("other talkers taken for an echo: {echo} of {asked}");
    assert!(asked > 200 && echo * 100 <= asked * 2, "{echo} of {asked}");
}

/// A caller 14 dB above the echo under them is heard.
#[test]
fn a_caller_over_the_echo_is_heard() {
    let all = voices("speech");
    let (mut wrong, mut asked) = (0, 0);
    for (ours, theirs) in all.iter().zip(all.iter().skip(3).chain(&all[..3])) {
        let back = returned(ours, 1_600, -20.0);
        let mut gate = EchoGate::new();
        for (n, sent) in ours.chunks_exact(FRAME).enumerate() {
            let at = n * FRAME;
            let Some(caller) = theirs.get(at..at + FRAME) else { break };
            let both: Vec<i16> = caller.iter().zip(&back[at..]).map(|(a, b)| a + b).collect();
            gate.heard(&both);
            let from = at.saturating_sub(3 * FRAME);
            let loud = rms_dbfs(&theirs[from..at + FRAME]) - rms_dbfs(&back[from..at + FRAME]);
            if loud > 14.0 && rms_dbfs(&both) > -48.0 && n % 3 == 0 {
                asked += 1;
                wrong += usize::from(gate.is_echo());
            }
            gate.sent(sent);
        }
    }
    println!("callers over an echo taken for it: {wrong} of {asked}");
    assert!(asked > 100 && wrong * 100 <= asked * 4, "{wrong} of {asked}");
}

#[test]
fn silence_and_full_scale_are_no_echo_and_no_overflow() {
    let mut gate = EchoGate::new();
    assert!(!gate.is_echo());
    let square = |n: usize| if (n / 8).is_multiple_of(2) { i16::MAX } else { i16::MIN };
    let loud: Vec<i16> = (0..FRAME).map(square).collect();
    for _ in 0..60 {
        gate.heard(&loud);
        gate.sent(&loud);
    }
    assert!(gate.is_echo(), "the same square wave");
    for _ in 0..60 {
        gate.heard(&loud);
        gate.sent(&[0; FRAME]);
    }
    assert!(!gate.is_echo(), "nothing of ours was audible");
    gate.heard(&[]);
    gate.sent(&[1; 500]);
    gate.is_echo();
}
