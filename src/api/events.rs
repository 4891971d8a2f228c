//! `GET /v1/events`: a tenant's events, a page at a time, or all of them as lines.

use super::Api;
use super::caller::Caller;
use super::entry::{self, EntryBody};
use super::limits::Held;
use super::problem::Problem;
use super::reading;
use super::responses::{Gone, Reading};
use super::router::no_room;
use super::target::{Query, invalid};
use crate::clock::UnixMicros;
use crate::ledger::names::INTEGER_MAX;
use crate::ledger::time::parse_occurred_at;
use crate::store::read::{Cursor, Filter, PAGE_ROWS_MAX, Page, PageLimit};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::try_unfold;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Of events in a page; one event may go beyond it.
const PAGE_BYTES: u64 = 1 << 20;
/// What a page takes in memory: its rows, and the answer that is made of them.
const PAGE_MEMORY: u64 = 6 << 20;
const ROWS_DEFAULT: u64 = 100;
/// What an event's members have at most, in bytes.
const TEXT_BYTES_MAX: usize = 256;
const NDJSON: &str = "application/x-ndjson";
/// Says of an export what `first_stored_sequence` says of a page.
const FIRST_STORED: HeaderName = HeaderName::from_static("ledgerline-first-stored-sequence");

const PARAMETERS: [&str; 13] = [
    "occurred_from",
    "occurred_to",
    "sealed_from",
    "sealed_to",
    "action",
    "actor_type",
    "actor_id",
    "target_id",
    "event_id",
    "from_sequence",
    "to_sequence",
    "limit",
    "cursor",
];

/// A page of events, in order of sequence.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventsPage {
    pub events: Vec<EntryBody>,
    /// Asks for the next page, with the same filters; null where this was the last one.
    pub next_cursor: Option<String>,
    /// The sequence from which on all of the tenant's entries can be asked for here. What is before is in the archive alone. Null where there are none.
    pub first_stored_sequence: Option<u64>,
    /// The tenant's last entry; null where it has none.
    pub last_sequence: Option<u64>,
}

/// Look events up.
///
/// In order of sequence. With `Accept: application/x-ndjson`, all that the filters let through, one entry a line, as far as the chain reached when it was asked for.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(
        ("occurred_from" = Option<String>, Query, description = "RFC 3339: that occurred then or later, to the microsecond"),
        ("occurred_to" = Option<String>, Query, description = "RFC 3339: that occurred before"),
        ("sealed_from" = Option<String>, Query, description = "RFC 3339: that were sealed then or later"),
        ("sealed_to" = Option<String>, Query, description = "RFC 3339: that were sealed before"),
        ("action" = Option<String>, Query, description = "Of this action"),
        ("actor_type" = Option<String>, Query, description = "Whose actor has this type"),
        ("actor_id" = Option<String>, Query, description = "Whose actor has this id"),
        ("target_id" = Option<String>, Query, description = "With a target of this id, among the first 64 of at most 256 bytes"),
        ("event_id" = Option<String>, Query, description = "With this id"),
        ("from_sequence" = Option<u64>, Query, description = "From this entry on"),
        ("to_sequence" = Option<u64>, Query, description = "Up to this entry"),
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 1000; 100 where it is left out. A page of large events ends earlier"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("tenant_id" = Option<String>, Query, description = "The tenant, for a key that is no tenant's"),
        ("Ledgerline-Tenant" = Option<String>, Header, description = "As tenant_id"),
    ),
    responses(
        (status = 200, description = "A page, or every entry as a line", content((EventsPage = "application/json"), (String = "application/x-ndjson")),
            headers(("Ledgerline-First-Stored-Sequence" = u64, description = "Of lines: as first_stored_sequence of a page"))),
        Reading, Gone))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let tenant = Arc::clone(reading::tenant(&caller)?);
    let query = Query::of(&uri, &PARAMETERS)?;
    let filter = filter(&query)?;
    if wants_lines(&headers) {
        if query.text("limit").or(query.text("cursor")).is_some() {
            return Err(invalid("limit or cursor", "is of pages: lines have none"));
        }
        return export(api, caller.share(), tenant, filter).await;
    }
    let memory = PAGE_MEMORY.min(api.limits.memory_bytes_max / 2);
    let share = caller.share();
    let room = api.room.take(&share, memory).map_err(no_room)?;
    let limit = PageLimit {
        rows: u32::try_from(
            query
                .number("limit", 1..=u64::from(PAGE_ROWS_MAX))?
                .unwrap_or(ROWS_DEFAULT),
        )
        .unwrap_or(PAGE_ROWS_MAX),
        bytes: PAGE_BYTES,
    };
    let cursor = match query.text("cursor") {
        Some(text) => Cursor::read(text, &tenant, &filter).map_err(reading::problem)?,
        None => Cursor::default(),
    };
    let asked = reading::reads(&api)?.page(&tenant, &filter, cursor, limit);
    let page = reading::answer_to(&api, &share, asked).await?;
    let next = page.next.map(|next| next.write(&tenant, &filter));
    let body = write_page(&page, next.as_deref());
    drop(room);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn filter(query: &Query) -> Result<Filter, Problem> {
    Ok(Filter {
        occurred_from: time(query, "occurred_from")?,
        occurred_to: time(query, "occurred_to")?,
        sealed_from: time(query, "sealed_from")?,
        sealed_to: time(query, "sealed_to")?,
        action: text(query, "action")?,
        actor_type: text(query, "actor_type")?,
        actor_id: text(query, "actor_id")?,
        target_id: text(query, "target_id")?,
        event_id: text(query, "event_id")?,
        from_sequence: query.number("from_sequence", 1..=INTEGER_MAX)?,
        to_sequence: query.number("to_sequence", 1..=INTEGER_MAX)?,
    })
}

fn time(query: &Query, name: &str) -> Result<Option<UnixMicros>, Problem> {
    let Some(text) = query.text(name) else {
        return Ok(None);
    };
    parse_occurred_at(text).map(Some).ok_or_else(|| {
        invalid(
            name,
            "must be a time by RFC 3339, as 2026-11-28T18:00:00Z; a plus sign is written %2B",
        )
    })
}

fn text(query: &Query, name: &str) -> Result<Option<String>, Problem> {
    match query.text(name) {
        None => Ok(None),
        Some(text) if (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.contains('\0') => {
            Ok(Some(text.to_owned()))
        }
        Some(_) => Err(invalid(
            name,
            &format!("must have 1 to {TEXT_BYTES_MAX} bytes, and no U+0000"),
        )),
    }
}

/// Whether lines are named, and not behind JSON.
fn wants_lines(headers: &HeaderMap) -> bool {
    let mut accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| {
            range
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        });
    accepted
        .find(|range| range == NDJSON || range == "application/json")
        .is_some_and(|range| range == NDJSON)
}

fn write_page(page: &Page, next_cursor: Option<&str>) -> Vec<u8> {
    let mut body = b"{\"events\":[".to_vec();
    for (nth, of) in page.entries.iter().enumerate() {
        if nth > 0 {
            body.push(b',');
        }
        entry::write(of, &mut body);
    }
    let tail = serde_json::json!({
        "next_cursor": next_cursor,
        "first_stored_sequence": page.first_stored_sequence,
        "last_sequence": page.last_sequence,
    })
    .to_string();
    // Its members, behind the events.
    body.extend_from_slice(b"],");
    body.extend_from_slice(tail.trim_start_matches('{').as_bytes());
    body
}

/// A tenant's events as they are being sent: one page is in memory, and no connection is held between two.
struct Export {
    api: Arc<Api>,
    share: Arc<str>,
    tenant: Arc<str>,
    filter: Filter,
    /// Where the next page begins; `None`: that was all.
    next: Option<Cursor>,
    /// As long as it goes on: so many at once, and no more.
    _room: Held,
}

const EXPORT_LIMIT: PageLimit = PageLimit {
    rows: PAGE_ROWS_MAX,
    bytes: PAGE_BYTES,
};

async fn export(
    api: Arc<Api>,
    share: Arc<str>,
    tenant: Arc<str>,
    mut filter: Filter,
) -> Result<Response, Problem> {
    let memory = PAGE_MEMORY.min(api.limits.exports_bytes_max() / 2);
    let room = api.exports.take(&share, memory).map_err(no_room)?;
    // The first page before the answer begins: what cannot be answered is said as a problem.
    let asked = reading::reads(&api)?.page(&tenant, &filter, Cursor::default(), EXPORT_LIMIT);
    let first = reading::answer_to(&api, &share, asked).await?;
    // It ends where the chain ended: otherwise it might never.
    let last = first.last_sequence.unwrap_or(0);
    filter.to_sequence = Some(filter.to_sequence.map_or(last, |to| to.min(last)));
    let first_stored = HeaderValue::from(first.first_stored_sequence.unwrap_or(1));
    let rest = Export {
        api,
        share,
        tenant,
        filter,
        next: first.next,
        _room: room,
    };
    let begun = (Some(first), rest);
    let lines = try_unfold(begun, |(page, mut rest)| async move {
        let page = match (page, rest.next) {
            (Some(page), _) => page,
            (None, Some(next)) => rest.page(next).await.map_err(Cut)?,
            (None, None) => return Ok(None),
        };
        Ok::<_, Cut>(Some((write_lines(&page), (None, rest))))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(NDJSON)),
        (FIRST_STORED, first_stored),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// Ends the connection before the body is whole: whoever reads it knows that lines are missing.
#[derive(Debug, thiserror::Error)]
#[error("an export was cut short: {}", .0.code.as_str())]
struct Cut(Problem);

impl Export {
    async fn page(&mut self, from: Cursor) -> Result<Page, Problem> {
        let asked = reading::reads(&self.api)?.page(&self.tenant, &self.filter, from, EXPORT_LIMIT);
        let page = reading::answer_to(&self.api, &self.share, asked).await;
        let page = page.inspect_err(|problem| {
            let code = problem.code.as_str();
            tracing::warn!(code, "an export was cut short");
        })?;
        self.next = page.next;
        Ok(page)
    }
}

fn write_lines(page: &Page) -> Bytes {
    let mut lines = Vec::new();
    for of in &page.entries {
        entry::write(of, &mut lines);
        lines.push(b'\n');
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sent_to_those_who_name_them_first() {
        for (accept, lines) in [
            ("application/x-ndjson", true),
            ("Application/X-NDJSON; q=1, */*", true),
            ("text/html, application/x-ndjson, application/json", true),
            ("application/json, application/x-ndjson", false),
            ("*/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_lines(&headers), lines, "{accept}");
        }
    }
}
