//! Who gets in, and how far one call's accident reaches.

use trunkline::config::sections::{Trunk, UnknownSource};
use trunkline::sip::Transport;
use trunkline::types::{CallStatus, EndReason};

use crate::support::line::Line;
use crate::support::peer::{Caller, Message, Peer, SILENCE, sdp};
use crate::support::providers::panicking_model;
use crate::support::server::{self, Server};
use crate::support::wait;

async fn attempt(server: &Server, user: &str) -> (Caller, Message) {
    let line = Line::new().await;
    let mut caller = Caller::new(server, Transport::Udp, user).await;
    caller.invite(&sdp(line.local)).await;
    let answer = caller.peer.final_to("INVITE").await;
    if answer.status() == 200 {
        caller.learn(&answer);
        caller.ack("").await;
    }
    (caller, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_limit_get_503_until_one_leaves() {
    let server = Server::with(|config| config.admission.calls_max = 2).await;
    let (mut first, _) = attempt(&server, "one").await;
    let (mut second, ok) = attempt(&server, "two").await;
    assert_eq!(ok.status(), 200);
    let (_, refused) = attempt(&server, "three").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.header("retry-after"), "5", "{}", refused.text);
    first.hang_up().await;
    server.ended_to("one").await;
    let (mut third, ok) = wait::limit("a place", async {
        loop {
            let (caller, answer) = attempt(&server, "again").await;
            if answer.status() == 200 {
                return (caller, answer);
            }
        }
    })
    .await;
    assert_eq!(ok.status(), 200);
    second.hang_up().await;
    third.hang_up().await;
}

/// A user agent that holds as many dialogs as it may takes no INVITE of ours: the call ends as if a trunk had said 503.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_no_dialog_free_ends_with_503() {
    let server = Server::with(|config| config.sip.dialogs_max = 1).await;
    let mut target = Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
    let uri = format!("sip:target@{}", target.local);
    let (mut only, ok) = attempt(&server, "only").await;
    assert_eq!(ok.status(), 200);
    let (_, refused) = attempt(&server, "another").await;
    assert_eq!(refused.status(), 503, "callers are told the same");
    let record = server.dial(uri.clone(), Transport::Udp).await;
    let record = server.ended(record.id).await;
    assert_eq!(record.end_reason, Some(EndReason::Congestion));
    assert_eq!((record.status, record.sip.status), (CallStatus::Failed, Some(503)));
    assert_eq!(record.answered_at, None);
    only.hang_up().await;
    server.ended_to("only").await;
    // The dialog is free again, and the first INVITE that leaves is the next call's.
    let record = server.dial(uri, Transport::Udp).await;
    let invite = target.request("INVITE").await;
    target.answer(&invite, "486 Busy Here", "", "").await;
    let record = server.ended(record.id).await;
    assert_eq!(record.end_reason, Some(EndReason::Busy));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_too_fast_get_503() {
    let server = Server::with(|config| config.admission.calls_per_second = 3.0).await;
    let mut statuses = Vec::new();
    let mut callers = Vec::new();
    for n in 0..8 {
        let (caller, answer) = attempt(&server, &format!("fast{n}")).await;
        statuses.push(answer.status());
        if answer.status() == 503 {
            assert!(!answer.header("retry-after").is_empty());
        } else {
            callers.push(caller);
        }
    }
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!(statuses[..3].iter().all(|status| *status == 200), "a burst is taken: {statuses:?}");
    assert!(statuses.contains(&503), "{taken} of 8 within a moment: {statuses:?}");
    for mut caller in callers {
        caller.hang_up().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_has_a_limit_of_its_own() {
    let server = Server::with(|config| {
        let local = config.trunks.get_mut("local").expect("a trunk");
        local.calls_max = 1;
    })
    .await;
    let (mut first, _) = attempt(&server, "one").await;
    let (_, refused) = attempt(&server, "two").await;
    assert_eq!(refused.status(), 503);
    first.hang_up().await;
}

/// Lets only 127.0.0.1 in.
fn only_one_address(config: &mut trunkline::config::Config) {
    let network = "127.0.0.1".parse().expect("a network");
    let trunk = Trunk { allowed_networks: vec![network], ..Trunk::default() };
    config.trunks.insert("local".to_owned(), trunk);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_source_is_forbidden_or_hears_nothing() {
    for policy in [UnknownSource::Forbid, UnknownSource::Silent] {
        let server = Server::with(|config| {
            only_one_address(config);
            config.sip.unknown_source = policy;
        })
        .await;
        for transport in [Transport::Udp] {
            let stranger = Peer::from_ip([127, 0, 0, 9], server.sip(transport), transport).await;
            let mut stranger = Caller::over(stranger, "demo");
            stranger.invite(&sdp("127.0.0.9:4000".parse().unwrap())).await;
            match policy {
                UnknownSource::Forbid => {
                    let answer = stranger.peer.final_to("INVITE").await;
                    assert_eq!(answer.status(), 403);
                    assert!(
                        answer.header("server").is_empty(),
                        "nothing about us: {}",
                        answer.text
                    );
                }
                UnknownSource::Silent => {
                    wait::stays_away("an answer", SILENCE, stranger.peer.receive()).await;
                    stranger.send("OPTIONS", "", "").await;
                    wait::stays_away("an answer", SILENCE, stranger.peer.receive()).await;
                }
            }
        }
        assert!(server.calls().await.is_empty());
        let (mut known, ok) = attempt(&server, "known").await;
        assert_eq!(ok.status(), 200);
        known.hang_up().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_nobody_answers_gets_404() {
    let server = Server::with(|config| {
        let second = config.agents["demo"].clone();
        config.agents.insert("second".to_owned(), second);
        config.numbers.insert("+15550100".to_owned(), "demo".to_owned().into());
    })
    .await;
    for (number, status) in
        [("+15550100", 200), ("15550100", 200), ("second", 200), ("+15550101", 404), ("x", 404)]
    {
        let (mut caller, answer) = attempt(&server, number).await;
        assert_eq!(answer.status(), status, "{number}");
        if status == 200 {
            caller.hang_up().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_panics_ends_its_own_call_only() {
    let server =
        Server::with_agents(|_| {}, |directory| panicking_model(directory, "panics")).await;
    let (mut bystander, ok) = attempt(&server, "bystander").await;
    let other = Line::new().await;
    other.connect(ok.media());
    let line = Line::new().await;
    let mut events = server.events();
    let mut caller = Caller::new(&server, Transport::Udp, "panics").await;
    let ok = caller.call(line.local).await;
    line.connect(ok.media());
    server::event(&mut events, "the greeting", |event| {
        matches!(event.kind, trunkline::types::CallEventKind::TurnEnded { .. }).then_some(())
    })
    .await;
    line.press('1', true).await;
    caller.hung_up().await;
    let record = server.ended_to("panics").await;
    assert_eq!(record.end_reason, Some(EndReason::InternalError));
    assert_eq!(record.status, CallStatus::Failed);
    // The process lives, the other call goes on, and a new one is taken.
    assert_eq!(bystander.ask("INFO", "", "").await.status(), 200);
    let (mut next, ok) = attempt(&server, "next").await;
    assert_eq!(ok.status(), 200);
    next.hang_up().await;
    bystander.hang_up().await;
    assert_eq!(server.ended_to("bystander").await.end_reason, Some(EndReason::UserHangup));
}
