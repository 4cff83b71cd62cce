//! `adit completions` and `adit man`: the command line as shells and `man` want to read it.

use std::io;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::{CliError, Code};
use crate::output::{self, Output};

/// Prints what a shell reads to complete Adit's command lines.
///
/// # Errors
/// Stdout is closed, or a script wants to read JSON there.
pub(crate) fn completions(shell: Shell, output: &Output) -> Result<(), CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "adit", &mut text);
    print(&text, output)
}

/// Prints a manual page: of `adit`, or of the command that is reached by these names.
///
/// # Errors
/// There is no such command; and those of [`completions`].
pub(crate) fn man(names: &[String], output: &Output) -> Result<(), CliError> {
    let mut root = Cli::command();
    // Only then commands know what they are called in full.
    root.build();
    let mut command = &root;
    for name in names {
        command = command.find_subcommand(name).ok_or_else(|| {
            CliError::usage(format!(
                "{name:?} is no command; `{} --help` lists those that are",
                command.get_bin_name().unwrap_or("adit")
            ))
        })?;
    }
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone()).source(concat!("adit ", env!("CARGO_PKG_VERSION")));
    page.render(&mut text).map_err(|error: io::Error| {
        CliError::new(Code::Internal, format!("cannot write the page: {error}"))
    })?;
    print(&text, output)
}

fn print(text: &[u8], output: &Output) -> Result<(), CliError> {
    if output.is_json() {
        return Err(CliError::usage("this is no JSON; leave --json out"));
    }
    output::print(text)
}
