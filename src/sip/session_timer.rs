//! Session timers (RFC 4028): what is asked, what is agreed, and when the next step is due.
//!
//! State only; requests and responses are made in [`super::refresh`].

use std::time::{Duration, Instant};

use super::header::Tagged;
use super::msg::{HeaderName, Headers};
use super::option::TIMER;
use super::transaction::earlier;

/// Shortest interval acted on. RFC 4028 section 4 allows none below 90 s; peers that answer with less
/// get their refreshes, but no more often than this makes it.
const INTERVAL_MIN_S: u32 = 20;

/// How long before the expiry the call is ended at most (section 10).
const MARGIN_MAX: Duration = Duration::from_secs(32);

/// How soon a refresh is tried again that the peer refused for now.
const RETRY_MIN: Duration = Duration::from_secs(2);

/// Default of Min-SE: not written (section 5).
pub(crate) const MIN_SE_DEFAULT_S: u32 = 90;

/// Times a larger interval is tried after 422.
pub(crate) const RAISES_MAX: u8 = 3;

/// Who refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresher {
    Us,
    Them,
}

/// What the headers of a message say of session timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) expires_s: Option<u32>,
    /// Whether the refresher parameter names the one that sent the request.
    pub(crate) by_sender: Option<bool>,
    pub(crate) min_s: Option<u32>,
    /// `timer` among Supported or Require.
    pub(crate) supported: bool,
}

impl Said {
    pub(crate) fn of(headers: &Headers) -> Self {
        let expires =
            headers.get(HeaderName::SessionExpires).and_then(|value| Tagged::parse(value));
        let number = |tagged: &Tagged| tagged.value.parse::<u32>().ok().filter(|s| *s > 0);
        let refresher = expires.as_ref().and_then(|tagged| tagged.params.get("refresher"));
        Self {
            expires_s: expires.as_ref().and_then(number),
            by_sender: refresher.and_then(|role| match role.to_ascii_lowercase().as_str() {
                "uac" => Some(true),
                "uas" => Some(false),
                _ => None,
            }),
            min_s: headers
                .get(HeaderName::MinSe)
                .and_then(|value| Tagged::parse(value))
                .as_ref()
                .and_then(number),
            supported: headers.has_token(HeaderName::Supported, TIMER)
                || headers.has_token(HeaderName::Require, TIMER),
        }
    }
}

/// What we ask for and what we bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// 0: no timer of ours.
    pub(crate) expires_s: u32,
    pub(crate) min_s: u32,
}

/// What becomes of a request of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 422.
    TooSmall,
    /// No timer runs.
    None,
    Agreed {
        interval_s: u32,
        refresher: Refresher,
    },
}

/// The answer to a request that makes or refreshes a session (section 9 and its table 2).
pub(crate) fn judge(said: &Said, wish: Wish, running: Option<&SessionTimer>) -> Verdict {
    let least = said.min_s.unwrap_or(0);
    match (said.expires_s, running) {
        (Some(asked), _) if asked < wish.min_s && said.supported => Verdict::TooSmall,
        (Some(asked), _) => {
            let refresher = match (said.supported, said.by_sender) {
                (true, Some(true)) => Refresher::Them,
                (true, None) => running.map_or(Refresher::Us, |timer| timer.refresher),
                // One that knows no timers refreshes nothing.
                (true, Some(false)) | (false, _) => Refresher::Us,
            };
            Verdict::Agreed { interval_s: asked.max(wish.min_s), refresher }
        }
        (None, Some(timer)) => {
            let refresher = if said.supported { timer.refresher } else { Refresher::Us };
            Verdict::Agreed { interval_s: timer.interval_s.max(least), refresher }
        }
        (None, None) if said.supported && wish.expires_s > 0 => Verdict::Agreed {
            interval_s: wish.expires_s.max(least).max(wish.min_s),
            refresher: Refresher::Us,
        },
        (None, None) => Verdict::None,
    }
}

/// What a 2xx of theirs agrees to (section 7.2). One that names an interval and nobody to refresh it
/// leaves that to us: half of the phones that do so never refresh.
pub(crate) fn accepted(said: &Said, running: Option<&SessionTimer>) -> Verdict {
    match (said.expires_s, running) {
        (Some(interval_s), _) => Verdict::Agreed {
            interval_s,
            refresher: if said.by_sender == Some(false) { Refresher::Them } else { Refresher::Us },
        },
        // Section 7.2 ends the timer. A peer that only forgot the header still waits for us.
        (None, Some(timer)) if timer.refresher == Refresher::Us => {
            Verdict::Agreed { interval_s: timer.interval_s, refresher: Refresher::Us }
        }
        (None, _) => Verdict::None,
    }
}

/// A timer that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionTimer {
    pub(crate) interval_s: u32,
    pub(crate) refresher: Refresher,
    /// Largest Min-SE heard, if above the default.
    pub(crate) min_s: Option<u32>,
    /// 422 answers in a row.
    pub(crate) raises: u8,
    /// When our refresh is due; `None` while one is under way or if it is theirs.
    refresh_at: Option<Instant>,
    expires_at: Instant,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerDue {
    Nothing,
    Refresh,
    Expired,
}

impl SessionTimer {
    /// A timer that begins now: refresh at half the interval, the end by the smaller of 32 s and a
    /// third of it before the expiry (section 10).
    pub(crate) fn new(now: Instant, interval_s: u32, refresher: Refresher) -> Self {
        let interval_s = interval_s.max(INTERVAL_MIN_S);
        let interval = Duration::from_secs(u64::from(interval_s));
        Self {
            interval_s,
            refresher,
            min_s: None,
            raises: 0,
            refresh_at: (refresher == Refresher::Us).then(|| now + interval / 2),
            expires_at: now + (interval - (interval / 3).min(MARGIN_MAX)),
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        earlier(self.refresh_at, Some(self.expires_at))
    }

    pub(crate) fn due(&self, now: Instant) -> TimerDue {
        if self.expires_at <= now {
            TimerDue::Expired
        } else if self.refresh_at.is_some_and(|at| at <= now) {
            TimerDue::Refresh
        } else {
            TimerDue::Nothing
        }
    }

    /// A refresh of ours is out.
    pub(crate) fn under_way(&mut self) {
        self.refresh_at = None;
    }

    /// Our refresh was refused for now, or could not begin.
    pub(crate) fn again(&mut self, at: Instant) {
        self.refresh_at = Some(at);
    }

    /// When to try again after a refusal that says nothing else: an eighth of the interval.
    pub(crate) fn pause(&self) -> Duration {
        (Duration::from_secs(u64::from(self.interval_s)) / 8).max(RETRY_MIN)
    }

    /// They want a longer interval.
    pub(crate) fn raise(&mut self, min_s: u32) {
        self.raises = self.raises.saturating_add(1);
        self.min_s = Some(self.min_s.unwrap_or(0).max(min_s));
        self.interval_s = self.interval_s.max(min_s);
    }
}

#[cfg(test)]
mod tests;
