//! The log of one machine: a `SQLite` file, for trying Ledgerline, for small installs and for tests. It is durable (WAL with
//! synchronous FULL), and several processes may use one file, each append under `SQLite`'s own lock.
//!
//! Every topic partition has a table of its own with its records by offset, several to a row ([`rows`]), so that each append goes to the right edge of
//! its B-tree. `SQLite`'s errors are turned into what a caller must do in [`failure`]; the tables are in [`layout`].

mod failure;
mod insert;
mod layout;
mod rows;
#[cfg(test)]
mod tests;

use super::lease::Assignments;
use super::{Appended, Committed, Log, LogError, NewRecord, Offset, Record};
use async_trait::async_trait;
use failure::Failure;
use futures_util::TryStreamExt;
use layout::{Expected, Streams};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Mutex;

/// The largest value of a record, in bytes.
const RECORD_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// The largest key, in bytes.
const KEY_BYTES_MAX: usize = 4_096;
/// The most bytes that the headers of a record have, with four bytes before each name and value.
const HEADERS_BYTES_MAX: usize = 65_536;
/// The longest `Committed::metadata`, in bytes: Kafka's default.
const METADATA_BYTES_MAX: usize = 4_096;
/// How long a call waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long opening waits for it. Longer: who opens the log has nothing to go on with, and meets the last one that closes it, who moves the
/// whole WAL into the file under one lock.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections that read beside the one that writes.
const READERS_MAX: u32 = 4;
/// How long a read waits for one of them.
const READER_TIMEOUT: Duration = Duration::from_secs(30);

type Headers = Vec<(String, Vec<u8>)>;

/// A [`Log`] in one `SQLite` file.
#[derive(Debug)]
pub struct EmbeddedLog {
    file: PathBuf,
    options: SqliteConnectOptions,
    streams: Streams,
    /// `None` after a call that failed or was dropped half way: its connection is closed, which rolls back, and the next
    /// call opens another.
    writer: Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
}

impl EmbeddedLog {
    /// Opens the log at `path`, which is created with mode 0600 where there is none. Its directory must exist.
    ///
    /// # Errors
    /// `Fatal` where the file has another number of partitions, is damaged, or cannot be written; `Retry` where another
    /// process holds it locked.
    pub async fn open(path: &Path, partitions: u32) -> Result<Self, LogError> {
        layout::create_file(path)?;
        Self::open_within(path, Expected::Partitions(partitions), OPEN_TIMEOUT, BUSY_TIMEOUT).await
    }

    /// As [`Self::open`], but a log that is there may have any number of partitions: only a new one gets `partitions_of_new`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_or_make(path: &Path, partitions_of_new: u32) -> Result<Self, LogError> {
        layout::create_file(path)?;
        let expected = Expected::PartitionsOfNew(partitions_of_new);
        Self::open_within(path, expected, OPEN_TIMEOUT, BUSY_TIMEOUT).await
    }

    /// Opens a log that is there, with as many partitions as it has.
    pub async fn open_existing(path: &Path) -> Result<Self, LogError> {
        Self::open_within(path, Expected::Existing, OPEN_TIMEOUT, BUSY_TIMEOUT).await
    }

    async fn open_within(
        path: &Path,
        expected: Expected,
        open_timeout: Duration,
        busy_timeout: Duration,
    ) -> Result<Self, LogError> {
        let options = layout::connect_options(path, busy_timeout);
        let failed = |error| Failure { file: path }.of("opening it", error);
        let patient = options.clone().busy_timeout(open_timeout);
        let mut writer = SqliteConnection::connect_with(&patient).await.map_err(failed)?;
        let streams = layout::prepare(&mut writer, path, expected).await?;
        layout::set_busy_timeout(&mut writer, busy_timeout)
            .await
            .map_err(failed)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(READER_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone().pragma("query_only", "ON"));
        Ok(Self {
            file: path.to_owned(),
            options,
            streams,
            writer: Mutex::new(Some(writer)),
            readers,
        })
    }

    fn failure(&self) -> Failure<'_> {
        Failure { file: &self.file }
    }

    fn stream(&self, topic: &str, partition: u32) -> Result<i64, LogError> {
        self.streams.id(topic, partition).ok_or_else(|| LogError::Fatal {
            what: format!(
                "the log {} has no {topic}/{partition}: its topics have {} partitions each, from 0",
                self.file.display(),
                self.streams.partitions()
            ),
            source: None,
        })
    }

    /// Runs `work` on the writing connection, which is closed unless the work is done.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let mut place = self.writer.lock().await;
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let outcome = work(&mut connection).await;
        if outcome.is_ok() {
            *place = Some(connection);
        } else if let Err(error) = connection.close().await {
            // The failure that is reported came first and says more.
            tracing::debug!(%error, "a connection did not close cleanly after a failure");
        }
        outcome
    }

    async fn connect(&self) -> Result<SqliteConnection, LogError> {
        if self.readers.is_closed() {
            return Err(self.failure().of("writing to it", sqlx::Error::PoolClosed));
        }
        SqliteConnection::connect_with(&self.options)
            .await
            .map_err(|error| self.failure().of("opening it", error))
    }

    /// `first_offset` and `next_offset` of a stream.
    async fn bounds(&self, topic: &str, partition: u32) -> Result<(Offset, Offset), LogError> {
        let id = self.stream(topic, partition)?;
        let row = sqlx::query("SELECT first_offset, next_offset FROM stream WHERE id = ?")
            .bind(id)
            .fetch_one(&self.readers)
            .await
            .map_err(|error| self.failure().of("reading it", error))?;
        Ok((self.offset_at(&row, 0)?, self.offset_at(&row, 1)?))
    }

    fn offset_at(&self, row: &SqliteRow, column: usize) -> Result<Offset, LogError> {
        let value: i64 = row
            .try_get(column)
            .map_err(|error| self.failure().of("reading it", error))?;
        Offset::try_from(value).map_err(|_| self.failure().damaged("an offset is negative"))
    }

    fn records(&self, row: &SqliteRow) -> Result<Vec<Record>, LogError> {
        let failed = |error| self.failure().of("reading it", error);
        let bytes: &[u8] = row.try_get_unchecked(2).map_err(failed)?;
        rows::read_row(
            self.offset_at(row, 0)?,
            row.try_get_unchecked(1).map_err(failed)?,
            bytes,
        )
        .ok_or_else(|| self.failure().damaged("a row of records is none"))
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn append(
        &self,
        topic: &str,
        partition: u32,
        records: Vec<NewRecord>,
    ) -> Result<Appended, LogError> {
        let id = self.stream(topic, partition)?;
        insert::check(topic, &records)?;
        let batch = insert::Batch {
            topic,
            partition,
            id,
            records,
        };
        let count = batch.records.len();
        let first = self
            .write(async |connection| insert::append(connection, self.failure(), batch).await)
            .await?;
        Ok(Appended::in_one_piece(first, count))
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, LogError> {
        let id = self.stream(topic, partition)?;
        let (first, _) = self.bounds(topic, partition).await?;
        let from = from.max(first);
        let Ok(from_row) = i64::try_from(from) else {
            return Ok(Vec::new());
        };
        // The row that holds `from` may begin before it.
        let sql = format!(
            "SELECT offset, timestamp_ms, records FROM r{id} \
             WHERE offset >= coalesce((SELECT max(offset) FROM r{id} WHERE offset <= ?1), ?1) ORDER BY offset"
        );
        let mut rows = sqlx::query(AssertSqlSafe(sql))
            .bind(from_row)
            .fetch(&self.readers);
        let (mut records, mut bytes) = (Vec::new(), 0_usize);
        while let Some(row) = rows
            .try_next()
            .await
            .map_err(|error| self.failure().of("reading it", error))?
        {
            for record in self
                .records(&row)?
                .into_iter()
                .filter(|record| record.offset >= from)
            {
                bytes = bytes.saturating_add(record.value.len());
                if records.len() == records_max || (bytes > bytes_max && !records.is_empty()) {
                    return Ok(records);
                }
                records.push(record);
            }
        }
        Ok(records)
    }

    async fn end(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        Ok(self.bounds(topic, partition).await?.1)
    }

    async fn start(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        Ok(self.bounds(topic, partition).await?.0)
    }

    async fn trim(&self, topic: &str, partition: u32, before: Offset) -> Result<(), LogError> {
        let id = self.stream(topic, partition)?;
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        self.write(async |connection| insert::trim(connection, self.failure(), id, before).await)
            .await
    }

    async fn join(&self, _role: &str) -> Result<Assignments, LogError> {
        Ok(Assignments::everything(self.streams.partitions()))
    }

    /// Nobody else writes to an embedded log.
    async fn find(&self, _topic: &str) -> Result<Option<u32>, LogError> {
        Ok(None)
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.stream(topic, 0)?;
        Ok(self.streams.partitions())
    }

    async fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        position: Committed,
    ) -> Result<(), LogError> {
        let id = self.stream(topic, partition)?;
        if position.metadata.len() > METADATA_BYTES_MAX {
            return Err(LogError::Fatal {
                what: format!("the metadata of a committed position has at most {METADATA_BYTES_MAX} bytes"),
                source: None,
            });
        }
        self.write(async |connection| {
            sqlx::query(
                "INSERT OR REPLACE INTO committed (group_name, stream, offset, metadata) VALUES (?, ?, ?, ?)",
            )
            .bind(group)
            .bind(id)
            .bind(i64::try_from(position.offset).unwrap_or(i64::MAX))
            .bind(position.metadata)
            .execute(connection)
            .await
            .map_err(|error| self.failure().of("committing a position", error))?;
            Ok(())
        })
        .await
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<Committed>, LogError> {
        let id = self.stream(topic, partition)?;
        let row = sqlx::query("SELECT offset, metadata FROM committed WHERE group_name = ? AND stream = ?")
            .bind(group)
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.failure().of("reading it", error))?;
        row.map(|row| {
            Ok(Committed {
                offset: self.offset_at(&row, 0)?,
                metadata: row
                    .try_get(1)
                    .map_err(|error| self.failure().of("reading it", error))?,
            })
        })
        .transpose()
    }

    fn record_bytes_max(&self) -> usize {
        RECORD_BYTES_MAX
    }

    /// Whoever closes the file last moves what its WAL holds into it and removes the WAL.
    async fn close(&self) -> Result<(), LogError> {
        self.readers.close().await;
        match self.writer.lock().await.take() {
            Some(writer) => writer
                .close()
                .await
                .map_err(|error| self.failure().of("closing it", error)),
            None => Ok(()),
        }
    }
}
