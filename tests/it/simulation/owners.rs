//! Who acts: two of every stage of every partition, the product's own runners, each with nothing in memory but what it made
//! itself since it was started.
//!
//! Of two sealers one is a visitor that leaves after some steps, as a consumer group takes partitions away: two that stay
//! would fence each other for ever. The notaries and archivers all stay, and all must come to the end.

use super::scenario::Scenario;
use crate::sim::{Executor, Random, Schedule, World, yield_once};
use ledgerline::formats::Formats;
use ledgerline::log::reader::{Position, Reader};
use ledgerline::log::{Log, NewRecord, topic};
use ledgerline::stages::archive::Archiver;
use ledgerline::stages::dead_letters::LetterWriter;
use ledgerline::stages::notarize::Notary;
use ledgerline::stages::seal::Sealer;
use ledgerline::stages::{StageError, Step};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An owner with nothing to do looks again after so many polls, even if nothing changed.
const POLLS_IDLE_MAX: u32 = 60;
const OWNERS_EACH: usize = 2;
/// The owner number of whoever looks at the world from outside.
pub const NOBODY: usize = usize::MAX;

/// What the owners of one run share beside the world: what an operator would know.
struct Run {
    scenario: Scenario,
    world: World,
    /// Draws sessions and the clock's steps.
    random: Arc<AtomicU64>,
    inputs_given: Cell<bool>,
    visits_left: Vec<Cell<u32>>,
    /// Whether the visitor has left: a step of its last visit may still be under way when no visit is left.
    visitor_gone: Vec<Cell<bool>>,
    /// Up to which offset of `audit.events/<n>` all is sealed, as far as its keeper saw.
    drained: Vec<Cell<u64>>,
    /// The size of each partition after its last cut.
    final_size: Vec<Cell<Option<u64>>>,
    failures: RefCell<Vec<String>>,
}

/// Runs `scenario` on `world` until all is sealed, signed and archived, within `polls_max` polls.
///
/// # Errors
/// What an owner failed with for good, or that they were not done.
pub fn run(
    scenario: &Scenario,
    world: &World,
    schedule: Schedule,
    seed: u64,
    polls_max: usize,
) -> Result<(), String> {
    let run = Rc::new(Run::new(scenario, world, seed));
    let mut executor = Executor::new(world, schedule);
    run.add_owners(&mut executor);
    let done = executor.run(polls_max);
    if let Some(failure) = run.failures.borrow().first() {
        return Err(failure.clone());
    }
    done.map_err(|stuck| {
        format!(
            "not done after {} polls; final sizes {:?}",
            stuck.polls, run.final_size
        )
    })?;
    world.settle();
    Ok(())
}

impl Run {
    fn new(scenario: &Scenario, world: &World, seed: u64) -> Self {
        let each = |_| Cell::new(0);
        let run = Self {
            world: world.clone(),
            random: Arc::new(AtomicU64::new(seed << 32)),
            inputs_given: Cell::new(!scenario.seal),
            visits_left: (0..scenario.partitions)
                .map(|_| Cell::new(scenario.visitor_steps))
                .collect(),
            visitor_gone: (0..scenario.partitions).map(|_| Cell::new(false)).collect(),
            drained: (0..scenario.partitions).map(each).collect(),
            final_size: (0..scenario.partitions).map(|_| Cell::new(None)).collect(),
            failures: RefCell::new(Vec::new()),
            scenario: scenario.clone(),
        };
        if scenario.seal {
            run.give_inputs(0, scenario.inputs_at_once);
        } else {
            for partition in 0..scenario.partitions {
                run.final_size[partition as usize].set(Some(accepted_size(world, partition)));
            }
        }
        run
    }

    fn add_owners(self: &Rc<Self>, executor: &mut Executor<'_>) {
        let mut owner = 0;
        for partition in 0..self.scenario.partitions {
            for nth in 0..OWNERS_EACH {
                if self.scenario.seal {
                    let (run, id) = (Rc::clone(self), owner);
                    executor.add(move || Box::pin(seal(Rc::clone(&run), id, partition, nth == 0)));
                    owner += 1;
                }
                if self.scenario.notarize {
                    let (run, id) = (Rc::clone(self), owner);
                    executor.add(move || Box::pin(notarize(Rc::clone(&run), id, partition)));
                    owner += 1;
                }
                if self.scenario.archive {
                    let (run, id) = (Rc::clone(self), owner);
                    executor.add(move || Box::pin(archive(Rc::clone(&run), id, partition)));
                    owner += 1;
                }
                if nth < self.scenario.letter_writers {
                    let (run, id) = (Rc::clone(self), owner);
                    executor.add(move || Box::pin(dead_letters(Rc::clone(&run), id, partition)));
                    owner += 1;
                }
            }
        }
        if self.scenario.seal {
            let run = Rc::clone(self);
            executor.add(move || Box::pin(produce(Rc::clone(&run))));
        }
    }

    fn give_inputs(&self, from: usize, to: usize) -> bool {
        let mut given = false;
        for (partition, inputs) in (0..).zip(&self.scenario.inputs) {
            let to = to.min(inputs.len());
            let records: Vec<NewRecord> = inputs
                .get(from..to)
                .unwrap_or_default()
                .iter()
                .map(|value| NewRecord {
                    value: value.clone(),
                    ..NewRecord::default()
                })
                .collect();
            given |= !records.is_empty();
            self.world.put_records(topic::AUDIT_EVENTS, partition, records);
        }
        given
    }

    fn log(&self, owner: usize) -> Arc<dyn Log> {
        Arc::new(self.world.log(owner))
    }

    fn next_random(random: &AtomicU64) -> u64 {
        Random::new(random.fetch_add(1, Ordering::Relaxed)).below(u64::MAX)
    }

    /// Before each step: time passes, and at its time the second key is there.
    fn tick(&self) {
        let micros = Self::next_random(&self.random) % self.scenario.clock_step_micros;
        self.world.move_clock(i64::try_from(micros).unwrap());
        if let Some(after) = self.scenario.second_key_after {
            self.scenario
                .signer
                .show(if self.world.steps() >= after { 2 } else { 1 });
        }
    }

    /// Waits until something changed since `seen`, but not for ever.
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

    /// Records in both sources of a partition.
    fn input_end(&self, partition: u32) -> u64 {
        let end = |topic| self.world.end_of(topic, partition);
        end(topic::AUDIT_EVENTS) + end(topic::AUDIT_REROUTED)
    }

    /// Whether all that was and will be given is sealed: nothing can be forwarded any more.
    fn all_sealed(&self) -> bool {
        let drained = |(partition, drained): (u32, &Cell<u64>)| drained.get() == self.input_end(partition);
        self.inputs_given.get()
            && self.visitor_gone.iter().all(Cell::get)
            && !self.world.is_in_flight(topic::AUDIT_REROUTED)
            && (0..).zip(&self.drained).all(drained)
    }
}

async fn produce(run: Rc<Run>) {
    let mut from = run.scenario.inputs_at_once;
    while run.give_inputs(from, from.saturating_add(3)) {
        from += 3;
        for _ in 0..40 {
            yield_once().await;
        }
    }
    run.inputs_given.set(true);
}

async fn seal(run: Rc<Run>, owner: usize, partition: u32, keeper: bool) {
    let at = partition as usize;
    let random = Arc::clone(&run.random);
    let session = move || {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&Run::next_random(&random).to_le_bytes());
        bytes[8..].copy_from_slice(&Run::next_random(&random).to_le_bytes());
        Ok(bytes)
    };
    let mut sealer = Sealer::new(
        run.log(owner),
        Arc::new(run.world.signer(owner, run.scenario.signer_of(partition))),
        Arc::new(run.world.clock()),
        Box::new(session),
        run.scenario.partition(partition),
        run.scenario.seal_config(),
        Formats::new(run.scenario.seal_config().limits),
    );
    // What the end of the inputs was when the sealer last found nothing to do.
    let mut idle_at = None;
    while run.final_size[at].get().is_none() {
        if !keeper {
            match run.visits_left[at].get() {
                0 => return run.visitor_gone[at].set(true),
                left => run.visits_left[at].set(left - 1),
            }
        }
        run.tick();
        let (seen, end) = (run.world.changes(), run.input_end(partition));
        let stepped = sealer.step().await;
        match stepped {
            Ok(Step::Progress) | Err(StageError::Retry { .. }) => idle_at = None,
            // Where reads are late, the second look shows what the first did not.
            Ok(Step::Idle) if run.world.reads_are_late() && idle_at != Some(end) => idle_at = Some(end),
            Ok(Step::Idle) if keeper && sealer.next_index() > 0 => {
                run.drained[at].set(end);
                if !run.all_sealed() {
                    run.idle(seen).await;
                    continue;
                }
                let ended = if run.scenario.ends_orderly {
                    sealer.finish().await
                } else {
                    sealer.cut().await
                };
                match ended {
                    Ok(true) => run.final_size[at].set(Some(sealer.next_index())),
                    Ok(false) | Err(StageError::Retry { .. }) => {}
                    Err(error) => return run.fail(owner, &error),
                }
            }
            Ok(Step::Idle) => run.idle(seen).await,
            Err(error) => return run.fail(owner, &error),
        }
    }
}

async fn notarize(run: Rc<Run>, owner: usize, partition: u32) {
    let mut notary = Notary::new(
        run.log(owner),
        Arc::new(run.world.signer(owner, run.scenario.signer_of(partition))),
        Arc::new(run.world.clock()),
        run.scenario.partition(partition),
        run.scenario.notarize_config(),
    );
    while run.final_size[partition as usize]
        .get()
        .is_none_or(|size| notary.signed_size() < size)
    {
        run.tick();
        let seen = run.world.changes();
        match notary.step().await {
            Ok(Step::Progress) | Err(StageError::Retry { .. } | StageError::Waits { .. }) => {}
            Ok(Step::Idle) => run.idle(seen).await,
            Err(error) => return run.fail(owner, &error),
        }
    }
}

async fn archive(run: Rc<Run>, owner: usize, partition: u32) {
    let mut archiver = Archiver::new(
        run.log(owner),
        Arc::new(run.world.vault(owner)),
        Arc::new(run.world.clock()),
        run.scenario.partition(partition),
        Scenario::classes(),
    )
    .with_twins(run.scenario.twins);
    // With nothing to do, all holds are told.
    let mut is_idle = run.scenario.held.is_none();
    while !is_idle
        || run.final_size[partition as usize]
            .get()
            .is_none_or(|size| archiver.archived_size() < size)
    {
        run.tick();
        let seen = run.world.changes();
        match archiver.step().await {
            Ok(Step::Progress) | Err(StageError::Retry { .. }) => is_idle = run.scenario.held.is_none(),
            Ok(Step::Idle) => {
                is_idle = true;
                run.idle(seen).await;
            }
            Err(error) => return run.fail(owner, &error),
        }
    }
}

async fn dead_letters(run: Rc<Run>, owner: usize, partition: u32) {
    let mut writer = LetterWriter::new(
        run.log(owner),
        Arc::new(run.world.clock()),
        run.scenario.partition(partition),
    );
    while run.final_size[partition as usize]
        .get()
        .is_none_or(|size| writer.reached() < size)
    {
        run.tick();
        let seen = run.world.changes();
        match writer.step().await {
            Ok(Step::Progress) | Err(StageError::Retry { .. }) => {}
            Ok(Step::Idle) => run.idle(seen).await,
            Err(error) => return run.fail(owner, &error),
        }
    }
    if let Err(error) = writer.finish().await {
        run.fail(owner, &error);
    }
}

/// How many leaves a reader from the beginning accepts.
fn accepted_size(world: &World, partition: u32) -> u64 {
    crate::sim::block_on(async {
        // Looking must not be a step of the run.
        let log = world.fork().log(NOBODY);
        let mut reader = Reader::open(&log, partition, Position::BEGIN).await.unwrap();
        loop {
            let records = reader.fetch(&log).await.unwrap();
            if records.is_empty() {
                return reader.position().index;
            }
            for record in &records {
                reader.offer(record).unwrap();
            }
        }
    })
}
