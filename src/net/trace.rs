//! What each call's SIP messages were, while the call lives: the driver writes them down, the switchboard says whose
//! they are and takes them to the store when call and dialogs are over.
//!
//! Messages that belong to no call leave nothing behind: a flood costs one look-up a message. Everything is bounded:
//! of a long call the first and the last messages stay.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::clock;
use crate::sip::veil::{Personal, veil};
use crate::sip::{DialogId, Flow};
use crate::telemetry::metrics;
use crate::types::pii::shows_pii;
use crate::types::{CallId, SipLadder, SipMessage, SipWay};

/// First messages of a leg that stay: how it was set up, with a dozen challenges and repetitions.
const HEAD_MAX: usize = 100;
/// Last messages of a leg that stay: how it ended.
const TAIL_MAX: usize = 100;
/// Octets of a leg's messages. Two hundred ordinary ones fit.
const LEG_BYTES_MAX: usize = 256 * 1024;
/// Octets of one message that are kept; the end of a longer one is cut off.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Octets of all messages in memory.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Legs at once: more than there may be dialogs, with those that are on their way to the store.
const LEGS_MAX: usize = 8_192;
/// How long the messages of a dialog that is over wait for somebody to say which call it was.
const UNCLAIMED_MAX: Duration = Duration::from_secs(10);
/// How long a call that is over waits for the last words of its dialogs: above timer F.
const LAST_WORDS_MAX: Duration = Duration::from_secs(40);

/// A message on its way through the driver.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    pub(super) way: SipWay,
    pub(super) flow: Flow,
    pub(super) bytes: Bytes,
}

#[derive(Default)]
struct Leg {
    call: Option<CallId>,
    dialogs: u32,
    head: Vec<SipMessage>,
    tail: VecDeque<SipMessage>,
    bytes: usize,
    omitted: u32,
}

#[derive(Default)]
struct Book {
    /// By Call-ID.
    legs: HashMap<String, Leg>,
    dialogs: HashMap<DialogId, String>,
    /// Call-IDs of each call; whether the call is over.
    calls: HashMap<CallId, (Vec<String>, bool)>,
    /// Dialogs that ended before anybody said whose they were.
    unclaimed: VecDeque<(Instant, DialogId, String)>,
    /// Calls that are over, oldest first.
    ending: VecDeque<(Instant, CallId)>,
    /// Calls whose dialogs are over too.
    done: VecDeque<CallId>,
    bytes: usize,
}

/// The messages of live calls. One lock, held for a look-up or the copy of a message.
#[derive(Clone, Default)]
pub struct Trace {
    book: Arc<Mutex<Book>>,
    news: Arc<Notify>,
}

impl Trace {
    fn book(&self) -> MutexGuard<'_, Book> {
        // Every change below is complete before anything can panic.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leg of ours is about to begin: its messages belong to `call`.
    pub fn begin(&self, dialog: DialogId, sip_call_id: &str, call: CallId) {
        let mut book = self.book();
        book.open(dialog, sip_call_id);
        book.claim(dialog, call);
    }

    /// A dialog that others began belongs to `call`.
    pub fn claim(&self, dialog: DialogId, call: CallId) {
        self.book().claim(dialog, call);
    }

    /// The call is over: once its dialogs are too, its messages are ready.
    pub fn call_over(&self, call: CallId) {
        let mut book = self.book();
        book.call_over(call, clock::now());
        drop(book);
        self.news.notify_one();
    }

    /// Waits for no last words any more: the server stops.
    pub fn hurry(&self) {
        self.book().settle(None);
        self.news.notify_one();
    }

    /// What is known of a call that is not in the store yet.
    pub fn of(&self, call: CallId) -> Option<SipLadder> {
        self.book().ladder(call)
    }

    /// A call whose messages are complete. They stay until [`Self::forget`].
    pub async fn ready(&self) -> (CallId, SipLadder) {
        loop {
            let news = self.news.notified();
            {
                let mut book = self.book();
                book.settle(Some(clock::now()));
                while let Some(call) = book.done.pop_front() {
                    if let Some(ladder) = book.ladder(call) {
                        return (call, ladder);
                    }
                }
            }
            // What nobody tells of is found after a while.
            let _ = tokio::time::timeout(LAST_WORDS_MAX, news).await;
        }
    }

    /// Removes what is held of a call: it is in the store, or erased.
    pub fn forget(&self, call: CallId) {
        let mut book = self.book();
        let Some((legs, _)) = book.calls.remove(&call) else { return };
        for leg in legs {
            // A call to ourselves has one Call-ID on both sides.
            if book.legs.get(&leg).is_some_and(|leg| leg.call == Some(call)) {
                book.drop_leg(&leg);
            }
        }
    }

    /// Whether a call is held whose messages are on their way to the store.
    pub fn is_settled(&self) -> bool {
        let book = self.book();
        book.calls.values().all(|(_, over)| !over)
    }

    /// A dialog that others began, with what made it known.
    pub(super) fn opened(&self, dialog: DialogId, sip_call_id: &str) {
        self.book().open(dialog, sip_call_id);
    }

    /// A dialog is over.
    pub(super) fn dialog_over(&self, dialog: DialogId) {
        let done = self.book().dialog_over(dialog, clock::now());
        if done {
            self.news.notify_one();
        }
    }

    /// Writes down what passed, as far as it belongs to a leg.
    pub(super) fn note(&self, passed: &mut Vec<Passing>) {
        if passed.is_empty() {
            return;
        }
        let mut book = self.book();
        for message in passed.drain(..) {
            if book.legs.is_empty() {
                continue;
            }
            let Some(id) = call_id(&message.bytes) else { continue };
            if book.legs.contains_key(id) {
                let (id, kept) = (id.to_owned(), (book.bytes < BYTES_MAX).then(|| keep(&message)));
                if kept.is_none() {
                    metrics::queue_full("sip_trace");
                }
                book.add(&id, kept);
            }
        }
    }
}

/// What is kept of a message.
fn keep(message: &Passing) -> SipMessage {
    let whole = &message.bytes;
    let mut text = whole.get(..MESSAGE_BYTES_MAX).unwrap_or(whole);
    if text.len() < whole.len() {
        // Whole lines only: half a secret would not be known as one.
        let end = text.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
        text = text.get(..end).unwrap_or_default();
    }
    let personal = if shows_pii() { Personal::Shown } else { Personal::Veiled };
    SipMessage {
        at: clock::wall(),
        way: message.way,
        transport: message.flow.transport.as_str().to_owned(),
        local: message.flow.local,
        remote: message.flow.remote,
        text: String::from_utf8_lossy(&veil(text, personal)).into_owned().into(),
        octets: whole.len(),
    }
}

/// The Call-ID of a message, without reading anything else of it.
fn call_id(message: &[u8]) -> Option<&str> {
    for line in message.split(|octet| *octet == b'\n').skip(1) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return None;
        }
        if !matches!(line.first(), Some(b'c' | b'C' | b'i' | b'I')) {
            continue;
        }
        let colon = line.iter().position(|octet| *octet == b':')?;
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii_end();
        if name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i") {
            return std::str::from_utf8(value.get(1..)?.trim_ascii()).ok();
        }
    }
    None
}

impl Book {
    fn open(&mut self, dialog: DialogId, sip_call_id: &str) {
        if self.legs.len() >= LEGS_MAX {
            metrics::queue_full("sip_trace");
            return;
        }
        self.legs.entry(sip_call_id.to_owned()).or_default().dialogs += 1;
        self.dialogs.insert(dialog, sip_call_id.to_owned());
    }

    fn claim(&mut self, dialog: DialogId, call: CallId) {
        let open = self.dialogs.get(&dialog).cloned();
        // It may be over already.
        let over = || self.unclaimed.iter().find(|(_, over, _)| *over == dialog);
        let Some(id) = open.or_else(|| over().map(|(_, _, id)| id.clone())) else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.call = Some(call);
        let (legs, _) = self.calls.entry(call).or_default();
        if !legs.contains(&id) {
            legs.push(id.clone());
        }
        self.unclaimed.retain(|(_, over, _)| *over != dialog);
    }

    fn dialog_over(&mut self, dialog: DialogId, now: Instant) -> bool {
        self.sweep(now);
        let Some(id) = self.dialogs.remove(&dialog) else { return false };
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        leg.dialogs = leg.dialogs.saturating_sub(1);
        match leg.call {
            Some(call) => self.calls.get(&call).is_some_and(|(_, over)| *over),
            None => {
                self.unclaimed.push_back((now, dialog, id));
                false
            }
        }
    }

    fn call_over(&mut self, call: CallId, now: Instant) {
        if let Some((_, over)) = self.calls.get_mut(&call)
            && !std::mem::replace(over, true)
        {
            self.ending.push_back((now, call));
        }
    }

    /// Moves calls whose dialogs are over, or took too long, to those that are done; all of them without a time.
    fn settle(&mut self, now: Option<Instant>) {
        let Self { ending, done, calls, legs, .. } = self;
        ending.retain(|(since, call)| {
            let late =
                now.is_none_or(|now| now.saturating_duration_since(*since) >= LAST_WORDS_MAX);
            let open = |id: &String| legs.get(id).is_some_and(|leg| leg.dialogs > 0);
            let waits = !late && calls.get(call).is_some_and(|(ids, _)| ids.iter().any(open));
            if !waits {
                done.push_back(*call);
            }
            waits
        });
    }

    /// Drops the legs nobody claimed.
    fn sweep(&mut self, now: Instant) {
        while let Some((_, _, id)) = self
            .unclaimed
            .pop_front_if(|(since, ..)| now.saturating_duration_since(*since) >= UNCLAIMED_MAX)
        {
            if self.legs.get(&id).is_some_and(|leg| leg.call.is_none() && leg.dialogs == 0) {
                self.drop_leg(&id);
            }
        }
    }

    fn drop_leg(&mut self, id: &str) {
        if let Some(leg) = self.legs.remove(id) {
            self.bytes = self.bytes.saturating_sub(leg.bytes);
        }
    }

    fn add(&mut self, id: &str, message: Option<SipMessage>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(message) = message else {
            leg.omitted = leg.omitted.saturating_add(1);
            return;
        };
        let octets = message.text.reveal().len();
        leg.bytes += octets;
        self.bytes += octets;
        if leg.head.len() < HEAD_MAX && leg.bytes <= LEG_BYTES_MAX / 2 {
            leg.head.push(message);
            return;
        }
        leg.tail.push_back(message);
        while leg.tail.len() > TAIL_MAX || leg.bytes > LEG_BYTES_MAX {
            let Some(gone) = leg.tail.pop_front() else { break };
            let octets = gone.text.reveal().len();
            leg.bytes = leg.bytes.saturating_sub(octets);
            self.bytes = self.bytes.saturating_sub(octets);
            leg.omitted = leg.omitted.saturating_add(1);
        }
    }

    fn ladder(&self, call: CallId) -> Option<SipLadder> {
        let (ids, _) = self.calls.get(&call)?;
        let mut whole = SipLadder::default();
        for leg in ids.iter().filter_map(|id| self.legs.get(id)) {
            let messages = leg.head.iter().chain(&leg.tail).cloned().collect();
            whole.join(SipLadder { messages, omitted: leg.omitted });
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests;
