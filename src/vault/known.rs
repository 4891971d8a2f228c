//! What the names of an archive say of it: its cuts, and so which cut an object belongs to and on which day that was sealed. Pure.
//!
//! A name has the day of a cut and not its time: of two times within that day the earlier one is taken, so that nothing is found that is not so. Memory is
//! 24 bytes a cut of the partitions in question.

use crate::clock::UnixMicros;
use crate::ledger::names::{self, DEFAULT_CLASS};
use crate::ledger::verify::{CutSizes, ObjectName, Part, split_origin};
use std::collections::BTreeMap;

/// More stray checkpoints than these are left to the verifier.
const STRAYS_MAX: usize = 100;

/// The cuts of a partition.
#[derive(Debug, Default)]
struct Cuts {
    /// Size of the tree and day of each cut, in order.
    sealed: Vec<(u64, UnixMicros)>,
    checkpoints: Vec<u64>,
    /// The size of the last cut that is there with its checkpoint, which is stored last.
    covered: u64,
}

/// All cuts, as names have them.
#[derive(Debug, Default)]
pub struct Known {
    partitions: BTreeMap<String, Cuts>,
    /// Checkpoints of no cut.
    strays: Vec<String>,
    /// The one origin that there may be.
    only: Option<String>,
    ledger: Option<Ledger>,
}

/// What origins there may be.
#[derive(Debug)]
struct Ledger {
    log_name: String,
    partitions: u32,
}

impl Ledger {
    fn has(&self, origin: &str) -> bool {
        split_origin(origin)
            .is_some_and(|(log_name, partition)| log_name == self.log_name && partition < self.partitions)
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'n> {
    /// Of an archive's objects none.
    Nowhere,
    /// Behind the last checkpoint: of a cut that is being stored, or of none.
    Behind,
    /// Of a cut that was sealed at this time or later.
    Of {
        /// `None` for what the segments of every class need.
        class: Option<&'n str>,
        /// `None` for what is of all partitions.
        origin: Option<&'n str>,
        sealed_at: UnixMicros,
    },
}

impl Known {
    /// Of one partition: objects of others have no place.
    #[must_use]
    pub fn only(origin: Option<String>) -> Self {
        Self {
            only: origin,
            ..Self::default()
        }
    }

    /// Takes a name of the listing; [`Self::settle`] once all were taken.
    pub fn note(&mut self, name: &str) {
        let Some(ObjectName::Partition { origin, part }) = ObjectName::parse(name) else {
            return;
        };
        let cuts = match self.partitions.get_mut(origin) {
            Some(cuts) => cuts,
            None => self.partitions.entry(origin.to_owned()).or_default(),
        };
        match part {
            Part::Segment {
                class: DEFAULT_CLASS,
                day,
                last,
                ..
            } => cuts.sealed.push((last + 1, day)),
            Part::Checkpoint { size } => cuts.checkpoints.push(size),
            Part::Segment { .. } | Part::Twin { .. } | Part::Tile(_) => {}
        }
    }

    pub fn settle(&mut self) {
        for (origin, cuts) in &mut self.partitions {
            cuts.sealed.sort_unstable();
            cuts.checkpoints.sort_unstable();
            for size in cuts.checkpoints.drain(..) {
                if cuts.sealed.binary_search_by_key(&size, |(size, _)| *size).is_ok() {
                    cuts.covered = size;
                } else if self.strays.len() < STRAYS_MAX {
                    self.strays.push(names::checkpoint(origin, size));
                }
            }
        }
    }

    /// The first segment, and so with the genesis leaf, of a partition of which a cut is there whole. `None` where there is none, or such are of more than one log: which
    /// is the ledger's then, names do not say.
    #[must_use]
    pub fn first_segment(&self) -> Option<String> {
        let mut whole = self.partitions.iter().filter(|(_, cuts)| cuts.covered > 0);
        let (origin, cuts) = whole.next()?;
        let log_name = |origin: &str| split_origin(origin).map(|(log_name, _)| log_name.to_owned());
        if whole.any(|(other, _)| log_name(other) != log_name(origin)) {
            return None;
        }
        let (size, day) = cuts.sealed.first()?;
        let last = size.checked_sub(1)?;
        Some(names::segment(origin, DEFAULT_CLASS, *day, 0, last))
    }

    /// The ledger has so many partitions, of the log of [`Self::first_segment`]: objects of others have no place, and are not shown to a verifier.
    pub fn settle_ledger(&mut self, partitions: u32) {
        let first = self.partitions.iter().find(|(_, cuts)| cuts.covered > 0);
        let log_name = first.and_then(|(origin, _)| Some(split_origin(origin)?.0.to_owned()));
        self.ledger = log_name.map(|log_name| Ledger { log_name, partitions });
    }

    /// Where the object of this name is of another ledger or of a partition that this one does not have: what it is.
    #[must_use]
    pub fn other_ledger(&self, name: &str) -> Option<String> {
        let ledger = self.ledger.as_ref()?;
        let Some(ObjectName::Partition { origin, .. }) = ObjectName::parse(name) else {
            return None;
        };
        (!ledger.has(origin)).then(|| {
            format!(
                "it is of {origin}, and the ledger is {} with {} partitions",
                ledger.log_name, ledger.partitions
            )
        })
    }

    fn is_of_other_ledger(&self, origin: &str) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| !ledger.has(origin))
    }

    /// Origins of the ledger of which there is anything.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        let origins = self.partitions.keys().map(String::as_str);
        origins.filter(|origin| !self.is_of_other_ledger(origin))
    }

    /// How many leaves of a partition are archived.
    #[must_use]
    pub fn covered(&self, origin: &str) -> u64 {
        self.partitions.get(origin).map_or(0, |cuts| cuts.covered)
    }

    /// Where the object of this name belongs.
    #[must_use]
    pub fn place<'n>(&self, name: &'n str) -> Place<'n> {
        let (origin, part) = match ObjectName::parse(name) {
            None => return Place::Nowhere,
            Some(ObjectName::Jwks { .. }) => return self.of_all(),
            Some(ObjectName::Partition { origin, part }) => (origin, part),
        };
        // A partition's number that no ledger can have is of none.
        if self.only.as_ref().is_some_and(|only| only != origin)
            || self.is_of_other_ledger(origin)
            || split_origin(origin).is_none()
        {
            return Place::Nowhere;
        }
        let Some(cuts) = self.partitions.get(origin) else {
            return Place::Behind;
        };
        if self.is_behind(name) {
            return Place::Behind;
        }
        let of = |class, sealed_at| Place::Of {
            class,
            origin: Some(origin),
            sealed_at,
        };
        match part {
            Part::Segment { class, day, .. } | Part::Twin { class, day, .. } => of(Some(class), day),
            Part::Checkpoint { size } => of(None, cuts.day(size, size)),
            Part::Tile(tile) => {
                let end = CutSizes::end_of_tile(name).unwrap_or(0);
                // Of a partial tile that cuts share, until the last of them counts.
                let last = match tile.width {
                    None => end,
                    Some(_) => end.saturating_add(256_u64.saturating_pow(tile.level.into()) - 1),
                };
                of(None, cuts.day(end, last.min(cuts.covered)))
            }
        }
    }

    /// Key sets are kept by whichever partition comes first, and longer by others.
    fn of_all(&self) -> Place<'static> {
        let first = |cuts: &Cuts| cuts.sealed.first().map(|(_, day)| *day);
        match self.partitions.values().filter_map(first).min() {
            Some(sealed_at) => Place::Of {
                class: None,
                origin: None,
                sealed_at,
            },
            None => Place::Behind,
        }
    }

    /// Whether it lies behind what the checkpoints cover: it is no part of the archive yet. A checkpoint of no cut is none of these. What is of another ledger is never a
    /// part of it.
    #[must_use]
    pub fn is_behind(&self, name: &str) -> bool {
        let Some(ObjectName::Partition { origin, part }) = ObjectName::parse(name) else {
            return false;
        };
        if self.is_of_other_ledger(origin) {
            return true;
        }
        let end = match part {
            Part::Segment { last, .. } | Part::Twin { last, .. } => last + 1,
            Part::Checkpoint { size } => size,
            Part::Tile(_) => CutSizes::end_of_tile(name).unwrap_or(u64::MAX),
        };
        end > self.covered(origin) && !self.strays.iter().any(|stray| stray == name)
    }
}

impl Cuts {
    /// The day of the last cut of `first` to `last` leaves; where there is none, of the first behind it; where there is none either, of the last before.
    fn day(&self, first: u64, last: u64) -> UnixMicros {
        let at = self.sealed.partition_point(|(size, _)| *size <= last);
        let before = at.checked_sub(1).and_then(|at| self.sealed.get(at));
        let day = match before {
            Some((size, day)) if *size >= first => Some(*day),
            Some(_) | None => self.sealed.get(at).or(before).map(|(_, day)| *day),
        };
        day.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: UnixMicros = 86_400_000_000;
    const ORIGIN: &str = "test.example/audit/0";

    /// Cuts of 100, 300 and 700 leaves, a day apart, and of a fourth the segment alone.
    fn known() -> Known {
        let mut known = Known::default();
        let mut first = 0;
        for (day, size) in [(1, 100), (2, 300), (3, 700), (4, 800)] {
            known.note(&names::segment(ORIGIN, "default", day * DAY, first, size - 1));
            if size < 800 {
                known.note(&names::checkpoint(ORIGIN, size));
            }
            first = size;
        }
        known.settle();
        known
    }

    fn day(known: &Known, name: &str) -> UnixMicros {
        match known.place(name) {
            Place::Of { sealed_at, .. } => sealed_at / DAY,
            Place::Nowhere => -1,
            Place::Behind => -2,
        }
    }

    #[test]
    fn each_object_belongs_to_the_cut_that_calls_for_it() {
        let known = known();
        for (name, expected) in [
            (names::segment(ORIGIN, "long", 2 * DAY, 100, 299), 2),
            (names::checkpoint(ORIGIN, 300), 2),
            // 256 leaves are complete with the second cut, 512 with the third.
            (format!("{ORIGIN}/tile/0/000"), 2),
            (format!("{ORIGIN}/tile/0/001"), 3),
            (format!("{ORIGIN}/tile/0/000.p/100"), 1),
            (format!("{ORIGIN}/tile/0/001.p/44"), 2),
            // One of level 1 that cuts share, while they are below 512 leaves.
            (format!("{ORIGIN}/tile/1/000.p/1"), 2),
            (format!("{ORIGIN}/tile/1/000.p/2"), 3),
            (names::jwks(1), 1),
            (format!("{ORIGIN}/other"), -1),
            ("notes.txt".to_owned(), -1),
        ] {
            assert_eq!(day(&known, &name), expected, "{name}");
        }
    }

    #[test]
    fn an_object_of_another_log_has_no_place_where_there_is_one_partition() {
        let mut known = Known::only(Some(ORIGIN.to_owned()));
        known.note(&names::segment(ORIGIN, "default", DAY, 0, 9));
        known.note(&names::checkpoint(ORIGIN, 10));
        known.settle();
        assert_eq!(day(&known, &names::checkpoint(ORIGIN, 10)), 1);
        assert_eq!(day(&known, &names::checkpoint("other.example/audit/0", 10)), -1);
    }

    #[test]
    fn once_the_ledger_is_known_objects_of_others_have_no_place_and_are_not_shown() {
        let mut known = known();
        let others = [
            "test.example/audit/4",
            "a.example/audit/0",
            "test.example/audit/99999999999",
        ];
        for origin in others {
            known.note(&format!("{origin}/tile/0/000"));
        }
        assert_eq!(
            known.first_segment(),
            Some(names::segment(ORIGIN, "default", DAY, 0, 99))
        );
        assert_eq!(known.place("test.example/audit/4/tile/0/000"), Place::Behind);
        known.settle_ledger(4);
        assert_eq!(day(&known, &names::checkpoint(ORIGIN, 300)), 2);
        for origin in others {
            let name = format!("{origin}/tile/0/000");
            assert_eq!(
                (known.place(&name), known.is_behind(&name)),
                (Place::Nowhere, true)
            );
            assert!(known.other_ledger(&name).unwrap().contains("4 partitions"));
        }
        assert_eq!(known.other_ledger("notes.txt"), None);
        assert_eq!(known.origins().collect::<Vec<_>>(), [ORIGIN]);

        // Two logs, each with a cut: which is the ledger's, the verifier says.
        known.note(&names::segment("b.example/audit/0", "default", DAY, 0, 9));
        known.note(&names::checkpoint("b.example/audit/0", 10));
        known.settle();
        assert_eq!(known.first_segment(), None);
    }

    #[test]
    fn what_no_checkpoint_covers_lies_behind_and_a_checkpoint_of_no_cut_does_not() {
        let mut known = known();
        assert_eq!(known.covered(ORIGIN), 700);
        for name in [
            names::segment(ORIGIN, "default", 4 * DAY, 700, 799),
            names::checkpoint(ORIGIN, 800),
            format!("{ORIGIN}/tile/0/003.p/32"),
            names::checkpoint("test.example/audit/1", 5),
        ] {
            assert_eq!(known.place(&name), Place::Behind, "{name}");
        }
        let stray = names::checkpoint(ORIGIN, 900);
        known.note(&stray);
        // Settled again: those of before are of cuts still.
        known.settle();
        assert!(!known.is_behind(&stray));
    }
}
