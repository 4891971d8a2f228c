//! An archive's partition folded to what a snapshot holds: the state and the tree as of its last cut. Reads only.

use super::lines::{CutLines, LinesError};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::merkle::CompactRange;
use crate::ledger::names;
use crate::ledger::note::NOTE_BYTES_MAX;
use crate::ledger::verify::{ArchiveSource, Plan, SourceError};
use crate::stages::restore::PartitionConfig;
use crate::stages::state::PartitionState;
use std::io::Read as _;

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
        let name = job.object_name();
        cut.read(source, &name).map_err(|error| match error {
            LinesError::Source(error) => error.into(),
            LinesError::Other(what) => invalid(format!("{name}: {what}")),
        })?;
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
