//! Which partitions a process works on, as that changes. A lease is a matter of progress, never of safety: two processes that both
//! believe to hold a partition fence each other, and the log decides.

use super::LogError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// More than any topic has partitions.
const GRANTED_AT_ONCE: usize = 1 << 20;

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Held,
    /// The partition goes to somebody else once this lease is dropped: finish the step under way.
    Ending,
    /// It may be somebody else's already: drop what is under way.
    Lost,
}

/// A partition, of every topic the one of this number, to work on until told otherwise. Its clones are one lease, which ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct Lease {
    held: Arc<Held>,
    hold: watch::Receiver<Hold>,
}

#[derive(Debug)]
struct Held {
    partition: u32,
    id: u64,
    board: Arc<Board>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.board.entries().remove(&self.id);
        self.board.dropped.notify_all();
    }
}

impl Lease {
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.held.partition
    }

    #[must_use]
    pub fn hold(&self) -> Hold {
        *self.hold.borrow()
    }

    /// Waits until the lease is no longer held.
    pub async fn ending(&mut self) -> Hold {
        self.until(|hold| hold != Hold::Held).await
    }

    /// Waits until the lease is lost.
    pub async fn lost(&mut self) {
        self.until(|hold| hold == Hold::Lost).await;
    }

    async fn until(&mut self, wanted: impl Fn(Hold) -> bool) -> Hold {
        let found = self.hold.wait_for(|hold| wanted(*hold)).await.map(|hold| *hold);
        match found {
            Ok(hold) => hold,
            // Nobody is left who could end it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The leases of one process, as they are granted. Dropped, or better [left](Self::leave), the process takes part no more.
pub struct Assignments {
    granted: mpsc::UnboundedReceiver<Result<Lease, LogError>>,
    settled: watch::Receiver<bool>,
    membership: Option<Box<dyn Membership>>,
}

/// Being a member of the group that shares the partitions out.
pub trait Membership: Send {
    /// Leaves, so that others take over at once. Blocks, for a bounded time.
    fn leave(self: Box<Self>);
}

impl Assignments {
    /// All partitions, for ever: what a log of one machine gives.
    #[must_use]
    pub fn everything(partitions: u32) -> Self {
        let (grants, mut assignments) = Grants::new();
        for partition in 0..partitions {
            grants.grant(partition);
        }
        grants.settle();
        assignments.membership = Some(Box::new(Everything { _grants: grants }));
        assignments
    }

    #[must_use]
    pub fn with_membership(mut self, membership: Box<dyn Membership>) -> Self {
        self.membership = Some(membership);
        self
    }

    /// The next partitions to work on, all that are granted by now. Waits for ever where no more come.
    ///
    /// # Errors
    /// Where this process can be given none any more.
    pub async fn next(&mut self) -> Result<Vec<Lease>, LogError> {
        let mut granted = Vec::new();
        if self.granted.recv_many(&mut granted, GRANTED_AT_ONCE).await == 0 {
            return std::future::pending().await;
        }
        granted.into_iter().collect()
    }

    /// True once it is known which partitions are this process's, be it none.
    #[must_use]
    pub fn settled(&self) -> watch::Receiver<bool> {
        self.settled.clone()
    }

    /// Whether every partition that was granted by now was taken by [`Self::next`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.granted.is_empty()
    }

    /// Leaves the group. The leases MUST have been dropped.
    pub fn leave(self) {
        let Self {
            granted, membership, ..
        } = self;
        // Leases that nobody took end here.
        drop(granted);
        if let Some(membership) = membership {
            membership.leave();
        }
    }
}

struct Everything {
    _grants: Grants,
}

impl Membership for Everything {
    fn leave(self: Box<Self>) {}
}

/// The side that grants and ends leases.
#[derive(Debug)]
pub struct Grants {
    board: Arc<Board>,
    granted: mpsc::UnboundedSender<Result<Lease, LogError>>,
    settled: watch::Sender<bool>,
    next_id: AtomicU64,
}

/// Leases that have not been dropped.
#[derive(Debug, Default)]
struct Board {
    entries: Mutex<BTreeMap<u64, Entry>>,
    dropped: Condvar,
}

#[derive(Debug)]
struct Entry {
    partition: u32,
    hold: watch::Sender<Hold>,
}

impl Board {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grants {
    #[must_use]
    pub fn new() -> (Self, Assignments) {
        let (granted, receiver) = mpsc::unbounded_channel();
        let (settled, settled_receiver) = watch::channel(false);
        let grants = Self {
            board: Arc::default(),
            granted,
            settled,
            next_id: AtomicU64::new(0),
        };
        let assignments = Assignments {
            granted: receiver,
            settled: settled_receiver,
            membership: None,
        };
        (grants, assignments)
    }

    pub fn grant(&self, partition: u32) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (hold, receiver) = watch::channel(Hold::Held);
        self.board.entries().insert(id, Entry { partition, hold });
        let lease = Lease {
            held: Arc::new(Held {
                partition,
                id,
                board: Arc::clone(&self.board),
            }),
            hold: receiver,
        };
        // Nobody listens any more: the lease is dropped here, and so ends.
        drop(self.granted.send(Ok(lease)));
    }

    /// No more partitions come, and those that were granted are lost.
    pub fn fail(&self, error: LogError) {
        for entry in self.board.entries().values() {
            entry.hold.send_replace(Hold::Lost);
        }
        drop(self.granted.send(Err(error)));
    }

    /// It is known now which partitions are this process's.
    pub fn settle(&self) {
        self.settled.send_replace(true);
    }

    /// Asks for these partitions back and blocks until their leases are dropped. After `patience` what is left is lost.
    /// Answers how many were.
    pub fn end(&self, partitions: &[u32], patience: Duration) -> usize {
        self.mark(partitions, Hold::Ending);
        let deadline = Instant::now() + patience;
        let mut entries = self.board.entries();
        loop {
            let left = entries
                .values()
                .filter(|entry| partitions.contains(&entry.partition) && *entry.hold.borrow() == Hold::Ending)
                .count();
            let wait = deadline.saturating_duration_since(Instant::now());
            if left == 0 || wait.is_zero() {
                drop(entries);
                self.mark(partitions, Hold::Lost);
                return left;
            }
            let waited = self.board.dropped.wait_timeout(entries, wait);
            entries = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// These partitions may be somebody else's already.
    pub fn lose(&self, partitions: &[u32]) {
        self.mark(partitions, Hold::Lost);
    }

    fn mark(&self, partitions: &[u32], hold: Hold) {
        for entry in self.board.entries().values() {
            if partitions.contains(&entry.partition) {
                entry.hold.send_replace(hold);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    async fn one(assignments: &mut Assignments) -> Lease {
        let mut leases = assignments.next().await.unwrap();
        assert_eq!(leases.len(), 1);
        leases.remove(0)
    }

    #[tokio::test]
    async fn every_partition_is_granted_once_and_held() {
        let mut assignments = Assignments::everything(3);
        let leases = assignments.next().await.unwrap();
        let partitions: Vec<u32> = leases.iter().map(Lease::partition).collect();
        assert_eq!(partitions, [0, 1, 2]);
        assert!(leases.iter().all(|lease| lease.hold() == Hold::Held));
        assert!(*assignments.settled().borrow());
    }

    #[tokio::test]
    async fn a_lease_that_is_asked_for_ends_when_its_last_clone_is_dropped() {
        let (grants, mut assignments) = Grants::new();
        grants.grant(7);
        let mut lease = one(&mut assignments).await;
        let clone = lease.clone();
        grants.grant(8);
        let other = one(&mut assignments).await;
        let asked = std::thread::spawn(move || (grants.end(&[7], PATIENCE), grants));
        assert_eq!(lease.ending().await, Hold::Ending);
        drop(lease);
        assert!(!asked.is_finished(), "a clone is left");
        assert_eq!(clone.hold(), Hold::Ending);
        drop(clone);
        let (left, _grants) = asked.join().unwrap();
        assert_eq!((left, other.hold()), (0, Hold::Held));
    }

    #[tokio::test]
    async fn after_the_deadline_a_lease_is_lost() {
        let (grants, mut assignments) = Grants::new();
        grants.grant(7);
        let mut lease = one(&mut assignments).await;
        assert_eq!(grants.end(&[7], Duration::ZERO), 1);
        lease.lost().await;
        // Granted again, it is another lease.
        grants.grant(7);
        assert_eq!(one(&mut assignments).await.hold(), Hold::Held);
        assert_eq!(lease.hold(), Hold::Lost);
    }

    #[tokio::test]
    async fn a_membership_that_failed_loses_what_it_held_and_says_why() {
        let (grants, mut assignments) = Grants::new();
        grants.grant(7);
        let mut lease = one(&mut assignments).await;
        grants.fail(LogError::Fatal {
            what: "two of one name".to_owned(),
            source: None,
        });
        lease.lost().await;
        let failure = assignments.next().await.unwrap_err();
        assert_eq!(failure.to_string(), "two of one name");
    }
}
