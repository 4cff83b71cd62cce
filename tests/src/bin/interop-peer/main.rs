//! A driver for pairing Dev Tunnels SSH implementations: one command line and one set of text markers, as the drivers of
//! the others have them.
//!
//! `interop-peer <server|client> <port> <kex> <pk> <enc> <mac> [mode] [extra]`
//!
//! Markers are lines on stdout, errors go to stderr. The exit code is 0 when the last marker of the mode was printed.

mod arguments;
mod auth;
mod client;
mod server;
mod session_ends;

use std::io::Write as _;
use std::process::ExitCode;

use arguments::{Arguments, Side};

/// What goes wrong in a driver is told as text and ends it.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => match arguments.side {
            Side::Server => server::run(&arguments).await,
            Side::Client => client::run(&arguments).await,
        },
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a marker at once.
fn mark(marker: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    // Nobody reads it any more: then nobody waits for it either.
    let _ = writeln!(stdout, "{marker}").and_then(|()| stdout.flush());
}
