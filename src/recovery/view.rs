//! An archive as a restore sees it: what checkpoints cover, which is verified and replayed, and what lies behind, which is a cut that was being stored when the
//! log was lost, or nobody knows what.

use crate::ledger::names::DEFAULT_CLASS;
use crate::ledger::verify::{ArchiveSource, FirstBad, ObjectName, Part, Reason, SourceError};
use crate::vault::covered::Covered;
use crate::vault::known::Known;
use std::collections::BTreeMap;

/// Names behind a partition's last checkpoint that are kept: a cut has fewer objects.
pub(super) const BEHIND_MAX: usize = 10_000;

pub struct View<'s> {
    pub(super) source: &'s dyn ArchiveSource,
    known: Known,
    /// By origin, in order.
    behind: BTreeMap<String, Vec<String>>,
    key_sets: Vec<u64>,
    no_keys_from: Option<u64>,
}

impl<'s> View<'s> {
    /// Lists the archive, twice: what lies behind is known once all names are.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub fn open(source: &'s dyn ArchiveSource) -> Result<Self, SourceError> {
        let mut known = Known::default();
        for name in source.list("")? {
            known.note(&name?);
        }
        known.settle();
        let mut view = Self {
            source,
            known,
            behind: BTreeMap::new(),
            key_sets: Vec::new(),
            no_keys_from: None,
        };
        for name in source.list("")? {
            view.sort_in(name?);
        }
        view.behind.values_mut().for_each(|names| names.sort_unstable());
        Ok(view)
    }

    fn sort_in(&mut self, name: String) {
        match ObjectName::parse(&name) {
            Some(ObjectName::Jwks { keys }) => self.key_sets.push(keys),
            Some(ObjectName::Partition { origin, .. }) if self.known.is_behind(&name) => {
                let names = self.behind.entry(origin.to_owned()).or_default();
                if names.len() < BEHIND_MAX {
                    names.push(name);
                }
            }
            Some(ObjectName::Partition { .. }) | None => {}
        }
    }

    /// What checkpoints cover.
    #[must_use]
    pub fn covered(&self) -> Covered<'_> {
        Covered {
            no_keys_from: self.no_keys_from,
            ..Covered::whole(self.source, &self.known)
        }
    }

    /// The names behind the last checkpoint of a partition, at most [`BEHIND_MAX`].
    #[must_use]
    pub fn behind(&self, origin: &str) -> &[String] {
        self.behind.get(origin).map_or(&[], Vec::as_slice)
    }

    /// The sizes that a partition's tree has with the cuts behind its last checkpoint, as names have them.
    pub fn sizes_behind(&self, origin: &str) -> impl Iterator<Item = u64> {
        self.behind(origin)
            .iter()
            .filter_map(|name| match ObjectName::parse(name) {
                Some(ObjectName::Partition {
                    part:
                        Part::Segment {
                            class: DEFAULT_CLASS,
                            last,
                            ..
                        },
                    ..
                }) => Some(last + 1),
                Some(ObjectName::Partition { .. } | ObjectName::Jwks { .. }) | None => None,
            })
    }

    /// Origins of which there is something behind their last checkpoint, and whether they have one.
    pub fn unfinished(&self) -> impl Iterator<Item = (&str, bool)> {
        let is_begun = |origin: &String| self.known.covered(origin) > 0;
        self.behind
            .keys()
            .map(move |origin| (origin.as_str(), is_begun(origin)))
    }

    /// A key set is stored before the cut whose leaves declare its keys. Where that is what the verifier found wrong, hides those sets, and answers whether the
    /// archive is to be verified again.
    pub fn hide_late_keys(&mut self, bad: &FirstBad) -> bool {
        let Some(object) = bad
            .object
            .as_deref()
            .filter(|_| bad.reason == Reason::UnknownObject)
        else {
            return false;
        };
        match (ObjectName::parse(object), self.no_keys_from) {
            // Fewer keys than any ledger begins with: nothing that a later leaf declares.
            (Some(ObjectName::Jwks { keys }), None) if self.key_sets.iter().any(|set| *set < keys) => {
                self.no_keys_from = Some(keys);
                true
            }
            (_, _) => false,
        }
    }

    /// How many keys the sets have that were hidden.
    pub fn late_key_sets(&self) -> impl Iterator<Item = u64> {
        let from = self.no_keys_from.unwrap_or(u64::MAX);
        self.key_sets.iter().copied().filter(move |keys| *keys >= from)
    }
}
