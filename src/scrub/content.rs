//! The archive as the verifier is to see it while it is written to: what a scope has, up to the last cut whose checkpoint was there when the pass looked.

use super::known::Known;
use super::scope::Scope;
use crate::ledger::verify::{
    ArchiveSource, Names, ObjectReader, Options, Progress, Report, SourceError, verify,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub(super) struct Covered<'s> {
    pub source: &'s dyn ArchiveSource,
    pub known: &'s Known,
    pub scope: &'s Scope,
    /// Nobody waits for the outcome any more.
    pub stop: &'s AtomicBool,
    /// Before each object.
    pub pause: Duration,
}

impl Covered<'_> {
    fn check_stop(&self) -> Result<(), SourceError> {
        if self.stop.load(Ordering::Acquire) {
            return Err(SourceError::new("the archive", "the scrub was stopped"));
        }
        Ok(())
    }

    /// Verifies it, with the verifier that auditors use.
    pub fn verify(
        &self,
        options: &Options,
        on_progress: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Report, SourceError> {
        verify(self, options, on_progress)
    }
}

impl ArchiveSource for Covered<'_> {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        self.check_stop()?;
        let own = self.scope.content_prefixes();
        let prefixes: Vec<String> = if prefix.is_empty() {
            own
        } else {
            vec![prefix.to_owned()]
        };
        let mut names: Names<'s> = Box::new(std::iter::empty());
        for prefix in &prefixes {
            names = Box::new(names.chain(self.source.list(prefix)?));
        }
        Ok(Box::new(names.filter(|name| {
            name.as_ref().map_or(true, |name| !self.known.is_behind(name))
        })))
    }

    /// Not with a pause between objects: what is fetched ahead waits for nothing.
    fn expect(&self, names: Vec<String>) {
        if self.pause.is_zero() {
            self.source.expect(names);
        }
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        self.check_stop()?;
        thread::sleep(self.pause);
        self.source.read(name)
    }
}
