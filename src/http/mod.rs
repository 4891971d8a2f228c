//! The listener of `run`: health, readiness, metrics, keys. It reads; it decides nothing. Beside it, what [`client`]s of other services share.

mod bounded;
pub mod client;

use crate::ledger::jwks;
use crate::ledger::key::PublicKey;
use crate::service::Status;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bounded::Bounded;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

#[derive(Clone)]
struct Shared {
    status: Arc<Status>,
    metrics: PrometheusHandle,
    /// What this process signs by, declared or not yet.
    own_keys: Arc<[PublicKey]>,
}

/// Answers until `shutdown` becomes true, then finishes the requests under way.
///
/// # Errors
/// Where the listener breaks.
pub async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    metrics: PrometheusHandle,
    keys: &[PublicKey],
    mut shutdown: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let shared = Shared {
        status,
        metrics,
        own_keys: keys.into(),
    };
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .route("/v1/keys/jwks.json", get(keys_jwks))
        .layer(map_response(close))
        .with_state(shared);
    axum::serve(Bounded::new(listener), routes)
        .with_graceful_shutdown(async move {
            // An error means that the sender is gone: the process is ending.
            drop(shutdown.wait_for(|stop| *stop).await);
        })
        .await
}

/// One request a connection: none is idle, and the end waits for no next request.
async fn close(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The process answers. Whether it can work is [`readyz`].
async fn healthz() -> &'static str {
    HEALTHY
}

/// What a process answers to whoever asks whether it is there.
pub(crate) const HEALTHY: &str = "ok\n";

async fn readyz(State(shared): State<Shared>) -> Response {
    readiness(&shared.status, true)
}

/// 200 once every stage of every partition has made a step and none is stopped; else 503 and, for who is to know, the reasons.
pub(crate) fn readiness(status: &Status, tells_why: bool) -> Response {
    let reasons = status.not_ready();
    let code = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = if tells_why {
        serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons })
    } else {
        serde_json::json!({ "ready": reasons.is_empty() })
    };
    (
        code,
        [(header::CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}

async fn render_metrics(State(shared): State<Shared>) -> Response {
    metrics_text(&shared.metrics)
}

pub(crate) fn metrics_text(metrics: &PrometheusHandle) -> Response {
    metrics.run_upkeep();
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        metrics.render(),
    )
        .into_response()
}

async fn keys_jwks(State(shared): State<Shared>) -> Response {
    key_set(&shared.status, &shared.own_keys)
}

/// Every key that the ledger declares, then those of this process that no leaf has declared yet. A verifier pins these: one that signed years ago
/// must be among them, whoever still holds its private half.
pub(crate) fn key_set(status: &Status, own_keys: &[PublicKey]) -> Response {
    let mut keys = status.declared_keys();
    for own in own_keys {
        if !keys.iter().any(|key| key.is_same_key(own)) {
            keys.push(own.clone());
        }
    }
    (
        [(header::CONTENT_TYPE, "application/jwk-set+json")],
        jwks::write(&keys),
    )
        .into_response()
}
