//! One stage of one partition: calls its runner's `step` until told to stop.

use super::status::{Doing, Status};
use crate::config::StageName;
use crate::ledger::key::PublicKey;
use crate::pause::jittered;
use crate::stages::archive::Archiver;
use crate::stages::capture::Capturer;
use crate::stages::dead_letters::LetterWriter;
use crate::stages::index::Indexer;
use crate::stages::notarize::Notary;
use crate::stages::seal::Sealer;
use crate::stages::{StageError, Step};
use crate::vault::s3::NoAnswer;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

const IDLE_PAUSE_MIN: Duration = Duration::from_millis(5);
const IDLE_PAUSE_MAX: Duration = Duration::from_millis(200);
const TOLD_PAUSE_MAX: Duration = Duration::from_secs(1);
pub(super) const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
pub(super) const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
const WAIT_PAUSE_MAX: Duration = Duration::from_secs(10);

pub(super) enum Runner {
    Capture(Box<Capturer>),
    Seal(Box<Sealer>),
    Notarize(Box<Notary>),
    Archive(Box<Archiver>),
    DeadLetters(Box<LetterWriter>),
    Index(Box<Indexer>),
}

impl Runner {
    async fn step(&mut self) -> Result<Step, StageError> {
        match self {
            Self::Capture(capturer) => capturer.step().await,
            Self::Seal(sealer) => sealer.step().await,
            Self::Notarize(notary) => notary.step().await,
            Self::Archive(archiver) => archiver.step().await,
            Self::DeadLetters(writer) => writer.step().await,
            Self::Index(indexer) => indexer.step().await,
        }
    }

    fn declared_keys(&self) -> &[PublicKey] {
        match self {
            Self::Seal(sealer) => sealer.declared_keys(),
            Self::Notarize(notary) => notary.declared_keys(),
            Self::Capture(_) | Self::Archive(_) | Self::DeadLetters(_) | Self::Index(_) => &[],
        }
    }

    /// Why part of the work waits, while the rest of it goes on.
    fn waits_for(&self) -> Option<String> {
        match self {
            Self::Capture(capturer) => capturer.waits_for(),
            Self::Seal(sealer) => sealer.waits_for(),
            Self::Archive(archiver) => archiver.waits_for(),
            Self::Notarize(_) | Self::DeadLetters(_) | Self::Index(_) => None,
        }
    }

    /// Whether part of the input waits for somebody else's answer, for however long.
    fn is_waiting(&self) -> bool {
        match self {
            Self::Capture(capturer) => capturer.is_waiting(),
            Self::Seal(_) | Self::Notarize(_) | Self::Archive(_) | Self::DeadLetters(_) | Self::Index(_) => {
                false
            }
        }
    }

    fn reached(&self) -> u64 {
        match self {
            Self::Capture(capturer) => capturer.captured(),
            Self::Seal(sealer) => sealer.next_index(),
            Self::Notarize(notary) => notary.signed_size(),
            Self::Archive(archiver) => archiver.archived_size(),
            Self::DeadLetters(writer) => writer.reached(),
            Self::Index(indexer) => indexer.reached(),
        }
    }

    /// The last thing before an orderly end. `false`: step again first.
    async fn finish(&mut self) -> Result<bool, StageError> {
        match self {
            Self::Capture(capturer) => capturer.finish().await.map(|()| true),
            Self::Seal(sealer) => sealer.finish().await,
            Self::Notarize(_) | Self::Archive(_) | Self::Index(_) => Ok(true),
            Self::DeadLetters(writer) => writer.finish().await.map(|()| true),
        }
    }
}

/// In how many partitions a stage works and is not stopped.
#[derive(Debug, Clone, Default)]
pub(super) struct Going(Arc<AtomicUsize>);

impl Going {
    /// One more partition, until what this gives is dropped.
    pub fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::AcqRel);
        Counted(Some(self.clone()))
    }
}

/// A stage of a partition that counts as going.
#[derive(Debug)]
pub(super) struct Counted(Option<Going>);

impl Counted {
    /// Counts no more; whether it was the last.
    fn leave(&mut self) -> bool {
        self.0
            .take()
            .is_some_and(|Going(count)| count.fetch_sub(1, Ordering::AcqRel) == 1)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.leave();
    }
}

pub(super) struct Task {
    pub stage: StageName,
    pub partition: u32,
    pub runner: Runner,
    pub status: Arc<Status>,
    /// Rung whenever a stage of this partition has done something: the others look at once.
    pub bell: Arc<Notify>,
    /// Changes when the log has something new for this partition, where the log tells.
    pub arrivals: Option<watch::Receiver<u64>>,
    /// True: end after the step under way.
    pub stop: watch::Receiver<bool>,
    /// Whether what this stage follows has ended.
    pub upstream_ended: watch::Receiver<bool>,
    pub retry_for: Duration,
    pub counted: Counted,
    /// How many declared keys were noted.
    pub declared_seen: usize,
    pub ended: watch::Sender<bool>,
}

impl Task {
    pub async fn run(mut self) -> Result<(), StageError> {
        match self.work().await {
            Err(StageError::Stopped { partition, what }) => self.stopped(partition, what).await,
            Err(StageError::Violated { partition, what }) => {
                let (stage, number) = (self.stage.as_str(), partition.to_string());
                metrics::counter!("ledgerline_verification_failures_total", "stage" => stage, "partition" => number)
                    .increment(1);
                self.stopped(partition, what).await
            }
            ended @ (Ok(())
            | Err(StageError::Retry { .. } | StageError::Waits { .. } | StageError::Fatal { .. })) => ended,
        }
    }

    async fn work(&mut self) -> Result<(), StageError> {
        let mut idle_pause = IDLE_PAUSE_MIN;
        let mut failing_since: Option<tokio::time::Instant> = None;
        let mut retry_pause = RETRY_PAUSE_MIN;
        while !*self.stop.borrow() {
            // Asked before the step: what the upstream did last, and what came last, is then seen by this step.
            let upstream_ended = *self.upstream_ended.borrow();
            if let Some(arrivals) = &mut self.arrivals {
                arrivals.borrow_and_update();
            }
            match self.runner.step().await {
                Ok(step) => {
                    failing_since = None;
                    let is_waiting = self.runner.is_waiting();
                    if !is_waiting {
                        retry_pause = RETRY_PAUSE_MIN;
                    }
                    self.report(self.runner.waits_for().map_or(Doing::Working, Doing::Stopped));
                    self.note_declared();
                    match step {
                        Step::Progress => {
                            idle_pause = IDLE_PAUSE_MIN;
                            self.bell.notify_waiters();
                            tokio::task::yield_now().await;
                        }
                        // An outage of what others serve is no failure of this process, and no end of the input.
                        Step::Idle if is_waiting => {
                            self.pause(retry_pause, false).await;
                            retry_pause = (retry_pause * 2).min(RETRY_PAUSE_MAX);
                        }
                        Step::Idle if upstream_ended && self.finish().await? => {
                            self.report(Doing::Finished);
                            self.ended.send_replace(true);
                            self.bell.notify_waiters();
                            return Ok(());
                        }
                        Step::Idle => {
                            self.pause(idle_pause, true).await;
                            idle_pause = (idle_pause * 2).min(self.idle_pause_max());
                        }
                    }
                }
                Err(StageError::Retry { what, source }) => {
                    let since = *failing_since.get_or_insert_with(tokio::time::Instant::now);
                    if since.elapsed() > self.retry_for {
                        return Err(given_up(&what, source, self.retry_for));
                    }
                    let trouble = Trouble::of(what, source.as_deref());
                    self.try_again(trouble, retry_pause).await;
                    retry_pause = (retry_pause * 2).min(RETRY_PAUSE_MAX);
                }
                Err(StageError::Waits { what, .. }) => {
                    failing_since = None;
                    // Every partition waits for the same: they must not all ask at once when it is back.
                    let trouble = Trouble { what, shared: None };
                    self.try_again(trouble, jittered(retry_pause)).await;
                    retry_pause = (retry_pause * 2).min(WAIT_PAUSE_MAX);
                }
                Err(
                    error @ (StageError::Stopped { .. }
                    | StageError::Violated { .. }
                    | StageError::Fatal { .. }),
                ) => {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn try_again(&mut self, trouble: Trouble, pause: Duration) {
        let (stage, partition, what) = (self.stage.as_str(), self.partition, trouble.what.as_str());
        if trouble.is_to_be_told(&self.status) {
            tracing::warn!(stage, partition, what, "trying again");
        } else {
            tracing::debug!(stage, partition, what, "trying again");
        }
        metrics::counter!("ledgerline_stage_retries_total", "stage" => stage).increment(1);
        self.report(Doing::Retrying(trouble.reason()));
        self.pause(pause, false).await;
    }

    /// A log that tells what has come need not be asked often; a sealer's look is a question to the brokers.
    fn idle_pause_max(&self) -> Duration {
        match (self.stage, &self.arrivals) {
            (StageName::Capture | StageName::Seal, Some(_)) => TOLD_PAUSE_MAX,
            (
                StageName::Capture
                | StageName::Seal
                | StageName::Notarize
                | StageName::Archive
                | StageName::DeadLetters
                | StageName::Index,
                _,
            ) => IDLE_PAUSE_MAX,
        }
    }

    /// As [`Runner::finish`]; what is worth another try is tried by the next step.
    async fn finish(&mut self) -> Result<bool, StageError> {
        match self.runner.finish().await {
            Err(StageError::Retry { .. } | StageError::Waits { .. }) => Ok(false),
            finished => finished,
        }
    }

    fn report(&self, doing: Doing) {
        let index = self.runner.reached();
        let partition = self.partition.to_string();
        metrics::gauge!("ledgerline_stage_index", "stage" => self.stage.as_str(), "partition" => partition)
            .set(index as f64);
        self.status.set(self.stage, self.partition, doing, index);
    }

    /// Looks only where there are more keys than before: this is asked after every step.
    fn note_declared(&mut self) {
        let declared = self.runner.declared_keys();
        if declared.len() > self.declared_seen {
            self.declared_seen = declared.len();
            self.status.note_declared(declared);
        }
    }

    /// Waits, but no longer than until something happens (where there is nothing to do) or the task is to end.
    async fn pause(&mut self, pause: Duration, idle: bool) {
        let arrived = async {
            match &mut self.arrivals {
                Some(arrivals) if idle => drop(arrivals.changed().await),
                Some(_) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.bell.notified(), if idle => {}
            () = arrived => {}
            stopped = self.stop.wait_for(|stop| *stop) => drop(stopped),
        }
    }

    /// The partition stays stopped; the process and its other partitions go on, and readiness says why. Where none is left for this stage,
    /// and in a run that is to end, the end is now.
    async fn stopped(mut self, partition: u32, what: String) -> Result<(), StageError> {
        let stage = self.stage.as_str();
        tracing::error!(stage, partition, what, "stopped: a person must look");
        let _counted = CountedStop::new(stage);
        self.report(Doing::Stopped(what.clone()));
        if self.counted.leave() {
            let what = format!("{what}; {stage} is stopped in every partition");
            return Err(StageError::Stopped { partition, what });
        }
        tokio::select! {
            stopped = self.stop.wait_for(|stop| *stop) => drop(stopped),
            ended = self.upstream_ended.wait_for(|ended| *ended) => {
                drop(ended);
                return Err(StageError::Stopped { partition, what });
            }
        }
        Ok(())
    }
}

/// Why something is tried again.
pub(super) struct Trouble {
    pub what: String,
    /// The same for whatever else is asked of an archive that gives no answer.
    pub shared: Option<String>,
}

impl Trouble {
    pub fn of(what: String, source: Option<&(dyn Error + Send + Sync + 'static)>) -> Self {
        let no_answer = source.and_then(|source| NoAnswer::find(source));
        let shared = no_answer.map(|none| format!("the archive cannot be used right now: {none}"));
        Self { what, shared }
    }

    /// What readiness says: of what is the same for all partitions, nothing that is of one.
    pub fn reason(self) -> String {
        self.shared.unwrap_or(self.what)
    }

    /// Whether a line of the log is due: of what is the same for all partitions, one is enough.
    pub fn is_to_be_told(&self, status: &Status) -> bool {
        self.shared
            .as_deref()
            .is_none_or(|reason| status.is_to_be_told(reason))
    }
}

/// What has not worked for so long ends the process, so that a supervisor and a person know.
pub(super) fn given_up(what: &str, source: Option<crate::log::BoxError>, retry_for: Duration) -> StageError {
    let what = format!("{what}; it has not worked for {} s", retry_for.as_secs());
    StageError::Fatal { what, source }
}

/// A stopped partition in the metrics, for as long as this process has it.
struct CountedStop(&'static str);

impl CountedStop {
    fn new(stage: &'static str) -> Self {
        metrics::gauge!("ledgerline_stopped_partitions", "stage" => stage).increment(1.0);
        Self(stage)
    }
}

impl Drop for CountedStop {
    fn drop(&mut self) {
        metrics::gauge!("ledgerline_stopped_partitions", "stage" => self.0).decrement(1.0);
    }
}
