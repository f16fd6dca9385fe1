//! The table of call-model B4, row by row.

use super::*;

fn refused(status: u16, q850_cause: Option<u8>) -> InviteFailure {
    InviteFailure {
        contacts: Vec::new(),
        status: Some(status),
        reason_phrase: None,
        q850_cause,
        cause: InviteFailureCause::Refused,
    }
}

// covers: E2-04
#[test]
fn a_final_status_decides_without_a_reason_header() {
    let rows = [
        (302, EndReason::Unreachable),
        (400, EndReason::SipError),
        (401, EndReason::AuthFailed),
        (403, EndReason::Forbidden),
        (404, EndReason::InvalidNumber),
        (408, EndReason::NoAnswer),
        (410, EndReason::InvalidNumber),
        (480, EndReason::NoAnswer),
        (484, EndReason::InvalidNumber),
        (486, EndReason::Busy),
        (488, EndReason::MediaNegotiationFailed),
        (500, EndReason::Congestion),
        (502, EndReason::Unreachable),
        (503, EndReason::Congestion),
        (580, EndReason::SipError),
        (600, EndReason::Busy),
        (603, EndReason::Rejected),
        (604, EndReason::InvalidNumber),
        (607, EndReason::Rejected),
        (608, EndReason::Blocked),
    ];
    for (status, reason) in rows {
        assert_eq!(of_failure(&refused(status, None)), reason, "status {status}");
    }
}

#[test]
fn a_q850_cause_decides_unless_it_is_generic() {
    assert_eq!(of_failure(&refused(503, Some(17))), EndReason::Busy);
    assert_eq!(of_failure(&refused(480, Some(1))), EndReason::InvalidNumber);
    for generic in [16, 31, 127] {
        assert_eq!(of_failure(&refused(486, Some(generic))), EndReason::Busy, "cause {generic}");
    }
}

// covers: E2-03 E2-04
#[test]
fn our_own_ring_timeout_is_no_answer_and_our_cancel_is_canceled() {
    let with = |cause| InviteFailure { cause, ..refused(487, None) };
    assert_eq!(of_failure(&with(InviteFailureCause::RingTimeout)), EndReason::NoAnswer);
    assert_eq!(of_failure(&with(InviteFailureCause::Canceled)), EndReason::Canceled);
    assert_eq!(of_failure(&with(InviteFailureCause::NoResponse)), EndReason::NetworkError);
    assert_eq!(sip_end_of_failure(&with(InviteFailureCause::RingTimeout)).q850_cause, Some(19));
}

#[test]
fn reason_headers_are_read_whatever_their_case_and_order() {
    assert_eq!(q850_of_reason("Q.850;cause=16;text=\"bye\""), Some(16));
    assert_eq!(q850_of_reason("q.850 ; text=\"x\" ; cause = 34"), Some(34));
    assert_eq!(q850_of_reason("SIP;cause=200;text=\"Call completed elsewhere\""), Some(26));
    assert_eq!(q850_of_reason("SIP;cause=486"), Some(17));
    assert_eq!(q850_of_reason("SIP;cause=200;text=\"a, Q.850;cause=1\", Q.850;cause=18"), Some(18));
    assert_eq!(q850_of_reason("Q.850, Q.850;cause=21"), Some(21), "one of them names no cause");
    assert_eq!(q850_of_reason("X;cause=3"), None);
    assert_eq!(q850_of_reason(""), None);
    assert_eq!(q850_of_reason("Q.850;cause=999"), None);
}
