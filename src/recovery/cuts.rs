//! An archive's partition, cut by cut, in order of its leaves: for who makes something of them. Reads only; what is folded and held against signatures
//! is [`super::replay`]'s.

use super::lines::{CutLines, LinesError};
use super::replay::ReplayError;
use crate::ledger::names;
use crate::ledger::verify::{ArchiveSource, Plan};

/// The cuts of one partition. Memory is one cut, at most 64 MiB.
pub struct Cuts<'s> {
    source: &'s dyn ArchiveSource,
    plan: Plan,
    origin: String,
    at: usize,
    cut: CutLines,
}

impl<'s> Cuts<'s> {
    /// `log_name` is the archive's own.
    ///
    /// # Errors
    /// Where the archive cannot be read, or its objects do not make a partition.
    pub fn open(source: &'s dyn ArchiveSource, log_name: &str, partition: u32) -> Result<Self, ReplayError> {
        let plan = Plan::make(source, log_name, partition)?;
        let origin = names::origin(log_name, partition);
        if let Some(broken) = &plan.broken {
            return Err(ReplayError::Invalid {
                origin,
                what: broken.detail.clone(),
            });
        }
        Ok(Self {
            source,
            plan,
            origin,
            at: 0,
            cut: CutLines::default(),
        })
    }

    /// The lines of the next cut, in order; `None` behind the last one.
    pub fn next_cut(&mut self) -> Result<Option<&CutLines>, ReplayError> {
        self.cut.clear();
        while let Some(job) = self.plan.job(self.at) {
            self.at += 1;
            let name = job.object_name();
            let closes_cut = job.closes_cut;
            self.cut.read(self.source, &name).map_err(|error| match error {
                LinesError::Source(error) => error.into(),
                LinesError::Other(what) => self.invalid(format!("{name}: {what}")),
            })?;
            if closes_cut {
                self.cut.sort();
                return Ok(Some(&self.cut));
            }
        }
        Ok(None)
    }

    /// Where its content is not what an archive has.
    #[must_use]
    pub fn invalid(&self, what: String) -> ReplayError {
        ReplayError::Invalid {
            origin: self.origin.clone(),
            what,
        }
    }
}
