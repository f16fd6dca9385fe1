//! SIPp calls the server and is called by it: a SIP stack that others wrote, over UDP and TCP.

use std::sync::Arc;

use trunkline::call::CallCommand;
use trunkline::sip::Transport;
use trunkline::switchboard::DialRequest;
use trunkline::types::{CallRecord, CallStatus, EndReason, Outcome};

use crate::support::providers::slow_voice;
use crate::support::server::Server;
use crate::support::sipp::Sipp;
use crate::support::{has_program, wait};

/// Scenarios in which SIPp calls; and how the record ends, for those that make a call.
const UAC: &[(&str, Option<EndReason>)] = &[
    ("uac_plain", Some(EndReason::UserHangup)),
    ("uac_pcma", Some(EndReason::UserHangup)),
    ("uac_delayed_offer", Some(EndReason::UserHangup)),
    ("uac_hold", Some(EndReason::UserHangup)),
    ("uac_reinvite_refused", Some(EndReason::UserHangup)),
    ("uac_bye_before_ack", Some(EndReason::UserHangup)),
    ("uac_record_route", Some(EndReason::UserHangup)),
    ("uac_info", Some(EndReason::UserHangup)),
    ("uac_update", Some(EndReason::UserHangup)),
    ("uac_cancel", Some(EndReason::Canceled)),
    ("uac_488", Some(EndReason::MediaNegotiationFailed)),
    ("uac_415", None),
    ("uac_multipart", Some(EndReason::UserHangup)),
    ("uac_refer", Some(EndReason::UserHangup)),
    ("uac_refer_outside", None),
    ("uac_subscribe", None),
    ("uac_mwi", None),
    ("uac_message", None),
    ("uac_session_timer", Some(EndReason::UserHangup)),
    ("uac_session_timer_imposed", Some(EndReason::UserHangup)),
    ("uac_100rel", Some(EndReason::UserHangup)),
    ("uac_100rel_delayed", Some(EndReason::UserHangup)),
    ("uac_identity", Some(EndReason::UserHangup)),
    ("uac_422", None),
    ("uac_replaces_unknown", None),
    ("uac_replaces_malformed", None),
    ("uac_require", None),
    ("uac_options", None),
    ("uac_max_forwards", None),
    ("uac_unknown_method", None),
    ("uac_register", None),
    ("uac_cancel_unknown", None),
    ("uac_bye_unknown", None),
];

async fn callers(transport: Transport) {
    if !has_program("sipp") {
        return;
    }
    let server = Arc::new(
        Server::with_agents(|_| {}, |directory| slow_voice(directory, "uac_cancel")).await,
    );
    // A few at a time: more would only measure the machine.
    for batch in UAC.chunks(5) {
        let mut tasks = tokio::task::JoinSet::new();
        for (scenario, end) in batch.iter().copied() {
            let server = Arc::clone(&server);
            tasks.spawn(async move {
                Sipp::uac(scenario, transport, server.sip(transport), scenario).passes().await;
                if let Some(reason) = end {
                    let record = server.ended_to(scenario).await;
                    assert_eq!(record.end_reason, Some(reason), "{scenario}");
                    let facts = reason.facts(record.answered_at.is_some());
                    assert_eq!(record.status, facts.status, "{scenario}");
                    assert_eq!(record.outcome, Some(facts.outcome), "{scenario}");
                }
            });
        }
        tasks.join_all().await;
    }
    for (scenario, end) in UAC {
        let calls = server.calls().await;
        let count = calls.iter().filter(|call| call.to_number.reveal() == scenario).count();
        assert_eq!(count, usize::from(end.is_some()), "{scenario} makes that many calls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sipp_calls_over_udp() {
    callers(Transport::Udp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sipp_calls_over_tcp() {
    callers(Transport::Tcp).await;
}

/// What the server does of its own on a call to SIPp.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Nothing,
    HangUp,
    Transfer,
}

struct Row {
    scenario: &'static str,
    then: Then,
    reason: EndReason,
    sip_status: Option<u16>,
}

const fn row(
    scenario: &'static str,
    then: Then,
    reason: EndReason,
    sip_status: Option<u16>,
) -> Row {
    Row { scenario, then, reason, sip_status }
}

/// Scenarios in which SIPp is called, and the end they must have (call-model B4).
const UAS: &[Row] = &[
    row("uas_plain", Then::HangUp, EndReason::ApiHangup, None),
    row("uas_ring_bye", Then::Nothing, EndReason::UserHangup, None),
    row("uas_422", Then::HangUp, EndReason::ApiHangup, None),
    row("uas_100rel", Then::HangUp, EndReason::ApiHangup, None),
    row("uas_early_media", Then::Nothing, EndReason::UserHangup, None),
    row("uas_repeat_200", Then::Nothing, EndReason::UserHangup, None),
    row("uas_401_auth", Then::Nothing, EndReason::UserHangup, None),
    row("uas_407_auth", Then::Nothing, EndReason::UserHangup, None),
    row("uas_302", Then::Nothing, EndReason::Unreachable, Some(302)),
    row("uas_403", Then::Nothing, EndReason::Forbidden, Some(403)),
    row("uas_404", Then::Nothing, EndReason::InvalidNumber, Some(404)),
    row("uas_480", Then::Nothing, EndReason::NoAnswer, Some(480)),
    row("uas_486", Then::Nothing, EndReason::Busy, Some(486)),
    row("uas_488", Then::Nothing, EndReason::MediaNegotiationFailed, Some(488)),
    row("uas_500", Then::Nothing, EndReason::Congestion, Some(500)),
    row("uas_503", Then::Nothing, EndReason::Congestion, Some(503)),
    row("uas_600", Then::Nothing, EndReason::Busy, Some(600)),
    row("uas_603", Then::Nothing, EndReason::Rejected, Some(603)),
    row("uas_q850", Then::Nothing, EndReason::Busy, Some(480)),
    row("uas_no_answer", Then::Nothing, EndReason::NoAnswer, None),
    row("uas_refer_ok", Then::Transfer, EndReason::Transferred, None),
    row("uas_refer_failed", Then::Transfer, EndReason::UserHangup, None),
    row("uas_refer_refused", Then::Transfer, EndReason::UserHangup, None),
    row("uas_refer_bye", Then::Transfer, EndReason::Transferred, None),
];

async fn called(server: &Server, transport: Transport, row: &Row) -> CallRecord {
    let sipp = Sipp::uas(row.scenario, transport).await;
    let change = |request: &mut DialRequest| {
        if row.scenario == "uas_no_answer" {
            request.ring_timeout_s = Some(1);
        }
    };
    let queued = server.dial_with(sipp.uri(row.scenario), transport, change).await;
    assert_eq!(queued.status, CallStatus::Queued);
    if row.then != Then::Nothing {
        server.live(queued.id).await;
        let switchboard = server.running.switchboard();
        let command = match row.then {
            Then::Transfer => CallCommand::Transfer {
                replaces: None,
                destination: "sip:+15550199@127.0.0.1".to_owned().into(),
                mode: trunkline::call::TransferMode::Blind,
                trunk: None,
                message: None,
                brief: None,
                headers: Vec::new(),
                timeout: None,
                on_fail: trunkline::call::command::OnFail::Resume,
            },
            _ => CallCommand::End {
                message: None,
                reason: EndReason::ApiHangup,
                headers: Vec::new(),
            },
        };
        wait::until("the call takes a command", async || {
            switchboard.command(queued.id, command.clone()).await.ok()
        })
        .await;
    }
    sipp.passes().await;
    server.ended(queued.id).await
}

async fn all_called(transport: Transport) {
    if !has_program("sipp") {
        return;
    }
    let server = Arc::new(Server::start().await);
    for batch in UAS.chunks(6) {
        let mut tasks = tokio::task::JoinSet::new();
        for row in batch {
            // Over UDP SIPp takes our second ACK for a repetition and answers it with a 200, without
            // end; `dialogs` shows the same with a peer of our own.
            if row.scenario == "uas_repeat_200" && transport == Transport::Udp {
                continue;
            }
            let server = Arc::clone(&server);
            tasks.spawn(async move {
                let record = called(&server, transport, row).await;
                let name = row.scenario;
                assert_eq!(record.end_reason, Some(row.reason), "{name}: {record:?}");
                let facts = row.reason.facts(record.answered_at.is_some());
                assert_eq!(record.status, facts.status, "{name}");
                assert_eq!(record.ended_by, Some(facts.ended_by), "{name}");
                assert_eq!(record.outcome, Some(facts.outcome), "{name}");
                if row.sip_status.is_some() {
                    assert_eq!(record.sip.status, row.sip_status, "{name}");
                }
                let answered =
                    matches!(record.outcome, Some(Outcome::Completed | Outcome::Transferred));
                assert_eq!(record.answered_at.is_some(), answered, "{name}");
            });
        }
        tasks.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sipp_is_called_over_udp() {
    all_called(Transport::Udp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sipp_is_called_over_tcp() {
    all_called(Transport::Tcp).await;
}

/// Nobody waits for a server that has no room: it says when to try again.
#[tokio::test(flavor = "multi_thread")]
async fn sipp_is_told_when_there_is_no_room() {
    if !has_program("sipp") {
        return;
    }
    let server = Server::with(|config| config.admission.calls_max = 1).await;
    let mut talk = crate::conversation::Talk::dial(&server, "room").await;
    let to = server.sip(Transport::Udp);
    Sipp::uac("uac_503", Transport::Udp, to, "full").passes().await;
    talk.caller.hang_up().await;
}

/// A trunk that follows redirects, and one that says everything it can of who calls.
#[tokio::test(flavor = "multi_thread")]
async fn sipp_is_called_as_the_trunk_wants_it() {
    if !has_program("sipp") {
        return;
    }
    let server = Server::with(|config| {
        let trunk = config.trunks.get_mut("out").expect("the trunk of tests");
        trunk.from_domain = "ours.example".to_owned();
        trunk.privacy = true;
        trunk.calls = trunkline::schema::calling::TrunkCalls {
            redirects: trunkline::schema::calling::Redirects::Follow,
            from_user: "account".to_owned(),
            asserted_identity: true,
            preferred_identity: true,
            remote_party_id: true,
            headers_out: vec!["X-Order".to_owned(), "User-to-User".to_owned()],
            ..trunkline::schema::calling::TrunkCalls::default()
        };
    })
    .await;
    for scenario in ["uas_302_follow", "uas_identity"] {
        let sipp = Sipp::uas(scenario, Transport::Udp).await;
        let change = |request: &mut DialRequest| {
            request.from = Some("+15550100".to_owned());
            request.sip_headers = vec![
                ("X-Order".to_owned(), "4711".to_owned()),
                ("User-to-User".to_owned(), "56a390;encoding=hex".to_owned()),
            ];
        };
        let queued = server.dial_with(sipp.uri(scenario), Transport::Udp, change).await;
        server.live(queued.id).await;
        let end =
            CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
        let switchboard = server.running.switchboard();
        wait::until("the call takes a command", async || {
            switchboard.command(queued.id, end.clone()).await.ok()
        })
        .await;
        sipp.passes().await;
        let record = server.ended(queued.id).await;
        assert_eq!(record.end_reason, Some(EndReason::ApiHangup), "{scenario}");
    }
    // What the list does not name stays here.
    let request = DialRequest {
        to: "sip:a@127.0.0.1:9".to_owned(),
        trunk: Some(trunkline::types::TrunkName("out".to_owned())),
        sip_headers: vec![("X-Other".to_owned(), "1".to_owned())],
        ..DialRequest::default()
    };
    let refused = server.running.switchboard().dial(request).await.expect_err("not this header");
    let text = refused.to_string();
    assert!(text.contains("X-Other") && text.contains("X-Order, User-to-User"), "{text}");
}
