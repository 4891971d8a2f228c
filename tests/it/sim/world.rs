//! The shared state behind the four seams, and the step that every call goes through.

use super::call::Call;
use super::clock::SimClock;
use super::log::SimLog;
use super::plan::{Fault, FaultKind, Plan};
use super::signer::SimSigner;
use super::vault::SimVault;
use ledgerline::log::{BoxError, Committed, NewRecord, Record, topic};
use ledgerline::signing::Signer;
use ledgerline::vault::Put;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

/// 2026-11-22T00:00:00Z.
const BEGIN: i64 = 1_795_305_600_000_000;

/// Handle to the shared state; clones share it.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    partitions: u32,
}

pub(super) struct State {
    pub streams: BTreeMap<(String, u32), Stream>,
    pub committed: BTreeMap<(String, String, u32), Committed>,
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Objects that a legal hold is on.
    pub held: BTreeSet<String>,
    pub clock: i64,
    plan: Plan,
    steps: u64,
    settled_at: Option<u64>,
    delayed: Vec<DelayedAppend>,
    crashed: BTreeSet<usize>,
    hits: BTreeMap<(Call, FaultKind), u64>,
    /// The kind of every call so far, by step.
    calls: Vec<Call>,
    /// `None` where nobody will read it: text for every call takes longer than the calls.
    trace: Option<Vec<String>>,
    changes: u64,
    defect: Option<Defect>,
    /// Where reads are late: up to where an owner was told that a partition reaches.
    known_ends: Option<BTreeMap<(usize, String, u32), u64>>,
}

/// How a world breaks a promise of its seams, to see that a judge can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// No read shows the record at this offset of `audit.events/0`.
    HidesInput { offset: u64 },
    /// Every append to this topic is acknowledged and forgotten.
    ForgetsAppends { topic: &'static str },
    /// The last byte of each record of `ledger.entries` from this offset on is changed.
    AltersEntries { from: u64 },
    /// A put leaves half an object.
    StoresHalf,
    /// A put over an object that exists empties it and answers that it was created.
    Overwrites,
    /// Every append is applied twice.
    AppliesTwice,
}

#[derive(Clone, Default)]
pub(super) struct Stream {
    pub start: u64,
    pub end: u64,
    pub records: BTreeMap<u64, Record>,
}

/// An append in flight whose caller has given up.
struct DelayedAppend {
    due: u64,
    place: (String, u32),
    records: Vec<NewRecord>,
}

/// How a call ends for its caller, where it ends. The effect, if any, has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Ok,
    /// It is known that nothing happened.
    Refused,
    /// It is not known whether anything happened.
    Unknown,
}

impl World {
    /// How many partitions a topic has; `None` where there is no such topic.
    pub fn count_of(&self, topic: &str) -> Option<u32> {
        let state = self.state();
        let count = state.streams.keys().filter(|(of, _)| of == topic).count();
        (count > 0).then_some(count as u32)
    }

    pub fn new(partitions: u32) -> Self {
        let places = topic::ALL
            .iter()
            .flat_map(|topic| (0..partitions).map(|partition| ((*topic).to_owned(), partition)));
        let state = State {
            streams: places.map(|place| (place, Stream::default())).collect(),
            committed: BTreeMap::new(),
            objects: BTreeMap::new(),
            held: BTreeSet::new(),
            clock: BEGIN,
            plan: Plan::NONE,
            steps: 0,
            settled_at: None,
            delayed: Vec::new(),
            crashed: BTreeSet::new(),
            hits: BTreeMap::new(),
            calls: Vec::new(),
            trace: Some(Vec::new()),
            changes: 0,
            defect: None,
            known_ends: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            partitions,
        }
    }

    /// A topic that is not the ledger's: a connector's.
    #[must_use]
    pub fn with_topic(self, topic: &str, partitions: u32) -> Self {
        for partition in 0..partitions {
            self.state()
                .streams
                .insert((topic.to_owned(), partition), Stream::default());
        }
        self
    }

    /// Deletes a topic and makes it again, empty. What owners knew of its end is of the one before.
    pub fn make_anew(&self, topic: &str) {
        let mut state = self.state();
        state.changes += 1;
        for (_, stream) in state.streams.iter_mut().filter(|((of, _), _)| of == topic) {
            *stream = Stream::default();
        }
        if let Some(known) = &mut state.known_ends {
            known.retain(|(_, of, _), _| of != topic);
        }
    }

    #[must_use]
    pub fn with_plan(self, plan: Plan) -> Self {
        self.state().plan = plan;
        self
    }

    /// Keeps no trace.
    #[must_use]
    pub fn quiet(self) -> Self {
        self.state().trace = None;
        self
    }

    /// Reads are as late as they may be: they show what others appended once the owner has asked for the end, or at the second look.
    #[must_use]
    pub fn with_late_reads(self) -> Self {
        self.state().known_ends = Some(BTreeMap::new());
        self
    }

    pub fn reads_are_late(&self) -> bool {
        self.state().known_ends.is_some()
    }

    #[must_use]
    pub fn with_defect(self, defect: Option<Defect>) -> Self {
        self.state().defect = defect;
        self
    }

    /// The log as `owner` sees it.
    pub fn log(&self, owner: usize) -> SimLog {
        SimLog::new(self.clone(), owner, self.partitions)
    }

    pub fn vault(&self, owner: usize) -> SimVault {
        SimVault::new(self.clone(), owner)
    }

    /// The keys of `inner`, with steps and faults in front of them. `inner` must answer without waiting.
    pub fn signer(&self, owner: usize, inner: Arc<dyn Signer>) -> SimSigner {
        SimSigner::new(self.clone(), owner, inner)
    }

    pub fn clock(&self) -> SimClock {
        SimClock::new(self.clone())
    }

    /// How many calls were made.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// How many calls were made before this world settled, if it did: those behind them meet no faults.
    pub fn steps_of_faults(&self) -> usize {
        let state = self.state();
        usize::try_from(state.settled_at.unwrap_or(state.steps)).expect("steps are calls in memory")
    }

    /// The kind of every call so far, by step.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Grows whenever the log or the archive changes.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// How many calls met a fault of this kind.
    pub fn hits(&self, kind: FaultKind) -> u64 {
        Call::ALL.into_iter().map(|call| self.hits_at(call, kind)).sum()
    }

    /// How many calls of this kind met a fault of this kind.
    pub fn hits_at(&self, call: Call, kind: FaultKind) -> u64 {
        self.state().hits.get(&(call, kind)).copied().unwrap_or(0)
    }

    /// Every call so far: step, owner, call, fault.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone().unwrap_or_default()
    }

    /// A world of its own that holds what this one holds now: same log, archive, positions and clock, no calls yet, no faults.
    #[must_use]
    pub fn fork(&self) -> Self {
        let fork = Self::new(self.partitions);
        {
            let (from, mut to) = (self.state(), fork.state());
            to.streams.clone_from(&from.streams);
            to.committed.clone_from(&from.committed);
            to.objects.clone_from(&from.objects);
            to.held.clone_from(&from.held);
            to.clock = from.clock;
        }
        fork
    }

    /// Appends without a step: what others wrote.
    pub fn put_records(&self, topic: &str, partition: u32, records: Vec<NewRecord>) -> u64 {
        self.state().store(&(topic.to_owned(), partition), records)
    }

    /// What a partition holds, without a step.
    pub fn records(&self, topic: &str, partition: u32) -> Vec<Record> {
        let state = self.state();
        let stream = &state.streams[&(topic.to_owned(), partition)];
        stream.records.values().cloned().collect()
    }

    pub fn end_of(&self, topic: &str, partition: u32) -> u64 {
        self.state().streams[&(topic.to_owned(), partition)].end
    }

    /// The archive, without a step.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().objects.clone()
    }

    /// The names of objects that are held, without a step.
    pub fn held(&self) -> BTreeSet<String> {
        self.state().held.clone()
    }

    /// Changes the archive behind everybody's back.
    pub fn edit_objects(&self, edit: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) {
        edit(&mut self.state().objects);
    }

    /// Whether an append to `topic` is still in flight.
    pub fn is_in_flight(&self, topic: &str) -> bool {
        self.state().delayed.iter().any(|append| append.place.0 == topic)
    }

    /// Lets every append that is still in flight arrive, and meets no more faults.
    pub fn settle(&self) {
        let mut state = self.state();
        state.plan = Plan::NONE;
        state.settled_at = Some(state.steps);
        state.land_due(u64::MAX);
    }

    pub fn move_clock(&self, micros: i64) {
        self.state().clock += micros;
    }

    /// Whether `owner` has crashed since this was last asked.
    pub(super) fn take_crash(&self, owner: usize) -> bool {
        let mut state = self.state();
        let crashed = state.crashed.remove(&owner);
        if crashed && let Some(known) = &mut state.known_ends {
            known.retain(|(of, _, _), _| *of != owner);
        }
        crashed
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the world")
    }

    /// One call: lets others act, then takes the next step number, meets its fault, and applies `effect` unless the fault
    /// forbids it. A crash never answers; the executor drops the future.
    pub(super) async fn call<T>(
        &self,
        owner: usize,
        call: Call,
        detail: impl FnOnce() -> String,
        effect: impl FnOnce(&mut State) -> T,
    ) -> (Answer, Option<T>) {
        yield_once().await;
        let ended = {
            let mut state = self.state();
            let fault = state.begin(owner, call, detail);
            state.meet(fault, owner, effect)
        };
        match ended {
            Some(answered) => answered,
            None => pending().await,
        }
    }

    /// An append, which alone can be applied later.
    pub(super) async fn call_append(
        &self,
        owner: usize,
        place: &(String, u32),
        records: Vec<NewRecord>,
    ) -> (Answer, Option<u64>) {
        yield_once().await;
        let ended = self.state().apply_append(owner, place, records);
        match ended {
            Some(answered) => answered,
            None => pending().await,
        }
    }
}

impl State {
    /// The fault that the next step meets.
    fn begin(&mut self, owner: usize, call: Call, detail: impl FnOnce() -> String) -> Option<Fault> {
        let step = self.steps;
        self.steps += 1;
        self.land_due(step);
        let fault = self.plan.next(step);
        if let Some(fault) = fault {
            *self.hits.entry((call, fault.kind())).or_default() += 1;
        }
        self.calls.push(call);
        if let Some(trace) = &mut self.trace {
            let line = format!("{step} owner {owner} {} {}", call.as_str(), detail());
            trace.push(match fault {
                None => line,
                Some(fault) => format!("{line}: {fault:?}"),
            });
        }
        fault
    }

    /// What a call that meets `fault` does and answers; `None` where the owner crashes.
    fn meet<T>(
        &mut self,
        fault: Option<Fault>,
        owner: usize,
        effect: impl FnOnce(&mut State) -> T,
    ) -> Option<(Answer, Option<T>)> {
        match fault {
            None => Some((Answer::Ok, Some(effect(self)))),
            Some(Fault::ClockJump { micros }) => {
                self.clock += micros;
                Some((Answer::Ok, Some(effect(self))))
            }
            Some(Fault::Refused) => Some((Answer::Refused, None)),
            Some(Fault::Lost | Fault::Delayed { .. } | Fault::Torn) => Some((Answer::Unknown, None)),
            Some(Fault::AppliedButFailed) => Some((Answer::Unknown, Some(effect(self)))),
            Some(Fault::CrashBefore) => {
                self.crashed.insert(owner);
                None
            }
            Some(Fault::CrashAfter) => {
                effect(self);
                self.crashed.insert(owner);
                None
            }
        }
    }

    fn apply_append(
        &mut self,
        owner: usize,
        place: &(String, u32),
        records: Vec<NewRecord>,
    ) -> Option<(Answer, Option<u64>)> {
        let detail = || format!("/{} {} records", place.1, records.len());
        let fault = self.begin(owner, Call::append_to(&place.0), detail);
        if let Some(Fault::Delayed { steps }) = fault {
            self.delayed.push(DelayedAppend {
                due: self.steps + steps,
                place: place.clone(),
                records,
            });
            return Some((Answer::Unknown, None));
        }
        if let Some(Fault::Torn) = fault {
            let half = records.len() / 2;
            self.land(place, records.into_iter().take(half).collect());
            return Some((Answer::Unknown, None));
        }
        self.meet(fault, owner, |state| {
            let count = records.len() as u64;
            let first = state.land(place, records);
            // Its own records it sees at once, and what lies before them.
            if let Some(known) = &mut state.known_ends {
                known.insert((owner, place.0.clone(), place.1), first + count);
            }
            first
        })
    }

    fn land_due(&mut self, step: u64) {
        while let Some(at) = self.delayed.iter().position(|append| append.due <= step) {
            let append = self.delayed.remove(at);
            self.land(&append.place, append.records);
        }
    }

    /// Appends and answers with the first offset.
    fn land(&mut self, place: &(String, u32), records: Vec<NewRecord>) -> u64 {
        let records = self.spoil(place, records);
        self.store(place, records)
    }

    fn store(&mut self, place: &(String, u32), records: Vec<NewRecord>) -> u64 {
        self.changes += 1;
        let timestamp_ms = self.clock / 1_000;
        let stream = self.streams.get_mut(place).expect("the place was checked");
        let first = stream.end;
        for record in records {
            let offset = stream.end;
            stream.end += 1;
            let record = Record {
                offset,
                timestamp_ms,
                key: record.key,
                value: record.value,
                headers: record.headers,
            };
            stream.records.insert(offset, record);
        }
        first
    }
}

impl State {
    /// What a defect makes of an append.
    fn spoil(&self, place: &(String, u32), mut records: Vec<NewRecord>) -> Vec<NewRecord> {
        match self.defect {
            Some(Defect::AppliesTwice) => [records.clone(), records].concat(),
            Some(Defect::ForgetsAppends { topic }) if topic == place.0 => Vec::new(),
            Some(Defect::AltersEntries { from }) if topic::LEDGER_ENTRIES == place.0 => {
                let after = self.streams[place].end;
                for (offset, record) in (after..).zip(&mut records) {
                    if offset >= from
                        && let Some(last) = record.value.last_mut()
                    {
                        *last ^= 1;
                    }
                }
                records
            }
            Some(_) | None => records,
        }
    }

    /// `owner` is told that this place reaches to its end of now.
    pub fn tell_end(&mut self, owner: usize, place: &(String, u32)) -> u64 {
        let end = self.streams[place].end;
        if let Some(known) = &mut self.known_ends {
            known.insert((owner, place.0.clone(), place.1), end);
        }
        end
    }

    /// Up to where a read of `owner` shows this place. The first one asks.
    pub fn shown_to(&mut self, owner: usize, place: &(String, u32)) -> u64 {
        let Some(known) = &self.known_ends else {
            return self.streams[place].end;
        };
        let known = known.get(&(owner, place.0.clone(), place.1)).copied();
        known.unwrap_or_else(|| self.tell_end(owner, place))
    }

    /// Whether a defect hides this record.
    pub fn hides(&self, place: &(String, u32), offset: u64) -> bool {
        let hidden = place.0 == topic::AUDIT_EVENTS && place.1 == 0;
        hidden && self.defect == Some(Defect::HidesInput { offset })
    }

    /// Puts a hold on an object that is there, or takes it off.
    pub fn hold(&mut self, name: &str, on: bool) {
        if !self.objects.contains_key(name) {
            return;
        }
        let changed = if on {
            self.held.insert(name.to_owned())
        } else {
            self.held.remove(name)
        };
        self.changes += u64::from(changed);
    }

    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Put {
        let exists = self.objects.contains_key(name);
        let stored = match self.defect {
            Some(Defect::Overwrites) if exists => &[],
            _ if exists => return Put::Exists,
            Some(Defect::StoresHalf) => &bytes[..bytes.len() / 2],
            Some(_) | None => bytes,
        };
        self.changes += 1;
        self.objects.insert(name.to_owned(), stored.to_vec());
        Put::Created
    }
}

/// Pending once, then ready.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The source of every injected error.
pub(super) fn injected() -> BoxError {
    "a fault of the simulation".into()
}
