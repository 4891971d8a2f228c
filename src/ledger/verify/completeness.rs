//! Which offsets of each source a ledger consumed, how each record ended, and which offsets lie between that no leaf names.
//!
//! An offset between is a marker of a transaction, a record of one that was aborted, or a record that was dropped: only the source topic tells which,
//! where it still holds the place. This module counts; it judges nothing.

use super::super::leaf::{Body, Leaf};
use super::super::names::{parse_decimal, parse_source};
use std::collections::BTreeMap;
use std::ops::Range;

/// Gaps that are kept of an archive, 16 bytes each; more are counted, and not named.
pub const GAPS_MAX: usize = 4_000_000;

/// How consumed records ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Endings {
    pub entries: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub rerouted: u64,
}

impl Endings {
    #[must_use]
    pub fn total(&self) -> u64 {
        self.entries + self.duplicates + self.rejected + self.rerouted
    }
}

/// One incarnation of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    pub incarnation: u64,
    /// The first offset that counts.
    pub from: u64,
    /// First and last offset that a leaf names.
    pub offsets: Option<(u64, u64)>,
    pub endings: Endings,
    /// Offsets from `from` to the last consumed one that no leaf names: ascending, apart. The first [`GAPS_MAX`] of the archive.
    pub gaps: Vec<Range<u64>>,
    pub gaps_not_named: u64,
    pub offsets_in_gaps: u64,
}

/// The incarnations of each `<topic>/<partition>`, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completeness {
    sources: BTreeMap<String, Vec<Consumed>>,
    gaps: usize,
}

impl Completeness {
    /// Takes the next leaf of a partition, which was found to be in its place.
    pub(super) fn take(&mut self, leaf: &Leaf<'_>) {
        match &leaf.body {
            Body::Source {
                from,
                incarnation,
                source,
            } => self.begin(source, *incarnation, *from),
            Body::Entry { source, .. } => self.consume(source, |endings| endings.entries += 1),
            Body::Duplicate { source, .. } => self.consume(source, |endings| endings.duplicates += 1),
            Body::Rejected { source, .. } => self.consume(source, |endings| endings.rejected += 1),
            Body::Rerouted { source, .. } => self.consume(source, |endings| endings.rerouted += 1),
            Body::Genesis { .. } | Body::Cut { .. } | Body::Key { .. } | Body::Hold { .. } => {}
        }
    }

    fn begin(&mut self, source: &str, incarnation: u64, from: u64) {
        self.sources.entry(source.to_owned()).or_default().push(Consumed {
            incarnation,
            from,
            offsets: None,
            endings: Endings::default(),
            gaps: Vec::new(),
            gaps_not_named: 0,
            offsets_in_gaps: 0,
        });
    }

    fn consume(&mut self, position: &str, ended: impl FnOnce(&mut Endings)) {
        let Some((source, offset)) = position.rsplit_once('@') else {
            return;
        };
        let consumed = self.sources.get_mut(source).and_then(|known| known.last_mut());
        let (Some(consumed), Some(offset)) = (consumed, parse_decimal(offset)) else {
            return;
        };
        ended(&mut consumed.endings);
        let due = consumed.offsets.map_or(consumed.from, |(_, last)| last + 1);
        if offset > due {
            consumed.offsets_in_gaps += offset - due;
            if self.gaps < GAPS_MAX {
                self.gaps += 1;
                consumed.gaps.push(due..offset);
            } else {
                consumed.gaps_not_named += 1;
            }
        }
        let first = consumed.offsets.map_or(offset, |(first, _)| first);
        consumed.offsets = Some((first, offset));
    }

    /// Each source partition with its incarnations, by topic and number.
    #[must_use]
    pub fn sources(&self) -> Vec<(&str, &[Consumed])> {
        let mut sources: Vec<_> = self
            .sources
            .iter()
            .map(|(name, known)| (name.as_str(), known.as_slice()))
            .collect();
        sources.sort_by_key(|(name, _)| parse_source(name).map(|source| (source.topic, source.partition)));
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(completeness: &mut Completeness, incarnation: u64, from: u64) {
        let body = Body::Source {
            from,
            incarnation,
            source: "audit.events/10",
        };
        take(completeness, body);
    }

    fn duplicate(completeness: &mut Completeness, offset: u64) {
        let source = &format!("audit.events/10@{offset}");
        let body = Body::Duplicate {
            of: 1,
            source,
            tenant: Some("a"),
        };
        take(completeness, body);
    }

    fn take(completeness: &mut Completeness, body: Body<'_>) {
        completeness.take(&Leaf {
            index: 9,
            origin: "log.example/a/0",
            sealed_at: 0,
            body,
        });
    }

    #[test]
    fn offsets_that_no_leaf_names_are_named_from_where_the_incarnation_begins() {
        let mut completeness = Completeness::default();
        source(&mut completeness, 1, 0);
        for offset in [5, 6, 9, 10, 12] {
            duplicate(&mut completeness, offset);
        }
        source(&mut completeness, 2, 100);
        duplicate(&mut completeness, 100);
        let sources = completeness.sources();
        let [(name, [first, second])] = &sources[..] else {
            panic!("one source with two incarnations: {sources:?}")
        };
        assert_eq!((*name, first.offsets), ("audit.events/10", Some((5, 12))));
        assert_eq!(
            (first.gaps.clone(), first.offsets_in_gaps),
            (vec![0..5, 7..9, 11..12], 8)
        );
        assert_eq!(first.endings.duplicates, 5);
        assert_eq!(
            (second.from, second.offsets, second.gaps.len()),
            (100, Some((100, 100)), 0)
        );
    }

    #[test]
    fn sources_are_in_order_of_their_numbers() {
        let mut completeness = Completeness::default();
        for source in ["audit.events/10", "audit.rerouted/1", "audit.events/9"] {
            completeness.begin(source, 1, 0);
        }
        let names: Vec<&str> = completeness.sources().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["audit.events/9", "audit.events/10", "audit.rerouted/1"]);
    }
}
