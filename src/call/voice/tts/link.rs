//! One session of a voice, from the first attempt to open it to its end.

use std::future::pending;
use std::time::Instant;

use futures_util::future::BoxFuture;

use super::super::ms;
use crate::net::clock;
use crate::providers::ProviderError;
use crate::providers::tts::{TtsEvent, TtsInput, TtsSession};

type Opening = BoxFuture<'static, Result<TtsSession, ProviderError>>;

pub(super) enum State {
    Opening {
        opening: Opening,
        by: Instant,
    },
    Open(TtsSession),
    /// Given up until the next sentence asks for it.
    Closed,
    Dead(ProviderError),
}

/// A session and whose it is.
pub(super) struct Link {
    /// Place in the route.
    pub(super) leg: usize,
    pub(super) state: State,
    /// When it was begun.
    pub(super) since: Instant,
}

/// What a session did.
pub(super) enum Told {
    /// It is open; `None`: it is not, and the time is up.
    Opened(Option<Result<TtsSession, ProviderError>>),
    /// It spoke; `None`: it ended.
    Event(Option<TtsEvent>),
    /// It was found dead before.
    Dead(ProviderError),
}

impl Link {
    pub(super) fn begin(leg: usize, opening: Opening, within_ms: u64) -> Self {
        let since = clock::now();
        Self { leg, state: State::Opening { opening, by: since + ms(within_ms) }, since }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Gives it something; whether it took it.
    pub(super) fn input(&self, input: TtsInput) -> bool {
        match &self.state {
            State::Open(session) => session.input.try_send(input).is_ok(),
            State::Opening { .. } | State::Closed | State::Dead(_) => false,
        }
    }

    /// Cancellation-safe.
    pub(super) async fn step(&mut self) -> Told {
        match &mut self.state {
            State::Opening { opening, by } => {
                let opened = tokio::time::timeout_at((*by).into(), opening).await;
                Told::Opened(opened.ok())
            }
            State::Open(session) => Told::Event(session.events.recv().await),
            State::Closed => pending().await,
            State::Dead(error) => Told::Dead(error.clone()),
        }
    }
}
