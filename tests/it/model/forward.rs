//! Rule 7: forwarding from a source partition into an input partition (capture), and from one ledger partition to another
//! (reroute: there the sender commits by sealing `rerouted`).
//!
//! Items 0.. of one source partition are sent on at least once. The receiver drops what is at or below the highest source
//! position that it has sealed. Senders are replaced at any time; what they sent lands, twice at times, or is lost.

use super::search::{Model, Step, assert_holds, assert_violated};

#[derive(Debug, Clone)]
struct Forward {
    items: u8,
    senders: usize,
    sessions: usize,
    /// Most items in flight. Rule 7: one.
    window: usize,
    /// How often a record lands twice.
    doubled: u8,
    /// What the sender commits.
    commit: Commit,
    /// Whether the source topic may be recreated, with offsets from 0 again.
    recreated: bool,
    /// Rule 7: the receiver keeps a position for each incarnation of the source.
    by_incarnation: bool,
    /// Rule 7: which of the two target partitions an item goes to. Each keeps a position of its own.
    choice: Choice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    /// Up to the first item that is not acknowledged.
    AcknowledgedPrefix,
    /// Up to the highest item that is acknowledged.
    HighestAcknowledged,
    /// What was sent: a `rerouted` that is sealed before the forward is acknowledged.
    Sent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// The same at every sending.
    Pure,
    /// Any, each time: a mapping that changes between two sendings.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bad {
    /// An item that was never sealed is dropped as one that was.
    Dropped,
    /// An item is committed, and neither sealed nor in flight.
    CommittedAndNowhere,
    Duplicate,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sent {
    offset: u8,
    target: u8,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Session {
    incarnation: u8,
    from: u8,
    next: u8,
    in_flight: Vec<Sent>,
    landed: u8,
    acknowledged: u8,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    sessions: Vec<Session>,
    senders: Vec<Option<usize>>,
    incarnation: u8,
    committed: u8,
    /// Items that were sealed, by incarnation.
    sealed: [u8; 2],
    /// The next source offset due, by target and incarnation.
    due: [[u8; 2]; 2],
    doubled_left: u8,
    bad: Option<Bad>,
}

fn has(set: u8, item: u8) -> bool {
    set >> item & 1 == 1
}

impl Forward {
    fn start(&self, state: &State, sender: usize, from: u8) -> Option<State> {
        (state.sessions.len() < self.sessions).then(|| {
            let mut next = state.clone();
            next.senders[sender] = Some(next.sessions.len());
            next.sessions.push(Session {
                incarnation: state.incarnation,
                from,
                next: from,
                in_flight: Vec::new(),
                landed: 0,
                acknowledged: 0,
            });
            next
        })
    }

    fn send(&self, state: &State, sender: usize, target: u8) -> Option<State> {
        let place = state.senders[sender]?;
        let mut next = state.clone();
        let session = &mut next.sessions[place];
        let open = (session.from..session.next)
            .filter(|item| !has(session.acknowledged, *item))
            .count();
        if session.next == self.items || open == self.window {
            return None;
        }
        session.in_flight.push(Sent {
            offset: session.next,
            target,
        });
        session.next += 1;
        self.commit(&mut next, place);
        Some(next)
    }

    fn acknowledge(&self, state: &State, sender: usize, item: u8) -> Option<State> {
        let place = state.senders[sender]?;
        let session = &state.sessions[place];
        if !has(session.landed, item) || has(session.acknowledged, item) {
            return None;
        }
        let mut next = state.clone();
        next.sessions[place].acknowledged |= 1 << item;
        self.commit(&mut next, place);
        Some(next)
    }

    /// A lost item is sent again, by the same session.
    fn send_again(state: &State, sender: usize, item: u8, target: u8) -> Option<State> {
        let place = state.senders[sender]?;
        let session = &state.sessions[place];
        let sent = (session.from..session.next).contains(&item);
        let in_flight = session.in_flight.iter().any(|sent| sent.offset == item);
        (sent && !in_flight && !has(session.landed, item)).then(|| {
            let mut next = state.clone();
            next.sessions[place].in_flight.push(Sent { offset: item, target });
            next
        })
    }

    fn commit(&self, state: &mut State, place: usize) {
        let session = &state.sessions[place];
        let unacknowledged = |item: &u8| !has(session.acknowledged, *item);
        let prefix = (session.from..session.next)
            .find(unacknowledged)
            .unwrap_or(session.next);
        let committed = match self.commit {
            Commit::AcknowledgedPrefix => prefix,
            Commit::HighestAcknowledged => (session.from..session.next)
                .rev()
                .find(|item| has(session.acknowledged, *item))
                .map_or(prefix, |item| item + 1),
            Commit::Sent => session.next,
        };
        if session.incarnation == state.incarnation {
            state.committed = state.committed.max(committed);
        }
    }

    fn land(&self, state: &State, place: usize, keep: bool) -> Option<State> {
        let sent = *state.sessions[place].in_flight.first()?;
        if keep && state.doubled_left == 0 {
            return None;
        }
        let mut next = state.clone();
        if keep {
            next.doubled_left -= 1;
        } else {
            next.sessions[place].in_flight.remove(0);
        }
        next.sessions[place].landed |= 1 << sent.offset;
        let incarnation = usize::from(next.sessions[place].incarnation);
        self.receive(&mut next, sent, incarnation);
        Some(next)
    }

    fn lose(state: &State, place: usize) -> Option<State> {
        let mut next = state.clone();
        let in_flight = &mut next.sessions[place].in_flight;
        if in_flight.is_empty() {
            return None;
        }
        in_flight.remove(0);
        Some(next)
    }

    /// The receiver: seals what its position does not cover.
    fn receive(&self, state: &mut State, sent: Sent, incarnation: usize) {
        let slot = if self.by_incarnation { incarnation } else { 0 };
        let due = &mut state.due[usize::from(sent.target)][slot];
        let sealed = has(state.sealed[incarnation], sent.offset);
        if sent.offset < *due {
            state.bad = (!sealed).then_some(Bad::Dropped);
        } else if sealed {
            state.bad = Some(Bad::Duplicate);
        } else {
            *due = sent.offset + 1;
            state.sealed[incarnation] |= 1 << sent.offset;
        }
    }

    fn recreate(&self, state: &State) -> Option<State> {
        (self.recreated && state.incarnation == 0).then(|| State {
            incarnation: 1,
            committed: 0,
            ..state.clone()
        })
    }

    /// Which targets an item can be sent to: the first is where it belongs.
    fn targets(&self) -> std::ops::Range<u8> {
        match self.choice {
            Choice::Pure => 0..1,
            Choice::Any => 0..2,
        }
    }
}

impl Model for Forward {
    type State = State;
    type Bad = Bad;

    fn initial(&self) -> State {
        State {
            sessions: Vec::new(),
            senders: vec![None; self.senders],
            incarnation: 0,
            committed: 0,
            sealed: [0; 2],
            due: [[0; 2]; 2],
            doubled_left: self.doubled,
            bad: None,
        }
    }

    fn successors(&self, state: &State, out: &mut Vec<(Step, State)>) {
        let mut push =
            |what, who, next: Option<State>| out.extend(next.map(|next| (Step { what, who }, next)));
        for session in 0..state.sessions.len() {
            push(
                "lands: an item of session",
                session,
                self.land(state, session, false),
            );
            push(
                "lands, and will again: an item of session",
                session,
                self.land(state, session, true),
            );
            push("is lost: an item of session", session, Self::lose(state, session));
        }
        for sender in 0..self.senders {
            // A start may find an older commit than the last.
            for from in 0..=state.committed {
                let started = self.start(state, sender, from);
                push("starts a session: sender", sender, started);
            }
            for target in self.targets() {
                push("sends: sender", sender, self.send(state, sender, target));
                for item in 0..self.items {
                    let again = Self::send_again(state, sender, item, target);
                    push("sends a lost item again: sender", sender, again);
                }
            }
            for item in 0..self.items {
                let acknowledged = self.acknowledge(state, sender, item);
                push("gets an acknowledgement: sender", sender, acknowledged);
            }
        }
        push("the source topic is recreated", 0, self.recreate(state));
    }

    /// Beside what the receiver finds: an item that is committed, not sealed and of which nothing is in flight is lost once its
    /// sender is replaced, and a sender can be replaced at any time.
    fn bad(&self, state: &State) -> Option<Bad> {
        let incarnation = usize::from(state.incarnation);
        let nowhere = |item: u8| {
            let in_flight = state.sessions.iter().any(|session| {
                session.incarnation == state.incarnation
                    && session.in_flight.iter().any(|sent| sent.offset == item)
            });
            !has(state.sealed[incarnation], item) && !in_flight
        };
        let lost = (0..state.committed).any(nowhere);
        state.bad.or(lost.then_some(Bad::CommittedAndNowhere))
    }
}

fn whole() -> Forward {
    Forward {
        items: 3,
        senders: 2,
        sessions: 2,
        window: 1,
        doubled: 1,
        commit: Commit::AcknowledgedPrefix,
        recreated: false,
        by_incarnation: true,
        choice: Choice::Pure,
    }
}

#[test]
fn rule_7_one_item_in_flight_and_the_acknowledged_prefix_hold_with_two_senders() {
    assert_holds(&whole());
}

#[test]
fn rule_7_holds_with_three_senders() {
    let three = Forward {
        items: 2,
        senders: 3,
        sessions: 3,
        ..whole()
    };
    assert_holds(&three);
}

#[test]
fn rule_7_holds_over_a_recreated_source_topic() {
    let recreated = Forward {
        items: 2,
        recreated: true,
        ..whole()
    };
    assert_holds(&recreated);
}

#[test]
fn rule_7_with_two_items_in_flight_a_lost_one_is_dropped_behind_the_next() {
    let without = Forward { window: 2, ..whole() };
    assert_violated(&without, Bad::Dropped);
}

#[test]
fn rule_7_a_commit_of_the_highest_acknowledged_item_skips_a_lost_one() {
    let without = Forward {
        window: 2,
        senders: 1,
        sessions: 1,
        commit: Commit::HighestAcknowledged,
        ..whole()
    };
    assert_violated(&without, Bad::CommittedAndNowhere);
}

#[test]
fn rule_7_a_rerouted_sealed_before_the_forward_is_acknowledged_loses_it() {
    let without = Forward {
        commit: Commit::Sent,
        ..whole()
    };
    assert_violated(&without, Bad::CommittedAndNowhere);
}

#[test]
fn rule_7_without_incarnations_a_recreated_topic_is_dropped_as_already_seen() {
    let without = Forward {
        recreated: true,
        by_incarnation: false,
        ..whole()
    };
    assert_violated(&without, Bad::Dropped);
}

#[test]
fn rule_7_a_choice_of_partition_that_changes_between_two_sendings_seals_twice() {
    let without = Forward {
        choice: Choice::Any,
        ..whole()
    };
    assert_violated(&without, Bad::Duplicate);
}
