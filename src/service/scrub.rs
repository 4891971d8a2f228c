//! The scrub of one partition, beside its stages: begins a pass when one is due, and says what it found. It stops nothing: an archive that is not as it must be is
//! for a person, and what is sealed meanwhile must be archived all the same.
//!
//! Its place is a committed position of the log, as the archiver's is: it goes with the partition to whoever owns it next.

use crate::clock::Clock;
use crate::config::ScrubConfig;
use crate::config::archive::ArchiveConfig;
use crate::log::{Committed, Log, LogError, topic};
use crate::pause::jittered;
use crate::scrub::command::command;
use crate::scrub::{
    Demands, Finding, Kind, Pass, Position, Running, Scope, ScrubError, Store, Tries, VERSIONS_AT_ONCE,
};
use crate::vault::s3::S3Versions;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Beside the archiver's, on the topic whose checkpoints it holds the archive against; the offset says nothing.
pub const GROUP: &str = "ledgerline-scrub";
/// What a log takes beside a position.
const METADATA_BYTES_MAX: usize = 4_096;
/// More findings of a kind than these are counted in a pass and not logged.
const TOLD_MAX: u64 = 100;
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_mins(5);
/// How soon a wait looks at the clock again.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// What is the same for every partition of a process.
#[derive(Clone)]
pub(super) struct Scrubbing {
    pub config: ScrubConfig,
    pub archive: ArchiveConfig,
    pub log_name: String,
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    /// One pass at a time in a process: a verification takes memory and calls.
    pub turn: Arc<Semaphore>,
}

/// Of one partition.
pub(super) struct Scrubber {
    pub scrubbing: Scrubbing,
    pub partition: u32,
}

impl Scrubber {
    /// Until told to stop, or the stages have ended.
    pub async fn run(self, mut stop: watch::Receiver<bool>, mut stages_ended: watch::Receiver<bool>) {
        tokio::select! {
            never = self.go_on() => match never {},
            // An error: what told is gone, and with it the reason to go on.
            stopped = stop.wait_for(|stop| *stop) => drop(stopped),
            ended = stages_ended.wait_for(|ended| *ended) => drop(ended),
        }
    }

    /// Dropped at any step, it has committed all but that.
    async fn go_on(&self) -> Infallible {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            match self.passes(&mut pause).await {
                Ok(never) => match never {},
                Err(ScrubError::Retry { what, .. }) => {
                    tracing::warn!(partition = self.partition, what, "scrubbing again");
                }
                // It may have been mended by then.
                Err(ScrubError::Fatal { what, .. }) => {
                    tracing::error!(
                        partition = self.partition,
                        what,
                        "cannot scrub: a person must look"
                    );
                    pause = RETRY_PAUSE_MAX;
                }
            }
            metrics::counter!("ledgerline_scrub_retries_total").increment(1);
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Pass after pass, until something fails.
    async fn passes(&self, pause: &mut Duration) -> Result<Infallible, ScrubError> {
        let mut position = self.position().await?;
        self.observe(&position);
        let interval = i64::try_from(self.scrubbing.config.interval.as_micros()).unwrap_or(i64::MAX);
        loop {
            self.wait_until(position.due(interval)).await;
            let Ok(_turn) = self.scrubbing.turn.acquire().await else {
                return Err(ScrubError::Fatal {
                    what: "the process is ending".to_owned(),
                    source: None,
                });
            };
            self.one(&mut position, pause).await?;
        }
    }

    /// A pass to its end, from wherever it was.
    async fn one(&self, position: &mut Position, pause: &mut Duration) -> Result<(), ScrubError> {
        // Anew each time: what the last one had listed is old.
        let mut pass = self.pass().await?;
        loop {
            let now = self.scrubbing.clock.now();
            let running = position.running.get_or_insert_with(|| Running::begin(now));
            let before = (running.counts.objects, running.counts.bytes);
            let found = running.counts.findings.clone();
            let stepped = pass.step(running, tries(*pause)).await?;
            *pause = RETRY_PAUSE_MIN;
            count(running, before);
            self.tell(found, &stepped.findings);
            if stepped.is_done {
                self.tell_of_more(running);
                tracing::info!(
                    partition = self.partition,
                    objects = running.counts.objects,
                    bytes = running.counts.bytes,
                    findings = running.counts.findings.values().sum::<u64>(),
                    "scrubbed the archive"
                );
                position.complete(self.scrubbing.clock.now());
            }
            self.observe(position);
            self.commit(position).await?;
            if stepped.is_done {
                return Ok(());
            }
        }
    }

    async fn pass(&self) -> Result<Pass, ScrubError> {
        let Scrubbing {
            config,
            archive,
            log_name,
            log,
            clock,
            turn: _,
        } = self.scrubbing.clone();
        let (store, retention) = match archive {
            ArchiveConfig::Directory(path) => (Store::Directory(path), None),
            ArchiveConfig::S3(s3) => (
                Store::S3(S3Versions::open(s3.access.clone(), None).await),
                Some(s3.retention),
            ),
        };
        let scope = Scope::Partition {
            log_name,
            partition: self.partition,
            partitions: log.partitions(topic::LEDGER_ENTRIES).await?,
        };
        let demands = Demands {
            retention,
            log: Some(log),
            // Those that its leaves declare: the notary signed with no others.
            trusted: None,
            calls_per_second: Some(config.calls_per_second),
            at_once: 1,
            versions_at_once: VERSIONS_AT_ONCE,
        };
        Ok(Pass::new(store, scope, demands, clock, Arc::new(|_| {})))
    }

    /// Where an earlier owner, or an earlier run, was. The first pass comes an interval after the partition was first seen.
    async fn position(&self) -> Result<Position, ScrubError> {
        let log = self.scrubbing.log.as_ref();
        let found = committed(log, self.partition).await?;
        if let Some(position) = found {
            return Ok(position);
        }
        let position = Position::new(self.scrubbing.clock.now());
        self.commit(&position).await?;
        Ok(position)
    }

    async fn commit(&self, position: &Position) -> Result<(), ScrubError> {
        let metadata = position.write();
        if metadata.len() > METADATA_BYTES_MAX {
            // Behind a key of somebody else's that is written so long: the next place will do.
            return Ok(());
        }
        let position = Committed { offset: 0, metadata };
        self.scrubbing
            .log
            .commit(GROUP, topic::LEDGER_CHECKPOINTS, self.partition, position)
            .await?;
        Ok(())
    }

    /// The clock is looked at again and again: it may be set.
    async fn wait_until(&self, due: i64) {
        loop {
            let left = due.saturating_sub(self.scrubbing.clock.now());
            match u64::try_from(left) {
                Ok(left) if left > 0 => {
                    tokio::time::sleep(Duration::from_micros(left).min(LOOK_AGAIN)).await;
                }
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn tell(&self, found: BTreeMap<Kind, u64>, findings: &[Finding]) {
        for finding in told(found, findings) {
            tracing::error!(
                partition = self.partition,
                kind = finding.kind.code(),
                key = finding.name,
                version = finding.version,
                found = finding.what,
                why = finding.kind.why(),
                mend = finding.kind.mend(),
                command = self.command(finding),
                "the archive is not as it must be"
            );
        }
    }

    fn command(&self, finding: &Finding) -> Option<String> {
        match &self.scrubbing.archive {
            ArchiveConfig::S3(s3) => command(finding, &s3.access),
            ArchiveConfig::Directory(_) => None,
        }
    }

    fn tell_of_more(&self, running: &Running) {
        for (kind, count) in &running.counts.findings {
            if let Some(more) = count.checked_sub(TOLD_MAX).filter(|more| *more > 0) {
                tracing::error!(
                    partition = self.partition,
                    kind = kind.code(),
                    more,
                    mend = kind.mend(),
                    "the archive is not as it must be in more places than are logged: `ledgerline scrub` lists them"
                );
            }
        }
    }

    fn observe(&self, position: &Position) {
        let label = || self.partition.to_string();
        for kind in Kind::ALL {
            metrics::gauge!("ledgerline_scrub_findings", "kind" => kind.code(), "partition" => label())
                .set(position.found(*kind) as f64);
        }
        metrics::gauge!("ledgerline_scrub_completed_timestamp_seconds", "partition" => label())
            .set(position.completed_at() as f64 / 1e6);
        metrics::gauge!("ledgerline_scrub_interval_seconds")
            .set(self.scrubbing.config.interval.as_secs_f64());
    }
}

/// How far the scrub of a partition is; `None` where it never was one.
///
/// # Errors
/// Where the log cannot be read.
pub async fn committed(log: &dyn Log, partition: u32) -> Result<Option<Position>, LogError> {
    let found = log.committed(GROUP, topic::LEDGER_CHECKPOINTS, partition).await?;
    Ok(found.and_then(|found| Position::parse(&found.metadata)))
}

/// A step that has failed for minutes is tried for the last time, again and again.
fn tries(pause: Duration) -> Tries {
    if pause < RETRY_PAUSE_MAX {
        Tries::More
    } else {
        Tries::Last
    }
}

/// Those that a pass may log still, which has found so many of each kind before.
fn told(mut found: BTreeMap<Kind, u64>, findings: &[Finding]) -> Vec<&Finding> {
    let mut may_be = |finding: &&Finding| {
        let count = found.entry(finding.kind).or_default();
        *count += 1;
        *count <= TOLD_MAX
    };
    findings.iter().filter(|finding| may_be(finding)).collect()
}

fn count(running: &Running, before: (u64, u64)) {
    metrics::counter!("ledgerline_scrubbed_objects_total")
        .increment(running.counts.objects.saturating_sub(before.0));
    metrics::counter!("ledgerline_scrubbed_bytes_total")
        .increment(running.counts.bytes.saturating_sub(before.1));
}

/// What gauges said of a partition that another instance has now.
pub(super) fn forget(partition: u32) {
    let label = || partition.to_string();
    for kind in Kind::ALL {
        metrics::gauge!("ledgerline_scrub_findings", "kind" => kind.code(), "partition" => label())
            .set(f64::NAN);
    }
    metrics::gauge!("ledgerline_scrub_completed_timestamp_seconds", "partition" => label()).set(f64::NAN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_kind_a_pass_logs_a_hundred_and_no_more_whatever_steps_it_takes() {
        let finding = |kind| Finding {
            kind,
            name: String::new(),
            version: None,
            what: String::new(),
            relock: None,
        };
        let mut findings: Vec<_> = (0..150).map(|_| finding(Kind::NotLocked)).collect();
        findings.push(finding(Kind::Missing));
        let logged = |before: u64| told(BTreeMap::from([(Kind::NotLocked, before)]), &findings).len();
        assert_eq!([0, 99, 100, 500].map(logged), [101, 2, 1, 1]);
    }
}
