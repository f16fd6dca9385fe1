//! Calls over networks that lose and delay: the same answers, and no hole in what the caller hears.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use trunkline::audio::g711;
use trunkline::sip::Transport;
use trunkline::types::CallRecord;
use trunkline::types::call::TurnRole;

use crate::conversation::{Utterance, utterances};
use crate::losses::{Holes, SHORT_LOSS_MS, Sent, bad_networks, holes};
use crate::support::impair::{Bursts, Dice, Link, Profile, Relay};
use crate::support::line::Line;
use crate::support::peer::{Caller, sdp};
use crate::support::server::{self, Server};
use crate::support::{fixture, sound, wait};

/// Packets that are due every 20 ms.
fn passed(profile: &Profile, seed: u64, count: u32) -> Vec<Vec<Duration>> {
    let mut link = Link::new(profile.clone(), seed);
    (0..count).map(|n| link.judge(Duration::from_millis(20) * n, 172)).collect()
}

#[test]
fn a_bad_network_is_the_same_for_the_same_seed() {
    let jitter = Profile { jitter: Duration::from_millis(40), ..Profile::default() };
    let random = Profile { loss: 0.05, ..jitter.clone() };
    let bursts =
        Profile { bursts: Some(Bursts { loss: 0.03, length: 2.0, longest: 50 }), ..jitter.clone() };
    for (profile, share) in [(&random, 0.05), (&bursts, 0.03)] {
        let passed_a = passed(profile, 7, 100_000);
        assert_eq!(passed_a, passed(profile, 7, 100_000));
        assert_ne!(passed_a, passed(profile, 8, 100_000));
        let lost = passed_a.iter().filter(|copies| copies.is_empty()).count() as f64 / 100_000.0;
        assert!((lost - share).abs() < share / 10.0, "{lost} of {share}");
        assert!(passed_a.iter().flatten().is_sorted(), "nothing overtakes unless it may");
        let slow = passed_a.iter().enumerate().filter_map(|(n, copies)| {
            copies.first().map(|out| *out - Duration::from_millis(20) * n as u32)
        });
        assert!(slow.max().unwrap() <= Duration::from_millis(40));
    }
    let runs = |profile: &Profile| {
        let lost: Vec<bool> = passed(profile, 7, 100_000).iter().map(Vec::is_empty).collect();
        let runs: Vec<usize> =
            lost.chunk_by(|a, b| a == b).filter(|run| run[0]).map(<[bool]>::len).collect();
        runs.iter().sum::<usize>() as f64 / runs.len() as f64
    };
    assert!((runs(&bursts) - 2.0).abs() < 0.1 && runs(&random) < 1.1);
    let twice = Profile { duplicate: 0.1, ..Profile::default() };
    let copies: usize = passed(&twice, 1, 10_000).iter().map(Vec::len).sum();
    assert!((10_900..11_100).contains(&copies), "{copies}");
    let late =
        Profile { reorder: 0.1, reorder_by: Duration::from_millis(50), ..Profile::default() };
    assert!(!passed(&late, 1, 1_000).iter().flatten().is_sorted());
    let second = Duration::from_secs(1);
    let out = Profile { outages: vec![second..2 * second], ..Profile::default() };
    assert_eq!(passed(&out, 1, 150).iter().filter(|copies| copies.is_empty()).count(), 50);
    let slow = Profile { bytes_per_second: Some(4_300), ..Profile::default() };
    let through = passed(&slow, 1, 1_000).iter().filter(|copies| !copies.is_empty()).count();
    assert!((500..520).contains(&through), "half the rate lets half of it through: {through}");
    assert!(Dice::new(1).next() != Dice::new(2).next());
}

struct Asked {
    heard: String,
    answer: String,
    lost: [f64; 2],
    holes: Holes,
    record: CallRecord,
}

/// One call, one utterance, its answer.
async fn ask(
    server: &Server,
    user: &str,
    utterance: &Utterance,
    way: &Profile,
    seed: u64,
) -> Asked {
    let mut events = server.events();
    let line = Line::new().await;
    let relay = Relay::start(way.clone(), way.clone(), seed).await;
    let mut caller = Caller::new(server, Transport::Udp, user).await;
    caller.invite(&sdp(relay.back)).await;
    let ok = caller.peer.final_to("INVITE").await;
    assert_eq!(ok.status(), 200, "{}", ok.text);
    caller.learn(&ok);
    caller.ack("").await;
    relay.connect(Some(line.local), Some(ok.media()));
    line.connect(relay.front);
    let id = server.call_to(user).await.id;
    let mut agent_finishes = async || {
        server::event(&mut events, "the end of an agent's turn", |event| {
            use trunkline::types::CallEventKind::TurnEnded;
            let is_end = matches!(event.kind, TurnEnded { role: TurnRole::Assistant, .. });
            (event.call_id == id && is_end).then_some(())
        })
        .await;
    };
    agent_finishes().await;
    line.say(&sound::load(&fixture(&utterance.file)));
    agent_finishes().await;
    // What was sent last is on its way for as long as the network takes.
    let count = line.count();
    wait::until("the last of it", async || (line.count() > count + 10).then_some(())).await;
    caller.hang_up().await;
    let record = server.ended(id).await;
    let turns = server.turns(id).await;
    let last = |role| {
        let turn = turns.iter().rev().find(|turn| turn.role == role);
        turn.map_or(String::new(), |turn| turn.content.reveal().clone())
    };
    Asked {
        heard: last(TurnRole::User),
        answer: last(TurnRole::Assistant),
        lost: relay.lost(),
        holes: heard(&relay, &line),
        record,
    }
}

/// What the caller's telephone makes of the agent's words. What is in time is what the network let through in time: how
/// late this machine is beside other tests is not looked at.
fn heard(relay: &Relay, line: &Line) -> Holes {
    let taken = relay.taken();
    let audio: Vec<_> = taken.iter().filter(|taken| taken.octets[1] & 0x7f == 0).collect();
    let passed = audio.iter().filter(|taken| taken.delay.is_some()).count();
    assert!(line.count() * 10 >= passed * 9, "{} of {passed} packets were heard", line.count());
    let sent: Vec<Sent> = audio
        .iter()
        .map(|taken| {
            let samples = taken.octets[12..].iter().map(|octet| g711::decode_ulaw(*octet));
            (samples.collect(), taken.delay)
        })
        .collect();
    holes(&sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_and_jitter_change_no_answer_and_leave_no_hole() {
    let server = Arc::new(
        Server::with(|config| {
            server::listening(config);
            server::agent(config).turn.silence_ms = 600;
        })
        .await,
    );
    let [random, bursts] = bad_networks();
    let ways = [("clean", Profile::default()), random, bursts];
    // Those that need no keys before and end nothing; four are words that the recogniser must refuse.
    let fits = |utterance: &Utterance| utterance.is_first() && utterance.words != "goodbye";
    let asked: Vec<Utterance> = utterances().into_iter().filter(fits).collect();
    assert!(asked.len() >= 10, "{}", asked.len());
    let places = Arc::new(Semaphore::new(3));
    let mut tasks = tokio::task::JoinSet::new();
    for (n, utterance) in asked.into_iter().enumerate() {
        for (w, (_, way)) in ways.iter().enumerate() {
            let (server, places) = (Arc::clone(&server), Arc::clone(&places));
            let (utterance, way) = (utterance.clone(), way.clone());
            tasks.spawn(async move {
                let _place = places.acquire_owned().await.expect("open");
                let user = format!("way{w}x{n}");
                let seed = 1_000 * w as u64 + n as u64;
                (n, w, ask(&server, &user, &utterance, &way, seed).await)
            });
        }
    }
    let mut answers: BTreeMap<(usize, usize), Asked> = BTreeMap::new();
    for (n, w, asked) in tasks.join_all().await {
        answers.insert((w, n), asked);
    }
    let count = answers.len() / ways.len();
    for (w, (name, _)) in ways.iter().enumerate() {
        let (mut same, mut holes) = (0, Holes::default());
        for n in 0..count {
            let (clean, asked) = (&answers[&(0, n)], &answers[&(w, n)]);
            same += usize::from(clean.answer == asked.answer && !clean.answer.is_empty());
            holes.longest_ms = holes.longest_ms.max(asked.holes.longest_ms);
            holes.of_short_losses_ms = holes.of_short_losses_ms.max(asked.holes.of_short_losses_ms);
            let concealed = asked.record.reception.as_ref().expect("figures").concealed_share;
            eprintln!(
                "{name:10} lost up {:4.1} % down {:4.1} % concealed {:4.1} % hole {:3} ms  {:32} -> {}",
                asked.lost[0] * 100.0,
                asked.lost[1] * 100.0,
                concealed * 100.0,
                asked.holes.longest_ms,
                asked.heard,
                asked.answer,
            );
            // What the record says of concealment is what the network did, and what came too late.
            assert!((concealed - asked.lost[0]).abs() < 0.05, "{name}: {concealed}");
        }
        eprintln!("{name:10} the same answer in {same} of {count}, {holes:?}");
        assert!(same * 10 >= count * 9, "{name}: the same answer in {same} of {count}");
        let hole = holes.of_short_losses_ms;
        assert!(
            hole <= 60,
            "{name}: {hole} ms of silence, of losses of {SHORT_LOSS_MS} ms at most"
        );
    }
}
