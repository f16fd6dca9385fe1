//! Status codes and their reason phrases (RFC 3261 section 21 and the IANA registry).

use std::fmt;

/// A status code from 100 to 699.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(u16);

/// Code and reason phrase.
const PHRASES: [(u16, &str); 76] = [
    (100, "Trying"),
    (180, "Ringing"),
    (181, "Call Is Being Forwarded"),
    (182, "Queued"),
    (183, "Session Progress"),
    (199, "Early Dialog Terminated"),
    (200, "OK"),
    (202, "Accepted"),
    (204, "No Notification"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Moved Temporarily"),
    (305, "Use Proxy"),
    (380, "Alternative Service"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (410, "Gone"),
    (412, "Conditional Request Failed"),
    (413, "Request Entity Too Large"),
    (414, "Request-URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Unsupported URI Scheme"),
    (417, "Unknown Resource-Priority"),
    (420, "Bad Extension"),
    (421, "Extension Required"),
    (422, "Session Interval Too Small"),
    (423, "Interval Too Brief"),
    (428, "Use Identity Header"),
    (429, "Provide Referrer Identity"),
    (430, "Flow Failed"),
    (433, "Anonymity Disallowed"),
    (436, "Bad Identity Info"),
    (437, "Unsupported Credential"),
    (438, "Invalid Identity Header"),
    (439, "First Hop Lacks Outbound Support"),
    (440, "Max-Breadth Exceeded"),
    (469, "Bad Info Package"),
    (470, "Consent Needed"),
    (480, "Temporarily Unavailable"),
    (481, "Call/Transaction Does Not Exist"),
    (482, "Loop Detected"),
    (483, "Too Many Hops"),
    (484, "Address Incomplete"),
    (485, "Ambiguous"),
    (486, "Busy Here"),
    (487, "Request Terminated"),
    (488, "Not Acceptable Here"),
    (489, "Bad Event"),
    (491, "Request Pending"),
    (493, "Undecipherable"),
    (494, "Security Agreement Required"),
    (500, "Server Internal Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Server Time-out"),
    (505, "Version Not Supported"),
    (513, "Message Too Large"),
    (555, "Push Notification Service Not Supported"),
    (580, "Precondition Failure"),
    (600, "Busy Everywhere"),
    (603, "Decline"),
    (604, "Does Not Exist Anywhere"),
    (606, "Not Acceptable"),
    (607, "Unwanted"),
    (608, "Rejected"),
    (424, "Bad Location Information"),
    (425, "Bad Alert Message"),
    (495, "Retargeting Not Allowed"),
];

impl StatusCode {
    /// 100.
    pub const TRYING: Self = Self(100);
    /// 180.
    pub const RINGING: Self = Self(180);
    /// 200.
    pub const OK: Self = Self(200);
    /// 202.
    pub const ACCEPTED: Self = Self(202);
    /// 400.
    pub const BAD_REQUEST: Self = Self(400);
    /// 405.
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    /// 406.
    pub const NOT_ACCEPTABLE: Self = Self(406);
    /// 408.
    pub const REQUEST_TIMEOUT: Self = Self(408);
    /// 415.
    pub const UNSUPPORTED_MEDIA_TYPE: Self = Self(415);
    /// 416.
    pub const UNSUPPORTED_URI_SCHEME: Self = Self(416);
    /// 420.
    pub const BAD_EXTENSION: Self = Self(420);
    /// 481.
    pub const NO_TRANSACTION: Self = Self(481);
    /// 482.
    pub const LOOP_DETECTED: Self = Self(482);
    /// 483.
    pub const TOO_MANY_HOPS: Self = Self(483);
    /// 487.
    pub const REQUEST_TERMINATED: Self = Self(487);
    /// 488.
    pub const NOT_ACCEPTABLE_HERE: Self = Self(488);
    /// 491.
    pub const REQUEST_PENDING: Self = Self(491);
    /// 500.
    pub const INTERNAL: Self = Self(500);
    /// 501.
    pub const NOT_IMPLEMENTED: Self = Self(501);
    /// 503.
    pub const UNAVAILABLE: Self = Self(503);
    /// 505.
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);
    /// 513.
    pub const MESSAGE_TOO_LARGE: Self = Self(513);

    /// A code from 100 to 699; `None` outside.
    pub fn new(code: u16) -> Option<Self> {
        (100..=699).contains(&code).then_some(Self(code))
    }

    /// The number.
    pub fn code(self) -> u16 {
        self.0
    }

    /// The RFC's reason phrase; the class's (x00) for a code without one (RFC 3261 section 8.1.3.2).
    pub fn reason(self) -> &'static str {
        let phrase = |code| PHRASES.iter().find(|(known, _)| *known == code).map(|(_, text)| *text);
        phrase(self.0).or_else(|| phrase(self.0 / 100 * 100)).unwrap_or("Unknown")
    }

    /// 1xx.
    pub fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// 2xx.
    pub fn is_success(self) -> bool {
        (200..300).contains(&self.0)
    }

    /// 200 and above.
    pub fn is_final(self) -> bool {
        self.0 >= 200
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
