//! `ledgerline hold`: what must not go, whatever its retention.

use super::Failure;
use super::arguments::Faults;
use crate::clock::SystemClock;
use crate::config::{InputConfig, Settings};
use crate::ledger::names;
use crate::log::{Log, topic};
use crate::service;
use crate::stages::archive::{HoldProgress, hold_progress};
use crate::stages::restore::{Follower, PartitionConfig, ledger_name};
use crate::stages::seal::{HoldRefused, declare_hold};
use std::collections::BTreeMap;

/// Hold archive classes: what is in them stays in the archive, whatever its retention, until the hold is released
///
/// A hold is a leaf in every partition, for ever. `ledgerline run` finds it: what it archives from then on is held, and then, object by object, what is there
/// already; `hold list` says how far that is. Only an archive in S3 can hold: a directory keeps nothing from its owner.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Where the log lies: sqlite:PATH, or kafka://HOST:PORT,../?NAME=VALUE&..
    #[arg(long, value_name = "URL", global = true, env = "LEDGERLINE_LOG")]
    log: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Hold a class
    Set(Declare),
    /// Hold it no more: its retention counts again
    Release(Declare),
    /// A line for each class that is held, or whose release is not done yet
    List,
}

#[derive(Debug, clap::Args)]
struct Declare {
    #[arg(value_name = "CLASS")]
    class: String,
    /// Declare it although the clock is more than 24 hours ahead of the last leaf: for a ledger that was idle or down for longer, with a clock that is right
    #[arg(long, env = "LEDGERLINE_ACCEPT_CLOCK_JUMP", value_parser = clap::builder::BoolishValueParser::new())]
    accept_clock_jump: bool,
}

/// # Errors
/// `Usage` for what is no class, `Invalid` where there is no ledger yet, `Unreadable` where the log fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = check(args)?;
    let runtime = super::runtime()?;
    let text = runtime.block_on(async {
        let log = service::open_log_that_exists(&config.log)
            .await
            .map_err(|error| super::failure(&error))?;
        let outcome = match &args.command {
            Command::Set(said) => declare(log.as_ref(), said, true, args.json).await,
            Command::Release(said) => declare(log.as_ref(), said, false, args.json).await,
            Command::List => list(log.as_ref(), args.json).await,
        };
        drop(log.close().await);
        outcome
    })?;
    super::print(text.as_bytes())
}

fn check(args: &Args) -> Result<InputConfig, Failure> {
    let mut faults = Faults::default();
    let settings = Settings {
        log: args.log.clone(),
        ..Settings::default()
    };
    let config = faults.settings(settings.check_input());
    match &args.command {
        Command::Set(said) | Command::Release(said) if !names::is_class(&said.class) => faults.add(format!(
            "CLASS {:?} must be 1 to 63 of the characters a-z 0-9 -, not beginning with -",
            said.class
        )),
        Command::Set(_) | Command::Release(_) | Command::List => {}
    }
    faults.done_with(config)
}

async fn declare(log: &dyn Log, said: &Declare, on: bool, json: bool) -> Result<String, Failure> {
    let class = &said.class;
    let mut random = service::os_random();
    let mut indexes = BTreeMap::new();
    for config in partitions(log).await? {
        let index = declare_hold(
            log,
            &SystemClock,
            &mut random,
            &config,
            class,
            on,
            said.accept_clock_jump,
        )
        .await
        .map_err(refused)?;
        indexes.insert(config.partition, index);
    }
    Ok(declared(class, on, &indexes, json))
}

fn declared(class: &str, on: bool, indexes: &BTreeMap<u32, Option<u64>>, json: bool) -> String {
    if json {
        return format!(
            "{}\n",
            serde_json::json!({ "class": class, "on": on, "leaves": indexes })
        );
    }
    let said = if on { "is held" } else { "is held no more" };
    let partition = |(partition, index): (&u32, &Option<u64>)| match index {
        Some(index) => format!("partition {partition}: leaf {index} says that {class} {said}\n"),
        None => format!("partition {partition}: it was said before that {class} {said}\n"),
    };
    let lines: String = indexes.iter().map(partition).collect();
    lines
        + "`ledgerline run` tells the archive, from the next cut on; `ledgerline hold list` says how far it is.\n"
}

fn refused(error: HoldRefused) -> Failure {
    match error {
        HoldRefused::Stage(error) => super::failure(&error),
        HoldRefused::NeverSealed { .. } => Failure::invalid(error.to_string()),
        HoldRefused::Contended => Failure::unreadable(error.to_string()),
    }
}

/// How one class stands in one partition.
struct Row {
    class: String,
    partition: u32,
    /// What the ledger says.
    on: bool,
    /// What is still to be told to the archive.
    pending: Option<String>,
}

async fn list(log: &dyn Log, json: bool) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for config in partitions(log).await? {
        let unreadable = |error| super::failure(&error);
        let mut follower = Follower::restore(log, &config).await.map_err(unreadable)?;
        follower.catch_up(log, None).await.map_err(unreadable)?;
        let progress = hold_progress(log, config.partition)
            .await
            .map_err(|error| super::failure(&error))?;
        rows.extend(rows_of(config.partition, follower.state.holds, &progress));
    }
    if json {
        let row = |row: &Row| serde_json::json!({ "class": row.class, "partition": row.partition, "on": row.on, "pending": row.pending });
        return Ok(format!(
            "{}\n",
            serde_json::json!({ "holds": rows.iter().map(row).collect::<Vec<_>>() })
        ));
    }
    Ok(table(&rows))
}

fn rows_of(partition: u32, held: std::collections::BTreeSet<String>, progress: &HoldProgress) -> Vec<Row> {
    let mut rows: Vec<Row> = held
        .into_iter()
        .map(|class| Row {
            // Not heard of by the archiver: it comes with the next cut.
            pending: (!progress.holds.contains(&class)).then(|| "from the next cut on".to_owned()),
            class,
            partition,
            on: true,
        })
        .collect();
    for change in &progress.changes {
        let after = change.after.as_deref().unwrap_or("the beginning");
        let pending = Some(format!("told up to {after}"));
        match rows.iter_mut().find(|row| row.class == change.class) {
            Some(row) => row.pending = pending,
            None => rows.push(Row {
                class: change.class.clone(),
                partition,
                on: false,
                pending,
            }),
        }
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.class.len()).max().unwrap_or(0).max(5);
    let row = |row: &Row| {
        let on = if row.on { "held" } else { "released" };
        let archive = row.pending.as_deref().unwrap_or("told");
        format!(
            "{:<width$}  {:>9}  {on:<8}  {archive}\n",
            row.class, row.partition
        )
    };
    let header = format!(
        "{:<width$}  {:>9}  {:<8}  ARCHIVE\n",
        "CLASS", "PARTITION", "LEDGER"
    );
    header + &rows.iter().map(row).collect::<String>()
}

/// All partitions of the ledger.
async fn partitions(log: &dyn Log) -> Result<Vec<PartitionConfig>, Failure> {
    let name = ledger_name(log)
        .await
        .map_err(|error| super::failure(&error))?
        .ok_or_else(|| Failure::invalid("the log holds no ledger yet: there is nothing to hold"))?;
    let count = log
        .partitions(topic::LEDGER_ENTRIES)
        .await
        .map_err(|error| super::failure(&error))?;
    Ok((0..count)
        .map(|partition| PartitionConfig::to_look(&name, partition))
        .collect())
}
