//! `ledgerline parquet write`.

use super::{SEGMENT, bar, lines, names, open};
use crate::cli::Failure;
use crate::config::archive::AccessSettings;
use crate::ledger::names::twin;
use crate::twin;
use std::fs;
use std::path::{Path, PathBuf};

/// Make the twin of every segment of an archive
///
/// Twins that are there already are left as they are, right or wrong: begun again, it goes on where it was. `ledgerline parquet check` looks at them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive: a directory, `file:DIR`, or `s3://BUCKET/PREFIX`
    #[arg(value_name = "ARCHIVE")]
    archive: String,
    /// Where the twins go, under the names that they have in an archive; may be the archive's own directory
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    access: AccessSettings,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Default)]
struct Done {
    written: u64,
    were_there: u64,
    bytes: u64,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let (archive, source) = open(&args.archive, &args.access)?;
    let segments = names(source.as_ref(), SEGMENT)?;
    if segments.is_empty() {
        return Err(Failure::invalid(format!("the archive {archive} has no segment")));
    }
    let bar = bar(segments.len());
    let mut done = Done::default();
    for name in &segments {
        let path = args.to.join(twin(name));
        if path.is_file() {
            done.were_there += 1;
        } else {
            let lines = lines(source.as_ref(), name)?;
            let bytes = twin::write(&lines)
                .map_err(|error| Failure::invalid(format!("{name}: {}", crate::cli::chain(&error))))?;
            store(&args.to, &path, &bytes)?;
            done.written += 1;
            done.bytes += bytes.len() as u64;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    crate::cli::print(said(args, &done).as_bytes())
}

/// A crash before the rename leaves a file that begins with a dot at the top, which is no part of an archive, and which the next run writes over.
fn store(to: &Path, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let part = to.join(".twin.part");
    let directory = path.parent().unwrap_or(to);
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&part, bytes))
        .and_then(|()| fs::rename(&part, path))
        .map_err(|error| Failure::unreadable(format!("{} cannot be written: {error}", path.display())))
}

fn said(args: &Args, done: &Done) -> String {
    if args.json {
        let value = serde_json::json!({ "written": done.written, "were_there": done.were_there, "bytes": done.bytes });
        return format!("{value:#}\n");
    }
    let left = match done.were_there {
        0 => "none was there".to_owned(),
        left => format!(
            "{left} were there and are left as they are: `ledgerline parquet check` says whether they are right"
        ),
    };
    format!(
        "{} twins written to {} ({} bytes), {left}\n",
        done.written,
        args.to.display(),
        done.bytes
    )
}
