//! `ledgerline ingest`: lines of JSON into `audit.events`.
//!
//! Each line ends up in exactly one of two places: the log, or the file of refused lines, with the reason. The core is
//! [`ingest_lines`], which the demo uses too.

mod batch;
mod lines;
mod refused;

use super::Failure;
use crate::config::parse_url;
use crate::ledger::canonical::{Limits, Refusal};
use crate::ledger::event::EventParser;
use crate::ledger::leaf::RejectCode;
use crate::log::{Log, LogError, NewRecord};
use crate::service::open_log;
use crate::mapping::{MAPPING_BYTES_MAX, Mapping};
use batch::Batches;
use indicatif::{ProgressBar, ProgressStyle};
use lines::{Line, Lines};
use refused::RefusedFile;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Progress is reported once in so many lines.
const PROGRESS_LINES: u64 = 256;
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Append audit events, one JSON object a line, to the log
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A line that cannot be sealed is not appended: it goes, whole and with the reason, to the file of refused \
                        lines, and the rest goes on. Exit status 0 says that every line is in one of the two."
)]
pub struct Args {
    /// The file of events; - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// How records of another shape become audit events (connectors/cloudtrail.toml is one)
    #[arg(long, value_name = "FILE.toml")]
    mapping: Option<PathBuf>,
    /// The log: sqlite:PATH
    #[arg(long, value_name = "URL", env = "LEDGERLINE_LOG")]
    log: String,
    /// Partitions of a log that is made now [default: 4]; a log that exists has its own
    #[arg(long, value_name = "N", env = "LEDGERLINE_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    partitions: Option<u32>,
    /// Where refused lines go; made only if there is one, with a number behind its name where that is taken
    /// [default: FILE.refused.ndjson, for standard input refused.ndjson]
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    /// Leave out the lines before this one: to go on after an interruption
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// What [`ingest_lines`] is to do.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// `None`: the lines are audit events already.
    pub mapping: Option<Mapping>,
    pub limits: Limits,
    /// The file of refused lines. Made when the first is refused; where the name is taken, `.1`, `.2` .. is put behind it.
    pub refused_file: PathBuf,
    /// The first line that is read; earlier ones are left out. Lines count from 1.
    pub from_line: u64,
    /// Most records of one append.
    pub batch_records_max: usize,
    /// Most bytes of values that wait to be appended, over all partitions.
    pub batch_bytes_max: usize,
}

impl IngestOptions {
    #[must_use]
    pub fn new(refused_file: PathBuf) -> Self {
        Self {
            mapping: None,
            limits: Limits::default(),
            refused_file,
            from_line: 1,
            batch_records_max: 2_000,
            batch_bytes_max: 16 << 20,
        }
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub lines: u64,
    pub bytes: u64,
    pub refused: u64,
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines read, without those before `from_line`.
    pub lines: u64,
    /// Bytes read, with line ends, and with those before `from_line`.
    pub bytes: u64,
    pub accepted: u64,
    /// Refused lines by code.
    pub refused: BTreeMap<&'static str, u64>,
    /// Where the refused lines are, if there are any.
    pub refused_file: Option<PathBuf>,
}

impl Summary {
    #[must_use]
    pub fn refused_count(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// Why it stopped before the end. `done` is the line up to which each line is surely in the log or in the refused file; lines
/// after it may be there as well.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the input cannot be read after line {done}: {source}; {}", go_on(*done))]
    Input {
        done: u64,
        #[source]
        source: io::Error,
    },
    #[error("refused lines cannot be written to {}: {source}; {}", file.display(), go_on(*done))]
    Refused {
        done: u64,
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{source}; {}", go_on(*done))]
    Log {
        done: u64,
        #[source]
        source: LogError,
    },
}

fn go_on(done: u64) -> String {
    format!(
        "every line up to line {done} is surely in the log or among the refused lines; when the cause is removed, run the same \
         command with --from-line {}: what is appended twice is sealed once, as its event id is recognised",
        done + 1
    )
}

/// Appends the events of `input`, one a line, to `audit.events`, each as the bytes of its line (as mapped, with a mapping)
/// in the partition of its tenant.
///
/// Reads in place, between appends: give it a thread that may block. Memory: one line of at most
/// [`Log::record_bytes_max`] and [`IngestOptions::batch_bytes_max`].
///
/// # Errors
/// [`IngestError`]: only where input, log or refused file fail. A refused line is none.
pub async fn ingest_lines(
    input: impl BufRead,
    options: &IngestOptions,
    log: &dyn Log,
    mut progress: impl FnMut(Progress),
) -> Result<Summary, IngestError> {
    let mut lines = Lines::new(input, log.record_bytes_max());
    let mut batches = Batches::open(log, options)
        .await
        .map_err(|source| IngestError::Log {
            done: options.from_line - 1,
            source,
        })?;
    let mut refused = RefusedFile::new(&options.refused_file);
    let mut judge = Judge::new(options, log.record_bytes_max());
    let mut summary = Summary::default();
    loop {
        let done = batches.done(lines.number());
        let line = lines
            .next()
            .map_err(|source| IngestError::Input { done, source })?;
        summary.bytes = lines.bytes();
        if matches!(line, Line::End) {
            break;
        }
        if lines.number() < options.from_line {
            lines
                .skip_rest()
                .map_err(|source| IngestError::Input { done, source })?;
            continue;
        }
        summary.lines += 1;
        match judge.record(line, lines.text()) {
            Ok((tenant, record)) => {
                summary.accepted += 1;
                batches.push(&tenant, lines.number(), record).await?;
            }
            Err(refusal) => {
                *summary.refused.entry(refusal.code.as_str()).or_default() += 1;
                refused
                    .write(&mut lines, &refusal)
                    .map_err(|source| refused.error(done, source))?;
            }
        }
        if summary.lines % PROGRESS_LINES == 0 {
            progress(summary.progress());
        }
    }
    batches.flush().await?;
    summary.refused_file = refused
        .finish()
        .map_err(|source| refused.error(batches.done(lines.number()), source))?;
    progress(summary.progress());
    Ok(summary)
}

impl Summary {
    fn progress(&self) -> Progress {
        Progress {
            lines: self.lines,
            bytes: self.bytes,
            refused: self.refused_count(),
        }
    }
}

/// Decides what becomes of a line.
struct Judge<'o> {
    mapping: Option<Mapping>,
    parser: EventParser,
    record_bytes_max: usize,
    options: &'o IngestOptions,
}

impl<'o> Judge<'o> {
    fn new(options: &'o IngestOptions, record_bytes_max: usize) -> Self {
        Self {
            mapping: options
                .mapping
                .clone()
                .map(|mapping| mapping.with_limits(options.limits)),
            parser: EventParser::new(options.limits),
            record_bytes_max,
            options,
        }
    }

    /// The tenant and the record to append.
    fn record(&mut self, line: Line, text: &[u8]) -> Result<(String, NewRecord), Refusal> {
        match line {
            Line::End => return Err(Refusal::new(RejectCode::Empty, "there is no line")),
            Line::TooLong => return Err(self.too_long()),
            Line::Whole => {}
            Line::Unended => return self.whole(text).map_err(unended),
        }
        self.whole(text)
    }

    fn whole(&mut self, text: &[u8]) -> Result<(String, NewRecord), Refusal> {
        let value = match &self.mapping {
            Some(mapping) => mapping.apply(text)?,
            None => text.to_vec(),
        };
        let tenant = self.parser.parse(&value)?.tenant_id;
        if value.len() > self.record_bytes_max {
            return Err(self.too_long());
        }
        let record = NewRecord {
            key: tenant.clone().into_bytes(),
            value,
            headers: Vec::new(),
        };
        Ok((tenant, record))
    }

    fn too_long(&self) -> Refusal {
        let detail = format!(
            "the event has more than {} bytes, which is what the log takes (its canonical form may have {}); send large content \
             elsewhere and its digest here",
            self.record_bytes_max, self.options.limits.event_bytes_max
        );
        Refusal::new(RejectCode::TooLarge, detail)
    }
}

/// The last line of a file that was cut off in the middle.
fn unended(mut refusal: Refusal) -> Refusal {
    refusal
        .detail
        .push_str("; this last line has no line end, so the file may be cut off");
    refusal
}

/// # Errors
/// `Usage` for a mapping or an address that is none, `Unreadable` where files or the log fail.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut options = IngestOptions::new(args.refused_file());
    options.mapping = args.mapping.as_deref().map(read_mapping).transpose()?;
    options.from_line = args.from_line;
    let (input, bytes) = open_input(&args.file)?;
    let bar = progress_bar(bytes);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::unreadable(format!("the runtime cannot be started: {e}")))?;
    let summary = runtime.block_on(async {
        let path = parse_url(Some(&args.log), "sqlite:", "sqlite:ledger.db")
            .map_err(|what| Failure::usage(format!("--log (or LEDGERLINE_LOG): {what}")))?;
        let log = open_log(&path, args.partitions).await.map_err(|e| Failure::unreadable(super::chain(&e)))?;
        Box::pin(ingest_lines(input, &options, &log, |progress| {
            bar.set_position(progress.bytes);
            bar.set_message(format!("{} lines, {} refused", progress.lines, progress.refused));
        }))
        .await
        .map_err(|e| Failure::unreadable(format!("{}: {e}", args.file.display())))
    });
    bar.finish_and_clear();
    print(&summary?, args);
    Ok(())
}

impl Args {
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

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(bytes: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {msg}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes} {bytes_per_sec} {msg}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print(summary: &Summary, args: &Args) {
    let refused_file = summary
        .refused_file
        .as_ref()
        .map(|file| file.display().to_string());
    if args.json {
        let json = serde_json::json!({
            "lines": summary.lines,
            "bytes": summary.bytes,
            "accepted": summary.accepted,
            "refused": summary.refused_count(),
            "codes": summary.refused,
            "refused_file": refused_file,
        });
        println!("{json}");
        return;
    }
    println!(
        "{} lines: {} accepted, {} refused",
        summary.lines,
        summary.accepted,
        summary.refused_count()
    );
    for (code, lines) in &summary.refused {
        println!("  {code}: {lines}");
    }
    if let Some(file) = refused_file {
        println!("The refused lines and the reasons are in {file}");
    }
}
