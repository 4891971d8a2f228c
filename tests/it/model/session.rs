//! Owners of one ledger partition: fencing, pipelined appends, lost and late records, late acknowledgements, crashes.
//!
//! The log is folded as records land, because whether one is accepted depends on those before it alone. Kept are that fold,
//! what each session still has in flight, and what each owner knows. An owner can meet an unknown answer, and so begin
//! another session, at any time; what it had sent can land or be lost at any later time.

use super::rule::{Break, Fold, Leaf, LeafId, Payload, Record, Rule, SessionId};
use super::search::{Model, Step};

/// How an owner learns what became of its appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBack {
    /// It reads its partition, record by record, at any pace.
    Follow,
    /// What the product does: an acknowledgement at exactly the offset that it would read next is read back, since nothing
    /// can lie between; at a further one it reads the gap.
    Acknowledged,
    /// Taken out in part: any acknowledgement is taken for read back, what lies between is not read.
    GapUnread,
    /// Taken out: an acknowledgement is taken for acceptance.
    None,
}

/// The rules in force and the size of the model.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a rule that a test takes out"
)]
#[derive(Debug, Clone)]
pub struct Protocol {
    pub rule: Rule,
    /// Rule 1: an owner whose own fence was not accepted writes nothing.
    pub own_fence_checked: bool,
    /// Rule 2.
    pub read_back: ReadBack,
    /// Rule 3 taken out: a lost append is sent again in its session.
    pub sends_again: bool,
    /// Rule 4 taken out: an owner resumes after the last acknowledged input, as a group offset has it.
    pub resumes_from_acknowledged: bool,
    /// Rule 4 taken out: an input that the consumer delivers again is not dropped.
    pub seals_redelivered: bool,
    /// Whether an owner's wrong state is bad before anything wrong is in the log.
    pub states_judged: bool,
    pub owners: usize,
    pub inputs: u8,
    /// Most appends of an owner that are not acknowledged.
    pub window: u32,
    pub sessions: usize,
    pub crashes: u8,
    /// Faults stop at some time, only one owner stays, and it may use so many more sessions to seal all inputs.
    pub sessions_to_finish: Option<usize>,
    /// A group gives the partition to one owner at a time, and only that one opens sessions; else any owner does.
    pub group: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bad {
    Log(Break),
    /// An owner's state is not what the accepted records say.
    State,
    /// One owner is left, there are no more faults, and inputs stay unsealed.
    Stall,
    /// The same, with sessions that never come to work.
    Livelock,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    log: Fold,
    sessions: Vec<Session>,
    owners: Vec<Owner>,
    crashes_left: u8,
    assigned: Option<usize>,
    /// Inputs below it were acknowledged.
    group_offset: u8,
    /// The one owner that is left once faults have stopped.
    alone: Option<usize>,
    bad: Option<Bad>,
}

/// What a session sent, and what became of it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Session {
    epoch: u8,
    ended: bool,
    in_flight: Vec<Payload>,
    fence: Fence,
    landed: Indices,
    skipped: Indices,
    lost_any: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Fence {
    #[default]
    InFlight,
    Lost,
    Landed {
        accepted: bool,
        /// The log up to and including it.
        log: Fold,
    },
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Owner {
    mode: Mode,
    /// The highest epoch that it tried since it started.
    tried: u8,
    /// What landed behind its own fence and it has not read.
    unread: Vec<Record>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Mode {
    #[default]
    Idle,
    Fencing {
        session: SessionId,
    },
    Sealing(Sealing),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sealing {
    session: SessionId,
    /// Its state behind everything that it sent.
    index: u8,
    last: Option<LeafId>,
    next_input: u8,
    unacknowledged: Indices,
    /// The log as far as it has read it.
    view: Fold,
}

/// A set of indices below 8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Indices(u8);

impl Indices {
    fn contains(self, index: u8) -> bool {
        self.0 >> index & 1 == 1
    }

    fn insert(&mut self, index: u8) {
        self.0 |= 1 << index;
    }

    fn remove(&mut self, index: u8) {
        self.0 &= !(1 << index);
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |index| self.contains(*index))
    }
}

impl Session {
    fn has_in_flight(&self, index: u8) -> bool {
        self.in_flight
            .iter()
            .any(|payload| matches!(payload, Payload::Leaf(leaf) if leaf.index == index))
    }

    /// Forgets what nobody will ask for again, so that more states are one.
    fn forget_if_ended(&mut self) {
        if self.ended {
            *self = Session {
                epoch: if self.in_flight.is_empty() { 0 } else { self.epoch },
                ended: true,
                in_flight: std::mem::take(&mut self.in_flight),
                ..Session::default()
            };
        }
    }
}

impl Owner {
    fn session(&self) -> Option<SessionId> {
        match self.mode {
            Mode::Idle => None,
            Mode::Fencing { session } | Mode::Sealing(Sealing { session, .. }) => Some(session),
        }
    }
}

impl State {
    fn session_of(&self, owner: usize) -> Option<&Session> {
        self.owners[owner]
            .session()
            .map(|session| &self.sessions[usize::from(session)])
    }
}

type Successors = Vec<(Step, State)>;

impl Model for Protocol {
    type State = State;
    type Bad = Bad;

    fn initial(&self) -> State {
        State {
            log: Fold::new(),
            sessions: Vec::new(),
            owners: vec![Owner::default(); self.owners],
            crashes_left: self.crashes,
            assigned: None,
            group_offset: 0,
            alone: None,
            bad: None,
        }
    }

    fn successors(&self, state: &State, out: &mut Successors) {
        for session in 0..state.sessions.len() {
            self.network(state, session, out);
        }
        for owner in 0..self.owners {
            match state.alone {
                None => self.faults(state, owner, out),
                Some(alone) if alone == owner => Self::reported_errors(state, owner, out),
                Some(_) => continue,
            }
            match state.owners[owner].mode {
                Mode::Idle => self.open(state, owner, out),
                Mode::Fencing { session } => self.restore(state, owner, session, out),
                Mode::Sealing(sealing) => self.seal(state, owner, sealing, out),
            }
        }
    }

    fn bad(&self, state: &State) -> Option<Bad> {
        let astray = state.owners.iter().any(|owner| self.is_astray(state, owner));
        state.bad.or((self.states_judged && astray).then_some(Bad::State))
    }

    fn bad_end(&self, state: &State) -> Option<Bad> {
        let unsealed = state.log.next_input < self.inputs;
        (state.alone.is_some() && unsealed).then_some(Bad::Stall)
    }
}

/// The network: what is in flight lands in order, or is lost.
impl Protocol {
    fn network(&self, state: &State, session: usize, out: &mut Successors) {
        let Some(payload) = state.sessions[session].in_flight.first().copied() else {
            return;
        };
        let mut landed = state.clone();
        landed.sessions[session].in_flight.remove(0);
        self.land(&mut landed, session, payload);
        landed.sessions[session].forget_if_ended();
        out.push((step("lands: a record of session", session), landed));

        let own = state.alone.and_then(|owner| state.owners[owner].session());
        if own.map(usize::from) != Some(session) {
            let mut lost = state.clone();
            lost.sessions[session].in_flight.remove(0);
            lost.sessions[session].lost_any = true;
            if payload == Payload::Fence {
                lost.sessions[session].fence = Fence::Lost;
            }
            lost.sessions[session].forget_if_ended();
            out.push((step("is lost: a record of session", session), lost));
        }
    }

    fn land(&self, state: &mut State, session: usize, payload: Payload) {
        let record = Record {
            epoch: state.sessions[session].epoch,
            session: session_id(session),
            payload,
        };
        let (accepted, broken) = state.log.offer(self.rule, record);
        state.bad = broken.map(Bad::Log);
        for owner in 0..self.owners {
            let behind_fence = state.session_of(owner).is_some_and(|own| own.fence.has_landed());
            if behind_fence && self.read_back != ReadBack::None {
                state.owners[owner].unread.push(record);
            }
        }
        let (log, session) = (state.log, &mut state.sessions[session]);
        match payload {
            Payload::Fence => session.fence = Fence::Landed { accepted, log },
            Payload::Leaf(leaf) => {
                session.landed.insert(leaf.index);
                if !accepted {
                    session.skipped.insert(leaf.index);
                }
            }
        }
    }
}

impl Fence {
    fn has_landed(self) -> bool {
        match self {
            Fence::Landed { .. } => true,
            Fence::InFlight | Fence::Lost => false,
        }
    }
}

/// Sessions: begun, ended, crashed.
impl Protocol {
    /// What can go wrong for an owner while faults last.
    fn faults(&self, state: &State, owner: usize, out: &mut Successors) {
        let working = state.owners[owner].mode != Mode::Idle;
        if working && state.crashes_left > 0 {
            let mut next = state.clone();
            next.crashes_left -= 1;
            end_session(&mut next, owner);
            next.owners[owner].tried = 0;
            out.push((step("crashes: owner", owner), next));
        }
        if working && self.may_open(state, owner) {
            let mut next = state.clone();
            self.begin_session(&mut next, owner);
            out.push((
                step("meets an unknown answer and opens a session: owner", owner),
                next,
            ));
        }
        if self.group && state.assigned != Some(owner) && state.sessions.len() < self.sessions {
            let mut next = state.clone();
            next.assigned = Some(owner);
            end_session(&mut next, owner);
            out.push((step("is given the partition: owner", owner), next));
        }
        if self.sessions_to_finish.is_some() && (!self.group || state.assigned == Some(owner)) {
            let mut next = state.clone();
            next.alone = Some(owner);
            out.push((step("stays alone, faults stop: owner", owner), next));
        }
    }

    /// Once faults have stopped, an owner is told of what will never come.
    fn reported_errors(state: &State, owner: usize, out: &mut Successors) {
        let Some(session) = state.session_of(owner) else {
            return;
        };
        let failed = match state.owners[owner].mode {
            Mode::Idle => false,
            Mode::Fencing { .. } => session.fence == Fence::Lost,
            Mode::Sealing(sealing) => sealing.unacknowledged.iter().any(|index| is_lost(session, index)),
        };
        if failed {
            out.push((
                step("is told of a lost append: owner", owner),
                ended(state, owner),
            ));
        }
    }

    fn may_open(&self, state: &State, owner: usize) -> bool {
        let limit = match state.alone {
            None => self.sessions,
            Some(_) => self.sessions + self.sessions_to_finish.unwrap_or(0),
        };
        state.sessions.len() < limit && (!self.group || state.assigned == Some(owner))
    }

    fn open(&self, state: &State, owner: usize, out: &mut Successors) {
        // Owners that have done nothing are alike: the first one begins.
        let like_the_first = state.sessions.is_empty() && owner > 0 && !self.group && state.alone.is_none();
        let nothing_to_do = state.alone.is_some() && state.log.next_input == self.inputs;
        if like_the_first || nothing_to_do {
            return;
        }
        if self.may_open(state, owner) {
            let mut next = state.clone();
            self.begin_session(&mut next, owner);
            out.push((step("opens a session: owner", owner), next));
        } else if state.alone.is_some() && (!self.group || state.assigned == Some(owner)) {
            let mut next = state.clone();
            next.bad = Some(Bad::Livelock);
            out.push((step("needs one session more: owner", owner), next));
        }
    }

    fn begin_session(&self, state: &mut State, owner: usize) {
        end_session(state, owner);
        let tried = state.owners[owner].tried;
        let epoch = if self.rule.fence_one_above {
            state.log.epoch() + 1
        } else {
            state.log.epoch().max(tried) + 1
        };
        state.owners[owner] = Owner {
            mode: Mode::Fencing {
                session: session_id(state.sessions.len()),
            },
            tried: if self.rule.fence_one_above { 0 } else { epoch },
            unread: Vec::new(),
        };
        state.sessions.push(Session {
            epoch,
            in_flight: vec![Payload::Fence],
            ..Session::default()
        });
    }

    /// The fence is acknowledged: the owner reads the log up to it.
    fn restore(&self, state: &State, owner: usize, session: SessionId, out: &mut Successors) {
        let Fence::Landed { accepted, log } = state.sessions[usize::from(session)].fence else {
            return;
        };
        if !accepted && self.own_fence_checked {
            out.push((
                step("finds its fence not accepted: owner", owner),
                ended(state, owner),
            ));
            return;
        }
        let mut next = state.clone();
        let next_input = if self.resumes_from_acknowledged {
            log.next_input.max(state.group_offset)
        } else {
            log.next_input
        };
        next.owners[owner].mode = Mode::Sealing(Sealing {
            session,
            index: log.index(),
            last: log.last,
            next_input,
            unacknowledged: Indices::default(),
            view: log,
        });
        out.push((step("restores up to its fence: owner", owner), next));
    }
}

/// Work within a session.
impl Protocol {
    fn seal(&self, state: &State, owner: usize, sealing: Sealing, out: &mut Successors) {
        let session = &state.sessions[usize::from(sealing.session)];
        if sealing.unacknowledged.0.count_ones() < self.window {
            if sealing.next_input < self.inputs {
                out.push(append(state, owner, sealing, sealing.next_input));
            }
            if self.seals_redelivered && sealing.next_input > 0 && state.alone.is_none() {
                out.push(append(state, owner, sealing, sealing.next_input - 1));
            }
        }
        for index in sealing.unacknowledged.iter() {
            if session.landed.contains(index) {
                out.push(self.acknowledge(state, owner, sealing, index));
            } else if self.sends_again && is_lost(session, index) {
                out.push(send_again(state, owner, sealing, index));
            }
        }
        if self.read_back == ReadBack::Follow && !state.owners[owner].unread.is_empty() {
            let next = self.read(state, owner, sealing, 1);
            out.push((step("reads the next record: owner", owner), next));
        }
    }

    fn acknowledge(&self, state: &State, owner: usize, mut sealing: Sealing, index: u8) -> (Step, State) {
        sealing.unacknowledged.remove(index);
        let mut next = state.clone();
        if self.resumes_from_acknowledged {
            let sent_after = sealing.index - index;
            next.group_offset = next.group_offset.max(sealing.next_input - sent_after + 1);
        }
        next.owners[owner].mode = Mode::Sealing(sealing);
        // How far it lies beyond what the owner has read; `None` where it was read with the gap of a later one.
        let beyond = next.owners[owner].unread.iter().position(|record| {
            record.session == sealing.session
                && matches!(record.payload, Payload::Leaf(leaf) if leaf.index == index)
        });
        let next = match (self.read_back, beyond) {
            (ReadBack::None | ReadBack::Follow, _) | (_, None) => next,
            (ReadBack::Acknowledged, Some(beyond)) => self.read(&next, owner, sealing, beyond + 1),
            (ReadBack::GapUnread, Some(beyond)) => {
                next.owners[owner].unread.drain(..beyond);
                self.read(&next, owner, sealing, 1)
            }
        };
        (step("gets an acknowledgement: owner", owner), next)
    }

    /// Takes the next `count` records into the owner's view. A foreign fence, or a skipped record of its own, ends its session.
    fn read(&self, state: &State, owner: usize, mut sealing: Sealing, count: usize) -> State {
        let mut next = state.clone();
        let read: Vec<Record> = next.owners[owner].unread.drain(..count).collect();
        for record in read {
            let (accepted, _) = sealing.view.offer(self.rule, record);
            let own = record.session == sealing.session;
            let foreign_fence = !own && accepted && record.payload == Payload::Fence;
            if foreign_fence || (own && !accepted) {
                return ended(state, owner);
            }
        }
        next.owners[owner].mode = Mode::Sealing(sealing);
        next
    }

    /// Whether the owner of the partition, with nothing under way and all of it accepted, has another state than the log; or
    /// any owner that has read everything has read something else.
    fn is_astray(&self, state: &State, owner: &Owner) -> bool {
        let Mode::Sealing(sealing) = owner.mode else {
            return false;
        };
        let session = &state.sessions[usize::from(sealing.session)];
        let quiet = session.in_flight.is_empty() && !session.lost_any && session.skipped.0 == 0;
        let owns = state.log.session() == Some(sealing.session);
        let log = (state.log.index(), state.log.last, state.log.next_input);
        let ahead = owns && quiet && (sealing.index, sealing.last, sealing.next_input) != log;
        let misread =
            self.read_back != ReadBack::None && owner.unread.is_empty() && sealing.view != state.log;
        ahead || misread
    }
}

fn append(state: &State, owner: usize, mut sealing: Sealing, input: u8) -> (Step, State) {
    let mut next = state.clone();
    let leaf = Leaf {
        index: sealing.index,
        input,
        parent: sealing.last,
    };
    next.sessions[usize::from(sealing.session)]
        .in_flight
        .push(Payload::Leaf(leaf));
    sealing.unacknowledged.insert(leaf.index);
    sealing.last = Some((sealing.session, leaf.index));
    sealing.index += 1;
    sealing.next_input = input + 1;
    next.owners[owner].mode = Mode::Sealing(sealing);
    (step("appends: owner", owner), next)
}

/// The same content as the first time.
fn send_again(state: &State, owner: usize, sealing: Sealing, index: u8) -> (Step, State) {
    let mut next = state.clone();
    let session = &mut next.sessions[usize::from(sealing.session)];
    let Fence::Landed { log, .. } = session.fence else {
        unreachable!("an owner seals behind its fence");
    };
    let first = index == log.index();
    session.in_flight.push(Payload::Leaf(Leaf {
        index,
        input: log.next_input + (index - log.index()),
        parent: if first {
            log.last
        } else {
            Some((sealing.session, index - 1))
        },
    }));
    (step("sends a lost append again: owner", owner), next)
}

fn ended(state: &State, owner: usize) -> State {
    let mut next = state.clone();
    end_session(&mut next, owner);
    next
}

/// What the session has in flight can still land.
fn end_session(state: &mut State, owner: usize) {
    if let Some(session) = state.owners[owner].session() {
        let session = &mut state.sessions[usize::from(session)];
        session.ended = true;
        session.forget_if_ended();
    }
    state.owners[owner] = Owner {
        tried: state.owners[owner].tried,
        ..Owner::default()
    };
}

fn is_lost(session: &Session, index: u8) -> bool {
    !session.landed.contains(index) && !session.has_in_flight(index)
}

fn session_id(place: usize) -> SessionId {
    SessionId::try_from(place).expect("models are small")
}

fn step(what: &'static str, who: usize) -> Step {
    Step { what, who }
}
