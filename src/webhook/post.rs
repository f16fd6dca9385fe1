//! Events as e-mail: endpoints whose URL is `mailto:`.

use super::letter::letter;
use super::schedule::Outcome;
use crate::mail::{Mail, MailError, Mailer};
use crate::schema::webhook::Envelope;
use crate::telemetry::chain;

/// How such a URL begins.
pub const MAILTO: &str = "mailto:";

/// Characters of an error that are kept: the relay's words stand in it.
const ERROR_CHARS_MAX: usize = 200;

/// Sends events as e-mail.
pub struct Post {
    mailer: Mailer,
    /// Whether phone numbers are hidden but for their last digits.
    mask_numbers: bool,
    /// Whether the event itself is attached as JSON.
    attach_event: bool,
}

impl Post {
    /// Sends through a relay.
    pub fn new(mailer: Mailer, mask_numbers: bool, attach_event: bool) -> Self {
        Self { mailer, mask_numbers, attach_event }
    }

    /// Sends one event to one address.
    pub(super) async fn deliver(&self, to: &str, body: String) -> Outcome {
        let Ok(event) = serde_json::from_str::<Envelope>(&body) else {
            return Outcome::of_mail(Some((None, "read the event".to_owned(), true)));
        };
        let (subject, text) = letter(&event, self.mask_numbers);
        let json = self.attach_event.then(|| body.into_bytes());
        let mail = Mail { to, subject: &subject, text, json, event_id: Some(&event.id) };
        Outcome::of_mail(failure(self.mailer.send(mail).await))
    }

    /// Sends a test message.
    ///
    /// # Errors
    /// The status of the relay's refusal, if it gave one, and what went wrong.
    pub async fn test(&self, to: &str) -> Result<(), (Option<u16>, String)> {
        let text = "This is a test: e-mails of this server arrive here.\n".to_owned();
        let mail = Mail { to, subject: "Trunkline test", text, json: None, event_id: None };
        match failure(self.mailer.send(mail).await) {
            None => Ok(()),
            Some((status, error, _)) => Err((status, error)),
        }
    }
}

/// What went wrong: status, words, whether it is final.
fn failure(sent: Result<(), MailError>) -> Option<(Option<u16>, String, bool)> {
    let error = sent.err()?;
    let words = chain::chain(&error);
    let words = words.chars().filter(|c| !c.is_control()).take(ERROR_CHARS_MAX).collect();
    Some((error.status(), words, error.is_final()))
}
