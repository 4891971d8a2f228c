//! What changes a stream: appends in one transaction each, and trims.
//!
//! An append is a few rows of many records each ([`super::rows`]).

use super::failure::Failure;
use super::rows::take_row;
use super::{KEY_BYTES_MAX, RECORD_BYTES_MAX};
use crate::clock::{Clock, SystemClock};
use crate::log::ENTRY_OVERHEAD_BYTES;
use crate::log::topic::LEDGER_ENTRIES;
use crate::log::{LogError, NewRecord, Offset};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

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
    let sql = format!(
        "INSERT INTO r{} (offset, next_offset, timestamp_ms, records) VALUES (?, ?, ?, ?)",
        batch.id
    );
    let mut offset = first;
    let mut records = batch.records.into_iter();
    while let Some(row) = take_row(&mut records) {
        let (row, count) = row.map_err(|what| LogError::Fatal { what, source: None })?;
        let next = offset + i64::try_from(count).unwrap_or(i64::MAX);
        sqlx::query(AssertSqlSafe(sql.clone()))
            .bind(offset)
            .bind(next)
            .bind(timestamp_ms)
            .bind(row)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        offset = next;
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

/// Deletes the rows whose records are all below `before` and moves the stream's start there, but not beyond its end.
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
        "DELETE FROM r{id} WHERE offset IN (SELECT offset FROM r{id} WHERE offset < ?1 AND next_offset <= ?1 ORDER BY offset LIMIT {ROWS_PER_DELETE})"
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
