//! `ledgerline ingest`: lines of JSON into `audit.events`.
//!
//! Each line ends up in exactly one of two places: the log, or the file of refused lines, with the reason. The core is
//! [`ingest_lines`], which the demo uses too.

mod batch;
mod ingestion;
mod judge;
mod lines;
mod refused;

pub(super) use batch::append_patiently;
pub use ingestion::{IngestError, IngestOptions, Progress, Summary, ingest_lines};

use super::Failure;
use super::arguments::Faults;
use crate::config::{InputConfig, Settings};
use crate::log::Log;
use crate::mapping::{MAPPING_BYTES_MAX, Mapping};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Append audit events, one JSON object a line, to the log
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A line that cannot be sealed is not appended: it goes, whole and with the reason, to the file of refused \
                        lines, and the rest goes on. Exit status 0 says that every line is in one of the two, 1 that not one was accepted. A carriage \
                        return at a line's end is JSON white space: files with CRLF line ends are fine."
)]
pub struct Args {
    /// The file of events; - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// How records of another shape become audit events (connectors/cloudtrail.toml is one)
    #[arg(long, value_name = "FILE.toml")]
    mapping: Option<PathBuf>,
    /// Where the log lies: sqlite:PATH, or kafka://HOST:PORT,../?NAME=VALUE&..
    #[arg(long, value_name = "URL", env = "LEDGERLINE_LOG")]
    log: Option<String>,
    /// Partitions of a log that is made now; must be that of one that exists [default: what it has, 4 for a new one]
    #[arg(long, value_name = "N", env = "LEDGERLINE_PARTITIONS")]
    partitions: Option<String>,
    /// Largest canonical event in bytes, as `run` has it [default: 1048576]
    #[arg(long, value_name = "BYTES", env = "LEDGERLINE_EVENT_BYTES_MAX")]
    event_bytes_max: Option<String>,
    /// Where refused lines go; made only if there is one, with a number behind its name where that is taken
    /// [default: FILE.refused.ndjson, for standard input refused.ndjson]
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    /// Leave out the lines before this one: to go on after an interruption [default: 1]
    #[arg(long, value_name = "N")]
    from_line: Option<String>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// `Usage` for a mapping or an address that is none, `Unreadable` where files or the log fail.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (config, options) = check(args)?;
    let (input, bytes) = open_input(&args.file)?;
    let template = match bytes {
        Some(_) => "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {msg}",
        None => "{spinner} {bytes} {bytes_per_sec} {msg}",
    };
    let bar = super::progress_bar(bytes, template);
    let runtime = super::runtime()?;
    let summary = runtime.block_on(async {
        let log = open_log(&config).await?;
        let summary = Box::pin(ingest_lines(input, &options, log.as_ref(), |progress| {
            bar.set_position(progress.bytes);
            bar.set_message(format!("{} lines, {} refused", progress.lines, progress.refused));
        }))
        .await;
        // What was accepted is durable without it.
        drop(log.close().await);
        summary.map_err(|e| {
            Failure::unreadable(format!(
                "{}: {}. {}",
                args.file.display(),
                super::chain(&e),
                e.advice()
            ))
        })
    });
    bar.finish_and_clear();
    let summary = summary?;
    super::print(describe(&summary, args.json).as_bytes())?;
    if summary.accepted == 0 && summary.lines > 0 {
        // Another kind of file, or a mapping that does not fit: whoever runs this by a timer must see it.
        return Err(Failure::invalid(
            "no line was accepted: is it NDJSON, one event a line, and of the shape that --mapping expects?",
        ));
    }
    Ok(())
}

/// Where the events go, and how they are read.
fn check(args: &Args) -> Result<(InputConfig, IngestOptions), Failure> {
    let mut faults = Faults::default();
    let config = faults.settings(args.settings().check_input());
    let mut options = IngestOptions::new(args.refused_file());
    options.mapping = faults.take(args.mapping.as_deref().map(read_mapping).transpose());
    options.from_line = faults.number("--from-line", args.from_line.as_deref(), 1, 1..=u64::MAX);
    let config = faults.done_with(config)?;
    options.limits = config.limits;
    Ok((config, options))
}

async fn open_log(config: &InputConfig) -> Result<Arc<dyn Log>, Failure> {
    crate::service::open_log(&config.log, config.partitions)
        .await
        .map_err(|error| super::failure(&error))
}

impl Args {
    /// Those that `run` has as well.
    fn settings(&self) -> Settings {
        Settings {
            log: self.log.clone(),
            partitions: self.partitions.clone(),
            event_bytes_max: self.event_bytes_max.clone(),
            ..Settings::default()
        }
    }

    fn refused_file(&self) -> PathBuf {
        match &self.refused {
            Some(file) => file.clone(),
            None if is_standard_input(&self.file) => PathBuf::from("refused.ndjson"),
            None => {
                let mut name = self.file.clone().into_os_string();
                name.push(".refused.ndjson");
                PathBuf::from(name)
            }
        }
    }
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

/// The input, and its size in bytes where it has one.
fn open_input(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if is_standard_input(path) {
        let input = BufReader::with_capacity(READ_BUFFER_BYTES, io::stdin());
        return Ok((Box::new(input), None));
    }
    let unreadable = |e: io::Error| Failure::unreadable(format!("{} cannot be read: {e}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file)), bytes))
}

/// Reads a mapping file.
///
/// # Errors
/// `Unreadable` where it cannot be read, `Usage` with all its faults where it is none.
pub fn read_mapping(path: &Path) -> Result<Mapping, Failure> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAPPING_BYTES_MAX as u64 + 1).read_to_string(&mut text))
        .map_err(|e| Failure::unreadable(format!("{} cannot be read: {e}", path.display())))?;
    Mapping::from_toml(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

/// The summary as it is printed.
fn describe(summary: &Summary, json: bool) -> String {
    let refused_file = summary
        .refused_file
        .as_ref()
        .map(|file| file.display().to_string());
    if json {
        let json = serde_json::json!({
            "lines": summary.lines,
            "bytes": summary.bytes,
            "accepted": summary.accepted,
            "refused": summary.refused_count(),
            "codes": summary.refused,
            "refused_file": refused_file,
        });
        return format!("{json}\n");
    }
    let codes: Vec<String> = summary
        .refused
        .iter()
        .map(|(code, lines)| format!("  {code}: {lines}\n"))
        .collect();
    let file = refused_file.map_or(String::new(), |file| {
        format!("The refused lines and the reasons are in {file}\n")
    });
    format!(
        "{} lines: {} accepted, {} refused\n{}{file}",
        summary.lines,
        summary.accepted,
        summary.refused_count(),
        codes.concat()
    )
}
