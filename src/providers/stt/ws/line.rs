//! The task of one session: audio and commands in order onto the connection, results off it, and another
//! connection when it breaks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::replay::Replay;
use super::{
    Answers, Dialect, Encoding, Habits, KeepAlive, Meaning, Outgoing, Reach, TEXT_BYTES_MAX, Words,
    clip, join,
};
use crate::net::clock;
use crate::providers::socket::{Endpoint, Incoming, Socket};
use crate::providers::stt::{PRE_ROLL_MS, SttEvent, SttInput};
use crate::providers::{FailureKind, ProviderError};
use crate::types::{SampleRate, TurnSignal};

/// Pauses before the reconnects; after the last one the session gives up. A result makes them all new.
const RECONNECT_AFTER: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];

/// How long saying goodbye may take when the call is over.
const GOODBYE: Duration = Duration::from_millis(50);

/// `Finalize` requests without an answer that are remembered.
const ASKED_MAX: usize = 16;

/// How much faster than real time a backlog is sent, where the provider minds.
const BACKLOG_SPEED: f64 = 1.25;

/// While nobody speaks only the newest audio waits for its words, ms.
const QUIET_MS: u32 = 1_000;

/// Words may still come of audio that is younger than this when the provider says that it holds none, s.
const QUIET_TAIL_SECONDS: f64 = 1.0;

struct Finalizing {
    id: u32,
    /// The audio it is about ends here, on the connection's time axis.
    at: u64,
    by: Instant,
    sent: bool,
}

/// Why the connection's loop ended.
enum End {
    Broken(ProviderError),
    /// The call has no more use for us.
    Done,
}

pub(super) struct Line {
    endpoint: Endpoint,
    dialect: Box<dyn Dialect>,
    habits: Habits,
    rate: SampleRate,
    encoding: Encoding,
    events: mpsc::Sender<SttEvent>,
    replay: Replay,
    /// Samples that do not fill a message yet.
    gathered: Vec<i16>,
    /// Finals since the last answered `Finalize` or the end of a turn.
    utterance: String,
    /// Whether words were told since the last answered `Finalize`.
    told: bool,
    /// The provider ended the turn, and VAD saw no new speech.
    ended: bool,
    /// There is a hypothesis beyond the finals.
    interim: bool,
    /// VAD says that the caller speaks.
    speaking: bool,
    /// The newest `Finalize`; it replaces an older one, whose words come with its own.
    finalizing: Option<Finalizing>,
    /// Where the unanswered requests of this connection were, for providers that answer each one.
    asked: VecDeque<u64>,
    /// Where the last `Finalize` was given up: an answer that covers no more than this is that one's, late.
    given_up_at: u64,
    opened: Instant,
    last_sent: Instant,
    last_heard: Instant,
    /// Connections since the last result.
    reconnects: usize,
}

impl Line {
    pub(super) fn new(
        endpoint: Endpoint,
        dialect: Box<dyn Dialect>,
        habits: Habits,
        (rate, encoding): (SampleRate, Encoding),
        events: mpsc::Sender<SttEvent>,
    ) -> Self {
        let now = clock::now();
        Self {
            endpoint,
            dialect,
            replay: Replay::new(rate, habits.replay_seconds),
            habits,
            rate,
            encoding,
            events,
            gathered: Vec::new(),
            utterance: String::new(),
            told: false,
            ended: false,
            interim: false,
            speaking: false,
            finalizing: None,
            asked: VecDeque::new(),
            given_up_at: 0,
            opened: now,
            last_sent: now,
            last_heard: now,
            reconnects: 0,
        }
    }

    pub(super) async fn run(mut self, socket: Socket, mut inbox: mpsc::Receiver<SttInput>) {
        let mut socket = Some(socket);
        let gone = self.events.clone();
        tokio::select! {
            () = self.work(&mut socket, &mut inbox) => {}
            // Even a send that waits for the provider ends with the session.
            () = gone.closed() => {}
        }
        if let Some(mut socket) = socket {
            let goodbye = async {
                if let Some(text) = self.dialect.goodbye() {
                    // The connection may be gone: then there is nobody to say goodbye to.
                    let _ = socket.text(text).await;
                }
                socket.close().await;
            };
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        }
    }

    async fn work(&mut self, slot: &mut Option<Socket>, inbox: &mut mpsc::Receiver<SttInput>) {
        let mut begun = match slot.as_mut() {
            Some(socket) => self.begin(socket).await,
            None => return,
        };
        loop {
            let Some(socket) = slot.as_mut() else { return };
            let end = match begun {
                Ok(()) => self.connection(socket, inbox).await,
                Err(error) => End::Broken(error),
            };
            let End::Broken(error) = end else { return };
            *slot = None;
            begun = Ok(());
            match self.reconnect(error, inbox).await {
                Ok(fresh) => *slot = Some(fresh),
                Err(End::Broken(error)) => {
                    // The call may be over; then nobody minds.
                    let _ = self.events.send(SttEvent::Failed(error)).await;
                    return;
                }
                Err(End::Done) => return,
            }
        }
    }

    /// Opens the vendor's session on a new connection.
    async fn begin(&mut self, socket: &mut Socket) -> Result<(), ProviderError> {
        socket.set_closes(self.dialect.closes());
        self.asked.clear();
        self.given_up_at = 0;
        self.opened = clock::now();
        self.last_sent = self.opened;
        self.last_heard = self.opened;
        for message in self.dialect.hello() {
            send(socket, message).await?;
        }
        Ok(())
    }

    async fn connection(
        &mut self,
        socket: &mut Socket,
        inbox: &mut mpsc::Receiver<SttInput>,
    ) -> End {
        loop {
            if let Err(error) = self.pump(socket).await {
                return End::Broken(error);
            }
            let due = self.due();
            let step = tokio::select! {
                biased;
                incoming = socket.next() => match incoming {
                    Ok(incoming) => self.on_incoming(incoming).await,
                    Err(error) => Err(End::Broken(error)),
                },
                input = inbox.recv() => match input {
                    Some(input) => self.on_input(input).await,
                    None => Err(End::Done),
                },
                () = tokio::time::sleep_until(due.into()) => self.on_timeout(socket).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// When the loop must wake although nothing came.
    fn due(&self) -> Instant {
        let mut due = self.last_sent + self.habits.keep_alive.1;
        if let Some(finalizing) = &self.finalizing {
            due = due.min(finalizing.by);
        }
        if self.dialect.is_open() && self.replay.has_next() {
            due = due.min(self.may_send_from());
        }
        due
    }

    /// From when on the next chunk may be sent.
    fn may_send_from(&self) -> Instant {
        let Some(lead) = self.habits.lead else { return self.opened };
        let ahead = self.replay.sent_for().saturating_sub(lead);
        self.opened + ahead.div_f64(BACKLOG_SPEED)
    }

    /// Sends what may be sent now, in order.
    async fn pump(&mut self, socket: &mut Socket) -> Result<(), ProviderError> {
        while self.dialect.is_open() {
            if let Some(finalizing) = &mut self.finalizing
                && !finalizing.sent
                && self.replay.position_sent() >= finalizing.at
            {
                finalizing.sent = true;
                finalizing.by = clock::now() + self.habits.grace;
                if self.asked.len() >= ASKED_MAX {
                    self.asked.pop_front();
                }
                self.asked.push_back(finalizing.at);
                self.last_sent = clock::now();
                for message in self.dialect.finalize() {
                    send(socket, message).await?;
                }
                continue;
            }
            if self.habits.lead.is_some() && self.may_send_from() > clock::now() {
                break;
            }
            let Some((octets, samples)) = self.replay.take_next() else { break };
            self.last_sent = clock::now();
            let message = self.dialect.audio(octets, samples);
            send(socket, message).await?;
        }
        Ok(())
    }

    async fn on_input(&mut self, input: SttInput) -> Result<(), End> {
        let over = matches!(input, SttInput::Finalize { .. }) && self.nothing_to_ask();
        self.note(input);
        // The words of this utterance are out already, or there are none: nobody needs to wait.
        if over { self.answer(String::new(), None).await } else { Ok(()) }
    }

    fn nothing_to_ask(&self) -> bool {
        let silent = self.habits.gated && !self.speaking && !self.replay.has_next();
        silent || (self.ended && self.dialect.turn_is_over())
    }

    /// Takes an input into the books, whether or not there is a connection to send it on.
    fn note(&mut self, input: SttInput) {
        match input {
            SttInput::Audio(samples) => self.note_audio(&samples),
            SttInput::SpeechStarted => {
                self.speaking = true;
                self.ended = false;
                self.replay.free();
            }
            SttInput::Finalize { id } => {
                self.flush();
                self.speaking = false;
                let by = clock::now() + self.habits.grace;
                let at = self.replay.position();
                self.finalizing = Some(Finalizing { id, at, by, sent: false });
            }
        }
    }

    fn note_audio(&mut self, samples: &[i16]) {
        let whole = self.rate.samples_in_ms(self.habits.chunk_ms);
        if whole == 0 {
            self.keep(samples);
        } else {
            self.gathered.extend_from_slice(samples);
            while self.gathered.len() >= whole {
                let rest = self.gathered.split_off(whole);
                let chunk = std::mem::replace(&mut self.gathered, rest);
                self.keep(&chunk);
            }
        }
        let busy = self.speaking || self.interim || self.finalizing.is_some();
        if !busy {
            self.replay.keep(self.rate.samples_in_ms(QUIET_MS));
        }
    }

    /// The last message of an utterance need not be full.
    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let mut chunk = std::mem::take(&mut self.gathered);
        let least = self.rate.samples_in_ms(self.habits.chunk_ms_min);
        if chunk.len() < least {
            chunk.resize(least, 0);
        }
        self.keep(&chunk);
    }

    fn keep(&mut self, samples: &[i16]) {
        let octets = self.encoding.encode(samples);
        if self.habits.gated && !self.speaking {
            self.replay.push_held(octets, samples.len());
            self.replay.keep_held(self.rate.samples_in_ms(PRE_ROLL_MS));
        } else {
            self.replay.push(octets, samples.len());
        }
    }

    async fn on_timeout(&mut self, socket: &mut Socket) -> Result<(), End> {
        let now = clock::now();
        if let Some(finalizing) = &mut self.finalizing
            && finalizing.by <= now
        {
            if now.saturating_duration_since(self.last_heard) > self.habits.silent_server
                && self.replay.has_audio()
            {
                let detail = "no result although the connection is open";
                return Err(End::Broken(self.endpoint.error(FailureKind::Stalled, detail)));
            }
            if finalizing.sent {
                self.given_up_at = self.replay.position();
                self.answer(String::new(), None).await?;
            } else {
                // It waits behind audio that may not be sent yet.
                finalizing.by = now + self.habits.grace;
            }
        }
        let (keep_alive, every) = self.habits.keep_alive;
        if now >= self.last_sent + every {
            self.last_sent = now;
            match keep_alive {
                KeepAlive::None => {}
                KeepAlive::Text(text) => socket.text(text).await.map_err(End::Broken)?,
                KeepAlive::Silence(ms) => {
                    self.note_audio(&vec![0; self.rate.samples_in_ms(ms)]);
                    self.flush();
                }
            }
        }
        Ok(())
    }

    async fn on_incoming(&mut self, incoming: Incoming) -> Result<(), End> {
        self.last_heard = clock::now();
        let mut meanings = Vec::new();
        self.dialect.understand(incoming, &mut meanings);
        for meaning in meanings {
            match meaning {
                Meaning::Interim(text) => self.interim(text).await?,
                Meaning::Final(words) => self.words(words).await?,
                Meaning::Turn(signal) => {
                    if signal == TurnSignal::Over {
                        self.utterance.clear();
                        self.ended = true;
                    }
                    self.tell(SttEvent::Turn { signal, at: clock::now() }).await?;
                }
                Meaning::Quiet(seconds) => {
                    self.reconnects = 0;
                    self.interim = false;
                    self.replay.acknowledge(seconds - QUIET_TAIL_SECONDS);
                }
                Meaning::Fatal(kind, detail) => {
                    return Err(End::Broken(self.endpoint.error(kind, detail)));
                }
            }
        }
        Ok(())
    }

    async fn interim(&mut self, text: String) -> Result<(), End> {
        self.reconnects = 0;
        self.interim = !text.is_empty();
        let text = join(&self.utterance, &clip(text));
        if text.is_empty() {
            return Ok(());
        }
        self.tell(SttEvent::Partial { text: text.into() }).await
    }

    async fn words(&mut self, words: Words) -> Result<(), End> {
        self.reconnects = 0;
        self.interim = false;
        let Words { text, confidence, reach, answers } = words;
        let text = clip(text);
        let (upto, is_newest) = self.reached(reach);
        let answers = match (&self.finalizing, answers) {
            (None, _) | (_, Answers::No) => false,
            (Some(_), Answers::Yes) => is_newest,
            (Some(finalizing), Answers::IfCovered) => finalizing.sent && upto >= finalizing.at,
        };
        if answers {
            return self.answer(text, confidence).await;
        }
        if text.is_empty() {
            return Ok(());
        }
        if self.utterance.len() < TEXT_BYTES_MAX {
            self.utterance = join(&self.utterance, &text);
        }
        self.told = true;
        let at = clock::now();
        let text = text.into();
        self.tell(SttEvent::Final { text, confidence, answers: None, understood: true, at }).await
    }

    /// Takes what a result covers out of the replay. Gives its sample, and whether it can be about the
    /// newest `Finalize`.
    fn reached(&mut self, reach: Reach) -> (u64, bool) {
        match reach {
            Reach::Seconds(seconds) => {
                let upto = self.replay.acknowledge(seconds);
                (upto, upto > self.given_up_at)
            }
            Reach::Finalize => match self.asked.pop_front() {
                Some(upto) => {
                    self.replay.acknowledge_samples(upto);
                    (upto, self.asked.is_empty())
                }
                None => (0, false),
            },
            Reach::Sent => {
                let upto = self.replay.position_sent();
                self.replay.acknowledge_samples(upto);
                (upto, true)
            }
            Reach::Unknown => (0, true),
        }
    }

    async fn answer(&mut self, text: String, confidence: Option<f32>) -> Result<(), End> {
        let Some(finalizing) = self.finalizing.take() else { return Ok(()) };
        let understood = !text.is_empty() || std::mem::take(&mut self.told);
        self.told = false;
        self.ended = false;
        self.utterance.clear();
        self.tell(SttEvent::Final {
            text: text.into(),
            confidence,
            answers: Some(finalizing.id),
            understood,
            at: clock::now(),
        })
        .await
    }

    async fn tell(&mut self, event: SttEvent) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::Done)
    }

    /// Connects again and sends what was not accounted for. Audio is taken meanwhile.
    async fn reconnect(
        &mut self,
        mut last: ProviderError,
        inbox: &mut mpsc::Receiver<SttInput>,
    ) -> Result<Socket, End> {
        while last.kind.is_retryable()
            && let Some(pause) = RECONNECT_AFTER.get(self.reconnects)
        {
            self.reconnects += 1;
            let endpoint = self.endpoint.clone();
            let connecting = async move {
                tokio::time::sleep(*pause).await;
                Socket::connect(endpoint).await
            };
            tokio::pin!(connecting);
            let connected = loop {
                tokio::select! {
                    biased;
                    connected = &mut connecting => break connected,
                    input = inbox.recv() => match input {
                        Some(input) => self.note(input),
                        None => return Err(End::Done),
                    },
                }
            };
            match connected {
                Ok(mut socket) => match self.resume(&mut socket).await {
                    Ok(()) => {
                        self.tell(SttEvent::Reconnected).await?;
                        return Ok(socket);
                    }
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        Err(End::Broken(last))
    }

    async fn resume(&mut self, socket: &mut Socket) -> Result<(), ProviderError> {
        let gone = self.replay.acknowledged();
        self.replay.restart();
        self.interim = false;
        self.begin(socket).await?;
        if let Some(finalizing) = &mut self.finalizing {
            finalizing.at = finalizing.at.saturating_sub(gone);
            finalizing.sent = false;
            finalizing.by = self.opened + self.habits.grace;
        }
        self.pump(socket).await
    }
}

async fn send(socket: &mut Socket, message: Outgoing) -> Result<(), ProviderError> {
    match message {
        Outgoing::Text(text) => socket.text(text).await,
        Outgoing::Binary(octets) => socket.binary(octets).await,
    }
}
