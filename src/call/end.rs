//! From the telephony truth to an [`EndReason`]: SIP statuses, Q.850 causes and our own ends.
//!
//! The tables follow RFC 3398 section 8.2.6.1, RFC 4497, RFC 6432, RFC 8197 and RFC 8688.

use crate::sip::header::{ReasonProtocol, reasons_in};
use crate::sip::{InviteFailure, InviteFailureCause};
use crate::types::EndReason;
use crate::types::call::SipEnd;

/// Why an outgoing call came to nothing. A Q.850 cause of the carrier decides unless it is generic
/// (16, 31, 127: then the SIP status does).
pub fn of_failure(failure: &InviteFailure) -> EndReason {
    match failure.cause {
        InviteFailureCause::Canceled => return EndReason::Canceled,
        InviteFailureCause::RingTimeout => return EndReason::NoAnswer,
        InviteFailureCause::NoResponse | InviteFailureCause::Transport => {
            return EndReason::NetworkError;
        }
        InviteFailureCause::Auth => return EndReason::AuthFailed,
        InviteFailureCause::Refused => {}
    }
    failure
        .q850_cause
        .and_then(of_q850)
        .unwrap_or_else(|| failure.status.map_or(EndReason::NetworkError, of_status))
}

/// End reason of a final SIP status on an INVITE.
pub fn of_status(status: u16) -> EndReason {
    match status {
        300..=399 | 502 | 504 => EndReason::Unreachable,
        401 | 407 => EndReason::AuthFailed,
        402 | 403 | 428 | 429 | 436..=438 => EndReason::Forbidden,
        404 | 410 | 484 | 485 | 604 => EndReason::InvalidNumber,
        408 | 480 | 487 => EndReason::NoAnswer,
        415 | 488 | 606 => EndReason::MediaNegotiationFailed,
        433 | 608 => EndReason::Blocked,
        486 | 600 => EndReason::Busy,
        500 | 503 => EndReason::Congestion,
        603 | 607 => EndReason::Rejected,
        _ => EndReason::SipError,
    }
}

/// End reason of a Q.850 cause; `None` where the cause is generic and the SIP status says more.
pub fn of_q850(cause: u8) -> Option<EndReason> {
    Some(match cause {
        1 | 22 | 28 => EndReason::InvalidNumber,
        2 | 3 | 20 | 26 | 27 | 102 => EndReason::Unreachable,
        17 => EndReason::Busy,
        18 | 19 => EndReason::NoAnswer,
        21 => EndReason::Rejected,
        24 => EndReason::Blocked,
        34 | 38 | 41 | 42 | 44 | 47 => EndReason::Congestion,
        50 | 55 | 57 => EndReason::Forbidden,
        58 | 63 | 65 | 70 | 79 | 88 => EndReason::MediaNegotiationFailed,
        29 | 95..=111 => EndReason::SipError,
        _ => return None,
    })
}

/// The Q.850 cause to report when no Reason header came.
pub fn q850_of_status(status: u16) -> u8 {
    match status {
        404 | 485 | 604 => 1,
        408 | 504 => 102,
        410 => 22,
        415 | 488 | 606 => 88,
        433 | 608 => 24,
        480 => 18,
        484 => 28,
        486 | 600 => 17,
        487 => 16,
        400 | 481 | 500 | 503 => 41,
        401..=403 | 407 | 428 | 429 | 436..=438 | 603 | 607 => 21,
        483 => 25,
        502 => 27,
        501 | 505 => 79,
        300..=399 => 23,
        _ => 127,
    }
}

/// Token of a Q.850 cause, as the record's `hangup_cause`.
pub fn token_of_q850(cause: u8) -> &'static str {
    match cause {
        1 => "unallocated_number",
        2 | 3 => "no_route",
        16 => "normal_clearing",
        17 => "user_busy",
        18 => "no_user_response",
        19 => "no_answer",
        20 => "subscriber_absent",
        21 => "call_rejected",
        22 => "number_changed",
        26 => "answered_elsewhere",
        27 => "destination_out_of_order",
        28 => "invalid_number_format",
        34 => "no_circuit",
        38 => "network_out_of_order",
        41 => "temporary_failure",
        42 => "congestion",
        57 => "bearer_not_authorized",
        88 => "incompatible_destination",
        102 => "recovery_on_timer",
        127 => "interworking",
        _ => "normal_unspecified",
    }
}

/// The telephony truth of a failed INVITE, for the record.
pub fn sip_end_of_failure(failure: &InviteFailure) -> SipEnd {
    let cause = failure.q850_cause.unwrap_or_else(|| match failure.cause {
        InviteFailureCause::RingTimeout => 19,
        InviteFailureCause::Canceled => 16,
        InviteFailureCause::NoResponse | InviteFailureCause::Transport => 102,
        InviteFailureCause::Refused | InviteFailureCause::Auth => {
            failure.status.map_or(102, q850_of_status)
        }
    });
    SipEnd {
        status: failure.status,
        reason: failure.reason_phrase.clone(),
        q850_cause: Some(cause),
        hangup_cause: Some(token_of_q850(cause).to_owned()),
    }
}

/// The Q.850 cause of the Reason headers of a request (RFC 3326), several values joined by commas. Without one, what a
/// SIP status among them stands for: `SIP;cause=200` on a CANCEL says that another phone answered.
pub fn q850_of_reason(reason: &str) -> Option<u8> {
    let values = reasons_in(reason);
    let causes = |protocol: ReasonProtocol| {
        values.iter().filter(move |value| value.protocol == protocol).find_map(|value| value.cause)
    };
    let q850 = causes(ReasonProtocol::Q850).and_then(|cause| u8::try_from(cause).ok());
    q850.or_else(|| match causes(ReasonProtocol::Sip)? {
        200 => Some(26),
        status @ 400.. => Some(q850_of_status(status)),
        _ => None,
    })
}

/// The Q.850 cause we put into our own BYE.
pub fn q850_of_end(reason: EndReason) -> u8 {
    match reason {
        EndReason::MediaTimeout | EndReason::SessionExpired | EndReason::NetworkError => 102,
        EndReason::ProviderError
        | EndReason::InternalError
        | EndReason::ErrorInactivity
        | EndReason::Shutdown => 41,
        _ => 16,
    }
}

#[cfg(test)]
mod tests;
