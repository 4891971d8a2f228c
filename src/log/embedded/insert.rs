//! What changes a stream: appends in one transaction each, and trims.
//!
//! sqlx hands each statement to a thread and back, which costs more than inserting a row: so many rows go into one
//! statement, of a few sizes only, which stay prepared.

use super::failure::Failure;
use super::headers::{self, HEADERS_BYTES_MAX};
use super::{KEY_BYTES_MAX, RECORD_BYTES_MAX};
use crate::clock::{Clock, SystemClock};
use crate::log::ENTRY_OVERHEAD_BYTES;
use crate::log::topic::LEDGER_ENTRIES;
use crate::log::{LogError, NewRecord, Offset};
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

/// Rows of one INSERT, the largest first.
const ROWS_PER_INSERT: [u8; 4] = [64, 16, 4, 1];
/// Rows of one DELETE, so that a trim holds the lock for a short time only.
const ROWS_PER_DELETE: i64 = 10_000;

/// Records for one stream.
pub struct Batch<'b> {
    pub topic: &'b str,
    pub partition: u32,
    pub id: i64,
    pub records: Vec<NewRecord>,
}

/// Refuses what cannot be stored, before anything is.
pub fn check(topic: &str, records: &[NewRecord]) -> Result<(), LogError> {
    let fatal = |what: String| Err(LogError::Fatal { what, source: None });
    if records.is_empty() {
        return fatal(format!("an append of no records to {topic}"));
    }
    let more = if topic == LEDGER_ENTRIES {
        ENTRY_OVERHEAD_BYTES
    } else {
        0
    };
    for record in records {
        if record.value.len() > RECORD_BYTES_MAX + more {
            let bytes = record.value.len();
            return fatal(format!(
                "a record for {topic} has {bytes} bytes, the embedded log takes {RECORD_BYTES_MAX}"
            ));
        }
        if record.key.len() > KEY_BYTES_MAX {
            let bytes = record.key.len();
            return fatal(format!(
                "a key for {topic} has {bytes} bytes, the embedded log takes {KEY_BYTES_MAX}"
            ));
        }
    }
    Ok(())
}

/// Appends the batch, all or nothing, and answers with its first offset.
pub async fn append(
    connection: &mut SqliteConnection,
    failure: Failure<'_>,
    batch: Batch<'_>,
) -> Result<Offset, LogError> {
    let (topic, partition) = (batch.topic, batch.partition);
    let first = insert_all(connection, failure, batch).await?;
    sqlx::query("COMMIT")
        .execute(connection)
        .await
        .map_err(|error| failure.of_commit(topic, partition, error))?;
    Offset::try_from(first).map_err(|_| failure.damaged("an offset is negative"))
}

pub async fn insert_all(
    connection: &mut SqliteConnection,
    failure: Failure<'_>,
    batch: Batch<'_>,
) -> Result<i64, LogError> {
    let failed = |error| failure.of("appending to it", error);
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let first = advance(connection, batch.id, batch.records.len())
        .await
        .map_err(failed)?;
    let timestamp_ms = SystemClock.now() / 1_000;
    let mut offset = first;
    let mut records = batch.records.into_iter();
    for rows in ROWS_PER_INSERT {
        while records.len() >= usize::from(rows) {
            let arguments = arguments(offset, timestamp_ms, records.by_ref().take(usize::from(rows)))?;
            sqlx::query_with(AssertSqlSafe(insert_sql(batch.id, rows)), arguments)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
            offset += i64::from(rows);
        }
    }
    Ok(first)
}

/// Moves the stream's end by `count` and answers with where it was.
async fn advance(connection: &mut SqliteConnection, id: i64, count: usize) -> Result<i64, sqlx::Error> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let row = sqlx::query(
        "UPDATE stream SET next_offset = next_offset + ?1 WHERE id = ?2 RETURNING next_offset - ?1",
    )
    .bind(count)
    .bind(id)
    .fetch_one(connection)
    .await?;
    row.try_get(0)
}

fn insert_sql(id: i64, rows: u8) -> String {
    let mut sql = format!("INSERT INTO r{id} (offset, timestamp_ms, key, headers, value) VALUES (?,?,?,?,?)");
    for _ in 1..rows {
        sql.push_str(",(?,?,?,?,?)");
    }
    sql
}

fn arguments(
    first: i64,
    timestamp_ms: i64,
    records: impl Iterator<Item = NewRecord>,
) -> Result<SqliteArguments, LogError> {
    use sqlx::Arguments;
    let fatal = |what: String| LogError::Fatal { what, source: None };
    let mut arguments = SqliteArguments::default();
    for (offset, record) in (first..).zip(records) {
        let headers = if record.headers.is_empty() {
            None
        } else {
            Some(headers::encode(&record.headers).ok_or_else(|| {
                fatal(format!(
                    "the headers of a record have at most {HEADERS_BYTES_MAX} bytes"
                ))
            })?)
        };
        arguments
            .add(offset)
            .and_then(|()| arguments.add(timestamp_ms))
            .and_then(|()| arguments.add(record.key))
            .and_then(|()| arguments.add(headers))
            .and_then(|()| arguments.add(record.value))
            .map_err(|source| LogError::Fatal {
                what: "a record cannot be bound to a statement".to_owned(),
                source: Some(source),
            })?;
    }
    Ok(arguments)
}

/// Deletes the records below `before` and moves the stream's start there, but not beyond its end.
pub async fn trim(
    connection: &mut SqliteConnection,
    failure: Failure<'_>,
    id: i64,
    before: i64,
) -> Result<(), LogError> {
    let failed = |error| failure.of("trimming it", error);
    // The start first: from here on nobody reads what is about to go.
    sqlx::query("UPDATE stream SET first_offset = max(first_offset, min(next_offset, ?)) WHERE id = ?")
        .bind(before)
        .bind(id)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let sql = format!(
        "DELETE FROM r{id} WHERE offset IN (SELECT offset FROM r{id} WHERE offset < ? ORDER BY offset LIMIT {ROWS_PER_DELETE})"
    );
    loop {
        let done = sqlx::query(AssertSqlSafe(sql.clone()))
            .bind(before)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        if done.rows_affected() == 0 {
            return Ok(());
        }
    }
}
