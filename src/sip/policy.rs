//! What differs from trunk to trunk in how its dialogs are led. Plain data.

/// How the dialogs of one trunk are led.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallPolicy {
    /// Session-Expires we ask for, in seconds (RFC 4028); `None`: the server's; 0: we ask for no
    /// session timer, and run one only if the other side imposes it.
    pub session_expires_s: Option<u32>,
    /// Whether provisional responses are made reliable.
    pub reliable: Reliable,
    /// Whether a REFER of theirs is put to our side; else it gets 603.
    pub follows_refers: bool,
}

/// Reliable provisional responses (RFC 3262). A peer that requires them gets them whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliable {
    /// Not offered, and not used on our own account.
    #[default]
    Off,
    /// Offered; our own are reliable when they carry a description and the caller supports it.
    Supported,
    /// Required of whom we call; every response of ours is reliable when the caller supports it.
    Required,
}

impl CallPolicy {
    /// Whether we offer session timers.
    pub(super) fn has_timer(&self) -> bool {
        self.session_expires_s != Some(0)
    }
}
