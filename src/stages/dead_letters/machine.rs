//! From accepted records to letters, and from letters to where they go on. Pure.

use super::letter::Letter;
use crate::ledger::leaf::Body;
use crate::log::reader::Position;
use crate::stages::state::{LeafRecord, Violation, check_digests};

/// Which leaves of a partition are due as letters.
#[derive(Debug, Clone)]
pub struct LetterMachine {
    /// Rejected leaves below this index have their letters.
    next_index: u64,
}

impl LetterMachine {
    /// Goes on at a place below which every rejected leaf has its letter.
    #[must_use]
    pub fn new(from: Position) -> Self {
        Self {
            next_index: from.index,
        }
    }

    /// The letter of an accepted leaf, where it is one of a rejection. `next` is the place behind it.
    ///
    /// # Errors
    /// Where the stored input is not the leaf's: what is handed on to people must be what was sealed.
    pub fn take<'r>(
        &mut self,
        record: &LeafRecord<'r>,
        next: Position,
    ) -> Result<Option<Letter<'r>>, Violation> {
        let leaf = record.leaf;
        if leaf.index < self.next_index {
            return Ok(None);
        }
        self.next_index = leaf.index + 1;
        let Body::Rejected {
            code, source, tenant, ..
        } = leaf.body
        else {
            return Ok(None);
        };
        check_digests(record)?;
        Ok(Some(Letter {
            origin: leaf.origin,
            index: leaf.index,
            reason: code,
            source,
            via: record.via,
            sealed_at: leaf.sealed_at,
            tenant,
            raw: record.raw.unwrap_or_default(),
            next,
        }))
    }
}

/// Tells a letter that stands for the second time from one that is new, in one number.
///
/// A writer begins where every rejected leaf has its letter, and appends in order, each append behind the one before it. So at any time the letters of a
/// partition are those of the first so many rejected leaves: one whose index is not above all before it has been there.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstSeen {
    next_index: u64,
}

impl FirstSeen {
    /// Whether this is the first letter of its leaf. Callers ask in order of the letters' offsets within one partition.
    pub fn is_first(&mut self, index: u64) -> bool {
        let first = index >= self.next_index;
        self.next_index = self.next_index.max(index + 1);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::leaf::{Leaf, RejectCode};
    use crate::stages::state::sha256;

    const ORIGIN: &str = "l.example/a/0";

    fn at(index: u64) -> Position {
        Position {
            offset: index + 5,
            epoch: 1,
            session: [1; 16],
            index,
        }
    }

    fn rejected(index: u64, raw: &[u8]) -> Leaf<'static> {
        Leaf {
            index,
            origin: ORIGIN,
            sealed_at: 1_795_305_600_000_000,
            body: Body::Rejected {
                code: RejectCode::InvalidJson,
                raw: sha256(raw),
                raw_bytes: raw.len() as u64,
                source: "audit.events/0@3",
                tenant: None,
            },
        }
    }

    fn record<'r>(leaf: &'r Leaf<'r>, raw: Option<&'r [u8]>) -> LeafRecord<'r> {
        LeafRecord {
            leaf,
            leaf_bytes: b"",
            event: None,
            raw,
            via: None,
        }
    }

    #[test]
    fn a_rejected_leaf_becomes_a_letter_and_every_other_leaf_none() {
        let mut machine = LetterMachine::new(Position::BEGIN);
        let cut = Leaf {
            body: Body::Cut { from: 0 },
            ..rejected(0, b"")
        };
        assert_eq!(machine.take(&record(&cut, None), at(1)).unwrap(), None);
        let leaf = rejected(1, b"{");
        let letter = machine.take(&record(&leaf, Some(b"{")), at(2)).unwrap().unwrap();
        assert_eq!(
            (letter.index, letter.reason, letter.raw, letter.next),
            (1, RejectCode::InvalidJson, &b"{"[..], at(2))
        );
        assert_eq!(
            (letter.source, letter.tenant, letter.origin),
            ("audit.events/0@3", None, ORIGIN)
        );
    }

    #[test]
    fn a_leaf_below_the_place_has_its_letter_already() {
        let mut machine = LetterMachine::new(at(4));
        let (before, due) = (rejected(3, b"{"), rejected(4, b"{"));
        assert_eq!(machine.take(&record(&before, Some(b"{")), at(4)).unwrap(), None);
        assert!(machine.take(&record(&due, Some(b"{")), at(5)).unwrap().is_some());
    }

    #[test]
    fn an_input_that_is_not_the_leafs_is_no_letter() {
        let leaf = rejected(0, b"{");
        for stored in [None, Some(&b"["[..]), Some(&b"{}"[..])] {
            let refused = LetterMachine::new(Position::BEGIN).take(&record(&leaf, stored), at(1));
            assert!(refused.is_err(), "{stored:?}");
        }
    }

    #[test]
    fn what_comes_again_is_told_from_what_is_new() {
        let mut seen = FirstSeen::default();
        let firsts: Vec<bool> = [3, 9, 3, 9, 12, 12, 0, 13]
            .into_iter()
            .map(|index| seen.is_first(index))
            .collect();
        assert_eq!(firsts, [true, true, false, false, true, false, false, true]);
    }
}
