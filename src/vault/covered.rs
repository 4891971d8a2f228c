//! The archive as the verifier is to see it while it is written to, or where that was cut short: up to the last cut of each partition whose checkpoint was
//! there when the names were listed ([`Known`]). What lies behind is not changed, and not looked at.

use super::known::Known;
use crate::ledger::verify::{ArchiveSource, Names, ObjectName, ObjectReader, SourceError};

pub struct Covered<'s> {
    pub source: &'s dyn ArchiveSource,
    pub known: &'s Known,
    /// What the names begin with that there are: of others the listing of all has none.
    pub prefixes: Vec<String>,
    /// Key sets of so many keys or more are not there either: they are stored before the cut whose leaves declare the keys.
    pub no_keys_from: Option<u64>,
}

impl<'s> Covered<'s> {
    /// All of an archive.
    #[must_use]
    pub fn whole(source: &'s dyn ArchiveSource, known: &'s Known) -> Self {
        Self {
            source,
            known,
            prefixes: vec![String::new()],
            no_keys_from: None,
        }
    }

    fn is_seen(&self, name: &str) -> bool {
        let is_late_key_set = self.no_keys_from.is_some_and(
            |from| matches!(ObjectName::parse(name), Some(ObjectName::Jwks { keys }) if keys >= from),
        );
        !is_late_key_set && !self.known.is_behind(name)
    }
}

impl ArchiveSource for Covered<'_> {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        let prefixes = if prefix.is_empty() {
            self.prefixes.clone()
        } else {
            vec![prefix.to_owned()]
        };
        let mut names: Names<'s> = Box::new(std::iter::empty());
        for prefix in &prefixes {
            names = Box::new(names.chain(self.source.list(prefix)?));
        }
        Ok(Box::new(names.filter(|name| {
            name.as_ref().map_or(true, |name| self.is_seen(name))
        })))
    }

    fn soon(&self, name: &str) {
        self.source.soon(name);
    }

    fn coming(&self, names: Vec<String>) {
        self.source.coming(names);
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        self.source.read(name)
    }
}
