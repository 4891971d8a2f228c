//! The acceptance rule alone: a pure machine over the records of one partition, and the position that it has come to.

use crate::ledger::names::parse_decimal;
use crate::log::Offset;
use crate::log::record::Session;
use data_encoding::HEXLOWER;
use std::fmt;
use std::str::FromStr;

/// A place where a reader may start: everything that the rule remembers, as of one offset. Any other place lets two readers
/// accept different records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The offset to read next.
    pub offset: Offset,
    /// The epoch of the last accepted fence, 0 before any.
    pub epoch: u64,
    /// The session of the last accepted fence, zeros before any.
    pub session: Session,
    /// The index that the next accepted leaf has.
    pub index: u64,
}

impl Position {
    /// The beginning of the log.
    pub const BEGIN: Self = Self {
        offset: 0,
        epoch: 0,
        session: [0; 16],
        index: 0,
    };
}

/// `1 <offset> <epoch> <session in hex> <index>`: the 1 is the version of this form. For `Committed::metadata`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = HEXLOWER.encode(&self.session);
        write!(f, "1 {} {} {session} {}", self.offset, self.epoch, self.index)
    }
}

/// The text is no [`Position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is `1 <offset> <epoch> <32 hex digits> <index>`")]
pub struct PositionSyntax;

impl FromStr for Position {
    type Err = PositionSyntax;

    fn from_str(text: &str) -> Result<Self, PositionSyntax> {
        parse_position(text).ok_or(PositionSyntax)
    }
}

fn parse_position(text: &str) -> Option<Position> {
    let mut parts = text.strip_prefix("1 ")?.split(' ');
    let position = Position {
        offset: parse_decimal(parts.next()?)?,
        epoch: parse_decimal(parts.next()?)?,
        session: HEXLOWER.decode(parts.next()?.as_bytes()).ok()?.try_into().ok()?,
        index: parse_decimal(parts.next()?)?,
    };
    // Before any fence there is no session and no leaf.
    let possible = position.epoch > 0 || (position.session == [0; 16] && position.index == 0);
    (parts.next().is_none() && possible).then_some(position)
}

/// What is offered to the rule: a fence, or a leaf by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    Fence,
    Leaf { index: u64 },
}

/// What the rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    FenceAccepted,
    LeafAccepted,
    Stale(Stale),
}

/// Why the rule skips a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stale {
    /// A fence whose epoch is not one above the current one: another owner was faster.
    FenceEpoch,
    /// A leaf of an earlier epoch, or before any fence.
    Epoch,
    /// A leaf of the current epoch by an owner whose fence was not accepted.
    Session,
    /// A leaf of the current session behind a lost one, or sent twice.
    Index,
}

/// The acceptance rule: a pure machine over the records of one partition in order of their offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Acceptance {
    position: Position,
}

impl Acceptance {
    #[must_use]
    pub fn new(position: Position) -> Self {
        Self { position }
    }

    /// Where the next record stands: a place to start again.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Judges the record at `offset`. Callers offer every record once, in order.
    pub fn offer(&mut self, offset: Offset, epoch: u64, session: &Session, candidate: Candidate) -> Verdict {
        self.pass(offset);
        match candidate {
            Candidate::Fence => self.offer_fence(epoch, session),
            Candidate::Leaf { index } => self.offer_leaf(epoch, session, index),
        }
    }

    /// Goes by the record at `offset`, which is none that the rule could accept.
    pub fn pass(&mut self, offset: Offset) {
        self.position.offset = offset.saturating_add(1);
    }

    /// Whether a leaf of this epoch and session would be refused for them alone.
    #[must_use]
    pub fn stale_session(&self, epoch: u64, session: &Session) -> Option<Stale> {
        // Epoch 0 is no session's: nothing is accepted before the first fence.
        if epoch != self.position.epoch || epoch == 0 {
            Some(Stale::Epoch)
        } else if *session != self.position.session {
            Some(Stale::Session)
        } else {
            None
        }
    }

    fn offer_fence(&mut self, epoch: u64, session: &Session) -> Verdict {
        if self.position.epoch.checked_add(1) != Some(epoch) {
            return Verdict::Stale(Stale::FenceEpoch);
        }
        self.position.epoch = epoch;
        self.position.session = *session;
        Verdict::FenceAccepted
    }

    fn offer_leaf(&mut self, epoch: u64, session: &Session, index: u64) -> Verdict {
        if let Some(stale) = self.stale_session(epoch, session) {
            return Verdict::Stale(stale);
        }
        if index != self.position.index {
            return Verdict::Stale(Stale::Index);
        }
        self.position.index += 1;
        Verdict::LeafAccepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Session = [1; 16];
    const B: Session = [2; 16];

    /// A rule that has seen `records`, and its last verdict.
    fn after(records: &[(u64, Session, Candidate)]) -> (Acceptance, Option<Verdict>) {
        let mut acceptance = Acceptance::new(Position::BEGIN);
        let mut last = None;
        for (offset, (epoch, session, candidate)) in (0..).zip(records) {
            last = Some(acceptance.offer(offset, *epoch, session, *candidate));
        }
        (acceptance, last)
    }

    fn leaf(index: u64) -> Candidate {
        Candidate::Leaf { index }
    }

    #[test]
    fn a_fence_counts_only_one_above_the_current_epoch() {
        use Candidate::Fence;
        assert_eq!(after(&[(1, A, Fence)]).1, Some(Verdict::FenceAccepted));
        let stale = Some(Verdict::Stale(Stale::FenceEpoch));
        for epoch in [0, 2, u64::MAX] {
            assert_eq!(after(&[(epoch, A, Fence)]).1, stale);
        }
        for epoch in [0, 1, 3] {
            assert_eq!(after(&[(1, A, Fence), (epoch, B, Fence)]).1, stale);
        }
        assert_eq!(
            after(&[(1, A, Fence), (2, B, Fence)]).1,
            Some(Verdict::FenceAccepted)
        );
    }

    #[test]
    fn a_leaf_counts_only_in_the_current_epoch_and_session_at_the_next_index() {
        let fence = (1, A, Candidate::Fence);
        let stale = |why| Some(Verdict::Stale(why));
        assert_eq!(after(&[fence, (1, A, leaf(0))]).1, Some(Verdict::LeafAccepted));
        assert_eq!(after(&[fence, (2, A, leaf(0))]).1, stale(Stale::Epoch));
        assert_eq!(after(&[fence, (1, B, leaf(0))]).1, stale(Stale::Session));
        assert_eq!(after(&[fence, (1, A, leaf(1))]).1, stale(Stale::Index));
        assert_eq!(
            after(&[fence, (1, A, leaf(0)), (1, A, leaf(0))]).1,
            stale(Stale::Index)
        );
    }

    #[test]
    fn nothing_counts_before_the_first_fence_not_even_epoch_0_with_a_session_of_zeros() {
        let (acceptance, verdict) = after(&[(0, [0; 16], leaf(0))]);
        assert_eq!(verdict, Some(Verdict::Stale(Stale::Epoch)));
        assert_eq!(acceptance.position().index, 0);
    }

    #[test]
    fn a_skipped_record_moves_the_offset_and_nothing_else() {
        let (before, _) = after(&[(1, A, Candidate::Fence), (1, A, leaf(0))]);
        let mut acceptance = before;
        acceptance.offer(2, 1, &B, leaf(1));
        let expected = Position {
            offset: 3,
            ..before.position()
        };
        assert_eq!(acceptance.position(), expected);
    }

    #[test]
    fn a_position_survives_its_text_form_and_other_text_is_refused() {
        let position = Position {
            offset: 12,
            epoch: 3,
            session: *b"0123456789abcdef",
            index: 9,
        };
        let text = position.to_string();
        assert_eq!(text, "1 12 3 30313233343536373839616263646566 9");
        assert_eq!(text.parse(), Ok(position));
        assert_eq!(Position::BEGIN.to_string().parse(), Ok(Position::BEGIN));
        for bad in [
            "",
            "1",
            "1 12 3 30313233343536373839616263646566",
            "1 12 3 30313233343536373839616263646566 9 ",
            "1 12 3 30313233343536373839616263646566 9 1",
            "2 12 3 30313233343536373839616263646566 9",
            "1 012 3 30313233343536373839616263646566 9",
            "1 12 3 3031323334353637383961626364656 9",
            "1 12 3 3031323334353637383961626364656F 9",
            "1 12 0 30313233343536373839616263646566 0",
            "1 -1 3 30313233343536373839616263646566 9",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(PositionSyntax), "{bad}");
        }
    }
}
