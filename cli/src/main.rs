//! The `adit` command.
#![forbid(unsafe_code)]

mod args;
mod command_line;
mod commands;
mod error;
mod lines;
mod output;
mod signals;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::Command;
use crate::commands::relay::AuditLog;
use crate::error::{CliError, Code};
use crate::output::{Event, Log, Output};

/// glibc's allocator keeps whatever its arenas once held: after a burst of sessions `serve` stayed as large as it had been.
/// This one gives back what has been free for ten seconds, by a thread of its own, so that it needs no traffic for it.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Starts up, runs the command, and turns its end into an exit code; see [`Code`] for the table.
fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match command_line::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return command_line::refuse(&error, &arguments),
    };
    disable_core_dumps();
    let stdio = match &cli.command {
        Command::Forward(args) => args.stdio.is_some(),
        Command::Connect(args) => args.stdio.is_some(),
        _ => false,
    };
    let output = Output::new(cli.json, stdio);
    let audit = match &cli.command {
        Command::Relay(args) => match AuditLog::open(&args.log, &output) {
            Ok(log) => Some(log),
            Err(error) => {
                output.error(&error);
                output.flush();
                return ExitCode::from(error.code.exit_code());
            }
        },
        _ => None,
    };
    start_log(cli.verbose, &output, audit);
    let ended = runtime().and_then(|runtime| {
        let ended = runtime.block_on(run(cli.command, &output));
        // A thread that waits for somebody to type must not hold up the end.
        runtime.shutdown_background();
        ended
    });
    let code = match ended {
        Ok(ended) => {
            if let Some(reason) = ended.reason() {
                output.event(&Event::Closed { reason });
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.code.exit_code())
        }
    };
    output.flush();
    code
}

/// How a command ends that succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// What was to be done is done, and there is nothing to say about it.
    Done,
    /// What runs until it is told to end has ended for this reason.
    Closed(&'static str),
}

impl Ended {
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Done => None,
            Self::Closed(reason) => Some(reason),
        }
    }
}

async fn run(command: Command, output: &Output) -> Result<Ended, CliError> {
    match command {
        Command::Host(args) => commands::host::run(*args, output).await,
        Command::Connect(args) => commands::connect::run(*args, output).await,
        Command::Forward(args) => commands::forward::run(*args, output).await,
        Command::Serve(args) => commands::serve::run(*args, output).await,
        Command::HashPassword => commands::hash_password::run(output).map(|()| Ended::Done),
        Command::Relay(args) => commands::relay::run(*args, output).await,
        Command::Tunnel(args) => commands::tunnel::run(args.action, output).await.map(|()| Ended::Done),
        Command::Token(args) => commands::token::run(args.action, output).await.map(|()| Ended::Done),
        Command::Keygen(args) => commands::keygen::run(&args, output).map(|()| Ended::Done),
        Command::Completions { shell } => {
            commands::shell_help::completions(shell, output).map(|()| Ended::Done)
        }
        Command::Man { command } => commands::shell_help::man(&command, output).map(|()| Ended::Done),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    // One thread: a session's tasks then wake each other without a system call. `serve` starts more of these.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::new(Code::Internal, format!("cannot start the runtime: {error}")))
}

/// Silent unless asked for, except for what a relay takes down: events and errors go another way.
fn start_log(verbose: u8, output: &Output, audit: Option<AuditLog>) {
    let by_count = match verbose {
        0 => "off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = std::env::var("ADIT_LOG").unwrap_or_else(|_| by_count.into());
    let output = output.clone();
    let has_audit = audit.is_some();
    let is_colourful =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let people = tracing_subscriber::fmt::layer()
        .with_writer(move || Log(output.clone()))
        .with_ansi(is_colourful)
        .with_filter(tracing_subscriber::EnvFilter::new(filter))
        // What is taken down is not said twice.
        .with_filter(filter_fn(move |metadata| !has_audit || !AuditLog::takes(metadata)));
    let audit = audit.map(|audit| {
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_ansi(false);
        lines.with_writer(audit).with_filter(filter_fn(AuditLog::takes))
    });
    // The WebSocket library writes payloads and tokens into its log, whatever is asked for elsewhere.
    let unsafe_targets = ["tungstenite", "tokio_tungstenite"];
    let is_safe = filter_fn(move |metadata| {
        let crate_name = metadata.target().split("::").next().unwrap_or_default();
        !unsafe_targets.contains(&crate_name)
    });
    tracing_subscriber::registry().with(is_safe).with(people).with(audit).init();
}

/// Keys and passwords are in memory; they are not to end up in a file.
fn disable_core_dumps() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        if let Err(error) = setrlimit(Resource::Core, none) {
            tracing::debug!(%error, "core dumps stay enabled");
        }
    }
}
