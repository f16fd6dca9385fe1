//! The `trunkline call` command without its flags: dials, talks, listens, and shows what it measured.
//!
//! With WAV files it says one after the other, each when the agent has finished; without any it takes
//! keys to press. What the server says of the same call (transcript, stages of the latency) is asked
//! of its HTTP API if there is access.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::api::{Api, ApiAccess, ServerTurn};
use super::call::{PhoneCall, Reply};
use super::phone::{CallRequest, Phone, PhoneConfig, StartError};
use super::report::{self, CallReport, Exchange};
use super::state::{CallEnd, PhoneError, PhoneEvent};
use super::waterfall::Style;
use crate::audio::wav::{self, WavError};
use crate::engine::Recording;
use crate::net::clock;
use crate::sip::{Credentials, Transport};
use crate::telemetry::chain::chain;
use crate::types::Pcm;

/// An agent that has not begun its greeting and finished it by then is waiting for us to speak.
const GREETING_LIMIT: Duration = Duration::from_secs(20);
/// Longest wait for a whole reply: a slow model and a long answer.
const REPLY_LIMIT: Duration = Duration::from_secs(60);
/// A server closes its record within this time after the end of a call.
const RECORD_LIMIT: Duration = Duration::from_secs(5);
/// Lines that wait to be printed.
const LINES_QUEUE: usize = 256;
/// Longest a call with keys may last: whoever wants more can call again.
const KEYPAD_LIMIT: Duration = Duration::from_secs(3_600);

/// What the command prints on its standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines while the call goes on, then a summary.
    Text(Style),
    /// One JSON object at the end; the lines go to the talk.
    Json,
}

/// What is asked of the command.
#[derive(Debug)]
pub struct DialOptions {
    /// Whom to call.
    pub uri: String,
    /// User part of From.
    pub from: String,
    /// Answer to a challenge.
    pub credentials: Option<Credentials>,
    /// Transport when the URI names none.
    pub transport: Transport,
    /// Utterances, in order.
    pub wav: Vec<PathBuf>,
    /// Keys to press, a line at a time, when there are no utterances. An empty channel only listens.
    pub keys: Option<mpsc::Receiver<String>>,
    /// Where to record both directions.
    pub out: Option<PathBuf>,
    /// What to print.
    pub format: Format,
    /// Access to the server's API.
    pub api: Option<ApiAccess>,
    /// Hangs up when canceled.
    pub stop: CancellationToken,
}

impl DialOptions {
    /// A call over UDP that only listens.
    pub fn to(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            from: "softphone".to_owned(),
            credentials: None,
            transport: Transport::Udp,
            wav: Vec::new(),
            keys: None,
            out: None,
            format: Format::Text(Style::default()),
            api: None,
            stop: CancellationToken::new(),
        }
    }
}

/// Where the command prints.
pub struct Console<'a> {
    /// Standard output: data.
    pub data: &'a mut (dyn Write + Send),
    /// Standard error: talk.
    pub talk: &'a mut (dyn Write + Send),
}

/// Why there was no call to report.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The phone can't be started.
    #[error("start the phone")]
    Start(#[from] StartError),
    /// The call can't be placed.
    #[error("place the call")]
    Call(#[from] PhoneError),
    /// An utterance can't be read.
    #[error("read `{}`", path.display())]
    Wav {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: WavError,
    },
    /// The console can't be written.
    #[error("print")]
    Print(#[from] std::io::Error),
}

/// An utterance with its name.
struct Utterance {
    name: String,
    pcm: Pcm,
}

/// Runs one call to its end and prints what it measured. A call that fails is reported like any other:
/// see [`CallReport::succeeded`].
///
/// # Errors
/// When there was no call at all: a file is missing, an address is wrong, a socket can't be opened.
pub async fn run_call(
    options: DialOptions,
    console: &mut Console<'_>,
) -> Result<CallReport, DialError> {
    let utterances = read_all(&options.wav).await?;
    let phone = Phone::start(phone_config(&options)).await?;
    let mut request = CallRequest::to(&options.uri);
    request.from.clone_from(&options.from);
    request.credentials.clone_from(&options.credentials);
    request.options.tape = if options.out.is_some() { Recording::On } else { Recording::Off };
    let call = phone.call(request).await?;
    let tape = call.take_tape();
    let (lines_tx, lines) = mpsc::channel(LINES_QUEUE);
    say_line(&lines_tx, format!("calling {}", options.uri));
    let format = options.format;
    let mut conversation = Conversation {
        call: &call,
        api: options.api.and_then(|access| Api::new(access).ok()),
        turns_shown: 0,
        lines: lines_tx,
        exchanges: Vec::new(),
    };
    let recording = async {
        let (Some(tape), Some(path)) = (tape, options.out.clone()) else { return None };
        let from = call.answered(KEYPAD_LIMIT).await.ok()?;
        let task = tokio::task::spawn_blocking(move || super::tape::write(path, tape, from));
        task.await.ok()
    };
    let talk = async {
        conversation.run(&utterances, options.keys, &options.stop).await;
        let record = conversation.server_turns().await;
        // The printer ends when nobody has a line for it any more.
        (conversation.exchanges, record)
    };
    let printer = print_lines(&call, lines, format, console);
    let (recorded, (exchanges, turns), printed) = tokio::join!(recording, talk, printer);
    printed?;
    let mut report = report::collect(&call, &options.uri, exchanges, turns);
    match (recorded, &options.out) {
        (Some(Ok(())), Some(path)) => report.recording = Some(path.display().to_string()),
        (Some(Err(error)), _) => writeln!(console.talk, "recording failed: {}", chain(&error))?,
        (_, _) => {}
    }
    match format {
        Format::Text(style) => console.data.write_all(report.text(style).as_bytes())?,
        Format::Json => writeln!(console.data, "{}", report.json())?,
    }
    Ok(report)
}

fn phone_config(options: &DialOptions) -> PhoneConfig {
    // Loopback stays on loopback: nothing of it is open to others.
    let local = sip_host_is_loopback(&options.uri);
    let loopback = PhoneConfig { transport: options.transport, ..PhoneConfig::default() };
    if local {
        return loopback;
    }
    PhoneConfig { bind: std::net::Ipv4Addr::UNSPECIFIED.into(), ..loopback }
}

fn sip_host_is_loopback(uri: &str) -> bool {
    let Ok(uri) = crate::sip::uri::Uri::parse(uri) else { return true };
    match &uri.host {
        Some(host) => {
            host.ip().map_or_else(|| host.to_string() == "localhost", |ip| ip.is_loopback())
        }
        None => true,
    }
}

async fn read_all(paths: &[PathBuf]) -> Result<Vec<Utterance>, DialError> {
    let mut utterances = Vec::with_capacity(paths.len());
    for path in paths {
        let own = path.clone();
        let read = tokio::task::spawn_blocking(move || wav::read_mono(&own)).await;
        let pcm = match read {
            Ok(Ok(pcm)) => pcm,
            Ok(Err(source)) => return Err(DialError::Wav { path: path.clone(), source }),
            Err(_) => return Err(DialError::Call(PhoneError::Busy)),
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        utterances.push(Utterance { name: name.unwrap_or_default(), pcm });
    }
    Ok(utterances)
}

/// Queues a line for the printer; a console that does not take lines loses them, not the call.
fn say_line(lines: &mpsc::Sender<Line>, text: String) {
    let _ = lines.try_send(Line { at: clock::now(), text, speaks: false });
}

struct Line {
    at: Instant,
    text: String,
    /// From here to [`PhoneEvent::Spoken`] we speak.
    speaks: bool,
}

/// Drives the call and collects what came of it.
struct Conversation<'a> {
    call: &'a PhoneCall,
    api: Option<Api>,
    turns_shown: usize,
    lines: mpsc::Sender<Line>,
    exchanges: Vec<Exchange>,
}

impl Conversation<'_> {
    async fn run(
        &mut self,
        utterances: &[Utterance],
        keys: Option<mpsc::Receiver<String>>,
        stop: &CancellationToken,
    ) {
        let call = self.call;
        let over = {
            let talk = async {
                call.answered(KEYPAD_LIMIT).await?;
                self.listen("", GREETING_LIMIT).await?;
                match keys {
                    Some(keys) if utterances.is_empty() => self.keypad(keys).await,
                    _ => self.speak(utterances).await,
                }
            };
            tokio::select! {
                talked = talk => talked.is_err_and(|error| matches!(error, PhoneError::Over(_))),
                () = stop.cancelled() => false,
            }
        };
        if !over && let Err(error) = call.hang_up().await {
            say_line(&self.lines, format!("hanging up failed: {error}"));
        }
    }

    async fn speak(&mut self, utterances: &[Utterance]) -> Result<(), PhoneError> {
        for utterance in utterances {
            let seconds = utterance.pcm.duration().as_secs_f64();
            let text = format!("caller  plays {} ({seconds:.1} s)", utterance.name);
            // As `say_line`.
            let _ = self.lines.try_send(Line { at: clock::now(), text, speaks: true });
            self.call.say(&utterance.pcm).await?;
            self.listen(&utterance.name, REPLY_LIMIT).await?;
        }
        Ok(())
    }

    async fn keypad(&mut self, mut keys: mpsc::Receiver<String>) -> Result<(), PhoneError> {
        say_line(&self.lines, "type digits and Enter to press keys, `q` to hang up".to_owned());
        loop {
            tokio::select! {
                line = keys.recv() => {
                    let Some(line) = line else { return Ok(()) };
                    let digits = line.trim();
                    if digits.eq_ignore_ascii_case("q") {
                        return Ok(());
                    }
                    if let Err(error) = self.call.send_digits(digits).await {
                        match error {
                            PhoneError::Digit(_) => say_line(&self.lines, error.to_string()),
                            other => return Err(other),
                        }
                    }
                }
                heard = self.call.hear_reply(KEYPAD_LIMIT) => {
                    let heard = heard?;
                    self.heard("", Some(heard)).await;
                }
            }
        }
    }

    /// Waits for a reply; that none came is a result as well.
    async fn listen(&mut self, said: &str, limit: Duration) -> Result<(), PhoneError> {
        let reply = match self.call.hear_reply(limit).await {
            Ok(reply) => Some(reply),
            Err(PhoneError::Timeout { .. }) => {
                say_line(&self.lines, "agent   says nothing".to_owned());
                None
            }
            Err(error) => return Err(error),
        };
        self.heard(said, reply).await;
        Ok(())
    }

    async fn heard(&mut self, said: &str, reply: Option<Reply>) {
        self.exchanges.push(Exchange::new(self.call, said, reply.as_ref()));
        let Some(api) = &mut self.api else { return };
        match api.transcript(self.call.identifier()).await {
            Ok(transcript) => {
                for turn in transcript.turns.iter().skip(self.turns_shown) {
                    let text = turn.spoken_content.as_ref().unwrap_or(&turn.content);
                    say_line(&self.lines, format!("        {}: {text}", turn.role));
                }
                self.turns_shown = self.turns_shown.max(transcript.turns.len());
            }
            // Said once, at the end.
            Err(error) => tracing::debug!(error = %chain(&error), "no transcript"),
        }
    }

    async fn server_turns(&mut self) -> Option<(String, Vec<ServerTurn>)> {
        let api = self.api.as_mut()?;
        match api.final_transcript(self.call.identifier(), RECORD_LIMIT).await {
            Ok(transcript) => Some((transcript.call_id, transcript.turns)),
            Err(error) => {
                say_line(&self.lines, format!("no figures of the server: {}", chain(&error)));
                None
            }
        }
    }
}

/// Prints what happens until the call is over and nobody has lines.
async fn print_lines(
    call: &PhoneCall,
    mut lines: mpsc::Receiver<Line>,
    format: Format,
    console: &mut Console<'_>,
) -> std::io::Result<()> {
    let mut print = |line: Line| {
        let seconds = line.at.saturating_duration_since(call.placed_at()).as_secs_f64();
        // Text of the network must not command the terminal.
        let text: String = line.text.chars().filter(|c| !c.is_control()).collect();
        let out = match format {
            Format::Text(_) => &mut console.data,
            Format::Json => &mut console.talk,
        };
        writeln!(out, "{seconds:8.3}  {text}")?;
        out.flush()
    };
    // The line that says whom we call was there before the call.
    if let Ok(line) = lines.try_recv() {
        print(line)?;
    }
    let mut told = Told::default();
    let mut events_over = false;
    loop {
        let line = tokio::select! {
            biased;
            event = call.next_event(KEYPAD_LIMIT), if !events_over => match event {
                Ok(event) => {
                    for line in told.event(event) {
                        print(line)?;
                    }
                    continue;
                }
                Err(_) => {
                    events_over = true;
                    continue;
                }
            },
            line = lines.recv() => match line {
                Some(line) => line,
                None => return Ok(()),
            },
        };
        told.speaking |= line.speaks;
        print(line)?;
    }
}

/// What the printer remembers between two events.
#[derive(Default)]
struct Told {
    /// We speak: when our last audible packet left is known at the end of the file, which may be
    /// silence, and after the agent has begun. What the agent does meanwhile is told then.
    speaking: bool,
    held: Vec<PhoneEvent>,
    /// Our last audible packet, until the agent has answered it.
    said: Option<Instant>,
}

impl Told {
    fn event(&mut self, event: PhoneEvent) -> Vec<Line> {
        let over = matches!(event, PhoneEvent::Spoken(..) | PhoneEvent::Ended(_));
        if self.speaking && !over && self.held.len() < LINES_QUEUE {
            self.held.push(event);
            return Vec::new();
        }
        let mut events = Vec::new();
        if over {
            self.speaking = false;
            events = std::mem::take(&mut self.held);
        }
        if let PhoneEvent::Spoken(_, said) = &event {
            self.said = said.last_audible.or(self.said);
        }
        let mut lines: Vec<Line> = self.describe(&event).into_iter().collect();
        lines.extend(events.iter().filter_map(|event| self.describe(event)));
        lines.sort_by_key(|line| line.at);
        lines
    }

    fn describe(&mut self, event: &PhoneEvent) -> Option<Line> {
        let now = clock::now();
        let line = |at, text: String| Some(Line { at, text, speaks: false });
        match event {
            PhoneEvent::Progress { status } => line(now, format!("ringing ({status})")),
            PhoneEvent::Answered => line(now, "answered".to_owned()),
            PhoneEvent::RemoteBegan { at } => {
                // Only the first words after ours are an answer; then the agent goes on.
                let answered = self.said.take_if(|said| *said <= *at);
                let gap = answered.map(|said| at.saturating_duration_since(said));
                let gap = gap.map(|gap| format!(", {} ms after the caller", gap.as_millis()));
                line(*at, format!("agent   speaks{}", gap.unwrap_or_default()))
            }
            PhoneEvent::RemoteEnded { at } => line(*at, "agent   stops".to_owned()),
            PhoneEvent::Digit(digit) => line(now, format!("agent   presses {digit}")),
            PhoneEvent::HeldByRemote(state) => line(now, format!("agent   {state:?}")),
            PhoneEvent::Spoken(_, spoken) => {
                line(spoken.last_audible.or(spoken.finished)?, "caller  stops".to_owned())
            }
            PhoneEvent::Ended(CallEnd::HungUp) => line(now, "hung up".to_owned()),
            PhoneEvent::Ended(end) => line(now, end.to_string()),
        }
    }
}

/// Lines of standard input, for [`DialOptions::keys`]. The thread ends with its input.
pub fn keys_of_stdin() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    let read = move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    // Without the thread the channel is closed at once, and the call has no keys.
    let _ = std::thread::Builder::new().name("keys".to_owned()).spawn(read);
    receiver
}
