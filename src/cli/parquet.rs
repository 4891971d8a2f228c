//! `ledgerline parquet`: twins of an archive's segments, made again and held against them.

mod check;
mod write;

use super::Failure;
use super::archive::Archive;
use super::arguments::Faults;
use crate::config::archive::AccessSettings;
use crate::ledger::segment::LineReader;
use crate::ledger::verify::ArchiveSource;
use indicatif::ProgressBar;
use std::io::Read as _;

const SEGMENT: &str = ".ndjson.zst";
const TWIN: &str = ".parquet";
const BAR: &str = "{spinner} {pos} of {len} segments  {bar:30}  {eta}";

/// Make Parquet tables of an archive's segments, for questions, and check them
///
/// `run --archive-parquet` stores one beside every new segment: its twin. DuckDB and its like read twins; the segments are the evidence.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Write(write::Args),
    Check(check::Args),
}

/// # Errors
/// By the exit status that the contract gives.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Write(args) => write::run(args),
        Command::Check(args) => check::run(args),
    }
}

fn open(archive: &str, access: &AccessSettings) -> Result<(Archive, Box<dyn ArchiveSource>), Failure> {
    let mut faults = Faults::default();
    let archive = Archive::parse(archive, access, &mut faults);
    faults.done()?;
    let source = archive.open()?;
    Ok((archive, source))
}

/// All names that end so, in order.
fn names(source: &dyn ArchiveSource, end: &str) -> Result<Vec<String>, Failure> {
    let names = source.list("").map_err(|error| super::failure(&error))?;
    let mut found = names
        .filter(|name| name.as_ref().map_or(true, |name| name.ends_with(end)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| super::failure(&error))?;
    found.sort_unstable();
    Ok(found)
}

/// The lines of a segment, as they are archived.
fn lines(source: &dyn ArchiveSource, name: &str) -> Result<Vec<u8>, Failure> {
    let damaged = |error: &dyn std::error::Error| {
        Failure::invalid(format!(
            "the segment {name} cannot be decoded, so it has no twin: {}; `ledgerline verify` says what is wrong with the archive",
            super::chain(error)
        ))
    };
    let object = source.read(name).map_err(|error| super::failure(&error))?;
    let object =
        object.ok_or_else(|| Failure::unreadable(format!("the segment {name} was listed and is gone")))?;
    let mut reader = LineReader::open(object).map_err(|error| damaged(&error))?;
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().map_err(|error| damaged(&error))? {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    Ok(lines)
}

/// A twin's bytes, `None` where it is not there.
fn twin(source: &dyn ArchiveSource, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Failure> {
    let Some(object) = source.read(name).map_err(|error| super::failure(&error))? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    object
        .take(bytes_max)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::unreadable(format!("{name} cannot be read: {error}")))?;
    Ok(Some(bytes))
}

fn bar(length: usize) -> ProgressBar {
    super::progress_bar(Some(length as u64), BAR)
}
