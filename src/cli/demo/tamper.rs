//! One byte changed in a copy of one object, and what the verifier says of it. The archive itself is not touched.

use crate::cli::Failure;
use crate::cli::verify::default_threads;
use crate::ledger::leaf::{Body, Leaf};
use crate::ledger::segment;
use crate::ledger::verify::{ArchiveSource, Names, ObjectReader, Options, Report, SourceError, verify};
use crate::vault::source::DirectorySource;
use std::io::{Cursor, Read};
use std::path::Path;

/// What was changed, and what was found.
pub(super) struct Tampered {
    pub(super) change: Change,
    pub(super) report: Report,
}

/// One byte of one event.
pub(super) struct Change {
    pub(super) object: String,
    pub(super) tenant: String,
    pub(super) sequence: u64,
    pub(super) index: u64,
    /// Offset in the canonical event.
    pub(super) at: usize,
    pub(super) from: char,
    pub(super) to: char,
}

/// The archive, but for one object.
struct Altered<'a> {
    archive: &'a DirectorySource,
    object: &'a str,
    bytes: &'a [u8],
}

impl ArchiveSource for Altered<'_> {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        self.archive.list(prefix)
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        if name == self.object {
            Ok(Some(Box::new(Cursor::new(self.bytes))))
        } else {
            self.archive.read(name)
        }
    }
}

/// Changes the first letter of an archived event's action, as someone would who hides what was done.
///
/// # Errors
/// Where the archive cannot be read or holds no entry.
pub(super) fn flip_one_byte(root: &Path) -> Result<Tampered, Failure> {
    let unreadable = |error: &dyn std::error::Error| Failure::unreadable(crate::cli::chain(error));
    let archive = DirectorySource::open(root).map_err(|error| unreadable(&error))?;
    for name in archive.list("").map_err(|error| unreadable(&error))? {
        let object = name.map_err(|error| unreadable(&error))?;
        if !object.ends_with(".ndjson.zst") {
            continue;
        }
        let mut frame = Vec::new();
        if let Some(mut reader) = archive.read(&object).map_err(|error| unreadable(&error))? {
            reader
                .read_to_end(&mut frame)
                .map_err(|error| unreadable(&error))?;
        }
        let mut lines = zstd::stream::decode_all(frame.as_slice()).map_err(|error| unreadable(&error))?;
        let Some(change) = change(&object, &mut lines) else {
            continue;
        };
        let bytes = segment::compress(&lines).map_err(|error| unreadable(&error))?;
        let altered = Altered {
            archive: &archive,
            object: &object,
            bytes: &bytes,
        };
        let options = Options {
            threads: default_threads(),
            ..Options::default()
        };
        let report = verify(&altered, &options, &mut |_| {}).map_err(|error| unreadable(&error))?;
        return Ok(Tampered { change, report });
    }
    Err(Failure::invalid(
        "nothing was sealed, so there is nothing to change: every line was refused or rejected",
    ))
}

/// Changes an entry in the middle of a segment, where it has one.
fn change(object: &str, lines: &mut [u8]) -> Option<Change> {
    const ACTION: &[u8] = b"\"action\":\"";
    let entries: Vec<(usize, usize)> = line_spans(lines)
        .filter(|(from, to)| lines[*from..*to].starts_with(b"{\"event\":"))
        .collect();
    let (from, to) = *entries.get(entries.len() / 2)?;
    let line = &lines[from..to];
    let leaf = Leaf::parse(segment::parse_line(line).ok()?.leaf).ok()?;
    let Body::Entry { tenant, sequence, .. } = leaf.body else {
        return None;
    };
    let in_line = line.windows(ACTION.len()).position(|window| window == ACTION)? + ACTION.len();
    let found = line[in_line];
    let change = Change {
        object: object.to_owned(),
        tenant: tenant.to_owned(),
        sequence,
        index: leaf.index,
        at: in_line - "{\"event\":".len(),
        from: char::from(found),
        to: char::from(found ^ 1),
    };
    lines[from + in_line] ^= 1;
    Some(change)
}

fn line_spans(lines: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut from = 0;
    lines
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(move |(at, _)| {
            let span = (from, at);
            from = at + 1;
            span
        })
}
