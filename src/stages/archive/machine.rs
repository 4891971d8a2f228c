//! From accepted records to the objects of a cut. Pure; the runner stores them.

use super::holds::HoldProgress;
use crate::clock::UnixMicros;
use crate::ledger::Digest;
use crate::ledger::key::PublicKey;
use crate::ledger::leaf::{Body, KeyAction};
use crate::ledger::merkle::leaf_hash;
use crate::ledger::names;
use crate::ledger::segment::{Frame, SegmentBuilder, SegmentError};
use crate::ledger::tile::{TileBuilder, TileName};
use crate::stages::state::LeafRecord;
use std::collections::BTreeMap;

/// Which archive class a tenant's leaves belong to; `default` where none is given.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    by_tenant: BTreeMap<String, String>,
}

impl Classes {
    /// `None` where a class's name is not allowed.
    #[must_use]
    pub fn new(by_tenant: BTreeMap<String, String>) -> Option<Self> {
        by_tenant
            .values()
            .all(|class| names::is_class(class))
            .then_some(Self { by_tenant })
    }

    fn of(&self, tenant: Option<&str>) -> &str {
        tenant
            .and_then(|tenant| self.by_tenant.get(tenant))
            .map_or(names::DEFAULT_CLASS, String::as_str)
    }
}

/// The open segment of one partition. Holds what its lines are compressed, and about 3 MiB for each class: what the log cuts by bytes is bounded.
pub struct ArchiveMachine {
    origin: String,
    classes: Classes,
    tree: TileBuilder,
    full_tiles: Vec<(TileName, Vec<u8>)>,
    /// By class.
    open: BTreeMap<String, SegmentBuilder>,
    genesis_keys: Vec<PublicKey>,
    added_keys: Vec<PublicKey>,
    /// As of the last leaf that was taken.
    holds: HoldProgress,
}

/// The lines of one class between two cuts.
#[derive(Debug)]
pub struct Segment {
    pub name: String,
    pub class: String,
    pub frame: Frame,
}

/// All that a cut puts into the archive but its checkpoint.
#[derive(Debug)]
pub struct Finished {
    /// The cut's size of the tree, and the root that its checkpoint must have.
    pub size: u64,
    pub root: Digest,
    pub sealed_at: UnixMicros,
    /// Tiles by name.
    pub tiles: Vec<(String, Vec<u8>)>,
    pub segments: Vec<Segment>,
    /// Keys that this cut's leaves declare, in order.
    pub genesis_keys: Vec<PublicKey>,
    pub added_keys: Vec<PublicKey>,
    /// Holds as of the cut.
    pub holds: HoldProgress,
}

impl ArchiveMachine {
    /// Goes on from `tree`, whose size is that of the last archived cut, and from the holds as of it.
    #[must_use]
    pub fn new(origin: &str, classes: Classes, tree: TileBuilder, holds: HoldProgress) -> Self {
        Self {
            origin: origin.to_owned(),
            classes,
            tree,
            full_tiles: Vec::new(),
            open: BTreeMap::new(),
            genesis_keys: Vec::new(),
            added_keys: Vec::new(),
            holds,
        }
    }

    /// A leaf that is archived already: of it, only a hold counts.
    pub fn note_hold(&mut self, body: &Body<'_>) {
        if let Body::Hold { class, on } = body {
            self.holds.note(class, *on);
        }
    }

    #[must_use]
    pub fn holds(&self) -> &HoldProgress {
        &self.holds
    }

    /// As [`HoldProgress::told`].
    pub fn told(&mut self, class: &str, after: String) {
        self.holds.told(class, after);
    }

    /// As [`HoldProgress::told_all`].
    pub fn told_all(&mut self, class: &str) {
        self.holds.told_all(class);
    }

    /// As [`HoldProgress::tell_again`].
    pub fn tell_again(&mut self, class: Option<&str>, name: &str) {
        self.holds.tell_again(class, name);
    }

    /// The index that the next leaf must have; leaves below it are archived.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.tree.size()
    }

    /// Takes the next leaf; at a cut, everything that the cut closes.
    ///
    /// # Errors
    /// Where a segment cannot be compressed; the machine MUST NOT be used after that.
    pub fn take(&mut self, record: &LeafRecord<'_>) -> Result<Option<Finished>, SegmentError> {
        let leaf = record.leaf;
        self.tree.push(leaf_hash(record.leaf_bytes), &mut self.full_tiles);
        let class = self.classes.of(leaf.body.tenant());
        let segment = match self.open.get_mut(class) {
            Some(segment) => segment,
            None => self.open.entry(class.to_owned()).or_default(),
        };
        segment.push(record.leaf_bytes, record.event, record.raw)?;
        match &leaf.body {
            Body::Genesis { keys, .. } => self.genesis_keys.clone_from(keys),
            Body::Key {
                action: KeyAction::Add,
                key,
                ..
            } => self.added_keys.push(key.clone()),
            Body::Cut { from } => return self.finish(*from, leaf.index, leaf.sealed_at).map(Some),
            Body::Hold { class, on } => self.holds.note(class, *on),
            Body::Key {
                action: KeyAction::Retire,
                ..
            }
            | Body::Entry { .. }
            | Body::Duplicate { .. }
            | Body::Rejected { .. }
            | Body::Rerouted { .. }
            | Body::Source { .. } => {}
        }
        Ok(None)
    }

    fn finish(&mut self, first: u64, last: u64, cut_at: UnixMicros) -> Result<Finished, SegmentError> {
        let tile = |(name, bytes): (TileName, Vec<u8>)| (format!("{}/{}", self.origin, name.path()), bytes);
        let tiles = std::mem::take(&mut self.full_tiles)
            .into_iter()
            .chain(self.tree.partials())
            .map(tile)
            .collect();
        let segments = std::mem::take(&mut self.open)
            .into_iter()
            .map(|(class, segment)| {
                Ok(Segment {
                    name: names::segment(&self.origin, &class, cut_at, first, last),
                    class,
                    frame: segment.finish()?,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Finished {
            size: self.tree.size(),
            root: self.tree.root(),
            sealed_at: cut_at,
            tiles,
            segments,
            genesis_keys: std::mem::take(&mut self.genesis_keys),
            added_keys: std::mem::take(&mut self.added_keys),
            holds: self.holds.clone(),
        })
    }
}
