//! Session timers at work (RFC 4028): our refreshes, their answers, and the end of a session that
//! nobody refreshes.

use std::time::{Duration, Instant};

use super::agent::Agent;
use super::craft;
use super::craft::Reply;
use super::event::{Event, SessionEnd};
use super::header::retry_after_s;
use super::leg::{Announce, Ask, Fate, InDialog, Leg, Session, State};
use super::msg::{HeaderName, Headers, Method, Request, Response};
use super::option::TIMER;
use super::session_timer::{
    MIN_SE_DEFAULT_S, RAISES_MAX, Refresher, Said, SessionTimer, TimerDue, Verdict, Wish, accepted,
    judge,
};

/// How soon a refresh is tried again that found an offer under way: that is a refresh itself, or soon over.
const BUSY: Duration = Duration::from_secs(2);

/// Reason of the BYE that ends a session nobody refreshed: recovery on timer expiry.
const EXPIRED: &str = "Q.850;cause=102;text=\"session expired\"";

impl Agent {
    /// What we ask of the peer of a leg.
    pub(super) fn wish(&self, policy: &super::CallPolicy) -> Wish {
        let session = self.config.session;
        let expires_s = policy.session_expires_s.unwrap_or(session.expires_s);
        let expires_s = if expires_s == 0 { 0 } else { expires_s.max(session.min_s) };
        Wish { expires_s, min_s: session.min_s }
    }

    /// Whether the interval of a request of theirs is too short for us: the 422 to send.
    pub(super) fn too_small(&self, leg: Option<&Leg>, request: &Request) -> Option<Reply> {
        let policy = leg.map(|leg| leg.policy).unwrap_or_default();
        let running = leg.and_then(|leg| leg.timer.as_ref());
        let wish = self.wish(&policy);
        (judge(&Said::of(&request.headers), wish, running) == Verdict::TooSmall)
            .then(|| Reply::new(422).header(HeaderName::MinSe, wish.min_s.to_string()))
    }

    /// Starts the timer that our 2xx to this request agrees to, and writes it into the 2xx.
    pub(super) fn agree(
        &self,
        now: Instant,
        leg: &mut Leg,
        request: &Request,
        reply: Reply,
    ) -> Reply {
        leg.note_abilities(&request.headers);
        let said = Said::of(&request.headers);
        let verdict = judge(&said, self.wish(&leg.policy), leg.timer.as_ref());
        leg.start_timer(now, verdict);
        let Some(timer) = &leg.timer else { return reply };
        // The one who sent the request is `uac`.
        let role = if timer.refresher == Refresher::Them { "uac" } else { "uas" };
        let value = format!("{};refresher={role}", timer.interval_s);
        let reply = reply.header(HeaderName::SessionExpires, value);
        if said.supported { reply.header(HeaderName::Require, TIMER) } else { reply }
    }

    /// Their 2xx to a request of ours that makes or refreshes the session.
    pub(super) fn agreed(&self, now: Instant, leg: &mut Leg, headers: &Headers) {
        leg.note_abilities(headers);
        let verdict = accepted(&Said::of(headers), leg.timer.as_ref());
        leg.start_timer(now, verdict);
    }

    /// A refresh is due, or the session is over. `None`: nothing that ends the leg.
    pub(super) fn session_due(&mut self, now: Instant, leg: &mut Leg) -> Option<Fate> {
        match leg.timer.as_ref()?.due(now) {
            TimerDue::Nothing => None,
            TimerDue::Refresh => {
                self.refresh(now, leg);
                None
            }
            TimerDue::Expired => Some(self.session_over(now, leg, SessionEnd::NotRefreshed)),
        }
    }

    fn session_over(&mut self, now: Instant, leg: &mut Leg, why: SessionEnd) -> Fate {
        if !matches!(leg.state, State::Confirmed(_)) {
            return Fate::Keep;
        }
        self.event(Event::SessionExpired { dialog: leg.id, why });
        self.hang_up(now, leg, Some(EXPIRED.to_owned()), Announce::Terminated)
    }

    /// Sends an UPDATE without body where the peer takes one, else our last description again.
    fn refresh(&mut self, now: Instant, leg: &mut Leg) {
        let (Some(timer), State::Confirmed(confirmed)) = (&mut leg.timer, &mut leg.state) else {
            return;
        };
        if !matches!(confirmed.session, Session::Idle) {
            timer.again(now + BUSY);
            return;
        }
        timer.under_way();
        if leg.takes_update {
            let headers = session_headers(leg);
            let request = InDialog { headers, ..InDialog::new(Method::Update) };
            self.send_in_dialog(now, leg, request, Vec::new());
        } else {
            let sdp = leg.local_sdp.clone();
            confirmed.session = Session::WeAsk { sdp: sdp.clone(), ask: Ask::Refresh };
            self.send_reinvite(now, leg, sdp, 0);
        }
    }

    /// A final response to our UPDATE.
    pub(super) fn update_answered(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        response: &Response,
    ) -> Fate {
        let status = response.status.code();
        if (200..300).contains(&status) {
            leg.dialog.retarget(&response.headers);
            self.agreed(now, leg, &response.headers);
            return Fate::Keep;
        }
        if matches!(status, 405 | 501) {
            // It does not take UPDATE after all.
            leg.takes_update = false;
            self.refresh(now, leg);
            return Fate::Keep;
        }
        self.refresh_refused(now, leg, response)
    }

    /// A refusal of our refresh, by UPDATE or re-INVITE.
    pub(super) fn refresh_refused(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        response: &Response,
    ) -> Fate {
        let status = response.status.code();
        if matches!(status, 408 | 481) {
            return self.session_over(now, leg, SessionEnd::RefreshFailed);
        }
        let glare = self.glare_wait(leg);
        let Some(timer) = &mut leg.timer else { return Fate::Keep };
        let min_s = Said::of(&response.headers).min_s;
        match (status, min_s) {
            (422, Some(min_s)) if timer.raises < RAISES_MAX => {
                timer.raise(min_s);
                self.refresh(now, leg);
            }
            (491, _) => timer.again(now + glare),
            _ => {
                let said = retry_after_s(&response.headers).map(u64::from).map(Duration::from_secs);
                // The expiry has the last word, whatever the peer says.
                let wait = said.unwrap_or_default().max(timer.pause());
                timer.again(now + wait);
            }
        }
        Fate::Keep
    }

    /// Our refresh got no answer at all.
    pub(super) fn refresh_unanswered(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        self.session_over(now, leg, SessionEnd::RefreshFailed)
    }
}

impl Leg {
    /// Takes over what the peer says it can do.
    pub(crate) fn note_abilities(&mut self, headers: &Headers) {
        if headers.contains(HeaderName::Allow) {
            self.takes_update = headers.has_token(HeaderName::Allow, "UPDATE");
        }
    }

    fn start_timer(&mut self, now: Instant, verdict: Verdict) {
        let min_s = self.timer.and_then(|timer| timer.min_s);
        self.timer = match verdict {
            Verdict::Agreed { interval_s, refresher } => {
                let mut timer = SessionTimer::new(now, interval_s, refresher);
                timer.min_s = min_s;
                Some(timer)
            }
            Verdict::None | Verdict::TooSmall => None,
        };
    }
}

/// Headers of a request of ours that refreshes the session: the roles stay as they are.
pub(super) fn session_headers(leg: &Leg) -> Vec<(String, String)> {
    let mut headers = craft::abilities(&leg.policy);
    if let Some(timer) = &leg.timer {
        let role = if timer.refresher == Refresher::Us { "uac" } else { "uas" };
        let value = format!("{};refresher={role}", timer.interval_s);
        headers.push(("Session-Expires".to_owned(), value));
        headers.extend(timer.min_s.map(|s| ("Min-SE".to_owned(), s.to_string())));
    }
    headers
}

/// Headers of our first INVITE: an interval, and nobody named to refresh it (section 7.1).
pub(super) fn first_headers(wish: Wish) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    if wish.expires_s > 0 {
        headers.push(("Session-Expires".to_owned(), wish.expires_s.to_string()));
        if wish.min_s > MIN_SE_DEFAULT_S {
            headers.push(("Min-SE".to_owned(), wish.min_s.to_string()));
        }
    }
    headers
}

/// The wish that follows a 422 to our INVITE.
pub(super) fn raised(wish: Wish, response: &Response) -> Option<Wish> {
    let min_s = Said::of(&response.headers).min_s?;
    (min_s > wish.expires_s)
        .then(|| Wish { expires_s: wish.expires_s.max(min_s), min_s: wish.min_s.max(min_s) })
}
