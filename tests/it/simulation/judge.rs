//! The judge: holds what the log says against what was put in, and the archive against what the log says. It knows the
//! format (docs/FORMAT.md), not the machines that wrote it.

use super::archive_check::{check_archive, check_holds, verify_by_the_product};
use super::letters_check::check_letters;
use super::owners::NOBODY;
use super::scenario::{LOG_NAME, Scenario, What};
use crate::sim::{World, block_on};
use ledgerline::ledger::chain::entry_hash;
use ledgerline::ledger::checkpoint::SignedCheckpoint;
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::leaf::{Body, Leaf, RejectCode};
use ledgerline::ledger::merkle::{CompactRange, leaf_hash};
use ledgerline::ledger::partition::partition_of;
use ledgerline::ledger::{Digest, names};
use ledgerline::log::reader::{Position, Reader, Seen};
use ledgerline::log::{Record, topic};
use ledgerline::stages::restore::Follower;
use ledgerline::stages::state::{LeafRecord, PartitionState};
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

const VIA: &str = "ledgerline-via";

/// An accepted record, owned.
pub struct Kept {
    pub leaf_bytes: Vec<u8>,
    pub event: Option<Vec<u8>>,
    pub raw: Option<Vec<u8>>,
    pub via: Option<String>,
}

impl Kept {
    pub fn leaf(&self) -> Result<Leaf<'_>, String> {
        Leaf::parse(&self.leaf_bytes).map_err(|error| format!("a leaf does not parse: {error}"))
    }
}

/// A partition as it ended.
pub struct Ended {
    pub partition: u32,
    pub leaves: Vec<Kept>,
    /// The tree's root at each size.
    pub roots: Vec<Digest>,
    /// Who signs at each size.
    pub signers: Vec<Vec<PublicKey>>,
    pub state: PartitionState,
    tree: CompactRange,
    /// The end of `ledger.entries` when it was read.
    log_end: u64,
    /// Notes whose signatures were checked before.
    checked: RefCell<HashSet<Vec<u8>>>,
}

/// What a good run came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub leaves: u64,
    pub skipped: u64,
    pub entries: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub rerouted: u64,
    pub cuts: u64,
    pub keys_added: u64,
    pub checkpoints: u64,
    pub snapshots: u64,
    pub heads_trimmed: u64,
    pub objects: u64,
    pub letters: u64,
    /// Letters that stand for the second time.
    pub letters_again: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.leaves += other.leaves;
        self.skipped += other.skipped;
        self.entries += other.entries;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.rerouted += other.rerouted;
        self.cuts += other.cuts;
        self.keys_added += other.keys_added;
        self.checkpoints += other.checkpoints;
        self.snapshots += other.snapshots;
        self.heads_trimmed += other.heads_trimmed;
        self.objects += other.objects;
        self.letters += other.letters;
        self.letters_again += other.letters_again;
    }

    pub fn counts(&self) -> [(&'static str, u64); 11] {
        [
            ("skipped record", self.skipped),
            ("entry", self.entries),
            ("duplicate", self.duplicates),
            ("rejected", self.rejected),
            ("rerouted", self.rerouted),
            ("cut", self.cuts),
            ("added key", self.keys_added),
            ("snapshot", self.snapshots),
            ("trimmed snapshot", self.heads_trimmed),
            ("dead letter", self.letters),
            ("dead letter that came again", self.letters_again),
        ]
    }
}

/// Judges a world in which all has settled: the ledger, what was made of it, and the archive by the product's own verifier.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn judge(scenario: &Scenario, world: &World) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let ended = judge_ledger(scenario, world, &mut tally)?;
    judge_downstream(scenario, world, &ended, &mut tally)?;
    if scenario.archive {
        verify_by_the_product(scenario, &world.objects())?;
    }
    Ok(tally)
}

/// What was sealed, against what was put in.
pub fn judge_ledger(scenario: &Scenario, world: &World, tally: &mut Tally) -> Result<Vec<Ended>, String> {
    let mut ended = Vec::new();
    for partition in 0..scenario.partitions {
        let in_partition = |what| format!("partition {partition}: {what}");
        let one = fold(scenario, world, partition, tally).map_err(in_partition)?;
        check_inputs(scenario, world, &one, tally).map_err(in_partition)?;
        ended.push(one);
    }
    check_forwards(scenario, world)?;
    check_once(scenario, &ended)?;
    Ok(ended)
}

/// What notaries and archivers made of a ledger.
pub fn judge_downstream(
    scenario: &Scenario,
    world: &World,
    ended: &[Ended],
    tally: &mut Tally,
) -> Result<(), String> {
    for one in ended {
        let in_partition = |what| format!("partition {}: {what}", one.partition);
        if world.end_of(topic::LEDGER_ENTRIES, one.partition) != one.log_end {
            return Err(in_partition(
                "ledger.entries was written to by who only reads it".to_owned(),
            ));
        }
        if scenario.seal || scenario.notarize {
            check_restore(scenario, world, one).map_err(in_partition)?;
        }
        if scenario.notarize {
            check_checkpoints(world, one, tally).map_err(in_partition)?;
        }
        if scenario.letter_writers > 0 {
            check_letters(world, one, tally).map_err(in_partition)?;
        }
    }
    if scenario.archive {
        let objects = world.objects();
        check_archive(ended, &objects, scenario.twins)?;
        if let Some(classes) = scenario.held {
            check_holds(classes, &objects, &world.held())?;
        }
        tally.objects = objects.len() as u64;
    }
    Ok(())
}

/// Reads a partition from its beginning and folds it by the rule that notaries verify by.
pub fn fold(scenario: &Scenario, world: &World, partition: u32, tally: &mut Tally) -> Result<Ended, String> {
    let config = scenario.partition(partition);
    let mut ended = Ended {
        partition,
        leaves: Vec::new(),
        roots: vec![CompactRange::new().root()],
        signers: vec![Vec::new()],
        state: PartitionState::new(&config.origin, partition, config.window_entries_max),
        tree: CompactRange::new(),
        log_end: world.end_of(topic::LEDGER_ENTRIES, partition),
        checked: RefCell::default(),
    };
    let log = world.log(NOBODY);
    let mut reader =
        block_on(Reader::open(&log, partition, Position::BEGIN)).map_err(|error| error.to_string())?;
    for record in world.records(topic::LEDGER_ENTRIES, partition) {
        match reader.offer(&record).map_err(|error| error.to_string())? {
            Seen::Fence { .. } => {}
            Seen::Skipped { .. } => tally.skipped += 1,
            Seen::Leaf(accepted) => {
                let applied = ended
                    .state
                    .verify_and_apply(&LeafRecord::from(&accepted), &config.limits);
                applied.map_err(|violation| violation.to_string())?;
                ended.tree.push(leaf_hash(accepted.leaf_bytes));
                ended.roots.push(ended.tree.root());
                ended
                    .signers
                    .push(ended.state.keys.signers().into_iter().cloned().collect());
                ended.leaves.push(Kept {
                    leaf_bytes: accepted.leaf_bytes.to_vec(),
                    event: accepted.event.map(<[u8]>::to_vec),
                    raw: accepted.raw.map(<[u8]>::to_vec),
                    via: accepted.via.map(str::to_owned),
                });
            }
        }
    }
    tally.leaves += ended.leaves.len() as u64;
    Ok(ended)
}

/// What the sealing rules make of one partition's inputs, computed again from what was put in.
struct Model<'s> {
    scenario: &'s Scenario,
    partition: u32,
    window: VecDeque<((String, String), u64, &'s [u8])>,
    forwarded: BTreeMap<String, (u64, u64)>,
    heads: HashMap<String, (u64, Digest)>,
}

/// Each input ended as exactly one leaf, in order, and as the one that it must.
fn check_inputs(scenario: &Scenario, world: &World, ended: &Ended, tally: &mut Tally) -> Result<(), String> {
    let partition = ended.partition;
    let sources = [topic::AUDIT_EVENTS, topic::AUDIT_REROUTED];
    let inputs = sources.map(|topic| world.records(topic, partition));
    let mut model = Model {
        scenario,
        partition,
        window: VecDeque::new(),
        forwarded: BTreeMap::new(),
        heads: HashMap::new(),
    };
    let mut next = [0, 0];
    for (index, kept) in (0..).zip(&ended.leaves) {
        let leaf = kept.leaf()?;
        if leaf.index != index {
            return Err(format!("leaf {index} says that it is {}", leaf.index));
        }
        let Some(source) = source_of(&leaf.body) else {
            count_own(&leaf.body, tally);
            continue;
        };
        // Of two sources each is in order; how they interleave is the sealer's to decide.
        let of = usize::from(source.starts_with(topic::AUDIT_REROUTED));
        let due = format!("{}/{partition}@{}", sources[of], next[of]);
        if source != due {
            return Err(format!(
                "leaf {index} is of {source} where {due} was due: lost, doubled or reordered"
            ));
        }
        let input = inputs[of]
            .get(next[of])
            .ok_or_else(|| format!("leaf {index} is of {source}, which was never put in"))?;
        model
            .check(input, kept, &leaf, tally)
            .map_err(|what| format!("leaf {index} of {source}: {what}"))?;
        next[of] += 1;
    }
    let put_in = [inputs[0].len(), inputs[1].len()];
    if next != put_in {
        return Err(format!(
            "{put_in:?} inputs, but leaves for {next:?}: the rest is lost"
        ));
    }
    match ended
        .leaves
        .last()
        .map(Kept::leaf)
        .transpose()?
        .map(|leaf| leaf.body)
    {
        Some(Body::Cut { .. }) => Ok(()),
        Some(_) | None => Err("the last leaf is no cut".to_owned()),
    }
}

pub fn source_of<'l>(body: &Body<'l>) -> Option<&'l str> {
    match body {
        Body::Entry { source, .. }
        | Body::Duplicate { source, .. }
        | Body::Rejected { source, .. }
        | Body::Rerouted { source, .. } => Some(source),
        Body::Genesis { .. }
        | Body::Source { .. }
        | Body::Cut { .. }
        | Body::Key { .. }
        | Body::Hold { .. } => None,
    }
}

fn count_own(body: &Body<'_>, tally: &mut Tally) {
    match body {
        Body::Cut { .. } => tally.cuts += 1,
        Body::Key { .. } => tally.keys_added += 1,
        Body::Genesis { .. }
        | Body::Source { .. }
        | Body::Hold { .. }
        | Body::Entry { .. }
        | Body::Duplicate { .. }
        | Body::Rejected { .. }
        | Body::Rerouted { .. } => {}
    }
}

impl<'s> Model<'s> {
    fn check(
        &mut self,
        input: &Record,
        kept: &Kept,
        leaf: &Leaf<'_>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let via = via_of(input);
        let what = self
            .scenario
            .what
            .get(&input.value)
            .ok_or("the input is none of those put in: altered")?;
        match what {
            What::Refused(code) => {
                tally.rejected += 1;
                Self::check_rejected(*code, input, kept, leaf)?;
            }
            What::Event { tenant, .. }
                if partition_of(tenant, self.scenario.partitions) != self.partition =>
            {
                tally.rerouted += 1;
                let target = u64::from(partition_of(tenant, self.scenario.partitions));
                return match &leaf.body {
                    Body::Rerouted {
                        partition,
                        tenant: named,
                        ..
                    } if *partition == target && named == tenant => Ok(()),
                    other => Err(format!(
                        "it is {} where `rerouted` to {target} was due",
                        other.kind()
                    )),
                };
            }
            What::Event {
                tenant,
                id,
                canonical,
            } => {
                self.check_event((tenant, id, canonical), input, kept, leaf, tally)?;
            }
        }
        if kept.via != via {
            return Err("the forwarding position is not the input's".to_owned());
        }
        if let Some((source, offset)) = via.as_deref().and_then(split) {
            let mark = self.forwarded.entry(source.to_owned()).or_insert((0, 0));
            if offset >= mark.0 {
                *mark = (offset + 1, leaf.index);
            }
        }
        Ok(())
    }

    fn check_rejected(due: RejectCode, input: &Record, kept: &Kept, leaf: &Leaf<'_>) -> Result<(), String> {
        match &leaf.body {
            Body::Rejected {
                code, raw, raw_bytes, ..
            } if *code == due
                && *raw == sha256(&input.value)
                && *raw_bytes == input.value.len() as u64
                && kept.raw.as_deref() == Some(&input.value) =>
            {
                Ok(())
            }
            other => Err(format!(
                "it is {} where `rejected` as {} with its bytes was due",
                other.kind(),
                due.as_str()
            )),
        }
    }

    fn check_event(
        &mut self,
        (tenant, id, canonical): (&'s String, &'s String, &'s [u8]),
        input: &Record,
        kept: &Kept,
        leaf: &Leaf<'_>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let known = self
            .window
            .iter()
            .rev()
            .find(|(key, ..)| key.0 == *tenant && key.1 == *id);
        let replay = via_of(input)
            .as_deref()
            .and_then(split)
            .and_then(|(source, offset)| {
                self.forwarded
                    .get(source)
                    .filter(|mark| offset < mark.0)
                    .map(|mark| mark.1)
            });
        let duplicate_of = match known {
            Some((_, index, stored)) if *stored == canonical => Some(*index),
            Some(_) if replay.is_none() => {
                tally.rejected += 1;
                return Self::check_rejected(RejectCode::Conflict, input, kept, leaf);
            }
            Some(_) | None => replay,
        };
        match (&leaf.body, duplicate_of) {
            (
                Body::Duplicate {
                    of, tenant: named, ..
                },
                Some(due),
            ) if *of == due && *named == Some(tenant) => {
                tally.duplicates += 1;
                Ok(())
            }
            (
                Body::Entry {
                    event,
                    prev,
                    sequence,
                    tenant: named,
                    ..
                },
                None,
            ) if named == tenant => {
                tally.entries += 1;
                let head = self.heads.entry(tenant.clone()).or_insert((0, [0; 32]));
                if kept.event.as_deref() != Some(canonical) || *event != sha256(canonical) {
                    return Err("the event is not the canonical form of what was sent".to_owned());
                }
                if (*sequence, *prev) != (head.0 + 1, head.1) {
                    return Err(format!(
                        "it does not continue the chain of {tenant} at {}",
                        head.0
                    ));
                }
                *head = (*sequence, entry_hash(&kept.leaf_bytes));
                self.window
                    .push_back(((tenant.clone(), id.clone()), leaf.index, canonical));
                if self.window.len() > self.scenario.window_entries_max {
                    self.window.pop_front();
                }
                Ok(())
            }
            (other, due) => Err(format!(
                "it is {} of {tenant}; duplicate of {due:?} was due",
                other.kind()
            )),
        }
    }
}

/// What was forwarded is what was misrouted: each at least once, unaltered, first arrivals in order.
fn check_forwards(scenario: &Scenario, world: &World) -> Result<(), String> {
    for partition in 0..scenario.partitions {
        let mut arrived: BTreeMap<u32, u64> = BTreeMap::new();
        for record in world.records(topic::AUDIT_REROUTED, partition) {
            let via = via_of(&record).ok_or("a forward without its position")?;
            let (source, offset) = split(&via).ok_or_else(|| format!("{via} is no position"))?;
            let from: u32 = source
                .rsplit('/')
                .next()
                .and_then(|n| n.parse().ok())
                .ok_or("no partition")?;
            let original = &world.records(topic::AUDIT_EVENTS, from)[usize::try_from(offset).unwrap()];
            if original.value != record.value || via_of(original).is_some() {
                return Err(format!("what was forwarded from {via} is not what stands there"));
            }
            let next = arrived.entry(from).or_insert(0);
            // The positions between must be inputs of `from` itself.
            for skipped in *next..offset {
                let between = &world.records(topic::AUDIT_EVENTS, from)[usize::try_from(skipped).unwrap()];
                if is_for(scenario, between, partition) {
                    return Err(format!("{via} was forwarded before offset {skipped}: reordered"));
                }
            }
            *next = (*next).max(offset + 1);
        }
        for from in (0..scenario.partitions).filter(|from| *from != partition) {
            let next = arrived.get(&from).copied().unwrap_or(0);
            for record in world
                .records(topic::AUDIT_EVENTS, from)
                .iter()
                .filter(|record| record.offset >= next)
            {
                if is_for(scenario, record, partition) {
                    return Err(format!(
                        "offset {} of partition {from} was not forwarded to {partition}",
                        record.offset
                    ));
                }
            }
        }
    }
    Ok(())
}

fn is_for(scenario: &Scenario, record: &Record, partition: u32) -> bool {
    match scenario.what.get(&record.value) {
        Some(What::Event { tenant, .. }) => partition_of(tenant, scenario.partitions) == partition,
        Some(What::Refused(_)) | None => false,
    }
}

/// Every tenant's event id that was put in is the entry of exactly one leaf (where the window is large enough to know).
fn check_once(scenario: &Scenario, ended: &[Ended]) -> Result<(), String> {
    let mut sealed: HashMap<&[u8], u64> = HashMap::new();
    for event in ended
        .iter()
        .flat_map(|one| &one.leaves)
        .filter_map(|kept| kept.event.as_deref())
    {
        *sealed.entry(event).or_default() += 1;
    }
    let mut by_id: HashMap<(&str, &str), u64> = HashMap::new();
    for raw in scenario.inputs.iter().flatten() {
        if let Some(What::Event {
            tenant,
            id,
            canonical,
        }) = scenario.what.get(raw)
        {
            let count = by_id.entry((tenant, id)).or_default();
            *count += sealed.remove(canonical.as_slice()).unwrap_or(0);
        }
    }
    let small_window = scenario.window_entries_max < scenario.what.len();
    match by_id
        .iter()
        .find(|(_, count)| **count == 0 || (**count > 1 && !small_window))
    {
        Some(((tenant, id), count)) => Err(format!("event {id} of {tenant} is sealed {count} times")),
        None if sealed.is_empty() => Ok(()),
        None => Err("an event is sealed that nobody sent".to_owned()),
    }
}

/// A new owner that starts from the newest snapshot comes to the same state as a reader from the beginning.
fn check_restore(scenario: &Scenario, world: &World, ended: &Ended) -> Result<(), String> {
    let log = world.log(NOBODY);
    let config = scenario.partition(ended.partition);
    let restored = block_on(async {
        let mut follower = Follower::restore(&log, &config).await?;
        follower.catch_up(&log, None).await?;
        follower.check_reached_signed()?;
        Ok::<_, ledgerline::stages::StageError>(follower)
    });
    let follower = restored.map_err(|error| error.to_string())?;
    if follower.state != ended.state || follower.tree != ended.tree {
        return Err(
            "the state restored from a snapshot is not that of a reader from the beginning".to_owned(),
        );
    }
    Ok(())
}

/// Every checkpoint in the log is of a tree that was, signed by whom it must; every cut has one.
fn check_checkpoints(world: &World, ended: &Ended, tally: &mut Tally) -> Result<(), String> {
    let origin = names::origin(LOG_NAME, ended.partition);
    let mut sizes = Vec::new();
    for record in world.records(topic::LEDGER_CHECKPOINTS, ended.partition) {
        let signed = check_checkpoint(&record.value, &origin, ended)?;
        sizes.push(signed.checkpoint.size);
    }
    for kept in &ended.leaves {
        let leaf = kept.leaf()?;
        if matches!(leaf.body, Body::Cut { .. }) && !sizes.contains(&(leaf.index + 1)) {
            return Err(format!("the cut at {} has no checkpoint", leaf.index));
        }
    }
    tally.checkpoints += sizes.len() as u64;
    let heads = world.records(topic::LEDGER_HEADS, ended.partition);
    tally.snapshots += heads
        .iter()
        .filter(|record| record.key.ends_with(b"closed"))
        .count() as u64;
    tally.heads_trimmed += heads.first().map_or(0, |first| first.offset);
    Ok(())
}

pub fn check_checkpoint(bytes: &[u8], origin: &str, ended: &Ended) -> Result<SignedCheckpoint, String> {
    let signed = SignedCheckpoint::parse(bytes).map_err(|error| format!("a checkpoint: {error}"))?;
    let size = usize::try_from(signed.checkpoint.size).unwrap();
    if signed.checkpoint.origin != origin || ended.roots.get(size) != Some(&signed.checkpoint.root) {
        return Err(format!(
            "the checkpoint of size {size} is of another tree: forked"
        ));
    }
    if !ended.checked.borrow_mut().insert(bytes.to_vec()) {
        return Ok(signed);
    }
    let signers: Vec<&PublicKey> = ended.signers[size].iter().collect();
    signed
        .verify_by_signers(&signers)
        .map_err(|error| format!("the checkpoint of size {size}: {error}"))?;
    Ok(signed)
}

fn via_of(record: &Record) -> Option<String> {
    let (_, value) = record.headers.iter().find(|(name, _)| name == VIA)?;
    String::from_utf8(value.clone()).ok()
}

fn split(position: &str) -> Option<(&str, u64)> {
    let (source, offset) = position.rsplit_once('@')?;
    Some((source, offset.parse().ok()?))
}

fn sha256(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}
