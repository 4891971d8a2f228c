//! Signatures that were taken: none is taken twice. Bounded, for each key and over all, and a key that has used up its share keeps out nobody else.
//!
//! It is this process's. Behind several instances a request that somebody caught can be made once more at each of the others.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of a signature, what it is known by.
pub(super) type Mark = [u8; 16];

/// Of a generation.
const MARKS_MAX: usize = 524_288;
/// Of a key in a generation.
const KEY_MARKS_MAX: usize = 65_536;
/// A signature is right from five minutes before its time to five minutes after it. Two generations are remembered, so that each is for at least that long.
const GENERATION: Duration = Duration::from_mins(10);

/// What became of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    New,
    Again,
    /// The key has used up its share.
    KeyFull,
    /// There is no room for any key's.
    Full,
}

#[derive(Debug)]
pub(super) struct Replays(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    young: Generation,
    old: Generation,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Generation {
    by_key: HashMap<Arc<str>, HashSet<Mark>>,
    marks: usize,
}

impl Generation {
    fn has(&self, key: &str, mark: &Mark) -> bool {
        self.by_key.get(key).is_some_and(|marks| marks.contains(mark))
    }

    fn put(&mut self, key: &Arc<str>, mark: Mark) -> Taken {
        if self.marks >= MARKS_MAX {
            return Taken::Full;
        }
        let marks = self.by_key.entry(Arc::clone(key)).or_default();
        if marks.len() >= KEY_MARKS_MAX {
            return Taken::KeyFull;
        }
        marks.insert(mark);
        self.marks += 1;
        Taken::New
    }
}

impl Replays {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Seen {
            young: Generation::default(),
            old: Generation::default(),
            begun: now,
        }))
    }

    pub(super) fn take(&self, key: &Arc<str>, mark: Mark, now: Instant) -> Taken {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(seen.begun) >= GENERATION {
            seen.old = std::mem::take(&mut seen.young);
            seen.begun = now;
        }
        if seen.young.has(key, &mark) || seen.old.has(key, &mark) {
            return Taken::Again;
        }
        seen.young.put(key, mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: usize) -> Mark {
        (number as u128).to_be_bytes()
    }

    #[test]
    fn a_signature_is_taken_once_for_as_long_as_it_is_right() {
        let begin = Instant::now();
        let replays = Replays::new(begin);
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let late = begin + GENERATION.mul_f64(0.9);
        assert_eq!(replays.take(&a, mark(1), late), Taken::New);
        assert_eq!(replays.take(&a, mark(1), late), Taken::Again);
        assert_eq!(replays.take(&b, mark(1), late), Taken::New, "another key's");
        let next = begin + GENERATION;
        assert_eq!(replays.take(&a, mark(1), next), Taken::Again);
        assert_eq!(
            replays.take(&a, mark(1), late + GENERATION),
            Taken::Again,
            "as long as it is right"
        );
    }

    #[test]
    fn a_key_has_a_share_and_all_together_no_more_than_there_is() {
        let now = Instant::now();
        let replays = Replays::new(now);
        let keys: Vec<Arc<str>> = (0..=MARKS_MAX / KEY_MARKS_MAX)
            .map(|nth| nth.to_string().into())
            .collect();
        let (last, others) = keys.split_last().unwrap();
        for key in others {
            for number in 0..KEY_MARKS_MAX {
                assert_eq!(replays.take(key, mark(number), now), Taken::New);
            }
            if key != others.last().unwrap() {
                assert_eq!(replays.take(key, mark(KEY_MARKS_MAX), now), Taken::KeyFull);
            }
        }
        assert_eq!(replays.take(last, mark(0), now), Taken::Full);
        assert_eq!(
            replays.take(last, mark(0), now + GENERATION),
            Taken::New,
            "later there is room"
        );
    }
}
