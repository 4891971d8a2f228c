//! Puts the rows of a cut's objects in order of index and gives them to their partition, one by one.
//!
//! The object of the default class comes last and is not kept: its rows are merged with those of the other classes as they
//! arrive. So what is kept of a cut is what its other classes hold, which is nothing where there is one class.

use super::super::segment::SEGMENT_BYTES_MAX;
use super::lines::Ending;
use super::partition::PartitionFold;
use super::plan::{Plan, SegmentJob};
use super::report::FirstBad;
use super::summary::{Chunk, Row};
use super::whole::Whole;
use super::{Reason, SourceError};
use std::sync::Arc;

/// Why there is nothing more to check.
pub enum Stop {
    Bad(Box<FirstBad>),
    Unreadable(SourceError),
}

impl From<FirstBad> for Stop {
    fn from(bad: FirstBad) -> Self {
        Self::Bad(Box::new(bad))
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Unreadable(error)
    }
}

/// A chunk that waits for the object of the default class.
struct Kept {
    job: SegmentJob,
    chunk: Chunk,
}

/// Where a kept row is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct KeptRow {
    index: u64,
    chunk: u32,
    row: u32,
}

pub struct Fold<'v> {
    pub whole: Whole<'v>,
    partition: Option<PartitionFold<'v>>,
    kept: Vec<Kept>,
    /// The rows of `kept` by index, once the last object of the cut has begun; those before `merged` were applied.
    order: Vec<KeptRow>,
    merged: usize,
    /// The first fault of a kept object.
    fault: Option<FirstBad>,
    cut_line_bytes: u64,
}

impl<'v> Fold<'v> {
    pub fn new(whole: Whole<'v>) -> Self {
        Self {
            whole,
            partition: None,
            kept: Vec::new(),
            order: Vec::new(),
            merged: 0,
            fault: None,
            cut_line_bytes: 0,
        }
    }

    /// Ends the partition before and begins one.
    pub fn begin(&mut self, plan: Arc<Plan>) -> Result<(), Stop> {
        self.end_partition()?;
        self.whole.last_checkpoint = (plan.listed > 0).then_some(plan.last_checkpoint);
        self.partition = Some(PartitionFold::new(plan, self.whole.options));
        Ok(())
    }

    /// Takes rows of the segment that is read now.
    pub fn chunk(&mut self, job: &SegmentJob, chunk: Chunk) -> Result<(), Stop> {
        if !job.closes_cut {
            self.kept.push(Kept {
                job: job.clone(),
                chunk,
            });
            return Ok(());
        }
        self.put_kept_in_order();
        for row in &chunk.rows {
            self.apply_kept_below(row.index)?;
            self.apply(job, &chunk, row)?;
        }
        Ok(())
    }

    /// Ends the segment that is read now, and with the last one the cut.
    pub fn end(&mut self, job: &SegmentJob, ending: Ending) -> Result<(), Stop> {
        match ending {
            Ending::Unreadable(error) => return Err(error.into()),
            Ending::Faulty(fault) => {
                let partition = self.partition.as_ref().map_or(0, |fold| fold.plan.partition);
                let bad = fault.into_first_bad(job.object_name(), partition);
                if self.fault.as_ref().is_none_or(|first| bad.index < first.index) {
                    self.fault = Some(bad);
                }
            }
            Ending::Whole {
                object_bytes,
                line_bytes,
            } => {
                self.whole.report.objects += 1;
                self.whole.report.bytes += object_bytes;
                self.whole.report.line_bytes += line_bytes;
                self.cut_line_bytes += line_bytes;
            }
        }
        if job.closes_cut {
            self.end_cut(job)?;
        }
        Ok(())
    }

    fn end_cut(&mut self, job: &SegmentJob) -> Result<(), Stop> {
        self.put_kept_in_order();
        self.apply_kept_below(u64::MAX)?;
        if let Some(fault) = self.fault.take() {
            return Err(fault.into());
        }
        if self.cut_line_bytes > SEGMENT_BYTES_MAX {
            let detail = format!(
                "the cut's objects hold {} bytes of lines, more than {SEGMENT_BYTES_MAX}",
                self.cut_line_bytes
            );
            let bad = FirstBad::new(Reason::SegmentTooLarge, detail)
                .object(job.object_name())
                .partition(self.partition.as_ref().map_or(0, |fold| fold.plan.partition))
                .index(job.cut.first);
            return Err(bad.into());
        }
        (self.merged, self.cut_line_bytes) = (0, 0);
        self.order.clear();
        self.kept.clear();
        if let Some(partition) = &mut self.partition {
            partition.end_cut(job, &mut self.whole)?;
        }
        self.whole.progress();
        Ok(())
    }

    fn put_kept_in_order(&mut self) {
        if !self.order.is_empty() {
            return;
        }
        for (chunk, kept) in (0..).zip(&self.kept) {
            let rows = (0..).zip(&kept.chunk.rows);
            self.order.extend(rows.map(|(row, found)| KeptRow {
                index: found.index,
                chunk,
                row,
            }));
        }
        self.order.sort_unstable();
    }

    /// Applies the kept rows below `index`, and stops at a kept object's fault that lies there.
    fn apply_kept_below(&mut self, index: u64) -> Result<(), Stop> {
        let fault_at = self.fault.as_ref().and_then(|fault| fault.index);
        while let Some(next) = self.order.get(self.merged).copied()
            && next.index < index.min(fault_at.unwrap_or(u64::MAX))
        {
            self.merged += 1;
            let (kept, order) = (std::mem::take(&mut self.kept), next);
            let outcome = match kept.get(order.chunk as usize) {
                Some(Kept { job, chunk }) => match chunk.rows.get(order.row as usize) {
                    Some(row) => self.apply(job, chunk, row),
                    None => Ok(()),
                },
                None => Ok(()),
            };
            self.kept = kept;
            outcome?;
        }
        match self.fault.take() {
            Some(fault) if fault_at.is_some_and(|at| at < index) => Err(fault.into()),
            fault => {
                self.fault = fault;
                Ok(())
            }
        }
    }

    fn apply(&mut self, job: &SegmentJob, chunk: &Chunk, row: &Row) -> Result<(), Stop> {
        match &mut self.partition {
            Some(partition) => partition.apply(job, chunk, row, &mut self.whole),
            None => Ok(()),
        }
    }

    fn end_partition(&mut self) -> Result<(), Stop> {
        match self.partition.take() {
            Some(partition) => partition.end(&mut self.whole),
            None => Ok(()),
        }
    }

    /// Ends the last partition and checks what concerns all of them.
    pub fn finish(&mut self) -> Result<(), Stop> {
        self.end_partition()?;
        self.whole.finish()
    }
}
