//! The ordered list of headers. Invariant: no name and no value in it holds CR, LF or NUL (see [`Headers::push`]).

use bytes::Bytes;

use super::super::error::Fault;
use super::super::header::{CSeq, Contact, NameAddr, Via, split_commas};
use super::super::lex;
use super::HeaderName;

/// One header line: a folded value is unfolded, otherwise its octets are those that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: HeaderName,
    written: Bytes,
    value: Bytes,
}

impl Header {
    /// Canonical name.
    pub fn name(&self) -> HeaderName {
        self.name
    }

    /// Name as it was written.
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// Value without surrounding white space.
    pub fn value(&self) -> &Bytes {
        &self.value
    }
}

/// A header name that is not a token (RFC 3261 section 25.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header name is not a token")]
pub struct InvalidHeader;

/// Headers in order of appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, with room for `count`.
    pub(in crate::sip) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// First value of `name`.
    pub fn get(&self, name: HeaderName) -> Option<&Bytes> {
        self.0.iter().find(|header| header.name == name).map(|header| &header.value)
    }

    /// First value of `name` as text; `None` if it is absent or not UTF-8.
    pub fn text(&self, name: HeaderName) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every line of `name`, whole.
    pub fn get_all(&self, name: HeaderName) -> impl Iterator<Item = &Bytes> {
        self.0.iter().filter(move |header| header.name == name).map(|header| &header.value)
    }

    /// Every value of `name` over all its lines, comma lists taken apart (RFC 3261 section 7.3.1).
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.get_all(name).flat_map(|value| split_commas(value))
    }

    /// First value under a name we have no word for, any case.
    pub fn get_named(&self, written: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .find(|header| header.written.eq_ignore_ascii_case(written.as_bytes()))
            .map(|header| &header.value)
    }

    /// How many lines of `name` there are.
    pub fn count(&self, name: HeaderName) -> usize {
        self.get_all(name).count()
    }

    /// Whether `name` is there.
    pub fn contains(&self, name: HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Whether a token list such as Supported, Require or Allow holds `token` (any case).
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Every line.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a line. CR, LF and NUL in `value` become spaces, so that no value can start a line of its own.
    pub fn push(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        self.0.push(made(name, value.into()));
    }

    /// Puts a line before all others (Via).
    pub fn push_front(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        self.0.insert(0, made(name, value.into()));
    }

    /// Appends a line under any name.
    ///
    /// # Errors
    /// When `written` is not a token.
    pub fn push_named(
        &mut self,
        written: &str,
        value: impl Into<Bytes>,
    ) -> Result<(), InvalidHeader> {
        if written.is_empty() || !written.bytes().all(lex::is_token) {
            return Err(InvalidHeader);
        }
        self.0.push(Header {
            name: HeaderName::from_written(written.as_bytes()),
            written: Bytes::copy_from_slice(written.as_bytes()),
            value: lex::single_line(value.into()),
        });
        Ok(())
    }

    /// Replaces every line of `name` by one, at the place of the first.
    pub fn set(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        let at = self.0.iter().position(|header| header.name == name);
        self.remove(name);
        let header = made(name, value.into());
        match at {
            Some(at) if at <= self.0.len() => self.0.insert(at, header),
            _ => self.0.push(header),
        }
    }

    /// Replaces the first line of `name` and leaves the others (top Via).
    pub fn set_first(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        match self.0.iter_mut().find(|header| header.name == name) {
            Some(header) => header.value = lex::single_line(value.into()),
            None => self.push(name, value),
        }
    }

    /// Removes every line of `name`.
    pub fn remove(&mut self, name: HeaderName) {
        self.0.retain(|header| header.name != name);
    }

    /// Appends a copy of every line of `name` in `other`, as it stands there.
    pub fn copy_all(&mut self, name: HeaderName, other: &Self) {
        self.0.extend(other.0.iter().filter(|header| header.name == name).cloned());
    }

    /// Appends a line whose parts come from [`super::super::wire`]: checked, unfolded.
    pub(in crate::sip) fn push_parsed(&mut self, written: Bytes, value: Bytes) {
        self.0.push(Header { name: HeaderName::from_written(&written), written, value });
    }

    /// The one value of a header that occurs once.
    pub(in crate::sip) fn single(&self, name: HeaderName) -> Result<&Bytes, Fault> {
        self.get(name).ok_or(Fault::Missing(name))
    }

    /// From.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn from(&self) -> Result<NameAddr, Fault> {
        let value = self.single(HeaderName::From)?;
        NameAddr::parse(value).ok_or(Fault::Header(HeaderName::From))
    }

    /// To.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn to(&self) -> Result<NameAddr, Fault> {
        let value = self.single(HeaderName::To)?;
        NameAddr::parse(value).ok_or(Fault::Header(HeaderName::To))
    }

    /// Topmost Via.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn top_via(&self) -> Result<Via, Fault> {
        let value = self.values(HeaderName::Via).next().ok_or(Fault::Missing(HeaderName::Via))?;
        Via::parse(value).ok_or(Fault::Header(HeaderName::Via))
    }

    /// CSeq.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn cseq(&self) -> Result<CSeq, Fault> {
        let value = self.single(HeaderName::CSeq)?;
        CSeq::parse(value).ok_or(Fault::Header(HeaderName::CSeq))
    }

    /// Call-ID.
    ///
    /// # Errors
    /// When it is missing, empty or not one word of text.
    pub fn call_id(&self) -> Result<&str, Fault> {
        let value = self.single(HeaderName::CallId)?;
        std::str::from_utf8(value)
            .ok()
            .filter(|text| !text.is_empty() && !text.bytes().any(lex::is_blank))
            .ok_or(Fault::Header(HeaderName::CallId))
    }

    /// Contact values in order, `*` left out.
    ///
    /// # Errors
    /// When one is malformed.
    pub fn contacts(&self) -> Result<Vec<NameAddr>, Fault> {
        let mut out = Vec::new();
        for value in self.values(HeaderName::Contact) {
            match Contact::parse(value) {
                Some(Contact::Addr(addr)) => out.push(*addr),
                Some(Contact::Star) => {}
                None => return Err(Fault::Header(HeaderName::Contact)),
            }
        }
        Ok(out)
    }

    /// Every value of a header that is a list of name-addr: Route, Record-Route, P-Asserted-Identity, Diversion.
    ///
    /// # Errors
    /// When one is malformed.
    pub fn name_addrs(&self, name: HeaderName) -> Result<Vec<NameAddr>, Fault> {
        self.values(name).map(|value| NameAddr::parse(value).ok_or(Fault::Header(name))).collect()
    }

    /// A header whose value is one decimal number: Max-Forwards, Expires, Min-Expires, RSeq.
    ///
    /// # Errors
    /// When it is there and not a number below 2^32.
    pub fn number(&self, name: HeaderName) -> Result<Option<u32>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => lex::number(value).map(Some).ok_or(Fault::Header(name)),
        }
    }
}

fn made(name: HeaderName, value: Bytes) -> Header {
    Header {
        name,
        written: Bytes::from_static(name.as_str().as_bytes()),
        value: lex::single_line(value),
    }
}
