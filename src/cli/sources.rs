//! `ledgerline sources`: what is sealed of each source, and what its offsets mean.

mod captured;

use super::Failure;
use super::arguments::Faults;
use crate::clock::SystemClock;
use crate::config::{InputConfig, Settings, capture_files};
use crate::ledger::names;
use crate::log::{Log, topic};
use crate::service;
use crate::stages::StageError;
use crate::stages::capture::CaptureMapping;
use crate::stages::restore::{Follower, PartitionConfig, ledger_name};
use crate::stages::seal::sources::TOPICS;
use crate::stages::seal::{Adopted, Adoption, From, Refused, adopt};
use crate::stages::source::{Bounds, judge};
use captured::Captured;

/// See what was sealed of each source, and declare that a topic was made anew
///
/// A source is a partition of audit.events, audit.rerouted or audit.captured, or of a topic that is captured. Its offsets mean records only as long as its topic is the same. Where a topic was deleted and made
/// again, or a broker lost its disk, the source ends before what was sealed of it, and nothing more of it is sealed: `sources adopt` says from which
/// offset it counts now. That is a leaf of the ledger, for ever; of a captured topic, it is kept beside the position of capture.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Where the log lies: sqlite:PATH, or kafka://HOST:PORT,../?NAME=VALUE&..
    #[arg(long, value_name = "URL", global = true, env = "LEDGERLINE_LOG")]
    log: Option<String>,
    /// Mapping files of captured topics, as `run` has them: lists their sources too
    #[arg(long, value_name = "FILES", global = true, env = "LEDGERLINE_CAPTURE")]
    capture: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// A line for each source: its incarnation, how far it is sealed, what its topic holds, and whether that fits
    List,
    Adopt(Adopt),
}

/// Declare the next incarnation of a source. `ledgerline run` may be running: it notices, and goes on from there
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  The topic was deleted and made again:\n    ledgerline sources adopt audit.events/3 --from start\n  A broker lost its newest records, and then ended at offset 4711:\n    \
                  ledgerline sources adopt audit.events/3 --from 4711\n\nWhat lies below --from is passed over, and not sealed; what is read again, and was sealed before, is sealed as duplicates as \
                  far back as event ids are remembered. --dry-run says how much is passed over."
)]
struct Adopt {
    /// <topic>/<partition>
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The first offset that counts: start (the topic's first record), end (behind its last one), or a number
    #[arg(long, value_name = "start|end|OFFSET")]
    from: String,
    /// Also where nothing seems wrong: the topic was made anew and has grown since
    #[arg(long)]
    force: bool,
    /// Say what would be declared, and declare nothing
    #[arg(long)]
    dry_run: bool,
    /// Declare it although the clock is more than 24 hours ahead of the last leaf: for a ledger that was idle or down for longer, with a clock that is right
    #[arg(long, env = "LEDGERLINE_ACCEPT_CLOCK_JUMP", value_parser = clap::builder::BoolishValueParser::new())]
    accept_clock_jump: bool,
}

/// # Errors
/// `Usage` for arguments that mean nothing, `Invalid` where the source must not be adopted so, `Unreadable` where the log fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (config, mappings, adoption) = check(args)?;
    let runtime = super::runtime()?;
    let text = runtime.block_on(async {
        let log = service::open_log_that_exists(&config.log)
            .await
            .map_err(|error| super::failure(&error))?;
        let outcome = match adoption {
            None => list(log.as_ref(), &mappings, args.json).await,
            Some(Adopting::Sealed(partition, adoption)) => {
                declare(log.as_ref(), partition, adoption, args.json).await
            }
            Some(Adopting::Captured(adopt, from)) => {
                captured::adopt(log.as_ref(), adopt, from, args.json).await
            }
        };
        drop(log.close().await);
        outcome
    })?;
    super::print(text.as_bytes())
}

/// What is to be declared.
enum Adopting<'a> {
    Sealed(u32, Adoption),
    Captured(&'a Adopt, From),
}

type Checked<'a> = (InputConfig, Vec<CaptureMapping>, Option<Adopting<'a>>);

fn check(args: &Args) -> Result<Checked<'_>, Failure> {
    let mut faults = Faults::default();
    let settings = Settings {
        log: args.log.clone(),
        ..Settings::default()
    };
    let config = faults.settings(settings.check_input());
    let adoption = match &args.command {
        Command::List => None,
        Command::Adopt(adopt) => faults.take(adoption(adopt).map(Some)),
    };
    let mappings = faults.take(match args.capture.as_deref() {
        None => Ok(Vec::new()),
        Some(names) => capture_files::read(names)
            .map_err(|fault| Failure::usage(format!("--capture (or LEDGERLINE_CAPTURE) {fault}"))),
    });
    Ok((faults.done_with(config)?, mappings, adoption))
}

fn adoption(args: &Adopt) -> Result<Adopting<'_>, Failure> {
    let source = names::parse_source(&args.source);
    let topic = source
        .as_ref()
        .and_then(|source| TOPICS.into_iter().find(|topic| *topic == source.topic));
    let partition = source
        .as_ref()
        .and_then(|source| u32::try_from(source.partition).ok());
    let from =
        match args.from.as_str() {
            "start" => From::Start,
            "end" => From::End,
            offset => From::Offset(names::parse_decimal(offset).ok_or_else(|| {
                Failure::usage(format!("--from {offset:?} must be start, end, or an offset"))
            })?),
        };
    let (Some(topic), Some(partition)) = (topic, partition) else {
        let is_others = source.is_some_and(|source| !topic::ALL.contains(&source.topic));
        if is_others && partition.is_some() {
            return Ok(Adopting::Captured(args, from));
        }
        return Err(Failure::usage(format!(
            "SOURCE {:?} must be <topic>/<partition>, where the topic is {}, or one that is captured",
            args.source,
            TOPICS.join(", ")
        )));
    };
    let adoption = Adoption {
        topic,
        from,
        forced: args.force,
        dry_run: args.dry_run,
        accept_clock_jump: args.accept_clock_jump,
    };
    Ok(Adopting::Sealed(partition, adoption))
}

async fn declare(log: &dyn Log, partition: u32, adoption: Adoption, json: bool) -> Result<String, Failure> {
    let partitions = partitions(log).await?;
    if partition >= partitions {
        return Err(Failure::usage(format!(
            "SOURCE: there is no partition {partition}, the ledger has {partitions}"
        )));
    }
    let config = partition_config(log, partition)
        .await?
        .ok_or_else(|| Failure::invalid("the log holds no ledger yet: nothing was sealed of any source"))?;
    let mut random = service::os_random();
    let adopted = adopt(log, &SystemClock, &mut random, &config, adoption)
        .await
        .map_err(refused)?;
    Ok(describe(&adopted, json))
}

fn refused(error: Refused) -> Failure {
    match error {
        Refused::Stage(error) => super::failure(&error),
        Refused::NeverSealed { .. } | Refused::IsWhole { .. } | Refused::BeyondEnd { .. } => {
            Failure::invalid(error.to_string())
        }
        Refused::Contended => Failure::unreadable(error.to_string()),
    }
}

fn describe(adopted: &Adopted, json: bool) -> String {
    let Adopted {
        source,
        incarnation,
        from,
        sealed_to,
        passed_over,
        index,
    } = adopted;
    if json {
        let value = serde_json::json!({ "source": source, "incarnation": incarnation, "from": from, "sealed_to": sealed_to, "passed_over": passed_over, "dry_run": index.is_none(), "index": index });
        return format!("{value}\n");
    }
    let said = match index {
        Some(index) => format!("leaf {index} declares incarnation {incarnation} of {source}"),
        None => format!("nothing was declared (--dry-run): incarnation {incarnation} of {source} would be"),
    };
    let passed = match passed_over {
        0 => String::new(),
        offsets => format!("; {offsets} offsets that the topic holds lie below, and are passed over"),
    };
    format!("{said}: it counts from offset {from}{passed}; the one before was sealed up to {sealed_to}\n")
}

/// One source as it stands.
struct Row {
    source: String,
    /// Incarnation and next offset; `None` where nothing of it was sealed, or captured.
    sealed: Option<(u64, u64)>,
    start: u64,
    end: u64,
}

impl Row {
    fn of_captured(captured: Captured) -> Self {
        Self {
            source: captured.source,
            sealed: captured.place.map(|place| (place.incarnation, place.next)),
            start: captured.start,
            end: captured.end,
        }
    }

    fn state(&self) -> String {
        let next = self.sealed.map(|(_, next)| next);
        match (judge(self.start, self.end, next), next) {
            (Bounds::Whole, None) => "never sealed".to_owned(),
            (Bounds::Whole, Some(_)) => "whole".to_owned(),
            (Bounds::EndsBefore, _) => "ends before what was sealed: adopt it".to_owned(),
            (Bounds::Deleted(offsets), _) => format!("{offsets} offsets were deleted unsealed"),
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "source": self.source,
            "incarnation": self.sealed.map(|(incarnation, _)| incarnation),
            "sealed_to": self.sealed.map(|(_, next)| next),
            "start": self.start,
            "end": self.end,
            "state": self.state(),
        })
    }
}

async fn list(log: &dyn Log, mappings: &[CaptureMapping], json: bool) -> Result<String, Failure> {
    let partitions = partitions(log).await?;
    let bar = super::progress_bar(
        Some(partitions.into()),
        "{bar:32} {pos}/{len} partitions  {elapsed}",
    );
    let mut rows = Vec::new();
    for partition in 0..partitions {
        rows.extend(rows_of(log, partition).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let captured = captured::find(log, mappings).await;
    rows.extend(
        captured
            .map_err(|error| super::failure(&error))?
            .into_iter()
            .map(Row::of_captured),
    );
    if json {
        let sources: Vec<_> = rows.iter().map(Row::json).collect();
        return Ok(format!("{}\n", serde_json::json!({ "sources": sources })));
    }
    Ok(table(&rows))
}

async fn rows_of(log: &dyn Log, partition: u32) -> Result<Vec<Row>, Failure> {
    let unreadable = |error: StageError| super::failure(&error);
    let known = match partition_config(log, partition).await? {
        None => std::collections::BTreeMap::new(),
        Some(config) => {
            let mut follower = Follower::restore(log, &config).await.map_err(unreadable)?;
            follower.catch_up(log, None).await.map_err(unreadable)?;
            follower.state.order.sources
        }
    };
    let mut rows = Vec::new();
    for topic in TOPICS {
        let source = format!("{topic}/{partition}");
        let failed = |error| super::failure(&error);
        rows.push(Row {
            sealed: known
                .get(&source)
                .map(|known| (known.incarnation, known.next_offset)),
            source,
            start: log.start(topic, partition).await.map_err(failed)?,
            end: log.end(topic, partition).await.map_err(failed)?,
        });
    }
    Ok(rows)
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.source.len()).max().unwrap_or(0).max(6);
    let mut lines = vec![format!(
        "{:<width$}  {:>11}  {:>12}  {:>12}  {:>12}  STATE\n",
        "SOURCE", "INCARNATION", "SEALED TO", "FIRST", "END"
    )];
    for row in rows {
        let (incarnation, next) = row.sealed.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |(incarnation, next)| (incarnation.to_string(), next.to_string()),
        );
        lines.push(format!(
            "{:<width$}  {incarnation:>11}  {next:>12}  {:>12}  {:>12}  {}\n",
            row.source,
            row.start,
            row.end,
            row.state()
        ));
    }
    lines.concat()
}

async fn partitions(log: &dyn Log) -> Result<u32, Failure> {
    log.partitions(topic::LEDGER_ENTRIES)
        .await
        .map_err(|error| super::failure(&error))
}

/// `None` where the log holds no ledger.
async fn partition_config(log: &dyn Log, partition: u32) -> Result<Option<PartitionConfig>, Failure> {
    let name = ledger_name(log).await.map_err(|error| super::failure(&error))?;
    Ok(name.map(|name| PartitionConfig::to_look(&name, partition)))
}
