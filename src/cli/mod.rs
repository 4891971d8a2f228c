//! The command line: one file per command. Commands parse, call and print; they decide nothing.

pub mod canonical;
pub mod demo;
pub mod ingest;
pub mod keys;
pub mod proof;
pub mod run;
pub mod topics;
pub mod verify;
pub mod verify_proof;

use clap::{Parser, Subcommand};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Chains, signs, archives and verifies audit events.
#[derive(Debug, Parser)]
#[command(name = "ledgerline", version, about, long_about = None, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Ingest(ingest::Args),
    Run(Box<run::Args>),
    Verify(verify::Args),
    Proof(proof::Args),
    VerifyProof(verify_proof::Args),
    Canonical(canonical::Args),
    Keys(keys::Args),
    Topics(topics::Args),
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

/// An error with everything that it was caused by, in one line.
fn chain(error: &dyn std::error::Error) -> String {
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
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Ingest(args) => ingest::run(args),
        Command::Run(args) => run::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Proof(args) => proof::run(args),
        Command::VerifyProof(args) => verify_proof::run(args),
        Command::Canonical(args) => canonical::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Topics(args) => topics::run(args),
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
