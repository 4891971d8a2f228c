//! Issued keys in use, and ids of which there is no key: bounded, and each only as long as it is sure.
//!
//! Both are kept in two generations: where the younger is full, the older is forgotten, and the younger is the older. What is used is always in one of them, and
//! no flood of ids costs more than their insertion.

use super::Issued;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Of each generation.
const KEYS_MAX: usize = 32_768;
const ABSENT_MAX: usize = 8_192;
/// So long after anybody last looked what changed, keys are still taken. Only a database that is away makes it so long.
const SURE_FOR: Duration = Duration::from_mins(1);
/// A key is asked for anew after so long, whatever was heard of it.
const ENTRY_AGE_MAX: Duration = Duration::from_mins(5);
/// An id without a key may get one.
const ABSENT_FOR: Duration = Duration::from_secs(2);

/// What is known of an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    Key(Arc<Issued>),
    /// There is no key of it.
    Nobody,
    /// It has to be asked for.
    Unsure,
}

#[derive(Debug)]
pub(super) struct Cache(Mutex<Entries>);

#[derive(Debug)]
struct Entries {
    there: Generations<Entry>,
    absent: Generations<Instant>,
    /// When it was last found out what changed.
    looked_at: Instant,
    /// Keys that were used since that was last noted.
    used: HashSet<Arc<str>>,
}

#[derive(Debug, Clone)]
struct Entry {
    issued: Arc<Issued>,
    asked_at: Instant,
}

#[derive(Debug)]
struct Generations<T> {
    young: HashMap<Arc<str>, T>,
    old: HashMap<Arc<str>, T>,
    each_max: usize,
}

impl<T: Clone> Generations<T> {
    fn new(each_max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            each_max,
        }
    }

    /// What is asked for is young again.
    fn get(&mut self, id: &str) -> Option<T> {
        if let Some(value) = self.young.get(id) {
            return Some(value.clone());
        }
        let (id, value) = self.old.remove_entry(id)?;
        self.put(id, value.clone());
        Some(value)
    }

    fn put(&mut self, id: Arc<str>, value: T) {
        if self.young.len() >= self.each_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, value);
    }

    /// Puts another value in the place of one that is there.
    fn replace(&mut self, id: &str, value: T) {
        let place = match self.young.get_mut(id) {
            Some(place) => Some(place),
            None => self.old.get_mut(id),
        };
        if let Some(place) = place {
            *place = value;
        }
    }

    fn remove(&mut self, id: &str) {
        self.young.remove(id);
        self.old.remove(id);
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

impl Cache {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Entries {
            there: Generations::new(KEYS_MAX),
            absent: Generations::new(ABSENT_MAX),
            looked_at: now,
            used: HashSet::new(),
        }))
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: &str, now: Instant) -> Known {
        let mut entries = self.entries();
        let is_sure = now.duration_since(entries.looked_at) < SURE_FOR;
        match (entries.there.get(id), entries.absent.get(id)) {
            (Some(entry), _) if is_sure && now.duration_since(entry.asked_at) < ENTRY_AGE_MAX => {
                Known::Key(entry.issued)
            }
            (None, Some(since)) if now.duration_since(since) < ABSENT_FOR => Known::Nobody,
            (Some(_) | None, _) => Known::Unsure,
        }
    }

    /// Keeps what was found of an id.
    pub(super) fn put(&self, id: &str, found: Option<Arc<Issued>>, now: Instant) {
        let mut entries = self.entries();
        match found {
            Some(issued) => {
                entries.absent.remove(id);
                // An older one is in neither generation then.
                entries.there.remove(id);
                let entry = Entry {
                    issued,
                    asked_at: now,
                };
                entries.there.put(id.into(), entry);
            }
            None => {
                entries.there.remove(id);
                entries.absent.put(id.into(), now);
            }
        }
    }

    /// What changed lately, as it was found by a look that began at `now`. `None`: anything may have.
    pub(super) fn renew(&self, changed: Option<Vec<Issued>>, now: Instant) {
        let mut entries = self.entries();
        match changed {
            Some(changed) => {
                for issued in changed {
                    let id = Arc::clone(&issued.holder.id);
                    let entry = Entry {
                        issued: Arc::new(issued),
                        asked_at: now,
                    };
                    entries.there.replace(&id, entry);
                }
            }
            None => entries.there.clear(),
        }
        if now.duration_since(entries.looked_at) >= SURE_FOR {
            // What changed before the window of this look nobody saw.
            entries.there.clear();
        }
        entries.looked_at = now;
    }

    /// A key was right, and is used.
    pub(super) fn used(&self, id: &Arc<str>) {
        let mut entries = self.entries();
        if entries.used.len() < 2 * KEYS_MAX {
            entries.used.insert(Arc::clone(id));
        }
    }

    /// Those that were used since this was last asked.
    pub(super) fn take_used(&self) -> Vec<String> {
        let used = std::mem::take(&mut self.entries().used);
        used.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::api_keys::{Grant, KeyRow};

    fn issued(id: &str, revoked_ms: Option<i64>) -> Issued {
        Issued::new(KeyRow {
            id: id.to_owned(),
            grant: Grant {
                tenant: Some("acme".to_owned()),
                scopes: vec!["read".to_owned()],
                ..Grant::default()
            },
            digest: [0; 32],
            pepper_version: 1,
            created_ms: 0,
            expires_ms: None,
            revoked_ms,
            rotated_from: None,
            last_used_ms: None,
            tenant_networks: None,
        })
    }

    fn put(cache: &Cache, id: &str, now: Instant) {
        cache.put(id, Some(Arc::new(issued(id, None))), now);
    }

    fn revoked(known: Known) -> Option<i64> {
        match known {
            Known::Key(issued) => issued.row.revoked_ms,
            Known::Nobody | Known::Unsure => panic!("{known:?}"),
        }
    }

    #[test]
    fn what_was_found_is_sure_while_somebody_looks_and_what_was_not_for_a_moment() {
        let begin = Instant::now();
        let cache = Cache::new(begin);
        assert_eq!(cache.get("a", begin), Known::Unsure);
        put(&cache, "a", begin);
        cache.put("b", None, begin);
        assert_eq!(revoked(cache.get("a", begin)), None);
        assert_eq!(cache.get("b", begin), Known::Nobody);
        assert_eq!(
            cache.get("b", begin + ABSENT_FOR),
            Known::Unsure,
            "it may be there now"
        );
        assert_eq!(
            cache.get("a", begin + SURE_FOR),
            Known::Unsure,
            "nobody could look for a minute"
        );
        let half = begin + SURE_FOR / 2;
        cache.renew(Some(vec![issued("a", Some(7)), issued("c", None)]), half);
        assert_eq!(revoked(cache.get("a", begin + SURE_FOR)), Some(7));
        assert_eq!(cache.get("c", half), Known::Unsure, "it is not in use");
        cache.renew(None, half);
        assert_eq!(cache.get("a", half), Known::Unsure, "more changed than was seen");
    }

    #[test]
    fn after_a_time_without_looking_and_after_a_long_time_anyhow_everything_is_asked_for_anew() {
        let begin = Instant::now();
        let cache = Cache::new(begin);
        put(&cache, "a", begin);
        let mut now = begin + SURE_FOR;
        cache.renew(Some(Vec::new()), now);
        assert_eq!(
            cache.get("a", now),
            Known::Unsure,
            "what changed meanwhile nobody saw"
        );
        put(&cache, "b", now);
        let late = now + ENTRY_AGE_MAX;
        while now < late {
            assert_eq!(revoked(cache.get("b", now)), None);
            now += SURE_FOR / 2;
            cache.renew(Some(Vec::new()), now);
        }
        assert_eq!(cache.get("b", now), Known::Unsure);
    }

    #[test]
    fn a_use_is_noted_once() {
        let cache = Cache::new(Instant::now());
        cache.used(&"a".into());
        cache.used(&"a".into());
        assert_eq!(cache.take_used(), ["a"]);
        assert!(cache.take_used().is_empty());
    }

    #[test]
    fn it_is_bounded_and_what_is_used_stays() {
        let begin = Instant::now();
        let cache = Cache::new(begin);
        put(&cache, "used", begin);
        for nth in 0..3 * KEYS_MAX {
            put(&cache, &format!("a{nth}"), begin);
            cache.put(&format!("b{nth}"), None, begin);
            if nth % 1_000 == 0 {
                assert_eq!(revoked(cache.get("used", begin)), None, "{nth}");
            }
        }
        assert_eq!(cache.get("a0", begin), Known::Unsure, "it is not used");
        let entries = cache.entries();
        assert!(entries.there.young.len() + entries.there.old.len() <= 2 * KEYS_MAX);
        assert!(entries.absent.young.len() + entries.absent.old.len() <= 2 * ABSENT_MAX);
    }
}
