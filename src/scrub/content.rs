//! How a pass reads content: not faster than it may, and not once nobody waits for it.

use crate::ledger::verify::{ArchiveSource, Names, ObjectReader, SourceError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub(super) struct Paced<'s> {
    pub source: &'s dyn ArchiveSource,
    /// Nobody waits for the outcome any more.
    pub stop: &'s AtomicBool,
    /// Before each object.
    pub pause: Duration,
}

impl Paced<'_> {
    fn check_stop(&self) -> Result<(), SourceError> {
        if self.stop.load(Ordering::Acquire) {
            return Err(SourceError::new("the archive", "the scrub was stopped"));
        }
        Ok(())
    }
}

impl ArchiveSource for Paced<'_> {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        self.check_stop()?;
        self.source.list(prefix)
    }

    /// Not with a pause between objects: what is fetched ahead waits for nothing.
    fn coming(&self, names: Vec<String>) {
        if self.pause.is_zero() {
            self.source.coming(names);
        }
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        self.check_stop()?;
        thread::sleep(self.pause);
        self.source.read(name)
    }
}
