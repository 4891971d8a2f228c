//! How the work is doing, for readiness and for progress.

use crate::config::StageName;
use crate::ledger::key::PublicKey;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a stage of a partition is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    Starting,
    Working,
    Retrying(String),
    Stopped(String),
    Finished,
}

/// What the tasks report.
#[derive(Debug, Default)]
pub struct Status {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_task: BTreeMap<(StageName, u32), (Doing, u64)>,
    /// What the process as a whole waits for, before it has any task.
    waits_for: Option<String>,
    /// Why the log cannot be reached.
    out_of_reach: Option<String>,
    /// Every key that a leaf was seen to declare, in that order.
    declared_keys: Vec<PublicKey>,
}

impl Status {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, stage: StageName, partition: u32, doing: Doing, index: u64) {
        self.known().by_task.insert((stage, partition), (doing, index));
    }

    /// The partition is somebody else's now.
    pub(super) fn remove(&self, partition: u32) {
        self.known().by_task.retain(|(_, of), _| *of != partition);
    }

    pub(super) fn wait_for(&self, what: Option<String>) {
        self.known().waits_for = what;
    }

    pub(super) fn cannot_reach(&self, why: Option<String>) {
        self.known().out_of_reach = why;
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.known().waits_for.is_some()
    }

    pub(super) fn note_declared(&self, keys: &[PublicKey]) {
        let mut known = self.known();
        for key in keys {
            if !known.declared_keys.iter().any(|other| other.is_same_key(key)) {
                known.declared_keys.push(key.clone());
            }
        }
    }

    /// The keys that the ledger's leaves declare, as far as this process has seen: what it ever signed by stays here when its private half is
    /// gone.
    #[must_use]
    pub fn declared_keys(&self) -> Vec<PublicKey> {
        self.known().declared_keys.clone()
    }

    /// Why the process is not ready; empty where it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let known = self.known();
        let describe = |((stage, partition), (doing, _)): (&(StageName, u32), &(Doing, u64))| {
            let reason = match doing {
                Doing::Working | Doing::Finished => return None,
                Doing::Starting => "starting",
                Doing::Retrying(reason) | Doing::Stopped(reason) => reason,
            };
            Some(format!("{} of partition {partition}: {reason}", stage.as_str()))
        };
        let tasks = known.by_task.iter().filter_map(describe);
        let whole = known.waits_for.iter().chain(&known.out_of_reach).cloned();
        whole.chain(tasks).collect()
    }

    /// Sum over partitions of the index that a stage has reached.
    #[must_use]
    pub fn reached(&self, stage: StageName) -> u64 {
        self.known()
            .by_task
            .iter()
            .filter(|((of, _), _)| *of == stage)
            .map(|(_, (_, index))| index)
            .sum()
    }
}
