//! The shared state behind the four seams, and the step that every call goes through.

use super::clock::SimClock;
use super::log::SimLog;
use super::plan::{Fault, FaultKind, Plan};
use super::signer::SimSigner;
use super::vault::SimVault;
use ledgerline::log::{BoxError, Committed, NewRecord, Record, topic};
use ledgerline::signing::Signer;
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
    pub clock: i64,
    plan: Plan,
    steps: u64,
    delayed: Vec<DelayedAppend>,
    crashed: BTreeSet<usize>,
    hits: BTreeMap<FaultKind, u64>,
    trace: Vec<String>,
}

#[derive(Default)]
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
    pub fn new(partitions: u32) -> Self {
        let places = topic::ALL
            .iter()
            .flat_map(|topic| (0..partitions).map(|partition| ((*topic).to_owned(), partition)));
        let state = State {
            streams: places.map(|place| (place, Stream::default())).collect(),
            committed: BTreeMap::new(),
            objects: BTreeMap::new(),
            clock: BEGIN,
            plan: Plan::NONE,
            steps: 0,
            delayed: Vec::new(),
            crashed: BTreeSet::new(),
            hits: BTreeMap::new(),
            trace: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            partitions,
        }
    }

    #[must_use]
    pub fn with_plan(self, plan: Plan) -> Self {
        self.state().plan = plan;
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

    /// How many calls met a fault of this kind.
    pub fn hits(&self, kind: FaultKind) -> u64 {
        self.state().hits.get(&kind).copied().unwrap_or(0)
    }

    /// Every call so far: step, owner, call, fault.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// Lets every append that is still in flight arrive, and meets no more faults.
    pub fn settle(&self) {
        let mut state = self.state();
        state.plan = Plan::NONE;
        state.land_due(u64::MAX);
    }

    pub fn move_clock(&self, micros: i64) {
        self.state().clock += micros;
    }

    /// Whether `owner` has crashed since this was last asked.
    pub(super) fn take_crash(&self, owner: usize) -> bool {
        self.state().crashed.remove(&owner)
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
        name: &str,
        effect: impl FnOnce(&mut State) -> T,
    ) -> (Answer, Option<T>) {
        yield_once().await;
        let ended = {
            let mut state = self.state();
            let fault = state.begin(owner, name);
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
    fn begin(&mut self, owner: usize, name: &str) -> Option<Fault> {
        let step = self.steps;
        self.steps += 1;
        self.land_due(step);
        let fault = self.plan.next(step);
        if let Some(fault) = fault {
            *self.hits.entry(fault.kind()).or_default() += 1;
        }
        self.trace.push(match fault {
            None => format!("{step} owner {owner} {name}"),
            Some(fault) => format!("{step} owner {owner} {name}: {fault:?}"),
        });
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
            Some(Fault::Lost | Fault::Delayed { .. }) => Some((Answer::Unknown, None)),
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
        let name = format!("append {} to {}/{}", records.len(), place.0, place.1);
        let fault = self.begin(owner, &name);
        if let Some(Fault::Delayed { steps }) = fault {
            self.delayed.push(DelayedAppend {
                due: self.steps + steps,
                place: place.clone(),
                records,
            });
            return Some((Answer::Unknown, None));
        }
        self.meet(fault, owner, |state| state.land(place, records))
    }

    fn land_due(&mut self, step: u64) {
        while let Some(at) = self.delayed.iter().position(|append| append.due <= step) {
            let append = self.delayed.remove(at);
            self.land(&append.place, append.records);
        }
    }

    /// Appends and answers with the first offset.
    fn land(&mut self, place: &(String, u32), records: Vec<NewRecord>) -> u64 {
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

/// Pending once, then ready.
async fn yield_once() {
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
