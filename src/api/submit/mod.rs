//! `POST /v1/events`: events into `audit.events`, judged as `ledgerline ingest` judges lines.
//!
//! What is taken is durable in the log before it is answered. From the moment that the body is whole, the work is a task of its own ([`work`]), which
//! holds the memory until the append has ended: a client that goes, or a request that has timed out, frees none of what a stalled log still holds.

mod answer;
mod body;
mod head;
mod ids;
mod judge;
mod once;
mod schema;
mod work;

use super::Api;
use super::answer::json;
use super::caller::{Caller, Scope};
use super::limits::MEMORY_PER_REQUEST;
use super::problem::{Code, Problem};
use super::responses::Sending;
use super::router::no_room;
use super::waits::{Known, Wanted};
pub use answer::Submitted;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
pub use head::Level;
use head::{Form, Wish};
use judge::Judged;
use schema::SentEvents;
use std::sync::Arc;
use tokio::time::Instant;
use work::Work;

/// Says that the log had the events of this Idempotency-Key before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Send events: one, an array of them, or one a line.
///
/// All of them are taken, or none. An event without `tenant_id` is the key's tenant's; one without `event_id` is given one.
#[utoipa::path(post, path = "/v1/events", tag = "events",
    params(
        ("wait" = Option<String>, Query, description = "`sealed` or `signed`: answer when every event is"),
        ("wait_timeout_ms" = Option<u64>, Query, description = "Wait no longer than this, at most 30000; then answer what is known"),
        ("tenant_id" = Option<String>, Query, description = "The tenant, for a key that is no tenant's"),
        ("Ledgerline-Tenant" = Option<String>, Header, description = "As tenant_id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters: the same request with the same key is taken once in 24 hours"),
    ),
    request_body(content(
        (SentEvents = "application/json", example = json!({"occurred_at": "2026-11-28T10:00:00Z", "action": "order.ship", "actor": {"type": "user", "id": "u-7"}})),
        (String = "application/x-ndjson"),
        (serde_json::Value = "application/cloudevents+json"),
        (serde_json::Value = "application/cloudevents-batch+json"),
    )),
    responses(
        (status = 200, description = "With `wait`: all of them are as was asked for", body = Submitted),
        (status = 202, description = "The log has them; with `wait`, what was known of them at the end of the time", body = Submitted),
        Sending))]
pub async fn submit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let begun = Instant::now();
    caller.may(Scope::Write)?;
    let tenant = Arc::clone(caller.tenant()?);
    let (parts, body) = request.into_parts();
    let wish = Wish::of(&parts.uri)?;
    if wish.is_some() && api.waits.is_none() {
        let what = "wait needs a database, and this service has none: leave it out";
        return Err(Problem::new(Code::NoReadModel, what));
    }
    let form = Form::of(&parts.headers)?;
    let idempotency_key = head::idempotency_key(&parts.headers)?;
    let room = api.room.take(&tenant, MEMORY_PER_REQUEST);
    let mut room = room.map_err(no_room)?;
    let deadline = begun + api.limits.body_timeout();
    let body = body::receive(body, &mut room, api.limits.body_bytes_max, deadline).await?;
    let work = Work {
        api: Arc::clone(&api),
        tenant: Arc::clone(&tenant),
        form,
        body,
        idempotency_key,
        waits: wish.is_some(),
        room,
    };
    let taken = work.run(begun + api.limits.request_timeout).await?;
    let (status, known) = match wish {
        Some(wish) => wait(&api, tenant, wish, &taken.events).await,
        None => (StatusCode::ACCEPTED, Vec::new()),
    };
    drop(taken.place);
    let mut response = json(status, &Submitted::new(taken.events, known, &api.log_name));
    if taken.is_replay {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What is known of the events when all are as wished, or when the time is over.
async fn wait(api: &Api, tenant: Arc<str>, wish: Wish, events: &[Judged]) -> (StatusCode, Vec<Known>) {
    let Some(waits) = &api.waits else {
        return (StatusCode::ACCEPTED, Vec::new());
    };
    let wanted = events.iter().map(|judged| Wanted {
        event_id: judged.event_id.clone(),
        sha256: judged.sha256,
    });
    let deadline = Instant::now() + wish.timeout;
    let level = wish.level;
    let known = waits.wait(tenant, level, wanted.collect(), deadline).await;
    let status = if known.iter().all(|known| known.is(level)) {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    (status, known)
}

/// Of what no caller can help.
fn internal() -> Problem {
    Problem::new(
        Code::Internal,
        "the request was given up within the service: see its log by the correlation id",
    )
}
