//! Pages of a tenant's entries, in order of sequence. A page ends at so many rows, or at so many bytes: what a question costs in memory does not depend on what the
//! tenant has stored. Months are gone through one by one, so that a page opens the tables that it needs.

use super::cursor::{Cursor, Filter, Found};
use super::entry::{COLUMNS, Entry};
use super::months::{self, TenantMonth};
use super::times::{occurred_between, sealed_between};
use super::{ReadError, Reads};
use crate::clock::UnixMicros;
use crate::store::months::Month;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder};
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
    /// Where the next page begins; `None`: that was all.
    pub next: Option<Cursor>,
    /// The sequence from which on all entries of the tenant are here; `None` where it has none.
    pub first_stored_sequence: Option<u64>,
    /// The tenant's last one.
    pub last_sequence: Option<u64>,
}

impl Reads {
    /// The entries behind `cursor` that the filter lets through.
    ///
    /// # Errors
    /// `Detached` where the filter names a first sequence that is in a month which was let go of.
    pub async fn page(
        &self,
        tenant: &str,
        filter: &Filter,
        cursor: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let mut transaction = self.of_tenant(tenant).await?;
        let months = months::of_tenant(&mut transaction, tenant).await?;
        let first_stored_sequence = months::first_stored(&months);
        let first = first_stored_sequence.unwrap_or(1);
        // From where whoever asks expects entries: he is told that some are gone, not given others.
        let behind = (cursor.after > 0).then(|| cursor.after.saturating_add(1));
        let from = filter.from_sequence.map(|from| from.max(1)).max(behind);
        if from.is_some_and(|from| from < first) {
            return Err(ReadError::Detached {
                first_stored_sequence,
            });
        }
        let wanted = from.unwrap_or(first)..=filter.to_sequence.unwrap_or(u64::MAX);
        let mut page = Page {
            entries: Vec::new(),
            next: None,
            first_stored_sequence,
            last_sequence: months.last().map(|month| month.last),
        };
        for month in &months {
            if page.next.is_none() && is_asked(month, filter, &wanted) {
                let asked = Asked {
                    month,
                    filter,
                    wanted: &wanted,
                    found: cursor.found.filter(|found| month.holds(found.searched)),
                };
                asked.add_to(&mut transaction, &mut page, limit).await?;
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

/// What is asked of one month.
struct Asked<'a> {
    month: &'a TenantMonth,
    filter: &'a Filter,
    wanted: &'a RangeInclusive<u64>,
    /// What the page before has found in this month.
    found: Option<Found>,
}

/// Where a month's entries are to be read, and what is known of it then.
struct Part {
    range: RangeInclusive<u64>,
    found: Option<Found>,
}

impl Asked<'_> {
    async fn add_to(
        &self,
        connection: &mut PgConnection,
        page: &mut Page,
        limit: PageLimit,
    ) -> Result<(), ReadError> {
        let (month, filter) = (self.month, self.filter);
        let Part { range, found } = self.part(connection).await?;
        let bytes = |entries: &[Entry]| entries.iter().map(|entry| entry.event.len() as u64).sum::<u64>();
        let (rows_left, bytes_left) = (
            limit.rows as usize - page.entries.len(),
            limit.bytes.saturating_sub(bytes(&page.entries)),
        );
        // One row more tells whether there is a next page.
        let rows_max = rows_left + 1;
        let rows = if range.is_empty() {
            Vec::new()
        } else {
            rows_of_month(connection, COLUMNS, month, filter, &range, rows_max, bytes_left).await?
        };
        for row in rows.iter().take(rows_left) {
            page.entries.push(Entry::read(row, &month.origin)?);
        }
        let is_full = rows.len() > rows_left || bytes(&page.entries) >= limit.bytes;
        let last = page.entries.last().map(|entry| entry.sequence);
        let after = match found {
            _ if is_full => last,
            // The month has grown since: the next page looks for what is there now.
            Some(found) if found.searched < self.end() => Some(found.searched),
            Some(_) | None => None,
        };
        page.next = after.map(|after| Cursor { after, found });
        Ok(())
    }

    /// The last sequence that is asked for in the month.
    fn end(&self) -> u64 {
        self.month.last.min(*self.wanted.end())
    }

    async fn part(&self, connection: &mut PgConnection) -> Result<Part, ReadError> {
        let (month, filter) = (self.month, self.filter);
        let mut range = month.first.max(*self.wanted.start())..=self.end();
        if filter.sealed_from.is_some() || filter.sealed_to.is_some() {
            range = sealed_between(connection, month, filter, range).await?;
        }
        if filter.occurred_from.is_none() && filter.occurred_to.is_none() {
            return Ok(Part { range, found: None });
        }
        // Behind what was searched, the month is looked at as if it were another.
        let known = self.found.filter(|found| *range.start() <= found.searched);
        if let Some(found) = known {
            let range = *range.start()..=found.last.min(*range.end());
            return Ok(Part {
                range,
                found: Some(found),
            });
        }
        let searched = self.end();
        let range = occurred_between(connection, month, filter, range).await?;
        let last = *range.end();
        let found = Some(Found { last, searched });
        Ok(Part { range, found })
    }
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
