//! What a live call is doing besides talking, for whoever looks at it: four flags, no lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sip::DialogId;

/// A look at a live call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The agent or the caller is muted.
    pub muted: bool,
    /// Either side has the other on hold.
    pub on_hold: bool,
    /// A transfer is under way.
    pub transferring: bool,
    /// The agent is heard.
    pub speaking: bool,
}

/// The same, as the call writes it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    muted: AtomicBool,
    on_hold: AtomicBool,
    transferring: AtomicBool,
    speaking: AtomicBool,
    /// The dialog that took the place of the first one; 0: none did.
    dialog: AtomicU64,
}

impl Shown {
    pub(super) fn set_dialog(&self, dialog: DialogId) {
        self.dialog.store(dialog.0, Ordering::Relaxed);
    }

    pub(super) fn dialog(&self) -> Option<DialogId> {
        Some(DialogId(self.dialog.load(Ordering::Relaxed))).filter(|dialog| dialog.0 != 0)
    }

    pub(super) fn show(&self, live: Live) {
        self.muted.store(live.muted, Ordering::Relaxed);
        self.on_hold.store(live.on_hold, Ordering::Relaxed);
        self.transferring.store(live.transferring, Ordering::Relaxed);
        self.speaking.store(live.speaking, Ordering::Relaxed);
    }

    pub(super) fn look(&self) -> Live {
        Live {
            muted: self.muted.load(Ordering::Relaxed),
            on_hold: self.on_hold.load(Ordering::Relaxed),
            transferring: self.transferring.load(Ordering::Relaxed),
            speaking: self.speaking.load(Ordering::Relaxed),
        }
    }
}
