//! One byte changed in a copy of one object, and what the verifier says of it. The archive itself is not touched.

use crate::cli::Failure;
use crate::cli::verify::default_threads;
use crate::ledger::canonical::span;
use crate::ledger::leaf::{Body, Leaf};
use crate::ledger::segment;
use crate::ledger::verify::{ArchiveSource, Names, ObjectReader, Options, Report, SourceError, verify};
use crate::vault::source::DirectorySource;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::Path;

/// Where the event begins in its line.
const EVENT_AT: usize = "{\"event\":".len();

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
/// Where the archive cannot be read. `None`: it holds no entry.
pub(super) fn flip_one_byte(root: &Path) -> Result<Option<Tampered>, Failure> {
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
        return Ok(Some(Tampered { change, report }));
    }
    Ok(None)
}

/// Changes an entry in the middle of a segment, where it has one.
fn change(object: &str, lines: &mut [u8]) -> Option<Change> {
    let entries: Vec<(usize, usize)> = line_spans(lines)
        .filter(|(from, to)| lines[*from..*to].starts_with(b"{\"event\":"))
        .collect();
    let (from, to) = *entries.get(entries.len() / 2)?;
    let line = &lines[from..to];
    let parts = segment::parse_line(line).ok()?;
    let leaf = Leaf::parse(parts.leaf).ok()?;
    let Body::Entry { tenant, sequence, .. } = leaf.body else {
        return None;
    };
    let letter = first_letter_of_action(parts.event?)?;
    // Its last byte: with that another, it is another letter, in ASCII and outside it.
    let at = letter.end - 1;
    let mut altered = parts.event?.get(letter.clone())?.to_vec();
    let shown = |letter: &[u8]| std::str::from_utf8(letter).ok()?.chars().next();
    let from_letter = shown(&altered)?;
    *altered.last_mut()? ^= 1;
    let to_letter = shown(&altered)?;
    let change = Change {
        object: object.to_owned(),
        tenant: tenant.to_owned(),
        sequence,
        index: leaf.index,
        at,
        from: from_letter,
        to: to_letter,
    };
    *lines.get_mut(from + EVENT_AT + at)? ^= 1;
    Some(change)
}

/// Where the first letter of the event's own action is: `data` may hold another member of that name.
fn first_letter_of_action(event: &[u8]) -> Option<Range<usize>> {
    let (_, action) = span::members(event)?
        .into_iter()
        .find(|(name, _)| *name == b"action")?;
    let inside = action.strip_prefix(b"\"")?;
    let letter = std::str::from_utf8(inside).ok()?.chars().next()?;
    let from = inside.as_ptr().addr() - event.as_ptr().addr();
    Some(from..from + letter.len_utf8())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(event: &str) -> &str {
        &event[first_letter_of_action(event.as_bytes()).unwrap()]
    }

    #[test]
    fn the_letter_is_of_the_events_own_action_and_whole() {
        assert_eq!(letter(r#"{"aaa":{"action":"x.y"},"action":"b.c"}"#), "b");
        assert_eq!(letter(r#"{"action":"öffnen","actor":{}}"#), "ö");
        assert_eq!(first_letter_of_action(br#"{"data":{"action":"x"}}"#), None);
    }
}
