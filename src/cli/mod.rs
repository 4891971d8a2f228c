//! The command line: one file per command. Commands parse, call and print; they decide nothing.

pub mod archive;
mod arguments;
pub mod canonical;
pub mod connectors;
pub mod dead_letters;
pub mod demo;
pub mod doctor;
pub mod hold;
pub mod import;
mod index;
pub mod ingest;
pub mod keys;
mod keys_api;
mod openapi;
pub mod parquet;
mod postgres;
pub mod proof;
pub mod restore;
pub mod run;
pub mod scrub;
pub mod sources;
mod tenants;
pub mod topics;
pub mod verify;
pub mod verify_proof;

use crate::config::Fault;
use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Chain, sign, archive and verify audit events.
#[derive(Debug, Parser)]
#[command(name = "ledgerline", version, long_about = None, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Ingest(ingest::Args),
    Import(import::Args),
    Run(Box<run::Args>),
    Doctor(Box<doctor::Args>),
    Verify(verify::Args),
    Scrub(Box<scrub::Args>),
    Proof(proof::Args),
    VerifyProof(verify_proof::Args),
    Restore(restore::Args),
    Parquet(parquet::Args),
    Canonical(canonical::Args),
    Keys(keys::Args),
    KeysApi(keys_api::Args),
    Tenants(tenants::Args),
    Topics(topics::Args),
    Sources(sources::Args),
    Hold(hold::Args),
    Index(index::Args),
    DeadLetters(dead_letters::Args),
    Connectors(connectors::Args),
    Openapi(openapi::Args),
}

/// How a command ends when it did not do what it was asked. Success is exit status 0.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// For a person: what happened, where, and what to do. Goes to standard error.
    pub message: String,
}

/// Exit statuses, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 1: the thing looked at is not good: an invalid archive or proof, a refused value.
    Invalid,
    /// 2: usage or configuration.
    Usage,
    /// 3: something could not be read, written or reached.
    Unreadable,
}

impl Failure {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Invalid,
            message: message.into(),
        }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.into(),
        }
    }

    pub fn unreadable(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unreadable,
            message: message.into(),
        }
    }
}

/// Writes a command's result to standard output. A reader that has gone, as `head` does, has what it wanted: no failure.
///
/// # Errors
/// `Unreadable` where it cannot be written: a full disk, say.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::unreadable(format!(
            "standard output cannot be written: {error}"
        ))),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Threads for what waits for logs and networks.
///
/// # Errors
/// `Unreadable` where the system gives none.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unreadable(format!("cannot start threads: {error}")))
}

/// A bar on a terminal, nothing elsewhere; a spinner where `length` is not known. `template` is indicatif's.
fn progress_bar(length: Option<u64>, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What an error of the service's parts means here: a setting that does not fit what is there is `Usage`, all else `Unreadable`.
fn failure(error: &(dyn Error + 'static)) -> Failure {
    match setting_at_fault(error) {
        Some(fault) => Failure::usage(fault.to_string()),
        None => Failure::unreadable(chain(error)),
    }
}

/// The setting that an error was caused by.
fn setting_at_fault<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Fault> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref() {
            return Some(fault);
        }
        next = error.source();
    }
    None
}

/// The command line as it is parsed. A variable that is set to nothing counts as unset: `X: ${X:-}` in a compose file makes such.
fn command() -> clap::Command {
    fn without_empty_variables(command: clap::Command) -> clap::Command {
        let is_empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
        command
            .mut_args(|arg| match arg.get_env() {
                Some(name) if is_empty(name) => arg.env(Resettable::<clap::builder::OsStr>::Reset),
                Some(_) | None => arg,
            })
            .mut_subcommands(without_empty_variables)
    }
    without_empty_variables(Cli::command())
}

fn parse() -> Cli {
    let mut command = command();
    let mut matches = command.get_matches_mut();
    match Cli::from_arg_matches_mut(&mut matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut command).exit(),
    }
}

/// An error with everything that it was caused by, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Errors that quote their cause are not said twice.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Parses the command line, runs the command, and reports a failure as `ledgerline: ...` on standard error.
#[must_use]
pub fn main() -> ExitCode {
    let cli = parse();
    let outcome = match &cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Ingest(args) => ingest::run(args),
        Command::Import(args) => import::run(args),
        Command::Run(args) => run::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Scrub(args) => scrub::run(args),
        Command::Proof(args) => proof::run(args),
        Command::VerifyProof(args) => verify_proof::run(args),
        Command::Restore(args) => restore::run(args),
        Command::Parquet(args) => parquet::run(args),
        Command::Canonical(args) => canonical::run(args),
        Command::Keys(args) => keys::run(args),
        Command::KeysApi(args) => keys_api::run(args),
        Command::Tenants(args) => tenants::run(args),
        Command::Topics(args) => topics::run(args),
        Command::Sources(args) => sources::run(args),
        Command::Hold(args) => hold::run(args),
        Command::Index(args) => index::run(args),
        Command::DeadLetters(args) => dead_letters::run(args),
        Command::Connectors(args) => connectors::run(args),
        Command::Openapi(args) => openapi::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                // Where standard error is gone, the exit status still says it.
                drop(writeln!(io::stderr(), "ledgerline: {}", failure.message));
            }
            ExitCode::from(match failure.exit {
                Exit::Invalid => 1,
                Exit::Usage => 2,
                Exit::Unreadable => 3,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(command: &clap::Command, found: &mut Vec<String>) {
        let may_hold_password = |name: &str| {
            name.ends_with("_DATABASE")
                || name.ends_with("_IMPORT_URL")
                || name.ends_with("_CONNECT")
                || name.ends_with("_REGISTRY")
        };
        for arg in command.get_arguments() {
            let name = arg.get_env().and_then(|name| name.to_str());
            if name.is_some_and(may_hold_password) && !arg.is_hide_env_values_set() {
                found.push(format!("{} {}", command.get_name(), arg.get_id()));
            }
        }
        for command in command.get_subcommands() {
            shown(command, found);
        }
    }

    #[test]
    fn help_shows_no_value_of_a_variable_that_may_hold_a_password() {
        let mut found = Vec::new();
        shown(&command(), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
