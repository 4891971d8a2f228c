//! From accepted leaves to rows and tiles. Pure.

use super::members::Members;
use crate::ledger::Digest;
use crate::ledger::chain::entry_hash;
use crate::ledger::leaf::{Body, Leaf};
use crate::ledger::merkle::leaf_hash;
use crate::ledger::tile::{TileBuilder, TileName};
use crate::ledger::time::parse_occurred_at;
use crate::stages::state::{LeafRecord, Violation, check_digests};

/// One leaf, with what has a column.
#[derive(Debug)]
pub struct LeafRow<'r> {
    pub leaf: Leaf<'r>,
    pub leaf_bytes: &'r [u8],
    /// The canonical event of an entry.
    pub event: Option<&'r [u8]>,
    /// Of an entry: by which its tenant's next one names it.
    pub entry_hash: Option<Digest>,
    pub members: Option<Members<'r>>,
    pub occurred_at: Option<i64>,
}

impl<'r> LeafRow<'r> {
    /// Takes a leaf and its event apart. The same for who writes a row and for who compares one.
    ///
    /// # Errors
    /// Where the event is not the leaf's.
    pub fn new(leaf: Leaf<'r>, leaf_bytes: &'r [u8], event: Option<&'r [u8]>) -> Result<Self, Violation> {
        let index = leaf.index;
        let is_entry = matches!(leaf.body, Body::Entry { .. });
        let members = match event.filter(|_| is_entry) {
            Some(event) => Some(Members::read(event).ok_or(Violation::Event { index })?),
            None => None,
        };
        Ok(Self {
            occurred_at: members
                .as_ref()
                .and_then(|members| parse_occurred_at(&members.occurred_at)),
            entry_hash: is_entry.then(|| entry_hash(leaf_bytes)),
            leaf,
            leaf_bytes,
            event,
            members,
        })
    }

    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.leaf.body.sequence()
    }
}

/// The tree of a partition as it grows.
#[derive(Debug, Clone)]
pub struct IndexMachine {
    tree: TileBuilder,
    completed: Vec<(TileName, Vec<u8>)>,
}

impl IndexMachine {
    /// Goes on behind the leaves of `tree`.
    #[must_use]
    pub fn new(tree: TileBuilder) -> Self {
        Self {
            tree,
            completed: Vec::new(),
        }
    }

    /// The row of an accepted leaf.
    ///
    /// # Errors
    /// Where what is stored beside the leaf is not what it names.
    pub fn take<'r>(
        &mut self,
        leaf: Leaf<'r>,
        leaf_bytes: &'r [u8],
        event: Option<&'r [u8]>,
        raw: Option<&[u8]>,
    ) -> Result<LeafRow<'r>, Violation> {
        check_digests(&LeafRecord {
            leaf: &leaf,
            leaf_bytes,
            event,
            raw,
            via: None,
        })?;
        self.tree.push(leaf_hash(leaf_bytes), &mut self.completed);
        LeafRow::new(leaf, leaf_bytes, event)
    }

    /// The tiles that the leaves taken since the last call have completed, and those that are still to grow.
    pub fn tiles(&mut self) -> Vec<(TileName, Vec<u8>)> {
        let mut tiles = std::mem::take(&mut self.completed);
        tiles.extend(self.tree.partials());
        tiles
    }

    /// Leaves taken, from the ledger's beginning.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }

    #[must_use]
    pub fn root(&self) -> Digest {
        self.tree.root()
    }
}
