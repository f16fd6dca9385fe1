//! Tools during real calls: a booking dialogue against a tool server of the tests' own, and the commands
//! that change a call, each seen on the wire or in the recording.

mod desk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use trunkline::call::command::{CallCommand, OnFail, RecordingChange};
use trunkline::types::{AgentId, CallEventKind, EndReason, SampleRate};

use self::desk::{desk, desk_with_webhook, said, tool_server, tools, used, with_desk};
use crate::conversation::Talk;
use crate::support::peer;
use crate::support::server::Server;
use crate::support::{sound, wait};

// covers: S1-28 S4-65
#[tokio::test(flavor = "multi_thread")]
async fn a_booking_with_parallel_failing_and_confirmed_tools() {
    let (server, seen) = desk().await;
    let mut talk = Talk::begin(&server, "desk").await;
    for key in ['1', '3', '4', '2', '4', '1', '7'] {
        talk.ask(key).await;
    }
    let (record, turns) = talk.finish(&server).await;
    assert_eq!(
        said(&turns),
        [
            "Hello.",
            "Let me look. eight is free, and it is sunny.",
            "That failed.",
            "Shall I book it?",
            "As you like.",
            "Shall I book it?",
            "Booked as B42.",
            "Noted.",
        ]
    );
    assert_eq!(seen.most.load(Ordering::SeqCst), 2, "the calls ran side by side");
    // Refused twice without asking the server, run once after a yes to the question.
    assert_eq!(seen.count("book"), 1, "{:?}", seen.names());
    let book = used(&turns, "book");
    let refused: Vec<bool> = book.iter().map(|tool| tool.is_error).collect();
    assert_eq!(refused, [true, true, false]);
    assert!(book[0].result.reveal().contains("confirmation_required"));
    assert_eq!(book[2].status_code, Some(200));
    // The server echoed the tool's secret: the record does not.
    assert!(book[2].result.reveal().contains("[REDACTED]"), "{}", book[2].result.reveal());
    let asked = seen.asked.lock().unwrap().clone();
    let of = |name: &str| asked.iter().find(|(seen, ..)| seen == name).expect("asked");
    assert_eq!(of("book").1["authorization"], "Bearer canary-token");
    assert!(of("book").1.contains_key("idempotency-key"));
    assert_eq!(of("find").2, "{\"people\":4}");
    assert_eq!(of("weather").2, "city=Bonn%20%26%20Rhein");
    // Failures are told in words; what does not fit the schema never leaves.
    let fail = used(&turns, "fail")[0];
    assert!(fail.is_error && fail.result.reveal().contains("HTTP status 500"));
    assert_eq!(fail.status_code, Some(500));
    let find = used(&turns, "find");
    assert!(find[1].is_error && find[1].result.reveal().contains("maximum"));
    assert_eq!(seen.count("find"), 1);
    assert_eq!(record.variables_extracted.reveal().get("party").map(String::as_str), Some("4"));
    let journal = server.journal(record.id).await;
    let count = |wanted: fn(&CallEventKind) -> bool| journal.iter().filter(|k| wanted(k)).count();
    assert_eq!(count(|kind| matches!(kind, CallEventKind::ToolStarted { .. })), 8);
    assert_eq!(count(|kind| matches!(kind, CallEventKind::ToolEnded { .. })), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_hears_words_while_a_slow_tool_runs() {
    let (server, seen) = desk().await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.line.hears_silence(200).await;
    let from = talk.line.count();
    talk.press('2').await;
    wait::until("the slow tool", async || (seen.count("slow") == 1).then_some(())).await;
    // The tool gives nothing until it is told to: what is heard is said meanwhile.
    talk.line.hears(from, 600).await;
    assert!(seen.open.load(Ordering::SeqCst) == 1, "the tool still runs");
    seen.go_on.notify_one();
    talk.agent_finishes().await;
    let (_, turns) = talk.finish(&server).await;
    assert_eq!(said(&turns).last().map(String::as_str), Some("It is done."));
    let tool = used(&turns, "slow")[0];
    let latency = turns.iter().rev().find_map(|turn| turn.latency.clone()).expect("figures");
    let tool_ms = u64::from(latency.tool_ms.expect("the tool's time"));
    assert!(tool_ms.abs_diff(tool.duration_ms) <= 20, "{tool_ms} and {}", tool.duration_ms);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_interrupts_cancels_what_only_reads() {
    let (server, seen) = desk().await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.press('2').await;
    wait::until("the slow tool", async || (seen.count("slow") == 1).then_some(())).await;
    talk.press('3').await;
    wait::until("the end of the request", async || {
        seen.dropped.load(Ordering::SeqCst).then_some(())
    })
    .await;
    wait::until("the answer to the other key", async || (seen.count("fail") == 1).then_some(()))
        .await;
    talk.agent_finishes().await;
    let (_, turns) = talk.finish(&server).await;
    let slow = used(&turns, "slow");
    assert!(slow[0].is_error && slow[0].result.reveal().contains("canceled"), "{slow:?}");
    assert!(!said(&turns).iter().any(|text| text.contains("It is done")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_goes_on_with_its_own_words() {
    let (server, _) = desk().await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.press('5').await;
    talk.agent_says("Sales speaking.").await;
    talk.ask('1').await;
    let (record, turns) = talk.finish(&server).await;
    assert_eq!(said(&turns).last().map(String::as_str), Some("Sold."));
    assert_eq!(record.agent_id, Some(AgentId("desk".to_owned())), "the record keeps who answered");
    let journal = server.journal(record.id).await;
    let (from, to) = (AgentId("desk".to_owned()), AgentId("sales".to_owned()));
    assert!(journal.contains(&CallEventKind::HandedOff { from, to }));
    // By command, and back again.
    let mut talk = Talk::begin(&server, "sales").await;
    let agent = AgentId("desk".to_owned());
    let message = Some("Desk again.".to_owned().into());
    talk.command(&server, CallCommand::Handoff { agent, message, keep_context: true }).await;
    talk.agent_says("Desk again.").await;
    talk.ask('7').await;
    let nobody = CallCommand::Handoff {
        agent: AgentId("nobody".to_owned()),
        message: None,
        keep_context: true,
    };
    assert!(server.running.switchboard().command(talk.id, nobody).await.is_err());
    let (_, turns) = talk.finish(&server).await;
    assert_eq!(said(&turns).last().map(String::as_str), Some("Noted."));
}

// covers: S4-56 S4-65
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_by_tool_leaves_after_the_words_and_one_by_command_knows_its_time() {
    let (server, _) = desk().await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.press('6').await;
    let refer = talk.caller.peer.request("REFER").await;
    assert_eq!(refer.header("refer-to"), "<tel:+15550199>");
    talk.caller.peer.answer(&refer, "202 Accepted", "", "").await;
    talk.caller.hang_up().await;
    let record = server.ended(talk.id).await;
    assert_eq!(record.end_reason, Some(EndReason::Transferred));
    let turns = server.turns(record.id).await;
    assert_eq!(said(&turns), ["Hello.", "I connect you."]);

    // A destination that does not answer in time ends the call, if it shall.
    let mut talk = Talk::begin(&server, "desk").await;
    let transfer = CallCommand::Transfer {
        replaces: None,
        destination: "tel:+15550100".to_owned().into(),
        mode: trunkline::call::TransferMode::Blind,
        trunk: None,
        message: None,
        brief: None,
        headers: vec![("X-Reason".to_owned(), "billing".to_owned())],
        timeout: Some(Duration::from_millis(300)),
        on_fail: OnFail::End,
    };
    talk.command(&server, transfer).await;
    let refer = talk.caller.peer.request("REFER").await;
    assert_eq!(refer.header("x-reason"), "billing");
    talk.caller.peer.answer(&refer, "202 Accepted", "", "").await;
    let live = server.running.switchboard().live_state(talk.id).expect("a live call");
    assert!(live.transferring);
    talk.caller.hung_up().await;
    let record = server.ended(talk.id).await;
    assert_eq!(record.end_reason, Some(EndReason::TransferFailed));
}

/// The limits of everything that dials hold for the agent's own transfers.
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_does_not_transfer_where_nobody_may_call() {
    let deny = |config: &mut trunkline::config::Config| {
        config.dial_limits.deny = vec!["+1555019".to_owned()];
    };
    let (server, _) = desk::desk_where(deny).await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.press('6').await;
    talk.agent_finishes().await;
    let refer = talk.caller.peer.request("REFER");
    crate::support::wait::stays_away("a REFER", crate::support::peer::SILENCE, refer).await;
    let (_, turns) = talk.finish(&server).await;
    let uses = used(&turns, "transfer");
    let failed = uses.iter().find(|one| one.is_error).expect("it was not made");
    assert!(failed.result.reveal().contains("dial_limits.deny"), "{}", failed.result.reveal());
}

// covers: S4-31 S4-64
#[tokio::test(flavor = "multi_thread")]
async fn tools_without_a_server_ask_the_signed_webhook() {
    let (server, seen) = desk_with_webhook().await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.ask('8').await;
    // Where the transfer goes is asked for too.
    talk.press('9').await;
    let refer = talk.caller.peer.request("REFER").await;
    assert_eq!(refer.header("refer-to"), "<tel:+15550188>");
    talk.caller.peer.answer(&refer, "202 Accepted", "", "").await;
    talk.caller.hang_up().await;
    let record = server.ended(talk.id).await;
    let turns = server.turns(record.id).await;
    assert_eq!(said(&turns), ["Hello.", "So \"shop\" is open.", "To Ann."]);
    let asked = seen.asked.lock().unwrap().clone();
    let of = |kind: &str| {
        let found = asked.iter().find(|(_, headers, ..)| {
            headers.get("x-webhook-event").is_some_and(|value| value == kind)
        });
        found.unwrap_or_else(|| panic!("no {kind}")).clone()
    };
    for kind in ["tool.call", "transfer.request"] {
        let (_, headers, body, _) = of(kind);
        let signature = headers["webhook-signature"].to_str().expect("text");
        assert!(signature.starts_with("v1,"), "{signature}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["data"]["call"]["id"], record.id.to_string());
    }
}

/// Private addresses are refused unless the configuration allows them: nothing is connected.
#[tokio::test(flavor = "multi_thread")]
async fn tools_do_not_reach_into_private_networks_by_default() {
    let (at, seen) = tool_server().await;
    let server = Server::with_agents(|_| {}, |directory| with_desk(directory, tools(at))).await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.ask('2').await;
    let (_, turns) = talk.finish(&server).await;
    assert_eq!(said(&turns).last().map(String::as_str), Some("It failed."));
    let tool = used(&turns, "slow")[0];
    assert!(tool.is_error && tool.status_code.is_none(), "{tool:?}");
    assert!(seen.names().is_empty(), "{:?}", seen.names());
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_and_resume_are_offers_on_the_wire() {
    let (server, _) = desk().await;
    let mut talk = Talk::begin(&server, "desk").await;
    let live = |talk: &Talk| server.running.switchboard().live_state(talk.id).expect("live");
    for (command, theirs, ours) in [
        (CallCommand::Hold { music: None }, "a=sendonly", "recvonly"),
        (CallCommand::Resume, "a=sendrecv", "sendrecv"),
    ] {
        let held = matches!(command, CallCommand::Hold { .. });
        talk.command(&server, command).await;
        let offer = talk.caller.peer.request("INVITE").await;
        assert!(offer.body().contains(theirs), "{}", offer.text);
        let attributes = format!("a=rtpmap:101 telephone-event/8000\r\na={ours}\r\n");
        let answer = peer::sdp_with(talk.line.local, "0 101", &attributes);
        let contact = format!("Contact: <sip:caller@{}>\r\n", talk.caller.peer.local);
        talk.caller.peer.answer(&offer, "200 OK", &contact, &answer).await;
        talk.caller.peer.request("ACK").await;
        wait::until("the state of the hold", async || (live(&talk).on_hold == held).then_some(()))
            .await;
    }
    // The call goes on as if nothing had been.
    talk.ask('7').await;
    let (record, turns) = talk.finish(&server).await;
    assert_eq!(said(&turns).last().map(String::as_str), Some("Noted."));
    let journal = server.journal(record.id).await;
    assert!(journal.contains(&CallEventKind::Held { by_remote: false }));
    assert!(journal.contains(&CallEventKind::Resumed { by_remote: false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_while_the_recording_is_paused_is_not_in_it() {
    let (server, _) = desk().await;
    let talk = Talk::begin(&server, "desk").await;
    let tone = |level: i16| -> Vec<i16> {
        (0..8_000).map(|i| if (i / 10) % 2 == 0 { level } else { -level }).collect()
    };
    // Louder each time, so that the recording shows which of the three it holds.
    talk.line.say(&tone(2_000));
    talk.line.said().await;
    talk.command(&server, CallCommand::Recording(RecordingChange::Pause)).await;
    talk.line.say(&tone(16_000));
    talk.line.said().await;
    // The last packet is on its way.
    talk.line.hears(talk.line.count().saturating_sub(1), 0).await;
    let sent = talk.line.count();
    wait::until("packets after the last word", async || {
        (talk.line.count() > sent + 20).then_some(())
    })
    .await;
    talk.command(&server, CallCommand::Recording(RecordingChange::Resume)).await;
    talk.line.say(&tone(4_000));
    talk.line.said().await;
    let (record, _) = talk.finish(&server).await;
    let [caller, agent] = server.recording(&record);
    assert_eq!(caller.len(), agent.len());
    let loudest = caller.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    let canary: Vec<usize> =
        (0..caller.len()).filter(|at| caller[*at].unsigned_abs() > 12_000).collect();
    let (first, last) = (canary.first(), canary.last());
    assert!(loudest < 6_000, "a canary of {} at {first:?} to {last:?}", canary.len());
    let around = |level: u16| {
        caller.iter().filter(|sample| sample.unsigned_abs().abs_diff(level) < level / 8).count()
    };
    assert!(around(2_000) > 7_000 && around(4_000) > 7_000, "what was not paused is there");
    // The pause is silence, not a cut: the file is as long as the talk.
    let talked = record.talk_ms.expect("a duration");
    assert!(
        (caller.len() as u64 / 8).abs_diff(talked) <= 250,
        "{} of {talked} ms",
        caller.len() / 8
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_played_and_commands_are_limited() {
    let (at, _) = tool_server().await;
    let server = Server::with_agents(
        |config| config.call.commands_per_minute = 3,
        |directory| with_desk(directory, tools(at)),
    )
    .await;
    let mut talk = Talk::begin(&server, "desk").await;
    talk.line.hears_silence(200).await;
    let samples = (0..16_000).map(|i| if (i / 20) % 2 == 0 { 9_000 } else { -9_000 }).collect();
    let clip = trunkline::call::clip::Clip {
        name: "terms.wav".to_owned(),
        pcm: trunkline::types::Pcm { rate: SampleRate::HZ_8000, samples },
    };
    let from = talk.line.count();
    let clip = Arc::new(clip);
    talk.command(&server, CallCommand::Play { clip, repeat: false }).await;
    talk.agent_finishes().await;
    let heard = sound::loud_ms(&talk.line.audio(from));
    assert!((1_900..=2_150).contains(&heard), "{heard} ms of 2000 were heard");
    talk.command(
        &server,
        CallCommand::SetVariables(BTreeMap::from([("plan".into(), "gold".into())])),
    )
    .await;
    talk.command(&server, CallCommand::Interrupt).await;
    let refused = server.running.switchboard().command(talk.id, CallCommand::Interrupt).await;
    let Err(trunkline::call::CommandError::TooMany { retry_after_s }) = refused else {
        panic!("{refused:?}")
    };
    assert!((1..=60).contains(&retry_after_s));
    let (record, turns) = talk.finish(&server).await;
    assert_eq!(said(&turns).last().map(String::as_str), Some("[audio: terms.wav]"));
    assert_eq!(record.variables.reveal().get("plan").map(String::as_str), Some("gold"));
}
