//! Rules 6 and 8, over a log that is kept whole: readers that start in its middle, and a tail that is lost after it was
//! acknowledged and signed.
//!
//! Owners are simpler than in [`super::session`]: each opens sessions at any time, restores behind its own accepted fence, and
//! what it sent can land, or be lost, at any later time.

use super::rule::{Fold, Leaf, LeafId, Payload, Record, Rule, SessionId, session_bytes};
use super::search::{Model, Step, assert_holds, assert_violated};
use ledgerline::log::reader::Position;

/// How a reader that does not read from the beginning starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With everything that the rule remembers.
    WholePosition,
    /// With the offset and the index only, as a snapshot without epoch and session has them.
    PositionWithoutEpoch,
    /// It trusts the first record that it sees.
    FirstRecord,
    /// It trusts the first fence that it sees.
    FirstFence,
}

#[derive(Debug, Clone)]
struct Tail {
    owners: usize,
    sessions: usize,
    inputs: u8,
    window: usize,
    start: Start,
    /// Whether the log loses a tail, once.
    truncated: bool,
    /// Rule 8: owners and the notary compare the log with what was signed.
    compared: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    /// Two readers accept different leaves.
    ReadersDisagree,
    /// The log holds another leaf at an index than the notary signed.
    SignedFork,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    log: Vec<Record>,
    sessions: Vec<Session>,
    /// The session that each owner works in.
    owners: Vec<Option<SessionId>>,
    notary: Notary,
    truncated: bool,
    stopped: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Session {
    epoch: u8,
    in_flight: Vec<Payload>,
    /// Where its own leaves stand, once its owner has restored.
    working: Option<Working>,
    /// What its fence found, until the owner restores.
    fence: Option<(bool, Fold)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Working {
    index: u8,
    next_input: u8,
    last: Option<LeafId>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Notary {
    offset: usize,
    fold: Fold,
    signed: Vec<LeafId>,
}

impl Tail {
    fn open(&self, state: &State, owner: usize) -> Option<State> {
        if state.sessions.len() == self.sessions {
            return None;
        }
        let mut next = state.clone();
        let session = SessionId::try_from(next.sessions.len()).expect("models are small");
        next.sessions.push(Session {
            epoch: fold(&next.log).epoch() + 1,
            in_flight: vec![Payload::Fence],
            working: None,
            fence: None,
        });
        next.owners[owner] = Some(session);
        Some(next)
    }

    /// The fence is acknowledged; an owner whose fence was not accepted gives up.
    fn restore(&self, state: &State, owner: usize) -> Option<State> {
        let session = usize::from(state.owners[owner]?);
        let (accepted, log) = state.sessions[session].fence?;
        let mut next = state.clone();
        next.sessions[session].fence = None;
        if self.compared && state.notary.fold.index() > log.index() {
            next.stopped = true;
        } else if accepted {
            next.sessions[session].working = Some(Working {
                index: log.index(),
                next_input: log.next_input,
                last: log.last,
            });
        } else {
            next.owners[owner] = None;
        }
        Some(next)
    }

    fn append(&self, state: &State, owner: usize) -> Option<State> {
        let session = state.owners[owner]?;
        let mut next = state.clone();
        let sending = &mut next.sessions[usize::from(session)];
        let working = sending.working.as_mut()?;
        if working.next_input == self.inputs || sending.in_flight.len() == self.window {
            return None;
        }
        sending.in_flight.push(Payload::Leaf(Leaf {
            index: working.index,
            input: working.next_input,
            parent: working.last,
        }));
        working.last = Some((session, working.index));
        working.index += 1;
        working.next_input += 1;
        Some(next)
    }

    fn land(state: &State, session: usize) -> Option<State> {
        let mut next = state.clone();
        let sending = &mut next.sessions[session];
        if sending.in_flight.is_empty() {
            return None;
        }
        let record = Record {
            epoch: sending.epoch,
            session: SessionId::try_from(session).expect("models are small"),
            payload: sending.in_flight.remove(0),
        };
        next.log.push(record);
        if record.payload == Payload::Fence {
            let mut log = fold(&state.log);
            let (accepted, _) = log.offer(Rule::WHOLE, record);
            next.sessions[session].fence = Some((accepted, log));
        }
        Some(next)
    }

    fn lose(state: &State, session: usize) -> Option<State> {
        let mut next = state.clone();
        if next.sessions[session].in_flight.is_empty() {
            return None;
        }
        next.sessions[session].in_flight.remove(0);
        Some(next)
    }

    fn sign(&self, state: &State) -> Option<State> {
        if !self.truncated {
            return None;
        }
        let record = *state.log.get(state.notary.offset)?;
        let mut next = state.clone();
        let (accepted, _) = next.notary.fold.offer(Rule::WHOLE, record);
        if let (true, Payload::Leaf(leaf)) = (accepted, record.payload) {
            next.notary.signed.push((record.session, leaf.index));
        }
        next.notary.offset += 1;
        Some(next)
    }

    /// The log is cut to `length`. A notary that compares finds itself beyond its end.
    fn truncate(&self, state: &State, length: usize) -> Option<State> {
        (self.truncated && !state.truncated).then(|| State {
            log: state.log[..length].to_vec(),
            truncated: true,
            stopped: self.compared && state.notary.offset > length,
            ..state.clone()
        })
    }

    /// Whether a reader that starts at `from` accepts other leaves than one that reads from the beginning.
    fn disagrees(&self, log: &[Record], from: usize) -> bool {
        let mut whole = fold(&log[..from]);
        let mut late = self.late(&whole);
        log[from..].iter().any(|&record| {
            let (accepted, _) = whole.offer(Rule::WHOLE, record);
            let late_accepted = self.offer_late(&mut late, record);
            accepted != late_accepted && record.payload != Payload::Fence
        })
    }

    /// A reader where the one from the beginning stands as `whole`.
    fn late(&self, whole: &Fold) -> Late {
        match self.start {
            Start::WholePosition => Late::Reading(whole.at(whole.position())),
            Start::PositionWithoutEpoch => Late::Reading(whole.at(Position {
                index: whole.position().index,
                ..Position::BEGIN
            })),
            Start::FirstRecord | Start::FirstFence => Late::TrustsNothing,
        }
    }

    fn offer_late(&self, late: &mut Late, record: Record) -> bool {
        match (&mut *late, record.payload) {
            (Late::Reading(fold), _) => fold.offer(Rule::WHOLE, record).0,
            // The index that is due is not known before a leaf of the trusted fence's session shows one.
            (Late::TrustsFence(fence), Payload::Leaf(_)) => {
                let trusted = (fence.epoch, fence.session) == (record.epoch, record.session);
                if trusted {
                    *late = Late::Reading(behind(record));
                }
                trusted
            }
            (Late::TrustsFence(fence), Payload::Fence) => {
                if record.epoch == fence.epoch + 1 {
                    *fence = record;
                }
                false
            }
            (Late::TrustsNothing, Payload::Fence) => {
                *late = Late::TrustsFence(record);
                true
            }
            (Late::TrustsNothing, Payload::Leaf(_)) => {
                let trusted = self.start == Start::FirstRecord;
                if trusted {
                    *late = Late::Reading(behind(record));
                }
                trusted
            }
        }
    }
}

/// A reader that did not begin at the beginning.
enum Late {
    TrustsNothing,
    TrustsFence(Record),
    Reading(Fold),
}

/// The position behind a leaf that is taken for accepted.
fn behind(record: Record) -> Fold {
    let index = match record.payload {
        Payload::Leaf(leaf) => u64::from(leaf.index) + 1,
        Payload::Fence => 0,
    };
    Fold::new().at(Position {
        offset: 0,
        epoch: record.epoch.into(),
        session: session_bytes(record.session),
        index,
    })
}

fn fold(log: &[Record]) -> Fold {
    let mut fold = Fold::new();
    for &record in log {
        fold.offer(Rule::WHOLE, record);
    }
    fold
}

/// The accepted leaves of a log, by index.
fn leaves(log: &[Record]) -> Vec<LeafId> {
    let mut fold = Fold::new();
    let mut leaves = Vec::new();
    for &record in log {
        let (accepted, _) = fold.offer(Rule::WHOLE, record);
        if let (true, Payload::Leaf(leaf)) = (accepted, record.payload) {
            leaves.push((record.session, leaf.index));
        }
    }
    leaves
}

impl Model for Tail {
    type State = State;
    type Bad = Bad;

    fn initial(&self) -> State {
        State {
            log: Vec::new(),
            sessions: Vec::new(),
            owners: vec![None; self.owners],
            notary: Notary {
                offset: 0,
                fold: Fold::new(),
                signed: Vec::new(),
            },
            truncated: false,
            stopped: false,
        }
    }

    fn successors(&self, state: &State, out: &mut Vec<(Step, State)>) {
        if state.stopped {
            return;
        }
        let mut push =
            |what, who, next: Option<State>| out.extend(next.map(|next| (Step { what, who }, next)));
        for session in 0..state.sessions.len() {
            push("lands: a record of session", session, Self::land(state, session));
            push(
                "is lost: a record of session",
                session,
                Self::lose(state, session),
            );
        }
        for owner in 0..self.owners {
            push("opens a session: owner", owner, self.open(state, owner));
            push("hears of its fence: owner", owner, self.restore(state, owner));
            push("appends: owner", owner, self.append(state, owner));
        }
        push("reads and signs: notary", 0, self.sign(state));
        for length in 0..state.log.len() {
            push("the log is cut to length", length, self.truncate(state, length));
        }
    }

    fn bad(&self, state: &State) -> Option<Bad> {
        let now = leaves(&state.log);
        let fork = now
            .iter()
            .zip(&state.notary.signed)
            .any(|(leaf, signed)| leaf != signed);
        if fork && !state.stopped {
            return Some(Bad::SignedFork);
        }
        (0..state.log.len())
            .any(|from| self.disagrees(&state.log, from))
            .then_some(Bad::ReadersDisagree)
    }
}

fn whole() -> Tail {
    Tail {
        owners: 2,
        sessions: 3,
        inputs: 2,
        window: 2,
        start: Start::WholePosition,
        truncated: false,
        compared: true,
    }
}

#[test]
fn rule_6_readers_that_start_from_a_whole_position_agree_with_two_owners() {
    assert_holds(&whole());
}

#[test]
fn rule_6_readers_that_start_from_a_whole_position_agree_with_three_owners() {
    let three = Tail {
        owners: 3,
        inputs: 1,
        ..whole()
    };
    assert_holds(&three);
}

#[test]
fn rule_6_a_reader_without_the_epoch_the_first_record_or_the_first_fence_to_trust_disagrees() {
    for start in [Start::PositionWithoutEpoch, Start::FirstRecord, Start::FirstFence] {
        let without = Tail { start, ..whole() };
        assert_violated(&without, Bad::ReadersDisagree);
    }
}

#[test]
fn rule_8_a_log_shorter_than_what_was_signed_stops_the_partition() {
    let with = Tail {
        truncated: true,
        sessions: 2,
        ..whole()
    };
    assert_holds(&with);
}

#[test]
fn rule_8_holds_with_three_owners() {
    let with = Tail {
        truncated: true,
        owners: 3,
        inputs: 1,
        window: 1,
        ..whole()
    };
    assert_holds(&with);
}

#[test]
fn rule_8_without_the_comparison_another_leaf_takes_a_signed_index() {
    let without = Tail {
        truncated: true,
        compared: false,
        ..whole()
    };
    assert_violated(&without, Bad::SignedFork);
}
