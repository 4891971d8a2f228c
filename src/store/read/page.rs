//! Pages of a tenant's entries, in order of sequence. A page ends at so many rows, or at so many bytes: what a question costs in memory does not depend on what the
//! tenant has stored. Months are gone through one by one, so that a page opens the tables that it needs.

use super::cursor::Filter;
use super::entry::{COLUMNS, Entry};
use super::months::{self, TenantMonth};
use super::{ReadError, Reads};
use crate::clock::UnixMicros;
use crate::store::months::Month;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _};
use std::ops::RangeInclusive;

/// Most entries of a page.
pub const PAGE_ROWS_MAX: u32 = 1_000;

/// Where a page ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// At most [`PAGE_ROWS_MAX`].
    pub rows: u32,
    /// Of events. The one that goes beyond is still in the page, so that each page moves on.
    pub bytes: u64,
}

/// Some entries, and whether there may be more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// The next page begins behind this sequence; `None`: that was all.
    pub after: Option<u64>,
    /// The sequence from which on all entries of the tenant are here; `None` where it has none.
    pub first_stored_sequence: Option<u64>,
    /// The tenant's last one.
    pub last_sequence: Option<u64>,
}

impl Reads {
    /// The entries behind `after` that the filter lets through.
    ///
    /// # Errors
    /// `Detached` where the filter names a first sequence that is in a month which was let go of.
    pub async fn page(
        &self,
        tenant: &str,
        filter: &Filter,
        after: u64,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let mut transaction = self.of_tenant(tenant).await?;
        let months = months::of_tenant(&mut transaction, tenant).await?;
        let first_stored_sequence = months::first_stored(&months);
        let first = first_stored_sequence.unwrap_or(1);
        // From where whoever asks expects entries: he is told that some are gone, not given others.
        let behind = (after > 0).then(|| after.saturating_add(1));
        let from = filter.from_sequence.map(|from| from.max(1)).max(behind);
        if from.is_some_and(|from| from < first) {
            return Err(ReadError::Detached {
                first_stored_sequence,
            });
        }
        let wanted = from.unwrap_or(first)..=filter.to_sequence.unwrap_or(u64::MAX);
        let mut page = Page {
            entries: Vec::new(),
            after: None,
            first_stored_sequence,
            last_sequence: months.last().map(|month| month.last),
        };
        for month in &months {
            if page.after.is_none() && is_asked(month, filter, &wanted) {
                add_month(&mut transaction, &mut page, month, filter, &wanted, limit).await?;
            }
        }
        transaction.commit().await?;
        Ok(page)
    }
}

fn is_asked(month: &TenantMonth, filter: &Filter, wanted: &RangeInclusive<u64>) -> bool {
    let date = |at: Option<UnixMicros>| at.and_then(Month::of).map(Month::date);
    let is_late = date(filter.sealed_from).is_none_or(|from| month.date >= from);
    let is_early = date(filter.sealed_to).is_none_or(|to| month.date <= to);
    month.is_here && month.last >= *wanted.start() && month.first <= *wanted.end() && is_late && is_early
}

async fn add_month(
    connection: &mut PgConnection,
    page: &mut Page,
    month: &TenantMonth,
    filter: &Filter,
    wanted: &RangeInclusive<u64>,
    limit: PageLimit,
) -> Result<(), ReadError> {
    let mut range = month.first.max(*wanted.start())..=month.last.min(*wanted.end());
    if filter.sealed_from.is_some() || filter.sealed_to.is_some() {
        range = sealed_between(connection, month, filter, range).await?;
    }
    if filter.occurred_from.is_some() || filter.occurred_to.is_some() {
        range = occurred_between(connection, month, filter, range).await?;
    }
    if range.is_empty() {
        return Ok(());
    }
    let bytes = |entries: &[Entry]| entries.iter().map(|entry| entry.event.len() as u64).sum::<u64>();
    let (rows_left, bytes_left) = (
        limit.rows as usize - page.entries.len(),
        limit.bytes.saturating_sub(bytes(&page.entries)),
    );
    // One row more tells whether there is a next page.
    let rows = rows_of_month(
        connection,
        COLUMNS,
        month,
        filter,
        &range,
        rows_left + 1,
        bytes_left,
    )
    .await?;
    for row in rows.iter().take(rows_left) {
        page.entries.push(Entry::read(row, &month.origin)?);
    }
    if rows.len() > rows_left || bytes(&page.entries) >= limit.bytes {
        page.after = page.entries.last().map(|entry| entry.sequence);
    }
    Ok(())
}

/// Rows of one month in order of sequence: at most so many, and none behind the one whose event goes beyond `bytes`.
pub(super) async fn rows_of_month(
    connection: &mut PgConnection,
    columns: &str,
    month: &TenantMonth,
    filter: &Filter,
    range: &RangeInclusive<u64>,
    rows_max: usize,
    bytes: u64,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(format!(
        "SELECT * FROM (SELECT {columns}, sum(octet_length(canonical_event_json)) OVER (ORDER BY sequence ROWS UNBOUNDED PRECEDING) \
         - octet_length(canonical_event_json) AS bytes_before FROM leaves WHERE kind = 'entry' \
         AND tenant_id = current_setting('ledgerline.tenant_id') AND month = "
    ));
    query
        .push_bind(month.date.clone())
        .push("::date AND sequence >= ");
    query.push_bind(*range.start() as i64).push(" AND sequence <= ");
    query.push_bind(*range.end() as i64);
    push_filter(&mut query, month, filter);
    query.push(" ORDER BY sequence LIMIT ").push_bind(rows_max as i64);
    query
        .push(") AS page WHERE bytes_before <= ")
        .push_bind(i64::try_from(bytes).unwrap_or(i64::MAX));
    query.push(" ORDER BY sequence");
    query.build().fetch_all(connection).await
}

fn push_filter(query: &mut QueryBuilder<Postgres>, month: &TenantMonth, filter: &Filter) {
    let times = [
        (" AND occurred_at >= ", filter.occurred_from),
        (" AND occurred_at < ", filter.occurred_to),
        (" AND sealed_at >= ", filter.sealed_from),
        (" AND sealed_at < ", filter.sealed_to),
    ];
    for (sql, at) in times {
        if let Some(at) = at {
            query.push(sql).push_bind(at);
        }
    }
    let texts = [
        (" AND action = ", &filter.action),
        (" AND actor_type = ", &filter.actor_type),
        (" AND actor_id = ", &filter.actor_id),
        (" AND event_id = ", &filter.event_id),
    ];
    for (sql, text) in texts {
        if let Some(text) = text {
            query.push(sql).push_bind(text.clone());
        }
    }
    if let Some(target) = &filter.target_id {
        query
            .push(" AND sequence IN (SELECT sequence FROM targets WHERE tenant_id = current_setting('ledgerline.tenant_id') AND month = ")
            .push_bind(month.date.clone())
            .push("::date AND target_id = ")
            .push_bind(target.clone())
            .push(")");
    }
}

/// The part of `range` that was sealed in the time that is asked for. A tenant's entries are in order of their times, so the ends are found by halving, whatever
/// the month holds.
async fn sealed_between(
    connection: &mut PgConnection,
    month: &TenantMonth,
    filter: &Filter,
    range: RangeInclusive<u64>,
) -> Result<RangeInclusive<u64>, ReadError> {
    let (mut first, mut last) = range.into_inner();
    if let Some(from) = filter.sealed_from {
        first = first.max(first_sealed_at(connection, month, from).await?);
    }
    if let Some(to) = filter.sealed_to {
        let behind = first_sealed_at(connection, month, to).await?;
        last = last.min(behind.saturating_sub(1));
    }
    Ok(first..=last)
}

/// The first sequence of the month that was sealed at or after `at`; one behind its last where there is none.
async fn first_sealed_at(
    connection: &mut PgConnection,
    month: &TenantMonth,
    at: UnixMicros,
) -> Result<u64, ReadError> {
    let row = sqlx::query(
        "WITH RECURSIVE halves (low, high) AS (SELECT $1::bigint, $2::bigint UNION ALL \
         SELECT CASE WHEN middle.sealed_at < $3 THEN middle.sequence + 1 ELSE low END, CASE WHEN middle.sealed_at < $3 THEN high ELSE middle.sequence END \
         FROM halves CROSS JOIN LATERAL (SELECT sequence, sealed_at FROM leaves WHERE kind = 'entry' \
         AND tenant_id = current_setting('ledgerline.tenant_id') AND month = $4::date AND sequence = (low + high) / 2) AS middle WHERE low < high) \
         SELECT low FROM halves WHERE low = high",
    )
    .bind(month.first as i64)
    .bind(month.last as i64 + 1)
    .bind(at)
    .bind(&month.date)
    .fetch_optional(connection)
    .await?;
    match row {
        Some(row) => Ok(row.try_get::<i64, _>(0)? as u64),
        None => Err(ReadError::Damaged {
            what: "an entry's row is missing",
        }),
    }
}

/// The part of `range` in which entries lie that occurred in the time that is asked for, from the index alone: otherwise the rows before the first such entry would
/// be read to be passed over. Of the bare column the server would look for the least from its own index, row by row: hence the sums.
async fn occurred_between(
    connection: &mut PgConnection,
    month: &TenantMonth,
    filter: &Filter,
    range: RangeInclusive<u64>,
) -> Result<RangeInclusive<u64>, ReadError> {
    let row = sqlx::query(
        "SELECT min(sequence + 0), max(sequence + 0) FROM leaves WHERE kind = 'entry' AND tenant_id = current_setting('ledgerline.tenant_id') \
         AND month = $1::date AND occurred_at >= $2 AND occurred_at < $3 AND sequence >= $4 AND sequence <= $5",
    )
    .bind(&month.date)
    .bind(filter.occurred_from.unwrap_or(i64::MIN))
    .bind(filter.occurred_to.unwrap_or(i64::MAX))
    .bind(*range.start() as i64)
    .bind(*range.end() as i64)
    .fetch_one(connection)
    .await?;
    let (first, last): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match first.zip(last) {
        Some((first, last)) => first as u64..=last as u64,
        #[expect(clippy::reversed_empty_ranges, reason = "none")]
        None => 1..=0,
    })
}
