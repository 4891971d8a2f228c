//! `demo` from input to archive, against inserting the rows of both topics into SQLite in the same batches.

use crate::process;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Row, SqliteConnection};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// Rows of one transaction, as the ingest batches and the sealer's batches have it.
const BATCH_ROWS: i64 = 1_000;

pub fn print(dir: &Path, events: u64) -> Result<(), Box<dyn Error>> {
    let work = dir.join("demo");
    let work_text = work.display().to_string();
    let count = events.to_string();
    let demo = process::run(&[
        "demo",
        "--json",
        "--dir",
        &work_text,
        "--events",
        &count,
        "--tenants",
        "1000",
    ])?;
    let seconds = seconds_to_archive(&demo.stdout, events)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ceiling = runtime.block_on(copy_rows(&work.join("ledger.db"), &dir.join("ceiling.db")))?;
    std::fs::remove_file(dir.join("ceiling.db"))?;
    println!("demo --events {events} --tenants 1000");
    println!(
        "  rows of both topics into SQLite   {:>7.0} events/s (ceiling: {} rows, {:.1} s)",
        events as f64 / ceiling.seconds,
        ceiling.rows,
        ceiling.seconds
    );
    println!(
        "  input to archived                 {:>7.0} events/s   ratio {:.2} (aim 0.4)",
        events as f64 / seconds,
        ceiling.seconds / seconds
    );
    println!(
        "  whole command with two verifications {:.1} s, peak memory {:.0} MiB\n",
        demo.seconds, demo.peak_mib
    );
    Ok(())
}

/// Seconds from the first line read to the last object archived, by the demo's own clock: verifying comes after.
fn seconds_to_archive(stdout: &str, events: u64) -> Result<f64, Box<dyn Error>> {
    let value: serde_json::Value = serde_json::from_str(stdout)?;
    let entries = value["verified"]["entries"].as_u64().unwrap_or(0);
    if entries != events {
        return Err(format!("the demo sealed {entries} of {events} events").into());
    }
    Ok(value["seconds"].as_f64().ok_or("the demo gave no seconds")?)
}

struct Ceiling {
    rows: u64,
    seconds: f64,
}

/// Inserts every row of both topics into a new database: nothing but SQLite, with the log's own settings.
async fn copy_rows(from: &Path, to: &Path) -> Result<Ceiling, Box<dyn Error>> {
    let options = |path: &Path| {
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .page_size(16_384)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
    };
    let mut source = SqliteConnection::connect_with(&options(from)).await?;
    let mut target = SqliteConnection::connect_with(&options(to)).await?;
    let streams = sqlx::query("SELECT id FROM stream WHERE topic IN ('audit.events', 'ledger.entries')")
        .fetch_all(&mut source)
        .await?;
    let mut ceiling = Ceiling {
        rows: 0,
        seconds: 0.0,
    };
    for stream in streams {
        let table = format!("r{}", stream.get::<i64, _>(0));
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE TABLE {table} (offset INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL, key BLOB, headers BLOB, value BLOB NOT NULL)")))
            .execute(&mut target)
            .await?;
        let mut offset = -1_i64;
        loop {
            let select = format!(
                "SELECT offset, timestamp_ms, key, headers, value FROM {table} WHERE offset > ? ORDER BY offset LIMIT {BATCH_ROWS}"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(select))
                .bind(offset)
                .fetch_all(&mut source)
                .await?;
            let Some(last) = rows.last() else { break };
            offset = last.get(0);
            let batch: Vec<LogRow> = rows
                .iter()
                .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)))
                .collect();
            let begun = Instant::now();
            insert(&mut target, &table, &batch).await?;
            ceiling.seconds += begun.elapsed().as_secs_f64();
            ceiling.rows += batch.len() as u64;
        }
    }
    Ok(ceiling)
}

/// Offset, time, key, headers, value.
type LogRow = (i64, i64, Vec<u8>, Option<Vec<u8>>, Vec<u8>);

/// One transaction, many rows a statement: the fastest way that was found.
async fn insert(target: &mut SqliteConnection, table: &str, batch: &[LogRow]) -> Result<(), sqlx::Error> {
    let mut transaction = target.begin().await?;
    for rows in batch.chunks(100) {
        let places = vec!["(?,?,?,?,?)"; rows.len()].join(",");
        let statement = format!("INSERT INTO {table} VALUES {places}");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
        for (offset, timestamp_ms, key, headers, value) in rows {
            query = query
                .bind(offset)
                .bind(timestamp_ms)
                .bind(key.as_slice())
                .bind(headers.as_deref())
                .bind(value.as_slice());
        }
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}
