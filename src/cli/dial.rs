//! `trunkline call`: the softphone behind the command line.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::args::CallArgs;
use crate::config::Env;
use crate::sip::Transport;
use crate::softphone::api::ApiAccess;
use crate::softphone::dial::{Console, DialOptions, Format, run_call};
use crate::softphone::waterfall::{Color, Style};
use crate::types::Secret;

/// Lines of keys that may wait: nobody types faster.
const KEY_LINES: usize = 16;

/// What to print, and how: no colours where nobody sees them or `NO_COLOR` is set.
pub(super) fn format(json: bool, env: &Env) -> Format {
    if json {
        return Format::Json;
    }
    let plain = env.get("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = if std::io::stdout().is_terminal() && !plain { Color::On } else { Color::Off };
    Format::Text(Style { color, ..Style::default() })
}

/// Places the call that the arguments ask for.
pub(super) async fn call(args: CallArgs, env: &Env) -> Result<(), Failure> {
    let mut options = DialOptions::to(args.uri);
    options.transport = if args.tcp { Transport::Tcp } else { Transport::Udp };
    options.keys = args.wav.is_empty().then(keys);
    options.wav = args.wav;
    options.out = args.out;
    options.format = format(args.json, env);
    options.api = match (args.api, args.api_key) {
        (Some(url), Some(key)) => Some(ApiAccess { url, key: Secret::new(key) }),
        (Some(_), None) => {
            return Err(Failure::Usage(
                "--api needs a key: give --api-key or set TRUNKLINE_API_KEY".to_owned(),
            ));
        }
        (None, _) => None,
    };
    run(options).await
}

/// Runs a call; a signal hangs up.
pub(super) async fn run(mut options: DialOptions) -> Result<(), Failure> {
    let mut signals = super::Signals::listen()?;
    let stop = CancellationToken::new();
    options.stop = stop.clone();
    let (mut data, mut talk) = (std::io::stdout(), std::io::stderr());
    let mut console = Console { data: &mut data, talk: &mut talk };
    let calling = run_call(options, &mut console);
    tokio::pin!(calling);
    let result = tokio::select! {
        result = &mut calling => result,
        () = signals.next() => {
            stop.cancel();
            // The BYE and the report need a moment.
            match tokio::time::timeout(Duration::from_secs(10), calling).await {
                Ok(result) => result,
                Err(_) => return Err(Failure::Run("the call did not end".to_owned())),
            }
        }
    };
    match result {
        Ok(report) if report.succeeded() => Ok(()),
        Ok(_) => Err(Failure::Run("the call failed, or a reply never came".to_owned())),
        Err(error) => {
            Err(Failure::Run(format!("failed to {}", crate::telemetry::chain::chain(&error))))
        }
    }
}

/// Keys typed on standard input, a line at a time.
fn keys() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(KEY_LINES);
    // A blocked read of standard input cannot be canceled: the thread ends with the program.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
