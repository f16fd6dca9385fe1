//! What the SIP sockets carried and what was dropped, by reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Reasons told apart. They are labels in our own source; more would be a defect there.
const REASONS_MAX: usize = 128;

/// Written by the driver and its readers, read by whoever exports metrics.
#[derive(Debug, Default)]
pub struct NetCounters {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) send_failed: AtomicU64,
    pub(super) icmp_errors: AtomicU64,
    pub(super) tcp_accepted: AtomicU64,
    pub(super) tcp_refused: AtomicU64,
    pub(super) tcp_failed: AtomicU64,
    pub(super) receive_queue_full: AtomicU64,
    pub(super) event_waits: AtomicU64,
    /// Of the user agent, by its labels (`trunkline_sip_rejected_total{reason}`).
    reasons: Mutex<BTreeMap<&'static str, u64>>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetSnapshot {
    /// Messages received.
    pub received: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages the system or a full connection did not take.
    pub send_failed: u64,
    /// Reports that a peer's port or host cannot be reached.
    pub icmp_errors: u64,
    /// TCP connections taken.
    pub tcp_accepted: u64,
    /// TCP connections closed at once because of a limit.
    pub tcp_refused: u64,
    /// TCP connections that could not be opened.
    pub tcp_failed: u64,
    /// Datagrams dropped because the driver was behind.
    pub receive_queue_full: u64,
    /// Times the driver waited for the switchboard to read events.
    pub event_waits: u64,
    /// What the user agent counted, by its labels.
    pub reasons: BTreeMap<&'static str, u64>,
}

impl NetCounters {
    pub(super) fn count(&self, counter: impl Fn(&Self) -> &AtomicU64) {
        counter(self).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reason(&self, reason: &'static str) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < REASONS_MAX || reasons.contains_key(reason) {
            *reasons.entry(reason).or_default() += 1;
        }
    }

    /// The counts so far.
    pub fn snapshot(&self) -> NetSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NetSnapshot {
            received: load(&self.received),
            sent: load(&self.sent),
            send_failed: load(&self.send_failed),
            icmp_errors: load(&self.icmp_errors),
            tcp_accepted: load(&self.tcp_accepted),
            tcp_refused: load(&self.tcp_refused),
            tcp_failed: load(&self.tcp_failed),
            receive_queue_full: load(&self.receive_queue_full),
            event_waits: load(&self.event_waits),
            reasons: self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
