//! How the work is doing, for readiness and for progress.

use crate::config::StageName;
use crate::ledger::key::PublicKey;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What goes on is said again after this.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(30);

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
    /// What was lately said of what many tasks wait for, and when.
    told: BTreeMap<String, Instant>,
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
        let whole = known.waits_for.iter().chain(&known.out_of_reach).cloned();
        // What all wait for is said once, with who waits.
        let mut reasons: Vec<(&str, Waiting)> = Vec::new();
        for ((stage, partition), (doing, _)) in &known.by_task {
            let reason = match doing {
                Doing::Working | Doing::Finished => continue,
                Doing::Starting => "starting",
                Doing::Retrying(reason) | Doing::Stopped(reason) => reason,
            };
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, waiting)) => waiting.add(*stage, *partition),
                None => reasons.push((reason, Waiting::of(*stage, *partition))),
            }
        }
        let tasks = reasons
            .iter()
            .map(|(reason, waiting)| format!("{waiting}: {reason}"));
        whole.chain(tasks).collect()
    }

    /// Whether a line of the log is due about what a task waits for: not where another task, or this one, has just said the same.
    pub(super) fn is_to_be_told(&self, reason: &str) -> bool {
        let now = Instant::now();
        let mut known = self.known();
        known
            .told
            .retain(|_, at| now.duration_since(*at) < TOLD_AGAIN_AFTER);
        if known.told.contains_key(reason) {
            return false;
        }
        known.told.insert(reason.to_owned(), now);
        true
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

/// Which partitions of which stages wait.
struct Waiting(BTreeMap<StageName, BTreeSet<u32>>);

impl Waiting {
    fn of(stage: StageName, partition: u32) -> Self {
        Self(BTreeMap::from([(stage, BTreeSet::from([partition]))]))
    }

    fn add(&mut self, stage: StageName, partition: u32) {
        self.0.entry(stage).or_default().insert(partition);
    }
}

impl fmt::Display for Waiting {
    /// `seal of partition 3`, `seal, archive of partitions 0 to 3, 7`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_partitions: Vec<(&BTreeSet<u32>, Vec<&str>)> = Vec::new();
        for (stage, partitions) in &self.0 {
            match by_partitions.iter_mut().find(|(known, _)| *known == partitions) {
                Some((_, stages)) => stages.push(stage.as_str()),
                None => by_partitions.push((partitions, vec![stage.as_str()])),
            }
        }
        let described = by_partitions.iter().map(|(partitions, stages)| {
            let noun = if partitions.len() == 1 {
                "partition"
            } else {
                "partitions"
            };
            format!("{} of {noun} {}", stages.join(", "), ranges(partitions))
        });
        f.write_str(&described.collect::<Vec<_>>().join("; "))
    }
}

/// `0 to 3, 7`
fn ranges(numbers: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers.iter().copied() {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            Some(_) | None => ranges.push((number, number)),
        }
    }
    let described = ranges.into_iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first} to {last}")
        }
    });
    described.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_partitions_wait_for_is_said_once_with_who_waits() {
        let status = Status::default();
        let away = || Doing::Retrying("the store is away".to_owned());
        for partition in [0, 1, 2, 5] {
            status.set(StageName::Seal, partition, away(), 0);
            status.set(StageName::Archive, partition, away(), 0);
        }
        status.set(StageName::Archive, 3, Doing::Stopped("a fork".to_owned()), 0);
        status.set(StageName::Seal, 3, Doing::Working, 0);
        assert_eq!(
            status.not_ready(),
            [
                "seal, archive of partitions 0 to 2, 5: the store is away",
                "archive of partition 3: a fork"
            ]
        );
        status.set(StageName::Archive, 6, away(), 0);
        let reasons = status.not_ready();
        let said = "seal of partitions 0 to 2, 5; archive of partitions 0 to 2, 5 to 6: the store is away";
        assert!(reasons.contains(&said.to_owned()), "{reasons:?}");
    }

    #[test]
    fn the_same_is_told_once_by_however_many() {
        let status = Status::default();
        assert!(status.is_to_be_told("the store is away"));
        assert!(!status.is_to_be_told("the store is away"));
        assert!(status.is_to_be_told("another is away"));
    }
}
