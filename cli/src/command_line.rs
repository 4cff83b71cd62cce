//! Reads the command line, and says what is wrong with one.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, RELAY_VARIABLE};
use crate::error::{CliError, Code};
use crate::output::Output;

/// An argument may be long; what is said of it is cut at this many characters.
const MAX_MESSAGE: usize = 1000;

/// # Errors
/// It makes no sense, or asks for help.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    // As with other variables, one that is empty is none.
    if std::env::var_os(RELAY_VARIABLE).is_some_and(|url| url.is_empty()) {
        command = without_variable(command);
    }
    let mut matches = command.clone().try_get_matches_from(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

fn without_variable(command: Command) -> Command {
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if name == RELAY_VARIABLE => argument.env(Resettable::Reset),
        _ => argument,
    });
    command.mut_subcommands(without_variable)
}

/// clap prints help and versions; a mistake becomes one line, or an event for those who asked for JSON.
pub(crate) fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // A closed pipe is no failure.
        let _ = error.print();
        let asked = error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(Code::Usage.exit_code()) };
    }
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let begins = |option: &str| {
        arguments.iter().any(|argument| argument.as_encoded_bytes().starts_with(option.as_bytes()))
    };
    let more = page(arguments.iter().skip(1).map(OsString::as_os_str));
    let error = CliError::usage(format!("{} ({more})", message(error, arguments, begins("--relay"))));
    // Stdout is not for events where it carries a stream.
    let output = Output::new(has("--json"), begins("-W"));
    output.error(&error);
    output.flush();
    ExitCode::from(error.code.exit_code())
}

fn message(error: &clap::Error, arguments: &[OsString], has_relay: bool) -> String {
    let text = error.to_string();
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // What follows repeats the line before in other words.
        if ["Usage:", "tip:", "For more information"].iter().any(|start| line.starts_with(start)) {
            break;
        }
        lines.push(line.strip_prefix("error: ").unwrap_or(line));
    }
    let mut message = shortened(&lines.join(" "));
    if let Some(meant) = suggestion(error) {
        message.push_str(&format!("; did you mean {meant}?"));
    }
    let strange = arguments.iter().find(|argument| argument.to_str().is_none());
    if let (ErrorKind::InvalidUtf8, Some(strange)) = (error.kind(), strange) {
        message.push_str(&format!(": {:?}", shortened(&strange.to_string_lossy())));
    }
    if error.kind() == ErrorKind::ArgumentConflict && message.contains("--relay") && !has_relay {
        message.push_str(&format!(
            "; --relay comes from the environment variable {RELAY_VARIABLE}, unset it or leave it empty"
        ));
    }
    message
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Where more is said about the command that was meant.
fn page<'a>(arguments: impl Iterator<Item = &'a OsStr>) -> String {
    let (root, mut name) = (Cli::command(), "adit".to_owned());
    let mut command = &root;
    // Others may have a value, which may be called as a command is.
    let is_common =
        |argument: &&str| ["--json", "--verbose"].contains(argument) || argument.starts_with("-v");
    for argument in arguments.map_while(OsStr::to_str).filter(|argument| !is_common(argument)) {
        let Some(found) = command.find_subcommand(argument) else { break };
        name = format!("{name} {}", found.get_name());
        command = found;
    }
    format!("`{name} --help` tells more")
}

/// What looks like the word that clap does not know.
fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(name) => Some(name.clone()),
        ContextValue::Strings(names) if !names.is_empty() => Some(names.join(" or ")),
        _ => None,
    })
}
