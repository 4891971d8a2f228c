//! Checks the bytes of one segment, line by line: everything that needs no neighbour (docs/FORMAT.md section 7, 2 to 4).

use super::super::Digest;
use super::super::canonical::Limits;
use super::super::chain::{NO_ENTRY, entry_hash};
use super::super::event::check_event;
use super::super::leaf::{Body, Leaf};
use super::super::merkle::leaf_hash;
use super::super::names::DEFAULT_CLASS;
use super::super::segment::{FrameError, LINE_BYTES_MAX, LineReader, LineRef, parse_line};
use super::plan::SegmentJob;
use super::reason::Reason;
use super::summary::{Chunk, Fault};
use super::{ArchiveSource, Reason as R, SourceError};
use crate::ledger::base64;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::io::{self, Read};

/// What an event of the format may be; how large one was allowed to be when it was sealed is not in the archive.
const LIMITS: Limits = Limits {
    depth_max: 64,
    event_bytes_max: LINE_BYTES_MAX,
};

/// How a segment ended.
pub enum Ending {
    Whole { object_bytes: u64, line_bytes: u64 },
    Faulty(Fault),
    Unreadable(SourceError),
}

/// Whoever takes chunks says so when it wants no more.
pub struct Enough;

/// Reads the segment and hands on its rows, all that stand before the first fault.
///
/// # Errors
/// [`Enough`] as soon as `sink` answers so.
pub fn check_segment(
    source: &dyn ArchiveSource,
    job: &SegmentJob,
    sink: &mut dyn FnMut(Chunk) -> Result<(), Enough>,
) -> Result<Ending, Enough> {
    let name = job.object_name();
    let missing = || Fault::at(job.cut.first, R::MissingObject, "there is no such object");
    let object = match source.read(&name) {
        Ok(Some(object)) => object,
        Ok(None) => return Ok(Ending::Faulty(missing())),
        Err(error) => return Ok(Ending::Unreadable(error)),
    };
    let object_bytes = Cell::new(0);
    let counting = Counting {
        object,
        bytes: &object_bytes,
    };
    let mut lines = match LineReader::open(counting) {
        Ok(lines) => lines,
        Err(error) => return Ok(ending(name, job.cut.first, error)),
    };
    let mut check = LineCheck {
        job,
        raw: Vec::new(),
        canonical: Vec::new(),
        next_index: job.cut.first,
    };
    let mut chunk = Chunk::with_capacity();
    let outcome = loop {
        match lines.next_line() {
            Ok(Some(line)) => match check.line(line, &mut chunk) {
                Ok(()) if chunk.is_full() => sink(std::mem::replace(&mut chunk, Chunk::with_capacity()))?,
                Ok(()) => {}
                Err(fault) => break Ending::Faulty(*fault),
            },
            Ok(None) => {
                break Ending::Whole {
                    object_bytes: object_bytes.get(),
                    line_bytes: lines.content_bytes(),
                };
            }
            Err(error) => break ending(name, check.next_index, error),
        }
    };
    sink(chunk)?;
    Ok(outcome)
}

fn ending(object: String, index: u64, error: FrameError) -> Ending {
    match (Reason::of_frame(&error), error) {
        (_, FrameError::Read(source)) => Ending::Unreadable(SourceError { object, source }),
        (reason, error) => Ending::Faulty(Fault::at(
            index,
            reason.unwrap_or(R::FrameDamaged),
            error.to_string(),
        )),
    }
}

impl Fault {
    fn at(index: u64, reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            index,
            tenant: None,
            sequence: None,
        }
    }
}

struct LineCheck<'j> {
    job: &'j SegmentJob,
    /// A refused input, kept for its memory.
    raw: Vec<u8>,
    /// A leaf written again, kept for its memory.
    canonical: Vec<u8>,
    /// The smallest index that the next leaf can have.
    next_index: u64,
}

impl LineCheck<'_> {
    fn line(&mut self, line: &[u8], chunk: &mut Chunk) -> Result<(), Box<Fault>> {
        let due = self.next_index;
        let fault = |reason, detail: String| Box::new(Fault::at(due, reason, detail));
        let parts = parse_line(line).map_err(|error| fault(R::LineForm, error.to_string()))?;
        let leaf = Leaf::parse_of(&self.job.origin, parts.leaf, &mut self.canonical)
            .map_err(|error| fault(R::LeafForm, error.to_string()))?;
        self.check(&leaf, &parts).map_err(|(reason, detail)| {
            Box::new(Fault {
                tenant: leaf.body.tenant().map(str::to_owned),
                sequence: leaf.body.sequence(),
                ..Fault::at(leaf.index, reason, detail)
            })
        })?;
        let entry_hash = if matches!(leaf.body, Body::Entry { .. }) {
            entry_hash(parts.leaf)
        } else {
            NO_ENTRY
        };
        chunk.push(&leaf, parts.leaf, leaf_hash(parts.leaf), &entry_hash);
        self.next_index = leaf.index.saturating_add(1);
        Ok(())
    }

    fn check(&mut self, leaf: &Leaf<'_>, parts: &LineRef<'_>) -> Result<(), (Reason, String)> {
        if leaf.origin != self.job.origin.as_ref() {
            return Err((R::LeafOrigin, format!("its origin is not {}", self.job.origin)));
        }
        if leaf.body.tenant().is_none() && self.job.class.as_ref() != DEFAULT_CLASS {
            let detail = format!("a leaf of kind {} in class {}", leaf.body.kind(), self.job.class);
            return Err((R::SegmentClass, detail));
        }
        match (&leaf.body, parts.event, parts.raw_base64) {
            (Body::Entry { event, tenant, .. }, Some(bytes), None) => check_entry(event, tenant, bytes),
            (Body::Rejected { raw, raw_bytes, .. }, None, Some(base64)) => {
                self.check_raw(raw, *raw_bytes, base64)
            }
            (
                Body::Genesis { .. }
                | Body::Duplicate { .. }
                | Body::Rerouted { .. }
                | Body::Source { .. }
                | Body::Cut { .. }
                | Body::Key { .. }
                | Body::Hold { .. },
                None,
                None,
            ) => Ok(()),
            _ => Err((
                R::LineForm,
                format!("a leaf of kind {} has something else beside it", leaf.body.kind()),
            )),
        }
    }

    fn check_raw(&mut self, raw: &Digest, raw_bytes: u64, base64: &[u8]) -> Result<(), (Reason, String)> {
        if base64::decode_into(base64, &mut self.raw).is_none() {
            return Err((R::RawForm, "it does not decode".to_owned()));
        }
        let length = self.raw.len();
        if length as u64 != raw_bytes {
            return Err((
                R::RawLength,
                format!("it has {length} bytes, the leaf says {raw_bytes}"),
            ));
        }
        if Sha256::digest(&self.raw)[..] != raw[..] {
            return Err((R::RawDigest, "its SHA-256 is not the leaf's raw".to_owned()));
        }
        Ok(())
    }
}

fn check_entry(digest: &Digest, tenant: &str, event: &[u8]) -> Result<(), (Reason, String)> {
    if Sha256::digest(event)[..] != digest[..] {
        return Err((R::EventDigest, "its SHA-256 is not the leaf's event".to_owned()));
    }
    let members = check_event(event, &LIMITS).map_err(|refusal| (R::EventForm, refusal.to_string()))?;
    if members.tenant_id != tenant {
        let detail = format!("its tenant_id is {}", members.tenant_id);
        return Err((R::EventTenant, detail));
    }
    Ok(())
}

/// Counts the bytes that were read.
struct Counting<'c, R> {
    object: R,
    bytes: &'c Cell<u64>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.object.read(into)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Cut;
    use super::super::{Names, ObjectReader};
    use super::*;
    use crate::ledger::segment::{compress, write_line};

    /// Answers every name with this object.
    struct OneObject(Vec<u8>);

    impl ArchiveSource for OneObject {
        fn list<'s>(&'s self, _: &str) -> Result<Names<'s>, SourceError> {
            Ok(Box::new(std::iter::empty()))
        }

        fn read<'s>(&'s self, _: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
            Ok(Some(Box::new(&self.0[..])))
        }
    }

    /// A segment of duplicates of leaf 0, and the job to read it.
    fn duplicates(count: u64, source: &str, tenant: &str) -> (OneObject, SegmentJob) {
        let mut lines = Vec::new();
        for index in 1..=count {
            let leaf = Leaf {
                index,
                origin: "a/0",
                sealed_at: 0,
                body: Body::Duplicate {
                    of: 0,
                    source,
                    tenant: Some(tenant),
                },
            };
            write_line(&mut lines, &leaf.to_bytes(), None, None);
        }
        let job = SegmentJob {
            origin: "a/0".into(),
            class: DEFAULT_CLASS.into(),
            cut: Cut {
                first: 1,
                last: count,
                day: 0,
            },
            closes_cut: true,
        };
        (OneObject(compress(&lines).unwrap()), job)
    }

    fn chunk_rows((source, job): (OneObject, SegmentJob)) -> Vec<usize> {
        let mut rows = Vec::new();
        let ending = check_segment(&source, &job, &mut |chunk| {
            rows.push(chunk.rows.len());
            Ok(())
        });
        assert!(matches!(ending, Ok(Ending::Whole { .. })));
        rows
    }

    #[test]
    fn rows_are_handed_on_by_the_chunk_and_not_held_until_the_end() {
        let short = |count| chunk_rows(duplicates(count, "t/0@1", "t"));
        assert_eq!(short(511), [511]);
        assert_eq!(short(512), [512, 0]);
        assert_eq!(short(1_030), [512, 512, 6]);
        // A row's text is its tenant and its source: 328 bytes here, of which 400 are the first beyond 128 KiB.
        let source = format!("{}/0@1", "t".repeat(196));
        assert_eq!(chunk_rows(duplicates(402, &source, &"t".repeat(128))), [400, 2]);
    }

    #[test]
    fn nothing_is_read_on_after_enough() {
        let (source, job) = duplicates(1_030, "t/0@1", "t");
        let mut chunks = 0;
        let ending = check_segment(&source, &job, &mut |_| {
            chunks += 1;
            Err(Enough)
        });
        assert!(ending.is_err());
        assert_eq!(chunks, 1);
    }
}
