//! `ledgerline dead-letters`: what was rejected, and sending it again.

mod list;
mod replay;
mod select;

use super::Failure;
use super::arguments::Faults;
use crate::config::{InputConfig, LogConfig, Settings};
use crate::log::embedded::EmbeddedLog;
use crate::log::kafka::KafkaLog;
use crate::log::{Log, LogError};
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
        match settings.check_input() {
            Ok(config) => Some(config),
            Err(wrong) => {
                for fault in wrong {
                    faults.add(fault.to_string());
                }
                None
            }
        }
    }
}

/// # Errors
/// `Usage` for arguments that are wrong, `Invalid` where a letter that was asked for is not there, `Unreadable` where the log fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unreadable(format!("cannot start threads: {error}")))?;
    match &args.command {
        Command::List(args) => runtime.block_on(list::run(args)),
        Command::Replay(args) => runtime.block_on(Box::pin(replay::run(args))),
    }
}

/// The log, which must be there: looking at letters makes none.
async fn open(config: &InputConfig) -> Result<Arc<dyn Log>, Failure> {
    let opened: Result<Arc<dyn Log>, LogError> = match &config.log {
        LogConfig::Embedded(path) if !path.exists() => {
            return Err(Failure::usage(format!(
                "--log (or LEDGERLINE_LOG): there is no log at {}",
                path.display()
            )));
        }
        LogConfig::Embedded(path) => EmbeddedLog::open_existing(path)
            .await
            .map(|log| Arc::new(log) as Arc<dyn Log>),
        LogConfig::Kafka(config) => Ok(Arc::new(KafkaLog::new(config.as_ref().clone(), None))),
    };
    opened.map_err(|error| super::failure(&error))
}
