//! Synthesis over one WebSocket a call: opened before it is needed, reused between sentences, opened
//! again when the provider closes it. What differs between vendors is a [`Dialect`].

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{TTS_EVENT_QUEUE, TTS_INPUT_QUEUE, TtsEvent, TtsInput, TtsSession};
use crate::net::clock;
use crate::providers::ProviderError;
use crate::providers::socket::{Endpoint, Incoming, Socket};
use crate::types::{Generation, Pcm};

/// How often an idle connection is kept alive: vendors close after 20 s and more.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

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
    Done(SentenceId),
    Fatal(ProviderError),
}

/// A vendor's messages.
pub(super) trait Dialect: Send + 'static {
    /// Messages that make it speak a sentence.
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String>;
    /// Messages that stop everything of a generation and before.
    fn cancel(&mut self, generation: Generation) -> Vec<String>;
    /// A message that keeps an idle connection open, if the vendor has one.
    fn keep_alive(&self) -> Option<String>;
    /// What a message means.
    fn understand(&mut self, incoming: Incoming, out: &mut VecDeque<Meaning>);
    /// Sentences that are not spoken to their end.
    fn is_idle(&self) -> bool;
    /// The connection is a new one.
    fn restart(&mut self);
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
        tokio::spawn(run(endpoint, socket, dialect, inbox, outbox));
        Ok(TtsSession { input, events })
    })
}

async fn run<D: Dialect>(
    endpoint: Endpoint,
    socket: Socket,
    mut dialect: D,
    mut inbox: mpsc::Receiver<TtsInput>,
    outbox: mpsc::Sender<TtsEvent>,
) {
    let mut socket = Some(socket);
    let mut meanings = VecDeque::new();
    loop {
        let Some(open) = &mut socket else {
            // The provider closed an idle connection: the next sentence must not wait for a handshake.
            dialect.restart();
            match Socket::connect(endpoint.clone()).await {
                Ok(fresh) => socket = Some(fresh),
                Err(error) => {
                    report_fatal(&outbox, error).await;
                    return;
                }
            }
            continue;
        };
        let outcome = tokio::select! {
            biased;
            input = inbox.recv() => match input {
                Some(input) => send(open, messages_of(&mut dialect, input)).await,
                None => break,
            },
            incoming = open.next() => incoming.map(|incoming| {
                dialect.understand(incoming, &mut meanings);
            }),
            () = tokio::time::sleep(KEEP_ALIVE), if dialect.is_idle() => {
                send(open, dialect.keep_alive().into_iter().collect()).await
            }
        };
        if let Err(error) = outcome {
            if dialect.is_idle() && error.kind.is_retryable() {
                socket = None;
                continue;
            }
            report_fatal(&outbox, error).await;
            return;
        }
        while let Some(meaning) = meanings.pop_front() {
            let event = match meaning {
                Meaning::Audio(SentenceId { generation, seq }, pcm) => {
                    TtsEvent::Audio { generation, seq, pcm, at: clock::now() }
                }
                Meaning::Done(SentenceId { generation, seq }) => TtsEvent::Done { generation, seq },
                Meaning::Fatal(error) => {
                    report_fatal(&outbox, error).await;
                    return;
                }
            };
            if outbox.send(event).await.is_err() {
                return;
            }
        }
    }
    if let Some(socket) = socket {
        socket.close().await;
    }
}

fn messages_of<D: Dialect>(dialect: &mut D, input: TtsInput) -> Vec<String> {
    match input {
        TtsInput::Say { generation, seq, text } => {
            dialect.say(SentenceId { generation, seq }, text.reveal())
        }
        TtsInput::Cancel { generation } => dialect.cancel(generation),
    }
}

async fn send(socket: &mut Socket, messages: Vec<String>) -> Result<(), ProviderError> {
    for message in messages {
        socket.text(message).await?;
    }
    Ok(())
}

async fn report_fatal(outbox: &mpsc::Sender<TtsEvent>, error: ProviderError) {
    // The call may be over; then nobody minds.
    let _ = outbox
        .send(TtsEvent::Failed { generation: Generation(0), seq: 0, error, fatal: true })
        .await;
}
