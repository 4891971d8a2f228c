//! What is answered without a key, as [`crate::http`] does; and the metrics, for those who may see all tenants.

use super::Api;
use super::caller::{Caller, Scope};
use super::openapi;
use super::problem::Problem;
use super::responses::Guarded;
use super::target::Query;
use crate::http;
use axum::extract::{Request, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// The process answers. Whether it can work is `/readyz`.
#[utoipa::path(get, path = "/healthz", tag = "service", security(()),
    responses((status = 200, description = "`ok`", body = String, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    http::HEALTHY
}

/// Whether every stage of this process works; the reasons where not, for a key of the scope auditor.
///
/// They name brokers, databases and buckets: whoever has no such key is told `ready` alone.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()),
    responses(
        (status = 200, description = "Ready", body = serde_json::Value),
        (status = 503, description = "Not ready, and why", body = serde_json::Value)))]
pub async fn readyz(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let caller = Caller::of(&api, &parts).await;
    let tells = caller.is_ok_and(|caller| caller.has(Scope::Auditor));
    http::readiness(&api.status, tells)
}

/// Every public key that the ledger declares.
#[utoipa::path(get, path = "/v1/keys/jwks.json", tag = "service", security(()),
    responses((status = 200, description = "A JWK set by RFC 7517", body = serde_json::Value, content_type = "application/jwk-set+json")))]
pub async fn keys_jwks(State(api): State<Arc<Api>>) -> Response {
    http::key_set(&api.status, &api.own_keys)
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "service", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::document()).into_response()
}

/// Metrics for Prometheus. Needs the scope auditor.
#[utoipa::path(get, path = "/metrics", tag = "service",
    responses(
        (status = 200, description = "The text format of Prometheus", body = String, content_type = "text/plain"),
        Guarded))]
pub async fn metrics(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    caller.may(Scope::Auditor)?;
    Query::of(&uri, &[])?;
    Ok(http::metrics_text(&api.metrics))
}
