//! The HTTP API of `run --api`: applications send events, auditors look things up (docs/API.md). What operators ask, unguarded and elsewhere, is
//! [`crate::http`].
//!
//! It decides nothing about the ledger: what it takes it appends to `audit.events` as every producer does, what it answers it reads from the read model.

pub mod answer;
pub mod browser;
pub mod caller;
mod connection;
mod connections;
pub mod correlation;
mod database;
pub mod entry;
pub mod events;
pub mod issued;
pub mod keys;
pub mod ledger;
pub mod limits;
pub mod network;
mod open;
pub mod openapi;
pub mod problem;
pub mod rate;
mod reading;
mod responses;
mod router;
pub mod submit;
mod taking;
pub mod target;
pub mod tiles;
mod waits;

pub use connection::DRAIN_MAX;

use crate::clock::Clock;
use crate::config::{ApiConfig, Config};
use crate::formats::Formats;
use crate::ledger::canonical::Limits;
use crate::ledger::key::PublicKey;
use crate::log::Log;
use crate::pause::jittered;
use crate::service::{Seams, Status};
use crate::store::idempotency::Idempotency;
use crate::store::read::Reads;
use crate::store::{ReadModel, SCHEMA};
use browser::Origins;
use connections::Connections;
use database::Turns;
use issued::IssuedKeys;
use keys::Keys;
use limits::{ApiLimits, Quota};
use metrics_exporter_prometheus::PrometheusHandle;
use network::Networks;
use rate::RateLimits;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, watch};
use waits::Waits;

/// Events that are waited for at once, over all requests.
const WAITED_EVENTS_MAX: u64 = 4_096;
/// A request with an Idempotency-Key is another's turn so long after it should have ended.
const HELD_BEYOND: Duration = Duration::from_secs(5);
const PURGE_INTERVAL: Duration = Duration::from_mins(10);
/// Where the database did not answer.
const PURGE_PAUSE: Duration = Duration::from_secs(30);

/// Connections that read in tenants' names: as many turns there are.
const READ_CONNECTIONS_MAX: u32 = 8;
/// And for those who wait, of whom one question at a time is asked: what others read holds them up by nothing.
const WAIT_CONNECTIONS_MAX: u32 = 1;

/// What every handler has at hand.
pub struct Api {
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    pub status: Arc<Status>,
    /// What this process signs by, declared or not yet.
    pub own_keys: Vec<PublicKey>,
    pub metrics: PrometheusHandle,
    pub log_name: String,
    pub keys: Arc<Keys>,
    /// `None`: none are issued here.
    pub issued: Option<IssuedKeys>,
    pub networks: Networks,
    /// Of pages that may call.
    pub origins: Origins,
    pub limits: ApiLimits,
    pub rates: RateLimits,
    /// Of events, as the sealer has them.
    pub event_limits: Limits,
    pub formats: Formats,
    /// Requests under way.
    pub places: Quota,
    /// Memory of bodies, of what is made of them, and of answers.
    pub room: Quota,
    /// Memory of exports, which last: apart, so that they keep nobody from writing.
    pub exports: Quota,
    connections: Connections,
    database: Turns,
    /// Events that are waited for.
    pub waited: Quota,
    /// Of the log's topics, once it was asked.
    pub partitions: OnceCell<u32>,
    /// `None`: there is no database.
    pub idempotency: Option<Arc<Idempotency>>,
    /// `None`: there is no database.
    pub reads: Option<Reads>,
    waits: Option<Waits>,
    /// Of those who wait.
    reads_of_waits: Option<Reads>,
}

impl Api {
    #[must_use]
    pub fn new(
        config: &Config,
        api: &ApiConfig,
        seams: &Seams,
        status: Arc<Status>,
        metrics: PrometheusHandle,
    ) -> Self {
        let limits = api.limits.clone();
        let statement_max = limits.statement_max();
        let reads = |connections_max| {
            config.database.as_ref().map(|options| {
                let model = Arc::new(ReadModel::new(options, SCHEMA, 1));
                Reads::new(options, model, connections_max, statement_max)
            })
        };
        Self {
            log: Arc::clone(&seams.log),
            clock: Arc::clone(&seams.clock),
            status,
            own_keys: seams.public_keys(),
            metrics,
            log_name: config.log_name.clone(),
            keys: Arc::clone(&api.keys),
            issued: config
                .database
                .as_ref()
                .zip(api.peppers.clone())
                .map(|(options, peppers)| IssuedKeys::new(options, peppers, Arc::clone(&seams.clock))),
            networks: api.networks.clone(),
            origins: api.origins.clone(),
            rates: RateLimits::new(api.rates),
            event_limits: config.seal.limits,
            formats: seams.formats.clone(),
            places: Quota::new(
                limits.requests_max,
                limits.requests_max.div_ceil(2),
                metrics::gauge!("ledgerline_api_admitted_requests"),
            ),
            room: Quota::new(
                limits.memory_bytes_max,
                limits.memory_bytes_max.div_ceil(2),
                metrics::gauge!("ledgerline_api_reserved_bytes"),
            ),
            exports: Quota::new(
                limits.exports_bytes_max(),
                limits.exports_bytes_max().div_ceil(2),
                metrics::gauge!("ledgerline_api_export_bytes"),
            ),
            connections: Connections::new(limits.connections_max() as u64, api.networks.proxies.clone()),
            database: Turns::new(READ_CONNECTIONS_MAX, statement_max, statement_max),
            waited: Quota::new(
                WAITED_EVENTS_MAX,
                WAITED_EVENTS_MAX / 2,
                metrics::gauge!("ledgerline_api_waited_records"),
            ),
            partitions: OnceCell::new(),
            idempotency: config.database.as_ref().map(|options| {
                let held_for = limits.request_timeout + HELD_BEYOND;
                Arc::new(Idempotency::new(options, held_for))
            }),
            reads: reads(READ_CONNECTIONS_MAX),
            waits: config.database.is_some().then(Waits::default),
            reads_of_waits: reads(WAIT_CONNECTIONS_MAX),
            limits,
        }
    }
}

/// Serves until `shutdown` becomes true, then finishes the requests under way, within [`DRAIN_MAX`].
pub async fn serve(listener: TcpListener, api: Arc<Api>, shutdown: watch::Receiver<bool>) {
    api.keys.warn_of_allowlists(api.networks.fails_open);
    let routes = router::routes(&api);
    let ending = shutdown.clone();
    tokio::select! {
        () = connection::serve(listener, routes, &api.limits, &api.connections, shutdown) => {}
        never = keep_up(&api, ending) => match never {},
    }
}

/// What goes on beside the requests.
async fn keep_up(api: &Api, mut ending: watch::Receiver<bool>) -> Infallible {
    let tell = async {
        // An error means that the sender is gone: the process is ending.
        drop(ending.wait_for(|stop| *stop).await);
        if let Some(waits) = &api.waits {
            waits.end();
        }
        pending::<Infallible>().await
    };
    let purge = async {
        match &api.idempotency {
            Some(store) => purge(store).await,
            None => pending().await,
        }
    };
    let wait = async {
        match (&api.waits, &api.reads_of_waits) {
            (Some(waits), Some(reads)) => waits.serve(reads).await,
            (Some(_) | None, _) => pending().await,
        }
    };
    let issue = async {
        match &api.issued {
            Some(issued) => issued.keep_up(api.log.as_ref()).await,
            None => pending().await,
        }
    };
    tokio::select! {
        never = purge => never,
        never = wait => never,
        never = issue => never,
        never = tell => never,
    }
}

/// Takes away requests that are too old to count, for ever.
async fn purge(store: &Idempotency) -> Infallible {
    loop {
        let pause = match store.purge().await {
            Ok(()) => PURGE_INTERVAL,
            Err(error) => {
                tracing::debug!(%error, "old requests are taken away later");
                PURGE_PAUSE
            }
        };
        tokio::time::sleep(jittered(pause)).await;
    }
}
