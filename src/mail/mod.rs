//! Gate: e-mail through the operator's own SMTP relay. The only file that names the mail library.
//!
//! A webhook endpoint whose address is `mailto:` gets its events this way, so reports keep the schedule, the history
//! and the replay of webhooks. Domains, DNS records and reputation are the relay's business.

use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};

use crate::types::Secret;

/// Longest subject, characters: one line of a mail program.
const SUBJECT_CHARS_MAX: usize = 200;

/// How the connection to the relay is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS after a clear greeting (RFC 3207), required.
    #[default]
    StartTls,
    /// TLS from the first octet (RFC 8314).
    Tls,
    /// None: for a relay on this machine.
    None,
}

/// How to reach the relay, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Host of the relay.
    pub host: String,
    /// Port; unless given 587 with `starttls`, 465 with `tls`, 25 with `none`.
    pub port: Option<u16>,
    /// `starttls`, `tls` or `none`.
    pub security: Security,
    /// User name, if the relay asks for one.
    pub username: String,
    /// Sender, for example `Trunkline <calls@example.com>`.
    pub from: String,
    /// How long one message may take, the connection included.
    pub timeout: Duration,
}

/// Why a mail did not leave.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The sender or recipient is no address.
    #[error("`{0}` is no e-mail address")]
    Address(&'static str),
    /// The message cannot be put together.
    #[error("compose the message")]
    Compose(#[source] lettre::error::Error),
    /// The relay cannot be set up.
    #[error("set up the SMTP relay")]
    Relay(#[source] lettre::transport::smtp::Error),
    /// The relay said no, for good (5yz).
    #[error("the SMTP relay refuses the message")]
    Refused(#[source] lettre::transport::smtp::Error),
    /// The relay cannot be reached or says to try later.
    #[error("send through the SMTP relay")]
    Send(#[source] lettre::transport::smtp::Error),
    /// It took too long.
    #[error("the SMTP relay did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

impl MailError {
    /// Whether another try would come to the same.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Address(_) | Self::Compose(_) | Self::Refused(_) => true,
            Self::Relay(_) | Self::Send(_) | Self::Timeout(_) => false,
        }
    }

    /// What the relay answered, if it did.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(error) | Self::Send(error) => error.status().map(u16::from),
            Self::Address(_) | Self::Compose(_) | Self::Relay(_) | Self::Timeout(_) => None,
        }
    }
}

/// One message.
pub struct Mail<'a> {
    /// Address of the recipient.
    pub to: &'a str,
    /// Subject: control characters and everything beyond 200 characters are left out.
    pub subject: &'a str,
    /// Text.
    pub text: String,
    /// JSON that is attached as `event.json`, exactly as a webhook would get it.
    pub json: Option<Vec<u8>>,
    /// Identifier of the event, for `X-Webhook-Id`: the same for every try.
    pub event_id: Option<&'a str>,
}

/// A relay that can be sent to.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    timeout: Duration,
}

/// `X-Webhook-Id`.
#[derive(Clone)]
struct WebhookId(String);

impl lettre::message::header::Header for WebhookId {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("X-Webhook-Id")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

impl Mailer {
    /// Sets up the relay; nothing is sent yet.
    ///
    /// # Errors
    /// When the sender is no address or TLS cannot be set up.
    pub fn new(config: &Config, password: &Secret) -> Result<Self, MailError> {
        let from = config.from.parse().map_err(|_| MailError::Address("from"))?;
        let host = config.host.as_str();
        let tls = || TlsParameters::new(host.to_owned()).map_err(MailError::Relay);
        let (tls, port) = match config.security {
            Security::StartTls => (Tls::Required(tls()?), 587),
            Security::Tls => (Tls::Wrapper(tls()?), 465),
            Security::None => (Tls::None, 25),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(config.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(config.timeout));
        if !config.username.is_empty() {
            let credentials =
                Credentials::new(config.username.clone(), password.expose().to_owned());
            transport = transport.credentials(credentials);
        }
        Ok(Self { transport: transport.build(), from, timeout: config.timeout })
    }

    /// Sends one message and returns when the relay has taken it.
    ///
    /// # Errors
    /// [`MailError::Refused`] is final; the others are worth another try.
    pub async fn send(&self, mail: Mail<'_>) -> Result<(), MailError> {
        let message = self.compose(mail)?;
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(MailError::Refused(error)),
            Ok(Err(error)) => Err(MailError::Send(error)),
            Err(_) => Err(MailError::Timeout(self.timeout)),
        }
    }

    fn compose(&self, mail: Mail<'_>) -> Result<Message, MailError> {
        if !is_address(mail.to) {
            return Err(MailError::Address("to"));
        }
        let to: Mailbox = mail.to.parse().map_err(|_| MailError::Address("to"))?;
        let subject: String =
            mail.subject.chars().filter(|c| !c.is_control()).take(SUBJECT_CHARS_MAX).collect();
        let mut message =
            Message::builder().from(self.from.clone()).to(to).subject(subject).message_id(None);
        if let Some(id) = mail.event_id {
            message =
                message.header(WebhookId(id.chars().filter(|c| c.is_ascii_graphic()).collect()));
        }
        let text = SinglePart::plain(mail.text);
        match mail.json {
            None => message.singlepart(text),
            Some(json) => {
                let json = Attachment::new("event.json".to_owned()).body(
                    json,
                    ContentType::parse("application/json").unwrap_or(ContentType::TEXT_PLAIN),
                );
                message.multipart(MultiPart::mixed().singlepart(text).singlepart(json))
            }
        }
        .map_err(MailError::Compose)
    }
}

/// Whether a text is a sender: an address, or a name with one.
pub fn is_sender(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok()
}

/// Whether a text is one e-mail address that can be sent to.
pub fn is_address(text: &str) -> bool {
    // Not what can follow an address in a `mailto:` URL, which the parser takes for a part of the domain.
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '[' | ']' | ':');
    text.parse::<lettre::Address>().is_ok_and(|address| address.domain().chars().all(plain))
}

#[cfg(test)]
mod tests;
