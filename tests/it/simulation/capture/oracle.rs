//! What must have been sealed, known from what the connector wrote. It reads the ledger by the format alone; how capture works it does not know.

use super::changes::{Change, TOPIC, Told};
use super::owners::{Capturing, PARTITIONS};
use crate::sim::World;
use crate::simulation::judge::{Ended, Kept, Tally as Folded, fold, source_of};
use ledgerline::ledger::leaf::{Body, Leaf};
use ledgerline::ledger::partition::partition_of;
use ledgerline::log::topic;
use ledgerline::stages::capture::home;
use std::collections::{BTreeMap, HashMap};

/// What a good run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub entries: u64,
    pub rejected: u64,
    /// Of which, events whose id another one has.
    pub conflicts: u64,
    /// What the connector wrote again.
    pub repeats: u64,
    /// What was captured again, of which nothing new was sealed.
    pub again: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.rejected += other.rejected;
        self.conflicts += other.conflicts;
        self.repeats += other.repeats;
        self.again += other.again;
    }
}

/// Judges a world in which all that was captured is sealed.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn judge(capturing: &Capturing, world: &World) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for partition in 0..PARTITIONS {
        let in_partition = |what| format!("partition {partition}: {what}");
        let ended =
            fold(&capturing.ledger(), world, partition, &mut Folded::default()).map_err(in_partition)?;
        let mut oracle = Oracle::new(capturing, partition);
        oracle.check_all(world, &ended).map_err(in_partition)?;
        tally.add(&oracle.tally);
    }
    Ok(tally)
}

/// The changes of one incarnation of a partition of the topic that one partition of the ledger has to seal, with their offsets.
struct Due<'c> {
    changes: Vec<(u64, &'c Told, &'c Change)>,
    /// How many of them were sealed for the first time.
    seen: usize,
}

struct Oracle<'c> {
    partition: u32,
    /// By the name that positions have: `<topic>/<partition>`, with `~<incarnation>` from the second on, and `!left` for the first of two events.
    due: BTreeMap<String, Due<'c>>,
    /// What is sealed of each tenant's event id.
    sealed: HashMap<(&'c str, &'c str), &'c [u8]>,
    tally: Tally,
}

impl<'c> Oracle<'c> {
    fn new(capturing: &'c Capturing, partition: u32) -> Self {
        let mut due = BTreeMap::new();
        let incarnations = [("", Some(&capturing.changes)), ("~2", capturing.anew.as_ref())];
        for (suffix, held) in incarnations {
            for (source, changes) in (0..).zip(held.into_iter().flatten()) {
                let is_for = |told: &Told| match told {
                    Told::Event { tenant, .. } => partition_of(tenant, PARTITIONS) == partition,
                    Told::Refused(_) => home(TOPIC, source, PARTITIONS) == partition,
                    Told::Nothing => false,
                };
                let all = || (0..).zip(changes);
                let of_left = all().filter_map(|(at, change)| Some((at, change.left.as_ref()?, change)));
                let of_all = all().map(|(at, change): (u64, &'c Change)| (at, &change.told, change));
                for (part, changes) in [("", of_all.collect::<Vec<_>>()), ("!left", of_left.collect())] {
                    let changes = changes.into_iter().filter(|(_, told, _)| is_for(told)).collect();
                    due.insert(
                        format!("{TOPIC}/{source}{suffix}{part}"),
                        Due { changes, seen: 0 },
                    );
                }
            }
        }
        Self {
            partition,
            due,
            sealed: HashMap::new(),
            tally: Tally::default(),
        }
    }

    fn check_all(&mut self, world: &World, ended: &Ended) -> Result<(), String> {
        let mut next = 0;
        for kept in &ended.leaves {
            let leaf = kept.leaf()?;
            let Some(source) = source_of(&leaf.body) else {
                continue;
            };
            let expected = format!("{}/{}@{next}", topic::AUDIT_CAPTURED, self.partition);
            if source != expected {
                return Err(format!(
                    "leaf {} is of {source} where {expected} was due",
                    leaf.index
                ));
            }
            next += 1;
            self.check(kept, &leaf)
                .map_err(|what| format!("leaf {} of {source}: {what}", leaf.index))?;
        }
        let end = world.end_of(topic::AUDIT_CAPTURED, self.partition);
        if next != end {
            return Err(format!("{end} captured records, but leaves for {next}"));
        }
        for (source, due) in &self.due {
            if let Some((offset, told, _)) = due.changes.get(due.seen) {
                return Err(format!("{source}@{offset} was never sealed: lost: {told:?}"));
            }
        }
        Ok(())
    }

    fn check(&mut self, kept: &Kept, leaf: &Leaf<'_>) -> Result<(), String> {
        let via = kept
            .via
            .as_deref()
            .ok_or("it does not say where it was captured")?;
        let (source, offset) = via.rsplit_once('@').ok_or("its position is none")?;
        let offset: u64 = offset.parse().map_err(|_| "its position has no offset")?;
        let due = self
            .due
            .get_mut(source)
            .ok_or_else(|| format!("{source} is no source"))?;
        let at = due.changes.iter().position(|(known, ..)| *known == offset);
        let at = at.ok_or_else(|| format!("{via} is not to be sealed here"))?;
        if at < due.seen {
            self.tally.again += 1;
            return match &leaf.body {
                Body::Duplicate { .. } => Ok(()),
                other => Err(format!(
                    "{via} was sealed before, and is {} now: doubled",
                    other.kind()
                )),
            };
        }
        if at > due.seen {
            let missing = due.changes[due.seen].0;
            return Err(format!(
                "{via} is sealed before {source}@{missing}: reordered or skipped"
            ));
        }
        due.seen += 1;
        let (_, told, change) = due.changes[at];
        self.check_first(told, change, kept, leaf)
    }

    /// A change that is sealed for the first time.
    fn check_first(
        &mut self,
        told: &'c Told,
        change: &Change,
        kept: &Kept,
        leaf: &Leaf<'_>,
    ) -> Result<(), String> {
        let (tenant, id, canonical) = match told {
            Told::Nothing => return Err("it tells of no change".to_owned()),
            Told::Refused(due) => {
                self.tally.rejected += 1;
                return match &leaf.body {
                    Body::Rejected { code, .. }
                        if code == due && kept.raw.as_ref() == Some(&change.record.value) =>
                    {
                        Ok(())
                    }
                    other => Err(format!(
                        "it is {} where `rejected` as {} was due",
                        other.kind(),
                        due.as_str()
                    )),
                };
            }
            Told::Event {
                tenant,
                id,
                canonical,
            } => (tenant.as_str(), id.as_str(), canonical.as_slice()),
        };
        match (self.sealed.get(&(tenant, id)).copied(), &leaf.body) {
            (None, Body::Entry { tenant: named, .. }) if *named == tenant => {
                if kept.event.as_deref() != Some(canonical) {
                    return Err(format!(
                        "the event is not that of the change: {:?}",
                        kept.event.as_deref().map(String::from_utf8_lossy)
                    ));
                }
                self.sealed.insert((tenant, id), canonical);
                self.tally.entries += 1;
                Ok(())
            }
            (Some(known), Body::Duplicate { .. }) if known == canonical => {
                self.tally.repeats += 1;
                Ok(())
            }
            (Some(known), Body::Rejected { code, .. })
                if known != canonical && code.as_str() == "conflict" =>
            {
                self.tally.rejected += 1;
                self.tally.conflicts += 1;
                Ok(())
            }
            (known, other) => Err(format!(
                "it is {} of {id}, which was{} sealed before",
                other.kind(),
                if known.is_some() { "" } else { " not" }
            )),
        }
    }
}
