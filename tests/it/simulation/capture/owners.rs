//! Who acts: two owners of capture of each home at once, the product's own runners; the connector that writes; an operator who adopts a topic that was
//! made anew; and, where the scenario says so, a sealer beside them.

use super::changes::{Change, MAPPING, TOPIC};
use super::flawed::{Flaw, FlawedLog};
use crate::sim::{Executor, Random, Schedule, World, block_on, yield_once};
use crate::simulation::scenario::Scenario;
use ledgerline::formats::Formats;
use ledgerline::log::{Log, NewRecord, topic};
use ledgerline::stages::capture::source::Place;
use ledgerline::stages::capture::{CaptureMapping, Capturer, home};
use ledgerline::stages::seal::Sealer;
use ledgerline::stages::{StageError, Step};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Of the ledger.
pub const PARTITIONS: u32 = 2;
const POLLS_IDLE_MAX: u32 = 60;
/// Behind it an owner asks its sources for their bounds again.
const LOOK_AGAIN_MICROS: i64 = 2_000_000;
const NOBODY: usize = usize::MAX;

/// What a run is given.
#[derive(Debug, Clone)]
pub struct Capturing {
    /// What each partition of the topic is given, in order.
    pub changes: Vec<Vec<Change>>,
    /// What each holds after the topic was made anew, where it is: the first record at once, the others once it is adopted.
    pub anew: Option<Vec<Vec<Change>>>,
    /// How many changes of each partition are there from the start; the others come while it is captured.
    pub at_once: usize,
    /// Steps that the second owner makes before it leaves; `None`: there is one owner.
    pub visitor_steps: Option<u32>,
    /// The clock moves by up to this much at each step of an owner.
    pub clock_step_micros: u64,
    /// Whether a sealer of each partition runs meanwhile.
    pub sealing: bool,
    /// How many event ids the sealer remembers.
    pub window_entries_max: usize,
    pub flaw: Option<Flaw>,
}

impl Capturing {
    pub fn of(changes: Vec<Vec<Change>>) -> Self {
        Self {
            changes,
            anew: None,
            at_once: usize::MAX,
            visitor_steps: Some(2),
            // Every other step or so stores how far it came.
            clock_step_micros: 1_500_000,
            sealing: false,
            window_entries_max: 1_000,
            flaw: None,
        }
    }

    /// The ledger that it is sealed into.
    pub fn ledger(&self) -> Scenario {
        Scenario {
            window_entries_max: self.window_entries_max,
            ..Scenario::short(PARTITIONS, &[])
        }
    }

    pub fn world(&self) -> World {
        World::new(PARTITIONS).with_topic(TOPIC, u32::try_from(self.changes.len()).unwrap())
    }
}

/// What has become of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Adopting {
    Nothing,
    AllWritten,
    MadeAnew,
    /// All that captured it have stopped: it may be adopted.
    AllStopped,
}

struct Run {
    capturing: Capturing,
    ledger: Scenario,
    world: World,
    mappings: Arc<[CaptureMapping]>,
    random: Cell<u64>,
    /// Whether all was written that will be.
    given: Cell<bool>,
    adopting: Cell<Adopting>,
    visits_left: Vec<Cell<u32>>,
    /// Of each owner that runs: whether it says that it waits for a person.
    stopped: Vec<Cell<Option<bool>>>,
    captured: Vec<Cell<bool>>,
    /// Where the topic ended when the keeper of each home last had nothing to do, twice.
    reached: Vec<Cell<u64>>,
    failures: RefCell<Vec<String>>,
}

/// Captures all that is given, within `polls_max` polls, and seals what came of it. What is left is a world in which all has settled.
///
/// # Errors
/// What an owner failed with for good, or that they were not done.
pub fn run(
    capturing: &Capturing,
    world: &World,
    schedule: Schedule,
    seed: u64,
    polls_max: usize,
) -> Result<(), String> {
    let run = Rc::new(Run::new(capturing, world, seed));
    let mut executor = Executor::new(world, schedule);
    run.add_owners(&mut executor);
    let done = executor.run(polls_max);
    if let Some(failure) = run.failures.borrow().first() {
        return Err(failure.clone());
    }
    done.map_err(|stuck| format!("not done after {} polls", stuck.polls))?;
    world.settle();
    seal_all(&run)
}

impl Run {
    fn new(capturing: &Capturing, world: &World, seed: u64) -> Self {
        let owners = PARTITIONS as usize * 2;
        let run = Self {
            capturing: capturing.clone(),
            ledger: capturing.ledger(),
            world: world.clone(),
            mappings: Arc::from([CaptureMapping::from_toml(MAPPING).unwrap()]),
            random: Cell::new(seed << 32),
            given: Cell::new(false),
            adopting: Cell::new(Adopting::Nothing),
            visits_left: (0..owners)
                .map(|_| Cell::new(capturing.visitor_steps.unwrap_or(0)))
                .collect(),
            stopped: (0..owners).map(|_| Cell::new(None)).collect(),
            captured: (0..PARTITIONS).map(|_| Cell::new(false)).collect(),
            reached: (0..PARTITIONS).map(|_| Cell::new(0)).collect(),
            failures: RefCell::default(),
        };
        for (partition, changes) in (0..).zip(&capturing.changes) {
            run.write(partition, changes.get(..capturing.at_once).unwrap_or(changes));
        }
        run
    }

    /// An owner's number is its place in the executor, which starts it anew where it crashes.
    fn add_owners(self: &Rc<Self>, executor: &mut Executor<'_>) {
        let mut owner = 0;
        for partition in 0..PARTITIONS {
            if self
                .sources()
                .all(|source| home(TOPIC, source, PARTITIONS) != partition)
            {
                self.captured[partition as usize].set(true);
                continue;
            }
            for keeper in [true, false] {
                if keeper || self.capturing.visitor_steps.is_some() {
                    let (run, id) = (Rc::clone(self), owner);
                    executor.add(move || Box::pin(capture(Rc::clone(&run), id, partition, keeper)));
                    owner += 1;
                }
            }
        }
        for partition in (0..PARTITIONS).filter(|_| self.capturing.sealing) {
            let (run, id) = (Rc::clone(self), owner);
            executor.add(move || Box::pin(seal_beside(Rc::clone(&run), id, partition)));
            owner += 1;
        }
        let (run, id) = (Rc::clone(self), owner);
        executor.add(move || Box::pin(operate(Rc::clone(&run), id)));
        let run = Rc::clone(self);
        executor.add(move || Box::pin(write_all(Rc::clone(&run))));
    }

    fn write(&self, partition: u32, changes: &[Change]) {
        let records: Vec<NewRecord> = changes.iter().map(|change| change.record.clone()).collect();
        self.world.put_records(TOPIC, partition, records);
    }

    /// The log as `owner` sees it, through the scenario's flaw.
    fn log(&self, owner: usize) -> Arc<dyn Log> {
        match self.capturing.flaw {
            None => Arc::new(self.world.log(owner)),
            Some(flaw) => Arc::new(FlawedLog::new(self.world.log(owner), flaw)),
        }
    }

    fn next_random(&self) -> u64 {
        self.random.set(self.random.get() + 1);
        Random::new(self.random.get()).below(u64::MAX)
    }

    fn tick(&self) {
        let micros = self.next_random() % self.capturing.clock_step_micros;
        self.world.move_clock(i64::try_from(micros).unwrap());
    }

    async fn idle(&self, seen: u64) {
        for _ in 0..POLLS_IDLE_MAX {
            if self.world.changes() != seen {
                return;
            }
            yield_once().await;
        }
    }

    fn fail(&self, owner: usize, error: &StageError) {
        self.failures.borrow_mut().push(format!("owner {owner}: {error}"));
    }

    fn sources(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.capturing.changes.len()).unwrap()
    }

    /// Where the topic ends, all partitions together.
    fn end(&self) -> u64 {
        self.sources()
            .map(|source| self.world.end_of(TOPIC, source))
            .sum()
    }

    fn is_all_captured(&self) -> bool {
        let end = self.end();
        let has_come =
            |(reached, captured): (&Cell<u64>, &Cell<bool>)| reached.get() == end || captured.get();
        self.reached.iter().zip(&self.captured).all(has_come)
    }

    fn sealer(&self, owner: usize, partition: u32) -> Sealer {
        let mut session = self.next_random();
        Sealer::new(
            Arc::new(self.world.log(owner)),
            Arc::new(self.world.signer(owner, self.ledger.signer.clone())),
            Arc::new(self.world.clock()),
            Box::new(move || {
                session = Random::new(session).below(u64::MAX);
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&session.to_le_bytes());
                Ok(bytes)
            }),
            self.ledger.partition(partition),
            self.ledger.seal_config(),
            Formats::new(self.ledger.seal_config().limits),
        )
    }
}

async fn capture(run: Rc<Run>, owner: usize, partition: u32, keeper: bool) {
    let at = partition as usize;
    let (log, clock) = (run.log(owner), Arc::new(run.world.clock()));
    run.stopped[owner].set(Some(false));
    let mut capturer = Capturer::new(log, clock, Arc::clone(&run.mappings), None, partition);
    // Where the topic ended when there was last nothing to do.
    let mut idle_at = None;
    loop {
        if !keeper {
            match run.visits_left[owner].get() {
                0 => break,
                left => run.visits_left[owner].set(left - 1),
            }
        }
        run.tick();
        let (seen, end, given) = (run.world.changes(), run.end(), run.given.get());
        let stepped = capturer.step().await;
        let stopped = capturer.waits_for().is_some();
        run.stopped[owner].set(Some(stopped));
        match stepped {
            Ok(Step::Progress) | Err(StageError::Retry { .. }) => idle_at = None,
            Ok(Step::Idle) if stopped || !keeper => run.idle(seen).await,
            // It has to find nothing twice, having looked at the bounds in between: reads may be late, and a topic made anew.
            Ok(Step::Idle) if idle_at != Some(end) => {
                idle_at = Some(end);
                run.world.move_clock(LOOK_AGAIN_MICROS);
            }
            Ok(Step::Idle) if !given => {
                run.reached[at].set(end);
                run.idle(seen).await;
            }
            Ok(Step::Idle) => break,
            Err(error) => return run.fail(owner, &error),
        }
    }
    run.stopped[owner].set(None);
    match capturer.finish().await {
        // A place that was not stored costs time alone.
        Ok(()) | Err(StageError::Retry { .. }) => {}
        Err(error) => return run.fail(owner, &error),
    }
    if keeper {
        run.captured[at].set(true);
    }
}

/// The connector.
async fn write_all(run: Rc<Run>) {
    let mut from = run.capturing.at_once;
    while run.capturing.changes.iter().any(|changes| from < changes.len()) {
        for (partition, changes) in (0..).zip(&run.capturing.changes) {
            let to = from.saturating_add(3).min(changes.len());
            run.write(partition, changes.get(from..to).unwrap_or_default());
        }
        from += 3;
        pause().await;
    }
    run.adopting.set(Adopting::AllWritten);
    run.given.set(run.capturing.anew.is_none());
}

/// Whoever deletes the topic and makes it again, and the operator who adopts it. Started anew, it goes on where it was.
async fn operate(run: Rc<Run>, owner: usize) {
    let Some(anew) = &run.capturing.anew else { return };
    let log = run.world.log(owner);
    loop {
        match run.adopting.get() {
            Adopting::Nothing => pause().await,
            Adopting::AllWritten => {
                if run.is_all_captured() && is_stored(&run, &log).await {
                    run.world.make_anew(TOPIC);
                    (0..)
                        .zip(anew)
                        .for_each(|(source, changes)| run.write(source, &changes[..1]));
                    run.adopting.set(Adopting::MadeAnew);
                } else {
                    pause().await;
                }
            }
            // Who has not looked yet does not know that it was made anew.
            Adopting::MadeAnew if run.stopped.iter().any(|stopped| stopped.get() == Some(false)) => {
                pause().await;
            }
            Adopting::MadeAnew => run.adopting.set(Adopting::AllStopped),
            Adopting::AllStopped => {
                for source in run.sources() {
                    adopt(&log, source).await;
                }
                (0..)
                    .zip(anew)
                    .for_each(|(source, changes)| run.write(source, &changes[1..]));
                return run.given.set(true);
            }
        }
    }
}

/// Whether each partition's stored place shows that the topic ends before it, once it holds a single record: of an owner that lags behind another it may be below
/// the other's.
async fn is_stored(run: &Run, log: &dyn Log) -> bool {
    for source in run.sources() {
        if !matches!(Place::stored(log, TOPIC, source).await, Ok(Some(place)) if place.next > 1) {
            return false;
        }
    }
    true
}

async fn adopt(log: &dyn Log, source: u32) {
    let place = Place {
        next: 0,
        incarnation: 2,
        last: None,
    };
    loop {
        match Place::stored(log, TOPIC, source).await {
            Ok(Some(stored)) if stored.incarnation == 2 => return,
            Ok(_) => drop(place.store(log, TOPIC, source).await),
            Err(_) => {}
        }
        pause().await;
    }
}

async fn pause() {
    for _ in 0..40 {
        yield_once().await;
    }
}

/// Seals while capture goes on.
async fn seal_beside(run: Rc<Run>, owner: usize, partition: u32) {
    let mut sealer = run.sealer(owner, partition);
    while !run.captured.iter().all(Cell::get) {
        run.tick();
        let seen = run.world.changes();
        match sealer.step().await {
            Ok(Step::Progress) | Err(StageError::Retry { .. }) => {}
            Ok(Step::Idle) => run.idle(seen).await,
            Err(error) => return run.fail(owner, &error),
        }
    }
}

/// Seals the rest, without faults.
fn seal_all(run: &Run) -> Result<(), String> {
    for partition in 0..PARTITIONS {
        let mut sealer = run.sealer(NOBODY, partition);
        let end = run.world.end_of(topic::AUDIT_CAPTURED, partition);
        let mut idle = 0;
        // Where reads are late, the second look shows what the first did not.
        while idle < 3 {
            match block_on(sealer.step()) {
                Ok(Step::Progress) => idle = 0,
                Ok(Step::Idle) => idle += 1,
                Err(error) => return Err(format!("sealing {end} captured records: {error}")),
            }
        }
    }
    Ok(())
}
