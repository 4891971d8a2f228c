//! `ledgerline demo`: the whole main job on this machine, and what tampering looks like.

mod generate;
mod show;
mod tamper;

pub use generate::write_event;

use super::Failure;
use super::archive::Archive;
use super::arguments::Faults;
use super::ingest::{self, IngestOptions, Summary, ingest_lines, read_mapping};
use super::verify::{default_threads, verify_archive};
use crate::config::{Config, Settings, describe};
use crate::ledger::canonical::Limits;
use crate::ledger::chain::Head;
use crate::ledger::leaf::PARTITIONS_MAX;
use crate::ledger::names;
use crate::ledger::verify::Options;
use crate::log::topic;
use crate::mapping::Mapping;
use crate::service::{self, Ending, Seams, Status};
use crate::stages::restore::{Follower, PartitionConfig, ledger_name};
use generate::Generator;
use std::fs::DirBuilder;
use std::io::{BufRead, BufReader, Cursor};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// 300 events of four companies, with a few repeats and faults among them.
const SAMPLE: &[u8] = include_bytes!("../../samples/audit_events.ndjson");
/// More tenants are counted, not listed.
const TENANTS_SHOWN: usize = 8;
const LOG_NAME: &str = "demo.ledgerline.example/audit";
const LOG_FILE: &str = "ledger.db";
const ARCHIVE_DIRECTORY: &str = "archive";

/// Seal, sign, archive and verify audit events on this machine, then show what tampering looks like.
///
/// Without options: sample events that ship with the program, in a new directory below the system's temporary one. The directory
/// holds `ledger.db`, `archive/` and `keys/` afterwards and stays, to be looked at with the other commands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Your own events, one JSON object a line.
    #[arg(long, value_name = "FILE.ndjson", conflicts_with_all = ["events", "tenants"])]
    input: Option<PathBuf>,

    /// How the records of --input become audit events, as connectors/cloudtrail.toml says it for CloudTrail.
    #[arg(long, value_name = "FILE.toml", requires = "input")]
    mapping: Option<PathBuf>,

    /// Where to work; what is there is added to [default: a new temporary directory].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Generate this many events of about 1.2 KB instead.
    #[arg(long, value_name = "N")]
    events: Option<String>,

    /// Tenants of the generated events [default: 1000].
    #[arg(long, value_name = "M", requires = "events")]
    tenants: Option<String>,

    /// Partitions of a new ledger [default: 4].
    #[arg(long, value_name = "N")]
    partitions: Option<String>,

    /// Print one JSON object instead of the story.
    #[arg(long)]
    json: bool,
}

/// The arguments that are more than places.
struct Asked {
    mapping: Option<Mapping>,
    events: Option<u64>,
    tenants: u64,
}

/// What a run came to.
struct Sealed {
    summary: Summary,
    seconds: f64,
    /// The chain heads of the first tenants by name, and how many tenants there are.
    tenants: Vec<(String, Head)>,
    tenants_total: usize,
}

/// # Errors
/// Where the input cannot be read, the directory cannot be written, or the archive does not verify.
pub fn run(args: &Args) -> Result<(), Failure> {
    let asked = check(args)?;
    let dir = work_dir(args)?;
    let config = settings(args, &dir)
        .check()
        .map_err(|faults| Failure::usage(describe(&faults)))?;
    let (input, lines_total) = open_input(args, &asked)?;
    let _lock = super::run::lock(&dir.join(LOG_FILE))?;
    let mut options = IngestOptions::new(dir.join("refused.ndjson"));
    options.mapping = asked.mapping;
    let runtime = super::runtime()?;
    show::opening(args.json, &dir)?;
    let sealed = runtime.block_on(seal(&config, input, options, lines_total))?;
    let options = Options {
        threads: default_threads(),
        ..Options::default()
    };
    let archive = dir.join(ARCHIVE_DIRECTORY);
    let report = verify_archive(&Archive::Directory(archive.clone()), &options, !args.json)?;
    let tampered = tamper::flip_one_byte(&archive)?.ok_or_else(|| nothing_sealed(&sealed.summary))?;
    show::Story {
        json: args.json,
        dir: &dir,
        archive: &archive,
    }
    .told(&sealed, &report, &tampered)
}

fn check(args: &Args) -> Result<Asked, Failure> {
    let mut faults = Faults::default();
    faults.number("--partitions", args.partitions.as_deref(), 4, 1..=PARTITIONS_MAX);
    let events = args.events.as_deref();
    let asked = Asked {
        mapping: faults.take(args.mapping.as_deref().map(read_mapping).transpose()),
        events: events.map(|text| faults.number("--events", Some(text), 1, 1..=u64::MAX)),
        tenants: faults.number("--tenants", args.tenants.as_deref(), 1_000, 1..=1_000_000),
    };
    faults.done()?;
    Ok(asked)
}

fn nothing_sealed(summary: &Summary) -> Failure {
    Failure::invalid(if summary.lines == 0 {
        "the input holds no line, so nothing was sealed and there is nothing to show"
    } else {
        "nothing was sealed, so there is nothing to change: every line was refused or rejected"
    })
}

fn settings(args: &Args, dir: &Path) -> Settings {
    Settings {
        log: Some(format!("sqlite:{}", dir.join(LOG_FILE).display())),
        archive: Some(format!("file:{}", dir.join(ARCHIVE_DIRECTORY).display())),
        signer: Some(format!("file:{}", dir.join("keys").display())),
        log_name: Some(LOG_NAME.to_owned()),
        partitions: args.partitions.clone(),
        // The directory may be an old one; a person is at hand who sees the time in the result.
        accept_clock_jump: true,
        ..Settings::default()
    }
}

fn work_dir(args: &Args) -> Result<PathBuf, Failure> {
    let unreadable =
        |dir: &Path, error: std::io::Error| Failure::unreadable(format!("--dir {}: {error}", dir.display()));
    if let Some(dir) = &args.dir {
        private_directory()
            .recursive(true)
            .create(dir)
            .map_err(|error| unreadable(dir, error))?;
        return Ok(dir.clone());
    }
    let base = std::env::temp_dir();
    for n in 1..10_000 {
        let dir = base.join(format!("ledgerline-demo-{n}"));
        match private_directory().create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unreadable(&dir, error)),
        }
    }
    Err(Failure::unreadable(format!(
        "{} is full of earlier demos: remove some, or give --dir",
        base.display()
    )))
}

/// For its owner alone: it will hold keys and events.
fn private_directory() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// The events, and how many there are where that is known.
fn open_input(args: &Args, asked: &Asked) -> Result<(Box<dyn BufRead + Send>, Option<u64>), Failure> {
    match (&args.input, asked.events) {
        (Some(path), _) => {
            let file = std::fs::File::open(path).map_err(|error| {
                Failure::unreadable(format!("--input {} cannot be read: {error}", path.display()))
            })?;
            Ok((Box::new(BufReader::with_capacity(1 << 18, file)), None))
        }
        (None, Some(events)) => Ok((Box::new(Generator::new(events, asked.tenants)), Some(events))),
        (None, None) => {
            let lines = SAMPLE
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .count() as u64;
            Ok((Box::new(Cursor::new(SAMPLE)), Some(lines)))
        }
    }
}

/// Opens what is in the directory: a new ledger, or that of an earlier demo.
async fn open(config: &Config) -> Result<Seams, Failure> {
    let seams = Seams::open(config)
        .await
        .map_err(|error| match super::setting_at_fault(&error) {
            // The demo reads no variables, and has this flag alone of those that may not fit.
            Some(fault) if fault.key == "partitions" => {
                Failure::usage(format!("--partitions {}", fault.what))
            }
            Some(fault) => Failure::usage(&fault.what),
            None => Failure::unreadable(super::chain(&error)),
        })?;
    match ledger_name(seams.log.as_ref()).await {
        Ok(Some(name)) if name != LOG_NAME => Err(Failure::usage(format!(
            "--dir: {} is of the ledger {name}, and the demo works on its own: give another directory",
            config.log
        ))),
        // What cannot be read now the stages will say.
        Ok(_) | Err(_) => Ok(seams),
    }
}

/// Ingests, and runs the stages beside it until everything is archived.
async fn seal(
    config: &Config,
    input: Box<dyn BufRead + Send>,
    options: IngestOptions,
    lines_total: Option<u64>,
) -> Result<Sealed, Failure> {
    let begun = Instant::now();
    let seams = open(config).await?;
    let status = Arc::new(Status::default());
    let (input_done, input_ended) = watch::channel(false);
    let (_stop, shutdown) = watch::channel(false);
    let progress = show::Bars::new(lines_total);
    let stages = service::run(
        config,
        &seams,
        Arc::clone(&status),
        Ending {
            shutdown,
            input_ended,
        },
    );
    let log = Arc::clone(&seams.log);
    let ingesting = tokio::spawn({
        let bar = progress.ingested();
        async move {
            let summary = Box::pin(ingest_lines(input, &options, log.as_ref(), |at| {
                bar.set(at.lines);
            }))
            .await;
            input_done.send_replace(true);
            summary
        }
    });
    let watching = progress.watch(&status);
    let outcome = tokio::select! {
        outcome = stages => outcome,
        never = watching => match never {},
    };
    outcome.map_err(|error| Failure::unreadable(super::chain(&error)))?;
    let summary = ingesting
        .await
        .map_err(|error| Failure::unreadable(format!("ingesting ended unexpectedly: {error}")))?
        .map_err(|error: ingest::IngestError| Failure::unreadable(super::chain(&error)))?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.finish();
    let (tenants, tenants_total) = heads(config, &seams).await?;
    seams.close().await;
    Ok(Sealed {
        summary,
        seconds,
        tenants,
        tenants_total,
    })
}

/// Chain heads as the log has them, by the way on which an owner restores its state.
async fn heads(config: &Config, seams: &Seams) -> Result<(Vec<(String, Head)>, usize), Failure> {
    let failure = |error| Failure::unreadable(super::chain(&error));
    let partitions = seams
        .log
        .partitions(topic::LEDGER_ENTRIES)
        .await
        .map_err(|error| Failure::unreadable(super::chain(&error)))?;
    let mut heads = std::collections::BTreeMap::new();
    let mut total = 0;
    for partition in 0..partitions {
        let partition = PartitionConfig {
            origin: names::origin(&config.log_name, partition),
            partition,
            limits: Limits::default(),
            window_entries_max: 0,
            archived: None,
        };
        let mut follower = Follower::restore(seams.log.as_ref(), &partition)
            .await
            .map_err(failure)?;
        follower
            .catch_up(seams.log.as_ref(), None)
            .await
            .map_err(failure)?;
        total += follower.state.heads.len();
        heads.extend(
            follower
                .state
                .heads
                .iter()
                .map(|(tenant, head)| (tenant.to_owned(), head)),
        );
        while heads.len() > TENANTS_SHOWN {
            heads.pop_last();
        }
    }
    Ok((heads.into_iter().collect(), total))
}
