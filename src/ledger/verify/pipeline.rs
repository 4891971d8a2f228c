//! Spreads the reading of segments over threads and hands what they find to the fold in order.
//!
//! Each thread takes the next segment and sends its rows through a channel of its own, which holds a bounded number of chunks:
//! a thread that is ahead of the fold waits. The channels stand in a queue in the order of the segments, so what the fold
//! sees does not depend on the threads. At most `threads + 1` segments are in flight.

use super::fold::{Fold, Stop};
use super::lines::{Ending, Enough, check_segment};
use super::plan::{Plan, SegmentJob};
use super::summary::Chunk;
use super::{ArchiveSource, SourceError};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// More threads than this would not be faster: the fold, one thread, is then the slower one.
pub const THREADS_MAX: usize = 8;
/// Chunks that may wait for the fold, over all segments in flight: 96,000 leaves, 16 MiB of entries, at most 32 MiB.
const CHUNKS_WAITING: usize = 192;

/// What the fold is given, in this order.
pub enum Step {
    /// Everything up to the next partition belongs to this one.
    Partition(Arc<Plan>),
    Segment(SegmentJob),
}

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
            return Ok(Some(Step::Segment(job)));
        }
        let Some(partition) = self.partitions.next() else {
            return Ok(None);
        };
        let plan = Arc::new(Plan::make(self.source, self.log_name, partition)?);
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

enum Message {
    Chunk(Chunk),
    End(Ending),
}

enum Queued {
    Partition(Arc<Plan>),
    Segment(SegmentJob, Receiver<Message>),
    Unreadable(SourceError),
}

/// As [`run_inline`], with `threads` threads, at most [`THREADS_MAX`], that read segments.
///
/// # Errors
/// The same.
pub fn run_threaded(planner: Planner<'_>, threads: usize, fold: &mut Fold<'_>) -> Result<(), Stop> {
    let source = planner.source;
    let threads = threads.clamp(1, THREADS_MAX);
    let (queue, queued) = sync_channel(threads);
    let planner = Mutex::new(planner);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (planner, queue) = (&planner, queue.clone());
            scope.spawn(move || {
                // In flight are the segments in the queue and the one that is folded.
                let chunks_max = CHUNKS_WAITING / (threads + 1);
                while let Some((job, out)) = take_job(planner, &queue, chunks_max) {
                    read_segment(source, &job, &out);
                }
            });
        }
        // The queue ends when the threads have ended.
        drop(queue);
        // Dropped at a stop: threads that still send find nobody there, and end.
        fold_queue(queued, fold)
    })
}

/// The next segment and the channel for what it holds, after queueing its other end. The lock is held over both: the
/// queue is in the planner's order.
fn take_job(
    planner: &Mutex<Planner<'_>>,
    queue: &SyncSender<Queued>,
    chunks_max: usize,
) -> Option<(SegmentJob, SyncSender<Message>)> {
    let mut planner = planner.lock().ok()?;
    loop {
        match planner.next() {
            Ok(Some(Step::Segment(job))) => {
                let (out, rows) = sync_channel(chunks_max);
                queue.send(Queued::Segment(job.clone(), rows)).ok()?;
                return Some((job, out));
            }
            Ok(Some(Step::Partition(plan))) => queue.send(Queued::Partition(plan)).ok()?,
            Ok(None) => return None,
            Err(error) => {
                drop(queue.send(Queued::Unreadable(error)));
                return None;
            }
        }
    }
}

fn read_segment(source: &dyn ArchiveSource, job: &SegmentJob, out: &SyncSender<Message>) {
    let ending = check_segment(source, job, &mut |chunk| {
        out.send(Message::Chunk(chunk)).map_err(|_| Enough)
    });
    if let Ok(ending) = ending {
        // Nobody there: the fold has stopped, and says why.
        drop(out.send(Message::End(ending)));
    }
}

fn fold_queue(queued: Receiver<Queued>, fold: &mut Fold<'_>) -> Result<(), Stop> {
    for next in queued {
        match next {
            Queued::Partition(plan) => fold.begin(plan)?,
            Queued::Unreadable(error) => return Err(error.into()),
            Queued::Segment(job, rows) => {
                let mut ended = false;
                for message in rows {
                    match message {
                        Message::Chunk(chunk) => fold.chunk(&job, chunk)?,
                        Message::End(ending) => {
                            fold.end(&job, ending)?;
                            ended = true;
                        }
                    }
                }
                if !ended {
                    // Its thread is gone. A segment that was not read to its end must not count as checked.
                    return Err(SourceError::new(job.object_name(), "it was not read to its end").into());
                }
            }
        }
    }
    Ok(())
}
