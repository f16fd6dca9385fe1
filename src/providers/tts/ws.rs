//! Synthesis over one WebSocket a call: opened before it is needed, reused between sentences, opened
//! again when the provider closes it. What differs between vendors is a [`Dialect`].
//!
//! A sentence that had no audio when the connection broke is asked for again; one that was half spoken is
//! reported. A canceled sentence leaves the books at once, so nothing of it comes out afterwards.

mod book;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use self::book::Book;
use super::{AlignmentMark, TTS_EVENT_QUEUE, TTS_INPUT_QUEUE, TtsEvent, TtsInput, TtsSession};
use crate::net::clock;
use crate::providers::socket::{Endpoint, Incoming, Socket};
use crate::providers::{FailureKind, ProviderError};
use crate::types::{Generation, Pcm};

/// Longest silence of a provider that owes audio.
const STALL: Duration = Duration::from_secs(4);

/// A connection that lived at least so long is opened again at once when the provider closes it; a
/// shorter one waits for the next sentence, so that a provider that hangs up is not called in a loop.
const LIVED: Duration = Duration::from_secs(5);

/// Connections in a row that may break without any audio.
const BREAKS_MAX: u32 = 2;

/// One sentence as vendors see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentenceId {
    pub(super) generation: Generation,
    pub(super) seq: u32,
}

/// What a vendor's message means.
#[derive(Debug)]
pub(super) enum Meaning {
    Audio(SentenceId, Pcm),
    Marks(SentenceId, Vec<AlignmentMark>),
    Done(SentenceId),
    /// Only this sentence is lost.
    Failed(SentenceId, ProviderError),
    Fatal(ProviderError),
}

/// What a cancel takes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cancel {
    /// Messages to send.
    pub(super) messages: Vec<String>,
    /// The vendor dropped newer sentences as well: they must be said again.
    pub(super) dropped_all: bool,
}

/// A vendor's messages.
pub(super) trait Dialect: Send + 'static {
    /// Messages that make it speak a sentence.
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String>;
    /// Messages that stop everything of a generation and before.
    fn cancel(&mut self, generation: Generation) -> Cancel;
    /// What a message means.
    fn understand(&mut self, incoming: Incoming, out: &mut VecDeque<Meaning>);
    /// The connection is a new one: nothing was said on it.
    fn restart(&mut self);
    /// Messages that had to wait for what was understood.
    fn more(&mut self) -> Vec<String> {
        Vec::new()
    }
    /// What keeps an idle connection open, and after how long a silence of ours.
    fn keep_alive(&self) -> Option<(Duration, &'static str)> {
        None
    }
}

/// Connects and runs a session.
pub(super) fn open<D: Dialect>(
    endpoint: Endpoint,
    dialect: D,
) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
    Box::pin(async move {
        let socket = Socket::connect(endpoint.clone()).await?;
        let (input, inbox) = mpsc::channel(TTS_INPUT_QUEUE);
        let (outbox, events) = mpsc::channel(TTS_EVENT_QUEUE);
        let line = Line {
            endpoint,
            dialect,
            socket: Some(socket),
            opened: clock::now(),
            heard: clock::now(),
            said: clock::now(),
            breaks: 0,
            book: Book::default(),
        };
        tokio::spawn(async move {
            let gone = outbox.clone();
            tokio::select! {
                () = line.run(inbox, outbox) => {}
                // Even a send that waits for the provider ends with the session.
                () = gone.closed() => {}
            }
        });
        Ok(TtsSession { input, events })
    })
}

struct Line<D> {
    endpoint: Endpoint,
    dialect: D,
    socket: Option<Socket>,
    opened: Instant,
    /// When the provider last said anything, or was last asked.
    heard: Instant,
    /// When the provider was last told anything.
    said: Instant,
    /// Connections in a row that broke without any audio.
    breaks: u32,
    book: Book,
}

/// What woke the loop.
enum Step {
    Input(TtsInput),
    Incoming(Result<Incoming, ProviderError>),
    Stalled,
    Told,
    Idle,
    Over,
}

impl<D: Dialect> Line<D> {
    async fn run(mut self, mut inbox: mpsc::Receiver<TtsInput>, outbox: mpsc::Sender<TtsEvent>) {
        loop {
            let step = self.step(&mut inbox, &outbox).await;
            let outcome = match step {
                Step::Over => break,
                Step::Told => {
                    // While the call is slow the provider is not listened to: that is not its silence.
                    self.heard = clock::now();
                    Ok(())
                }
                Step::Input(input) => self.on_input(input).await,
                Step::Incoming(Ok(incoming)) => self.on_incoming(incoming).await,
                Step::Idle => self.keep_alive().await,
                Step::Incoming(Err(error)) => Err(error),
                Step::Stalled => {
                    let detail = "no audio although the connection is open";
                    Err(self.endpoint.error(FailureKind::Stalled, detail))
                }
            };
            let outcome = match outcome {
                Ok(()) => self.say_waiting().await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome
                && let Err(error) = self.recover(error).await
            {
                self.book.give_up(error);
                while let Some(event) = self.book.next_event() {
                    if outbox.send(event).await.is_err() {
                        return;
                    }
                }
                return;
            }
        }
        if let Some(socket) = self.socket {
            socket.close().await;
        }
    }

    /// Waits for the next thing. Events wait for room here, where a cancel can still take them back.
    async fn step(
        &mut self,
        inbox: &mut mpsc::Receiver<TtsInput>,
        outbox: &mpsc::Sender<TtsEvent>,
    ) -> Step {
        let tells = self.book.has_events();
        let owes = self.book.is_waiting_for_audio();
        let alive = self.dialect.keep_alive().filter(|_| self.socket.is_some());
        let due = alive.map(|(after, _)| self.said + after);
        let idle = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let incoming = async {
            match &mut self.socket {
                Some(socket) if !tells => socket.next().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            input = inbox.recv() => input.map_or(Step::Over, Step::Input),
            permit = outbox.reserve(), if tells => match permit {
                Ok(permit) => {
                    if let Some(event) = self.book.next_event() {
                        permit.send(event);
                    }
                    Step::Told
                }
                Err(_) => Step::Over,
            },
            incoming = incoming => Step::Incoming(incoming),
            () = tokio::time::sleep_until((self.heard + STALL).into()), if owes && !tells => {
                Step::Stalled
            }
            () = idle => Step::Idle,
        }
    }

    async fn keep_alive(&mut self) -> Result<(), ProviderError> {
        match self.dialect.keep_alive() {
            Some((_, message)) => self.send(vec![message.to_owned()]).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, messages: Vec<String>) -> Result<(), ProviderError> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        for message in messages {
            self.said = clock::now();
            socket.text(message).await?;
        }
        Ok(())
    }

    async fn on_input(&mut self, input: TtsInput) -> Result<(), ProviderError> {
        match input {
            TtsInput::Say { generation, seq, text } => {
                self.book.add(SentenceId { generation, seq }, text, &self.endpoint);
                Ok(())
            }
            TtsInput::Cancel { generation } => {
                self.book.cancel(generation);
                let cancel = self.dialect.cancel(generation);
                if cancel.dropped_all {
                    self.book.unsay(&self.endpoint.error(FailureKind::Cut, "cleared"));
                }
                self.send(cancel.messages).await
            }
        }
    }

    async fn on_incoming(&mut self, incoming: Incoming) -> Result<(), ProviderError> {
        self.heard = clock::now();
        let mut meanings = VecDeque::new();
        self.dialect.understand(incoming, &mut meanings);
        for meaning in meanings {
            match meaning {
                Meaning::Audio(sentence, pcm) => {
                    self.breaks = 0;
                    self.book.audio(sentence, pcm, self.heard, &self.endpoint);
                }
                Meaning::Marks(sentence, marks) => self.book.marks(sentence, marks),
                Meaning::Done(sentence) => self.book.done(sentence, &self.endpoint),
                Meaning::Failed(sentence, error) => self.book.failed(sentence, error),
                Meaning::Fatal(error) => return Err(error),
            }
        }
        let more = self.dialect.more();
        self.send(more).await
    }

    /// Asks for the sentences that may be asked for now.
    async fn say_waiting(&mut self) -> Result<(), ProviderError> {
        if !self.book.may_say() {
            return Ok(());
        }
        if self.socket.is_none() {
            self.connect().await?;
        }
        while let Some((sentence, text)) = self.book.say_next() {
            let messages = self.dialect.say(sentence, text.reveal());
            self.heard = clock::now();
            self.send(messages).await?;
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), ProviderError> {
        self.dialect.restart();
        self.socket = Some(Socket::connect(self.endpoint.clone()).await?);
        self.opened = clock::now();
        (self.heard, self.said) = (self.opened, self.opened);
        Ok(())
    }

    /// Takes up after a broken connection.
    ///
    /// # Errors
    /// When there is nothing to be gained by another connection, or it fails as well.
    async fn recover(&mut self, error: ProviderError) -> Result<(), ProviderError> {
        let lived = clock::now().saturating_duration_since(self.opened) >= LIVED;
        self.socket = None;
        if !error.kind.is_retryable() {
            return Err(error);
        }
        if self.book.is_empty() {
            if lived {
                // The next sentence must not wait for a handshake; if this fails it tries again.
                let _ = self.connect().await;
            }
            return Ok(());
        }
        self.book.unsay(&error);
        if self.book.is_empty() {
            return Ok(());
        }
        self.breaks += 1;
        if self.breaks > BREAKS_MAX {
            return Err(error);
        }
        // A second failure right here is reported: the caller waits.
        self.connect().await?;
        self.say_waiting().await
    }
}

/// Octets to samples; an odd octet waits in `odd` for the next chunk.
pub(super) fn samples(odd: &mut Option<u8>, octets: &[u8]) -> Vec<i16> {
    let mut samples = Vec::with_capacity(octets.len() / 2 + 1);
    for &octet in octets {
        match odd.take() {
            Some(low) => samples.push(i16::from_le_bytes([low, octet])),
            None => *odd = Some(octet),
        }
    }
    samples
}

/// A place for parsers without a connection.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn nowhere() -> Endpoint {
    let (provider, url) = ("fuzz".to_owned(), String::new());
    Endpoint { provider, stage: crate::providers::Stage::Tts, url, auth: None }
}
