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

#[tokio::test]
async fn keys_go_both_ways() {
    let (_alice, _bob, call, answered) = connected(Transport::Udp).await;
    call.send_digits("12*#9a").await.unwrap();
    assert_eq!(answered.digits(6, LIMIT).await.unwrap(), "12*#9A");
    answered.send_digits("0055").await.unwrap();
    assert_eq!(call.digits(4, LIMIT).await.unwrap(), "0055");
    assert!(matches!(call.send_digits("1x").await, Err(PhoneError::Digit('X'))));
}

#[tokio::test]
async fn a_hold_stops_their_audio_and_its_end_brings_it_back() {
    let (_alice, _bob, call, answered) = connected(Transport::Udp).await;
    call.hold().await.unwrap();
    answered.held_by_remote(HoldState::Held, LIMIT).await.unwrap();
    let id = answered.play(&tone(700.0, 300)).unwrap();
    // Who holds may still play something; while it does, nothing comes back.
    let (music, heard) = (tone(350.0, 600), answered.hear_reply(LIMIT));
    let (said, heard) = tokio::join!(call.say(&music), heard);
    assert!(said.unwrap().last_audible.is_some());
    assert!(tone_share(&heard.unwrap().samples, SampleRate::HZ_8000, 350.0) > 0.7);
    assert_eq!(call.remote_spurts(), [], "audio got through the hold");
    call.resume().await.unwrap();
    answered.held_by_remote(HoldState::Talking, LIMIT).await.unwrap();
    // What waited during the hold is said after it.
    let (said, heard) = tokio::join!(answered.spoken(id, LIMIT), call.hear_reply(LIMIT));
    assert!(said.unwrap().last_audible.is_some());
    assert!(tone_share(&heard.unwrap().samples, SampleRate::HZ_8000, 700.0) > 0.7);
}

#[tokio::test]
async fn the_called_side_hangs_up_and_the_caller_is_told_why() {
    let (_alice, _bob, call, answered) = connected(Transport::Tcp).await;
    assert_eq!(answered.hang_up().await.unwrap(), CallEnd::HungUp);
    let CallEnd::ByRemote { reason } = call.ended(LIMIT).await.unwrap() else {
        panic!("not by BYE")
    };
    assert_eq!(reason.as_deref(), Some("Q.850;cause=16"));
    assert!(matches!(call.play(&tone(440.0, 20)), Err(PhoneError::Over(_))));
    let mut events = Vec::new();
    while let Ok(event) = call.next_event(LIMIT).await {
        events.push(event);
    }
    assert_eq!(events.first(), Some(&PhoneEvent::Answered));
    assert!(matches!(events.last(), Some(PhoneEvent::Ended(CallEnd::ByRemote { .. }))));
}

#[tokio::test]
async fn a_busy_phone_refuses() {
    let (alice, bob) = pair(Transport::Udp).await;
    let call = alice.call(CallRequest::to(bob.uri(Transport::Udp).unwrap())).await.unwrap();
    let incoming = bob.next_incoming(LIMIT).await.unwrap();
    assert_eq!(incoming.facts.provider_call_id.as_deref(), Some(call.identifier()));
    incoming.ring();
    assert_eq!(call.next_event(LIMIT).await.unwrap(), PhoneEvent::Progress { status: 180 });
    incoming.reject(486);
    let end = call.ended(LIMIT).await.unwrap();
    assert_eq!(end.status(), Some(486));
    assert!(matches!(call.answered(LIMIT).await, Err(PhoneError::Over(_))));
}

#[tokio::test]
async fn giving_up_while_it_rings_cancels() {
    let (alice, bob) = pair(Transport::Udp).await;
    let call = alice.call(CallRequest::to(bob.uri(Transport::Udp).unwrap())).await.unwrap();
    let incoming = bob.next_incoming(LIMIT).await.unwrap();
    incoming.ring();
    assert_eq!(call.next_event(LIMIT).await.unwrap(), PhoneEvent::Progress { status: 180 });
    let CallEnd::Failed(failure) = call.hang_up().await.unwrap() else { panic!("it was answered") };
    assert_eq!(failure.cause, InviteFailureCause::Canceled);
    let late = incoming.accept(CallOptions::default()).unwrap();
    assert_eq!(late.ended(LIMIT).await.unwrap(), CallEnd::Unanswered);
}

#[tokio::test]
async fn a_dropped_call_hangs_up_and_a_dropped_ring_refuses() {
    let (alice, bob, call, answered) = connected(Transport::Udp).await;
    drop(call);
    assert!(matches!(answered.ended(LIMIT).await.unwrap(), CallEnd::ByRemote { .. }));
    let call = alice.call(CallRequest::to(bob.uri(Transport::Udp).unwrap())).await.unwrap();
    drop(bob.next_incoming(LIMIT).await.unwrap());
    assert_eq!(call.ended(LIMIT).await.unwrap().status(), Some(480));
}

#[tokio::test]
async fn what_interrupts_is_timed_on_the_wire() {
    let (_alice, _bob, call, answered) = connected(Transport::Udp).await;
    let bob = async {
        let id = answered.play(&tone(300.0, 8_000)).unwrap();
        // Stops as soon as it hears the other one.
        answered.remote_began(answered.placed_at(), LIMIT).await.unwrap();
        answered.hush().unwrap();
        answered.spoken(id, LIMIT).await.unwrap()
    };
    let words = tone(1_200.0, 400);
    let (cut, barge_in) = tokio::join!(bob, call.barge_in(&words, LIMIT));
    let barge_in = barge_in.unwrap();
    assert!(cut.cut && cut.last_audible.is_none());
    assert!(barge_in.stop_time() < Duration::from_millis(400), "{:?}", barge_in.stop_time());
    let silence = call.listen(Duration::from_millis(300), LIMIT).await.unwrap();
    assert!(silence.iter().all(|sample| *sample == 0), "something of it played on");
}

#[tokio::test]
async fn addresses_that_cannot_be_called_say_why() {
    let (alice, _bob) = pair(Transport::Udp).await;
    for uri in ["bob", "tel:+15550100", "sips:bob@127.0.0.1", "sip:b@127.0.0.1;transport=ws"] {
        let error = alice.call(CallRequest::to(uri)).await.err().expect(uri);
        assert!(matches!(error, PhoneError::Address { .. }), "{uri}: {error}");
    }
    let outside = alice.call(CallRequest::to("sip:bob@192.0.2.1")).await.err().unwrap();
    assert!(outside.to_string().contains("192.0.2.1:5060"), "{outside}");
}

#[tokio::test]
async fn no_codec_in_common_is_refused_with_488() {
    let (alice, bob) = pair(Transport::Udp).await;
    let only = |codec| CallOptions { codecs: vec![codec], ..CallOptions::default() };
    let request = CallRequest {
        options: only(crate::types::CodecName::Pcmu),
        ..CallRequest::to(bob.uri(Transport::Udp).unwrap())
    };
    let call = alice.call(request).await.unwrap();
    let incoming = bob.next_incoming(LIMIT).await.unwrap();
    assert!(incoming.accept(only(crate::types::CodecName::Pcma)).is_err());
    assert_eq!(call.ended(LIMIT).await.unwrap().status(), Some(488));
}

/// Answers every utterance with a tone, after a wait of its own making: silence that is said.
async fn agent(call: PhoneCall, greeting: Pcm, reply: Pcm) -> CallEnd {
    call.say(&greeting).await.unwrap();
    loop {
        match call.hear_reply(LIMIT).await {
            Ok(_) => {
                call.say(&reply).await.unwrap();
            }
            Err(_) => return call.ended(LIMIT).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn the_command_talks_records_and_reports() {
    let directory = tempfile::tempdir().unwrap();
    let wav = directory.path().join("hello.wav");
    let out = directory.path().join("call.wav");
    let mut writer = crate::audio::wav::WavWriter::create(
        &wav,
        SampleRate::HZ_8000,
        crate::audio::wav::Channels::Mono,
    )
    .unwrap();
    writer.write_mono(&tone(500.0, 500).samples).unwrap();
    writer.finish().unwrap();
    let bob = Phone::start(PhoneConfig::default()).await.unwrap();
    let options = DialOptions {
        wav: vec![wav.clone(), wav],
        out: Some(out.clone()),
        format: Format::Json,
        ..DialOptions::to(bob.uri(Transport::Udp).unwrap())
    };
    let (mut data, mut talk) = (Vec::new(), Vec::new());
    let mut console = Console { data: &mut data, talk: &mut talk };
    let answer = async {
        let call = bob.answer_next(LIMIT).await.unwrap();
        agent(call, tone(300.0, 400), tone(900.0, 400)).await
    };
    let (report, end) = tokio::join!(run_call(options, &mut console), answer);
    let report = report.unwrap();
    assert!(matches!(end, CallEnd::ByRemote { .. }));
    let talk = String::from_utf8(talk).unwrap();
    assert!(report.succeeded(), "{talk}");
    assert_eq!(report.exchanges.len(), 3, "{talk}");
    assert_eq!(report.exchanges[0].gap_ms, None, "a greeting answers nobody");
    for exchange in &report.exchanges[1..] {
        assert!(exchange.gap_ms.unwrap() > 600.0, "the agent waits for quiet: {talk}");
    }
    assert!(talk.contains("ms after the caller") && talk.contains("hung up"), "{talk}");
    let json: serde_json::Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(json["exchanges"][1]["said"], "hello.wav");
    let recorded = crate::audio::wav::read_file(&out).unwrap();
    let [said, heard] = &recorded.channels[..] else { panic!("not stereo") };
    let gap_in_file = first_gap(said, heard);
    let gap = report.exchanges[1].gap_ms.unwrap();
    assert!((gap_in_file - gap).abs() <= 20.0, "file {gap_in_file} ms, wire {gap} ms");
}

/// From the last loud sample of the first utterance on the left to the first one after it on the right.
fn first_gap(said: &[i16], heard: &[i16]) -> f64 {
    let loud = |s: &&i16| s.unsigned_abs() > 1_000;
    let begins = said.iter().position(|s| loud(&s)).unwrap();
    let mut ends = begins;
    for (at, sample) in said.iter().enumerate().skip(begins) {
        if loud(&sample) {
            ends = at;
        } else if at > ends + 1_600 {
            break;
        }
    }
    let reply = heard.iter().skip(ends).position(|s| loud(&s)).unwrap();
    reply as f64 / 8.0
}
