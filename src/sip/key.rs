//! What messages are matched by: transactions (RFC 3261 section 17.1.3, 17.2.3) and dialogs (section 12).

use super::dialog::Dialog;
use super::msg::{Method, Request, Response};

/// Prefix of every branch made by an element that follows RFC 3261 (section 8.1.1.7).
pub(crate) const MAGIC_COOKIE: &str = "z9hG4bK";

/// What an ICMP message quotes at most, over IPv6.
const QUOTED_BYTES_MAX: usize = 1_280;

/// Matches a response to the request we sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey {
    /// Branch of our Via: ours to choose, so compared octet by octet.
    pub(crate) branch: String,
    /// Method of CSeq: a CANCEL shares the branch of its INVITE.
    pub(crate) method: String,
}

/// Matches a repeated request, an ACK for a non-2xx, or a CANCEL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerKey {
    /// Branch; for peers of RFC 2543 what section 17.2.3 lists instead.
    branch: String,
    /// Host and port of the top Via, in lower case.
    sent_by: String,
    /// Method; ACK counts as INVITE.
    method: String,
}

/// Call-ID, From tag and CSeq number: the same request through two paths (section 8.2.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MergeKey {
    pub(crate) call_id: String,
    pub(crate) from_tag: String,
    pub(crate) cseq: u32,
}

/// What finds a leg: Call-ID and our own tag, which is unique by itself. Whether the other tag fits is
/// asked afterwards, since an outgoing INVITE has several until it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LegKey {
    call_id: String,
    local_tag: String,
}

impl ClientKey {
    /// The key of a request of ours of which only the beginning is there: its first line and its Via, as
    /// [`super::craft`] writes them.
    pub(crate) fn quoted(beginning: &[u8]) -> Option<Self> {
        let end = beginning.len().min(QUOTED_BYTES_MAX);
        // What is cut within a character, or no text of ours, is none beyond that.
        let text = match std::str::from_utf8(beginning.get(..end)?) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(beginning.get(..error.valid_up_to())?).ok()?,
        };
        let (method, _) = text.split_once(' ')?;
        let mut lines = text.split_inclusive("\r\n").filter(|line| line.ends_with("\r\n"));
        let via = lines.find_map(|line| line.strip_prefix("Via: "))?;
        let branch = via.trim_end().split(';').find_map(|it| it.strip_prefix("branch="))?;
        Some(Self { branch: branch.to_owned(), method: method.to_owned() })
    }
}

impl ServerKey {
    /// The key of a request the reader let through.
    pub(crate) fn of(request: &Request) -> Self {
        let via = request.top_via().ok();
        let branch = via.as_ref().and_then(|via| via.branch()).unwrap_or_default();
        let sent_by = via
            .as_ref()
            .map(|via| format!("{}:{}", via.host, via.port_or_default()).to_ascii_lowercase())
            .unwrap_or_default();
        let method = match &request.method {
            Method::Ack => "INVITE",
            other => other.as_str(),
        };
        let branch = if branch.starts_with(MAGIC_COOKIE) {
            branch.to_owned()
        } else {
            // RFC 2543: the To tag is left out, since the ACK carries ours and the INVITE none.
            format!(
                "{branch}|{}|{}|{}|{}",
                request.uri,
                request.from_tag().unwrap_or_default(),
                request.call_id().unwrap_or_default(),
                request.cseq().map_or(0, |cseq| cseq.number),
            )
        };
        Self { branch, sent_by, method: method.to_owned() }
    }

    /// The INVITE a CANCEL means (section 9.2).
    pub(crate) fn as_invite(&self) -> Self {
        Self { method: Method::Invite.as_str().to_owned(), ..self.clone() }
    }

    /// Whether it is an INVITE's.
    pub(crate) fn is_invite(&self) -> bool {
        self.method == Method::Invite.as_str()
    }
}

impl ClientKey {
    /// The key of a response; `None` if it has no readable Via or CSeq.
    pub(crate) fn of(response: &Response) -> Option<Self> {
        Some(Self {
            branch: response.top_via().ok()?.branch()?.to_owned(),
            method: response.cseq().ok()?.method.as_str().to_owned(),
        })
    }
}

impl MergeKey {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            call_id: request.call_id().unwrap_or_default().to_owned(),
            from_tag: request.from_tag().unwrap_or_default(),
            cseq: request.cseq().map_or(0, |cseq| cseq.number),
        }
    }
}

impl LegKey {
    pub(crate) fn new(call_id: &str, local_tag: &str) -> Self {
        Self { call_id: call_id.to_owned(), local_tag: local_tag.to_owned() }
    }

    pub(crate) fn of(dialog: &Dialog) -> Self {
        Self::new(&dialog.call_id, &dialog.local_tag)
    }
}
