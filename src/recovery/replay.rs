//! An archive's partition folded to what a snapshot holds: the state and the tree as of its last cut. Reads only.

use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::leaf::Leaf;
use crate::ledger::merkle::{CompactRange, leaf_hash};
use crate::ledger::names;
use crate::ledger::note::NOTE_BYTES_MAX;
use crate::ledger::segment::{FrameError, LineReader, LineRef, parse_line};
use crate::ledger::verify::{ArchiveSource, Plan, SegmentJob, SourceError};
use crate::stages::restore::PartitionConfig;
use crate::stages::state::{LeafRecord, PartitionState};
use data_encoding::BASE64;
use std::io::Read as _;
use std::ops::Range;

/// A partition as of its last archived cut.
#[derive(Debug)]
pub struct Replayed {
    /// Without marks of what was forwarded or captured: they are of topics, whose offsets the archive does not have, and after a loss mean others.
    pub state: PartitionState,
    pub tree: CompactRange,
    /// The signed checkpoint of the cut, as it is archived.
    pub checkpoint: Vec<u8>,
}

impl Replayed {
    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The archive is not one that is valid. It was verified before: it has changed since.
    #[error("{origin}: {what}: the archive is not as it was verified, or was written meanwhile")]
    Invalid { origin: String, what: String },
}

/// Folds all that the archive holds of a partition. `log_name` is the archive's own. Memory is what the partition's state and one cut take, at most 64 MiB.
///
/// # Errors
/// Where the archive cannot be read, or does not hold together.
pub fn replay(
    source: &dyn ArchiveSource,
    log_name: &str,
    config: &PartitionConfig,
    on_cut: &mut dyn FnMut(u64),
) -> Result<Replayed, ReplayError> {
    let plan = Plan::make(source, log_name, config.partition)?;
    let invalid = |what: String| ReplayError::Invalid {
        origin: config.origin.clone(),
        what,
    };
    if let Some(broken) = &plan.broken {
        return Err(invalid(broken.detail.clone()));
    }
    let mut state = PartitionState::new(&config.origin, config.partition, config.window_entries_max);
    let mut tree = CompactRange::new();
    let mut cut = CutLines::default();
    for job in (0..).map_while(|at| plan.job(at)) {
        cut.read(source, &job)
            .map_err(|error| error.told(&config.origin, &job))?;
        if job.closes_cut {
            cut.apply(config, &mut state, &mut tree).map_err(&invalid)?;
            on_cut(tree.size());
        }
    }
    let checkpoint = checkpoint(source, &config.origin, &tree)?;
    state.forwarded.clear();
    Ok(Replayed {
        state,
        tree,
        checkpoint,
    })
}

/// The archived checkpoint of the tree, whose root it MUST have.
fn checkpoint(source: &dyn ArchiveSource, origin: &str, tree: &CompactRange) -> Result<Vec<u8>, ReplayError> {
    let name = names::checkpoint(origin, tree.size());
    let invalid = |what: &str| ReplayError::Invalid {
        origin: origin.to_owned(),
        what: format!("{name} {what}"),
    };
    let object = source.read(&name)?.ok_or_else(|| invalid("is not there"))?;
    let mut bytes = Vec::new();
    object
        .take(NOTE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| SourceError {
            object: name.clone(),
            source,
        })?;
    let signed = SignedCheckpoint::parse(&bytes).map_err(|_| invalid("is no checkpoint"))?;
    if signed.checkpoint.origin != origin || signed.checkpoint.root != tree.root() {
        return Err(invalid("is of another tree"));
    }
    Ok(bytes)
}

/// The lines of one cut. Those of several classes lie in several objects.
#[derive(Default)]
struct CutLines {
    bytes: Vec<u8>,
    /// By the index of the leaf.
    lines: Vec<(u64, Range<usize>)>,
}

enum LinesError {
    Frame(FrameError),
    Source(SourceError),
    Other(&'static str),
}

impl LinesError {
    fn told(self, origin: &str, job: &SegmentJob) -> ReplayError {
        let object = job.object_name();
        let invalid = |what: String| ReplayError::Invalid {
            origin: origin.to_owned(),
            what,
        };
        match self {
            Self::Source(error) => error.into(),
            Self::Frame(FrameError::Read(source)) => SourceError { object, source }.into(),
            Self::Frame(error) => invalid(format!("{object}: {error}")),
            Self::Other(what) => invalid(format!("{object}: {what}")),
        }
    }
}

impl CutLines {
    fn read(&mut self, source: &dyn ArchiveSource, job: &SegmentJob) -> Result<(), LinesError> {
        let object = source
            .read(&job.object_name())
            .map_err(LinesError::Source)?
            .ok_or(LinesError::Other("it is not there"))?;
        let mut reader = LineReader::open(object).map_err(LinesError::Frame)?;
        while let Some(line) = reader.next_line().map_err(LinesError::Frame)? {
            let index = parse_line(line)
                .ok()
                .and_then(|parts| Leaf::parse(parts.leaf).ok())
                .map(|leaf| leaf.index)
                .ok_or(LinesError::Other("a line is not one"))?;
            let from = self.bytes.len();
            self.bytes.extend_from_slice(line);
            self.lines.push((index, from..self.bytes.len()));
        }
        Ok(())
    }

    /// Folds the lines in order of their leaves, and forgets them.
    fn apply(
        &mut self,
        config: &PartitionConfig,
        state: &mut PartitionState,
        tree: &mut CompactRange,
    ) -> Result<(), String> {
        self.lines.sort_by_key(|(index, _)| *index);
        for (index, at) in self.lines.drain(..) {
            let line = self.bytes.get(at).unwrap_or_default();
            let parts = parse_line(line).map_err(|error| format!("the line of leaf {index}: {error}"))?;
            apply(&parts, config, state, tree).map_err(|error| format!("leaf {index}: {error}"))?;
        }
        self.bytes.clear();
        Ok(())
    }
}

/// As an accepted record of the log is taken.
fn apply(
    parts: &LineRef<'_>,
    config: &PartitionConfig,
    state: &mut PartitionState,
    tree: &mut CompactRange,
) -> Result<(), String> {
    let leaf = Leaf::parse(parts.leaf).map_err(|error| error.to_string())?;
    let raw = parts
        .raw_base64
        .map(|raw| BASE64.decode(raw))
        .transpose()
        .map_err(|error| error.to_string())?;
    let record = LeafRecord {
        leaf: &leaf,
        leaf_bytes: parts.leaf,
        event: parts.event,
        raw: raw.as_deref(),
        via: None,
    };
    state
        .verify_and_apply(&record, &config.limits)
        .map_err(|violation| violation.to_string())?;
    tree.push(leaf_hash(parts.leaf));
    Ok(())
}
