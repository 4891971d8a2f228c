//! The stages of the partitions that this process holds.

use super::audit::{self, Auditing, Auditor};
use super::scrub::{self, Scrubber, Scrubbing};
use super::status::{Doing, Status};
use super::task::{Counted, Going, RETRY_PAUSE_MAX, Runner, Task, Trouble, given_up};
use super::{Ending, Seams, ended_unexpectedly};
use crate::config::{Config, StageName};
use crate::ledger::canonical::Limits;
use crate::ledger::names;
use crate::log::lease::Lease;
use crate::stages::StageError;
use crate::stages::archive::{Archiver, newest_checkpoint};
use crate::stages::capture::Capturer;
use crate::stages::dead_letters::LetterWriter;
use crate::stages::index::Indexer;
use crate::stages::notarize::Notary;
use crate::stages::restore::PartitionConfig;
use crate::stages::seal::{Random, Sealer, sources};
use crate::store::{self, ReadModel, Role};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

/// Connections of the stage index, whatever the number of partitions.
const INDEX_CONNECTIONS_MAX: u32 = 4;

pub(super) struct Work {
    config: Config,
    seams: Seams,
    status: Arc<Status>,
    going: BTreeMap<StageName, Going>,
    input_ended: watch::Receiver<bool>,
    aborted: watch::Sender<bool>,
    /// Asked by the stage index alone.
    read_model: Arc<ReadModel>,
    /// Where this process archives and is to scrub.
    scrubbing: Option<Scrubbing>,
    /// Where this process indexes and is to check.
    auditing: Option<Auditing>,
}

impl Work {
    pub fn new(config: &Config, seams: &Seams, status: Arc<Status>, ending: Ending) -> Self {
        let read_model = Arc::new(read_model(config));
        Self {
            config: config.clone(),
            seams: seams.clone(),
            going: config
                .stages
                .iter()
                .map(|stage| (*stage, Going::default()))
                .collect(),
            input_ended: ending.input_ended,
            aborted: watch::channel(false).0,
            scrubbing: scrubbing(config, seams),
            auditing: auditing(config, &status, &read_model),
            read_model,
            status,
        }
    }

    /// All partitions end after the step under way.
    pub fn abort(&self) {
        self.aborted.send_replace(true);
    }

    pub fn is_aborted(&self) -> bool {
        *self.aborted.borrow()
    }

    /// Whether no more input will come.
    pub fn is_to_end(&self) -> bool {
        *self.input_ended.borrow()
    }

    /// Counts one more partition for each stage.
    pub fn enter(&self) -> Vec<(StageName, Counted)> {
        self.going
            .iter()
            .map(|(stage, going)| (*stage, going.enter()))
            .collect()
    }

    /// Works on a partition for as long as it is held. Answers which it was, and whether all of its input was archived.
    pub async fn partition(
        self: Arc<Self>,
        lease: Lease,
        stages: Vec<(StageName, Counted)>,
    ) -> Result<(u32, bool), StageError> {
        let partition = lease.partition();
        let finished = self.stages(lease, stages).await?;
        if !finished && !self.is_aborted() {
            self.status.remove(partition);
            forget(partition);
        }
        Ok((partition, finished))
    }

    /// Whether every stage came to its end by itself.
    async fn stages(&self, mut lease: Lease, stages: Vec<(StageName, Counted)>) -> Result<bool, StageError> {
        let partition = lease.partition();
        let mut aborted = self.aborted.subscribe();
        let mut loser = lease.clone();
        let mut lost = pin!(async move { loser.lost().await });
        let mut ending = pin!(async move {
            tokio::select! {
                hold = lease.ending() => tracing::debug!(partition, ?hold, "asked back"),
                stopped = aborted.wait_for(|stop| *stop) => drop(stopped),
            }
        });
        for stage in &self.config.stages {
            self.status.set(*stage, partition, Doing::Starting, 0);
        }
        // From 0 on: an increase from nothing to 1 is none.
        metrics::counter!("ledgerline_fences_total", "partition" => partition.to_string()).increment(0);
        let config = tokio::select! {
            config = self.partition_config(partition) => config?,
            () = &mut ending => return Ok(false),
        };
        let stop = watch::channel(false).0;
        let mut tasks = self.tasks(partition, &config, stages, &stop);
        let mut outcome = Ok(());
        loop {
            tokio::select! {
                () = &mut ending, if !*stop.borrow() => {
                    stop.send_replace(true);
                }
                () = &mut lost => {
                    tracing::warn!(partition, "lost: what was under way is dropped");
                    tasks.shutdown().await;
                    return Ok(false);
                }
                ended = tasks.join_next() => {
                    let Some(ended) = ended else { return outcome.map(|()| !*stop.borrow()) };
                    let ended = ended.unwrap_or_else(|error| Err(ended_unexpectedly(error)));
                    if ended.is_err() {
                        stop.send_replace(true);
                    }
                    outcome = outcome.and(ended);
                }
            }
        }
    }

    /// A task for each stage, each following the one before it.
    fn tasks(
        &self,
        partition: u32,
        config: &PartitionConfig,
        stages: Vec<(StageName, Counted)>,
        stop: &watch::Sender<bool>,
    ) -> JoinSet<Result<(), StageError>> {
        let bell = Arc::new(Notify::new());
        let mut upstream = self.input_ended.clone();
        let mut tasks = JoinSet::new();
        for (stage, counted) in stages {
            let (ended, next_upstream) = watch::channel(false);
            let task = Task {
                stage,
                partition,
                runner: self.runner(stage, config.clone()),
                status: Arc::clone(&self.status),
                bell: Arc::clone(&bell),
                arrivals: self.seams.log.arrivals(partition),
                stop: stop.subscribe(),
                upstream_ended: std::mem::replace(&mut upstream, next_upstream),
                retry_for: self.config.retry_for,
                counted,
                declared_seen: 0,
                ended,
            };
            tasks.spawn(task.run());
        }
        if let Some(auditing) = self.auditing.clone() {
            let auditor = Auditor { auditing, partition };
            let (stop, ended) = (stop.subscribe(), upstream.clone());
            tasks.spawn(async move {
                auditor.run(stop, ended).await;
                Ok(())
            });
        }
        if let Some(scrubbing) = self.scrubbing.clone() {
            let scrubber = Scrubber { scrubbing, partition };
            // By now the end of the last stage.
            let (stop, ended) = (stop.subscribe(), upstream);
            tasks.spawn(async move {
                scrubber.run(stop, ended).await;
                Ok(())
            });
        }
        tasks
    }

    async fn partition_config(&self, partition: u32) -> Result<PartitionConfig, StageError> {
        let origin = names::origin(&self.config.log_name, partition);
        let since = tokio::time::Instant::now();
        let archived = loop {
            match newest_checkpoint(self.seams.vault.as_ref(), &origin, partition).await {
                Err(StageError::Retry { what, source }) if since.elapsed() > self.config.retry_for => {
                    return Err(given_up(&what, source, self.config.retry_for));
                }
                Err(StageError::Retry { what, source }) => {
                    let trouble = Trouble::of(what, source.as_deref());
                    if trouble.is_to_be_told(&self.status) {
                        tracing::warn!(partition, what = trouble.what, "looking at the archive again");
                    }
                    let reason = trouble.reason();
                    for stage in &self.config.stages {
                        self.status
                            .set(*stage, partition, Doing::Retrying(reason.clone()), 0);
                    }
                    tokio::time::sleep(RETRY_PAUSE_MAX).await;
                }
                archived => break archived?,
            }
        };
        Ok(PartitionConfig {
            origin,
            partition,
            limits: Limits::default(),
            window_entries_max: self.config.window_entries_max,
            archived,
        })
    }

    fn runner(&self, stage: StageName, partition: PartitionConfig) -> Runner {
        let Seams {
            log,
            vault,
            signer,
            clock,
            formats,
            capture_registry,
        } = self.seams.clone();
        match stage {
            StageName::Capture => Runner::Capture(Box::new(Capturer::new(
                log,
                clock,
                Arc::clone(&self.config.capture),
                capture_registry,
                partition.partition,
            ))),
            StageName::Seal => Runner::Seal(Box::new(Sealer::new(
                log,
                signer,
                clock,
                os_random(),
                partition,
                self.config.seal.clone(),
                formats,
            ))),
            StageName::Notarize => Runner::Notarize(Box::new(Notary::new(
                log,
                signer,
                clock,
                partition,
                self.config.notarize.clone(),
            ))),
            StageName::Archive => Runner::Archive(Box::new(
                Archiver::new(log, vault, clock, partition, self.config.classes.clone())
                    .with_twins(self.config.twins),
            )),
            StageName::DeadLetters => Runner::DeadLetters(Box::new(LetterWriter::new(log, clock, partition))),
            StageName::Index => Runner::Index(Box::new(Indexer::new(
                log,
                Arc::clone(&self.read_model),
                partition,
            ))),
        }
    }
}

/// A connection for each of a few partitions at a time; the others wait for theirs. None is made before the stage index asks, which needs a database to be
/// configured.
fn read_model(config: &Config) -> ReadModel {
    let options = config.database.clone().unwrap_or_default();
    ReadModel::new(&options, store::SCHEMA, INDEX_CONNECTIONS_MAX)
}

/// Who indexes a partition checks its rows.
fn auditing(config: &Config, status: &Arc<Status>, model: &Arc<ReadModel>) -> Option<Auditing> {
    let indexes = config.stages.contains(&StageName::Index);
    let audit = config.audit.clone().filter(|_| indexes)?;
    Some(Auditing {
        config: audit,
        log_name: config.log_name.clone(),
        model: Arc::clone(model),
        pool: store::pool(config.database.as_ref()?, store::SCHEMA, Role::Auditor, 1),
        status: Arc::clone(status),
        turn: Arc::new(Semaphore::new(1)),
    })
}

/// Who archives a partition scrubs it.
fn scrubbing(config: &Config, seams: &Seams) -> Option<Scrubbing> {
    let archives = config.stages.contains(&StageName::Archive);
    let scrub = config.scrub.clone().filter(|_| archives)?;
    Some(Scrubbing {
        config: scrub,
        archive: config.archive.clone(),
        log_name: config.log_name.clone(),
        log: Arc::clone(&seams.log),
        clock: Arc::clone(&seams.clock),
        turn: Arc::new(Semaphore::new(1)),
    })
}

/// What gauges said of this partition is up to another instance now: a value that stays would fire, or hide, an alert for ever.
fn forget(partition: u32) {
    let label = || partition.to_string();
    for stage in StageName::ALL {
        metrics::gauge!("ledgerline_stage_index", "stage" => stage.as_str(), "partition" => label())
            .set(f64::NAN);
    }
    metrics::gauge!("ledgerline_unsigned_age_seconds", "partition" => label()).set(f64::NAN);
    metrics::gauge!("ledgerline_unarchived_age_seconds", "partition" => label()).set(f64::NAN);
    metrics::gauge!("ledgerline_refused_holds", "partition" => label()).set(f64::NAN);
    for topic in sources::TOPICS {
        metrics::gauge!("ledgerline_source_lag_records", "topic" => topic, "partition" => label())
            .set(f64::NAN);
        metrics::gauge!("ledgerline_stopped_sources", "topic" => topic, "partition" => label()).set(f64::NAN);
    }
    scrub::forget(partition);
    audit::forget(partition);
}

pub fn os_random() -> Random {
    Box::new(|| {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| StageError::Fatal {
            what: format!("the system gives no random bytes: {error}"),
            source: None,
        })?;
        Ok(bytes)
    })
}
