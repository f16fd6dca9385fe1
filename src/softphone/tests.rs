//! Two phones call each other on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use super::*;
use crate::sip::{InviteFailureCause, Transport};
use crate::types::{Pcm, SampleRate};

const LIMIT: Duration = Duration::from_secs(20);

fn tone(hz: f32, ms: u32) -> Pcm {
    let rate = SampleRate::HZ_8000;
    let step = std::f32::consts::TAU * hz / 8_000.0;
    let samples =
        (0..rate.samples_in_ms(ms)).map(|n| ((n as f32 * step).sin() * 8_000.0) as i16).collect();
    Pcm { rate, samples }
}

async fn pair(transport: Transport) -> (Phone, Phone) {
    let config = PhoneConfig { transport, ..PhoneConfig::default() };
    (Phone::start(config.clone()).await.unwrap(), Phone::start(config).await.unwrap())
}

async fn connected(transport: Transport) -> (Phone, Phone, PhoneCall, PhoneCall) {
    let (alice, bob) = pair(transport).await;
    let request = CallRequest::to(bob.uri(transport).unwrap());
    let (call, answered) = tokio::join!(alice.call(request), bob.answer_next(LIMIT));
    let (call, answered) = (call.unwrap(), answered.unwrap());
    call.answered(LIMIT).await.unwrap();
    (alice, bob, call, answered)
}

async fn talk(transport: Transport) {
    let (_alice, _bob, call, answered) = connected(transport).await;
    let (hers, his) = (tone(440.0, 600), tone(1_000.0, 600));
    let (said, heard) = tokio::join!(call.say(&hers), answered.hear_reply(LIMIT));
    let (said, heard) = (said.unwrap(), heard.unwrap());
    assert!(tone_share(&heard.samples, SampleRate::HZ_8000, 440.0) > 0.8);
    assert!(tone_share(&heard.samples, SampleRate::HZ_8000, 1_000.0) < 0.05);
    // Another thread may read a packet before the sender has read its clock.
    let soonest = heard.began_at + Duration::from_millis(5);
    assert!(said.onset.unwrap() < soonest, "nothing is heard before it is said");
    let spoken = said.last_audible.unwrap() - said.onset.unwrap();
    assert!(spoken.abs_diff(Duration::from_millis(580)) < Duration::from_millis(40), "{spoken:?}");
    assert!(heard.duration().abs_diff(spoken) < Duration::from_millis(40));
    let (said, heard) = tokio::join!(answered.say(&his), call.hear_reply(LIMIT));
    let (said, heard) = (said.unwrap(), heard.unwrap());
    assert!(tone_share(&heard.samples, SampleRate::HZ_8000, 1_000.0) > 0.8);
    assert!(heard.gap.unwrap() > Duration::from_millis(600), "the other one waited for quiet");
    assert!(said.onset.unwrap() < heard.began_at + Duration::from_millis(5));
    assert_eq!(call.stats().frames_lost + answered.stats().frames_lost, 0);
    assert_eq!(call.hang_up().await.unwrap(), CallEnd::HungUp);
    assert!(matches!(answered.ended(LIMIT).await.unwrap(), CallEnd::ByRemote { .. }));
}

#[tokio::test]
async fn tones_are_heard_on_both_sides_over_udp() {
    talk(Transport::Udp).await;
}

#[tokio::test]
async fn tones_are_heard_on_both_sides_over_tcp() {
    talk(Transport::Tcp).await;
}
