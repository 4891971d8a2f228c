//! The last entries of a partition by (tenant, event id), to tell a repeated delivery from a new event. Memory is fixed
//! by the number of entries, whatever their ids' length.

use crate::ledger::Digest;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use std::hash::{BuildHasher as _, RandomState};

/// How many entries are remembered unless configured: 56 bytes each and about 7 to find them by, 6.3 MB a partition, in the sealer and again in
/// the notary.
pub const WINDOW_ENTRIES_MAX: usize = 100_000;

/// 128 bits of BLAKE3 over tenant and event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKey(pub [u8; 16]);

impl EventKey {
    #[must_use]
    pub fn new(tenant: &str, event_id: &str) -> Self {
        // One call over one piece: half the time of a hasher that is fed in parts. Both are bounded by the format, so the buffer is as well.
        let mut pair = [0; PAIR_BYTES_MAX];
        let bytes = tenant.len() + 1 + event_id.len();
        let hash = match pair.get_mut(..bytes) {
            Some(pair) => {
                // A tenant has no NUL, so the pair is read in one way only.
                pair[..tenant.len()].copy_from_slice(tenant.as_bytes());
                pair[tenant.len() + 1..].copy_from_slice(event_id.as_bytes());
                blake3::keyed_hash(&KEY, pair)
            }
            None => blake3::keyed_hash(&KEY, &[tenant.as_bytes(), &[0], event_id.as_bytes()].concat()),
        };
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        Self(key)
    }
}

/// Keeps these hashes apart from all others.
const KEY: [u8; 32] = *b"ledgerline 2026-11 event id v1..";
/// A tenant, a NUL and an event id.
const PAIR_BYTES_MAX: usize = 128 + 1 + 256;

/// What is known of an event that was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub index: u64,
    /// SHA-256 of the canonical event.
    pub event: Digest,
}

/// Room for the first entries; it is doubled from then on, and never more than the entries that may come.
const ROOM_FIRST: usize = 1 << 10;

/// A ring of the last entries, and where each key stands in it.
#[derive(Debug, Clone)]
pub struct Window {
    entries_max: usize,
    ring: Vec<(EventKey, Seen)>,
    /// Where the next entry goes once the ring is full: the place of the oldest.
    oldest: usize,
    /// Places in the ring, found by the keys that stand there: a key is kept once.
    places: HashTable<u32>,
    /// Anybody may choose event ids, so that how keys spread must not be known beforehand.
    hasher: RandomState,
}

impl Window {
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            ring: Vec::new(),
            oldest: 0,
            places: HashTable::new(),
            hasher: RandomState::new(),
        }
    }

    #[must_use]
    pub fn entries_max(&self) -> usize {
        self.entries_max
    }

    #[must_use]
    pub fn get(&self, key: &EventKey) -> Option<Seen> {
        let place = self.places.find(self.hasher.hash_one(key), |place| {
            key_at(&self.ring, *place) == Some(key)
        })?;
        self.ring.get(*place as usize).map(|(_, seen)| *seen)
    }

    /// Remembers an entry and forgets the oldest where the window is full.
    pub fn push(&mut self, key: EventKey, seen: Seen) {
        if self.entries_max == 0 {
            return;
        }
        let place = if self.ring.len() < self.entries_max {
            self.make_room();
            self.ring.push((key, seen));
            self.ring.len() - 1
        } else {
            let place = self.oldest;
            self.forget(place);
            self.ring[place] = (key, seen);
            self.oldest = (place + 1) % self.entries_max;
            place
        };
        self.note(&key, place as u32);
    }

    /// A vector that doubles by itself would have room for up to twice the entries that may come.
    fn make_room(&mut self) {
        let entries = self.ring.len();
        if entries == self.ring.capacity() {
            let room = entries.max(ROOM_FIRST).min(self.entries_max - entries);
            self.ring.reserve_exact(room);
        }
    }

    /// The key at `place` is found no more. A later entry may have taken it over (an id that came back after its time): that one is still found.
    fn forget(&mut self, place: usize) {
        let hash = self.hasher.hash_one(self.ring[place].0);
        if let Ok(found) = self.places.find_entry(hash, |known| *known as usize == place) {
            found.remove();
        }
    }

    /// The key, which stands at `place`, is found there from now on.
    fn note(&mut self, key: &EventKey, place: u32) {
        let Self {
            ring, places, hasher, ..
        } = self;
        let entry = places.entry(
            hasher.hash_one(key),
            |known| key_at(ring, *known) == Some(key),
            |known| hasher.hash_one(key_at(ring, *known).unwrap_or(key)),
        );
        match entry {
            TableEntry::Occupied(mut known) => *known.get_mut() = place,
            TableEntry::Vacant(free) => drop(free.insert(place)),
        }
    }

    /// Oldest first: pushing them in this order into an empty window gives this window.
    pub fn iter(&self) -> impl Iterator<Item = &(EventKey, Seen)> {
        self.ring[self.oldest..].iter().chain(&self.ring[..self.oldest])
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

fn key_at(ring: &[(EventKey, Seen)], place: u32) -> Option<&EventKey> {
    ring.get(place as usize).map(|(key, _)| key)
}

/// Equal if they remember the same entries in the same order; where in the ring they lie does not matter.
impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.entries_max == other.entries_max && self.len() == other.len() && self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, VecDeque};

    fn seen(index: u64) -> Seen {
        Seen {
            index,
            event: [index as u8; 32],
        }
    }

    #[test]
    fn a_full_window_forgets_the_oldest_and_only_it() {
        let mut window = Window::new(3);
        for index in 0..5 {
            window.push(EventKey::new("t", &index.to_string()), seen(index));
        }
        let known: Vec<bool> = (0..5)
            .map(|index: u64| window.get(&EventKey::new("t", &index.to_string())).is_some())
            .collect();
        assert_eq!(known, [false, false, true, true, true]);
        assert_eq!(
            window.iter().map(|(_, seen)| seen.index).collect::<Vec<_>>(),
            [2, 3, 4]
        );
    }

    #[test]
    fn an_id_that_came_back_survives_the_forgetting_of_its_first_entry() {
        let mut window = Window::new(2);
        for (index, id) in ["a", "a", "b"].into_iter().enumerate() {
            window.push(EventKey::new("t", id), seen(index as u64));
        }
        assert_eq!(window.get(&EventKey::new("t", "a")), Some(seen(1)));
    }

    #[test]
    fn keys_tell_tenant_from_event_id() {
        assert_ne!(EventKey::new("ab", "c"), EventKey::new("a", "bc"));
    }

    proptest! {
        /// Whatever ids come and come back, the window knows what the last entries say, each id's newest, and nothing else.
        #[test]
        fn a_window_is_a_map_of_the_last_entries(entries_max in 0_usize..9, ids in prop::collection::vec(0_u8..14, 0..80)) {
            let key = |id: u8| EventKey::new("t", &id.to_string());
            let (mut window, mut last) = (Window::new(entries_max), VecDeque::new());
            for (index, id) in ids.into_iter().enumerate() {
                window.push(key(id), seen(index as u64));
                last.push_back((id, index as u64));
                last.drain(..last.len().saturating_sub(entries_max));
                let known: HashMap<u8, u64> = last.iter().copied().collect();
                for id in 0..14 {
                    prop_assert_eq!(window.get(&key(id)), known.get(&id).map(|index| seen(*index)));
                }
                let indexes: Vec<u64> = window.iter().map(|(_, seen)| seen.index).collect();
                prop_assert_eq!(indexes, last.iter().map(|(_, index)| *index).collect::<Vec<_>>());
            }
        }
    }
}
