//! What of a partition comes into the log: what was signed, and a cut behind it that is taken over.

use super::{Replayed, UnsignedCut};
use crate::ledger::Digest;
use crate::log::record::Session;
use crate::stages::state::PartitionState;

/// What of a partition is to be in the log.
#[derive(Debug, Clone, Copy)]
pub struct Recovered<'r> {
    pub replayed: &'r Replayed,
    /// Where it is to be taken.
    pub unsigned: Option<&'r UnsignedCut>,
}

impl Recovered<'_> {
    /// How many leaves there will be.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.unsigned.map_or(self.replayed.size(), UnsignedCut::size)
    }

    pub(super) fn root(&self) -> Digest {
        self.unsigned
            .map_or_else(|| self.replayed.tree.root(), |cut| cut.tree.root())
    }

    pub(super) fn state(&self) -> &PartitionState {
        self.unsigned.map_or(&self.replayed.state, |cut| &cut.state)
    }

    /// The session of the fence: of what is recovered alone, so that a later run knows its own, and does not go on with what another one took.
    pub(super) fn session(&self, origin: &str) -> Session {
        let mut hasher = blake3::Hasher::new_derive_key("ledgerline 2026 session of a restore v1");
        hasher.update(origin.as_bytes());
        hasher.update(&self.replayed.size().to_le_bytes());
        hasher.update(&self.replayed.tree.root());
        if self.unsigned.is_some() {
            hasher.update(&self.size().to_le_bytes());
            hasher.update(&self.root());
        }
        let mut session = [0; 16];
        hasher.finalize_xof().fill(&mut session);
        session
    }
}
