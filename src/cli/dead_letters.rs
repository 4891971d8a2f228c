//! `ledgerline dead-letters`: what was rejected, and sending it again.

mod list;
mod replay;
mod select;

use super::Failure;
use super::arguments::Faults;
use crate::config::{InputConfig, Settings};
use crate::log::Log;
use crate::service;
use std::sync::Arc;

/// See what was rejected, and send it again once it can be sealed
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Replay(replay::Args),
}

/// Where the log is, and what an event may be.
#[derive(Debug, clap::Args)]
struct Place {
    /// Where the log lies: sqlite:PATH, or kafka://HOST:PORT,../?NAME=VALUE&..
    #[arg(long, value_name = "URL", env = "LEDGERLINE_LOG")]
    log: Option<String>,
}

impl Place {
    fn check(&self, event_bytes_max: Option<String>, faults: &mut Faults) -> Option<InputConfig> {
        let settings = Settings {
            log: self.log.clone(),
            event_bytes_max,
            ..Settings::default()
        };
        faults.settings(settings.check_input())
    }
}

/// # Errors
/// `Usage` for arguments that are wrong, `Invalid` where a letter that was asked for is not there, `Unreadable` where the log fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let runtime = super::runtime()?;
    match &args.command {
        Command::List(args) => runtime.block_on(list::run(args)),
        Command::Replay(args) => runtime.block_on(Box::pin(replay::run(args))),
    }
}

/// The log, which must be there: looking at letters makes none.
async fn open(config: &InputConfig) -> Result<Arc<dyn Log>, Failure> {
    service::open_log_that_exists(&config.log)
        .await
        .map_err(|error| super::failure(&error))
}
