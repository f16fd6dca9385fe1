//! Choosing callers, and recordings that cannot be scored.

use super::*;
use crate::types::SampleRate;

fn scenario(names: &[&str]) -> Scenario {
    let caller = |name: &&str| Caller { name: (*name).to_owned(), ..Caller::default() };
    Scenario { caller: names.iter().map(caller).collect(), ..Scenario::default() }
}

#[test]
fn callers_are_chosen_by_a_part_of_their_names() {
    let names = |scenario: &Scenario| {
        scenario.caller.iter().map(|caller| caller.name.clone()).collect::<Vec<_>>()
    };
    let mut some = scenario(&["books a table", "hangs up", "Books again"]);
    only(&mut some, &[]).unwrap();
    assert_eq!(some.caller.len(), 3);
    only(&mut some, &["books".to_owned()]).unwrap();
    assert_eq!(names(&some), ["books a table", "Books again"]);
    let error = only(&mut some, &["nobody".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("nobody") && error.contains("\"Books again\""), "{error}");
}

#[test]
fn one_channel_cannot_be_scored() {
    let side = vec![0; 8_000];
    let mono = WavAudio { rate: SampleRate::HZ_8000, channels: vec![side.clone()] };
    assert_eq!(scored(&mono, None), None);
    let stereo = WavAudio { rate: SampleRate::HZ_8000, channels: vec![side.clone(), side] };
    assert_eq!(scored(&stereo, None).map(|score| score.silence_ms), Some(1_000));
}
