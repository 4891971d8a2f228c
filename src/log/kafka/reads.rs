//! Reading: finds the fetcher that holds what a reader wants, or has one fetch it.
//!
//! Readers of one partition who are close share a window; one that is far behind, as a new owner that restores, gets a fetcher of its own, up to
//! [`LANES_MAX`] for a topic. A read is never older than what this process was told: below an end that it asked for, or an append that it made, it waits
//! for the records, or for proof that there are none.

use super::arrivals::Arrivals;
use super::clerk::Clerk;
use super::client::Troubles;
use super::failure::Failure;
use super::fetcher::{Fetcher, Look};
use super::url::KafkaConfig;
use crate::log::{LogError, Offset, Record, topic};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Fetchers of one topic: for a notary, an archiver behind it, an owner that restores, and a writer of dead letters that goes on from an old one.
const LANES_MAX: usize = 4;
/// Read records that are kept of each partition of `ledger.entries`: the notary reads them first, the archiver next. By the first fetcher
/// alone: who needs another one is far behind, and is its only reader.
const ENTRIES_KEPT_BYTES: usize = 2 << 20;
/// Of `ledger.checkpoints`: the archiver reads the one of a cut again when the cut is stored.
const CHECKPOINTS_KEPT_BYTES: usize = 1 << 18;
/// How long a read waits for records that must be there.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// How long one waits for records that are probably on their way, before it asks whether there are any.
const ARRIVAL_PATIENCE: Duration = Duration::from_millis(300);

pub(super) struct Reads {
    config: Arc<KafkaConfig>,
    troubles: Arc<Troubles>,
    arrivals: Arc<Arrivals>,
    lanes: Mutex<HashMap<&'static str, Vec<Arc<Fetcher>>>>,
    /// Up to where a partition is known to have been written.
    known_ends: Mutex<HashMap<(&'static str, u32), Offset>>,
}

/// Where to read, and how much at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub topic: &'static str,
    pub partition: u32,
    pub from: Offset,
    pub records_max: usize,
    pub bytes_max: usize,
}

impl Reads {
    pub fn new(config: Arc<KafkaConfig>, troubles: Arc<Troubles>, arrivals: Arc<Arrivals>) -> Self {
        Self {
            config,
            troubles,
            arrivals,
            lanes: Mutex::default(),
            known_ends: Mutex::default(),
        }
    }

    /// This process was told that the partition reaches to `end`.
    pub fn know_end(&self, topic: &'static str, partition: u32, end: Offset) {
        let mut ends = self.ends();
        let known = ends.entry((topic, partition)).or_default();
        *known = end.max(*known);
    }

    /// As [`Self::know_end`], also where the partition was known to reach further.
    pub fn set_end(&self, topic: &'static str, partition: u32, end: Offset) {
        self.ends().insert((topic, partition), end);
    }

    pub async fn read(&self, clerk: &Clerk, wanted: Wanted) -> Result<Vec<Record>, LogError> {
        let Wanted {
            topic,
            partition,
            from,
            ..
        } = wanted;
        let known = self.ends().get(&(topic, partition)).copied();
        let known_end = match known {
            Some(end) => end,
            None => {
                let end = clerk.bounds(topic, partition).await?.end;
                self.know_end(topic, partition, end);
                end
            }
        };
        let deadline = Instant::now() + READ_PATIENCE;
        let mut asked_at = Instant::now() + ARRIVAL_PATIENCE;
        loop {
            let Some((fetcher, look)) = self.look(wanted, known_end) else {
                if !self.place(clerk, wanted).await? {
                    return Ok(Vec::new());
                }
                continue;
            };
            let mut changes = match look {
                Look::Records(records) => return Ok(records),
                Look::AtEnd => return Ok(Vec::new()),
                Look::NotHere => continue,
                Look::Wait(changes) => changes,
            };
            // The sender goes when the partition is placed anew: looked at again then.
            let told = timeout_at(asked_at.min(deadline), changes.changed()).await;
            if told.is_err() && Instant::now() >= deadline {
                let doing = format!(
                    "reading {}/{partition} from offset {from}",
                    self.config.topic(topic)
                );
                return Err(self.failure().no_answer(&doing));
            }
            if told.is_err() {
                fetcher.prove_end(partition, known_end);
                asked_at = deadline;
            }
        }
    }

    /// The first fetcher that covers the place, and what it gives.
    fn look(&self, wanted: Wanted, known_end: Offset) -> Option<(Arc<Fetcher>, Look)> {
        let Wanted {
            topic,
            partition,
            from,
            records_max,
            bytes_max,
        } = wanted;
        let lanes: Vec<Arc<Fetcher>> = self.lanes().get(topic).cloned().unwrap_or_default();
        lanes.into_iter().find_map(|fetcher| {
            match fetcher.look(partition, from, known_end, records_max, bytes_max) {
                Look::NotHere => None,
                look @ (Look::Records(_) | Look::AtEnd | Look::Wait(_)) => Some((fetcher, look)),
            }
        })
    }

    /// Has the place fetched. `false`: it lies beyond the end, there is nothing.
    async fn place(&self, clerk: &Clerk, wanted: Wanted) -> Result<bool, LogError> {
        let Wanted {
            topic,
            partition,
            from,
            ..
        } = wanted;
        let bounds = clerk.bounds(topic, partition).await?;
        if from > bounds.end {
            return Ok(false);
        }
        self.lane(topic, partition)?
            .place(partition, from, from.max(bounds.start));
        Ok(true)
    }

    /// A fetcher that is free for this partition, a new one, or the one whose reader has been away longest.
    fn lane(&self, topic: &'static str, partition: u32) -> Result<Arc<Fetcher>, LogError> {
        let mut all = self.lanes();
        let lanes = all.entry(topic).or_default();
        if let Some(free) = lanes.iter().find(|lane| lane.read_at(partition).is_none()) {
            return Ok(Arc::clone(free));
        }
        if lanes.len() < LANES_MAX {
            let kept_bytes_max = match topic {
                topic::LEDGER_ENTRIES if lanes.is_empty() => ENTRIES_KEPT_BYTES,
                topic::LEDGER_CHECKPOINTS => CHECKPOINTS_KEPT_BYTES,
                _ => 0,
            };
            let fetcher = Arc::new(Fetcher::start(
                topic,
                Arc::clone(&self.config),
                Arc::clone(&self.troubles),
                Arc::clone(&self.arrivals),
                kept_bytes_max,
            )?);
            lanes.push(Arc::clone(&fetcher));
            return Ok(fetcher);
        }
        let oldest = lanes.iter().min_by_key(|lane| lane.read_at(partition));
        oldest.cloned().ok_or_else(|| LogError::Fatal {
            what: format!("no fetcher of {topic}"),
            source: None,
        })
    }

    fn failure(&self) -> Failure<'_> {
        Failure {
            config: &self.config,
            troubles: &self.troubles,
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<&'static str, Vec<Arc<Fetcher>>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<(&'static str, u32), Offset>> {
        self.known_ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
