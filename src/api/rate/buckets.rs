//! The buckets that are not full. They are bounded in number: memory does not grow with who ever came.

use super::{Bucket, Class, Rate, Verdict};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Looking for full ones takes a while where there are many: not at every request.
const SWEEP_PAUSE_NS: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Buckets {
    held: Mutex<Held>,
    max: usize,
}

#[derive(Debug, Default)]
struct Held {
    by_name: HashMap<(Arc<str>, Class), Bucket>,
    sweep_at_ns: u64,
}

impl Buckets {
    pub(super) fn new(max: usize) -> Self {
        Self {
            held: Mutex::default(),
            max,
        }
    }

    /// Takes one of the holder's. `None`: there is no room for another bucket.
    pub(super) fn take(&self, holder: &Arc<str>, class: Class, rate: Rate, now_ns: u64) -> Option<Verdict> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (Arc::clone(holder), class);
        if let Some(bucket) = held.by_name.get_mut(&name) {
            let (next, verdict) = bucket.take(rate, now_ns);
            *bucket = next;
            return Some(verdict);
        }
        if held.by_name.len() >= self.max && !held.sweep(now_ns, self.max) {
            return None;
        }
        let (bucket, verdict) = Bucket::default().take(rate, now_ns);
        held.by_name.insert(name, bucket);
        Some(verdict)
    }
}

impl Held {
    /// Forgets full ones; whether there is room then.
    fn sweep(&mut self, now_ns: u64, max: usize) -> bool {
        if now_ns < self.sweep_at_ns {
            return false;
        }
        self.sweep_at_ns = now_ns.saturating_add(SWEEP_PAUSE_NS);
        self.by_name.retain(|_, bucket| !bucket.is_full(now_ns));
        self.by_name.len() < max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn full_buckets_are_forgotten_and_no_other_is() {
        let buckets = Buckets::new(2);
        let rate = Rate::new(1, 1).unwrap();
        let take = |holder: &str, now_ns| buckets.take(&holder.into(), Class::Default, rate, now_ns);
        let is_taken = |verdict| matches!(verdict, Some(Verdict::Taken { .. }));
        let is_empty = |verdict| matches!(verdict, Some(Verdict::Empty { .. }));
        assert!(is_taken(take("a", SECOND_NS)));
        assert!(is_taken(take("b", SECOND_NS + SECOND_NS / 2)));
        assert_eq!(take("c", SECOND_NS + 1), None, "neither is full");
        assert_eq!(take("c", 2 * SECOND_NS), None, "it was looked a moment ago");
        assert!(is_taken(take("c", 2 * SECOND_NS + 1)), "a is full");
        assert!(
            is_empty(take("b", 2 * SECOND_NS + 1)),
            "b is not, and was not forgotten"
        );
        assert_eq!(buckets.held.lock().unwrap().by_name.len(), 2);
    }
}
