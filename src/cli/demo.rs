//! `ledgerline demo`: the whole main job on this machine, and what tampering looks like.

mod generate;
mod show;
mod tamper;

pub use generate::write_event;

use super::Failure;
use super::ingest::{self, IngestOptions, Summary, ingest_lines, read_mapping};
use crate::config::{Config, Settings, StageName, describe};
use crate::service::{self, Ending, Seams, Status};
use generate::Generator;
use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// 300 events of four companies, with a few repeats and faults among them.
const SAMPLE: &[u8] = include_bytes!("../../samples/audit_events.ndjson");
const LOG_NAME: &str = "demo.ledgerline.example/audit";

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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,

    /// Tenants of the generated events.
    #[arg(long, value_name = "M", requires = "events", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    tenants: u64,

    /// Partitions of a new ledger [default: 4].
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,

    /// Print one JSON object instead of the story.
    #[arg(long)]
    json: bool,
}

/// What a run came to.
struct Sealed {
    summary: Summary,
    seconds: f64,
}

/// # Errors
/// Where the input cannot be read, the directory cannot be written, or the archive does not verify.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mapping = args.mapping.as_deref().map(read_mapping).transpose()?;
    let dir = work_dir(args)?;
    let config = settings(args, &dir).check().map_err(|faults| Failure::usage(describe(&faults)))?;
    let (input, lines_total) = open_input(args)?;
    let _lock = super::run::lock(&config)?;
    let mut options = IngestOptions::new(dir.join("refused.ndjson"));
    options.mapping = mapping;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unreadable(format!("cannot start threads: {error}")))?;
    show::opening(args.json, &dir);
    let sealed = runtime.block_on(seal(&config, input, options, lines_total))?;
    let story = show::Story { json: args.json, dir: &dir, archive: &config.archive };
    let report = story.sealed_and_verified(&sealed)?;
    story.tampered(tamper::flip_one_byte(&config.archive)?)?;
    story.closing(&report);
    Ok(())
}

fn settings(args: &Args, dir: &Path) -> Settings {
    Settings {
        log: Some(format!("sqlite:{}", dir.join("ledger.db").display())),
        archive: Some(format!("file:{}", dir.join("archive").display())),
        signer: Some(format!("file:{}", dir.join("keys").display())),
        log_name: Some(LOG_NAME.to_owned()),
        partitions: args.partitions.map(|n| n.to_string()),
        // The directory may be an old one; a person is at hand who sees the time in the result.
        accept_clock_jump: true,
        ..Settings::default()
    }
}

fn work_dir(args: &Args) -> Result<PathBuf, Failure> {
    let unreadable = |dir: &Path, error: std::io::Error| Failure::unreadable(format!("--dir {}: {error}", dir.display()));
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(|error| unreadable(dir, error))?;
        return Ok(dir.clone());
    }
    let base = std::env::temp_dir();
    for n in 1..10_000 {
        let dir = base.join(format!("ledgerline-demo-{n}"));
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unreadable(&dir, error)),
        }
    }
    Err(Failure::unreadable(format!("{} is full of earlier demos: remove some, or give --dir", base.display())))
}

/// The events, and how many there are where that is known.
fn open_input(args: &Args) -> Result<(Box<dyn BufRead + Send>, Option<u64>), Failure> {
    match (&args.input, args.events) {
        (Some(path), _) => {
            let file = std::fs::File::open(path)
                .map_err(|error| Failure::unreadable(format!("--input {} cannot be read: {error}", path.display())))?;
            Ok((Box::new(BufReader::with_capacity(1 << 18, file)), None))
        }
        (None, Some(events)) => Ok((Box::new(Generator::new(events, args.tenants)), Some(events))),
        (None, None) => {
            let lines = SAMPLE.iter().filter(|byte| **byte == b'\n').count() as u64;
            Ok((Box::new(Cursor::new(SAMPLE)), Some(lines)))
        }
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
    let seams = Seams::open(config).await.map_err(|error| Failure::unreadable(super::chain(&error)))?;
    let status = Arc::new(Status::default());
    let (input_done, input_ended) = watch::channel(false);
    let (_stop, shutdown) = watch::channel(false);
    let progress = show::Bars::new(lines_total);
    let stages = service::run(config, &seams, Arc::clone(&status), Ending { shutdown, input_ended });
    let log = Arc::clone(&seams.log);
    let ingesting = tokio::spawn({
        let (bar, status) = (progress.ingested(), Arc::clone(&status));
        async move {
            let summary = Box::pin(ingest_lines(input, &options, log.as_ref(), |at| {
                bar.set(at.lines, status.reached(StageName::Seal), status.reached(StageName::Archive));
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
    progress.finish();
    Ok(Sealed { summary, seconds: begun.elapsed().as_secs_f64() })
}
