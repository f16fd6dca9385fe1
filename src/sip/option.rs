//! Option tags (RFC 3261 section 19.2): the one table of what may be required of us and what we offer.

use super::policy::{CallPolicy, Reliable};

/// One extension.
struct Extension {
    tag: &'static str,
    /// Whether a request that requires it is served.
    honoured: bool,
    /// Whether only requests offer it.
    in_requests: bool,
    offered: fn(&CallPolicy) -> bool,
}

/// Every extension we know.
const TABLE: [Extension; 5] = [
    // RFC 4488.
    Extension { tag: "norefersub", honoured: true, in_requests: false, offered: |_| true },
    // RFC 4028.
    Extension { tag: TIMER, honoured: true, in_requests: false, offered: CallPolicy::has_timer },
    // RFC 3262. Required, it is served on every trunk.
    Extension {
        tag: RELIABLE,
        honoured: true,
        in_requests: false,
        offered: |policy| policy.reliable != Reliable::Off,
    },
    // RFC 3891.
    Extension { tag: "replaces", honoured: true, in_requests: false, offered: |_| true },
    // RFC 6228: a fork that is gone.
    Extension { tag: "199", honoured: false, in_requests: true, offered: |_| true },
];

/// Session timers.
pub(super) const TIMER: &str = "timer";

/// Reliable provisional responses.
pub(super) const RELIABLE: &str = "100rel";

/// Value of Supported in a request of ours towards a peer with this policy.
pub(super) fn in_requests(policy: &CallPolicy) -> String {
    joined(policy, |_| true)
}

/// Value of Supported in a response of ours.
pub(super) fn in_responses(policy: &CallPolicy) -> String {
    joined(policy, |row| !row.in_requests)
}

fn joined(policy: &CallPolicy, fits: fn(&Extension) -> bool) -> String {
    let offered = TABLE.iter().filter(|row| fits(row) && (row.offered)(policy));
    offered.map(|row| row.tag).collect::<Vec<_>>().join(", ")
}

/// Whether a request may require this.
pub(super) fn is_honoured(tag: &str) -> bool {
    TABLE.iter().any(|row| row.honoured && row.tag.eq_ignore_ascii_case(tag))
}
