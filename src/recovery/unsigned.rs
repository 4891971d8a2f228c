//! A cut that is in the archive whole but for its checkpoint: the log was lost while it was being stored. It holds together with what was signed, and nobody
//! signed it, so whoever may put objects may have made it up. A person says whether it is taken.

use super::Replayed;
use super::judge::Judge;
use super::lines::CutLines;
use super::view::View;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::key::PublicKey;
use crate::ledger::merkle::CompactRange;
use crate::ledger::verify::SourceError;
use crate::stages::restore::PartitionConfig;
use crate::stages::state::PartitionState;

/// The leaves of the cut, and what they come to.
#[derive(Debug)]
pub struct UnsignedCut {
    pub(super) lines: CutLines,
    /// As of the cut.
    pub(super) state: PartitionState,
    pub(super) tree: CompactRange,
    /// The index of its first leaf.
    pub first: u64,
    pub entries: u64,
    /// What the archive has of it.
    pub objects: Vec<String>,
}

/// Why what lies behind the last checkpoint is no such cut.
#[derive(Debug, thiserror::Error)]
pub enum UnsignedError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{origin}: {what}")]
    Broken { origin: String, what: String },
}

impl UnsignedCut {
    /// What lies behind the last checkpoint of a partition that was replayed up to it; `None` where there is nothing.
    ///
    /// # Errors
    /// Where it is not one cut, whole and right, or there is anything that this cut does not call for.
    pub fn find(
        view: &View<'_>,
        config: &PartitionConfig,
        replayed: &Replayed,
    ) -> Result<Option<Self>, UnsignedError> {
        let objects = view.behind(&config.origin);
        if objects.is_empty() {
            return Ok(None);
        }
        let judge = Judge {
            view,
            config,
            replayed,
        };
        let segments = judge.segments(objects)?;
        let lines = judge.read(&segments)?;
        let cut = judge.fold(lines, &segments, objects)?;
        judge.check_objects(&cut, &segments)?;
        judge.check_keys(cut.keys())?;
        Ok(Some(cut))
    }

    /// How many leaves there are with it.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// How many it has itself.
    #[must_use]
    pub const fn leaves(&self) -> u64 {
        self.size().saturating_sub(self.first)
    }

    /// All keys that the partition has declared with it.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        self.state.keys.declared()
    }

    /// Whether this is its checkpoint, which somebody holds and the archive does not: then it was signed.
    #[must_use]
    pub fn is_signed_by(&self, head: &SignedCheckpoint, trusted: Option<&[PublicKey]>) -> bool {
        head.checkpoint.size == self.size()
            && head.checkpoint.root == self.tree.root()
            && head.checkpoint.origin == self.state.order.origin
            && head.verify_by_known(trusted.unwrap_or(self.keys())).is_ok()
    }
}
