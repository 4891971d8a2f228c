//! `ledgerline parquet check`.

use super::{SEGMENT, TWIN, bar, lines, names, open, twin};
use crate::cli::Failure;
use crate::config::archive::AccessSettings;
use crate::ledger::names;
use crate::ledger::segment::SEGMENT_BYTES_MAX;
use crate::ledger::verify::ArchiveSource;
use crate::twin::check;
use std::collections::BTreeSet;

/// A twin repeats what leaves say in columns: more than so much is none.
const TWIN_BYTES_MAX: u64 = 4 * SEGMENT_BYTES_MAX;

/// Hold the twins in an archive against their segments, cell by cell
///
/// It says nothing about the segments: that is what `ledgerline verify` is for. Exit status 1 where a twin says something else than its segment.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive: a directory, `file:DIR`, or `s3://BUCKET/PREFIX`
    #[arg(value_name = "ARCHIVE")]
    archive: String,
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
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let (archive, source) = open(&args.archive, &args.access)?;
    let segments = names(source.as_ref(), SEGMENT)?;
    let mut twins: BTreeSet<String> = names(source.as_ref(), TWIN)?.into_iter().collect();
    let bar = bar(segments.len());
    let mut found = Found::default();
    for segment in &segments {
        look(source.as_ref(), segment, &mut twins, &mut found)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let stray = twins
        .into_iter()
        .map(|name| (name, "is the twin of no segment".to_owned()));
    found.other.extend(stray);
    crate::cli::print(said(args, &found).as_bytes())?;
    if found.other.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{} of the twins in {archive} are not what the segments give: do not rely on them, make others with `ledgerline parquet write`, and see who may write there",
        found.other.len()
    )))
}

fn look(
    source: &dyn ArchiveSource,
    segment: &str,
    twins: &mut BTreeSet<String>,
    found: &mut Found,
) -> Result<(), Failure> {
    let name = names::twin(segment);
    if !twins.remove(&name) {
        found.without += 1;
        return Ok(());
    }
    let Some(bytes) = twin(source, &name, TWIN_BYTES_MAX)? else {
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
            .other
            .iter()
            .map(|(object, what)| serde_json::json!({ "object": object, "what": what }))
            .collect();
        let value = serde_json::json!({ "same": found.same, "without": found.without, "other": other });
        return format!("{value:#}\n");
    }
    let mut text = format!(
        "{} twins say what their segments say; {} segments have none\n",
        found.same, found.without
    );
    for (object, what) in &found.other {
        text.extend([format!("  {object} {what}\n")]);
    }
    text
}
