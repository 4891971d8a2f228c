//! The acceptance rule as the models use it: the product's, and what is left of it without a part of rule 1.

use ledgerline::log::reader::{Acceptance, Candidate, Position, Verdict};

/// Number of a session, in order of their starts.
pub type SessionId = u8;

/// A leaf as the models see it: enough to tell whether the accepted ones make one chain over all inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Leaf {
    pub index: u8,
    /// The source position that it consumes.
    pub input: u8,
    /// The leaf before, by the session that wrote it and its index.
    pub parent: Option<LeafId>,
}

pub type LeafId = (SessionId, u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payload {
    Fence,
    Leaf(Leaf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    pub epoch: u8,
    pub session: SessionId,
    pub payload: Payload,
}

/// Parts of rule 1 that can be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// A fence counts only one above the current epoch; else at any higher one.
    pub fence_one_above: bool,
    /// A leaf counts only in the session of the last accepted fence; else in its epoch, whoever's.
    pub leaf_matches_session: bool,
}

impl Rule {
    pub const WHOLE: Self = Self {
        fence_one_above: true,
        leaf_matches_session: true,
    };
}

/// What is wrong with an accepted leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Break {
    /// Its parent is not the leaf accepted before it.
    Fork,
    /// Its input was sealed before.
    Duplicate,
    /// An input before its own was never sealed.
    Loss,
}

/// The accepted records so far: the product's rule, and beside it what the accepted leaves say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fold {
    acceptance: Acceptance,
    pub last: Option<LeafId>,
    pub next_input: u8,
}

impl Fold {
    pub fn new() -> Self {
        Self {
            acceptance: Acceptance::new(Position::BEGIN),
            last: None,
            next_input: 0,
        }
    }

    pub fn epoch(&self) -> u8 {
        u8::try_from(self.acceptance.position().epoch).expect("models are small")
    }

    pub fn index(&self) -> u8 {
        u8::try_from(self.acceptance.position().index).expect("models are small")
    }

    /// The session that owns the partition, by the accepted fences.
    pub fn session(&self) -> Option<SessionId> {
        let position = self.acceptance.position();
        (position.epoch > 0).then(|| position.session[0])
    }

    pub fn position(&self) -> Position {
        self.acceptance.position()
    }

    /// The same, as of another position.
    pub fn at(self, position: Position) -> Self {
        Self {
            acceptance: Acceptance::new(position),
            ..self
        }
    }

    /// Offers a record; whether it was accepted, and what is wrong with it if so.
    pub fn offer(&mut self, rule: Rule, record: Record) -> (bool, Option<Break>) {
        let accepted = match record.payload {
            Payload::Fence => self.offer_fence(rule, record),
            Payload::Leaf(leaf) => self.offer_leaf(rule, record, leaf.index),
        };
        // Where in the log this is does not matter to what follows: states that differ by it alone are one.
        self.acceptance = Acceptance::new(Position {
            offset: 0,
            ..self.acceptance.position()
        });
        match record.payload {
            Payload::Leaf(leaf) if accepted => (true, self.extend(record.session, leaf)),
            Payload::Leaf(_) | Payload::Fence => (accepted, None),
        }
    }

    fn offer_fence(&mut self, rule: Rule, record: Record) -> bool {
        let mut position = self.acceptance.position();
        if !rule.fence_one_above && record.epoch > self.epoch() {
            position.epoch = u64::from(record.epoch) - 1;
        }
        let mut bent = Acceptance::new(position);
        let verdict = bent.offer(
            0,
            record.epoch.into(),
            &session_bytes(record.session),
            Candidate::Fence,
        );
        if verdict == Verdict::FenceAccepted {
            self.acceptance = bent;
        }
        verdict == Verdict::FenceAccepted
    }

    fn offer_leaf(&mut self, rule: Rule, record: Record, index: u8) -> bool {
        let session = if rule.leaf_matches_session {
            session_bytes(record.session)
        } else {
            self.acceptance.position().session
        };
        let candidate = Candidate::Leaf { index: index.into() };
        self.acceptance.offer(0, record.epoch.into(), &session, candidate) == Verdict::LeafAccepted
    }

    fn extend(&mut self, session: SessionId, leaf: Leaf) -> Option<Break> {
        let broken = if leaf.parent != self.last {
            Some(Break::Fork)
        } else if leaf.input < self.next_input {
            Some(Break::Duplicate)
        } else if leaf.input > self.next_input {
            Some(Break::Loss)
        } else {
            None
        };
        self.last = Some((session, leaf.index));
        self.next_input = self.next_input.max(leaf.input + 1);
        broken
    }
}

pub fn session_bytes(session: SessionId) -> [u8; 16] {
    [session; 16]
}
