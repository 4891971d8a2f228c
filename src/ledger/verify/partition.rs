//! One partition: order, chains, keys, tree, and the tiles and checkpoints that go with its cuts.

use super::super::chain::Heads;
use super::super::checkpoint::{CheckpointError, SignedCheckpoint};
use super::super::key::PublicKey;
use super::super::keyring::{KeyError, KeyRing};
use super::super::leaf::{Body, Leaf};
use super::super::names;
use super::super::note::NOTE_BYTES_MAX;
use super::super::order::Order;
use super::super::tile::{TileBuilder, TileName, names_of_growth};
use super::super::time::utc_day;
use super::fold::Stop;
use super::layout::CutSizes;
use super::plan::{Plan, SegmentJob};
use super::report::{FirstBad, PartitionHead};
use super::summary::{Chunk, Row};
use super::whole::Whole;
use super::{Options, Reason};
use std::sync::Arc;

/// Of a cut: a segment's 64 MiB hold about as many.
const EXPECTED_LEAVES_MAX: u64 = 1 << 17;

pub struct PartitionFold<'v> {
    pub plan: Arc<Plan>,
    order: Order,
    chains: Heads,
    keys: KeyRing,
    tree: TileBuilder,
    /// Tiles that the last leaf completed.
    completed: Vec<(TileName, Vec<u8>)>,
    /// The partial tiles of the last cut: the next one may have them still.
    partials: Vec<TileName>,
    /// Expected heads of this partition by size, and how many of them were met.
    heads: Vec<&'v SignedCheckpoint>,
    heads_met: usize,
    trusted: Option<&'v [PublicKey]>,
}

impl<'v> PartitionFold<'v> {
    pub fn new(plan: Arc<Plan>, options: &'v Options) -> Self {
        let mut heads: Vec<_> = options
            .expected_heads
            .iter()
            .filter(|head| head.checkpoint.origin == plan.origin.as_ref())
            .collect();
        heads.sort_by_key(|head| head.checkpoint.size);
        Self {
            order: Order::new(&plan.origin, plan.partition),
            plan,
            chains: Heads::default(),
            keys: KeyRing::default(),
            tree: TileBuilder::new(),
            completed: Vec::new(),
            partials: Vec::new(),
            heads,
            heads_met: 0,
            trusted: options.trusted.as_deref(),
        }
    }

    /// Takes the next leaf.
    pub fn apply(
        &mut self,
        job: &SegmentJob,
        chunk: &Chunk,
        row: &Row,
        whole: &mut Whole<'v>,
    ) -> Result<(), Stop> {
        let plan = Arc::clone(&self.plan);
        let at = |reason, detail: String| self.bad_leaf(job, row, reason, detail);
        let (leaf, hash) = chunk
            .leaf(row, &plan.origin)
            .map_err(|error| at(Reason::LeafForm, error.to_string()))?;
        if matches!(leaf.body, Body::Cut { .. }) != (leaf.index == job.cut.last) {
            let detail = format!("its cut is not the leaf at index {}", job.cut.last);
            return Err(at(Reason::SegmentName, detail).into());
        }
        if self.tree.size() == 0 {
            self.expect_heads()?;
        }
        if leaf.index == job.cut.first {
            self.expect_objects(job, whole);
        }
        self.order
            .apply(&leaf)
            .map_err(|error| self.bad_row(job, &leaf, Reason::from(&error), error.to_string()))?;
        match &leaf.body {
            Body::Genesis { keys, .. } => {
                self.keys = KeyRing::genesis(keys).map_err(|error| self.bad_key(job, &leaf, &error))?;
                whole
                    .begin_partition(&self.order, keys)
                    .map_err(|(reason, detail)| self.bad_row(job, &leaf, reason, detail))?;
            }
            Body::Entry {
                tenant,
                sequence,
                prev,
                ..
            } => {
                self.chains
                    .advance(tenant, *sequence, prev, hash)
                    .map_err(|error| self.bad_row(job, &leaf, error.into(), error.to_string()))?;
                whole.count_entry(tenant, *sequence);
            }
            Body::Key { action, key, proof } => self
                .keys
                .apply(&plan.origin, leaf.index, *action, key, proof)
                .map_err(|error| self.bad_key(job, &leaf, &error))?,
            Body::Duplicate { .. } | Body::Rejected { .. } => whole.has_refusals = true,
            Body::Rerouted { .. } | Body::Source { .. } | Body::Cut { .. } | Body::Hold { .. } => {}
        }
        if let Some(completeness) = &mut whole.report.completeness {
            completeness.take(&leaf);
        }
        whole.report.leaves += 1;
        self.tree.push(row.leaf_hash, &mut self.completed);
        self.check_completed_tiles(whole)?;
        self.expect_heads()
    }

    /// What will be read of the cut that begins: while its leaves are folded, the archive may have its tiles come. Of a cut that claims too much, the first.
    fn expect_objects(&self, job: &SegmentJob, whole: &Whole<'v>) {
        let size = job.cut.last.saturating_add(1);
        let end = size.min(job.cut.first.saturating_add(EXPECTED_LEAVES_MAX));
        let tiles = names_of_growth(job.cut.first, end)
            .into_iter()
            .map(|tile| format!("{}/{}", self.plan.origin, tile.path()));
        let checkpoint = names::checkpoint(&self.plan.origin, size);
        whole.source.coming(tiles.chain([checkpoint]).collect());
    }

    fn check_completed_tiles(&mut self, whole: &mut Whole<'v>) -> Result<(), Stop> {
        for (tile, bytes) in std::mem::take(&mut self.completed) {
            self.check_tile(&tile, &bytes, whole)?;
        }
        Ok(())
    }

    fn check_tile(&self, tile: &TileName, bytes: &[u8], whole: &mut Whole<'v>) -> Result<(), Stop> {
        let name = format!("{}/{}", self.plan.origin, tile.path());
        let index = self.tree.size().saturating_sub(1);
        let bad = |reason, detail: String| {
            FirstBad::new(reason, detail)
                .object(&name)
                .partition(self.plan.partition)
                .index(index)
        };
        match whole.read_small(&name, bytes.len())? {
            None => Err(bad(Reason::MissingObject, "there is no such object".to_owned()).into()),
            Some(found) if found != bytes => {
                let detail = differing_hash(&found, bytes);
                Err(bad(Reason::TileDiffers, detail).into())
            }
            Some(_) => Ok(()),
        }
    }

    /// Holds the expected heads of this size against the tree.
    fn expect_heads(&mut self) -> Result<(), Stop> {
        while let Some(head) = self.heads.get(self.heads_met)
            && head.checkpoint.size == self.tree.size()
        {
            if head.checkpoint.root != self.tree.root() {
                // A head that nobody signed accuses no archive.
                self.check_head_signature(head)?;
                let detail = format!("at size {} the archive's root is another one", self.tree.size());
                let bad = FirstBad::new(Reason::HeadRoot, detail).partition(self.plan.partition);
                return Err(bad.into());
            }
            self.heads_met += 1;
        }
        Ok(())
    }

    fn check_head_signature(&self, head: &SignedCheckpoint) -> Result<(), FirstBad> {
        let known = self.trusted.unwrap_or(self.keys.declared());
        if known.is_empty() {
            // Before genesis nobody is known yet; the signature is looked at with all others at the end.
            return Ok(());
        }
        head.verify_by_known(known).map(drop).map_err(|error| {
            let detail = format!("the head of {}: {error}", self.plan.origin);
            FirstBad::new(Reason::HeadSignature, detail).partition(self.plan.partition)
        })
    }

    /// After the last leaf of a cut: its day, partial tiles and checkpoint.
    pub fn end_cut(&mut self, job: &SegmentJob, whole: &mut Whole<'v>) -> Result<(), Stop> {
        let bad = |reason, detail: String| {
            FirstBad::new(reason, detail)
                .object(job.object_name())
                .partition(self.plan.partition)
        };
        if self.order.next_index != job.cut.last + 1 {
            let detail = format!(
                "the cut's objects end before index {}, their name says {}",
                self.order.next_index, job.cut.last
            );
            return Err(bad(Reason::LeafIndex, detail).index(self.order.next_index).into());
        }
        let (found, due) = (utc_day(job.cut.day), utc_day(self.order.last_sealed_at));
        if found != due {
            let detail = format!("the name says {found}, the cut was sealed on {due}");
            return Err(bad(Reason::SegmentName, detail).index(job.cut.last).into());
        }
        let partials = self.tree.partials();
        for (tile, bytes) in &partials {
            if !self.partials.contains(tile) {
                self.check_tile(tile, bytes, whole)?;
            }
        }
        self.partials = partials.into_iter().map(|(tile, _)| tile).collect();
        self.check_checkpoint(whole)
    }

    fn check_checkpoint(&self, whole: &mut Whole<'v>) -> Result<(), Stop> {
        let size = self.tree.size();
        let name = names::checkpoint(&self.plan.origin, size);
        let bad = |reason, detail: String| {
            FirstBad::new(reason, detail)
                .object(&name)
                .partition(self.plan.partition)
                .index(size.saturating_sub(1))
        };
        let Some(bytes) = whole.read_small(&name, NOTE_BYTES_MAX)? else {
            return Err(bad(Reason::MissingObject, "there is no such object".to_owned()).into());
        };
        let signed = SignedCheckpoint::parse(&bytes)
            .map_err(|error| bad(Reason::CheckpointForm, error.to_string()))?;
        if signed.format() != bytes {
            let detail = "it is spelled in another way than the format's".to_owned();
            return Err(bad(Reason::CheckpointForm, detail).into());
        }
        let found = &signed.checkpoint;
        if found.origin != self.plan.origin.as_ref() || found.size != size {
            let detail = format!("it is of {} at size {}", found.origin, found.size);
            return Err(bad(Reason::CheckpointPlace, detail).into());
        }
        if found.root != self.tree.root() {
            let detail = "the leaves before it give another root".to_owned();
            return Err(bad(Reason::CheckpointRoot, detail).into());
        }
        let signers = self.keys.signers();
        signed
            .verify_by_signers(&signers)
            .map_err(|error: CheckpointError| bad(Reason::CheckpointSignature, error.to_string()))?;
        if !whole.trusts_one_of(&signers) {
            let detail = format!("it is signed by {}", kids(&signers));
            return Err(bad(Reason::UntrustedKey, detail).into());
        }
        whole.report.checkpoints += 1;
        Ok(())
    }

    /// After the last cut.
    pub fn end(mut self, whole: &mut Whole<'v>) -> Result<(), Stop> {
        if let Some(broken) = &self.plan.broken {
            return Err(broken.clone().into());
        }
        self.check_listing(whole)?;
        self.expect_heads()?;
        let bad = |reason, detail: String| FirstBad::new(reason, detail).partition(self.plan.partition);
        let size = self.tree.size();
        let short = self.missing_tail(size, whole.options);
        // What is there was checked, and is counted, although more was demanded.
        let ended = whole.end_partition(self.keys.declared(), &self.chains);
        whole.report.heads.push(PartitionHead {
            origin: self.plan.origin.to_string(),
            size,
            root: self.tree.root(),
            cut_at: self.order.last_sealed_at,
        });
        if let Some(bad) = short {
            return Err(bad.into());
        }
        Ok(ended.map_err(|detail| bad(Reason::KeysDiffer, detail))?)
    }

    /// What is demanded of the partition's end, and not there.
    fn missing_tail(&self, size: u64, options: &Options) -> Option<FirstBad> {
        let bad = |reason, detail: String| FirstBad::new(reason, detail).partition(self.plan.partition);
        if let Some(head) = self.heads.get(self.heads_met) {
            let detail = format!(
                "the archive holds {size} leaves, the head {}",
                head.checkpoint.size
            );
            return Some(bad(Reason::HeadBeyond, detail).index(size));
        }
        let cut_at = self.order.last_sealed_at;
        if options.not_before.is_none_or(|demanded| cut_at >= demanded) {
            return None;
        }
        let mut detail = b"the last cut was sealed at ".to_vec();
        super::super::time::write_sealed_at(cut_at, &mut detail);
        let detail = String::from_utf8_lossy(&detail).into_owned();
        Some(bad(Reason::NotBefore, detail).index(size.saturating_sub(1)))
    }

    /// Every object that the cuts call for was read by now: where more were listed, one of them is too many. A twin is too many where its segment is not
    /// there.
    fn check_listing(&self, whole: &Whole<'v>) -> Result<(), Stop> {
        let as_many = self.plan.listed == self.plan.expected();
        if as_many && self.plan.twins == 0 {
            return Ok(());
        }
        let bad = match self.plan.find_uncalled(whole.source)? {
            None if as_many => return Ok(()),
            Some(name) => {
                let bad = FirstBad::new(Reason::UnknownObject, "no cut calls for it");
                let size = self.tree.size();
                // Archivers that are no more stored the tiles of a cut before its segments.
                match CutSizes::end_of_tile(&name) {
                    Some(end) if end > size => bad.object(name).index(size),
                    Some(_) | None => bad.object(name),
                }
            }
            None => FirstBad::new(
                Reason::MissingObject,
                "the listing leaves out objects that can be read",
            ),
        };
        Err(bad.partition(self.plan.partition).into())
    }

    fn bad_leaf(&self, job: &SegmentJob, row: &Row, reason: Reason, detail: String) -> FirstBad {
        FirstBad::new(reason, detail)
            .object(job.object_name())
            .partition(self.plan.partition)
            .index(row.index)
    }

    fn bad_row(&self, job: &SegmentJob, leaf: &Leaf<'_>, reason: Reason, detail: String) -> FirstBad {
        FirstBad {
            tenant: leaf.body.tenant().map(str::to_owned),
            sequence: leaf.body.sequence(),
            ..FirstBad::new(reason, detail)
                .object(job.object_name())
                .partition(self.plan.partition)
                .index(leaf.index)
        }
    }

    fn bad_key(&self, job: &SegmentJob, leaf: &Leaf<'_>, error: &KeyError) -> FirstBad {
        self.bad_row(job, leaf, Reason::KeyDeclaration, error.to_string())
    }
}

fn kids(keys: &[&PublicKey]) -> String {
    let kids: Vec<&str> = keys.iter().map(|key| key.kid.as_str()).collect();
    kids.join(" and ")
}

fn differing_hash(found: &[u8], due: &[u8]) -> String {
    if found.len() != due.len() {
        return format!("it has another length than the {} bytes that are due", due.len());
    }
    let at = found.iter().zip(due).take_while(|(a, b)| a == b).count() / 32;
    format!("its hash {at} is not the one that the leaves give")
}
