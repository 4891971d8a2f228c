//! Routes, and what goes around every one of them: the correlation id, metrics, the guard.

use super::Api;
use super::caller::Caller;
use super::connections::Entered;
use super::correlation::{self, Correlation};
use super::limits::Full;
use super::problem::{Code, Problem};
use super::rate::{Class, Counted};
use super::{browser, events, ledger, open, submit, taking, target, tiles};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Instant;

pub(super) fn routes(api: &Arc<Api>) -> Router {
    let open = Router::new()
        .route("/healthz", get(open::healthz))
        .route("/readyz", get(open::readyz))
        .route("/v1/keys/jwks.json", get(open::keys_jwks))
        .route("/v1/openapi.json", get(open::document))
        .method_not_allowed_fallback(method_not_allowed);
    let guarded = Router::new()
        .route("/metrics", get(open::metrics))
        .route("/v1/events", post(submit::submit))
        .merge(read_routes(&api.log_name))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(from_fn_with_state(Arc::clone(api), guard));
    open.merge(guarded)
        .layer(from_fn_with_state(Arc::clone(api), browser::protect))
        .layer(from_fn_with_state(Arc::clone(api), observe))
        .with_state(Arc::clone(api))
}

/// What is asked of the read model.
fn read_routes(log_name: &str) -> Router<Arc<Api>> {
    let routes = Router::new()
        .route("/v1/events", get(events::list))
        .route("/v1/ledger/head", get(ledger::head))
        .route("/v1/ledger/entries/{sequence}", get(ledger::entry))
        .route("/v1/ledger/entries/{sequence}/proof", get(ledger::proof))
        .route("/v1/ledger/consistency", get(ledger::consistency))
        .route("/v1/ledger/verify", post(ledger::verify));
    // A log of such a name would hide the API; its tiles are in the archive.
    if log_name == "v1" || log_name.starts_with("v1/") {
        return routes;
    }
    routes.route(&format!("/{log_name}/{{*path}}"), get(tiles::serve))
}

async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "there is no route of this path")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        "the header Allow says which methods it knows",
    )
}

/// Lets those in whose key is known and who have not asked too often, while there is a place for them.
async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = match target::check_path(&parts.uri) {
        Ok(()) => Caller::of(&api, &parts).await,
        Err(problem) => Err(problem),
    };
    let caller = match caller {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let share = caller.share();
    if let Some(entered) = parts.extensions.get::<Entered>() {
        entered.know(&share);
    }
    let class = Class::of(&parts.method, parts.uri.path());
    let counted = api.rates.take(caller.limits(), class);
    let mut response = match counted.as_ref().and_then(Counted::retry_after) {
        Some(seconds) => too_often(&caller, class).retry_after(seconds).into_response(),
        None => match api.places.take(&share, 1) {
            Ok(place) => {
                let body = caller.body(body);
                parts.extensions.insert(caller);
                let response = next.run(Request::from_parts(parts, body)).await;
                // It is there: whatever there is room for, its bytes count until they are taken.
                let room = api.room.count(&share, taking::bytes_of(&response));
                taking::until_taken(response, vec![place, room])
            }
            Err(full) => no_room(full).into_response(),
        },
    };
    if let Some(counted) = counted {
        counted.tell(response.headers_mut());
    }
    response
}

fn too_often(caller: &Caller, class: Class) -> Problem {
    let what = format!(
        "the key {} has used up the limit of the class {}, which RateLimit-Policy tells: ask again after Retry-After",
        caller.id,
        class.as_str()
    );
    Problem::new(Code::RateLimited, what)
}

/// What is said where there is no place, or no memory.
pub(super) fn no_room(full: Full) -> Problem {
    match full {
        Full::Whole => Problem::new(
            Code::Busy,
            "the service has as much under way as it may: send the same request again",
        ),
        Full::Share => Problem::new(
            Code::TenantBusy,
            "this tenant has its share of what may be under way: send the same request again",
        ),
    }
}

/// Gives the request its id and counts it.
async fn observe(State(_): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let correlation = Correlation::of(request.headers());
    let route = route(&request);
    request.extensions_mut().insert(correlation.clone());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if response.status().is_server_error() {
            let (code, correlation_id) = (problem.code.as_str(), correlation.as_str());
            tracing::warn!(route, code, correlation_id, "a request was not served");
        }
        response = problem.render(response, &correlation);
    }
    response
        .headers_mut()
        .insert(correlation::HEADER, correlation.to_value());
    let status = response.status().as_str().to_owned();
    metrics::counter!("ledgerline_api_requests_total", "route" => route.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("ledgerline_api_request_duration_seconds", "route" => route)
        .record(begun.elapsed().as_secs_f64());
    response
}

/// The route as it is declared: what a client makes up is no label.
fn route(request: &Request) -> String {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned())
}
