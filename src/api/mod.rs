//! The HTTP API of `run --api`: applications send events, auditors look things up (docs/API.md). What operators ask, unguarded and elsewhere, is
//! [`crate::http`].
//!
//! It decides nothing about the ledger: what it takes it appends to `audit.events` as every producer does, what it answers it reads from the read model.

pub mod answer;
pub mod caller;
mod connection;
pub mod correlation;
pub mod keys;
pub mod limits;
mod open;
pub mod openapi;
pub mod problem;
mod router;
pub mod submit;
pub mod target;

pub use connection::DRAIN_MAX;

use crate::clock::Clock;
use crate::config::{ApiConfig, Config};
use crate::formats::Formats;
use crate::ledger::canonical::Limits;
use crate::ledger::key::PublicKey;
use crate::log::Log;
use crate::service::{Seams, Status};
use keys::Keys;
use limits::{ApiLimits, Quota};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, watch};

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
    pub limits: ApiLimits,
    /// Of events, as the sealer has them.
    pub event_limits: Limits,
    pub formats: Formats,
    /// Requests under way.
    pub places: Quota,
    /// Memory of bodies, and of what is made of them.
    pub room: Quota,
    /// Of the log's topics, once it was asked.
    pub partitions: OnceCell<u32>,
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
        Self {
            log: Arc::clone(&seams.log),
            clock: Arc::clone(&seams.clock),
            status,
            own_keys: seams.public_keys(),
            metrics,
            log_name: config.log_name.clone(),
            keys: Arc::clone(&api.keys),
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
            limits,
            partitions: OnceCell::new(),
        }
    }
}

/// Serves until `shutdown` becomes true, then finishes the requests under way, within [`DRAIN_MAX`].
pub async fn serve(listener: TcpListener, api: Arc<Api>, shutdown: watch::Receiver<bool>) {
    let routes = router::routes(&api);
    connection::serve(listener, routes, &api.limits, shutdown).await;
}
