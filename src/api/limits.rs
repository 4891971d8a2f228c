//! What may be under way at once: a whole, and of it a share that one tenant has at most.

use crate::store::STATEMENT_MAX;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A body in the making has up to twice its size, its events once more, and what they weigh beside their bytes.
pub const MEMORY_PER_BODY_BYTE: u64 = 4;
/// What the smallest request takes.
pub const MEMORY_PER_REQUEST: u64 = 16 << 10;

/// Bounds of the API, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiLimits {
    pub body_bytes_max: usize,
    pub batch_events_max: usize,
    /// Memory for bodies and what is made of them, of all requests.
    pub memory_bytes_max: u64,
    pub requests_max: u64,
    /// From a request's head to its answer, without the time that it asks to wait.
    pub request_timeout: Duration,
}

impl ApiLimits {
    /// Connections that are open at once; more wait to be accepted. Many are idle between requests.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        usize::try_from(self.requests_max.saturating_mul(4)).unwrap_or(usize::MAX)
    }

    /// No statement of a reader takes longer, and nobody waits longer for his turn at the database: both together are less than a request's time.
    #[must_use]
    pub fn statement_max(&self) -> Duration {
        (self.request_timeout / 3).min(STATEMENT_MAX)
    }

    /// Memory of exports, beside that of all else.
    #[must_use]
    pub const fn exports_bytes_max(&self) -> u64 {
        self.memory_bytes_max / 4
    }

    /// The body comes within this, so that time is left for what is done with it.
    #[must_use]
    pub fn body_timeout(&self) -> Duration {
        self.request_timeout / 2
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All that there is is taken.
    Whole,
    /// The holder has its share.
    Share,
}

/// Something of which there is a fixed amount: places, or bytes.
#[derive(Debug, Clone)]
pub struct Quota(Arc<Inner>);

struct Inner {
    whole: u64,
    share: u64,
    taken: Mutex<Taken>,
    gauge: metrics::Gauge,
}

#[derive(Default)]
struct Taken {
    sum: u64,
    /// Those that hold something, no others: it does not grow with who ever came.
    by_holder: HashMap<Arc<str>, u64>,
}

impl Quota {
    /// `gauge` shows how much is taken.
    #[must_use]
    pub fn new(whole: u64, share: u64, gauge: metrics::Gauge) -> Self {
        gauge.set(0.0);
        Self(Arc::new(Inner {
            whole,
            share,
            taken: Mutex::default(),
            gauge,
        }))
    }

    /// # Errors
    /// Where there is no room for `amount`; nothing is taken then.
    pub fn take(&self, holder: &Arc<str>, amount: u64) -> Result<Held, Full> {
        let mut held = Held {
            quota: Arc::clone(&self.0),
            holder: Arc::clone(holder),
            amount: 0,
        };
        held.grow(amount)?;
        Ok(held)
    }

    /// Counts what is there already, also where there is no room for it: whoever comes then finds less.
    #[must_use]
    pub fn count(&self, holder: &Arc<str>, amount: u64) -> Held {
        let mut held = Held {
            quota: Arc::clone(&self.0),
            holder: Arc::clone(holder),
            amount: 0,
        };
        held.add(amount, &mut self.0.taken());
        held
    }

    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.taken().sum
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quota")
            .field("whole", &self.whole)
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

/// A part that is taken, until it is dropped.
#[derive(Debug)]
pub struct Held {
    quota: Arc<Inner>,
    holder: Arc<str>,
    amount: u64,
}

impl Held {
    /// Takes `more`.
    ///
    /// # Errors
    /// Where there is no room for it; what was held stays held.
    pub fn grow(&mut self, more: u64) -> Result<(), Full> {
        let quota = Arc::clone(&self.quota);
        let mut taken = quota.taken();
        let own = taken.by_holder.get(&self.holder).copied().unwrap_or(0);
        if taken.sum.saturating_add(more) > self.quota.whole {
            return Err(Full::Whole);
        }
        if own.saturating_add(more) > self.quota.share {
            return Err(Full::Share);
        }
        self.add(more, &mut taken);
        Ok(())
    }

    fn add(&mut self, more: u64, taken: &mut Taken) {
        taken.sum += more;
        *taken.by_holder.entry(Arc::clone(&self.holder)).or_default() += more;
        self.amount += more;
        self.quota.gauge.set(taken.sum as f64);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.quota.taken();
        taken.sum -= self.amount;
        if let Some(own) = taken.by_holder.get_mut(&self.holder) {
            *own -= self.amount;
            if *own == 0 {
                taken.by_holder.remove(&self.holder);
            }
        }
        self.quota.gauge.set(taken.sum as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_a_share_and_all_together_no_more_than_there_is() {
        let quota = Quota::new(10, 6, metrics::Gauge::noop());
        let (acme, globex): (Arc<str>, Arc<str>) = ("acme".into(), "globex".into());
        let mut first = quota.take(&acme, 4).unwrap();
        assert_eq!(quota.take(&acme, 3).unwrap_err(), Full::Share);
        assert_eq!(first.grow(3), Err(Full::Share));
        first.grow(2).unwrap();
        assert_eq!(quota.take(&globex, 5).unwrap_err(), Full::Whole);
        let second = quota.take(&globex, 4).unwrap();
        assert_eq!(quota.taken(), 10);
        let beyond = quota.count(&acme, 7);
        assert_eq!(
            (quota.taken(), quota.take(&globex, 1).unwrap_err()),
            (17, Full::Whole)
        );
        drop(beyond);
        drop(first);
        drop(second);
        assert_eq!(quota.taken(), 0);
        assert!(quota.0.taken().by_holder.is_empty());
    }
}
