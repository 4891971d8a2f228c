//! `ledgerline hold`: what must not go, whatever its retention.

use super::Failure;
use super::archive::Archive;
use super::arguments::Faults;
use crate::clock::SystemClock;
use crate::config::archive::AccessSettings;
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
    ///
    /// In S3 the hold is on every version of every object of the class, also of what a delete marker hides. The ledger does not know which classes there are: with
    /// --archive it is said where nothing is in this one.
    Set {
        #[arg(value_name = "CLASS")]
        class: String,
        /// The archive, which is asked whether anything is in the class: a directory, `file:DIR`, or `s3://BUCKET/PREFIX`
        #[arg(long, env = "LEDGERLINE_ARCHIVE", value_name = "URL")]
        archive: Option<String>,
        #[command(flatten)]
        access: AccessSettings,
        /// Declare it although the clock is more than 24 hours ahead of the last leaf: for a ledger that was idle or down for longer, with a clock that is right
        #[arg(long, env = "LEDGERLINE_ACCEPT_CLOCK_JUMP", value_parser = clap::builder::BoolishValueParser::new())]
        accept_clock_jump: bool,
    },
    /// Hold it no more: its retention counts again. A class that is not held is told of, and left as it is
    Release {
        #[arg(value_name = "CLASS")]
        class: String,
        /// Declare it although the clock is more than 24 hours ahead of the last leaf: for a ledger that was idle or down for longer, with a clock that is right
        #[arg(long, env = "LEDGERLINE_ACCEPT_CLOCK_JUMP", value_parser = clap::builder::BoolishValueParser::new())]
        accept_clock_jump: bool,
    },
    /// A line for each class that is held, or whose release is not done yet
    List,
}

/// # Errors
/// `Usage` for what is no class, `Invalid` where there is no ledger yet, `Unreadable` where the log fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (config, archive) = check(args)?;
    let runtime = super::runtime()?;
    let said = runtime.block_on(async {
        let log = service::open_log_that_exists(&config.log)
            .await
            .map_err(|error| super::failure(&error))?;
        let outcome = match &args.command {
            Command::Set {
                class,
                accept_clock_jump,
                ..
            } => declare(log.as_ref(), class, true, *accept_clock_jump)
                .await
                .map(Said::Declared),
            Command::Release {
                class,
                accept_clock_jump,
            } => declare(log.as_ref(), class, false, *accept_clock_jump)
                .await
                .map(Said::Declared),
            Command::List => list(log.as_ref(), args.json).await.map(Said::Listed),
        };
        drop(log.close().await);
        outcome
    })?;
    let text = match said {
        Said::Listed(text) => text,
        Said::Declared(declared) => {
            let in_archive = archive.and_then(|archive| declared.is_in(&archive));
            if let Some(warning) = declared.warning(in_archive) {
                eprintln!("ledgerline: {warning}");
            }
            declared.said(in_archive, args.json)
        }
    };
    super::print(text.as_bytes())
}

enum Said {
    Declared(Declared),
    Listed(String),
}

fn check(args: &Args) -> Result<(InputConfig, Option<Archive>), Failure> {
    let mut faults = Faults::default();
    let settings = Settings {
        log: args.log.clone(),
        ..Settings::default()
    };
    let config = faults.settings(settings.check_input());
    let (class, archive) = match &args.command {
        Command::Set {
            class,
            archive,
            access,
            accept_clock_jump: _,
        } => {
            let archive = archive.as_deref();
            (
                Some(class),
                archive.map(|text| Archive::parse(text, access, &mut faults)),
            )
        }
        Command::Release { class, .. } => (Some(class), None),
        Command::List => (None, None),
    };
    if let Some(class) = class.filter(|class| !names::is_class(class)) {
        faults.add(format!(
            "CLASS {class:?} must be 1 to 63 of the characters a-z 0-9 -, not beginning with -"
        ));
    }
    Ok((faults.done_with(config)?, archive))
}

/// What was declared of a class.
struct Declared {
    class: String,
    on: bool,
    /// Of each partition the leaf; `None` where the ledger said so already.
    leaves: BTreeMap<u32, Option<u64>>,
    origins: Vec<String>,
}

async fn declare(log: &dyn Log, class: &str, on: bool, accept_clock_jump: bool) -> Result<Declared, Failure> {
    let mut random = service::os_random();
    let mut declared = Declared {
        class: class.to_owned(),
        on,
        leaves: BTreeMap::new(),
        origins: Vec::new(),
    };
    for config in partitions(log).await? {
        let index = declare_hold(
            log,
            &SystemClock,
            &mut random,
            &config,
            class,
            on,
            accept_clock_jump,
        )
        .await
        .map_err(refused)?;
        declared.leaves.insert(config.partition, index);
        declared.origins.push(config.origin);
    }
    Ok(declared)
}

impl Declared {
    /// Whether anything of the archive is in the class; `None` where the archive cannot be read, which is told.
    fn is_in(&self, archive: &Archive) -> Option<bool> {
        let look = || -> Result<bool, Failure> {
            let source = archive.open()?;
            for origin in &self.origins {
                let names = source.list(&format!("{origin}/class={}/", self.class));
                let mut names = names.map_err(|error| super::failure(&error))?;
                if let Some(name) = names.next() {
                    name.map_err(|error| super::failure(&error))?;
                    return Ok(true);
                }
            }
            Ok(false)
        };
        look()
            .map_err(|failure| {
                eprintln!(
                    "ledgerline: {}: whether anything is in the class was not seen",
                    failure.message
                );
            })
            .ok()
    }

    fn is_news(&self) -> bool {
        self.leaves.values().any(Option::is_some)
    }

    fn warning(&self, in_archive: Option<bool>) -> Option<String> {
        let class = &self.class;
        match (self.on, in_archive) {
            (true, Some(false)) => Some(format!(
                "nothing in the archive is in the class {class}: it is held from its first object on; where another class was meant, hold that one, and end this with \
                 `ledgerline hold release {class}`"
            )),
            (true, Some(true) | None) => None,
            (false, _) if self.is_news() => None,
            (false, _) => Some(format!(
                "the class {class} was not held, in no partition: nothing is released; `ledgerline hold list` says which are held"
            )),
        }
    }

    fn said(&self, in_archive: Option<bool>, json: bool) -> String {
        let Self {
            class, on, leaves, ..
        } = self;
        if json {
            return format!(
                "{}\n",
                serde_json::json!({ "class": class, "on": on, "leaves": leaves, "in_archive": in_archive })
            );
        }
        let said = if *on { "is held" } else { "is held no more" };
        let partition = |(partition, index): (&u32, &Option<u64>)| match (index, on) {
            (Some(index), _) => format!("partition {partition}: leaf {index} says that {class} {said}\n"),
            (None, true) => format!("partition {partition}: it was said before that {class} is held\n"),
            (None, false) => format!("partition {partition}: {class} was not held\n"),
        };
        let mut text: String = leaves.iter().map(partition).collect();
        if *on && in_archive.is_none() {
            text.push_str("Whether anything is in the class was not looked at: with --archive it is.\n");
        }
        if self.is_news() {
            text.push_str("`ledgerline run` tells the archive, from the next cut on; `ledgerline hold list` says how far it is.\n");
        }
        text
    }
}

fn refused(error: HoldRefused) -> Failure {
    match error {
        HoldRefused::Stage(error) => super::failure(&error),
        HoldRefused::NeverSealed { .. } | HoldRefused::TooMany => Failure::invalid(error.to_string()),
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
