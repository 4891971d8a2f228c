//! Rule 5: restoring from a snapshot. The accepted log is given, and the tenants of its records are fixed; notaries read it
//! and write snapshots in parts, restart with writes still in flight, and the log's head is deleted behind a snapshot.

use super::search::{Model, Step, assert_holds, assert_violated};

/// How a snapshot is laid down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Latest head per tenant, each with the index that it is valid for, and a position beside them.
    PerKey,
    /// One record holds everything, and replaces the one before.
    OneRecord,
    /// Generations in two chunks; the newest that is whole counts, and older ones go only after that.
    Generations,
}

#[derive(Debug, Clone)]
struct Snapshots {
    form: Form,
    /// The tenant, 0 or 1, of each record.
    tenants: &'static [usize],
    notaries: usize,
    restarts: u8,
    /// Whether the log's head is deleted behind the newest snapshot that all notaries have passed.
    retention: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bad {
    /// An owner that restores now seals on a head that is not the tenant's.
    Fork,
    /// A notary restored a wrong state: it signs a forked tree.
    NotaryAstray,
    /// No snapshot reaches the retained log.
    Stuck,
}

/// A tenant's head is how many entries it has: a record applied twice, or not, shows.
type Heads = [u8; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Write {
    to: Place,
    index: u8,
    heads: Heads,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Head(usize),
    Position,
    Record,
    Chunk { generation: u8, chunk: u8 },
    Removal { generation: u8 },
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Notary {
    index: u8,
    heads: Heads,
    /// Up to where a restored head was already valid.
    as_of: Heads,
    changed: [bool; 2],
    in_flight: Vec<Write>,
    /// Writes of its sessions before it restarted.
    late: Vec<Write>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    sealed: u8,
    notaries: Vec<Notary>,
    restarts_left: u8,
    head: [Option<Write>; 2],
    position: Option<Write>,
    record: Option<Write>,
    /// Per generation, a bit for each chunk that is there.
    chunks: [u8; 8],
    retained_from: u8,
    bad: Option<Bad>,
}

/// What a restore starts from.
struct Base {
    index: u8,
    heads: Heads,
    as_of: Heads,
}

impl Snapshots {
    fn truth(&self, index: u8) -> Heads {
        let mut heads = [0; 2];
        for tenant in &self.tenants[..usize::from(index)] {
            heads[*tenant] += 1;
        }
        heads
    }

    fn base(&self, state: &State) -> Base {
        let at = |write: Option<Write>| write.map_or(0, |write| write.index);
        let head = |tenant: usize| state.head[tenant].map_or(0, |write| write.heads[tenant]);
        match self.form {
            Form::PerKey => Base {
                index: at(state.position),
                heads: [head(0), head(1)],
                as_of: state.head.map(at),
            },
            Form::OneRecord => Base {
                index: at(state.record),
                heads: state.record.map_or([0; 2], |write| write.heads),
                as_of: [0; 2],
            },
            Form::Generations => {
                let whole = newest_whole(state);
                Base {
                    index: whole,
                    heads: self.truth(whole),
                    as_of: [0; 2],
                }
            }
        }
    }

    /// The heads that an owner restores now, from the newest snapshot and the log behind it.
    fn restored(&self, state: &State) -> Option<Heads> {
        let base = self.base(state);
        if base.index < state.retained_from {
            return None;
        }
        let mut heads = base.heads;
        for index in base.index..state.sealed {
            let tenant = self.tenants[usize::from(index)];
            if index >= base.as_of[tenant] {
                heads[tenant] += 1;
            }
        }
        Some(heads)
    }

    fn read(&self, state: &State, notary: usize) -> Option<State> {
        let mut next = state.clone();
        let reader = &mut next.notaries[notary];
        if reader.index == state.sealed {
            return None;
        }
        if reader.index < state.retained_from {
            next.bad = Some(Bad::Stuck);
            return Some(next);
        }
        let tenant = self.tenants[usize::from(reader.index)];
        if reader.index >= reader.as_of[tenant] {
            reader.heads[tenant] += 1;
            reader.changed[tenant] = true;
        }
        reader.index += 1;
        Some(next)
    }

    fn flush(&self, state: &State, notary: usize) -> Option<State> {
        let from = &state.notaries[notary];
        let idle = from.in_flight.is_empty() && from.index > 0;
        let due = match self.form {
            Form::PerKey | Form::OneRecord => from.changed != [false; 2],
            Form::Generations => state.chunks[usize::from(from.index)] != WHOLE,
        };
        (idle && due).then(|| {
            let mut next = state.clone();
            next.notaries[notary].in_flight = self.writes(state, from);
            next.notaries[notary].changed = [false; 2];
            next
        })
    }

    fn writes(&self, state: &State, notary: &Notary) -> Vec<Write> {
        let write = |to| Write {
            to,
            index: notary.index,
            heads: notary.heads,
        };
        let generation = notary.index;
        match self.form {
            Form::PerKey => {
                let changed = (0..2).filter(|tenant| notary.changed[*tenant]);
                let heads = changed.map(|tenant| write(Place::Head(tenant)));
                heads.chain([write(Place::Position)]).collect()
            }
            Form::OneRecord => vec![write(Place::Record)],
            Form::Generations => {
                let chunks = (0..2).map(|chunk| write(Place::Chunk { generation, chunk }));
                let older = (1..generation).filter(|older| state.chunks[usize::from(*older)] != 0);
                let removals = older.map(|generation| write(Place::Removal { generation }));
                chunks.chain(removals).collect()
            }
        }
    }

    /// A restart: what was in flight may still land, later.
    fn restart(&self, state: &State, notary: usize) -> Option<State> {
        if state.restarts_left == 0 || !state.notaries[notary].late.is_empty() {
            return None;
        }
        let base = self.base(state);
        let mut next = state.clone();
        next.restarts_left -= 1;
        if base.index < state.retained_from {
            next.bad = Some(Bad::Stuck);
        }
        for tenant in 0..2 {
            let ahead = base.as_of[tenant] > base.index
                && base.heads[tenant] == self.truth(base.as_of[tenant])[tenant];
            if base.heads[tenant] != self.truth(base.index)[tenant] && !ahead {
                next.bad = Some(Bad::NotaryAstray);
            }
        }
        let late = std::mem::take(&mut next.notaries[notary].in_flight);
        next.notaries[notary] = Notary {
            index: base.index,
            heads: base.heads,
            as_of: base.as_of,
            late,
            ..Notary::default()
        };
        Some(next)
    }

    fn delete_head(&self, state: &State) -> Option<State> {
        let slowest = state.notaries.iter().map(|notary| notary.index).min()?;
        let before = self.base(state).index.min(slowest);
        (self.retention && before > state.retained_from).then(|| State {
            retained_from: before,
            ..state.clone()
        })
    }
}

/// Both chunks.
const WHOLE: u8 = 3;

fn newest_whole(state: &State) -> u8 {
    let whole = |generation: &u8| state.chunks[usize::from(*generation)] == WHOLE;
    (1..8).rev().find(whole).unwrap_or(0)
}

fn land(state: &mut State, write: Write) {
    match write.to {
        Place::Head(tenant) => state.head[tenant] = Some(write),
        Place::Position => state.position = Some(write),
        Place::Record => state.record = Some(write),
        Place::Chunk { generation, chunk } => state.chunks[usize::from(generation)] |= 1 << chunk,
        Place::Removal { generation } => state.chunks[usize::from(generation)] = 0,
    }
}

impl Model for Snapshots {
    type State = State;
    type Bad = Bad;

    fn initial(&self) -> State {
        State {
            sealed: 0,
            notaries: vec![Notary::default(); self.notaries],
            restarts_left: self.restarts,
            head: [None; 2],
            position: None,
            record: None,
            chunks: [0; 8],
            retained_from: 0,
            bad: None,
        }
    }

    fn successors(&self, state: &State, out: &mut Vec<(Step, State)>) {
        let mut push =
            |what, who, next: Option<State>| out.extend(next.map(|next| (Step { what, who }, next)));
        let more = usize::from(state.sealed) < self.tenants.len();
        let sealed = State {
            sealed: state.sealed + 1,
            ..state.clone()
        };
        push("a record is sealed", 0, more.then_some(sealed));
        push("the log's head is deleted", 0, self.delete_head(state));
        for notary in 0..self.notaries {
            push("reads: notary", notary, self.read(state, notary));
            push("writes a snapshot: notary", notary, self.flush(state, notary));
            push("restarts: notary", notary, self.restart(state, notary));
            let mut landed = state.clone();
            if !landed.notaries[notary].in_flight.is_empty() {
                let write = landed.notaries[notary].in_flight.remove(0);
                land(&mut landed, write);
                push("a write lands: notary", notary, Some(landed));
            }
            let mut landed = state.clone();
            if !landed.notaries[notary].late.is_empty() {
                let write = landed.notaries[notary].late.remove(0);
                land(&mut landed, write);
                push(
                    "a write from before the restart lands: notary",
                    notary,
                    Some(landed),
                );
                let mut lost = state.clone();
                lost.notaries[notary].late.clear();
                push(
                    "writes from before the restart are lost: notary",
                    notary,
                    Some(lost),
                );
            }
        }
    }

    /// An owner may restore in any state: what it would get is judged in each.
    fn bad(&self, state: &State) -> Option<Bad> {
        state.bad.or_else(|| match self.restored(state) {
            None => Some(Bad::Stuck),
            Some(heads) => (heads != self.truth(state.sealed)).then_some(Bad::Fork),
        })
    }
}

fn generations() -> Snapshots {
    Snapshots {
        form: Form::Generations,
        tenants: &[0, 1, 0],
        notaries: 2,
        restarts: 1,
        retention: true,
    }
}

#[test]
fn rule_5_holds_with_whole_generations_and_two_notaries_that_restart() {
    assert_holds(&generations());
}

#[test]
fn rule_5_holds_with_whole_generations_and_three_notaries() {
    let three = Snapshots {
        notaries: 3,
        tenants: &[0, 1],
        ..generations()
    };
    assert_holds(&three);
}

#[test]
fn rule_5_heads_updated_key_by_key_fork_a_chain_with_two_notaries() {
    let without = Snapshots {
        form: Form::PerKey,
        tenants: &[0, 1, 0, 1],
        restarts: 0,
        retention: false,
        ..generations()
    };
    assert_violated(&without, Bad::Fork);
}

#[test]
fn rule_5_heads_updated_key_by_key_fork_a_chain_after_a_restart_of_one_notary() {
    let without = Snapshots {
        form: Form::PerKey,
        tenants: &[0, 1, 0, 1],
        notaries: 1,
        restarts: 2,
        retention: false,
    };
    assert_violated(&without, Bad::Fork);
}

#[test]
fn rule_5_one_record_that_a_slow_notary_puts_back_no_longer_reaches_the_retained_log() {
    let without = Snapshots {
        form: Form::OneRecord,
        tenants: &[0, 1, 0, 1],
        restarts: 2,
        ..generations()
    };
    assert_violated(&without, Bad::Stuck);
}
