//! Parse, dispatch, exit code. Standard output is data, standard error is talk.
//!
//! Exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration (`eval`: or it could not be run).

mod args;
mod calls;
mod demo;
mod dial;
mod doctor;
mod eval;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, ConfigError, Env};
use crate::server;
use crate::sip::Transport;

use args::{Args, Command};

/// How long live calls may go on after the first signal.
const DRAIN: Duration = Duration::from_secs(300);

/// Why a command failed, and with which exit code.
enum Failure {
    Usage(String),
    Run(String),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Failure::Run(format!("failed to start the runtime: {error}"))),
    };
    match runtime.block_on(dispatch(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(failure),
    }
}

#[expect(clippy::print_stderr, reason = "standard error is where the program talks to people")]
fn report(failure: Failure) -> ExitCode {
    match failure {
        Failure::Usage(text) => {
            eprintln!("error: {text}");
            ExitCode::from(2)
        }
        Failure::Run(text) => {
            eprintln!("error: {text}");
            ExitCode::from(1)
        }
    }
}

async fn dispatch(args: Args) -> Result<(), Failure> {
    let env: Env = std::env::vars().collect();
    match args.command {
        Command::Serve(serve) => {
            let config = load(serve.config.as_deref(), &env)?;
            self::serve(config, serve.config.as_deref(), &env).await
        }
        Command::Demo(demo) => demo::run(&demo, &env).await,
        Command::Call(call) => dial::call(call, &env).await,
        Command::Calls { command } => calls::run(command, &env).await,
        Command::Doctor(doctor) => doctor::run(doctor, &env).await,
        Command::Eval(eval) => eval::run(&eval, &env).await,
        Command::Score(score) => eval::score(&score),
        Command::CheckConfig(check) => {
            let config = load(check.config.as_deref(), &env)?;
            server::check(&config, &env).map_err(usage)?;
            say(&format!(
                "{} is right",
                check.config.map_or_else(
                    || "the built-in configuration".to_owned(),
                    |path| path.display().to_string(),
                )
            ));
            Ok(())
        }
        Command::PrintConfig(print) => {
            let text = if print.reference {
                crate::config::reference(&Config::example(), crate::config::SECTIONS)
                    .map_err(|error| Failure::Run(crate::telemetry::chain::chain(&error)))?
            } else {
                let config = load(print.config.as_deref(), &env)?;
                toml::to_string_pretty(&config)
                    .map_err(|error| Failure::Run(format!("failed to write TOML: {error}")))?
            };
            data(&text);
            Ok(())
        }
        Command::Completions { shell } => {
            let mut command = <Args as clap::CommandFactory>::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "trunkline", &mut script);
            data(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

fn load(path: Option<&std::path::Path>, env: &Env) -> Result<Config, Failure> {
    let loaded = match path {
        Some(path) => crate::config::load(path, env),
        None => crate::config::load_str("built-in", "", env),
    };
    loaded.map_err(|error| match &error {
        ConfigError::Problems(_) => Failure::Usage(format!("the configuration is wrong\n{error}")),
        ConfigError::Read { .. } => Failure::Usage(crate::telemetry::chain::chain(&error)),
    })
}

fn usage(error: server::ServerError) -> Failure {
    Failure::Usage(format!("failed to {}", crate::telemetry::chain::chain(&error)))
}

fn start_failure(error: server::ServerError) -> Failure {
    match error {
        server::ServerError::Setup { .. } => usage(error),
        other => Failure::Run(format!("failed to {}", crate::telemetry::chain::chain(&other))),
    }
}

fn init_log(config: &Config, env: &Env) -> Result<(), Failure> {
    let rust_log = env.get("RUST_LOG").map(String::as_str);
    crate::telemetry::log::init(&config.telemetry, rust_log)
        .map_err(|error| Failure::Usage(crate::telemetry::chain::chain(&error)))
}

async fn serve(config: Config, path: Option<&std::path::Path>, env: &Env) -> Result<(), Failure> {
    init_log(&config, env)?;
    // Before the first word to the outside: a supervisor may stop us as soon as it hears that one.
    let mut signals = Signals::listen()?.with_reload()?;
    let running = server::start(config, env).await.map_err(start_failure)?;
    announce(&running);
    while signals.stop_or_reload().await == Wish::Reload {
        reload(&running, path, env).await;
    }
    say("stopping: live calls may finish, a second signal ends them");
    tokio::select! {
        () = running.drain(DRAIN) => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// Reads the configuration again. One that is wrong changes nothing.
async fn reload(running: &server::Running, path: Option<&std::path::Path>, env: &Env) {
    let reloaded = match load(path, env) {
        Ok(config) => running.reload(config, env).await.map_err(usage),
        Err(failure) => Err(failure),
    };
    match reloaded {
        Ok(notes) => {
            say("configuration reloaded: agents, numbers, trunks, templates and providers");
            for note in notes {
                say(&format!("note: {note}"));
            }
        }
        Err(Failure::Usage(text) | Failure::Run(text)) => {
            say(&format!("configuration not reloaded, everything stays as it was: {text}"));
        }
    }
}

fn announce(running: &server::Running) {
    for address in running.sip(Transport::Udp) {
        say(&format!("SIP over UDP on {address}"));
    }
    for address in running.sip(Transport::Tcp) {
        say(&format!("SIP over TCP on {address}"));
    }
    for address in running.sip(Transport::Tls) {
        say(&format!("SIP over TLS on {address}"));
    }
    say(&format!("HTTP API on http://{}/v1, documented at /docs", running.api()));
    for note in running.notes() {
        say(&format!("note: {note}"));
    }
    if let Some(key) = running.first_key() {
        say(&format!("API key, shown only now: {key}"));
    }
}

/// SIGTERM, SIGINT and SIGHUP, listened for from the moment this is made.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Only where it means something; elsewhere it ends the program as it always did.
    hangup: Option<Signal>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Stop,
    Reload,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let open = |kind| {
            signal(kind)
                .map_err(|error| Failure::Run(format!("failed to listen for signals: {error}")))
        };
        Ok(Self {
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
            hangup: None,
        })
    }

    /// From now on SIGHUP asks for a reload.
    fn with_reload(mut self) -> Result<Self, Failure> {
        let hangup = signal(SignalKind::hangup())
            .map_err(|error| Failure::Run(format!("failed to listen for signals: {error}")))?;
        self.hangup = Some(hangup);
        Ok(self)
    }

    async fn stop_or_reload(&mut self) -> Wish {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            () = hangup => Wish::Reload,
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Talk: standard error.
#[expect(clippy::print_stderr, reason = "standard error is where the program talks to people")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// Data: standard output.
fn data(text: &str) {
    use std::io::Write;
    // A reader that went away wants no more.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
