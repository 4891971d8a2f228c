//! One process: a task for each stage of each partition that it holds, each calling its runner's `step` until told to stop. `run` and
//! `demo` are this; what they differ in is when it ends.
//!
//! Which partitions it holds, the log says, and may say otherwise at any time ([`crate::log::lease`]). A partition that is asked back ends after
//! the step under way; one that is lost is dropped at once. Neither matters to what is sealed: the next owner fences this one.

mod audit;
mod keys;
pub mod scrub;
mod status;
mod task;
mod work;

pub use status::{Doing, Status};
pub use work::os_random;

use crate::clock::{Clock, SystemClock};
use crate::config::archive::ArchiveConfig;
use crate::config::{Config, Fault, LogConfig, StageName};
use crate::formats::Formats;
use crate::formats::registry::{Registry, WriterSchema};
use crate::ledger::key::PublicKey;
use crate::log::embedded::EmbeddedLog;
use crate::log::kafka::KafkaLog;
use crate::log::lease::Assignments;
use crate::log::{Log, LogError, topic};
use crate::signing::Signer;
use crate::stages::StageError;
use crate::stages::capture::avro::ValueSchema;
use crate::stages::restore::ledger_name;
use crate::vault::Vault;
use crate::vault::directory::DirectoryVault;
use crate::vault::s3::S3Vault;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use task::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN, given_up};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use work::Work;

/// Partitions of a new embedded log.
const PARTITIONS_DEFAULT: u32 = 4;
/// How long the end waits for the log to be let go.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a process asks whether the log can be reached: one that holds no partition would not notice.
const REACH_INTERVAL: Duration = Duration::from_secs(3);
/// Somebody may change a topic's retention while the process runs.
const RETENTION_INTERVAL: Duration = Duration::from_mins(10);

/// The world that the stages work on.
#[derive(Clone)]
pub struct Seams {
    pub log: Arc<dyn Log>,
    pub vault: Arc<dyn Vault>,
    pub signer: Arc<dyn Signer>,
    pub clock: Arc<dyn Clock>,
    /// What records of sources may be; asks a schema registry, where one is configured.
    pub formats: Formats,
    /// For what is captured as Avro.
    pub capture_registry: Option<Arc<Registry<ValueSchema>>>,
}

impl Seams {
    /// Opens what the configuration names; creates it where it is not there.
    pub async fn open(config: &Config) -> Result<Self, StageError> {
        let signer = keys::open_signer(config).await?;
        let log = open_log(&config.log, config.partitions).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let vault = open_vault(&config.archive, &clock).await?;
        Ok(Self {
            log,
            vault,
            signer,
            clock,
            formats: formats(config)?,
            capture_registry: registry(config)?.map(Arc::new),
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

/// The archive. A directory is made where it is not there; a bucket is not.
pub async fn open_vault(
    archive: &ArchiveConfig,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Vault>, StageError> {
    Ok(match archive {
        ArchiveConfig::Directory(path) => Arc::new(DirectoryVault::create(path)?),
        ArchiveConfig::S3(config) => {
            Arc::new(S3Vault::open(config.as_ref().clone(), Arc::clone(clock)).await)
        }
    })
}

fn formats(config: &Config) -> Result<Formats, StageError> {
    Ok(Formats::new(config.seal.limits)
        .with_tenant_attribute(&config.cloud_event_tenant)
        .with_registry(registry(config)?))
}

fn registry<S: WriterSchema>(config: &Config) -> Result<Option<Registry<S>>, StageError> {
    let registry = config.schema_registry.clone().map(Registry::new).transpose();
    registry.map_err(|error| StageError::Fatal {
        what: error.to_string(),
        source: Some(error.into()),
    })
}

/// The log. An embedded one that is not there is made with `partitions`, or with [`PARTITIONS_DEFAULT`]; one that exists, and Kafka's topics, say
/// themselves how many they have, and another number is refused.
pub async fn open_log(log: &LogConfig, partitions: Option<u32>) -> Result<Arc<dyn Log>, LogError> {
    match log {
        LogConfig::Embedded(path) => Ok(Arc::new(open_embedded(path, partitions).await?)),
        LogConfig::Kafka(config) => Ok(Arc::new(KafkaLog::new(config.as_ref().clone(), partitions))),
    }
}

/// As [`open_log`], for who only looks or changes: an embedded log that is not there is not made.
pub async fn open_log_that_exists(log: &LogConfig) -> Result<Arc<dyn Log>, LogError> {
    match log {
        LogConfig::Embedded(path) if !path.exists() => {
            let fault = misfit(
                "log",
                "LEDGERLINE_LOG",
                format!("there is no log at {}", path.display()),
            );
            Err(LogError::Fatal {
                what: fault.to_string(),
                source: Some(fault.into()),
            })
        }
        LogConfig::Embedded(path) => Ok(Arc::new(EmbeddedLog::open_existing(path).await?)),
        LogConfig::Kafka(_) => open_log(log, None).await,
    }
}

async fn open_embedded(path: &Path, partitions: Option<u32>) -> Result<EmbeddedLog, LogError> {
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

/// When the tasks end.
#[derive(Debug, Clone)]
pub struct Ending {
    /// True: end after the step under way. What is not done is done by the next process.
    pub shutdown: watch::Receiver<bool>,
    /// True: no more input will come. Each stage ends once it has nothing to do and the one before it has ended; the sealer cuts first, so that
    /// all is archived.
    pub input_ended: watch::Receiver<bool>,
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
    let mut shutdown = ending.shutdown.clone();
    status.wait_for(Some("starting".to_owned()));
    let mut assignments = tokio::select! {
        joined = make_ready(config, seams, &status) => joined?,
        stopped = shutdown.wait_for(|stop| *stop) => {
            drop(stopped);
            return Ok(());
        }
    };
    status.wait_for(Some(
        "the consumer group has not yet shared the partitions out".to_owned(),
    ));
    let mut settled = assignments.settled();
    let work = Arc::new(Work::new(config, seams, Arc::clone(&status), ending));
    let watch = async {
        tokio::select! {
            error = watch_reach(seams.log.as_ref(), &status, config.retry_for) => error,
            never = tell_retention(seams.log.as_ref()) => match never {},
        }
    };
    tokio::pin!(watch);
    let mut partitions = JoinSet::new();
    // Held at some time and not worked to its end: where the input ends, they are waited for.
    let mut unfinished = BTreeSet::new();
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            biased;
            stopped = shutdown.wait_for(|stop| *stop), if !work.is_aborted() => {
                drop(stopped);
                work.abort();
            }
            known = settled.wait_for(|settled| *settled), if status.is_waiting() => {
                drop(known);
                status.wait_for(None);
            }
            granted = assignments.next(), if !work.is_aborted() => match granted {
                Ok(granted) => {
                    // All are counted before any is worked on, so that none seems to be the last one for a moment.
                    let counted: Vec<_> = granted.into_iter().map(|lease| (lease, work.enter())).collect();
                    for (lease, stages) in counted {
                        unfinished.insert(lease.partition());
                        partitions.spawn(Arc::clone(&work).partition(lease, stages));
                    }
                }
                Err(error) => {
                    work.abort();
                    outcome = outcome.and(Err(error.into()));
                }
            },
            error = &mut watch, if !work.is_aborted() => {
                work.abort();
                outcome = outcome.and(Err(error));
            }
            Some(ended) = partitions.join_next() => {
                match ended.unwrap_or_else(|error| Err(ended_unexpectedly(error))) {
                    Ok((partition, true)) => {
                        unfinished.remove(&partition);
                    }
                    Ok((_, false)) => {}
                    Err(error) => {
                        work.abort();
                        outcome = outcome.and(Err(error));
                    }
                }
            }
        }
        let all_done =
            work.is_to_end() && unfinished.is_empty() && !status.is_waiting() && assignments.is_empty();
        if partitions.is_empty() && (work.is_aborted() || all_done) {
            break;
        }
    }
    // Others take over now, not after the session's timeout.
    drop(tokio::task::spawn_blocking(|| assignments.leave()).await);
    outcome
}

/// Asks the log again and again, and says so while it does not answer. Answers once that has gone on for `retry_for`.
async fn watch_reach(log: &dyn Log, status: &Status, retry_for: Duration) -> StageError {
    let mut failing_since: Option<tokio::time::Instant> = None;
    loop {
        tokio::time::sleep(REACH_INTERVAL).await;
        match log.partitions(topic::AUDIT_EVENTS).await {
            Ok(_) => {
                failing_since = None;
                status.cannot_reach(None);
            }
            Err(error @ LogError::Retry { .. }) => {
                let since = *failing_since.get_or_insert_with(tokio::time::Instant::now);
                let what = error.to_string();
                if since.elapsed() > retry_for {
                    return given_up(&what, Some(error.into()), retry_for);
                }
                status.cannot_reach(Some(what));
            }
            Err(error @ (LogError::Unknown { .. } | LogError::Fatal { .. })) => return error.into(),
        }
    }
}

/// How long the log keeps records: what the archiver's lag is compared with.
async fn tell_retention(log: &dyn Log) -> Infallible {
    let mut ticks = tokio::time::interval(RETENTION_INTERVAL);
    loop {
        ticks.tick().await;
        for topic in topic::ALL {
            match log.retention(topic).await {
                Ok(retention) => {
                    let seconds = retention.map_or(f64::INFINITY, |retention| retention.as_secs_f64());
                    metrics::gauge!("ledgerline_log_retention_seconds", "topic" => topic).set(seconds);
                }
                // The last value stays; the stages say what is wrong.
                Err(error) => tracing::debug!(topic, %error, "how long it is kept is not known"),
            }
        }
    }
}

fn ended_unexpectedly(error: JoinError) -> StageError {
    let what = format!("a stage ended unexpectedly: {error}");
    StageError::Fatal {
        what,
        source: Some(error.into()),
    }
}

/// Waits until the log can be worked with, and joins the work.
async fn make_ready(config: &Config, seams: &Seams, status: &Status) -> Result<Assignments, StageError> {
    let since = tokio::time::Instant::now();
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        let joined = match seams.log.prepare().await {
            Ok(()) => seams.log.join(&role(&config.stages)).await,
            Err(error) => Err(error),
        };
        match joined {
            Ok(assignments) => return Ok(assignments),
            Err(error @ (LogError::Unknown { .. } | LogError::Fatal { .. })) => return Err(error.into()),
            Err(error @ LogError::Retry { .. }) => {
                let what = error.to_string();
                if since.elapsed() > config.retry_for {
                    return Err(given_up(&what, Some(error.into()), config.retry_for));
                }
                tracing::warn!(what, "not ready yet");
                status.wait_for(Some(what));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

/// Processes that run the same stages share the partitions out among them; those that run others have groups of their own. A process that captures or indexes
/// beside other stages is in the group of those that do not: two groups that seal would fence one another for ever.
fn role(stages: &[StageName]) -> String {
    let names: Vec<&str> = stages
        .iter()
        .filter(|stage| !matches!(stage, StageName::Capture | StageName::Index))
        .map(|stage| stage.as_str())
        .collect();
    match names.len() {
        0 => {
            let alone: Vec<&str> = stages.iter().map(|stage| stage.as_str()).collect();
            alone.join("-")
        }
        len if len == StageName::ALL.len() - 2 => String::new(),
        _ => names.join("-"),
    }
}
