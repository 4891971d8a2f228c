//! `ledgerline run`: the long-running service.

use super::Failure;
use crate::api::{self, Api};
use crate::config::{Config, LogConfig, Settings, describe};
use crate::service::{self, Ending, Seams, Status};
use crate::{http, telemetry};
use metrics_exporter_prometheus::PrometheusHandle;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the end waits for requests under way. The stages have ended by then.
const LISTENER_END_MAX: Duration = Duration::from_secs(5);

/// How long the end waits for questions under way whose answers nobody needs any more.
const QUESTIONS_END_MAX: Duration = Duration::from_secs(1);
/// How long the beginning waits for the log to tell the ledger's name, before anything listens.
const NAME_PATIENCE: Duration = Duration::from_secs(3);

/// Run the service: seal, sign and archive what arrives, until SIGTERM or SIGINT.
///
/// Reads `audit.events` of the log, appends to `ledger.entries`, signs checkpoints, writes the archive. Killed at any
/// moment, it goes on where the log and the archive say that it was; nothing is lost or doubled. Logs are JSON lines on standard error.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// # Errors
/// Wrong settings, or what ended the service.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = args
        .settings
        .check()
        .map_err(|faults| Failure::usage(describe(&faults)))?;
    telemetry::init_logs(&config.log_level);
    let metrics = telemetry::init_metrics().map_err(Failure::unreadable)?;
    let _lock = match &config.log {
        LogConfig::Embedded(path) => Some(lock(path)?),
        // A group shares the partitions out.
        LogConfig::Kafka(_) => None,
    };
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(serve(&config, metrics));
    // A question to brokers that do not answer would keep the process for as long as its answer is waited for.
    runtime.shutdown_timeout(QUESTIONS_END_MAX);
    outcome
}

async fn serve(config: &Config, metrics: PrometheusHandle) -> Result<(), Failure> {
    // First of all: a supervisor may want the end before the beginning is over.
    let mut end = EndSignals::listen()?;
    let seams = Seams::open(config)
        .await
        .map_err(|error| super::failure(&error))?;
    // Before anything listens, so that it is said once, and not by every partition.
    let named = tokio::time::timeout(NAME_PATIENCE, service::check_log_name(config, seams.log.as_ref()));
    tokio::select! {
        // Who cannot answer now is asked by each partition again.
        named = named => named.unwrap_or(Ok(())).map_err(|error| super::failure(&error))?,
        () = end.come() => return Ok(()),
    }
    let listener = bind("--listen (or LEDGERLINE_LISTEN)", config.listen).await?;
    let (stop, shutdown) = watch::channel(false);
    let (_never, input_ended) = watch::channel(false);
    let status = Arc::new(Status::default());
    let keys = seams.public_keys();
    let address = listener
        .local_addr()
        .map_or_else(|_| config.listen.to_string(), |address| address.to_string());
    let api = start_api(config, &seams, &status, &metrics, &shutdown).await?;
    tracing::info!(address, log_name = config.log_name, "listening");
    let upkeep = tokio::spawn(telemetry::keep_up(metrics.clone()));
    let mut web = tokio::spawn({
        let (status, shutdown) = (Arc::clone(&status), shutdown.clone());
        async move { http::serve(listener, status, metrics, &keys, shutdown).await }
    });
    let stages = service::run(
        config,
        &seams,
        status,
        Ending {
            shutdown,
            input_ended,
        },
    );
    tokio::pin!(stages);
    let outcome = tokio::select! {
        outcome = &mut stages => outcome,
        () = end.come() => {
            tracing::info!("ending: the steps under way are finished");
            stop.send_replace(true);
            stages.await
        }
    };
    stop.send_replace(true);
    upkeep.abort();
    match tokio::time::timeout(LISTENER_END_MAX, &mut web).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "the listener ended"),
        Ok(Err(error)) => tracing::warn!(%error, "the listener ended"),
        Err(_) => {
            tracing::warn!("requests under way are given up: they took too long");
            web.abort();
        }
    }
    if let Some(api) = api {
        // It ends by itself, within its bound; the log is there until then.
        if let Err(error) = api.await {
            tracing::warn!(%error, "the API ended");
        }
    }
    seams.close().await;
    outcome.map_err(|error| Failure::unreadable(super::chain(&error)))
}

async fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Failure::unreadable(format!("{setting}: cannot listen on {address}: {error}")))
}

/// Serves the API, where it is configured, until `shutdown`.
async fn start_api(
    config: &Config,
    seams: &Seams,
    status: &Arc<Status>,
    metrics: &PrometheusHandle,
    shutdown: &watch::Receiver<bool>,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(settings) = &config.api else {
        return Ok(None);
    };
    let listener = bind("--api (or LEDGERLINE_API)", settings.listen).await?;
    let address = listener
        .local_addr()
        .map_or_else(|_| settings.listen.to_string(), |address| address.to_string());
    tracing::info!(address, "serving the API");
    let api = Api::new(config, settings, seams, Arc::clone(status), metrics.clone());
    let shutdown = shutdown.clone();
    Ok(Some(tokio::spawn(api::serve(listener, Arc::new(api), shutdown))))
}

/// SIGTERM and SIGINT, remembered from [`Self::listen`] on.
pub(super) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| Failure::unreadable(format!("cannot wait for signals: {error}")))
        };
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Two processes on one embedded log would fence each other for ever: safe, but no progress. The lock goes with the process.
pub(super) fn lock(log: &Path) -> Result<File, Failure> {
    // Behind the whole name: two logs never share a lock, and no log is a lock.
    let mut path = log.to_owned().into_os_string();
    path.push(".lock");
    let path = PathBuf::from(path);
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::unreadable(format!("cannot lock {}: {error}", path.display()))
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| unreadable(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::unreadable(format!(
            "another process runs stages on {}: end it first",
            log.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(unreadable(&error)),
    }
}
