//! The verifier: everything that docs/FORMAT.md section 7 asks of one, from an archive and trusted keys alone.
//!
//! ```text
//! names ─▶ plan ─▶ lines (threads: decode, digests, canonical form) ─▶ fold ─▶ partition (order, chains, keys, tree) ─▶ report
//! ```
//!
//! [`verify`] reads every byte once, segment by segment and partition by partition, in memory that does not depend on the
//! archive's size beyond 40 bytes a segment and about 100 a tenant of the largest partition: below 128 MiB for an archive that the
//! service wrote, whatever the number of processors (a line of 16 MiB, which only another writer makes, costs each of at most
//! [`THREADS_MAX`] threads as much again). It does no I/O of its own:
//! an [`ArchiveSource`] reads. A fault in what was read is a [`Report`]; an object that could not be read is a [`SourceError`].

mod completeness;
mod fold;
mod layout;
mod lines;
mod partition;
mod pipeline;
mod plan;
mod reason;
mod report;
mod summary;
mod whole;

pub use completeness::{Completeness, Consumed, Endings, GAPS_MAX};
pub use reason::Reason;
pub use report::{FirstBad, NotEstablished, PartitionHead, Report, Verdict};

use super::checkpoint::SignedCheckpoint;
use super::key::PublicKey;
use super::leaf::{Body, Leaf};
use super::partition::partition_of;
use super::segment::{LineReader, parse_line};
use crate::clock::UnixMicros;
use fold::{Fold, Stop};
pub(crate) use layout::{CutSizes, ObjectName, Part, split_origin};
pub use pipeline::THREADS_MAX;
use pipeline::{Planner, run_inline, run_threaded};
use plan::Census;
pub(crate) use plan::Plan;
use std::io;
use whole::Whole;

/// Names, one after the other.
pub type Names<'s> = Box<dyn Iterator<Item = Result<String, SourceError>> + 's>;
/// An object's bytes.
pub type ObjectReader<'s> = Box<dyn io::Read + Send + 's>;

/// Where the archive is read from. It MUST NOT change while it is verified.
pub trait ArchiveSource: Sync {
    /// The names of all objects that begin with `prefix`, each once, in any order. Where something lies that is no object and cannot
    /// be one, such as a symbolic link, its name is given with a `/` behind it, which makes the archive invalid.
    ///
    /// # Errors
    /// Where they cannot be listed.
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError>;

    /// These small objects will be read soon, about in this order, and those that were expected before no more: a source to which each is a round trip may fetch them
    /// meanwhile. Whether it does makes no difference to what is read.
    fn coming(&self, names: Vec<String>) {
        drop(names);
    }

    /// This large object will be read soon, once: a source to which its first byte is a round trip may begin to fetch it, a bounded part ahead. Whether it does makes no
    /// difference to what is read.
    fn soon(&self, name: &str) {
        let _ = name;
    }

    /// The object of that name, `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError>;
}

/// The archive could not be read. This says nothing about what it holds.
#[derive(Debug, thiserror::Error)]
#[error("{object} cannot be read")]
pub struct SourceError {
    /// An object's name, or what else was to be read.
    pub object: String,
    #[source]
    pub source: io::Error,
}

impl SourceError {
    pub fn new(object: impl Into<String>, what: &'static str) -> Self {
        Self {
            object: object.into(),
            source: io::Error::other(what),
        }
    }
}

/// What the archive is held against.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keys that are trusted. Without them the verdict is at most [`Verdict::Consistent`].
    pub trusted: Option<Vec<PublicKey>>,
    /// Signed checkpoints from elsewhere that the archive must contain, at most one of which counts for each size.
    pub expected_heads: Vec<SignedCheckpoint>,
    /// The last cut of every partition must be sealed at or after it.
    pub not_before: Option<UnixMicros>,
    /// Only the partition of this tenant is looked at, and entries are counted of it alone.
    pub tenant: Option<String>,
    /// Only this partition is looked at; not beside `tenant`.
    pub partition: Option<u32>,
    /// Whether the report says which offsets of each source were consumed.
    pub completeness: bool,
    /// Threads that read segments, of which [`THREADS_MAX`] are used; with 0 or 1 everything happens on the caller's.
    pub threads: usize,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub objects: u64,
    pub objects_total: u64,
    pub entries: u64,
    pub bytes: u64,
    pub line_bytes: u64,
}

/// Verifies an archive. The report is the same whatever the number of threads.
///
/// # Errors
/// Where the archive cannot be read. An archive that is wrong is no error but a report.
pub fn verify(
    source: &dyn ArchiveSource,
    options: &Options,
    on_progress: &mut (dyn FnMut(&Progress) + Send),
) -> Result<Report, SourceError> {
    let census = Census::take(source)?;
    let only = match &options.tenant {
        Some(tenant) => partition_of_tenant(source, &census, tenant)?,
        None => options.partition,
    };
    let whole = Whole::new(source, options, &census, only, on_progress);
    let (log_name, partitions) = match judge_census(&census, only) {
        Ok(found) => found,
        Err(bad) => return Ok(whole.into_report(Some(*bad))),
    };
    let planner = Planner::new(source, log_name, partitions);
    let mut fold = Fold::new(whole);
    let outcome = match options.threads {
        0 | 1 => run_inline(planner, &mut fold),
        threads => run_threaded(planner, threads, &mut fold),
    };
    match outcome.and_then(|()| fold.finish()) {
        Ok(()) => Ok(fold.whole.into_report(None)),
        Err(Stop::Bad(bad)) => Ok(fold.whole.into_report(Some(*bad))),
        Err(Stop::Unreadable(error)) => Err(error),
    }
}

/// The log's name and the partitions to look at.
fn judge_census(
    census: &Census,
    only: Option<u32>,
) -> Result<(&str, std::ops::RangeInclusive<u32>), Box<FirstBad>> {
    if let Some(name) = &census.no_object {
        let detail = "it is not a regular file: it was not opened";
        let bad = FirstBad::new(Reason::UnknownObject, detail).object(name.trim_end_matches('/'));
        return Err(Box::new(bad));
    }
    let (Some(log_name), Some(last)) = (&census.log_name, census.partitions.last()) else {
        let detail = "no object has the name of a segment, a tile or a checkpoint";
        return Err(Box::new(FirstBad::new(Reason::NoPartition, detail)));
    };
    if let Some(other) = &census.other_log {
        let detail = format!("it holds objects of {log_name} and of {other}");
        return Err(Box::new(FirstBad::new(Reason::TwoLogs, detail)));
    }
    Ok((log_name, only.map_or(0..=*last, |only| only..=only)))
}

/// The tenant's partition, by the number of partitions that the first genesis leaf declares. `None` where there is no such
/// leaf to be read: then everything is looked at, and that is found. Nothing has verified that leaf, so what it leads to must
/// say the same: [`Whole::begin_partition`] sees to it.
fn partition_of_tenant(
    source: &dyn ArchiveSource,
    census: &Census,
    tenant: &str,
) -> Result<Option<u32>, SourceError> {
    let (Some(log_name), Some(first)) = (&census.log_name, census.partitions.first()) else {
        return Ok(None);
    };
    let plan = Plan::make(source, log_name, *first)?;
    let closing = (0..).map_while(|at| plan.job(at)).find(|job| job.closes_cut);
    let Some(job) = closing else { return Ok(None) };
    let partitions = declared_partitions(source, &job.object_name())?;
    Ok(partitions.map(|partitions| partition_of(tenant, partitions)))
}

/// How many partitions the genesis leaf in a partition's first segment declares; `None` where none can be read there. Nothing has verified it.
///
/// # Errors
/// Where the archive cannot be read.
pub(crate) fn declared_partitions(
    source: &dyn ArchiveSource,
    segment: &str,
) -> Result<Option<u32>, SourceError> {
    let Some(object) = source.read(segment)? else {
        return Ok(None);
    };
    let Ok(mut lines) = LineReader::open(object) else {
        return Ok(None);
    };
    let Ok(Some(line)) = lines.next_line() else {
        return Ok(None);
    };
    Ok(parse_line(line)
        .ok()
        .and_then(|parts| genesis_partitions(parts.leaf)))
}

fn genesis_partitions(leaf: &[u8]) -> Option<u32> {
    let Body::Genesis { partitions, .. } = Leaf::parse(leaf).ok()?.body else {
        return None;
    };
    u32::try_from(partitions).ok()
}
