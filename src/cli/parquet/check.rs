//! `ledgerline parquet check`.

use super::{SEGMENT, TWIN, bar, lines, names, open, twin};
use crate::cli::Failure;
use crate::cli::archive::Archive;
use crate::config::archive::AccessSettings;
use crate::ledger::names;
use crate::ledger::segment::SEGMENT_BYTES_MAX;
use crate::ledger::verify::ArchiveSource;
use crate::twin::check;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A twin repeats what leaves say in columns: more than so much is none.
const TWIN_BYTES_MAX: u64 = 4 * SEGMENT_BYTES_MAX;

/// Hold the twins in an archive against their segments, cell by cell
///
/// It says nothing about the segments: that is what `ledgerline verify` is for. Exit status 1 where a twin says something else than its segment, and where there is no
/// twin at all: then nothing was checked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive: a directory, `file:DIR`, or `s3://BUCKET/PREFIX`
    #[arg(value_name = "ARCHIVE")]
    archive: String,
    /// Where the twins are, when they are not in the archive: what `parquet write --to DIR` was given
    #[arg(long, value_name = "DIR")]
    twins: Option<PathBuf>,
    #[command(flatten)]
    access: AccessSettings,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Default)]
struct Found {
    same: u64,
    /// Segments without a twin: no fault.
    without: u64,
    /// Twins that say something else, and what.
    other: Vec<(String, String)>,
    /// Twins of no segment.
    stray: Vec<String>,
}

impl Found {
    fn is_good(&self) -> bool {
        self.other.is_empty() && self.stray.is_empty()
    }

    /// All that is wrong.
    fn wrong(&self) -> impl Iterator<Item = (&str, &str)> {
        let other = self
            .other
            .iter()
            .map(|(object, what)| (object.as_str(), what.as_str()));
        let stray = self
            .stray
            .iter()
            .map(|object| (object.as_str(), "is the twin of no segment"));
        other.chain(stray)
    }
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let (archive, source) = open(&args.archive, &args.access)?;
    let apart = match &args.twins {
        Some(path) => Some(Archive::Directory(path.clone()).open()?),
        None => None,
    };
    let beside = apart.as_deref().unwrap_or(source.as_ref());
    let segments = names(source.as_ref(), SEGMENT)?;
    let mut twins: BTreeSet<String> = names(beside, TWIN)?.into_iter().collect();
    if segments.is_empty() {
        return Err(nothing_to_hold_against(&archive, twins.len()));
    }
    let bar = bar(segments.len());
    let mut found = Found::default();
    for segment in &segments {
        look(source.as_ref(), beside, segment, &mut twins, &mut found)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    found.stray = twins.into_iter().collect();
    crate::cli::print(said(args, &found).as_bytes())?;
    match what_to_do(&archive, args, &found) {
        None => Ok(()),
        Some(what) => Err(Failure::invalid(what)),
    }
}

fn nothing_to_hold_against(archive: &Archive, twins: usize) -> Failure {
    Failure::invalid(match twins {
        0 => format!("{archive} has no segment: it is no archive, or an empty one"),
        twins => format!(
            "{archive} has no segment to hold the {twins} twins against: give the archive that they were made of, and their directory as --twins"
        ),
    })
}

/// `None` where there are twins and all are right.
fn what_to_do(archive: &Archive, args: &Args, found: &Found) -> Option<String> {
    // Of a bucket none.
    let directory = args.twins.as_deref().or_else(|| archive.directory());
    let mut sentences = Vec::new();
    if found.same == 0 && found.is_good() {
        sentences.push(format!(
            "no twins found: nothing was checked; `ledgerline parquet write {archive} --to DIR` makes them, and --twins DIR says where they are"
        ));
    }
    if !found.other.is_empty() {
        sentences.push(format!(
            "{} of the twins are not what the segments give: do not rely on them, and see who may write there; {}",
            found.other.len(),
            how_to_replace(archive, directory)
        ));
    }
    if !found.stray.is_empty() {
        sentences.push(format!(
            "{} are twins of no segment, for which `ledgerline verify` refuses an archive: find out who put them there, and move them out",
            found.stray.len()
        ));
    }
    (!sentences.is_empty()).then(|| sentences.join(". "))
}

/// A file is made anew once it is out of the way; a locked object cannot be replaced.
fn how_to_replace(archive: &Archive, directory: Option<&Path>) -> String {
    match directory {
        Some(path) => format!(
            "`parquet write` leaves what is there, so remove these files, and `ledgerline parquet write {archive} --to {}` makes them anew",
            path.display()
        ),
        None => format!(
            "nothing replaces an object before its lock ends, so have `ledgerline parquet write {archive} --to DIR` make all of them in a directory that has none, and ask those"
        ),
    }
}

fn look(
    source: &dyn ArchiveSource,
    beside: &dyn ArchiveSource,
    segment: &str,
    twins: &mut BTreeSet<String>,
    found: &mut Found,
) -> Result<(), Failure> {
    let name = names::twin(segment);
    if !twins.remove(&name) {
        found.without += 1;
        return Ok(());
    }
    let Some(bytes) = twin(beside, &name, TWIN_BYTES_MAX)? else {
        found.without += 1;
        return Ok(());
    };
    let lines = lines(source, segment)?;
    let difference = check(bytes, &lines)
        .map_err(|error| Failure::invalid(format!("{segment}: {}", crate::cli::chain(&error))))?;
    match difference {
        None => found.same += 1,
        Some(difference) => found.other.push((name, difference.to_string())),
    }
    Ok(())
}

fn said(args: &Args, found: &Found) -> String {
    if args.json {
        let other: Vec<_> = found
            .wrong()
            .map(|(object, what)| serde_json::json!({ "object": object, "what": what }))
            .collect();
        let value = serde_json::json!({ "same": found.same, "without": found.without, "other": other });
        return format!("{value:#}\n");
    }
    let mut text = format!(
        "{} twins say what their segments say; {} segments have none\n",
        found.same, found.without
    );
    for (object, what) in found.wrong() {
        text.extend([format!("  {object} {what}\n")]);
    }
    text
}
