//! REFER of theirs (RFC 3515): the other side asks us to call somebody in its place, and wants to hear what becomes
//! of it.
//!
//! Our side decides ([`Event::Referred`], [`super::Command::AnswerRefer`]) and calls; here are the answer, the NOTIFYs
//! of the subscription that a REFER brings (one on its way at a time, so that none overtakes another) and the BYE that
//! waits for the last of them. RFC 4488: who does not want to hear does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::agent::Agent;
use super::checks;
use super::craft::Reply;
use super::event::{Event, Rejection};
use super::facts;
use super::header::{NameAddr, Tagged};
use super::leg::{Announce, Confirmed, Fate, InDialog, Leg, State};
use super::lex;
use super::msg::{HeaderName, Method, Request, StatusCode};
use super::transaction::{TxnId, earlier};
use super::uri::Scheme;
use crate::types::Pii;

/// Longest header that a Refer-To or a Referred-By puts into our INVITE, octets.
const HEADER_BYTES_MAX: usize = 1_024;
/// How long we say the subscription lives: as long as a call may ring, and then some.
const SUBSCRIPTION_S: u32 = 180;
/// After the NOTIFY that tells of success the other side hangs up (RFC 5589 section 6); if it does not, we do.
const BYE_GRACE: Duration = Duration::from_secs(2);

/// What a REFER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral {
    /// Whom to call: a sip, sips or tel URI, without the headers it came with.
    pub target: Pii<String>,
    /// Value of Replaces for the INVITE (RFC 3891): the call that is taken over there.
    pub replaces: Option<String>,
    /// Value of User-to-User for the INVITE (RFC 7433).
    pub user_to_user: Option<Pii<String>>,
    /// Value of Referred-By (RFC 3892).
    pub referred_by: Option<Pii<String>>,
}

/// A REFER of theirs that has no final word yet.
#[derive(Debug)]
pub(crate) struct Referred {
    /// Its CSeq: the `id` of its subscription.
    id: u32,
    /// Whether they want to hear what becomes of it.
    told: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Our side has not said whether it is followed.
    Asked { txn: TxnId, request: Arc<Request>, until: Instant },
    /// It is followed; NOTIFYs tell how far it is.
    Followed(Telling),
}

#[derive(Debug, Default)]
struct Telling {
    /// Status of the NOTIFY that waits for its answer.
    on_its_way: Option<u16>,
    /// The newest that was told.
    last: u16,
    /// What is told next.
    next: Option<u16>,
}

/// A BYE of ours that waits.
#[derive(Debug)]
pub(crate) struct Leaving {
    reason: Option<String>,
    /// Whether they have reason to hang up themselves.
    after_success: bool,
    /// Until when they may; not known before the last NOTIFY has its answer.
    until: Option<Instant>,
}

impl Referred {
    fn is_telling(&self) -> bool {
        matches!(&self.stage, Stage::Followed(telling) if telling.on_its_way.is_some())
    }
}

impl Confirmed {
    /// When something is due for a REFER of theirs.
    pub(crate) fn referred_wake(&self) -> Option<Instant> {
        let asked = match self.referred.as_ref().map(|referred| &referred.stage) {
            Some(Stage::Asked { until, .. }) => Some(*until),
            Some(Stage::Followed(_)) | None => None,
        };
        earlier(asked, self.leaving.as_ref().and_then(|leaving| leaving.until))
    }
}

/// What a REFER asks for.
///
/// # Errors
/// Its refusal.
fn read(refer: &Request) -> Result<Referral, Rejection> {
    let bad = |why: &str| Rejection { reason: why.to_owned(), ..Rejection::status(400) };
    let mut values = refer.headers.values(HeaderName::ReferTo);
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(bad("One Refer-To Expected"));
    };
    let mut uri = NameAddr::parse(value).ok_or_else(|| bad("Bad Refer-To"))?.uri;
    let callable = match uri.scheme {
        Scheme::Sip | Scheme::Sips => uri.host.is_some(),
        Scheme::Tel => true,
        Scheme::Other(_) => return Err(Rejection::status(416)),
    };
    let calls = uri.params.get("method").is_none_or(|method| method.eq_ignore_ascii_case("INVITE"));
    if !callable || !calls {
        return Err(bad("Bad Refer-To"));
    }
    let headers = uri.headers.take().unwrap_or_default();
    uri.params.remove("method");
    let header = |name: &str| header_of(&headers, name).map_err(|()| bad("Bad Refer-To"));
    let replaces = header("Replaces")?;
    if replaces.as_deref().is_some_and(|value| !names_a_dialog(value)) {
        return Err(bad("Bad Replaces"));
    }
    Ok(Referral {
        target: Pii::new(uri.to_string()),
        replaces,
        user_to_user: header("User-to-User")?.map(Pii::new),
        referred_by: referred_by(refer).map(Pii::new),
    })
}

/// A header of a URI, unescaped.
fn header_of(headers: &str, name: &str) -> Result<Option<String>, ()> {
    let found = headers.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = found.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    else {
        return Ok(None);
    };
    let value = String::from_utf8(lex::unescape(value)).map_err(|_| ())?;
    if value.len() > HEADER_BYTES_MAX || value.chars().any(char::is_control) {
        return Err(());
    }
    Ok(Some(value))
}

fn names_a_dialog(value: &str) -> bool {
    Tagged::parse(value.as_bytes()).is_some_and(|named| {
        ["to-tag", "from-tag"].iter().all(|tag| named.params.get(tag).is_some())
    })
}

fn referred_by(refer: &Request) -> Option<String> {
    let value = refer.headers.get(HeaderName::ReferredBy)?;
    NameAddr::parse(value)?;
    let text = String::from_utf8(value.to_vec()).ok()?;
    (text.len() <= HEADER_BYTES_MAX && !text.chars().any(char::is_control)).then_some(text)
}

impl Agent {
    /// REFER within a dialog.
    pub(super) fn referred(&mut self, now: Instant, leg: &mut Leg, txn: TxnId, refer: Request) {
        if !leg.policy.follows_refers {
            self.count("refer_refused");
            return self.reply(now, txn, &refer, Reply::new(603));
        }
        let State::Confirmed(confirmed) = &mut leg.state else {
            return self.reply(now, txn, &refer, Reply::new(491));
        };
        // One at a time, theirs or ours.
        if confirmed.referred.is_some() || confirmed.refer.is_some() || confirmed.leaving.is_some()
        {
            self.count("refer_pending");
            return self.reply(now, txn, &refer, Reply::new(491));
        }
        let referral = match read(&refer) {
            Ok(referral) => referral,
            Err(rejection) => {
                self.count("refer_unreadable");
                return self.reply(now, txn, &refer, Reply::from_rejection(&rejection));
            }
        };
        let said = refer.headers.get_named("Refer-Sub");
        let told = said.is_none_or(|value| !value.to_ascii_lowercase().starts_with(b"false"));
        let id = facts::cseq(&refer.headers);
        let until = now + self.config.offer_timeout;
        let stage = Stage::Asked { txn, request: Arc::new(refer), until };
        confirmed.referred = Some(Referred { id, told, stage });
        self.event(Event::Referred { dialog: leg.id, referral: Box::new(referral) });
    }

    /// [`super::Command::AnswerRefer`].
    pub(super) fn answer_refer(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        answer: Result<(), Rejection>,
    ) -> Fate {
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        let Some(Referred { id, told, stage: Stage::Asked { txn, request, .. } }) =
            confirmed.referred.take_if(|referred| matches!(referred.stage, Stage::Asked { .. }))
        else {
            self.refused(leg.id, "answer_refer");
            return Fate::Keep;
        };
        if let Err(rejection) = answer {
            let rejection = checks::refusal_or(rejection, 603);
            self.reply(now, txn, &request, Reply::from_rejection(&rejection));
            return Fate::Keep;
        }
        let stage = Stage::Followed(Telling::default());
        confirmed.referred = Some(Referred { id, told, stage });
        let contact = self.contact_in(&leg.dialog, &leg.dialog.flow);
        let reply =
            if told { Reply::new(202) } else { Reply::new(200).named("Refer-Sub", "false") };
        self.reply(now, txn, &request, reply.contact(&contact));
        self.notify_refer(now, leg, 100)
    }

    /// [`super::Command::NotifyRefer`].
    pub(super) fn notify_refer(&mut self, now: Instant, leg: &mut Leg, status: u16) -> Fate {
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        let Some(Referred { told, stage: Stage::Followed(telling), .. }) = &mut confirmed.referred
        else {
            self.refused(leg.id, "notify_refer");
            return Fate::Keep;
        };
        let is_news = telling.last < 200 && telling.last != status;
        if !*told {
            if status >= 200 {
                confirmed.referred = None;
            }
        } else if telling.on_its_way.is_some() {
            // The last word stays; what rang meanwhile is nobody's business any more.
            if is_news && telling.next.is_none_or(|next| next < 200) {
                telling.next = Some(status);
            }
        } else if is_news {
            self.tell_referrer(now, leg, status);
        }
        Fate::Keep
    }

    fn tell_referrer(&mut self, now: Instant, leg: &mut Leg, status: u16) {
        let State::Confirmed(confirmed) = &mut leg.state else { return };
        let Some(Referred { id, stage: Stage::Followed(telling), .. }) = &mut confirmed.referred
        else {
            return;
        };
        (telling.on_its_way, telling.last) = (Some(status), status);
        let state = if status < 200 {
            format!("active;expires={SUBSCRIPTION_S}")
        } else {
            "terminated;reason=noresource".to_owned()
        };
        let headers = vec![
            ("Event".to_owned(), format!("refer;id={id}")),
            ("Subscription-State".to_owned(), state),
        ];
        let status = StatusCode::new(status).unwrap_or(StatusCode::INTERNAL);
        let line = format!("SIP/2.0 {} {}\r\n", status.code(), status.reason());
        let body = Some(("message/sipfrag;version=2.0".to_owned(), Bytes::from(line)));
        let request = InDialog { headers, body, ..InDialog::new(Method::Notify) };
        self.send_in_dialog(now, leg, request, Vec::new());
    }

    /// A NOTIFY of ours has its answer, or never will (408).
    pub(super) fn notify_answered(&mut self, now: Instant, leg: &mut Leg, status: u16) -> Fate {
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        let Some(Referred { told, stage: Stage::Followed(telling), .. }) = &mut confirmed.referred
        else {
            return Fate::Keep;
        };
        // RFC 6665 section 4.2.2: nobody listens any more.
        *told &= status != 481 && status != 408;
        let was = telling.on_its_way.take().unwrap_or(0);
        if let Some(next) = telling.next.take() {
            if *told {
                self.tell_referrer(now, leg, next);
            } else if next >= 200 {
                confirmed.referred = None;
            }
        } else if was >= 200 {
            confirmed.referred = None;
        }
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        if confirmed.referred.as_ref().is_some_and(Referred::is_telling) {
            return Fate::Keep;
        }
        match &mut confirmed.leaving {
            Some(leaving) if leaving.after_success => {
                leaving.until = Some(now + BYE_GRACE);
                Fate::Keep
            }
            Some(_) => self.leave(now, leg),
            None => Fate::Keep,
        }
    }

    /// [`super::Command::Bye`]: at once, unless the other side is being told what became of its REFER. To some the two
    /// would come in the wrong order.
    pub(super) fn bye(&mut self, now: Instant, leg: &mut Leg, reason: Option<String>) -> Fate {
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        if let Some(Referred { stage: Stage::Followed(telling), .. }) = &confirmed.referred
            && telling.on_its_way.is_some()
        {
            let last = telling.next.unwrap_or(telling.last);
            let after_success = (200..300).contains(&last);
            confirmed.leaving = Some(Leaving { reason, after_success, until: None });
            return Fate::Keep;
        }
        self.hang_up(now, leg, reason, Announce::Terminated)
    }

    fn leave(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        let reason = confirmed.leaving.take().and_then(|leaving| leaving.reason);
        self.hang_up(now, leg, reason, Announce::Terminated)
    }

    /// Timers of a REFER of theirs; `Some`: we hung up.
    pub(super) fn referred_due(&mut self, now: Instant, leg: &mut Leg) -> Option<Fate> {
        let State::Confirmed(confirmed) = &mut leg.state else { return None };
        let is_late = |referred: &mut Referred| matches!(referred.stage, Stage::Asked { until, .. } if until <= now);
        if let Some(Referred { stage: Stage::Asked { txn, request, .. }, .. }) =
            confirmed.referred.take_if(is_late)
        {
            self.count("refer_timeout");
            self.reply(now, txn, &request, Reply::new(603));
        }
        let State::Confirmed(confirmed) = &mut leg.state else { return None };
        let until = confirmed.leaving.as_ref().and_then(|leaving| leaving.until);
        until.is_some_and(|until| until <= now).then(|| self.leave(now, leg))
    }

    /// The dialog ends: a REFER that waits for its answer gets one.
    pub(super) fn drop_referred(&mut self, now: Instant, leg: &mut Leg) {
        let State::Confirmed(confirmed) = &mut leg.state else { return };
        confirmed.leaving = None;
        if let Some(Referred { stage: Stage::Asked { txn, request, .. }, .. }) =
            confirmed.referred.take()
        {
            self.reply(now, txn, &request, Reply::new(487));
        }
    }
}
