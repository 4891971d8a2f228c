//! `demo` from input to archive, against inserting the rows of both topics into SQLite in the same batches.

use crate::process;
use ledgerline::log::embedded::EmbeddedLog;
use ledgerline::log::{Log, Record, topic};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// Records of one transaction, as the ingest batches and the sealer's batches have it.
const BATCH_RECORDS: usize = 1_000;
pub const WORK: &str = "demo";

pub fn print(dir: &Path, events: u64) -> Result<(), Box<dyn Error>> {
    let work = dir.join(WORK);
    let demo = make(dir, events)?;
    let seconds = seconds_to_archive(&demo.stdout, events)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ceilings = runtime.block_on(insert_records(&work.join("ledger.db"), &dir.join("ceiling.db")))?;
    std::fs::remove_file(dir.join("ceiling.db"))?;
    let rate = |seconds: f64| events as f64 / seconds;
    println!(
        "demo --events {events} --tenants 1000 ({} records in both topics)",
        ceilings.records
    );
    println!(
        "  into SQLite, one record a row     {:>7.0} events/s (ceiling)",
        rate(ceilings.seconds_one_a_row)
    );
    println!(
        "  into SQLite, many records a row   {:>7.0} events/s (as the log keeps them)",
        rate(ceilings.seconds_many_a_row)
    );
    println!(
        "  input to archived                 {:>7.0} events/s   ratio {:.2} (aim 0.4); to many a row {:.2}",
        rate(seconds),
        ceilings.seconds_one_a_row / seconds,
        ceilings.seconds_many_a_row / seconds
    );
    println!(
        "  whole command with two verifications {:.1} s, peak memory {:.0} MiB\n",
        demo.seconds, demo.peak_mib
    );
    Ok(())
}

/// Runs the command, which leaves its log and archive in [`WORK`] of `dir`.
pub fn make(dir: &Path, events: u64) -> Result<process::Finished, Box<dyn Error>> {
    let work = dir.join(WORK).display().to_string();
    let count = events.to_string();
    Ok(process::run(&[
        "demo",
        "--json",
        "--dir",
        &work,
        "--events",
        &count,
        "--tenants",
        "1000",
    ])?)
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

/// What SQLite takes for the same records, one a row and as many a row as the log has.
#[derive(Default)]
struct Ceilings {
    records: u64,
    seconds_one_a_row: f64,
    seconds_many_a_row: f64,
}

/// Inserts every record of both topics into a new database: nothing but SQLite, with the log's own settings and batches.
async fn insert_records(from: &Path, to: &Path) -> Result<Ceilings, Box<dyn Error>> {
    let log = EmbeddedLog::open_existing(from).await?;
    let options = SqliteConnectOptions::new()
        .filename(to)
        .create_if_missing(true)
        .page_size(16_384)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut target = SqliteConnection::connect_with(&options).await?;
    let mut ceilings = Ceilings::default();
    for topic in [topic::AUDIT_EVENTS, topic::LEDGER_ENTRIES] {
        for partition in 0..log.partitions(topic).await? {
            let name = format!("{}_{partition}", topic.replace('.', "_"));
            let one = format!(
                "CREATE TABLE one_{name} (offset INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL, key BLOB, value BLOB NOT NULL)"
            );
            let many =
                format!("CREATE TABLE many_{name} (offset INTEGER PRIMARY KEY, records BLOB NOT NULL)");
            for sql in [one, many] {
                sqlx::query(AssertSqlSafe(sql)).execute(&mut target).await?;
            }
            let mut next = 0;
            loop {
                let batch = log.read(topic, partition, next, BATCH_RECORDS, 64 << 20).await?;
                let Some(last) = batch.last() else { break };
                next = last.offset + 1;
                ceilings.records += batch.len() as u64;
                let begun = Instant::now();
                insert_one_a_row(&mut target, &name, &batch).await?;
                ceilings.seconds_one_a_row += begun.elapsed().as_secs_f64();
                let begun = Instant::now();
                insert_many_a_row(&mut target, &name, &batch).await?;
                ceilings.seconds_many_a_row += begun.elapsed().as_secs_f64();
            }
        }
    }
    Ok(ceilings)
}

/// One transaction, many rows a statement: the fastest way that was found for one record a row.
async fn insert_one_a_row(
    target: &mut SqliteConnection,
    name: &str,
    batch: &[Record],
) -> Result<(), sqlx::Error> {
    let mut transaction = target.begin().await?;
    for rows in batch.chunks(64) {
        let places = vec!["(?,?,?,?)"; rows.len()].join(",");
        let mut query = sqlx::query(AssertSqlSafe(format!("INSERT INTO one_{name} VALUES {places}")));
        for record in rows {
            query = query
                .bind(record.offset as i64)
                .bind(record.timestamp_ms)
                .bind(record.key.as_slice())
                .bind(record.value.as_slice());
        }
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

async fn insert_many_a_row(
    target: &mut SqliteConnection,
    name: &str,
    batch: &[Record],
) -> Result<(), sqlx::Error> {
    let mut transaction = target.begin().await?;
    for rows in batch.chunks(200) {
        let mut bytes = Vec::new();
        for record in rows {
            bytes.extend_from_slice(&record.key);
            bytes.extend_from_slice(&record.value);
        }
        sqlx::query(AssertSqlSafe(format!("INSERT INTO many_{name} VALUES (?, ?)")))
            .bind(rows[0].offset as i64)
            .bind(bytes)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}
