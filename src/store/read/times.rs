//! From times to sequences: the part of a month's entries in which those of a time lie, without the rows of the others.

use super::ReadError;
use super::cursor::Filter;
use super::months::TenantMonth;
use crate::clock::UnixMicros;
use sqlx::{PgConnection, Row as _};
use std::ops::RangeInclusive;

/// The part of `range` that was sealed in the time that is asked for. A tenant's entries are in order of their times, so the ends are found by halving, whatever
/// the month holds.
pub(super) async fn sealed_between(
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
        // The middle is a column before it is compared: an expression there might fail, and so tell of rows that the tenant may not see, and the server would compare it with
        // each of its rows in turn.
        "WITH RECURSIVE halves (low, high, middle) AS (SELECT $1::bigint, $2::bigint, ($1::bigint + $2::bigint) / 2 UNION ALL \
         SELECT low, high, (low + high) / 2 FROM (SELECT CASE WHEN leaves.sealed_at < $3 THEN middle + 1 ELSE low END AS low, \
         CASE WHEN leaves.sealed_at < $3 THEN high ELSE middle END AS high FROM halves JOIN leaves ON sequence = middle WHERE kind = 'entry' \
         AND tenant_id = current_setting('ledgerline.tenant_id') AND month = $4::date AND low < high) AS half) \
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
pub(super) async fn occurred_between(
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
