//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Answers and places SIP calls and lets an AI agent talk on them.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, about, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server. Without a file: the zero-key demo agent, for callers on this machine.
    #[command(after_help = "Example: trunkline serve --config config/server.toml")]
    Serve(ServeArgs),
    /// Run a server on loopback, call its agent, and show transcript, latency and recording.
    #[command(after_help = "Example: trunkline demo --out /tmp/demo")]
    Demo(DemoArgs),
    /// Call a SIP address: a softphone for the terminal.
    #[command(
        after_help = "Example: trunkline call sip:demo@127.0.0.1 --wav fixtures/wav/demo/01_hours.wav"
    )]
    Call(CallArgs),
    /// Look at the calls of a running server.
    Calls {
        #[command(subcommand)]
        command: CallsCommand,
    },
    /// Call an agent with scripted callers and check what came of it.
    ///
    /// Exit code 0 when every check holds, 1 when one does not, 2 when the calls could not be made.
    #[command(after_help = "Example: trunkline eval config/eval/bistro.toml")]
    Eval(EvalArgs),
    /// Score the recording of a call: response gaps, time to yield, talk-over.
    #[command(after_help = "Example: trunkline score recording.wav --report json")]
    Score(ScoreArgs),
    /// Look for what would keep calls from working: ports, addresses, limits, providers, trunks.
    ///
    /// Places no call and touches nothing of a running server. Exit code 0 when nothing is wrong, 1 when something is,
    /// 2 when the configuration cannot be read.
    #[command(after_help = "Example: trunkline doctor --config config/server.toml")]
    Doctor(DoctorArgs),
    /// Check a configuration file and everything it names.
    #[command(after_help = "Example: trunkline check-config --config config/server.toml")]
    CheckConfig(ServeArgs),
    /// Print the configuration in force, or the reference of every key.
    #[command(after_help = "Example: trunkline print-config --reference")]
    PrintConfig(PrintArgs),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example: trunkline completions bash > /etc/bash_completion.d/trunkline"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CallsCommand {
    /// Show a call and draw its SIP messages as a ladder.
    #[command(
        after_help = "Example: trunkline calls show 0198c9a2-7f4e-7b1c-9d3e-2f5a6b7c8d9e --pcap call.pcap"
    )]
    Show(ShowCallArgs),
}

/// Which server, and how it knows us.
#[derive(Debug, clap::Args)]
pub(super) struct ApiArgs {
    /// HTTP API of the server.
    #[arg(long, env = "TRUNKLINE_API", default_value = "http://127.0.0.1:8080")]
    pub(super) api: String,
    /// Key of that API.
    #[arg(long, env = "TRUNKLINE_API_KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowCallArgs {
    /// Identifier of the call.
    pub(super) id: String,
    #[command(flatten)]
    pub(super) api: ApiArgs,
    /// Print each message below its arrow.
    #[arg(long)]
    pub(super) messages: bool,
    /// Print the messages as JSON instead.
    #[arg(long)]
    pub(super) json: bool,
    /// Write the messages to a capture file instead, for Wireshark and tshark.
    #[arg(long)]
    pub(super) pcap: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Configuration file (TOML).
    #[arg(long, short, env = "TRUNKLINE_CONFIG")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Configuration file (TOML).
    #[arg(long, short, env = "TRUNKLINE_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Print one JSON object instead.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct PrintArgs {
    /// Configuration file (TOML).
    #[arg(long, short, env = "TRUNKLINE_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Print every key with its default and meaning instead.
    #[arg(long)]
    pub(super) reference: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Directory for the recording and the call's record.
    #[arg(long, default_value = "demo-out")]
    pub(super) out: PathBuf,
    /// Print one JSON object instead of the pictures.
    #[arg(long)]
    pub(super) json: bool,
    /// What the caller says, one WAV file a turn; else the utterances that are built in.
    #[arg(long)]
    pub(super) wav: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    /// SIP URI, for example `sip:demo@127.0.0.1`.
    pub(super) uri: String,
    /// What the caller says, one WAV file a turn.
    #[arg(long)]
    pub(super) wav: Vec<PathBuf>,
    /// Stereo recording of both sides: caller left, agent right.
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Print one JSON object at the end.
    #[arg(long)]
    pub(super) json: bool,
    /// HTTP API of the server, for transcript and latency.
    #[arg(long, env = "TRUNKLINE_API")]
    pub(super) api: Option<String>,
    /// Key of that API.
    #[arg(long, env = "TRUNKLINE_API_KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
    /// Call over TCP.
    #[arg(long)]
    pub(super) tcp: bool,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ReportFormat {
    /// For people.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

#[derive(Debug, clap::Args)]
pub(super) struct EvalArgs {
    /// Scenario file (TOML).
    pub(super) file: PathBuf,
    /// What the report looks like.
    #[arg(long, value_enum, default_value_t)]
    pub(super) report: ReportFormat,
    /// Write the report to a file instead.
    #[arg(long)]
    pub(super) output: Option<PathBuf>,
    /// Only callers whose names hold this.
    #[arg(long)]
    pub(super) only: Vec<String>,
    /// Calls at once, instead of the file's.
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=32))]
    pub(super) parallel: Option<usize>,
    /// Keep the stereo recordings in this directory: caller left, agent right, as the caller heard it.
    #[arg(long)]
    pub(super) recordings: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ScoreArgs {
    /// Stereo WAV file, 16-bit PCM: caller left, agent right.
    pub(super) file: PathBuf,
    /// What the report looks like.
    #[arg(long, value_enum, default_value_t)]
    pub(super) report: ReportFormat,
}
