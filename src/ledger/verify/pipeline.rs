//! Spreads the reading of segments over threads and hands what they find to the fold in order.
//!
//! There is no thread for the fold. Steps are numbered in the planner's order; the thread that reads the segment whose turn it is folds its rows as
//! it finds them. Another one keeps a bounded number of chunks, and waits for its turn beyond that; a segment that was read to its end before its
//! turn is left to whoever ends the one before. So what the fold sees does not depend on the threads.

use super::fold::{Fold, Stop};
use super::lines::{Ending, Enough, check_segment};
use super::plan::{Plan, SegmentJob};
use super::summary::Chunk;
use super::{ArchiveSource, SourceError};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// More threads than this would not be faster: the fold, one thread, is then the slower one.
pub const THREADS_MAX: usize = 8;
/// Chunks that may wait for their turn, over all segments in flight: 180,000 leaves, 30 MiB of entries, at most 60 MiB.
const CHUNKS_WAITING: usize = 352;
/// With few threads, more segments than threads may wait for their turn: none has to wait for the slower one.
const DONE_MIN: usize = 4;

/// What the fold is given, in this order.
pub enum Step {
    /// Everything up to the next partition belongs to this one.
    Partition(Arc<Plan>),
    Segment(SegmentJob),
}

/// Segments of a partition that are begun to be fetched before they are asked for, where that is a round trip: one for each of a few threads.
const SEGMENTS_AHEAD: usize = 4;

/// Goes through the partitions and their segments.
pub struct Planner<'s> {
    source: &'s dyn ArchiveSource,
    log_name: &'s str,
    partitions: std::ops::RangeInclusive<u32>,
    current: Option<(Arc<Plan>, usize)>,
}

impl<'s> Planner<'s> {
    pub fn new(
        source: &'s dyn ArchiveSource,
        log_name: &'s str,
        partitions: std::ops::RangeInclusive<u32>,
    ) -> Self {
        Self {
            source,
            log_name,
            partitions,
            current: None,
        }
    }

    fn next(&mut self) -> Result<Option<Step>, SourceError> {
        if let Some((plan, at)) = &mut self.current
            && let Some(job) = plan.job(*at)
        {
            *at += 1;
            if let Some(later) = plan.job(*at + SEGMENTS_AHEAD - 1) {
                self.source.soon(&later.object_name());
            }
            return Ok(Some(Step::Segment(job)));
        }
        let Some(partition) = self.partitions.next() else {
            return Ok(None);
        };
        let plan = Arc::new(Plan::make(self.source, self.log_name, partition)?);
        for job in (0..SEGMENTS_AHEAD).map_while(|at| plan.job(at)) {
            self.source.soon(&job.object_name());
        }
        self.current = Some((Arc::clone(&plan), 0));
        Ok(Some(Step::Partition(plan)))
    }
}

/// Reads everything in the planner's order and folds it, on this thread alone.
///
/// # Errors
/// At the first bad or unreadable place.
pub fn run_inline(mut planner: Planner<'_>, fold: &mut Fold<'_>) -> Result<(), Stop> {
    while let Some(step) = planner.next()? {
        match step {
            Step::Partition(plan) => fold.begin(plan)?,
            Step::Segment(job) => {
                let mut stop = None;
                let ending = check_segment(planner.source, &job, &mut |chunk| {
                    fold.chunk(&job, chunk).map_err(|reason| {
                        stop = Some(reason);
                        Enough
                    })
                });
                match (ending, stop) {
                    (Ok(ending), None) => fold.end(&job, ending)?,
                    (_, Some(reason)) => return Err(reason),
                    (Err(Enough), None) => {}
                }
            }
        }
    }
    Ok(())
}

/// A segment, or a part of it, that was read before its turn.
struct Waiting {
    job: SegmentJob,
    chunks: Vec<Chunk>,
}

/// A step that waits for its turn and needs its thread no longer.
enum Done {
    Partition(Arc<Plan>),
    Segment(Waiting, Ending),
    Unreadable(SourceError),
}

/// The fold, and whose turn it is.
struct Turn<'f, 'v> {
    fold: &'f mut Fold<'v>,
    /// The number of the step that is folded next.
    next: u64,
    done: BTreeMap<u64, Done>,
    stop: Option<Stop>,
}

/// What the threads share.
struct Turns<'f, 'v> {
    turn: Mutex<Turn<'f, 'v>>,
    changed: Condvar,
    /// For each segment in flight.
    chunks_max: usize,
    /// Steps that may wait for their turn when they are done.
    done_max: usize,
}

/// As [`run_inline`], with `threads` threads, at most [`THREADS_MAX`], of which the caller's is one.
///
/// # Errors
/// The same.
pub fn run_threaded(planner: Planner<'_>, threads: usize, fold: &mut Fold<'_>) -> Result<(), Stop> {
    let source = planner.source;
    let threads = threads.clamp(1, THREADS_MAX);
    let planner = Mutex::new((planner, 0));
    let done_max = threads.max(DONE_MIN);
    let turns = Turns {
        turn: Mutex::new(Turn {
            fold,
            next: 0,
            done: BTreeMap::new(),
            stop: None,
        }),
        changed: Condvar::new(),
        chunks_max: CHUNKS_WAITING / (threads + done_max),
        done_max,
    };
    let whole = thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|_| scope.spawn(|| read_steps(source, &planner, &turns)))
            .collect();
        let mine = read_steps(source, &planner, &turns);
        // A thread that is gone has read nothing to its end: that must not count as checked.
        others
            .into_iter()
            .all(|other| other.join().is_ok_and(|read| read.is_some()))
            && mine.is_some()
    });
    let turn = turns.turn.into_inner().map_err(|_| unfinished())?;
    match turn.stop {
        Some(stop) => Err(stop),
        None if whole => Ok(()),
        None => Err(unfinished()),
    }
}

fn unfinished() -> Stop {
    SourceError::new("the archive", "it was not read to its end").into()
}

/// Takes steps until there are none, or the fold has stopped. `None`: another thread is gone.
fn read_steps(
    source: &dyn ArchiveSource,
    planner: &Mutex<(Planner<'_>, u64)>,
    turns: &Turns<'_, '_>,
) -> Option<()> {
    let _leaving = Leaving { turns };
    loop {
        let (step, number) = {
            let mut planner = planner.lock().ok()?;
            let step = planner.0.next();
            let number = planner.1;
            planner.1 += 1;
            (step, number)
        };
        let going = match step {
            Ok(None) => return Some(()),
            Ok(Some(Step::Partition(plan))) => turns.done(number, Done::Partition(plan))?,
            Err(error) => turns.done(number, Done::Unreadable(error))?,
            Ok(Some(Step::Segment(job))) => read_segment(source, &job, number, turns)?,
        };
        if !going {
            return Some(());
        }
    }
}

/// Wakes the others where a thread goes in a panic: what it was to read will never have its turn.
struct Leaving<'t, 'f, 'v> {
    turns: &'t Turns<'f, 'v>,
}

impl Drop for Leaving<'_, '_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            if let Ok(mut turn) = self.turns.turn.lock() {
                turn.note(Err(unfinished()));
            }
            self.turns.changed.notify_all();
        }
    }
}

/// Answers whether the fold goes on.
fn read_segment(
    source: &dyn ArchiveSource,
    job: &SegmentJob,
    number: u64,
    turns: &Turns<'_, '_>,
) -> Option<bool> {
    let mut waiting = Waiting {
        job: job.clone(),
        chunks: Vec::new(),
    };
    let mut gone = false;
    let ending = check_segment(source, job, &mut |chunk| {
        waiting.chunks.push(chunk);
        match turns.offer(number, &mut waiting) {
            Some(true) => Ok(()),
            Some(false) => Err(Enough),
            None => {
                gone = true;
                Err(Enough)
            }
        }
    });
    match ending {
        _ if gone => None,
        Err(Enough) => Some(false),
        Ok(ending) => turns.done(number, Done::Segment(waiting, ending)),
    }
}

/// All answer whether the fold goes on, and `None` where a thread that held the lock is gone.
impl<'f, 'v> Turns<'f, 'v> {
    /// Folds what waits where it is its turn. Where it is not, it may wait up to a limit.
    fn offer(&self, number: u64, waiting: &mut Waiting) -> Option<bool> {
        let full = waiting.chunks.len() >= self.chunks_max;
        let mut turn = self.wait_until(|turn| !full || turn.next == number)?;
        if turn.next == number {
            turn.fold(waiting);
        }
        let going = turn.stop.is_none();
        if !going {
            // Others may wait for a turn that will not come.
            self.changed.notify_all();
        }
        Some(going)
    }

    /// Folds the step in its turn, with all behind it that are done; before its turn, leaves it to the thread whose step comes before.
    fn done(&self, number: u64, done: Done) -> Option<bool> {
        let mut turn = self.wait_until(|turn| turn.next == number || turn.done.len() < self.done_max)?;
        turn.done.insert(number, done);
        while turn.pass() {}
        self.changed.notify_all();
        Some(turn.stop.is_none())
    }

    /// The lock, once `ready`, or once the fold has stopped.
    fn wait_until(&self, ready: impl Fn(&Turn<'f, 'v>) -> bool) -> Option<MutexGuard<'_, Turn<'f, 'v>>> {
        let turn = self.turn.lock().ok()?;
        self.changed
            .wait_while(turn, |turn| turn.stop.is_none() && !ready(turn))
            .ok()
    }
}

impl Turn<'_, '_> {
    fn note(&mut self, outcome: Result<(), Stop>) {
        self.stop = self.stop.take().or(outcome.err());
    }

    fn fold(&mut self, waiting: &mut Waiting) {
        for chunk in waiting.chunks.drain(..) {
            if self.stop.is_none() {
                let outcome = self.fold.chunk(&waiting.job, chunk);
                self.note(outcome);
            }
        }
    }

    /// Folds the step whose turn it is, if it is done, and gives the turn to the next. Answers whether it did.
    fn pass(&mut self) -> bool {
        let Some(done) = self.done.remove(&self.next) else {
            return false;
        };
        self.next += 1;
        let outcome = match (done, &self.stop) {
            (_, Some(_)) => Ok(()),
            (Done::Partition(plan), None) => self.fold.begin(plan),
            (Done::Unreadable(error), None) => Err(error.into()),
            (Done::Segment(mut waiting, ending), None) => {
                self.fold(&mut waiting);
                match self.stop {
                    None => self.fold.end(&waiting.job, ending),
                    Some(_) => Ok(()),
                }
            }
        };
        self.note(outcome);
        true
    }
}
