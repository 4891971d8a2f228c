//! What is known of schemas: bounded by count and by bytes. What was used longest ago goes first.

use crate::formats::avro::Schema;
use std::collections::HashMap;
use std::sync::Arc;

/// What an entry takes beside what it holds, about.
const ENTRY_BYTES: usize = 128;

#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// A schema's text, and how audit events are read by it, or why they are not.
    Document {
        text: Arc<str>,
        of_audit_events: Result<Arc<Schema>, Arc<str>>,
    },
    Refused(Arc<str>),
}

impl Kept {
    fn bytes(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Self::Document {
                    text,
                    of_audit_events: Ok(schema),
                } => text.len() + schema.bytes(),
                Self::Document {
                    text,
                    of_audit_events: Err(why),
                } => text.len() + why.len(),
                Self::Refused(why) => why.len(),
            }
    }
}

struct Entry {
    kept: Kept,
    bytes: usize,
    used: u64,
}

pub(super) struct Cache {
    entries: HashMap<u32, Entry>,
    entries_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// Counts uses.
    now: u64,
}

impl Cache {
    pub fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            entries_max,
            bytes: 0,
            bytes_max,
            now: 0,
        }
    }

    pub fn get(&mut self, id: u32) -> Option<Kept> {
        self.now += 1;
        let entry = self.entries.get_mut(&id)?;
        entry.used = self.now;
        Some(entry.kept.clone())
    }

    pub fn insert(&mut self, id: u32, kept: Kept) {
        self.now += 1;
        self.remove(id);
        let bytes = kept.bytes();
        self.bytes += bytes;
        let used = self.now;
        self.entries.insert(id, Entry { kept, bytes, used });
        // Looked for among all: that is done once for each schema that is fetched.
        while self.entries.len() > self.entries_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used) else {
                return;
            };
            let oldest = *oldest.0;
            self.remove(oldest);
        }
    }

    fn remove(&mut self, id: u32) {
        if let Some(entry) = self.entries.remove(&id) {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(length: usize) -> Kept {
        Kept::Refused("x".repeat(length).into())
    }

    fn held(cache: &Cache) -> Vec<u32> {
        let mut ids: Vec<u32> = cache.entries.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn what_was_used_longest_ago_goes_where_there_are_too_many() {
        let mut cache = Cache::new(3, 1 << 20);
        (1..=3).for_each(|id| cache.insert(id, refused(1)));
        assert!(cache.get(1).is_some());
        cache.insert(4, refused(1));
        assert_eq!(held(&cache), [1, 3, 4]);
        assert!(cache.get(2).is_none());
    }

    #[test]
    fn bytes_are_bounded_and_counted_exactly() {
        let mut cache = Cache::new(1_000, 10 * (ENTRY_BYTES + 100));
        for id in 0..200 {
            cache.insert(id % 50, refused(100));
            let bytes: usize = cache.entries.values().map(|entry| entry.bytes).sum();
            assert!(cache.bytes == bytes && bytes <= cache.bytes_max);
        }
        assert_eq!(held(&cache), (40..50).collect::<Vec<_>>());
        // Larger than all the room: nothing is kept, and nothing breaks.
        cache.insert(7, refused(1 << 20));
        assert_eq!((cache.bytes, held(&cache)), (0, vec![]));
    }
}
