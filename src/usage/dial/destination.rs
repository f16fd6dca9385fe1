//! What a destination leads to, however it is written: a number, a host, or both.

/// A destination as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `+` and digits. A number without its `+` counts as if it had one: it fits no rule by accident.
    number: Option<String>,
    /// Host of a SIP URI, lower case.
    host: Option<String>,
    /// What it is when it is no number.
    user: String,
}

/// Digits that are shown of a number: where it leads, and not whose it is.
const DIGITS_SHOWN: usize = 4;

impl Destination {
    /// Reads a number, a SIP or a tel URI; `None`: it is none of these, or can be read in two ways.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.split_once('<').map_or(text, |(_, rest)| rest);
        let text = text.split('>').next().unwrap_or_default();
        if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return None;
        }
        let lower = text.to_ascii_lowercase();
        if let Some(rest) = lower.strip_prefix("tel:") {
            let number = number(&unescaped(rest.split([';', '?']).next()?)?)?;
            return Some(Self { number: Some(number), host: None, user: String::new() });
        }
        let sip = lower.strip_prefix("sip:").or_else(|| lower.strip_prefix("sips:"));
        let Some(rest) = sip else {
            let number = number(&lower).filter(|_| lower.starts_with('+'))?;
            return Some(Self { number: Some(number), host: None, user: String::new() });
        };
        // An `@` in a user part must be escaped (RFC 3261 section 25.1): two of them are two meanings.
        let mut parts = rest.split('@');
        let (first, second, more) = (parts.next()?, parts.next(), parts.next());
        if more.is_some() {
            return None;
        }
        let (user, host) = match second {
            Some(host) => (unescaped(first.split([':', ';']).next()?)?, host),
            None => (String::new(), first),
        };
        let host = if let Some(v6) = host.strip_prefix('[') {
            v6.split(']').next()?
        } else {
            host.split([':', ';', '?']).next()?
        };
        let host = host.trim_end_matches('.');
        if host.is_empty() {
            return None;
        }
        Some(Self { number: number(&user), host: Some(host.to_owned()), user })
    }

    /// Whether a rule of a deny list fits.
    pub fn is_denied(&self, rule: &str) -> bool {
        match rule.strip_prefix('@') {
            Some(host) => self.is_at(host),
            None => self.number.as_ref().is_some_and(|number| fits(number, rule)),
        }
    }

    /// Whether an allow list lets it through. A host that is not the trunk's own must be listed; a number must begin
    /// as one of the list does, unless its host is listed.
    pub fn is_allowed(&self, rules: &[String], own_hosts: &[String]) -> bool {
        let host_listed =
            rules.iter().filter_map(|rule| rule.strip_prefix('@')).any(|host| self.is_at(host));
        let at_home = self.host.as_ref().is_none_or(|host| {
            own_hosts.iter().any(|own| own.trim_end_matches('.').eq_ignore_ascii_case(host))
        });
        let number_listed = || {
            self.number.as_ref().is_some_and(|number| rules.iter().any(|rule| fits(number, rule)))
        };
        host_listed || at_home && number_listed()
    }

    fn is_at(&self, host: &str) -> bool {
        self.host.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(host))
    }

    /// By what repeated calls are told.
    pub(super) fn key(&self) -> String {
        match (&self.number, &self.host) {
            (Some(number), _) => number.clone(),
            (None, host) => format!("{}@{}", self.user, host.as_deref().unwrap_or_default()),
        }
    }

    /// What may be said of it.
    pub fn shown(&self) -> String {
        match (&self.number, &self.host) {
            (Some(number), None) => {
                format!("{}…", number.chars().take(1 + DIGITS_SHOWN).collect::<String>())
            }
            (Some(number), Some(host)) => {
                let number: String = number.chars().take(1 + DIGITS_SHOWN).collect();
                format!("{number}…@{host}")
            }
            (None, host) => format!("…@{}", host.as_deref().unwrap_or_default()),
        }
    }
}

fn fits(number: &str, rule: &str) -> bool {
    rule.starts_with('+') && number.starts_with(rule)
}

/// `+` and the digits of what is dialled; `None`: that is no number. `00` and `011` are ways to write `+`.
fn number(text: &str) -> Option<String> {
    let plain: String =
        text.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
    let (plus, digits) = match plain.strip_prefix('+') {
        Some(digits) => (true, digits),
        None => (false, plain.as_str()),
    };
    // Keys that a switch may take for digits make no other destination of a number.
    let dialled = |b: u8| b.is_ascii_digit() || matches!(b, b'*' | b'#');
    if digits.is_empty() || !digits.bytes().all(dialled) {
        return None;
    }
    let digits = if plus {
        digits
    } else {
        let abroad = digits.strip_prefix("011").or_else(|| digits.strip_prefix("00"));
        abroad.filter(|rest| !rest.is_empty()).unwrap_or(digits)
    };
    Some(format!("+{digits}"))
}

/// Without escapes; `None` if one is broken.
fn unescaped(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    let text = String::from_utf8(out).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}
