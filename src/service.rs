//! One process: a task for each stage of each partition, each calling its runner's `step` until told to stop. `run` and
//! `demo` are this; what they differ in is when it ends.

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Fault, SignerConfig, StageName};
use crate::ledger::canonical::Limits;
use crate::ledger::key::PublicKey;
use crate::ledger::names;
use crate::log::embedded::EmbeddedLog;
use crate::log::{Log, LogError, topic};
use crate::signing::Signer;
use crate::signing::local::{LocalKeysError, LocalSigner, LocalSignerOptions};
use crate::stages::archive::{Archiver, newest_checkpoint};
use crate::stages::notarize::Notary;
use crate::stages::restore::{PartitionConfig, ledger_name};
use crate::stages::seal::{Random, Sealer};
use crate::stages::{StageError, Step};
use crate::vault::Vault;
use crate::vault::directory::DirectoryVault;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Partitions of a new log.
const PARTITIONS_DEFAULT: u32 = 4;
const IDLE_PAUSE_MIN: Duration = Duration::from_millis(5);
const IDLE_PAUSE_MAX: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the end waits for the log to be let go.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How a stage of a partition is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    Starting,
    Working,
    Retrying(String),
    Stopped(String),
    Finished,
}

/// What the tasks report, for readiness and for progress.
#[derive(Debug, Default)]
pub struct Status {
    by_task: Mutex<BTreeMap<(StageName, u32), (Doing, u64)>>,
    /// Every key that a leaf was seen to declare, in that order.
    declared_keys: Mutex<Vec<PublicKey>>,
}

impl Status {
    fn set(&self, stage: StageName, partition: u32, doing: Doing, index: u64) {
        let mut by_task = self.by_task.lock().unwrap_or_else(PoisonError::into_inner);
        by_task.insert((stage, partition), (doing, index));
    }

    fn note_declared(&self, keys: &[PublicKey]) {
        let mut known = self.declared_keys.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if !known.iter().any(|other| other.is_same_key(key)) {
                known.push(key.clone());
            }
        }
    }

    /// The keys that the ledger's leaves declare, as far as this process has seen: what it ever signed by stays here when its private half is
    /// gone.
    #[must_use]
    pub fn declared_keys(&self) -> Vec<PublicKey> {
        let known = self.declared_keys.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// Why the process is not ready; empty where it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let by_task = self.by_task.lock().unwrap_or_else(PoisonError::into_inner);
        let describe = |((stage, partition), (doing, _)): (&(StageName, u32), &(Doing, u64))| {
            let reason = match doing {
                Doing::Working | Doing::Finished => return None,
                Doing::Starting => "starting",
                Doing::Retrying(reason) | Doing::Stopped(reason) => reason,
            };
            Some(format!("{} of partition {partition}: {reason}", stage.as_str()))
        };
        by_task.iter().filter_map(describe).collect()
    }

    /// Sum over partitions of the index that a stage has reached.
    #[must_use]
    pub fn reached(&self, stage: StageName) -> u64 {
        let by_task = self.by_task.lock().unwrap_or_else(PoisonError::into_inner);
        by_task
            .iter()
            .filter(|((of, _), _)| *of == stage)
            .map(|(_, (_, index))| index)
            .sum()
    }
}

/// The world that the stages work on.
pub struct Seams {
    pub log: Arc<dyn Log>,
    pub vault: Arc<dyn Vault>,
    pub signer: Arc<dyn Signer>,
    pub clock: Arc<dyn Clock>,
}

impl Seams {
    /// Opens what the configuration names; creates it where it is not there.
    pub async fn open(config: &Config) -> Result<Self, StageError> {
        let signer = open_signer(config)?;
        let log = open_log(&config.log, config.partitions).await?;
        let vault = DirectoryVault::create(&config.archive)?;
        Ok(Self {
            log: Arc::new(log),
            vault: Arc::new(vault),
            signer: Arc::new(signer),
            clock: Arc::new(SystemClock),
        })
    }

    /// Lets the log go, once the stages have ended. What fails here loses nothing, so it is only said.
    pub async fn close(&self) {
        match tokio::time::timeout(CLOSE_TIMEOUT, self.log.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the log did not close as it should; nothing is lost"),
            Err(_) => tracing::warn!("closing the log took too long and was given up; nothing is lost"),
        }
    }

    #[must_use]
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.signer.keys().into_iter().map(|held| held.key).collect()
    }
}

/// The embedded log that is there, or a new one with `partitions`, or with [`PARTITIONS_DEFAULT`]. An existing one says itself how
/// many it has; another number is refused.
pub async fn open_log(path: &Path, partitions: Option<u32>) -> Result<EmbeddedLog, LogError> {
    let log = EmbeddedLog::open_or_make(path, partitions.unwrap_or(PARTITIONS_DEFAULT)).await?;
    let found = log.partitions(topic::AUDIT_EVENTS).await?;
    let Some(wanted) = partitions.filter(|wanted| *wanted != found) else {
        return Ok(log);
    };
    let what = format!(
        "must be {found}, which {} has, or be left out, not {wanted}: the number is fixed when a ledger is made, because it decides which partition a \
         tenant's chain is in",
        path.display()
    );
    let fault = misfit("partitions", "LEDGERLINE_PARTITIONS", what);
    Err(LogError::Fatal {
        what: fault.to_string(),
        source: Some(fault.into()),
    })
}

/// A setting that is well-formed and does not fit what is there.
fn misfit(key: &'static str, variable: &'static str, what: String) -> Fault {
    Fault { key, variable, what }
}

/// Holds the configured name against the one that the ledger has, where there is a ledger.
///
/// # Errors
/// `Fatal` where they differ. A log that cannot be read now is no error here: the stages try again, and say which partition it is.
pub async fn check_log_name(config: &Config, log: &dyn Log) -> Result<(), StageError> {
    match ledger_name(log).await {
        Ok(Some(name)) if name != config.log_name => {
            let what = format!(
                "must be {name}, the name of the ledger in this log, not {}: a name is for ever",
                config.log_name
            );
            let fault = misfit("log-name", "LEDGERLINE_LOG_NAME", what);
            Err(StageError::Fatal {
                what: fault.to_string(),
                source: Some(fault.into()),
            })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn open_signer(config: &Config) -> Result<LocalSigner, StageError> {
    let issuer_kid = config.issuer_kid.clone();
    let opened = match &config.signer {
        SignerConfig::Directory(dir) => LocalSigner::open_or_create(
            dir,
            &LocalSignerOptions {
                issuer_kid,
                rsa_bits: config.rsa_bits,
            },
        ),
        SignerConfig::PemFiles(paths) => LocalSigner::from_pem_files(paths, issuer_kid.as_deref()),
    };
    opened.map_err(|error| StageError::Fatal {
        what: format!("signing keys: {error}"),
        source: key_setting_at_fault(config, &error).map(Into::into),
    })
}

/// The setting that led to keys which cannot be used; `None` where it is not the settings' fault.
fn key_setting_at_fault(config: &Config, error: &LocalKeysError) -> Option<Fault> {
    let (key, variable) = match (error, &config.signer) {
        (LocalKeysError::Io { .. } | LocalKeysError::Crypto, _) => return None,
        (LocalKeysError::Refused(_), _) if config.issuer_kid.is_some() => ("issuer-kid", "ISSUER_KID"),
        (_, SignerConfig::Directory(_)) => ("signer", "LEDGERLINE_SIGNER"),
        (_, SignerConfig::PemFiles(_)) => ("signing-key-path", "SIGNING_KEY_PATH"),
    };
    Some(misfit(key, variable, error.to_string()))
}

/// When the tasks end.
#[derive(Debug, Clone)]
pub struct Ending {
    /// True: end after the step under way. What is not done is done by the next process.
    pub shutdown: watch::Receiver<bool>,
    /// True: no more input will come. Each stage ends once it has nothing to do and the one before it has ended; the sealer cuts first, so that
    /// all is archived.
    pub input_ended: watch::Receiver<bool>,
}

enum Runner {
    Seal(Box<Sealer>),
    Notarize(Box<Notary>),
    Archive(Box<Archiver>),
}

impl Runner {
    async fn step(&mut self) -> Result<Step, StageError> {
        match self {
            Self::Seal(sealer) => sealer.step().await,
            Self::Notarize(notary) => notary.step().await,
            Self::Archive(archiver) => archiver.step().await,
        }
    }

    fn declared_keys(&self) -> &[PublicKey] {
        match self {
            Self::Seal(sealer) => sealer.declared_keys(),
            Self::Notarize(notary) => notary.declared_keys(),
            Self::Archive(_) => &[],
        }
    }

    fn reached(&self) -> u64 {
        match self {
            Self::Seal(sealer) => sealer.next_index(),
            Self::Notarize(notary) => notary.signed_size(),
            Self::Archive(archiver) => archiver.archived_size(),
        }
    }

    /// The last thing before an orderly end. `false`: step again first.
    async fn finish(&mut self) -> Result<bool, StageError> {
        match self {
            Self::Seal(sealer) => sealer.cut().await,
            Self::Notarize(_) | Self::Archive(_) => Ok(true),
        }
    }
}

struct Task {
    stage: StageName,
    partition: u32,
    runner: Runner,
    status: Arc<Status>,
    /// Rung whenever any stage has done something: the others look at once.
    bell: Arc<Notify>,
    shutdown: watch::Receiver<bool>,
    /// Whether what this stage follows has ended.
    upstream_ended: watch::Receiver<bool>,
    retry_for: Duration,
    /// Partitions in which this stage is not stopped.
    going: Arc<AtomicUsize>,
    /// How many declared keys were noted.
    declared_seen: usize,
    ended: watch::Sender<bool>,
}

/// Runs the configured stages until the ending comes, or something fatal happens.
///
/// # Errors
/// The first fatal error, or the reason of the last partition where a stage is stopped in all of them; all tasks have ended then.
pub async fn run(
    config: &Config,
    seams: &Seams,
    status: Arc<Status>,
    ending: Ending,
) -> Result<(), StageError> {
    let bell = Arc::new(Notify::new());
    let (abort, aborted) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let partitions = seams.log.assignments(topic::AUDIT_EVENTS).await?;
    let going: BTreeMap<StageName, Arc<AtomicUsize>> = config
        .stages
        .iter()
        .map(|stage| (*stage, Arc::new(AtomicUsize::new(partitions.len()))))
        .collect();
    for partition in partitions {
        let mut upstream = ending.input_ended.clone();
        let partition_config = partition_config(config, seams, partition).await?;
        for (stage, going) in &going {
            let (ended, next_upstream) = watch::channel(false);
            let task = Task {
                stage: *stage,
                partition,
                runner: runner(*stage, config, seams, partition_config.clone()),
                status: Arc::clone(&status),
                bell: Arc::clone(&bell),
                shutdown: aborted.clone(),
                upstream_ended: std::mem::replace(&mut upstream, next_upstream),
                retry_for: config.retry_for,
                going: Arc::clone(going),
                declared_seen: 0,
                ended,
            };
            status.set(*stage, partition, Doing::Starting, 0);
            tasks.spawn(task.run());
        }
    }
    let mut shutdown = ending.shutdown;
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            changed = shutdown.wait_for(|stop| *stop), if !*abort.borrow() => {
                drop(changed);
                abort.send_replace(true);
            }
            ended = tasks.join_next() => match ended {
                None => return outcome,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    abort.send_replace(true);
                    outcome = outcome.and(Err(error));
                }
                Some(Err(panicked)) => {
                    abort.send_replace(true);
                    let what = format!("a stage ended unexpectedly: {panicked}");
                    outcome = outcome.and(Err(StageError::Fatal { what, source: Some(panicked.into()) }));
                }
            },
        }
    }
}

async fn partition_config(
    config: &Config,
    seams: &Seams,
    partition: u32,
) -> Result<PartitionConfig, StageError> {
    let origin = names::origin(&config.log_name, partition);
    let archived = newest_checkpoint(seams.vault.as_ref(), &origin, partition).await?;
    let (limits, window_entries_max) = (Limits::default(), config.window_entries_max);
    Ok(PartitionConfig {
        origin,
        partition,
        limits,
        window_entries_max,
        archived,
    })
}

fn runner(stage: StageName, config: &Config, seams: &Seams, partition: PartitionConfig) -> Runner {
    let log = Arc::clone(&seams.log);
    match stage {
        StageName::Seal => Runner::Seal(Box::new(Sealer::new(
            log,
            Arc::clone(&seams.signer),
            Arc::clone(&seams.clock),
            os_random(),
            partition,
            config.seal.clone(),
        ))),
        StageName::Notarize => Runner::Notarize(Box::new(Notary::new(
            log,
            Arc::clone(&seams.signer),
            Arc::clone(&seams.clock),
            partition,
            config.notarize.clone(),
        ))),
        StageName::Archive => Runner::Archive(Box::new(Archiver::new(
            log,
            Arc::clone(&seams.vault),
            partition,
            config.classes.clone(),
        ))),
    }
}

fn os_random() -> Random {
    Box::new(|| {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| StageError::Fatal {
            what: format!("the system gives no random bytes: {error}"),
            source: None,
        })?;
        Ok(bytes)
    })
}

impl Task {
    async fn run(mut self) -> Result<(), StageError> {
        let mut idle_pause = IDLE_PAUSE_MIN;
        let mut failing_since: Option<tokio::time::Instant> = None;
        let mut retry_pause = RETRY_PAUSE_MIN;
        while !*self.shutdown.borrow() {
            // Asked before the step: what the upstream did last is then seen by this step.
            let upstream_ended = *self.upstream_ended.borrow();
            match self.runner.step().await {
                Ok(step) => {
                    (failing_since, retry_pause) = (None, RETRY_PAUSE_MIN);
                    self.report(Doing::Working);
                    self.note_declared();
                    match step {
                        Step::Progress => {
                            idle_pause = IDLE_PAUSE_MIN;
                            self.bell.notify_waiters();
                            tokio::task::yield_now().await;
                        }
                        Step::Idle if upstream_ended && self.finish().await? => {
                            self.report(Doing::Finished);
                            self.ended.send_replace(true);
                            self.bell.notify_waiters();
                            return Ok(());
                        }
                        Step::Idle => {
                            self.pause(idle_pause, true).await;
                            idle_pause = (idle_pause * 2).min(IDLE_PAUSE_MAX);
                        }
                    }
                }
                Err(StageError::Stopped { partition, what }) => return self.stopped(partition, what).await,
                Err(error @ StageError::Fatal { .. }) => return Err(error),
                Err(StageError::Retry { what, source }) => {
                    let since = *failing_since.get_or_insert_with(tokio::time::Instant::now);
                    if since.elapsed() > self.retry_for {
                        let what = format!("{what}; it has not worked for {} s", self.retry_for.as_secs());
                        return Err(StageError::Fatal { what, source });
                    }
                    tracing::warn!(
                        stage = self.stage.as_str(),
                        partition = self.partition,
                        what,
                        "trying again"
                    );
                    metrics::counter!("ledgerline_stage_retries_total", "stage" => self.stage.as_str())
                        .increment(1);
                    self.report(Doing::Retrying(what));
                    self.pause(retry_pause, false).await;
                    retry_pause = (retry_pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
        Ok(())
    }

    /// As [`Runner::finish`]; what is worth another try is tried by the next step.
    async fn finish(&mut self) -> Result<bool, StageError> {
        match self.runner.finish().await {
            Err(StageError::Retry { .. }) => Ok(false),
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

    /// Waits, but no longer than until something happens (where `bell` counts) or the process ends.
    async fn pause(&mut self, pause: Duration, bell: bool) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.bell.notified(), if bell => {}
            stopped = self.shutdown.wait_for(|stop| *stop) => drop(stopped),
        }
    }

    /// The partition stays stopped; the process and its other partitions go on, and readiness says why. Where none is left for this stage,
    /// and in a run that is to end, the end is now.
    async fn stopped(mut self, partition: u32, what: String) -> Result<(), StageError> {
        tracing::error!(
            stage = self.stage.as_str(),
            partition,
            what,
            "stopped: a person must look"
        );
        metrics::gauge!("ledgerline_stopped_partitions", "stage" => self.stage.as_str()).increment(1.0);
        self.report(Doing::Stopped(what.clone()));
        if self.going.fetch_sub(1, Ordering::AcqRel) == 1 {
            let what = format!("{what}; {} is stopped in every partition", self.stage.as_str());
            return Err(StageError::Stopped { partition, what });
        }
        tokio::select! {
            stopped = self.shutdown.wait_for(|stop| *stop) => drop(stopped),
            ended = self.upstream_ended.wait_for(|ended| *ended) => {
                drop(ended);
                return Err(StageError::Stopped { partition, what });
            }
        }
        Ok(())
    }
}
